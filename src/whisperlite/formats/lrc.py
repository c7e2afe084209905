"""A transcription as LRC, the format of song lyrics, which openai-whisper does not write."""

from __future__ import annotations

import re

from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.results import Segment, Transcription, Word


def to_lrc(transcription: Transcription, options: SubtitleOptions) -> str:
    """Return a line `[mm:ss.xx]text` for each segment. Minutes continue after 59; an empty line clears the display.

    With `highlight_words`, each word has its own time, `<mm:ss.xx>word`, as in the enhanced format.
    """
    return "".join(
        _line(segment, options.highlight_words)
        for segment in transcription.segments
        # A segment with text but without words is part of a word that another segment shows (see `_runs` in cues.py).
        if not (options.highlight_words and segment.words == () and segment.text.strip())
    )


def _line(segment: Segment, is_enhanced: bool) -> str:
    text = "".join(map(_timed, segment.words)) if is_enhanced and segment.words else segment.text
    one_line = re.sub(r"[\r\n]+", " ", text.strip())
    return f"[{_clock(segment.start)}]{one_line}\n"


def _timed(word: Word) -> str:
    bare = word.word.lstrip()
    return f"{word.word[: len(word.word) - len(bare)]}<{_clock(word.start)}>{bare}"


def _clock(seconds: float) -> str:
    minutes, hundredths = divmod(round(max(seconds, 0.0) * 100), 6000)
    return f"{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"
