"""A window, and what became of it: what passes between the steps of a session."""

from __future__ import annotations

from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.decoding.asks import Decoded
from whisperlite.decoding.encoding import Encoding
from whisperlite.transcription.segments import Piece


@dataclass(frozen=True, slots=True)
class WindowSpan:
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
        is_cut: it ends where it has moved on to; what follows in the window is for the next one, on purpose.
    """

    span: WindowSpan
    decoded: Decoded
    last_temperature: float
    has_failed: bool
    encoding: Encoding
    pieces: list[Piece]
    moved: int
    is_complete: bool
    is_cut: bool = False

    @property
    def said_frames(self) -> int:
        """Of the window, in which its words are."""
        return self.moved if self.is_cut else self.span.n_frames

    def only(self, kept: list[Piece], *, otherwise: int) -> Outcome:
        """Its first pieces alone; what follows them is in another language.

        Args:
            otherwise: by how many frames to move on where they take no time.
        """
        moved = min(round(kept[-1].end * FRAMES_PER_SECOND), self.span.n_frames) or otherwise
        return replace(self, pieces=kept, moved=moved, is_complete=False, is_cut=True)
