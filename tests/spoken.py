"""Transcriptions made by hand, of what matters to a reader of the text and its times."""

from __future__ import annotations

from collections.abc import Sequence

from whisperlite.results import Segment, Transcription, Usage, Word


def spoken(*segments: Segment) -> Transcription:
    """A transcription of segments, numbered as they come."""
    return Transcription(
        text="".join(each.text for each in segments),
        segments=segments,
        language="en",
        language_probability=None,
        duration=max([60.0, *(each.end for each in segments)]),
        task="transcribe",
        model="base",
        usage=Usage(0, 0, 0, 60_000),
    )


def segment(
    start: float, end: float, text: str, words: tuple[Word, ...] | None = None, *, number: int = 0, seek: int = 0
) -> Segment:
    return Segment(
        id=number,
        seek=seek,
        start=start,
        end=end,
        text=text,
        tokens=(50364, 50514),
        temperature=0.0,
        avg_logprob=-0.2,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        words=words,
    )


def said(*words: tuple[str, float, float], number: int = 0) -> Segment:
    """A segment with words, from the start of the first to the end of the last."""
    text = "".join(word for word, _, _ in words)
    timed = tuple(Word(word, start, end, 0.9) for word, start, end in words)
    return segment(words[0][1], words[-1][2], text, timed, number=number)


def evenly(texts: Sequence[str], start: float = 0.0, step: float = 1.0) -> Segment:
    """A segment of words that take a step each."""
    return said(*((text, start + index * step, start + (index + 1) * step) for index, text in enumerate(texts)))
