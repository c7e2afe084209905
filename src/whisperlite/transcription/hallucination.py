"""Words made up where nobody speaks: they are improbable, very short or very long, and lie amid silence.

Reference: `transcribe`, `hallucination_silence_threshold`. No tensors: the times and probabilities of words only.
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
_EDGE_S = 2.0  # so near to an end of the window counts as silence on that side


@dataclass(frozen=True, slots=True)
class WindowTimes:
    """A window, in seconds of the recording.

    Attributes:
        start: where it begins.
        end: where it would end if it were full.
        content_end: where its content ends.
        recording_end: where the recording's content ends.
    """

    start: float
    end: float
    content_end: float
    recording_end: float


@dataclass(frozen=True, slots=True)
class FilteredWindow:
    """What is left of a window.

    Attributes:
        kept: segments.
        next_s: where the next window begins; None: where it would have begun.
        silence: (start, end) that is passed over, or None.
        is_void: the window begins with silence and is decoded again without it, as if it had never been decoded: it
            leaves no mark on the prompts of what follows.
    """

    kept: list[Draft]
    next_s: float | None = None
    silence: tuple[float, float] | None = None
    is_void: bool = False


def without_hallucinations(
    drafts: Sequence[Draft], window: WindowTimes, *, threshold_s: float, last_speech_end_s: float, punctuation: str
) -> FilteredWindow:
    """Drop what was probably made up, and look again from there.

    Args:
        drafts: of the window, with their words.
        threshold_s: silence that is longer may hold hallucinations.
        last_speech_end_s: where speech ended in the window before.
        punctuation: words of it alone say nothing.
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
    """Whether there is silence, or another hallucination, on both sides."""
    before = draft.start - speech_end > threshold_s or draft.start < threshold_s or draft.start - window.start < _EDGE_S
    next_start = after.words[0].start if after is not None and after.words else window.content_end
    return before and (
        next_start - draft.end > threshold_s
        or (after is not None and is_anomaly(after, punctuation))
        or window.end - draft.end < _EDGE_S
    )


def is_anomaly(draft: Draft, punctuation: str) -> bool:
    """Whether its first words look made up."""
    words = [word for word in draft.words or () if word.word not in punctuation][:_WORDS_LOOKED_AT]
    score = sum(map(_anomaly, words))
    return bool(draft.words) and (score >= _WORST or score + 0.01 >= len(words))


def _anomaly(word: Word) -> float:
    duration = word.end - word.start
    score = 1.0 if word.probability < _IMPROBABLE else 0.0
    score += max(_SHORTEST_S - duration, 0.0) * 15
    return score + max(duration - _LONGEST_S, 0.0)
