"""What an answer of whisperlite depends on, so that answers that were kept are made anew when it changes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import whisperlite

# No transcription depends on these.
_ROOMS_BESIDE = ("formats", "server")
_FILES_BESIDE = ("__main__.py", "cli.py")


@cache
def source_sha256(*others: str) -> str:
    """Return the SHA-256 of all modules of the package that a transcription depends on.

    Args:
        others: paths of further files that the answer depends on, such as `__file__` of the caller.
    """
    package = Path(whisperlite.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        beside = inside.parts[0] in _ROOMS_BESIDE or inside.name in _FILES_BESIDE
        if path.is_file() and path.suffix != ".pyc" and not beside:
            digest.update(inside.as_posix().encode() + path.read_bytes())
    for other in others:
        digest.update(Path(other).read_bytes())
    return digest.hexdigest()
