"""A transcription as plain text, one line a segment."""

from __future__ import annotations

from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Segment, Transcription


def to_txt(transcription: Transcription) -> str:
    """The text alone, one line a segment, as openai-whisper writes its `.txt` files."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcription.segments)


def timed_line(segment: Segment) -> str:
    """`[00:00.000 --> 00:07.000]  Text.`"""
    return f"[{timestamp(segment.start)} --> {timestamp(segment.end)}] {segment.text}"
