"""whisperlite's own cache folder: joined weights, and checksums of files that are too large to hash at every load."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

from whisperlite.errors import ModelError, OptionError

logger = logging.getLogger("whisperlite")


def whole_path(path: str | os.PathLike[str], option: str | None = None) -> Path:
    """Return a path that a user gave as an absolute one, with `~` expanded.

    Args:
        option: the name of the option that it was given as.

    Raises:
        OptionError: it is neither a string nor a path.
        ModelError: it is not a valid path.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise OptionError(f"{option}={path!r} is not allowed: it takes a path.", option=option)
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{os.fspath(path)!r} is not a path that can be used: {error}.") from error


def user_caches() -> Path | None:
    """The folder for the caches of all programs; None if the user has no home folder."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def cache_folder() -> Path:
    """The cache folder: $WHISPERLITE_CACHE, or else `whisperlite` in the user's cache folder.

    Raises:
        ModelError: the user has no cache folder, or $WHISPERLITE_CACHE is not a valid path.
    """
    if chosen := os.environ.get("WHISPERLITE_CACHE"):
        return whole_path(chosen)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "whisperlite"
    caches = user_caches()
    if caches is None:
        raise ModelError("This user has no home folder for a cache; set WHISPERLITE_CACHE to a folder.")
    return caches / "whisperlite"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """The SHA-256 of a file, computed only if its path, size or modification time is new."""
    if known := remembered_sha256(path):
        return known
    found = sha256_of(path)
    note = _note(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=note.parent)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{_state(path)} {found}")
            Path(temporary).replace(note)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s will be hashed again at the next load: %s cannot be written (%s).", path, note, error)
    return found


def remembered_sha256(path: Path) -> str | None:
    """The SHA-256 that an earlier `sha256_once` computed; None if there is none or the file has changed since."""
    note = _note(path)
    try:
        state, _, sha256 = note.read_text(encoding="ascii", errors="replace").rpartition(" ")
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s cannot be read: %s", note, error)
        return None
    return sha256 if state == _state(path) else None


def _note(path: Path) -> Path:
    return cache_folder() / "sha256" / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
