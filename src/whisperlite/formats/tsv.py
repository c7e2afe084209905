"""A transcription as a table: start and end in milliseconds, and the text."""

from __future__ import annotations

import re

from whisperlite.formats.timestamps import to_milliseconds
from whisperlite.results import Segment, Transcription


def to_tsv(transcription: Transcription) -> str:
    """A line a segment, divided by tabs, as openai-whisper writes its `.tsv` files."""
    return "start\tend\ttext\n" + "".join(map(_row, transcription.segments))


def _row(segment: Segment) -> str:
    # Differs: a line break within a text, which the reference leaves, would make two rows of one.
    text = re.sub(r"\r\n|[\t\r\n]", " ", segment.text.strip())
    return f"{to_milliseconds(segment.start)}\t{to_milliseconds(segment.end)}\t{text}\n"
