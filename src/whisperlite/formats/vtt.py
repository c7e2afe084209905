"""A transcription as WebVTT subtitles (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from whisperlite.formats.cues import cues
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Transcription


def to_vtt(transcription: Transcription, options: SubtitleOptions) -> str:
    """A header and cues, as openai-whisper writes its `.vtt` files."""
    blocks = (
        f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{cue.text}\n\n" for cue in cues(transcription, options)
    )
    return "WEBVTT\n\n" + "".join(blocks)
