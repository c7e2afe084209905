"""Authentication by bearer tokens, of which only hashes are stored."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import itertools
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from whisperlite.errors import OptionError
from whisperlite.server.logs import log

if sys.platform != "win32":
    import fcntl

ENVIRONMENT = "environment"  # the name of the token from the environment variable
_PREFIX = "wl_"
_DEFAULT_NAME = "default"
_MOMENT_S = 1.0  # an editor may remove or empty a file before it writes the new one
_MOST_OPENINGS = 10  # attempts to open a file that is replaced again and again
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_LINE = re.compile(r"(?P<name>[\w.@-]{1,64}) sha256:(?P<hash>[0-9a-f]{64})")


def new_token() -> str:
    """Return a token of 256 random bits, which are not guessable, so a plain hash is enough to hide it."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def add_token(file: Path, name: str | None = None) -> str:
    """Create a token, add its hash to the file, and return the token, which cannot be shown again.

    Args:
        name: whose token it is; None: the first free one of "default", "default-2", "default-3", ….

    Raises:
        OptionError: if the name is not valid or is taken, or if the file contains anything other than tokens.
        OSError: if the file cannot be read or written.
    """
    if name is not None and not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise OptionError(f"{name!r} is not a valid token name: use 1 to 64 letters, digits, and any of . @ _ -")
    token = new_token()
    with _locked(file) as lines:
        lines.seek(0)
        written = lines.read()
        taken = {ENVIRONMENT, *_parse_hashes(written, file).values()}
        if name is None:
            numbered = (f"{_DEFAULT_NAME}-{number}" for number in itertools.count(2))
            name = next(each for each in itertools.chain([_DEFAULT_NAME], numbered) if each not in taken)
        if name in taken:
            raise OptionError(
                f"There is a token named {name!r} already: remove its line from {file}, or choose another name."
            )
        separator = "\n" if written and not written.endswith(b"\n") else ""
        lines.write(f"{separator}{name} sha256:{hash_of(token)}\n".encode())
    return token


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[BinaryIO]:
    """Open the file for reading and appending, creating it for this user alone if it is missing, and lock it.

    Other callers wait for the lock, also in other processes. Windows and some file systems have no such lock.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for opening in range(1, _MOST_OPENINGS + 1):
        with os.fdopen(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "ab+") as lines:
            _lock(lines)
            if opening == _MOST_OPENINGS or _is_at(lines, file):
                yield lines
                return


def _lock(lines: BinaryIO) -> None:
    """Lock the file until it is closed, which also writes its buffer."""
    if sys.platform != "win32":
        try:
            fcntl.flock(lines, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def _is_at(lines: BinaryIO, file: Path) -> bool:
    """Whether an open file is still the one at its path: an editor may have renamed a new one into its place."""
    try:
        return os.path.samestat(os.fstat(lines.fileno()), file.stat())
    except FileNotFoundError:
        return False


def read_hashes(file: Path) -> dict[str, str]:
    """Hash → name of each token in the file; empty lines and those that begin with # are skipped.

    Names may be there more than once, as after an edit by hand.

    Raises:
        OptionError: if any other line is not a name and a hash.
        OSError: if the file cannot be read.
    """
    return _parse_hashes(file.read_bytes(), file)


def _parse_hashes(content: bytes, file: Path) -> dict[str, str]:
    hashes, wrong = _parse_lines(content)
    if wrong is not None:
        raise _wrong_line(file, wrong)
    return hashes


def _wrong_line(file: Path, number: int) -> OptionError:
    return OptionError(f"{file}, line {number}: expected a name and a hash, as `whisperlite token` writes them.")


def _parse_lines(content: bytes) -> tuple[dict[str, str], int | None]:
    """The valid lines, as hash → name, and the number of the first invalid one, if any."""
    hashes: dict[str, str] = {}
    wrong: int | None = None
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            hashes[match["hash"]] = match["name"]
        elif wrong is None:
            wrong = number
    return hashes, wrong


def three_quarters(places: int) -> int:
    """The most of `places` that one of several owners may hold."""
    return max(1, places * 3 // 4)


class TokenRegistry:
    """The valid tokens. The file is read again when it changes, so tokens can be added or revoked at any time.

    While a line is invalid, no token is added, and those that were read before stay valid as long as the file has
    their hash. A file that cannot be read changes nothing. Deleting or emptying the file revokes all of its tokens, one
    second after the file was last seen: until then an editor may be replacing it.

    Args:
        file: the file of token hashes; None: every request is accepted.
        extra: names of further tokens, by hash.
    """

    def __init__(self, file: Path | None, extra: dict[str, str] | None = None) -> None:
        self._file = file
        self._extra = extra or {}
        self._found: tuple[int, ...] | None = None  # the state of the file that was read
        self._told: tuple[int, ...] | None = None  # the state of a file that could not be read and was logged
        self._seen = float("-inf")
        self._read: dict[str, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether every request is accepted."""
        return self._file is None

    def hashes(self) -> dict[str, str]:
        """Hash → name of each token that is valid now."""
        if self._file is not None:
            self._look_at(self._file)
        return {**self._read, **self._extra}

    def _look_at(self, file: Path) -> None:
        now = time.monotonic()
        try:
            state = file.stat()
            found = (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)
            if found != self._found:
                self._read_again(file, found)
            self._seen = now
        except OSError as error:
            if now - self._seen <= _MOMENT_S:
                return
            if self._read:
                log("the file of tokens is gone or empty, and so are its tokens", logging.ERROR, error=str(error))
            self._found, self._read = None, {}

    def _read_again(self, file: Path, found: tuple[int, ...]) -> None:
        try:
            content = file.read_bytes()
            if not content:
                raise FileNotFoundError(f"{file} is empty")
            good, wrong = _parse_lines(content)
            if wrong is not None:
                self._read = {kept: name for kept, name in self._read.items() if kept in good}
                raise _wrong_line(file, wrong)
            self._read, self._found = good, found
        except FileNotFoundError:
            raise
        except (OptionError, OSError) as error:  # the remaining tokens stay valid; the next call tries again
            if found != self._told:
                log("the file of tokens cannot be read", logging.ERROR, error=str(error))
            self._told = found

    @property
    def has_many(self) -> bool:
        """Whether there is more than one token."""
        return len(self.hashes()) > 1

    def share(self, places: int) -> int:
        """How many of `places` one token may hold: all of them if it is the only one, else three quarters."""
        return three_quarters(places) if self.has_many else places

    def owner(self, authorization: str | None) -> str | None:
        """The hash of the token in an `Authorization` header, which identifies its owner; None if it is not valid."""
        if self.is_open:
            return ""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = hash_of(token.strip())
        # Compare with every hash, in constant time, so that timing reveals nothing about the tokens.
        matching = [kept for kept in self.hashes() if hmac.compare_digest(given, kept)]
        return matching[0] if matching else None

    def name_of(self, owner: str) -> str | None:
        """The name of the token with this hash; None if there is none, or not any more."""
        return self.hashes().get(owner)
