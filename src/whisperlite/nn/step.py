"""The new tokens of each row in one step of the decoder: where they go, what they see, how they lie in one list."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache

# Positions of the text are looked at in such numbers, with weights of 0 behind a row's own. A processor adds up so many
# at once, and what remains one by one, in another order: rows would differ in their last bit with how long others are.
_POSITION_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """What one layer looks at in a step, as views of the cache.

    Attributes:
        keys, values: of the text, the new tokens' included once they are written, and what the mask hides behind them,
            (R, H, end, D).
        new_keys, new_values: where those of the new tokens go in rows that are equally long, (R, H, T, D).
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
        """Of each layer; where rows are unequally long nothing goes to `new`."""
        parts = (keys, values, keys[:, :, :, new], values[:, :, :, new], cross.keys, cross.values)
        return tuple(LayerMemory(*each) for each in zip(*(part.unbind(0) for part in parts), strict=True))


@dataclass(frozen=True, slots=True)
class Step:
    """The T new tokens of each row: where they go, what they may look at, and how they lie in one list.

    Layers that compute several rows at once get a multiple of as many (N'): most of them have nothing to fill up then.
    """

    shape: torch.Size  # of the tokens, (R, T)
    padding: int  # N' - R·T
    positions: Tensor  # (R, T), or (T,) when all rows are equally long
    rows: Tensor | None  # (R, 1) the rows' numbers; None: all are equally long
    mask: Tensor | None  # (R, H, T, end) or (1, 1, T, end), see `attend`; None: a query may look everywhere
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
        """One token of each row."""
        layers = LayerMemory.of_layers(cache.keys, cache.values, cache.cross, slice(1))
        positions, padding = cache.lengths[:, None], -len(cache.lengths) % rows_at_once
        return Step.of_unequal_rows(positions, padding, layers, dtype, shapes_repeat=True)

    @staticmethod
    def of_unequal_rows(
        positions: Tensor, padding: int, layers: tuple[LayerMemory, ...], dtype: torch.dtype, *, shapes_repeat: bool
    ) -> Step:
        heads, end = layers[0].keys.shape[1:3]
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        hidden = (torch.arange(end, device=positions.device) > positions[..., None])[:, None]
        mask = _mask(hidden.expand(-1, heads, -1, -1), dtype)
        return Step(positions.shape, padding, positions, rows, mask, layers, shapes_repeat)

    def flattened(self, x: Tensor) -> Tensor:
        """(R, T, C) → (N', C)"""
        x = x.flatten(0, 1)
        return F.pad(x, (0, 0, 0, self.padding)) if self.padding else x

    def unflattened(self, x: Tensor) -> Tensor:
        """(N', C) → (R, T, C)"""
        x = x[: -self.padding] if self.padding else x
        return x.view(*self.shape, -1)


def _mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: minus infinity where something is hidden."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
