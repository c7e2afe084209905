"""Reads a checkpoint's files as text and JSON; every problem is a `CheckpointError` that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whisperlite.errors import CheckpointError

_POINTER = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Refuse a pointer of Git LFS, which stands for a file that was not fetched.

    Raises:
        CheckpointError: the file is a pointer, or cannot be read.
    """
    if start_of(path, len(_POINTER)) == _POINTER:
        raise CheckpointError(f"{path} is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull")


def start_of(path: Path, length: int) -> bytes:
    """The first bytes of a file, fewer if it is shorter.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        CheckpointError: the file cannot be read, or is a pointer of Git LFS.
    """
    refuse_pointer(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"can't read {path}: {error}") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        CheckpointError: the file cannot be read or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply to be read.") from error
    except ValueError as error:  # also raised for numbers with more digits than Python converts
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file cannot be read, is not JSON, or holds another kind of value.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; an object is expected.")
    return value
