"""The storage of a lane: the keys and values that its slots attend to, of the text and of the audio.

Axes: L layers, W slots, K queries, R = W·K rows, H heads, T text positions, S audio frames, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.network import Network


class LaneCache:
    """Keys and values of up to `width` slots of `queries` rows each; those of active slots come first.

    Args:
        copies_cross: the audio's keys and values are copied into the lane's own memory. False: the lane holds one
            window at a time, and uses its encoding's.
    """

    def __init__(self, network: Network, *, width: int, queries: int, copies_cross: bool) -> None:
        dims, device = network.dims, network.device
        shape = (
            *(dims.n_text_layer, width * queries),
            *(dims.n_text_head, dims.n_text_ctx, dims.n_text_state // dims.n_text_head),
        )
        # Not empty: positions past a row's length are weighted by 0, and 0 · NaN would be NaN.
        self.keys, self.values = (torch.zeros(shape, dtype=network.dtype, device=device) for _ in range(2))
        self._width, self._queries = width, queries
        self._cross: CrossKeysValues | None = None
        self.copies_cross = copies_cross

    @property
    def cross(self) -> CrossKeysValues:
        """The audio's keys and values, (L, W, H, S, D), once the first window is placed."""
        assert self._cross is not None, "a lane with slots has audio to attend to"
        return self._cross

    @property
    def capacity(self) -> int:
        """Text positions of a row."""
        return self.keys.shape[3]

    def active(self, lengths: Sequence[int]) -> Cache:
        """The cache of the first slots, given the length that the rows of each have."""
        per_row = tuple(length for length in lengths for _ in range(self._queries))
        return Cache(self.keys, self.values, self.cross.windows(slice(len(lengths))), per_row)

    def fixed(self, slots: int, positions: int, lengths: Tensor) -> FixedCache:
        """The first slots and positions, for a recorded step; `lengths` are those of the rows."""
        rows = slots * self._queries
        keys, values = (x[:, :rows, :, :positions] for x in (self.keys, self.values))
        return FixedCache(keys, values, self.cross.windows(slice(slots)), lengths)

    def take_over(self, other: LaneCache, slots: int, used: int) -> None:
        """Copy the first slots of a narrower lane, `used` text positions of each."""
        rows = slots * self._queries
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            mine[:, :rows, :, :used] = theirs[:, :rows, :, :used]
        for index in range(slots):
            self.place_cross(index, other.cross.windows(slice(index, index + 1)))

    def place_cross(self, index: int, cross: CrossKeysValues) -> None:
        """Set the audio that a slot attends to, (L, 1, H, S, D)."""
        if not self.copies_cross:
            self._cross = cross
            return
        if self._cross is None:
            layers, _, *rest = cross.keys.shape
            self._cross = CrossKeysValues(*(cross.keys.new_empty((layers, self._width, *rest)) for _ in range(2)))
        self._cross.keys[:, index], self._cross.values[:, index] = cross.keys[:, 0], cross.values[:, 0]

    def place_text(self, index: int, keys: Tensor, values: Tensor) -> None:
        """Start all rows of a slot with the same text, (L, 1, H, T, D)."""
        rows, count = self._rows(index), keys.shape[3]
        for storage, new in ((self.keys, keys), (self.values, values)):
            storage[:, rows, :, :count] = new

    def first_row(self, index: int) -> Cache:
        """The first row of a slot as an empty cache; what is written into it is written here."""
        row = slice(index * self._queries, index * self._queries + 1)
        return Cache(self.keys[:, row], self.values[:, row], self.cross.windows(slice(index, index + 1)), (0,))

    def repeat_first_row(self, index: int, count: int) -> None:
        """Copy the first positions of a slot's first row to its other rows."""
        rows = self._rows(index)
        for storage in (self.keys, self.values):
            used = storage[:, rows, :, :count]
            used[:, 1:] = used[:, :1]

    def remove(self, index: int, last: int, *, removed_length: int, last_length: int) -> None:
        """Move the last slot into the place of one that is removed, and clear what is left behind.

        Positions past a row's length are weighted by 0, but one that overflowed would still come through: 0 · NaN is
        NaN. So everything written is cleared: `length` positions, and one more, which a prompt has written if no token
        was chosen after it.
        """
        target, source = self._rows(index), self._rows(last)
        for storage in (self.keys, self.values):
            if index != last:
                storage[:, target, :, :last_length] = storage[:, source, :, :last_length]
                storage[:, target, :, last_length : removed_length + 1] = 0.0
            storage[:, source, :, : last_length + 1] = 0.0
        if index != last and self._cross is not None and self.copies_cross:
            for storage in (self._cross.keys, self._cross.values):
                storage[:, index] = storage[:, last]
        if last == 0 and not self.copies_cross:
            self._cross = None

    def _rows(self, index: int) -> slice:
        return slice(index * self._queries, (index + 1) * self._queries)
