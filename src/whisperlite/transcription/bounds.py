"""The bounds of a recording: which parts are transcribed, and times clamped to lie within it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.results import Skipped, Word
from whisperlite.transcription.segments import Draft

Clip = tuple[int, int]


def _frames(seconds: float) -> float:
    """Seconds as frames, without rounding errors: 1.1 · 100 is a little more than 110."""
    return round(seconds * FRAMES_PER_SECOND, 6)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The length of a recording.

    Attributes:
        content_frames: in whole frames of 10 ms.
        duration: in seconds; the last frame begins up to 10 ms before the end.
    """

    content_frames: int
    duration: float

    def clips(
        self, asked: Sequence[tuple[float, float | None]], speech: Sequence[tuple[float, float]] | None
    ) -> tuple[list[Clip], list[str], list[Skipped]]:
        """Return the parts to transcribe.

        Args:
            asked: the clips that were asked for, (start, end) in seconds; an end of None is that of the recording. They
                are cut to the recording (correction 1).
            speech: the spans of speech, (start, end) in seconds; None for the whole recording.

        Returns:
            The parts, (first, end) in frames; warnings about clips that were cut; and the spans without speech.
        """
        clips, warnings = self._inside(asked)
        if speech is None:
            return clips, warnings, []
        spans = [
            (math.floor(_frames(start)), min(math.ceil(_frames(end)), self.content_frames)) for start, end in speech
        ]
        spoken, silent = [], []
        for first, end in clips:
            at = first
            for a, b in spans:
                begin, stop = max(at, a), min(end, b)  # adjacent spans share a frame, which is transcribed once
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
        """The nearest frame; for a time after the recording, some frame after it."""
        return round(min(seconds, self.duration + 1.0) * FRAMES_PER_SECOND)

    def seconds(self, first: int, end: int) -> tuple[float, float]:
        """A span of frames in seconds; if it ends with the last frame, it ends with the recording."""
        return first / FRAMES_PER_SECOND, self.duration if end >= self.content_frames else end / FRAMES_PER_SECOND

    def clamped(self, start: float, end: float, window: Clip, not_before: float) -> tuple[float, float]:
        """Clamp the times of a segment to its window and to the end of the segment before it (correction 9).

        This is done on output only, when no decision depends on the times any more. It also covers answers with
        `without_timestamps`, since nothing prevents the model from producing timestamps out of order there.

        Args:
            start, end: the times of the segment, in seconds.
            window: (first, end) in frames.
            not_before: the end of the segment before, in seconds.
        """
        opens, latest = self.seconds(*window)
        latest = max(latest, not_before)  # the segment before may have ended after a change of language
        first = min(max(round(start, 3), opens, not_before), latest)
        return first, min(max(round(end, 3), first), latest)


def widened_to_words(drafts: Sequence[Draft]) -> list[Draft]:
    """Extend segments to the start of their first and the end of their last word (correction 9).

    A segment does not extend into the words of the next one. Where a word at the edge of a segment is too long to be
    plausible, the reference keeps the segment's own time and gives the word the usual length, which may reach out of
    the segment. Cutting the word off there would leave only a few hundredths of a second.
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
    """Clamp words to their segment and to the end of the word before (correction 9)."""
    found, earliest = [], start
    for word in words:
        first = min(max(round(word.start, 3), earliest), end)
        last = min(max(round(word.end, 3), first), end)
        found.append(replace(word, start=first, end=last))
        earliest = last
    return tuple(found)
