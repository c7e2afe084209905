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

from whisperlite.nn.attention import attend, dot_products, merge_heads, split_heads
from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.config import Heads, ModelDimensions
from whisperlite.nn.linear import Linear
from whisperlite.nn.step import LayerMemory, Step


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

    def hidden(self, tokens: Tensor, cache: Cache, *, shapes_repeat: bool = False) -> tuple[Tensor, Cache]:
        """The same without the output head: (R, T, C). A prompt needs logits at two of its positions only.

        Args:
            shapes_repeat: see `attend`.
        """
        step = Step.of(cache, tokens, self.rows_at_once, self.positions.dtype, shapes_repeat=shapes_repeat)
        return self._run(tokens, step), cache.advanced(tokens.shape[1])

    def next_logits(self, tokens: Tensor, cache: FixedCache) -> Tensor:
        """One token (R,) of each row → logits (R, V) in float32; its keys and values are written into the cache.

        The host learns nothing and is asked for nothing: this can be recorded (see `whisperlite.nn.graphs`).
        """
        step = Step.fixed(cache, self.rows_at_once, self.positions.dtype)
        return self.logits(self._run(tokens[:, None], step))[:, 0]

    def _run(self, tokens: Tensor, step: Step) -> Tensor:
        x = self._embed(tokens, step)
        for block, memory in zip(self.blocks, step.layers, strict=True):
            x = block(x, memory, step)
        return step.unflattened(self.norm(x))

    def _embed(self, tokens: Tensor, step: Step) -> Tensor:
        return step.flattened(self.embedding[tokens].to(self.positions.dtype) + self.positions[step.positions])

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, C) → (…, V) in float32."""
        return self.head(hidden).float()

    def aligned(self, tokens: Tensor, cache: Cache, heads: Heads) -> tuple[Tensor, Tensor]:
        """As `hidden`, and how much each token looks at each position of the audio, in some heads.

        Args:
            tokens: (1, T), of one row.
            heads: (layer, head) of cross-attention heads, N of them.

        Returns:
            (1, T, C), and scores before the softmax, (N, T, S), in the order of `heads`.
        """
        step = Step.of(cache, tokens, self.rows_at_once, self.positions.dtype)
        x = self._embed(tokens, step)
        scores: dict[tuple[int, int], Tensor] = {}
        for layer, (block, memory) in enumerate(zip(self.blocks, step.layers, strict=True)):
            x = block.attend_to_text(x, memory, step)
            wanted = [head for of_layer, head in heads if of_layer == layer]
            if wanted:
                found = block.cross_attention.scores(block.cross_attention_norm(x), memory.audio_keys, wanted, step)
                scores |= {(layer, head): each for head, each in zip(wanted, found, strict=True)}
            x = block.attend_to_audio(x, memory, step)
        return step.unflattened(self.norm(x)), torch.stack([scores[head] for head in heads])

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

    def __call__(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
        return self.attend_to_audio(self.attend_to_text(x, memory, step), memory, step)

    def attend_to_text(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
        """Its first half: attention to the text so far."""
        return x + self.attention.cached(self.attention_norm(x), memory, step)

    def attend_to_audio(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
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
        return self.out(merge_heads(attend(*self._split(self.query_key_value(x)), shapes_repeat=True)))

    def cached(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
        """(N', C) → (N', C); the new keys and values are written into the memory."""
        query, key, value = self._split(step.unflattened(self.query_key_value(x)))
        if step.rows is None:
            memory.new_keys.copy_(key)
            memory.new_values.copy_(value)
        else:
            memory.keys[step.rows, :, step.positions] = key.transpose(1, 2)
            memory.values[step.rows, :, step.positions] = value.transpose(1, 2)
        found = attend(query, memory.keys, memory.values, step.mask, shapes_repeat=step.shapes_repeat)
        return self.out(step.flattened(merge_heads(found)))

    def _split(self, joint: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 3·C) → query, key and value, (B, H, T, D) each."""
        return joint.view(*joint.shape[:-1], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


@dataclass(frozen=True, slots=True)
class CrossAttention:
    heads: int
    query: Linear
    key_value: Linear  # C → 2·C in one product
    out: Linear

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, step: Step) -> Tensor:
        """(N', C) over the audio of B windows (B, H, S, D): a window's rows are further queries on the same keys."""
        query = self._query(x, keys, step)
        found = attend(query, keys, values, shapes_repeat=step.shapes_repeat, tokens=step.shape[1])
        return self.out(step.flattened(merge_heads(found).to(x.dtype)))

    def scores(self, x: Tensor, keys: Tensor, heads: Sequence[int], step: Step) -> Tensor:
        """(N', C) over the audio of one window (1, H, S, D): scores of some heads before the softmax, (…, T, S)."""
        return dot_products(self._query(x, keys, step)[0, heads], keys[0, heads])

    def _query(self, x: Tensor, keys: Tensor, step: Step) -> Tensor:
        """(N', C) → (B, H, K·T, D), in the precision of the keys, which may be another than that of all else."""
        query = step.unflattened(self.query(x)).view(len(keys), -1, x.shape[-1])
        return split_heads(query, self.heads).to(keys.dtype)

    def keys_values(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(encoded).chunk(2, dim=-1)
        return split_heads(keys, self.heads), split_heads(values, self.heads)


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
