"""Two sequences of words, one written and one heard → which words are the same. No times, only strings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BONUS = 2  # for a pair that directly follows another one: words that stand together belong together
_MOST_BITS = 8
_NEAR = 3  # pairs that are at most this many words apart, in both sequences, support each other
_FEW_LETTERS, _MANY_LETTERS = 5, 8  # of pairs that support each other: the first are enough for three or more of them
_AT_A_TIME = 256  # rows between two looks at whether to stop
_NEVER = np.iinfo(np.int32).min // 2

_Row = tuple[NDArray[np.int32], NDArray[np.int32]]
"""For each number of words heard, the best score whose last pair is the last word of both, and of anything else."""


def matched(
    written: Sequence[str], heard: Sequence[str], check: Callable[[], None] = lambda: None
) -> list[tuple[int, int]]:
    """Pair equal words of two sequences, in order.

    The pairs are those of the longest common subsequence, in which rare words count more than frequent ones, and words
    in a row more than the same words scattered. Short words that stand alone are left out, since a few of them are
    found in any two texts.

    Args:
        check: is called now and then, and may raise an error to stop.

    Returns:
        Pairs of indices, ascending in both.
    """

    def is_trusted(cluster: Sequence[tuple[int, int]]) -> bool:
        if len(cluster) == len(written):
            return True
        n_letters = sum(len(written[index]) for index, _ in cluster)
        return n_letters >= (_FEW_LETTERS if len(cluster) >= 3 else _MANY_LETTERS)

    clusters = _clusters(common_subsequence(written, heard, check))
    return [pair for cluster in clusters if is_trusted(cluster) for pair in cluster]


def _clusters(pairs: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    cluster = list(pairs[:1])
    for before, pair in pairwise(pairs):
        if max(pair[0] - before[0], pair[1] - before[1]) > _NEAR:
            yield cluster
            cluster = []
        cluster.append(pair)
    if cluster:
        yield cluster


def common_subsequence(
    written: Sequence[str], heard: Sequence[str], check: Callable[[], None] = lambda: None
) -> list[tuple[int, int]]:
    """Return the common subsequence with the highest score; see `matched`."""
    table = _Table(written, heard, check)
    pairs: list[tuple[int, int]] = []
    i, j, bonus = len(written), len(heard), 0
    while i and j:
        (pair, other), without = table.row(i), np.maximum(*table.row(i - 1))
        while j and pair[j] + bonus < other[j] != without[j]:
            j, bonus = j - 1, 0
        if j and pair[j] + bonus >= other[j]:
            j, bonus = j - 1, _BONUS
            pairs.append((i - 1, j))
        else:
            bonus = 0
        i -= 1
    return pairs[::-1]


class _Table:
    """The scores of all beginnings of two sequences.

    Every k-th row is kept, and the rows after one of them are computed again when they are asked for, last ones first;
    so the memory it needs grows with the square root of one length, times the other.
    """

    def __init__(self, written: Sequence[str], heard: Sequence[str], check: Callable[[], None]) -> None:
        self._check = check
        counts = Counter(heard)
        numbers = {word: number for number, word in enumerate(counts)}
        self._heard = np.array([numbers[word] for word in heard], np.int32)
        self._words = [
            (numbers[word], _bits(len(heard) / counts[word])) if word in numbers else (-1, 0) for word in written
        ]
        self._step = math.isqrt(len(written)) + 1
        nothing = np.zeros(len(heard) + 1, np.int32)
        self._kept: list[_Row] = [(np.full_like(nothing, _NEVER), nothing)]
        self._block: list[_Row] = []
        self._first = 0
        for number, row in enumerate(self._rows(0, len(written)), 1):
            if number % self._step == 0:
                self._kept.append(row)

    def row(self, i: int) -> _Row:
        """The scores with the first `i` words written."""
        if not self._first <= i < self._first + len(self._block):
            kept = max(i - 1, 0) // self._step  # so that the row before `i` is in the same block
            self._first = kept * self._step
            self._block = [self._kept[kept], *self._rows(self._first, self._first + self._step)]
        return self._block[i - self._first]

    def _rows(self, first: int, end: int) -> Iterator[_Row]:
        row = self._kept[first // self._step]
        for index, (number, bits) in enumerate(self._words[first:end]):
            if index % _AT_A_TIME == 0:
                self._check()
            row = _next_row(row, self._heard == number, bits)
            yield row


def _next_row(before: _Row, equal: NDArray[np.bool_], bits: int) -> _Row:
    """The row after one more written word, which is worth `bits` where it is `equal` to the word heard."""
    paired, other = before
    pair = np.full_like(paired, _NEVER)
    np.copyto(pair[1:], bits + np.maximum(paired[:-1] + _BONUS, other[:-1]), where=equal)
    without = np.maximum(paired, other)
    best = np.maximum.accumulate(np.maximum(pair, without))
    skipped = without
    np.maximum(skipped[1:], best[:-1], out=skipped[1:])
    return pair, skipped


def _bits(rarity: float) -> int:
    """The worth of a word: the logarithm of how rare it is."""
    return min(max(round(math.log2(rarity)), 1), _MOST_BITS)
