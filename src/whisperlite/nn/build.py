"""Builds a `Network` on a device, in a precision, from tensors under OpenAI's names."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.linear import Linear, has_fast_product, linear, rows_at_once
from whisperlite.nn.network import (
    MLP,
    Convolution,
    CrossAttention,
    Decoder,
    DecoderBlock,
    Encoder,
    EncoderBlock,
    LayerNorm,
    Network,
    SelfAttention,
)

# The output head of a checkpoint whose head is not its token embedding.
HEAD = "decoder.head.weight"


def build_network(
    dims: ModelDimensions, tensors: dict[str, Tensor], *, device: torch.device, dtype: torch.dtype, int8: bool = False
) -> Network:
    """Build a network, joining projections that are computed together.

    The network has memory of its own: a file that the tensors are mapped from may later be rewritten or cut short.

    Args:
        dims: the shape.
        tensors: OpenAI's name → tensor, in any floating-point type. Tensors are removed as they are used, even if an
            error follows, so that the weights are never in memory twice.
        dtype: type of everything that `int8` does not round.
        int8: linear layers hold 8-bit integers; keys and values of the audio are in bfloat16 if the processor is fast
            in it.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a tensor's shape differs from what `dims` says.
    """
    return _Builder(dims, tensors, device, dtype, int8).network()


def in_float32(network: Network) -> Network:
    """A copy in float32 of a network in half precision, with or without integers."""
    converted: Network = _converted(network)
    return converted


class Float32Copy:
    """A copy of a network in float32, made at the first call, from whichever thread."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lock = threading.Lock()
        self.made: Network | None = None

    def __call__(self) -> Network:
        with self._lock:
            if self.made is None:
                self.made = in_float32(self._network)
            return self.made


def _converted(part: Any) -> Any:
    if hasattr(part, "in_float32"):  # a linear layer, whose weights may be packed
        return part.in_float32()
    if isinstance(part, Tensor):
        return part.float()
    if isinstance(part, tuple):
        return tuple(map(_converted, part))
    if is_dataclass(part) and not isinstance(part, (type, ModelDimensions)):
        return replace(part, **{each.name: _converted(getattr(part, each.name)) for each in fields(part)})
    return part


def expected_shapes(dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """The tensors that a checkpoint of this shape must have, OpenAI's name → shape. `HEAD` is optional on top."""
    audio, text = dims.n_audio_state, dims.n_text_state
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (audio, dims.n_mels, 3),
        "encoder.conv1.bias": (audio,),
        "encoder.conv2.weight": (audio, audio, 3),
        "encoder.conv2.bias": (audio,),
        "encoder.positional_embedding": (dims.n_audio_ctx, audio),
        "decoder.token_embedding.weight": (dims.n_vocab, text),
        "decoder.positional_embedding": (dims.n_text_ctx, text),
    }

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def attention(name: str, width: int, source_width: int) -> None:
        norm(f"{name}_ln", width)
        for projection, inputs in (("query", width), ("key", source_width), ("value", source_width), ("out", width)):
            shapes[f"{name}.{projection}.weight"] = (width, inputs)
            if projection != "key":
                shapes[f"{name}.{projection}.bias"] = (width,)

    norm("encoder.ln_post", audio)
    norm("decoder.ln", text)
    for part, width, layers in (("encoder", audio, dims.n_audio_layer), ("decoder", text, dims.n_text_layer)):
        for layer in range(layers):
            block = f"{part}.blocks.{layer}"
            attention(f"{block}.attn", width, width)
            if part == "decoder":
                attention(f"{block}.cross_attn", width, audio)
            norm(f"{block}.mlp_ln", width)
            shapes[f"{block}.mlp.0.weight"], shapes[f"{block}.mlp.0.bias"] = (4 * width, width), (4 * width,)
            shapes[f"{block}.mlp.2.weight"], shapes[f"{block}.mlp.2.bias"] = (width, 4 * width), (width,)
    return shapes


def _balanced(norm: LayerNorm, weight: Tensor) -> tuple[LayerNorm, Tensor, Tensor]:
    """A norm, and the weight and the bias of the layer after it, that together give the same, but are better to round.

    The output of the decoder's last norm has a few numbers a hundred times as large as most, so with one scale for all,
    most would be rounded to a handful of levels. Half of the norm's scale (its square root) and all of its bias are
    moved into the layer. The same idea, with ranges that are measured: SmoothQuant (Xiao et al. 2022).

    Args:
        weight: (out, C), without a bias.
    """
    half = norm.weight.abs().sqrt()
    return LayerNorm(norm.weight.sign() * half, torch.zeros_like(norm.bias)), weight * half, weight @ norm.bias


@dataclass(frozen=True, slots=True)
class _Builder:
    dims: ModelDimensions
    tensors: dict[str, Tensor]
    device: torch.device
    dtype: torch.dtype
    int8: bool

    def network(self) -> Network:
        shapes = expected_shapes(self.dims)
        if HEAD in self.tensors:
            shapes[HEAD] = shapes["decoder.token_embedding.weight"]
        for name, shape in shapes.items():
            if tuple(self.tensors[name].shape) != shape:
                raise ValueError(f"{name} has the shape {tuple(self.tensors[name].shape)}, expected {shape}")
        decoder = self._decoder()  # first: its head takes the most memory to pack
        return Network(self.dims, self._encoder(), decoder)

    def _encoder(self) -> Encoder:
        return Encoder(
            conv1=self._convolution("encoder.conv1", stride=1),
            conv2=self._convolution("encoder.conv2", stride=2),
            positions=self._tensor("encoder.positional_embedding"),
            blocks=tuple(self._encoder_block(f"encoder.blocks.{i}") for i in range(self.dims.n_audio_layer)),
            norm=self._norm("encoder.ln_post"),
        )

    def _decoder(self) -> Decoder:
        embedding = self.tensors.pop("decoder.token_embedding.weight")
        if self.device.type == "cpu":
            embedding = embedding.clone()
        has_own_head = HEAD in self.tensors
        weight = self._tensor(HEAD) if has_own_head else embedding.to(self.device, self.dtype)
        # Except on a CPU, a head that is not rounded keeps its weights as they are, and the embedding shares them.
        embedding = embedding if self.device.type == "cpu" or has_own_head else weight
        norm, bias = self._norm("decoder.ln"), None
        if self.int8:
            norm, weight, bias = _balanced(norm, weight)
        head = linear(weight, bias, few_rows=True, int8=self.int8)
        del weight  # before the others are made
        blocks = tuple(self._decoder_block(f"decoder.blocks.{i}") for i in range(self.dims.n_text_layer))
        return Decoder(
            embedding=embedding if embedding.device == self.device else embedding.to(self.device, self.dtype),
            positions=self._tensor("decoder.positional_embedding"),
            blocks=blocks,
            norm=norm,
            head=head,
            rows_at_once=rows_at_once(
                layer
                for block in blocks
                for layer in (block.attention.query_key_value, block.cross_attention.query, block.mlp.expand)
            ),
        )

    def _encoder_block(self, name: str) -> EncoderBlock:
        return EncoderBlock(
            attention_norm=self._norm(f"{name}.attn_ln"),
            attention=self._self_attention(f"{name}.attn", self.dims.n_audio_head),
            mlp_norm=self._norm(f"{name}.mlp_ln"),
            mlp=self._mlp(f"{name}.mlp"),
        )

    def _decoder_block(self, name: str) -> DecoderBlock:
        cross = f"{name}.cross_attn"
        return DecoderBlock(
            attention_norm=self._norm(f"{name}.attn_ln"),
            attention=self._self_attention(f"{name}.attn", self.dims.n_text_head),
            cross_attention_norm=self._norm(f"{cross}_ln"),
            cross_attention=CrossAttention(
                heads=self.dims.n_text_head,
                query=self._linear(f"{cross}.query"),
                key_value=self._linear(f"{cross}.key", f"{cross}.value"),
                out=self._linear(f"{cross}.out"),
            ),
            mlp_norm=self._norm(f"{name}.mlp_ln"),
            mlp=self._mlp(f"{name}.mlp"),
        )

    def _self_attention(self, name: str, heads: int) -> SelfAttention:
        joint = self._linear(f"{name}.query", f"{name}.key", f"{name}.value")
        return SelfAttention(heads, joint, self._linear(f"{name}.out"))

    def _mlp(self, name: str) -> MLP:
        return MLP(self._linear(f"{name}.0"), self._linear(f"{name}.2", follows_gelu=True))

    def _linear(self, *names: str, follows_gelu: bool = False) -> Linear:
        """Join layers that share their input; keys have no bias in Whisper, so theirs is zero."""
        weights = [self._take(f"{name}.weight") for name in names]
        biases = [
            self._take(f"{name}.bias") if f"{name}.bias" in self.tensors else weight.new_zeros(len(weight))
            for name, weight in zip(names, weights, strict=True)
        ]
        # The decoder sees few tokens; the encoder, and the projection of its output to keys and values, whole windows.
        few_rows = names[0].startswith("decoder.") and not names[0].endswith("cross_attn.key")
        seen_by_attention = len(names) > 1 and not few_rows
        is_short = self.int8 and seen_by_attention and self.device.type == "cpu" and has_fast_product(torch.bfloat16)
        output = torch.bfloat16 if is_short else None
        return linear(
            torch.cat(weights),  # which copies, even a single tensor
            torch.cat(biases),
            few_rows=few_rows,
            int8=self.int8,
            follows_gelu=follows_gelu,
            output=output,
        )

    def _norm(self, name: str) -> LayerNorm:
        return LayerNorm(self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"))

    def _convolution(self, name: str, *, stride: int) -> Convolution:
        return Convolution(self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"), stride)

    def _tensor(self, name: str) -> Tensor:
        """A tensor on the device, in memory of its own."""
        given = self.tensors[name]
        taken = self._take(name)
        return taken.clone() if taken is given else taken

    def _take(self, name: str) -> Tensor:
        """A tensor on the device, removed from `tensors`; it may still be mapped from a file."""
        return self.tensors.pop(name).to(self.device, self.dtype)
