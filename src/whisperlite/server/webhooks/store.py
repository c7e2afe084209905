"""Requests whose result goes to a webhook, kept on disk until delivery, so that they survive the end of the process."""

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
    # Without indexes, counting would read past the answers, which may be long.
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
# SQLite's messages when nothing more can be written; Python 3.10 has no error codes.
_FULL = ("database or disk is full", "disk I/O error")


class StoreError(Exception):
    """The store cannot be used."""


class StoreInUseError(StoreError):
    """The store is in use by another process."""


class StorageFullError(StoreError):
    """The disk is full, or cannot be written."""


class NoSuchRequestError(StoreError):
    """There is no such request, or it was removed."""


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A stored request. All times are in seconds of Unix time.

    Attributes:
        id: the id of the request and of its webhook message.
        owner: the hash of the token that made it.
        created: when it was accepted.
        status: "queued", or whether the transcription is "done" or "failed".
        audio: the name of the uploaded file, which exists until the request is finished.
        fields: the options, as JSON values.
        webhook: the URL that the answer is posted to.
        answer: the JSON object to deliver; None until there is one.
        attempts: the number of attempts to deliver it.
        next_attempt: when the next attempt is due.
        delivered: when it was delivered.
        gave_up: when delivery was given up.
        last_error: why the last attempt failed; "" if it did not, or there was none.
        finished: when the answer was stored; not later than the first attempt to deliver it.
        starts: how often its transcription was started.
        model: the identity of the model that it was made for; "" if unknown, as earlier versions did not store it.
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
        """Host and port of the webhook."""
        return urlsplit(self.webhook).netloc.lower()


_COLUMNS = ", ".join(field.name for field in fields(StoredRequest))
_PLACES = ", ".join("?" for _ in fields(StoredRequest))


class Store:
    """The requests of one service, in one folder. Any thread may use it, but only one process at a time.

    When a method returns, its changes are on disk. If there is no room, it raises `StorageFullError` and has changed
    nothing.

    Args:
        folder: the folder of the file `requests.sqlite3`; created for this user alone if it is missing.

    Raises:
        StoreInUseError: if another process, or another `Store` of this one, uses it.
        StorageFullError: if there is no room on the disk.
        StoreError: if the folder cannot be created or written, or the file is damaged or was made by a newer version.
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
        """Close the store, so that another process can use it."""
        with self._lock:
            self._database.close()

    def add(self, request: StoredRequest) -> None:
        """Store a new request.

        Raises:
            ValueError: if there is a request with this id, or a field cannot be represented in JSON.
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
        """Return the request with this id, if there is one."""
        found = self._read(f"SELECT {_COLUMNS} FROM requests WHERE id = ?", id)
        return _request(found[0]) if found else None

    def queued(self) -> list[str]:
        """The ids of the queued requests. Owners take turns; of one owner, the oldest request comes first."""
        return list(self.queued_owners())

    def queued_owners(self) -> dict[str, str]:
        """Id → owner of the queued requests, in the order of `queued`."""
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
        """Count a start of a request's transcription, and return the request; `starts` includes this one.

        Raises:
            NoSuchRequestError: if no request with this id is queued.
        """
        with self._writing() as database:
            changed = database.execute(
                "UPDATE requests SET starts = starts + 1 WHERE id = ? AND status = 'queued'", (id,)
            )
            _check_changed(changed, id)
            row = database.execute(f"SELECT {_COLUMNS} FROM requests WHERE id = ?", (id,)).fetchone()
        return _request(row)

    def end_start(self, id: str) -> None:
        """Undo the count of `begin` for a request that is still queued, after an orderly stop of its transcription."""
        with self._writing() as database:
            database.execute("UPDATE requests SET starts = starts - 1 WHERE id = ? AND status = 'queued'", (id,))

    def finish(self, id: str, answer: dict[str, Any], status: Literal["done", "failed"]) -> None:
        """Store a request's answer, which is due for delivery at once.

        Raises:
            NoSuchRequestError: if no request with this id is queued.
            ValueError: if the answer contains a number that JSON cannot represent.
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
        """Return at most `limit` requests whose delivery is due.

        Owners take turns, and so do the receivers of one owner. Of one receiver, new answers come first, then those
        that have waited longest.

        Args:
            takes: called with (id, owner, receiver) in this order; requests for which it returns False are left out.
            longest_s: the longest pause between attempts. An attempt that is due later than that was scheduled before
                the clock was set back, and counts as due now.
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
        """Return the time of the earliest delivery that is due after `after`; None if there is none."""
        query = f"SELECT MIN(next_attempt) FROM requests WHERE {_UNDELIVERED} AND next_attempt > ?"
        ((earliest,),) = self._read(query, after)
        return None if earliest is None else float(earliest)

    def record_attempt(self, id: str, error: str | None, now: float, next_attempt: float | None) -> None:
        """Store the outcome of an attempt to deliver.

        If the clock was set back since the request was finished, `finished` becomes `now`, so that the time in which
        its delivery is attempted does not grow by as much.

        Args:
            error: why it failed; None if it was delivered.
            next_attempt: if it failed, when the next attempt is due; None: never.

        Raises:
            NoSuchRequestError: if there is no request with this id.
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
        """The number of requests that are neither delivered nor given up, of one owner; None: of all."""
        query = "SELECT COUNT(*) FROM requests WHERE delivered IS NULL AND gave_up IS NULL"
        ((count,),) = self._read(query) if owner is None else self._read(f"{query} AND owner = ?", owner)
        return int(count)

    def remove(self, id: str) -> None:
        """Delete a request, whatever its state; it need not exist."""
        with self._writing() as database:
            database.execute("DELETE FROM requests WHERE id = ?", (id,))

    def forget(self, before: float) -> None:
        """Delete the requests that were delivered or given up before this time."""
        with self._writing() as database:
            database.execute("DELETE FROM requests WHERE delivered < ? OR gave_up < ?", (before, before))

    def _open(self) -> None:
        # The first read takes the lock, which is then kept. This mode has to be set before WAL.
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
        """Yield the database within a transaction, which is rolled back on an error."""
        with self._lock, self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite itself ends the transaction when the disk is full
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
        except sqlite3.ProgrammingError:  # the store was closed
            raise
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self._path} is damaged: {error}. Move it away; a new one is made.") from error


def _stored(value: object) -> object:
    """Convert a value of a field to that of its column."""
    return json.dumps(value, allow_nan=False) if isinstance(value, dict) else value


def _request(row: tuple[Any, ...]) -> StoredRequest:
    values = dict(zip((field.name for field in fields(StoredRequest)), row, strict=True))
    values["fields"] = json.loads(values["fields"])
    values["answer"] = None if values["answer"] is None else json.loads(values["answer"])
    return StoredRequest(**values)


def _check_changed(cursor: sqlite3.Cursor, id: str) -> None:
    if cursor.rowcount == 0:
        raise NoSuchRequestError(f"There is no request {id!r} in this state.")
