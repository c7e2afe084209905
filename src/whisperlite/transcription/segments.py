"""A window's tokens → its segments, and where the next window begins (reference: `transcribe`, its main loop)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.results import Word
from whisperlite.text.vocabulary import TIMESTAMP_SECONDS

FRAMES_PER_TIMESTAMP = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment before it has a text.

    Attributes:
        start, end: seconds from the beginning of its window.
        tokens: ids of text and timestamps.
        is_last: the window's output ends with it.
    """

    start: float
    end: float
    tokens: tuple[int, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment that decisions are still made about: its times are those of the model, not yet kept in bounds.

    Attributes:
        start, end: seconds of the recording.
        text: as decoded.
        tokens: ids of text and timestamps.
        text_tokens: those of text.
        is_truncated: its output was cut at the token limit.
        words: None: not asked for.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    text_tokens: tuple[int, ...]
    is_truncated: bool
    words: tuple[Word, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Without words or length; the reference empties such segments, and keeps them."""
        return self.start == self.end or not self.text.strip()


def cut_window(
    tokens: Sequence[int], *, n_frames: int, timestamps: range, is_final: bool = False
) -> tuple[list[Piece], int]:
    """Cut where one segment's end meets the next one's start.

    Args:
        tokens: the window's output.
        n_frames: content of the window, in frames.
        timestamps: their ids.
        is_final: there is no next window: a text that is left ends with the content. Differs: the reference encodes
            what is left for itself.

    Returns:
        The pieces, and by how many frames to move on. An unfinished last segment is left to the next window, which
        begins where the last finished one ends; a single timestamp at the end says that no speech follows.
    """
    is_time, timestamp_begin = [token in timestamps for token in tokens], timestamps.start
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    single_ending = ends_alone(tokens, timestamps)
    if not cuts:
        times = [token - timestamp_begin for token, is_one in zip(tokens, is_time, strict=True) if is_one]
        # A lone timestamp is where the speech ends.
        end = times[-1] * TIMESTAMP_SECONDS if times and times[-1] else n_frames / FRAMES_PER_SECOND
        return [Piece(0.0, end, tuple(tokens), True)], n_frames
    is_whole = single_ending or (is_final and not all(is_time[cuts[-1] :]))
    if is_whole:
        cuts.append(len(tokens))

    def seconds(index: int) -> float:
        return (tokens[index] - timestamp_begin) * TIMESTAMP_SECONDS

    pieces = []
    for begin, end in zip([0, *cuts], cuts, strict=False):
        # Where an answer begins with text, its first piece starts before the window, and is clamped to it.
        start_s = seconds(begin) if is_time[begin] else -timestamp_begin * TIMESTAMP_SECONDS
        end_s = seconds(end - 1) if is_time[end - 1] else max(n_frames / FRAMES_PER_SECOND, start_s)
        pieces.append(Piece(start_s, end_s, tuple(tokens[begin:end]), is_last=end == len(tokens)))
    if is_whole:
        return pieces, n_frames
    return pieces, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP


def ends_alone(tokens: Sequence[int], timestamps: range) -> bool:
    """Whether the output ends in one timestamp after text: no speech follows in the window."""
    return [token in timestamps for token in tokens[-2:]] == [False, True]
