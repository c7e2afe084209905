"""The Whisper encoder-decoder (Radford et al. 2022, section 2.2): features, ids → logits. It holds weights only.

Read from the top: Network → Encoder, Decoder → their blocks → attention, MLP. Nothing here is ever written to after it
was built, so any number of threads may call one network.

Axes: B windows, K queries of one window, R = B·K rows, H heads, T tokens, S audio frames, D head width, C model width,
V vocabulary, N' = R·T tokens in a list, filled up to what its layers compute at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.linear import Linear


@dataclass(frozen=True, slots=True)
class Network:
    """A Whisper on one device in one precision."""

    dims: ModelDimensions
    encoder: Encoder
    decoder: Decoder

    @property
    def device(self) -> torch.device:
        return self.encoder.positions.device

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.positions.dtype


@dataclass(frozen=True, slots=True)
class Encoder:
    conv1: Convolution
    conv2: Convolution
    positions: Tensor  # (S, C)
    blocks: tuple[EncoderBlock, ...]
    norm: LayerNorm

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel windows (B, n_mels, 2·S) → encoded audio (B, S, C)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x.contiguous() + self.positions  # sums keep the order of their first operand, in every block
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


@dataclass(frozen=True, slots=True)
class Decoder:
    embedding: Tensor  # (V, C), in the checkpoint's storage type
    positions: Tensor  # (n_text_ctx, C)
    blocks: tuple[DecoderBlock, ...]
    norm: LayerNorm
    head: Linear  # C → V
    rows_at_once: int = 1  # see `whisperlite.nn.linear.rows_at_once`

    def __call__(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Tokens (R, T) that follow what the cache holds → logits (R, T, V) in float32, and the cache after them."""
        hidden, cache = self.hidden(tokens, cache)
        return self.logits(hidden), cache

    def hidden(self, tokens: Tensor, cache: Cache, *, recurs: bool = False) -> tuple[Tensor, Cache]:
        """The same without the output head: (R, T, C). A prompt needs logits at two of its positions only.

        Args:
            recurs: see `attend`.
        """
        step = _Step.of(cache, tokens, self.rows_at_once, self.positions.dtype, recurs=recurs)
        return self._through(tokens, step), cache.advanced(tokens.shape[1])

    def next_logits(self, tokens: Tensor, cache: FixedCache) -> Tensor:
        """One token (R,) of each row → logits (R, V) in float32; its keys and values are written into the cache.

        The host learns nothing and is asked for nothing: this can be recorded (see `whisperlite.nn.graphs`).
        """
        step = _Step.fixed(cache, self.rows_at_once, self.positions.dtype)
        return self.logits(self._through(tokens[:, None], step))[:, 0]

    def _through(self, tokens: Tensor, step: _Step) -> Tensor:
        x = self._begin(tokens, step)
        for block, memory in zip(self.blocks, step.layers, strict=True):
            x = block(x, memory, step)
        return step.unlisted(self.norm(x))

    def _begin(self, tokens: Tensor, step: _Step) -> Tensor:
        return step.listed(self.embedding[tokens].to(self.positions.dtype) + self.positions[step.positions])

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, C) → (…, V) in float32."""
        return self.head(hidden).float()

    def aligned(self, tokens: Tensor, cache: Cache, heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """As `hidden`, and how much each token looks at each position of the audio, in some heads.

        Args:
            tokens: (1, T), of one row.
            heads: (layer, head) of cross-attention heads, N of them.

        Returns:
            (1, T, C), and scores before the softmax, (N, T, S), in the order of `heads`.
        """
        step = _Step.of(cache, tokens, self.rows_at_once, self.positions.dtype)
        x = self._begin(tokens, step)
        scores: dict[tuple[int, int], Tensor] = {}
        for layer, (block, memory) in enumerate(zip(self.blocks, step.layers, strict=True)):
            x = block.look_back(x, memory, step)
            wanted = [head for of_layer, head in heads if of_layer == layer]
            if wanted:
                found = block.cross_attention.scores(block.cross_attention_norm(x), memory.audio_keys, wanted, step)
                scores |= {(layer, head): each for head, each in zip(wanted, found, strict=True)}
            x = block.look_at_audio(x, memory, step)
        return step.unlisted(self.norm(x)), torch.stack([scores[head] for head in heads])

    def cross(self, encoded: Tensor) -> CrossKeysValues:
        """Keys and values of encoded audio (B, S, C) for all layers."""
        first = self.blocks[0].cross_attention.keys_values(encoded)
        all_keys, all_values = (x.new_empty((len(self.blocks), *x.shape)) for x in first)
        # Layer by layer into their places: all of them at once would be fresh memory, whose pages take as long again.
        for layer, block in enumerate(self.blocks):
            keys, values = first if layer == 0 else block.cross_attention.keys_values(encoded)
            all_keys[layer].copy_(keys)
            all_values[layer].copy_(values)
        return CrossKeysValues(all_keys, all_values)


@dataclass(frozen=True, slots=True)
class _Memory:
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
    def of_layers(keys: Tensor, values: Tensor, cross: CrossKeysValues, new: slice) -> tuple[_Memory, ...]:
        """Of each layer; where rows are unequally long nothing goes to `new`."""
        parts = (keys, values, keys[:, :, :, new], values[:, :, :, new], cross.keys, cross.values)
        return tuple(_Memory(*each) for each in zip(*(part.unbind(0) for part in parts), strict=True))


@dataclass(frozen=True, slots=True)
class _Step:
    """The T new tokens of each row: where they go, what they may look at, and how they lie in one list.

    Layers that compute several rows at once get a multiple of as many (N'): most of them have nothing to fill up then.
    """

    shape: torch.Size  # of the tokens, (R, T)
    missing: int  # N' - R·T
    positions: Tensor  # (R, T), or (T,) when all rows are equally long
    rows: Tensor | None  # (R, 1) the rows' numbers; None: all are equally long
    mask: Tensor | None  # (R, H, T, end) or (1, 1, T, end), see `attend`; None: a query may look everywhere
    layers: tuple[_Memory, ...]
    recurs: bool  # see `attend`

    @staticmethod
    def of(cache: Cache, tokens: Tensor, rows_at_once: int, dtype: torch.dtype, *, recurs: bool = False) -> _Step:
        device, count, longest = tokens.device, tokens.shape[1], cache.longest
        new = slice(longest, longest + count)
        end = new.stop
        if count == 1 and device.type == "cpu":
            end = min(-(-end // _AT_ONCE) * _AT_ONCE, cache.keys.shape[3])
        keys, values = (x[:, : len(cache.lengths), :, :end] for x in (cache.keys, cache.values))
        layers = _Memory.of_layers(keys, values, cache.cross, new)
        if min(cache.lengths) < longest:
            positions = torch.tensor(cache.lengths, device=device)[:, None] + torch.arange(count, device=device)
            return _Step.of_unequal_rows(positions, -tokens.numel() % rows_at_once, layers, dtype, recurs=recurs)
        positions, mask = torch.arange(new.start, new.stop, device=device), None
        if count > 1 or end > new.stop:
            mask = _mask((torch.arange(end, device=device) > positions[:, None])[None, None], dtype)
        return _Step(tokens.shape, -tokens.numel() % rows_at_once, positions, None, mask, layers, recurs)

    @staticmethod
    def fixed(cache: FixedCache, rows_at_once: int, dtype: torch.dtype) -> _Step:
        """One token of each row."""
        layers = _Memory.of_layers(cache.keys, cache.values, cache.cross, slice(1))
        positions, missing = cache.lengths[:, None], -len(cache.lengths) % rows_at_once
        return _Step.of_unequal_rows(positions, missing, layers, dtype, recurs=True)

    @staticmethod
    def of_unequal_rows(
        positions: Tensor, missing: int, layers: tuple[_Memory, ...], dtype: torch.dtype, *, recurs: bool
    ) -> _Step:
        heads, end = layers[0].keys.shape[1:3]
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        hidden = (torch.arange(end, device=positions.device) > positions[..., None])[:, None]
        mask = _mask(hidden.expand(-1, heads, -1, -1), dtype)
        return _Step(positions.shape, missing, positions, rows, mask, layers, recurs)

    def listed(self, x: Tensor) -> Tensor:
        """(R, T, C) → (N', C)"""
        x = x.flatten(0, 1)
        return F.pad(x, (0, 0, 0, self.missing)) if self.missing else x

    def unlisted(self, x: Tensor) -> Tensor:
        """(N', C) → (R, T, C)"""
        x = x[: -self.missing] if self.missing else x
        return x.view(*self.shape, -1)


def _mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: minus infinity where something is hidden."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))


# Positions of the text are looked at in such numbers, with weights of 0 behind a row's own. A processor adds up so many
# at once, and what remains one by one, in another order: rows would differ in their last bit with how long others are.
_AT_ONCE = 16

_IN_CACHES = 1 << 20  # numbers between the two layers of an MLP, which is four times as wide there


@dataclass(frozen=True, slots=True)
class EncoderBlock:
    attention_norm: LayerNorm
    attention: SelfAttention
    mlp_norm: LayerNorm
    mlp: MLP

    def __call__(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        if x.device.type != "cpu":
            return x + self.mlp(self.mlp_norm(x))
        # Frames do not look at each other here; a part of them at a time stays in the caches (7 % of `base`'s encoder).
        for part in torch.split(x, max(_IN_CACHES // (4 * x.shape[-1]), 1), dim=1):
            part += self.mlp(self.mlp_norm(part))
        return x


@dataclass(frozen=True, slots=True)
class DecoderBlock:
    attention_norm: LayerNorm
    attention: SelfAttention
    cross_attention_norm: LayerNorm
    cross_attention: CrossAttention
    mlp_norm: LayerNorm
    mlp: MLP

    def __call__(self, x: Tensor, memory: _Memory, step: _Step) -> Tensor:
        return self.look_at_audio(self.look_back(x, memory, step), memory, step)

    def look_back(self, x: Tensor, memory: _Memory, step: _Step) -> Tensor:
        """Its first half: attention to the text so far."""
        return x + self.attention.cached(self.attention_norm(x), memory, step)

    def look_at_audio(self, x: Tensor, memory: _Memory, step: _Step) -> Tensor:
        """Its second half."""
        x = x + self.cross_attention(self.cross_attention_norm(x), memory.audio_keys, memory.audio_values, step)
        return x + self.mlp(self.mlp_norm(x))


@dataclass(frozen=True, slots=True)
class SelfAttention:
    heads: int
    query_key_value: Linear  # C → 3·C in one product
    out: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """(B, S, C) → (B, S, C), everything looking at everything."""
        return self.out(_merge_heads(attend(*self._split(self.query_key_value(x)), recurs=True)))

    def cached(self, x: Tensor, memory: _Memory, step: _Step) -> Tensor:
        """(N', C) → (N', C); the new keys and values are written into the memory."""
        query, key, value = self._split(step.unlisted(self.query_key_value(x)))
        if step.rows is None:
            memory.new_keys.copy_(key)
            memory.new_values.copy_(value)
        else:
            memory.keys[step.rows, :, step.positions] = key.transpose(1, 2)
            memory.values[step.rows, :, step.positions] = value.transpose(1, 2)
        found = attend(query, memory.keys, memory.values, step.mask, recurs=step.recurs)
        return self.out(step.listed(_merge_heads(found)))

    def _split(self, joint: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 3·C) → query, key and value, (B, H, T, D) each."""
        return joint.view(*joint.shape[:-1], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


@dataclass(frozen=True, slots=True)
class CrossAttention:
    heads: int
    query: Linear
    key_value: Linear  # C → 2·C in one product
    out: Linear

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, step: _Step) -> Tensor:
        """(N', C) over the audio of B windows (B, H, S, D): a window's rows are further queries on the same keys."""
        query = self._query(x, keys, step)
        found = attend(query, keys, values, recurs=step.recurs, tokens=step.shape[1])
        return self.out(step.listed(_merge_heads(found).to(x.dtype)))

    def scores(self, x: Tensor, keys: Tensor, heads: Sequence[int], step: _Step) -> Tensor:
        """(N', C) over the audio of one window (1, H, S, D): scores of some heads before the softmax, (…, T, S)."""
        return _scores(self._query(x, keys, step)[0, heads], keys[0, heads])

    def _query(self, x: Tensor, keys: Tensor, step: _Step) -> Tensor:
        """(N', C) → (B, H, K·T, D), in the precision of the keys, which may be another than that of all else."""
        query = step.unlisted(self.query(x)).view(len(keys), -1, x.shape[-1])
        return _split_heads(query, self.heads).to(keys.dtype)

    def keys_values(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(encoded).chunk(2, dim=-1)
        return _split_heads(keys, self.heads), _split_heads(values, self.heads)


@dataclass(frozen=True, slots=True)
class MLP:
    expand: Linear  # C → 4·C
    contract: Linear

    def __call__(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(x)))


@dataclass(frozen=True, slots=True)
class LayerNorm:
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Convolution:
    weight: Tensor  # (C, in, 3)
    bias: Tensor
    stride: int

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type == "cuda" and x.dtype == torch.float32:
            return self.as_product(x)  # cuDNN would round to TF32, and only the whole process can be told otherwise
        return F.conv1d(x, self.weight, self.bias, stride=self.stride, padding=1)

    def as_product(self, x: Tensor) -> Tensor:
        """The same as one product of matrices: (B, in, T) → (B, C, T / stride)."""
        columns = F.pad(x, (1, 1)).unfold(-1, 3, self.stride).transpose(1, 2).flatten(2)  # (B, T / stride, in·3)
        return F.linear(columns, self.weight.flatten(1), self.bias).transpose(1, 2)


# With few queries two products are on CPUs as fast as the fused kernel, and in bfloat16 several times as fast. That
# kernel's sums also depend, in their last bit, on the thread that comes to a row, and so on how many rows there are.
# On MPS the one for few queries has read some layouts wrongly (pytorch issues 163597, 181133). On CUDA the fused kernel
# for halves is twice as fast also with one query, but it may be cuDNN's, which takes 50 ms to make a plan for a shape.
_FEW_QUERIES = 16


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    recurs: bool = False,
    tokens: int | None = None,
) -> Tensor:
    """Dot-product attention: (B, H, T, D) over (B, H, S, D) → (B, H, T, D).

    Args:
        mask: (B, H, T, S) or (1, 1, T, S), added to the scores: minus infinity where a query may not look.
        recurs: what has these shapes comes again and again, so that a plan for it is worth the time.
        tokens: of each row, where queries of several rows are together; None: all are of one.
    """
    many = (tokens or query.shape[-2]) > _FEW_QUERIES
    kind, dtype = query.device.type, query.dtype
    if kind == "cuda" and torch.version.hip is None and dtype in (torch.float16, torch.bfloat16):
        is_fused = recurs
    else:
        is_fused = many and (kind != "cpu" or dtype != torch.bfloat16)
    if is_fused:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    if many and mask is None and kind == "cpu":
        return _attend_head_by_head(query, keys, values)
    # One batch of products; nothing is copied, since heads lie behind heads in memory.
    scores = _scores(query.flatten(0, 1), keys.flatten(0, 1), None if mask is None else mask.flatten(0, 1))
    return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(query.shape)


def _scores(query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """(N, T, D) over (N, S, D) → (N, T, S), scaled, and (N or 1, T, S) added, within the product."""
    added = query.new_zeros(()) if mask is None else mask  # not empty: on MPS a NaN in it comes through
    return torch.baddbmm(added, query, keys.transpose(1, 2), beta=int(mask is not None), alpha=query.shape[-1] ** -0.5)


def _attend_head_by_head(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(B, H, T, D) over (B, H, S, D): the scores of one head fit into the processor's caches, those of all do not."""
    result = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for window in range(len(query)):
        for head in range(query.shape[1]):
            one = slice(head, head + 1)
            weights = _scores(query[window, one], keys[window, one])[0].softmax(-1)
            torch.mm(weights, values[window, head], out=result[window, head])
    return result


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) → (B, H, T, D)"""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def _merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) → (B, T, C)"""
    return x.transpose(1, 2).flatten(2)
