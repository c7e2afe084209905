"""A transcription as plain text, one line per segment."""

from __future__ import annotations

from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Segment, Transcription


def to_txt(transcription: Transcription) -> str:
    """Return the text of each segment on a line, as in openai-whisper's `.txt` files."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcription.segments)


def timed_line(segment: Segment) -> str:
    """Return a segment as `[00:00.000 --> 00:07.000]  Text.`, with the space before the text."""
    return f"[{timestamp(segment.start)} --> {timestamp(segment.end)}] {segment.text}"
