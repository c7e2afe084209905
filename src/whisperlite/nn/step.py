"""The new tokens of one decoder step: where they go, what they attend to, and how they form one list.

Axes: B windows, R rows, H heads, T new tokens of a row, S audio frames, D head width, C model width, N' = R·T tokens,
padded to what the layers compute at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache

# A step of one token attends to the text's positions rounded up to a multiple of this; those past a row's length get
# weight 0. A processor sums 16 numbers at once and the rest one by one, in another order: without the rounding,
# a row's last bit would depend on how long other rows are.
_POSITION_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """What one layer attends to in a step, as views of the cache.

    Attributes:
        keys, values: (R, H, end, D) of the text: earlier tokens, the new ones once they are written, and positions
            after them, which the mask hides.
        new_keys, new_values: (R, H, T, D), where the new tokens' are written if all rows are equally long.
        audio_keys, audio_values: (B, H, S, D).
    """

    keys: Tensor
    values: Tensor
    new_keys: Tensor
    new_values: Tensor
    audio_keys: Tensor
    audio_values: Tensor

    @staticmethod
    def of_layers(keys: Tensor, values: Tensor, cross: CrossKeysValues, new: slice) -> tuple[LayerMemory, ...]:
        """The memory of each layer; if rows have unequal lengths, nothing is written to `new`."""
        parts = (keys, values, keys[:, :, :, new], values[:, :, :, new], cross.keys, cross.values)
        return tuple(LayerMemory(*each) for each in zip(*(part.unbind(0) for part in parts), strict=True))


@dataclass(frozen=True, slots=True)
class Step:
    """The T new tokens of each row.

    Layers that compute several rows at once get a list padded to a multiple of that number (N'), so that most of them
    need no padding of their own.
    """

    shape: torch.Size  # of the tokens, (R, T)
    padding: int  # of the list: N' - R·T
    positions: Tensor  # (R, T), or (T,) if all rows are equally long
    rows: Tensor | None  # (R, 1), indices of the rows; None: all are equally long
    mask: Tensor | None  # (R, H, T, end) or (1, 1, T, end), see `attend`; None: nothing is hidden
    layers: tuple[LayerMemory, ...]
    shapes_repeat: bool  # see `attend`

    @staticmethod
    def of(cache: Cache, tokens: Tensor, rows_at_once: int, dtype: torch.dtype, *, shapes_repeat: bool = False) -> Step:
        device, count, longest = tokens.device, tokens.shape[1], cache.longest
        new = slice(longest, longest + count)
        end = new.stop
        if count == 1 and device.type == "cpu":
            end = min(-(-end // _POSITION_MULTIPLE) * _POSITION_MULTIPLE, cache.keys.shape[3])
        keys, values = (x[:, : len(cache.lengths), :, :end] for x in (cache.keys, cache.values))
        layers = LayerMemory.of_layers(keys, values, cache.cross, new)
        if min(cache.lengths) < longest:
            positions = torch.tensor(cache.lengths, device=device)[:, None] + torch.arange(count, device=device)
            return Step.of_unequal_rows(
                positions, -tokens.numel() % rows_at_once, layers, dtype, shapes_repeat=shapes_repeat
            )
        positions, mask = torch.arange(new.start, new.stop, device=device), None
        if count > 1 or end > new.stop:
            mask = _mask((torch.arange(end, device=device) > positions[:, None])[None, None], dtype)
        return Step(tokens.shape, -tokens.numel() % rows_at_once, positions, None, mask, layers, shapes_repeat)

    @staticmethod
    def fixed(cache: FixedCache, rows_at_once: int, dtype: torch.dtype) -> Step:
        """A step of one token in each row."""
        layers = LayerMemory.of_layers(cache.keys, cache.values, cache.cross, slice(1))
        positions, padding = cache.lengths[:, None], -len(cache.lengths) % rows_at_once
        return Step.of_unequal_rows(positions, padding, layers, dtype, shapes_repeat=True)

    @staticmethod
    def of_unequal_rows(
        positions: Tensor, padding: int, layers: tuple[LayerMemory, ...], dtype: torch.dtype, *, shapes_repeat: bool
    ) -> Step:
        """A step in which each row has positions of its own, (R, T)."""
        heads, end = layers[0].keys.shape[1:3]
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        hidden = (torch.arange(end, device=positions.device) > positions[..., None])[:, None]
        mask = _mask(hidden.expand(-1, heads, -1, -1), dtype)
        return Step(positions.shape, padding, positions, rows, mask, layers, shapes_repeat)

    def flattened(self, x: Tensor) -> Tensor:
        """Join the tokens of all rows into one padded list: (R, T, C) → (N', C)."""
        x = x.flatten(0, 1)
        return F.pad(x, (0, 0, 0, self.padding)) if self.padding else x

    def unflattened(self, x: Tensor) -> Tensor:
        """Undo `flattened`: (N', C) → (R, T, C)."""
        x = x[: -self.padding] if self.padding else x
        return x.view(*self.shape, -1)


def _mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add to scores: minus infinity at hidden positions, 0 elsewhere."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
