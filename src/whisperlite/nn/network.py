"""The Whisper encoder-decoder (Radford et al. 2022, section 2.2): features and ids → logits. It holds only weights.

Read from the top: Network → Encoder, Decoder → their blocks → attention, MLP. A network is never written to after it is
built, so any number of threads may call it.

Axes: B windows, K queries of one window, R = B·K rows, H heads, T tokens, S audio frames, D head width, C model width,
V vocabulary, N' = R·T tokens in one list, padded to what the layers compute at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.nn.attention import attend, dot_products, merge_heads, split_heads
from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.linear import Linear
from whisperlite.nn.step import LayerMemory, Step


@dataclass(frozen=True, slots=True)
class Network:
    """A Whisper model on one device in one precision."""

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
        """Encode log-mel windows: (B, n_mels, 2·S) → (B, S, C)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x.contiguous() + self.positions  # a sum has the memory layout of its first operand, in every block
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
        """Read tokens (R, T) after those in the cache; returns logits (R, T, V) in float32, and the new cache."""
        hidden, cache = self.hidden(tokens, cache)
        return self.logits(hidden), cache

    def hidden(self, tokens: Tensor, cache: Cache, *, shapes_repeat: bool = False) -> tuple[Tensor, Cache]:
        """Read tokens like `__call__`, without the output head: (R, T, C). A prompt needs logits at two positions only.

        Args:
            shapes_repeat: see `attend`.
        """
        step = Step.of(cache, tokens, self.rows_at_once, self.positions.dtype, shapes_repeat=shapes_repeat)
        return self._run(tokens, step), cache.advanced(tokens.shape[1])

    def next_logits(self, tokens: Tensor, cache: FixedCache) -> Tensor:
        """Read one token of each row, (R,); returns logits (R, V) in float32. Keys and values go into the cache.

        Host and device exchange no values, so the call can be recorded (see `whisperlite.nn.graphs`).
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
        """The output head: (…, C) → (…, V) in float32."""
        return self.head(hidden).float()

    def aligned(self, tokens: Tensor, cache: Cache, heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Read tokens like `hidden`, and collect the cross-attention scores of some heads.

        Args:
            tokens: (1, T), one row.
            heads: N cross-attention heads, as (layer, head).

        Returns:
            (1, T, C), and the scores before the softmax, (N, T, S), in the order of `heads`.
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
        """The keys and values of encoded audio (B, S, C) for all layers."""
        first = self.blocks[0].cross_attention.keys_values(encoded)
        all_keys, all_values = (x.new_empty((len(self.blocks), *x.shape)) for x in first)
        # Layer by layer into one tensor: stacking them would take fresh memory, whose pages cost as much time again.
        for layer, block in enumerate(self.blocks):
            keys, values = first if layer == 0 else block.cross_attention.keys_values(encoded)
            all_keys[layer].copy_(keys)
            all_values[layer].copy_(values)
        return CrossKeysValues(all_keys, all_values)


_IN_CACHES = 1 << 20  # numbers between the two layers of an MLP (4·C for each frame) that fit into the caches


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
        # An MLP treats each frame alone; a part of the frames at a time stays in the caches (7 % of `base`'s encoder).
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
        """The first half of the block: attention to the text so far."""
        return x + self.attention.cached(self.attention_norm(x), memory, step)

    def attend_to_audio(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
        """The second half of the block: attention to the audio, and the MLP."""
        x = x + self.cross_attention(self.cross_attention_norm(x), memory.audio_keys, memory.audio_values, step)
        return x + self.mlp(self.mlp_norm(x))


@dataclass(frozen=True, slots=True)
class SelfAttention:
    heads: int
    query_key_value: Linear  # C → 3·C in one product
    out: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """Attention of every position to every position: (B, S, C) → (B, S, C)."""
        return self.out(merge_heads(attend(*self._split(self.query_key_value(x)), shapes_repeat=True)))

    def cached(self, x: Tensor, memory: LayerMemory, step: Step) -> Tensor:
        """Attention to the text so far, (N', C) → (N', C); new keys and values are written into the memory."""
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
        """Split (B, T, 3·C) into query, key and value, (B, H, T, D) each."""
        return joint.view(*joint.shape[:-1], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


@dataclass(frozen=True, slots=True)
class CrossAttention:
    heads: int
    query: Linear
    key_value: Linear  # C → 2·C in one product
    out: Linear

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, step: Step) -> Tensor:
        """Attention of (N', C) to the audio of B windows (B, H, S, D); all rows of a window are queries on its keys."""
        query = self._query(x, keys, step)
        found = attend(query, keys, values, shapes_repeat=step.shapes_repeat, tokens=step.shape[1])
        return self.out(step.flattened(merge_heads(found).to(x.dtype)))

    def scores(self, x: Tensor, keys: Tensor, heads: Sequence[int], step: Step) -> Tensor:
        """The scores of some heads before the softmax, (…, T, S): (N', C) over one window's audio (1, H, S, D)."""
        return dot_products(self._query(x, keys, step)[0, heads], keys[0, heads])

    def _query(self, x: Tensor, keys: Tensor, step: Step) -> Tensor:
        """Queries, (N', C) → (B, H, K·T, D), in the keys' precision, which may differ from that of everything else."""
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
            return self.as_product(x)  # cuDNN would round to TF32, which only a process-wide setting prevents
        return F.conv1d(x, self.weight, self.bias, stride=self.stride, padding=1)

    def as_product(self, x: Tensor) -> Tensor:
        """The convolution as one matrix product: (B, in, T) → (B, C, T / stride)."""
        columns = F.pad(x, (1, 1)).unfold(-1, 3, self.stride).transpose(1, 2).flatten(2)  # (B, T / stride, in·3)
        return F.linear(columns, self.weight.flatten(1), self.bias).transpose(1, 2)
