"""Requests whose result goes to a webhook, on disk until they are delivered: they survive the end of the process."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from whisperlite.server.problems import FULL

_FILE = "requests.sqlite3"
_VERSION = 2

_INDEXES_OF_2 = (
    # What these are asked for lies behind the answers, which may be long.
    "CREATE INDEX pending ON requests (owner, delivered, gave_up) WHERE delivered IS NULL AND gave_up IS NULL",
    "CREATE INDEX delivered ON requests (delivered) WHERE delivered IS NOT NULL",
    "CREATE INDEX gave_up ON requests (gave_up) WHERE gave_up IS NOT NULL",
)
_SCHEMA = (
    """
    CREATE TABLE requests (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        created REAL NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('queued', 'done', 'failed')),
        audio TEXT NOT NULL,
        fields TEXT NOT NULL,
        webhook TEXT NOT NULL,
        answer TEXT,
        attempts INTEGER NOT NULL,
        next_attempt REAL NOT NULL,
        delivered REAL,
        gave_up REAL,
        last_error TEXT NOT NULL,
        finished REAL,
        starts INTEGER NOT NULL,
        receiver TEXT NOT NULL,
        model TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE INDEX undelivered ON requests (next_attempt)
    WHERE status != 'queued' AND delivered IS NULL AND gave_up IS NULL
    """,
    "CREATE INDEX queued ON requests (created) WHERE status = 'queued'",
    *_INDEXES_OF_2,
)
_FROM_1 = ("ALTER TABLE requests ADD COLUMN model TEXT NOT NULL DEFAULT ''", *_INDEXES_OF_2)
_UNDELIVERED = "status != 'queued' AND delivered IS NULL AND gave_up IS NULL"

_WRITABLE = "Let the user that the service runs as write there, or choose another folder with --data-dir."
# What SQLite says when nothing more can be written; Python 3.10 has no error codes.
_FULL = ("database or disk is full", "disk I/O error")


class StoreError(Exception):
    """The store cannot be used."""


class StoreInUseError(StoreError):
    """Another process has the store."""


class StorageFullError(StoreError):
    """There is no room on the disk, or it cannot be written."""


class NoSuchRequestError(StoreError):
    """There is no such request, or not any more."""


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request, as it is stored.

    Attributes:
        id: of the request, and of its webhook message.
        owner: the hash of the token that made it.
        created: seconds of Unix time, as are all times here.
        status: whether it waits to be transcribed, has been, or could not be.
        audio: the name of the uploaded file, which is there until the request is finished.
        fields: the options, as JSON has them.
        webhook: the URL that the answer goes to.
        answer: the JSON object that is delivered; None: there is none yet.
        attempts: how often the delivery was tried.
        next_attempt: when the delivery is to be tried next.
        delivered: when it was delivered.
        gave_up: since when it is not tried any more.
        last_error: of the last attempt; "": there was none.
        finished: when the answer came.
        starts: how often its transcription was begun.
        model: that it was made for; "": not known, as of those that an earlier version stored.
    """

    id: str
    owner: str
    created: float
    status: Literal["queued", "done", "failed"]
    audio: str
    fields: dict[str, Any]
    webhook: str
    answer: dict[str, Any] | None = None
    attempts: int = 0
    next_attempt: float = 0.0
    delivered: float | None = None
    gave_up: float | None = None
    last_error: str = ""
    finished: float | None = None
    starts: int = 0
    model: str = ""

    @property
    def receiver(self) -> str:
        """Host and port that the webhook goes to."""
        return urlsplit(self.webhook).netloc.lower()


_COLUMNS = ", ".join(field.name for field in fields(StoredRequest))
_PLACES = ", ".join("?" for _ in fields(StoredRequest))


class Store:
    """The requests of one service, in one folder; any thread may use it. One process has it at a time.

    What a method wrote is on the disk when it returns. When there is no room, it raises `StorageFullError` and has
    changed nothing.

    Args:
        folder: where the file `requests.sqlite3` lies; made, for this user alone, if it is not there.

    Raises:
        StoreInUseError: another process, or another `Store` of this one, has it.
        StorageFullError: there is no room on the disk.
        StoreError: the folder cannot be made or written, or the file is damaged or was made by a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Only a new file is opened here: closing one that another `Store` has would end its lock (POSIX).
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            if error.errno in FULL:
                raise StorageFullError(f"{folder} cannot be written: {error}. Make room on the disk.") from error
            raise StoreError(f"{folder} cannot be used: {error}. {_WRITABLE}") from error
        self._lock = threading.Lock()
        self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._open()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        with self._lock:
            self._database.close()

    def add(self, request: StoredRequest) -> None:
        """Store a new request.

        Raises:
            ValueError: there is one of that id, or a field that JSON does not have.
        """
        values = [_stored(getattr(request, field.name)) for field in fields(StoredRequest)]
        with self._writing() as database:
            try:
                database.execute(
                    f"INSERT INTO requests ({_COLUMNS}, receiver) VALUES ({_PLACES}, ?)", [*values, request.receiver]
                )
            except sqlite3.IntegrityError as error:
                raise ValueError(f"The request {request.id!r} cannot be stored: {error}.") from error

    def find(self, id: str) -> StoredRequest | None:
        """The request of that id, if there is one."""
        found = self._read(f"SELECT {_COLUMNS} FROM requests WHERE id = ?", id)
        return _request(found[0]) if found else None

    def queued(self) -> list[str]:
        """The ids of what has not been transcribed. Owners take turns; of one owner, the oldest comes first."""
        return list(self.queued_owners())

    def queued_owners(self) -> dict[str, str]:
        """The owner of each request that has not been transcribed, by its id; in the order of `queued`."""
        found = self._read(
            """
            SELECT id, owner FROM (
                SELECT id, owner, created, rowid AS number, ROW_NUMBER() OVER (
                    PARTITION BY owner ORDER BY created, rowid
                ) AS turn
                FROM requests WHERE status = 'queued'
            )
            ORDER BY turn, created, number
            """
        )
        return dict(found)

    def queued_after_starts(self, starts: int) -> list[str]:
        """The ids of queued requests whose transcription was begun at least `starts` times; the fewest starts first."""
        query = "SELECT id FROM requests WHERE status = 'queued' AND starts >= ? ORDER BY starts, created, rowid"
        return [id for (id,) in self._read(query, starts)]

    def begin(self, id: str) -> StoredRequest:
        """Note that a request is transcribed from now on, and return it: `starts` counts this one too.

        Raises:
            NoSuchRequestError: no request of that id is queued.
        """
        with self._writing() as database:
            changed = database.execute(
                "UPDATE requests SET starts = starts + 1 WHERE id = ? AND status = 'queued'", (id,)
            )
            _check_changed(changed, id)
            row = database.execute(f"SELECT {_COLUMNS} FROM requests WHERE id = ?", (id,)).fetchone()
        return _request(row)

    def end_start(self, id: str) -> None:
        """Take back what `begin` counted, if it is still queued: its transcription was ended in good order."""
        with self._writing() as database:
            database.execute("UPDATE requests SET starts = starts - 1 WHERE id = ? AND status = 'queued'", (id,))

    def finish(self, id: str, answer: dict[str, Any], status: Literal["done", "failed"]) -> None:
        """Set a request's answer, which is due for delivery from now on.

        Raises:
            NoSuchRequestError: no request of that id is queued.
            ValueError: the answer has a number that JSON does not have.
        """
        text, now = _stored(answer), time.time()
        with self._writing() as database:
            changed = database.execute(
                "UPDATE requests SET answer = ?, status = ?, finished = ?, next_attempt = 0 "
                "WHERE id = ? AND status = 'queued'",
                (text, status, now, id),
            )
            _check_changed(changed, id)

    def due(
        self,
        now: float,
        limit: int,
        takes: Callable[[str, str, str], bool] = lambda *_: True,
        longest_s: float = math.inf,
    ) -> list[StoredRequest]:
        """What is to be delivered, at most `limit` of it.

        Owners take turns, and the receivers of one owner. Of one receiver, new answers come first, then what has waited
        longest.

        Args:
            takes: asked of each (id, owner, receiver) in this order; what is not taken does not count.
            longest_s: the longest pause between attempts. What is scheduled for later than that was scheduled by a
                clock that has been set back since, and is due now.
        """
        waiting = self._read(
            f"""
            WITH waiting AS (
                SELECT id, owner, receiver, next_attempt, created, rowid AS number, ROW_NUMBER() OVER (
                    PARTITION BY owner, receiver ORDER BY next_attempt, created, rowid
                ) AS turn
                FROM requests WHERE {_UNDELIVERED} AND (next_attempt <= ? OR next_attempt > ?)
            )
            SELECT id, owner, receiver FROM (
                SELECT *, ROW_NUMBER() OVER (
                    PARTITION BY owner ORDER BY turn, next_attempt, created, number
                ) AS owner_turn
                FROM waiting
            )
            ORDER BY owner_turn, next_attempt, created, number
            """,
            now,
            now + longest_s,
        )
        taken = islice((id for id, owner, receiver in waiting if takes(id, owner, receiver)), limit)
        return [found for id in taken if (found := self.find(id)) is not None]

    def next_due(self, after: float = -math.inf) -> float | None:
        """When the next delivery later than `after` is to be tried; None: there is none."""
        query = f"SELECT MIN(next_attempt) FROM requests WHERE {_UNDELIVERED} AND next_attempt > ?"
        ((earliest,),) = self._read(query, after)
        return None if earliest is None else float(earliest)

    def record_attempt(self, id: str, error: str | None, now: float, next_attempt: float | None) -> None:
        """Note how a delivery went.

        If the clock was set back since the request was finished, `finished` becomes `now`, so that the time in which
        its delivery is attempted does not grow by as much.

        Args:
            error: None: it was delivered.
            next_attempt: with an error: when it is to be tried again; None: never.

        Raises:
            NoSuchRequestError: there is no request of that id.
        """
        delivered = now if error is None else None
        gave_up = now if error is not None and next_attempt is None else None
        with self._writing() as database:
            changed = database.execute(
                "UPDATE requests SET attempts = attempts + 1, last_error = ?, delivered = ?, gave_up = ?, "
                "next_attempt = COALESCE(?, next_attempt), finished = MIN(finished, ?) WHERE id = ?",
                (error or "", delivered, gave_up, next_attempt, now, id),
            )
            _check_changed(changed, id)

    def pending(self, owner: str | None = None) -> int:
        """How many are queued, or finished and neither delivered nor given up: of an owner; None: of all."""
        query = "SELECT COUNT(*) FROM requests WHERE delivered IS NULL AND gave_up IS NULL"
        ((count,),) = self._read(query) if owner is None else self._read(f"{query} AND owner = ?", owner)
        return int(count)

    def remove(self, id: str) -> None:
        """Delete a request, whatever its state; it may be gone."""
        with self._writing() as database:
            database.execute("DELETE FROM requests WHERE id = ?", (id,))

    def forget(self, before: float) -> None:
        """Delete what was delivered or given up before then."""
        with self._writing() as database:
            database.execute("DELETE FROM requests WHERE delivered < ? OR gave_up < ?", (before, before))

    def _open(self) -> None:
        # The lock is taken by the first reading and kept. It has to be asked for before WAL is.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("BEGIN IMMEDIATE")
        ((version,),) = self._database.execute("PRAGMA user_version").fetchall()
        if version not in range(_VERSION + 1):
            raise StoreError(
                f"{self._path} has the format {version}; this version of whisperlite reads {_VERSION}. "
                "Use a newer whisperlite, or another folder."
            )
        if version != _VERSION:
            for statement in _SCHEMA if version == 0 else _FROM_1:
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {_VERSION}")
        self._database.execute("COMMIT")

    def _read(self, query: str, *values: str | float | None) -> list[tuple[Any, ...]]:
        with self._lock, self._errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it, or nothing."""
        with self._lock, self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite ends it by itself when the disk is full
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if any(text in str(error) for text in _FULL):
                raise StorageFullError(f"{self._path} cannot be written: {error}. Make room on the disk.") from error
            if "locked" in str(error):
                raise StoreInUseError(
                    f"{self._path} is in use by another process. Stop that, or give this one another folder."
                ) from error
            hint = f" {_WRITABLE}" if "readonly" in str(error) or "unable to open" in str(error) else ""
            raise StoreError(f"{self._path} cannot be used: {error}.{hint}") from error
        except sqlite3.ProgrammingError:  # it has been closed
            raise
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self._path} is damaged: {error}. Move it away; a new one is made.") from error


def _stored(value: object) -> object:
    """A value as a column has it."""
    return json.dumps(value, allow_nan=False) if isinstance(value, dict) else value


def _request(row: tuple[Any, ...]) -> StoredRequest:
    values = dict(zip((field.name for field in fields(StoredRequest)), row, strict=True))
    values["fields"] = json.loads(values["fields"])
    values["answer"] = None if values["answer"] is None else json.loads(values["answer"])
    return StoredRequest(**values)


def _check_changed(cursor: sqlite3.Cursor, id: str) -> None:
    if cursor.rowcount == 0:
        raise NoSuchRequestError(f"There is no request {id!r} in this state.")
