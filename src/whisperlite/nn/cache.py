"""The decoder's memory as a value: keys and values of the text so far, and of the audio.

Storage is allocated once and written in place. `lengths`, which says how much of it is valid, is replaced, never
modified. After a step, use only the cache that it returned.

Axes: L layers, W windows, R rows (W windows × K queries each), H heads, T text positions, S audio frames, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ONE_BY_ONE = ("cpu",)  # types of devices on which moving row by row is several times as fast


@dataclass(frozen=True, slots=True)
class CrossKeysValues:
    """Keys and values of encoded audio for every decoder layer, each (L, W, H, S, D)."""

    keys: Tensor
    values: Tensor

    def windows(self, which: slice) -> CrossKeysValues:
        """Some of the windows, as a view."""
        return CrossKeysValues(self.keys[:, which], self.values[:, which])

    def span(self, first: int, end: int) -> CrossKeysValues:
        """Part of every window, from one encoder position to another, as a view."""
        return CrossKeysValues(self.keys[:, :, :, first:end], self.values[:, :, :, first:end])


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values for R rows over W windows; the K = R / W rows of a window are adjacent.

    Attributes:
        keys, values: (L, R, H, capacity, D) of the text; positions past a row's length hold leftovers.
        cross: keys and values of the audio, one entry per window, shared by its rows and never moved.
        lengths: number of valid positions in each row.
    """

    keys: Tensor
    values: Tensor
    cross: CrossKeysValues
    lengths: tuple[int, ...]

    @staticmethod
    def empty(cross: CrossKeysValues, *, rows: int, capacity: int, dtype: torch.dtype | None = None) -> Cache:
        """A cache without text, for `rows` rows over the windows of `cross`; by default of the type of `cross`."""
        layers, _, heads, _, width = cross.keys.shape
        shape = (layers, rows, heads, capacity, width)
        # Not `empty`: positions past a row's length are weighted by 0, and 0 · NaN would be NaN.
        keys, values = (torch.zeros(shape, dtype=dtype or cross.keys.dtype, device=cross.keys.device) for _ in range(2))
        return Cache(keys, values, cross, (0,) * rows)

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def advanced(self, count: int) -> Cache:
        """The cache with `count` more valid positions in every row."""
        return replace(self, lengths=tuple(length + count for length in self.lengths))

    def truncated(self, lengths: tuple[int, ...]) -> Cache:
        """The cache cut back to at most these lengths."""
        return replace(self, lengths=tuple(map(min, self.lengths, lengths)))

    def move(self, targets: Sequence[int], sources: Sequence[int], *, start: int = 0) -> None:
        """Copy each source row to its target row, from position `start` on; before it they must already agree.

        Args:
            targets, sources: equally many rows; all are read before any is written. Lengths stay as they are, so rows
                that change places must be equally long.
            start: first position to copy.
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
    """The memory of a step of one token in each row, of which the host knows only the address and the size.

    So the step can be recorded, and replayed after the contents have changed.

    Attributes:
        keys, values: (L, R, H, end, D) of the text.
        cross: keys and values of the audio, one entry per window.
        lengths: (R,) number of valid positions in each row, below `end`.
    """

    keys: Tensor
    values: Tensor
    cross: CrossKeysValues
    lengths: Tensor
