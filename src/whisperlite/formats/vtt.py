"""A transcription as WebVTT subtitles (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from whisperlite.formats.cues import cues
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Transcription


def to_vtt(transcription: Transcription, options: SubtitleOptions) -> str:
    """A header and cues, as openai-whisper writes its `.vtt` files.

    Differs: what would begin a tag or the name of a character is escaped, as the standard asks (correction 17).
    """
    blocks = (
        f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{cue.text}\n\n"
        for cue in cues(transcription, options, _escaped)
    )
    return "WEBVTT\n\n" + "".join(blocks)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
