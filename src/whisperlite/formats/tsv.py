"""A transcription as a table with the start and end of each segment in milliseconds and its text."""

from __future__ import annotations

import re

from whisperlite.formats.timestamps import to_milliseconds
from whisperlite.results import Segment, Transcription


def to_tsv(transcription: Transcription) -> str:
    """Return a header and a line for each segment, separated by tabs, as in openai-whisper's `.tsv` files."""
    return "start\tend\ttext\n" + "".join(map(_row, transcription.segments))


def _row(segment: Segment) -> str:
    # Differs: the reference keeps line breaks in a text, which make two rows of one.
    text = re.sub(r"\r\n|[\t\r\n]", " ", segment.text.strip())
    return f"{to_milliseconds(segment.start)}\t{to_milliseconds(segment.end)}\t{text}\n"
