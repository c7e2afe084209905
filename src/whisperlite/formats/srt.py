"""A transcription as SubRip subtitles."""

from __future__ import annotations

from whisperlite.formats.cues import cues
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Transcription


def to_srt(transcription: Transcription, options: SubtitleOptions) -> str:
    """Return numbered cues, as in openai-whisper's `.srt` files."""
    return "".join(
        f"{number}\n{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.text}\n\n"
        for number, cue in enumerate(cues(transcription, options), start=1)
    )


def _clock(seconds: float) -> str:
    return timestamp(seconds, always_hours=True, decimal=",")
