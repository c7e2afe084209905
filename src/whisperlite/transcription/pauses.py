"""What voice activity detection knows of where a window ends: whether speech follows, and where a pause is."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.transcription.outcome import Outcome

_WORD_S = 0.3  # hardly one is shorter, and the model's times are hardly later or earlier by more
_UNSAID_S = 1.0  # of speech
_BEFORE_SPEECH_S = 0.2  # that a window hears of the pause it begins in


@dataclass(frozen=True, slots=True)
class Pauses:
    """Where nobody speaks in a recording.

    Attributes:
        spans: (start, end) in seconds, ascending.
    """

    spans: Sequence[tuple[float, float]]

    def _ended(self, time: float) -> int:
        """How many have ended by then."""
        return bisect_right(self.spans, time, key=lambda pause: pause[1])

    def before(self, time: float) -> tuple[float, float]:
        """The last pause that has ended by then; one before all time where there is none."""
        index = self._ended(time)
        return self.spans[index - 1] if index else (-math.inf, -math.inf)

    def after(self, time: float) -> float:
        """When the next one begins; a time before this one where it is in the middle of a pause."""
        index = self._ended(time)
        return self.spans[index][0] if index < len(self.spans) else math.inf

    def spoken(self, start: float, end: float) -> float:
        """Seconds of speech in between."""
        last = bisect_left(self.spans, end, key=lambda pause: pause[0])
        silent = (min(stop, end) - max(begin, start) for begin, stop in self.spans[self._ended(start) : last])
        return max(end - start, 0.0) - sum(silent)


def ended_before_missed_speech(outcome: Outcome, pauses: Pauses) -> Outcome:
    """A window whose output says that no speech follows, where speech does: ended where its output ends.

    Differs: the reference passes over all that is left of the window, as it has no one else to ask.
    """
    span = outcome.span
    # Of an attempt that failed neither the text nor the times are worth much.
    if not outcome.is_complete or outcome.moved < span.n_frames or outcome.has_failed:
        return outcome
    end_s = span.offset_s + outcome.pieces[-1].end
    if end_s <= (pause_s := pauses.after(end_s)) < end_s + _WORD_S:
        end_s = pause_s  # the last word was not yet over
    moved = round(end_s * FRAMES_PER_SECOND) - span.seek
    if not 0 < moved < span.n_frames or pauses.spoken(end_s, span.end_s) < _UNSAID_S:
        return outcome
    return replace(outcome, moved=moved, is_complete=False, is_cut=True)


def ended_in_pause(outcome: Outcome, pauses: Pauses) -> Outcome:
    """A window that ends just behind a pause, ended in that pause.

    The model's times are often late by one or two tenths of a second. The next window would begin within a word, which
    can cost the whole sentence. Not where that word may be over: the text has it then. Differs: the reference knows of
    no pauses.
    """
    span, end_s = outcome.span, outcome.span.offset_s + outcome.moved / FRAMES_PER_SECOND
    if outcome.moved >= span.n_frames:  # it has ended because the window does
        return outcome
    start, onset = pauses.before(end_s)
    if end_s - onset >= _WORD_S or pauses.after(end_s) < end_s + _WORD_S:
        return outcome
    moved = round((max(start, onset - _BEFORE_SPEECH_S) - span.offset_s) * FRAMES_PER_SECOND)
    last, moved_s = outcome.pieces[-1], moved / FRAMES_PER_SECOND
    if moved_s <= max(last.start, 0.0):
        return outcome
    return replace(outcome, pieces=[*outcome.pieces[:-1], replace(last, end=min(last.end, moved_s))], moved=moved)
