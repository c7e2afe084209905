"""A `Transcription` → the text of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from whisperlite.formats.json import to_json
from whisperlite.formats.text import to_txt
from whisperlite.results import Transcription

WRITERS: Mapping[str, Callable[[Transcription], str]] = MappingProxyType({"txt": to_txt, "json": to_json})
"""Name of the format, which is also the file's ending → what writes it."""
