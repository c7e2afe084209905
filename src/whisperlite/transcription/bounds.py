"""What lies inside a recording: which parts are transcribed, and times that keep within it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.results import Skipped, Word
from whisperlite.transcription.segments import Draft

Clip = tuple[int, int]


def _frames(seconds: float) -> float:
    """Whole ones for what was made from whole ones: 1.1 · 100 is a little more than 110."""
    return round(seconds * FRAMES_PER_SECOND, 6)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one recording.

    Attributes:
        content_frames: whole frames of 10 ms.
        duration: seconds; the last frame begins up to 10 ms before.
    """

    content_frames: int
    duration: float

    def clips(
        self, asked: Sequence[tuple[float, float | None]], speech: Sequence[tuple[float, float]] | None
    ) -> tuple[list[Clip], list[str], list[Skipped]]:
        """The parts to transcribe as (first, end) in frames, warnings of what was cut, and what has no speech.

        Args:
            asked: (start, end) in seconds; an end of None is that of the recording (correction 1).
            speech: (start, end) in seconds where there is speech; None: everywhere.
        """
        clips, warnings = self._inside(asked)
        if speech is None:
            return clips, warnings, []
        heard = [
            (math.floor(_frames(start)), min(math.ceil(_frames(end)), self.content_frames)) for start, end in speech
        ]
        spoken, silent = [], []
        for first, end in clips:
            at = first
            for a, b in heard:
                begin, stop = max(at, a), min(end, b)  # touching spans share a frame, which is heard once
                if begin < stop:
                    silent += [(at, begin)] if begin > at else []
                    spoken.append((begin, stop))
                    at = stop
            silent += [(at, end)] if end > at else []
        return spoken, warnings, [Skipped(*self.seconds(*each), "vad") for each in silent]

    def _inside(self, asked: Sequence[tuple[float, float | None]]) -> tuple[list[Clip], list[str]]:
        clips, warnings = [], []
        total = self.content_frames
        for start, end in asked:
            first, last = self._frame(start), total if end is None else self._frame(end)
            if (end is not None and end > self.duration) or (first > 0 and first >= total):
                ends = "the end" if end is None else f"{end:g} s"
                warnings.append(f"The clip from {start:g} s to {ends} was cut: the audio has {self.duration:g} s.")
            if first < min(last, total):
                clips.append((first, min(last, total)))
        return clips, warnings

    def _frame(self, seconds: float) -> int:
        """The nearest frame; of times behind the recording one that is behind it too."""
        return round(min(seconds, self.duration + 1.0) * FRAMES_PER_SECOND)

    def seconds(self, first: int, end: int) -> tuple[float, float]:
        """Frames as seconds; what ends with the last frame ends with the recording."""
        return first / FRAMES_PER_SECOND, self.duration if end >= self.content_frames else end / FRAMES_PER_SECOND

    def clamped(self, start: float, end: float, window: Clip, not_before: float) -> tuple[float, float]:
        """Times of a segment, inside its window and not before the end of the segment before it (correction 9).

        Clamped on output only, where no decision depends on them. Answers without timestamps need it too: nothing keeps
        the model from producing some out of order.
        """
        opens, latest = self.seconds(*window)
        latest = max(latest, not_before)  # the segment before may have ended behind a change of language
        first = min(max(round(start, 3), opens, not_before), latest)
        return first, min(max(round(end, 3), first), latest)


def widened_to_words(drafts: Sequence[Draft]) -> list[Draft]:
    """Segments that reach as far as their first and last words do, but not into the words of the next (correction 9).

    The reference leaves the segment's own time where a word at its edge was too long to be believed, and gives the word
    the usual length, which may reach out of it. To cut the word off there would leave a few hundredths of a second.
    """
    found = []
    for index, draft in enumerate(drafts):
        if draft.words:
            start, end = min(draft.start, draft.words[0].start), max(draft.end, draft.words[-1].end)
            after = next((later.words[0].start for later in drafts[index + 1 :] if later.words), math.inf)
            draft = replace(draft, start=start, end=max(draft.end, min(end, after)))
        found.append(draft)
    return found


def words_inside(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """Words inside their segment, each beginning where the one before it ends or later (correction 9)."""
    found, earliest = [], start
    for word in words:
        first = min(max(round(word.start, 3), earliest), end)
        last = min(max(round(word.end, 3), first), end)
        found.append(replace(word, start=first, end=last))
        earliest = last
    return tuple(found)
