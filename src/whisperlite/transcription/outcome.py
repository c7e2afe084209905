"""A window and the outcome of decoding it: what the steps of a session pass to each other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.decoding.asks import Answer, Ask, Decoded
from whisperlite.decoding.encoding import Encoding
from whisperlite.transcription.segments import Piece

_T = TypeVar("_T")
Asks = Generator[Ask, Answer | None, _T]
"""A step of a session: yields what it asks of the engine and is sent the answers."""


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """Where a window lies in the recording, in frames.

    Attributes:
        seek: the first frame.
        n_frames: the number of frames of content.
        language: the code of the language that it is decoded in.
        clip_end: the end of the clip or chunk that the window belongs to.
    """

    seek: int
    n_frames: int
    language: str
    clip_end: int

    @property
    def offset_s(self) -> float:
        return self.seek / FRAMES_PER_SECOND

    @property
    def content_s(self) -> float:
        return self.n_frames / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        return (self.seek + self.n_frames) / FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of decoding a window.

    Attributes:
        span: the window.
        decoded: the attempt that was chosen.
        last_temperature: the last temperature that was tried.
        has_failed: whether every attempt failed a threshold.
        encoding: the window's encoding.
        pieces: the segments of the output.
        moved: frames from the start of the window to the start of the next one.
        is_complete: whether the output says that no speech follows in the window.
        is_cut: whether the window deliberately ends at `moved`, leaving the rest of its content to the next window.
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
        """The number of frames, from the start of the window, that contain its words."""
        return self.moved if self.is_cut else self.span.n_frames

    def only(self, kept: list[Piece], *, otherwise: int) -> Outcome:
        """The outcome cut after its first pieces, because another language follows.

        Args:
            kept: the pieces to keep.
            otherwise: the frames to move on by if these pieces take no time.
        """
        moved = min(round(kept[-1].end * FRAMES_PER_SECOND), self.span.n_frames) or otherwise
        return replace(self, pieces=kept, moved=moved, is_complete=False, is_cut=True)
