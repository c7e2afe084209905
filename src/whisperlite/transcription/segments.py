"""A window's tokens → its segments and the start of the next window (reference: the main loop of `transcribe`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.results import Word
from whisperlite.text.vocabulary import TIMESTAMP_SECONDS

FRAMES_PER_TIMESTAMP = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment as tokens, before they become text.

    Attributes:
        start, end: seconds from the beginning of the window.
        tokens: the ids of text and timestamps.
        is_last: whether the window's output ends with it.
    """

    start: float
    end: float
    tokens: tuple[int, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment before it is accepted, with the model's own times, which are not yet clamped.

    Attributes:
        start, end: seconds from the beginning of the recording.
        text: the text as decoded.
        tokens: the ids of text and timestamps.
        text_tokens: the ids of text alone.
        is_truncated: whether the output was cut at the token limit within it.
        words: its words; None if they were not asked for.
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
        """Whether it has no text or no duration; the reference keeps such segments, without their content."""
        return self.start == self.end or not self.text.strip()


def cut_window(
    tokens: Sequence[int], *, n_frames: int, timestamps: range, is_final: bool = False
) -> tuple[list[Piece], int]:
    """Cut a window's tokens into segments, between the end of one and the start of the next.

    Args:
        tokens: the window's output.
        n_frames: the window's content, in frames.
        timestamps: the ids of timestamps.
        is_final: whether this is the last window, so that text without an end time ends with the content. Differs: the
            reference decodes it again, in a window of its own.

    Returns:
        The pieces, and the number of frames to move on by. An unfinished last segment is left to the next window, which
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
        # If the output begins with text, its first piece starts before the window; it is clamped later.
        start_s = seconds(begin) if is_time[begin] else -timestamp_begin * TIMESTAMP_SECONDS
        end_s = seconds(end - 1) if is_time[end - 1] else max(n_frames / FRAMES_PER_SECOND, start_s)
        pieces.append(Piece(start_s, end_s, tuple(tokens[begin:end]), is_last=end == len(tokens)))
    if is_whole:
        return pieces, n_frames
    return pieces, (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP


def ends_alone(tokens: Sequence[int], timestamps: range) -> bool:
    """Whether the output ends with a single timestamp after text, which says that no speech follows in the window."""
    return [token in timestamps for token in tokens[-2:]] == [False, True]
