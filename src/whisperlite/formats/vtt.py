"""A transcription as WebVTT subtitles (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

from whisperlite.formats.cues import cues
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Transcription


def to_vtt(transcription: Transcription, options: SubtitleOptions) -> str:
    """Return a header and cues, as in openai-whisper's `.vtt` files.

    Differs: `&` and `<`, which would begin a character reference or a tag, are escaped, as the standard requires
    (correction 17).
    """
    blocks = (
        f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{cue.text}\n\n"
        for cue in cues(transcription, options, _escaped)
    )
    return "WEBVTT\n\n" + "".join(blocks)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
