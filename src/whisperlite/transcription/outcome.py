"""A window, and what became of it: what passes between the steps of a session."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.decoding.asks import Decoded
from whisperlite.decoding.encoding import Encoding
from whisperlite.transcription.segments import Piece

_WORD_S = 0.3  # hardly one is shorter
_BEFORE_SPEECH_S = 0.2  # that a window hears of the pause it begins in


@dataclass(frozen=True, slots=True)
class Place:
    """A window, in frames.

    Attributes:
        seek: where it begins.
        n_frames: its content.
        language: code of the language that it is decoded in.
        clip_end: where the part of the recording ends that it belongs to.
    """

    seek: int
    n_frames: int
    language: str
    clip_end: int

    @property
    def offset_s(self) -> float:
        return self.seek / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        return (self.seek + self.n_frames) / FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a window.

    Attributes:
        decoded: the attempt that decides.
        last_temperature: that the ladder ended with.
        has_failed: every attempt failed a threshold.
        encoding: of the window.
        pieces: of its output.
        moved: by how many frames to move on.
        is_complete: the output says that no speech follows.
        is_cut: what follows in the window is in another language.
    """

    place: Place
    decoded: Decoded
    last_temperature: float
    has_failed: bool
    encoding: Encoding
    pieces: list[Piece]
    moved: int
    is_complete: bool
    is_cut: bool = False

    def only(self, kept: list[Piece], *, otherwise: int) -> Outcome:
        """Its first pieces alone; what follows them is in another language.

        Args:
            otherwise: by how many frames to move on where they take no time.
        """
        moved = min(round(kept[-1].end * FRAMES_PER_SECOND), self.place.n_frames) or otherwise
        return replace(self, pieces=kept, moved=moved, is_complete=False, is_cut=True)

    def ended_in_pause(self, pauses: Sequence[tuple[float, float]]) -> Outcome:
        """Where it ends just behind a pause, it, ended in that pause.

        The model's times are often late by one or two tenths of a second. The next window would begin within a word,
        which can cost the whole sentence. Differs: the reference knows of no pauses.

        Args:
            pauses: (start, end) in seconds of the recording, ascending.
        """
        place, end_s = self.place, self.place.offset_s + self.moved / FRAMES_PER_SECOND
        index = bisect_right(pauses, end_s, key=lambda pause: pause[1]) - 1
        if index < 0 or not self.pieces or place.seek + self.moved >= place.clip_end:
            return self
        start, onset = pauses[index]
        moved = math.ceil((max(start, onset - _BEFORE_SPEECH_S) - place.offset_s) * FRAMES_PER_SECOND)
        last, moved_s = self.pieces[-1], moved / FRAMES_PER_SECOND
        if end_s - onset >= _WORD_S or moved_s <= max(last.start, 0.0):
            return self
        return replace(self, pieces=[*self.pieces[:-1], replace(last, end=min(last.end, moved_s))], moved=moved)
