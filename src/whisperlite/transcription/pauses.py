"""Corrects the ends of windows by the pauses that voice activity detection has found."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.transcription.outcome import Outcome

_WORD_S = 0.3  # few words are shorter, and the model's times are seldom off by more
_MISSED_S = 1.0  # speech that an output must have missed to be corrected
_BEFORE_SPEECH_S = 0.2  # of a pause that a window keeps before the speech it begins with


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses in a recording, during which nobody speaks.

    Attributes:
        spans: the pauses, (start, end) in seconds, ascending.
    """

    spans: Sequence[tuple[float, float]]

    def _ended(self, time: float) -> int:
        """The number of pauses that have ended by then."""
        return bisect_right(self.spans, time, key=lambda pause: pause[1])

    def before(self, time: float) -> tuple[float, float]:
        """The last pause that has ended by then; (-inf, -inf) if there is none."""
        index = self._ended(time)
        return self.spans[index - 1] if index else (-math.inf, -math.inf)

    def after(self, time: float) -> float:
        """The start of the first pause that has not ended by then: before `time` if it lies in a pause; inf if none."""
        index = self._ended(time)
        return self.spans[index][0] if index < len(self.spans) else math.inf

    def spoken(self, start: float, end: float) -> float:
        """The seconds of speech between two times."""
        last = bisect_left(self.spans, end, key=lambda pause: pause[0])
        silent = (min(stop, end) - max(begin, start) for begin, stop in self.spans[self._ended(start) : last])
        return max(end - start, 0.0) - sum(silent)


def ended_before_missed_speech(outcome: Outcome, pauses: Pauses) -> Outcome:
    """End a window where its output ends, if the output says that no speech follows although speech does.

    Differs: the reference skips the rest of the window, having no other source to check.
    """
    span = outcome.span
    # If every attempt has failed, neither the text nor its times are reliable.
    if not outcome.is_complete or outcome.moved < span.n_frames or outcome.has_failed:
        return outcome
    end_s = span.offset_s + outcome.pieces[-1].end
    if end_s <= (pause_s := pauses.after(end_s)) < end_s + _WORD_S:
        end_s = pause_s  # the last word was not yet over
    moved = round(end_s * FRAMES_PER_SECOND) - span.seek
    if not 0 < moved < span.n_frames or pauses.spoken(end_s, span.end_s) < _MISSED_S:
        return outcome
    return replace(outcome, moved=moved, is_complete=False, is_cut=True)


def ended_in_pause(outcome: Outcome, pauses: Pauses) -> Outcome:
    """End a window within a pause if it would end just after it.

    The model's times are often late by one or two tenths of a second. The next window would then begin within a word,
    which can cost the whole sentence. If that word may be over, the window is unchanged: its text has the word then.
    Differs: the reference does not know about pauses.
    """
    span, end_s = outcome.span, outcome.span.offset_s + outcome.moved / FRAMES_PER_SECOND
    if outcome.moved >= span.n_frames:  # it ends with its content
        return outcome
    start, onset = pauses.before(end_s)
    if end_s - onset >= _WORD_S or pauses.after(end_s) < end_s + _WORD_S:
        return outcome
    moved = round((max(start, onset - _BEFORE_SPEECH_S) - span.offset_s) * FRAMES_PER_SECOND)
    last, moved_s = outcome.pieces[-1], moved / FRAMES_PER_SECOND
    if moved_s <= max(last.start, 0.0):
        return outcome
    return replace(outcome, pieces=[*outcome.pieces[:-1], replace(last, end=min(last.end, moved_s))], moved=moved)
