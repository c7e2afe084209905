"""Who may ask: bearer tokens, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

from whisperlite.errors import OptionError
from whisperlite.server.logs import log

ENVIRONMENT = "environment"  # the name of the token that comes from there
_PREFIX = "wl_"
_LINE = re.compile(r"(?P<name>[\w.@-]{1,64}) sha256:(?P<hash>[0-9a-f]{64})")


def new_token() -> str:
    """A token of 256 random bits: nothing can be guessed about it, so a plain hash hides it."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def add_token(file: Path, name: str) -> str:
    """Make a token, write its hash into the file, and return it: this is the only time that it can be seen.

    Raises:
        OptionError: a name that cannot be written in one word, or that is taken.
        OSError: the file cannot be written.
    """
    if not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise OptionError(f"{name!r} is no name of a token: it takes 1 to 64 letters, digits, and any of . @ _ -")
    if name == ENVIRONMENT or (file.exists() and name in read_hashes(file)):
        raise OptionError(f"There is a token named {name!r}: remove its line from {file}, or give another name.")
    token = new_token()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = file.read_text(encoding="utf-8") if file.exists() else ""
    separator = "\n" if written and not written.endswith("\n") else ""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as lines:
        lines.write(f"{separator}{name} sha256:{hash_of(token)}\n")
    return token


def read_hashes(file: Path) -> dict[str, str]:
    """Name → hash of each token of the file, in which empty lines and those that begin with # say nothing.

    Raises:
        OptionError: a line that is something else.
        OSError: it cannot be read.
    """
    hashes: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise OptionError(
                f"{file}, line {number}: not a name and the hash of a token, as `whisperlite token` writes."
            )
        hashes[match["name"]] = match["hash"]
    return hashes


class Gatekeeper:
    """Knows the tokens. A file that changes is read again, so that a token can be added or withdrawn at any time.

    Args:
        file: of the hashes; None: everyone comes in.
        extra: hashes of further tokens, by name.
    """

    def __init__(self, file: Path | None, extra: dict[str, str] | None = None) -> None:
        self._file = file
        self._extra = extra or {}
        self._read: tuple[int, dict[str, str]] = (-1, {})

    def hashes(self) -> dict[str, str]:
        """Name → hash of each token that there is now."""
        if self._file is None or not self._file.exists():
            return self._extra
        changed = self._file.stat().st_mtime_ns
        if changed != self._read[0]:
            try:
                self._read = (changed, read_hashes(self._file))
            except (OptionError, OSError, ValueError) as error:  # those that were good go on being so
                log("the file of tokens cannot be read", logging.ERROR, error=str(error))
                self._read = (changed, self._read[1])
        return {**self._read[1], **self._extra}

    @property
    def has_many(self) -> bool:
        """Whether there is more than one token."""
        return len(self.hashes()) > 1

    def owner(self, authorization: str | None) -> str | None:
        """The hash of the token in an `Authorization` header, by which its owner is known; None: it lets nobody in."""
        if self._file is None:
            return ""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = hash_of(token.strip())
        # Every hash is compared, to its end: how long it takes says nothing of the tokens that there are.
        matching = [kept for kept in self.hashes().values() if hmac.compare_digest(given, kept)]
        return matching[0] if matching else None
