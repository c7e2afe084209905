"""What voice activity detection knows of where a window ends: whether speech follows, and where a pause is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.transcription.outcome import Outcome

_WORD_S = 0.3  # hardly one is shorter
_UNSAID_S = 1.0  # of speech: more than a time of the model is wrong by
_BEFORE_SPEECH_S = 0.2  # that a window hears of the pause it begins in


@dataclass(frozen=True, slots=True)
class Pauses:
    """Where nobody speaks in a recording.

    Attributes:
        spans: (start, end) in seconds, ascending.
    """

    spans: Sequence[tuple[float, float]]

    def before(self, time: float) -> tuple[float, float] | None:
        """The last pause that had ended by then."""
        index = bisect_right(self.spans, time, key=lambda pause: pause[1])
        return self.spans[index - 1] if index else None

    def spoken(self, start: float, end: float) -> float:
        """Seconds of speech in between."""
        first = bisect_right(self.spans, start, key=lambda pause: pause[1])
        silent = (min(stop, end) - max(begin, start) for begin, stop in self.spans[first:] if begin < end)
        return max(end - start, 0.0) - sum(silent)


def without_unheard(outcome: Outcome, pauses: Pauses) -> Outcome:
    """A window whose output says that no speech follows, where speech does: ended where its output ends.

    Differs: the reference passes over all that is left of the window, as it has no one else to ask.
    """
    place = outcome.place
    if not (outcome.is_complete and outcome.pieces) or outcome.moved < place.n_frames:
        return outcome
    said_s = outcome.pieces[-1].end
    moved = round(said_s * FRAMES_PER_SECOND)
    if not 0 < moved < place.n_frames or pauses.spoken(place.offset_s + said_s, place.end_s) < _UNSAID_S:
        return outcome
    return replace(outcome, moved=moved, is_complete=False, is_cut=True)


def ended_in_pause(outcome: Outcome, pauses: Pauses) -> Outcome:
    """A window that ends just behind a pause, ended in that pause.

    The model's times are often late by one or two tenths of a second. The next window would begin within a word, which
    can cost the whole sentence. Differs: the reference knows of no pauses.
    """
    place, end_s = outcome.place, outcome.place.offset_s + outcome.moved / FRAMES_PER_SECOND
    pause = pauses.before(end_s)
    if pause is None or not outcome.pieces or place.seek + outcome.moved >= place.clip_end:
        return outcome
    start, onset = pause
    moved = round((max(start, onset - _BEFORE_SPEECH_S) - place.offset_s) * FRAMES_PER_SECOND)
    last, moved_s = outcome.pieces[-1], moved / FRAMES_PER_SECOND
    if end_s - onset >= _WORD_S or moved_s <= max(last.start, 0.0):
        return outcome
    return replace(outcome, pieces=[*outcome.pieces[:-1], replace(last, end=min(last.end, moved_s))], moved=moved)
