"""The decoder's memory as a value: keys and values of the text so far, and of the audio.

Storage is allocated once and written in place; what says how much of it is valid (`lengths`) is replaced, never
changed. After a step only the cache that it returned may be used.

Axes: L layers, W windows, R rows (W windows × K queries each), H heads, T text positions, S audio frames, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ONE_BY_ONE = ("cpu",)  # devices where moving row by row is several times as fast


@dataclass(frozen=True, slots=True)
class CrossKeysValues:
    """Keys and values of encoded audio for every decoder layer, each (L, W, H, S, D)."""

    keys: Tensor
    values: Tensor

    def windows(self, which: slice) -> CrossKeysValues:
        """Some of the windows, as views."""
        return CrossKeysValues(self.keys[:, which], self.values[:, which])

    def span(self, first: int, end: int) -> CrossKeysValues:
        """A part of every window, in frames of 20 ms, as views."""
        return CrossKeysValues(self.keys[:, :, :, first:end], self.values[:, :, :, first:end])


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values for `R` rows over `W` windows; the K = R / W rows of a window lie together.

    Attributes:
        keys, values: of the text, (L, R, H, capacity, D); positions past a row's length hold leftovers.
        cross: of the audio, one entry a window, shared by its rows and never moved.
        lengths: how many positions of each row are valid.
    """

    keys: Tensor
    values: Tensor
    cross: CrossKeysValues
    lengths: tuple[int, ...]

    @staticmethod
    def empty(cross: CrossKeysValues, *, rows: int, capacity: int, dtype: torch.dtype | None = None) -> Cache:
        """A cache without text, for `rows` rows over the windows of `cross`; `dtype` None: of its type."""
        layers, _, heads, _, width = cross.keys.shape
        shape = (layers, rows, heads, capacity, width)
        # Not empty: what lies past a row's length is weighted by 0, and 0 · NaN would be NaN.
        keys, values = (torch.zeros(shape, dtype=dtype or cross.keys.dtype, device=cross.keys.device) for _ in range(2))
        return Cache(keys, values, cross, (0,) * rows)

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def advanced(self, count: int) -> Cache:
        """`count` more positions valid in every row."""
        return replace(self, lengths=tuple(length + count for length in self.lengths))

    def truncated(self, lengths: tuple[int, ...]) -> Cache:
        """Step back to at most these lengths."""
        return replace(self, lengths=tuple(map(min, self.lengths, lengths)))

    def move(self, targets: Sequence[int], sources: Sequence[int], *, start: int = 0) -> None:
        """Each target continues what its source holds from position `start` on; before it they must already agree.

        Args:
            targets, sources: rows, as many of one as of the other; all are read before any is written. Lengths stay:
                rows that change places must be equally long.
            start: first position to move.
        """
        end = self.longest
        parts = [storage[:, :, :, start:end] for storage in (self.keys, self.values)]
        if self.keys.device.type in ONE_BY_ONE:
            for part in parts:
                held = [part[:, source].clone() for source in sources]
                for target, each in zip(targets, held, strict=True):
                    part[:, target] = each
        else:
            into, of = torch.tensor([targets, sources], device=self.keys.device)
            for part in parts:
                part.index_copy_(1, into, part.index_select(1, of))


@dataclass(frozen=True, slots=True)
class FixedCache:
    """The memory of a step of one token in each row, which the host knows nothing of but where it lies and its size.

    So the step can be recorded and replayed when what is in it has changed.

    Attributes:
        keys, values: of the text, (L, R, H, end, D).
        cross: of the audio, one entry a window.
        lengths: (R,) how many positions of each row are valid, fewer than `end`.
    """

    keys: Tensor
    values: Tensor
    cross: CrossKeysValues
    lengths: Tensor
