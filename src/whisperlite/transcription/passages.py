"""Segments with rough times → passages, each with its part of the recording, and the windows that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES
from whisperlite.nn.config import FRAMES_PER_POSITION
from whisperlite.results import Segment
from whisperlite.text.prompt import N_TEXT_CTX
from whisperlite.transcription.bounds import Bounds

LONGEST_S = WINDOW_FRAMES / FRAMES_PER_SECOND  # of a passage
MARGIN_S = 0.5  # after a segment, whose end is not exact
MOST_TOKENS = N_TEXT_CTX - 8  # of a passage; the prompt and the end take fewer than 8


@dataclass(frozen=True, slots=True)
class Passage:
    """Segments with text that are aligned together, and where their words are looked for.

    Attributes:
        segments: at least one.
        first, end: the span, in frames; no longer than a window.
    """

    segments: tuple[Segment, ...]
    first: int
    end: int

    @classmethod
    def between(cls, segments: Sequence[Segment], start: float, end: float, bounds: Bounds) -> Passage:
        """A passage from `start` to `end` in seconds, which are cut to the recording and to a window's length."""
        first = min(frames(start), max(bounds.content_frames - 1, 0))
        last = min(frames(end), first + WINDOW_FRAMES, bounds.content_frames)
        return cls(tuple(segments), first, max(last, first + 1))

    def part_of_window(self, seek: int) -> tuple[int, int]:
        """The span in the encoding of a window, (first, end) in positions of 20 ms; at least one.

        Args:
            seek: the first frame of the window.
        """
        first = (self.first - seek) // FRAMES_PER_POSITION
        return first, max((self.end - seek) // FRAMES_PER_POSITION, first + 1)


def passages_of(segments: Sequence[Segment], bounds: Bounds) -> Iterator[Passage]:
    """Yield each segment with text as a passage: from its start to half a second after its end, or to the next's start.

    Args:
        segments: with times that `check_transcript` accepts.
        bounds: of the recording, in which the segments begin.
    """
    written = with_text(segments)
    starts = [*(each.start for each in written), bounds.duration][1:]
    for each, after in zip(written, starts, strict=True):
        yield Passage.between([each], each.start, min(each.end + MARGIN_S, max(each.end, after)), bounds)


def windows_of(passages: Iterable[Passage]) -> Iterator[tuple[int, list[Passage]]]:
    """Yield windows that are encoded together: the first frame, and as many passages as fit.

    Args:
        passages: in the order of their first frames.
    """
    group: list[Passage] = []
    for passage in passages:
        assert not group or group[-1].first <= passage.first, "passages are in order"
        if group and passage.end - group[0].first > WINDOW_FRAMES:
            yield group[0].first, group
            group = []
        group.append(passage)
    if group:
        yield group[0].first, group


def frames(seconds: float) -> int:
    """The nearest frame."""
    return round(seconds * FRAMES_PER_SECOND)


def with_text(segments: Sequence[Segment]) -> list[Segment]:
    """The segments that have words to be found."""
    return [each for each in segments if each.text.strip()]
