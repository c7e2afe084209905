"""Cuts a recording into chunks at pauses, and joins their transcriptions. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from whisperlite.results import Transcription, Usage
from whisperlite.transcription.bounds import Clip
from whisperlite.transcription.languages import longest_spoken


def chunks_of(speech: Sequence[Clip], longest: int) -> list[Clip]:
    """Join adjacent spans of speech into chunks of limited length.

    Args:
        speech: the spans, (first, end) in frames, ascending.
        longest: the maximum length of a chunk, in frames. A longer span is a chunk of its own, with several windows.
    """
    chunks: list[Clip] = []
    for first, end in speech:
        if chunks and end - chunks[-1][0] <= longest:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((first, end))
    return chunks


def join(head: Transcription, parts: Sequence[Transcription]) -> Transcription:
    """Join the transcriptions of chunks into that of the recording.

    Args:
        head: what is known about the recording as a whole: its language, its spans without speech, its warnings. It has
            no segments.
        parts: the transcriptions of the chunks, in order.
    """
    segments = tuple(segment for part in parts for segment in part.segments)
    language, probability = head.language, head.language_probability
    if not language and parts:
        language, probability = _most_spoken(parts)
    warnings = dict.fromkeys(text for each in (head, *parts) for text in each.warnings)
    skipped = [span for each in (head, *parts) for span in each.skipped]
    return replace(
        head,
        text="".join(part.text for part in parts),
        segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
        language=language,
        language_probability=probability,
        usage=Usage(
            tokens_input=sum(each.usage.tokens_input for each in (head, *parts)),
            tokens_generated=sum(each.usage.tokens_generated for each in (head, *parts)),
            runtime_ms=0,
            audio_ms=head.usage.audio_ms,
        ),
        warnings=tuple(warnings),
        skipped=tuple(sorted(skipped, key=lambda span: (span.start, span.end))),
        attempts=tuple(attempt for part in parts for attempt in part.attempts),
    )


def _most_spoken(parts: Sequence[Transcription]) -> tuple[str, float | None]:
    """The language of most of the segments' time, and its mean probability over the chunks in that language."""
    segments = (segment for part in parts for segment in part.segments)
    language = longest_spoken((part.language for part in parts), segments)
    found = [
        part.language_probability
        for part in parts
        if part.language == language and part.language_probability is not None
    ]
    return language, fmean(found) if found else None
