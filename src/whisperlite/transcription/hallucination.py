"""Drops hallucinated words: those that are improbable, very short or very long, and surrounded by silence.

Reference: `hallucination_silence_threshold` in `transcribe`. No tensors, only the times and probabilities of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.results import Word
from whisperlite.transcription.segments import Draft

_IMPROBABLE = 0.15
_SHORTEST_S, _LONGEST_S = 0.133, 2.0
_WORDS_LOOKED_AT = 8
_WORST = 3.0
_EDGE_S = 2.0  # a segment within this distance of an end of the window has silence on that side


@dataclass(frozen=True, slots=True)
class WindowTimes:
    """The times of a window, in seconds from the beginning of the recording.

    Attributes:
        start: its start.
        end: its end if it were full.
        content_end: the end of its content.
        recording_end: the end of the recording's content.
    """

    start: float
    end: float
    content_end: float
    recording_end: float


@dataclass(frozen=True, slots=True)
class FilteredWindow:
    """A window without hallucinations.

    Attributes:
        kept: the remaining segments.
        next_s: the start of the next window in seconds; None if it is unchanged.
        silence: the span (start, end) that is skipped, or None.
        is_void: whether the window begins with silence and is to be decoded again without it, as if it had never been
            decoded: it does not affect later prompts.
    """

    kept: list[Draft]
    next_s: float | None = None
    silence: tuple[float, float] | None = None
    is_void: bool = False


def without_hallucinations(
    drafts: Sequence[Draft], window: WindowTimes, *, threshold_s: float, last_speech_end_s: float, punctuation: str
) -> FilteredWindow:
    """Drop the segments of a window from the first hallucination on, and say where to continue.

    Args:
        drafts: the segments, with their words.
        window: the window.
        threshold_s: the duration above which a silence may contain hallucinations.
        last_speech_end_s: where speech ended in the windows before, in seconds.
        punctuation: words that consist of this are ignored.
    """
    spoken = [draft for draft in drafts if draft.words]
    if spoken and is_anomaly(spoken[0], punctuation) and spoken[0].start - window.start > threshold_s:
        return FilteredWindow([], spoken[0].start, (window.start, spoken[0].start), is_void=True)
    speech_end = last_speech_end_s
    for index, draft in enumerate(drafts):
        if not draft.words:
            continue
        after = next((later for later in drafts[index + 1 :] if later.words), None)
        if is_anomaly(draft, punctuation) and _is_amid_silence(
            draft, after, window, speech_end, threshold_s, punctuation
        ):
            next_s = max(window.start + 1, draft.start)
            if window.recording_end - draft.end < threshold_s:
                next_s = window.recording_end
            return FilteredWindow(list(drafts[:index]), next_s, (max(speech_end, window.start), next_s))
        speech_end = draft.end
    return FilteredWindow(list(drafts))


def _is_amid_silence(
    draft: Draft, after: Draft | None, window: WindowTimes, speech_end: float, threshold_s: float, punctuation: str
) -> bool:
    """Whether there is silence before the segment, and silence or another hallucination after it."""
    before = draft.start - speech_end > threshold_s or draft.start < threshold_s or draft.start - window.start < _EDGE_S
    next_start = after.words[0].start if after is not None and after.words else window.content_end
    return before and (
        next_start - draft.end > threshold_s
        or (after is not None and is_anomaly(after, punctuation))
        or window.end - draft.end < _EDGE_S
    )


def is_anomaly(draft: Draft, punctuation: str) -> bool:
    """Whether the first words of a segment look hallucinated."""
    words = [word for word in draft.words or () if word.word not in punctuation][:_WORDS_LOOKED_AT]
    score = sum(map(_anomaly, words))
    return bool(draft.words) and (score >= _WORST or score + 0.01 >= len(words))


def _anomaly(word: Word) -> float:
    duration = word.end - word.start
    score = 1.0 if word.probability < _IMPROBABLE else 0.0
    score += max(_SHORTEST_S - duration, 0.0) * 15
    return score + max(duration - _LONGEST_S, 0.0)
