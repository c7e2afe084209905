"""A window's tokens → its segments, and where the next window begins (reference: `transcribe`, its main loop)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.text.vocabulary import TIMESTAMPS

FRAMES_PER_TIMESTAMP = 2
_SECONDS_PER_TIMESTAMP = FRAMES_PER_TIMESTAMP / FRAMES_PER_SECOND


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


def cut_window(tokens: Sequence[int], *, n_frames: int, timestamp_begin: int) -> tuple[list[Piece], int]:
    """Cut where one segment's end meets the next one's start.

    Args:
        tokens: the window's output.
        n_frames: content of the window, in frames.
        timestamp_begin: id of <|0.00|>.

    Returns:
        The pieces, and by how many frames to move on. An unfinished last segment is left to the next window, which
        begins where the last finished one ends; a single timestamp at the end says that no speech follows.
    """
    is_time = [timestamp_begin <= token < timestamp_begin + len(TIMESTAMPS) for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    single_ending = is_time[-2:] == [False, True]
    if not cuts:
        times = [token - timestamp_begin for token, is_one in zip(tokens, is_time, strict=True) if is_one]
        # A lone timestamp is where the speech ends.
        end = times[-1] * _SECONDS_PER_TIMESTAMP if times and times[-1] else n_frames / FRAMES_PER_SECOND
        return [Piece(0.0, end, tuple(tokens), True)], n_frames
    if single_ending:
        cuts.append(len(tokens))
    pieces = [
        Piece(
            # Where an answer begins with text, its first piece starts before the window, and is clamped to it.
            start=((tokens[begin] if is_time[begin] else 0) - timestamp_begin) * _SECONDS_PER_TIMESTAMP,
            end=(tokens[end - 1] - timestamp_begin) * _SECONDS_PER_TIMESTAMP,
            tokens=tuple(tokens[begin:end]),
            is_last=end == len(tokens),
        )
        for begin, end in zip([0, *cuts], cuts, strict=False)
    ]
    if single_ending:
        return pieces, n_frames
    return pieces, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP
