"""Our own cache folder: joined weights, and the checksums of files that are too large to be hashed at every load."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

logger = logging.getLogger("whisperlite")


def cache_folder() -> Path:
    """$WHISPERLITE_CACHE, else `whisperlite` in the user's cache folder."""
    if chosen := os.environ.get("WHISPERLITE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "whisperlite"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisperlite"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """SHA-256 of a file, computed only if its path, size or time of change is new."""
    if known := remembered_sha256(path):
        return known
    found = sha256_of(path)
    note = _note(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_state(path)} {found}")
        Path(temporary).replace(note)
    except OSError as error:
        logger.warning("%s will be hashed again at the next load: %s cannot be written (%s).", path, note, error)
    return found


def remembered_sha256(path: Path) -> str | None:
    """The SHA-256 that an earlier `sha256_once` found, unless the file has changed since."""
    note = _note(path)
    if not note.is_file():
        return None
    state, _, sha256 = note.read_text(encoding="ascii", errors="replace").rpartition(" ")
    return sha256 if state == _state(path) else None


def _note(path: Path) -> Path:
    return cache_folder() / "sha256" / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
