"""A checkpoint → one file of whisper.cpp's, plain or in ggml's blocks of 32 rounded weights.

The layout is that of whisper.cpp's `models/convert-pt-to-ggml.py`, and of its `quantize` for rounded weights; the
blocks are those of `ggml-common.h`, rounded as `quantize_row_q8_0_ref` and `quantize_row_q5_1_ref` do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from whisperlite.audio.mel import mel_filters
from whisperlite.checkpoints.checkpoint import Checkpoint

Floats = npt.NDArray[np.float32]

_MAGIC = 0x67676D6C
_F32, _F16 = 0, 1  # `ggml_type`
_BLOCK = 32
_VERSION_OF_BLOCKS = 2000  # GGML_QNT_VERSION times its factor
# What stays in float32 in every file: one-dimensional tensors and these (`to_skip`, and the converter's own rule).
_EXACT = {"encoder.conv1.bias", "encoder.conv2.bias", "encoder.positional_embedding", "decoder.positional_embedding"}


@dataclass(frozen=True, slots=True)
class Format:
    """How the matrices of a file are stored.

    Attributes:
        file_code: `ggml_ftype`, for the header.
        tensor_code: `ggml_type` of the matrices.
        pack: a matrix → its bytes.
    """

    file_code: int
    tensor_code: int
    pack: Callable[[Floats], bytes]


def pack_f32(x: Floats) -> bytes:
    return x.astype("<f4").tobytes()


def pack_f16(x: Floats) -> bytes:
    return x.astype("<f2").tobytes()


def pack_q8_0(x: Floats) -> bytes:
    """Pack blocks of 32 as a scale in half precision and integers of 8 bits."""
    blocks = x.reshape(-1, _BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    levels = _away_from_zero(blocks * _inverse(scale))
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("levels", "i1", _BLOCK)])
    packed["scale"], packed["levels"] = scale[:, 0], levels
    return packed.tobytes()


def pack_q5_1(x: Floats) -> bytes:
    """Pack blocks of 32 as scale and minimum in half precision, the fifth bits, and the lower four bits in pairs."""
    blocks = x.reshape(-1, _BLOCK)
    lowest = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - lowest) / np.float32(31)
    levels = ((blocks - lowest) * _inverse(scale) + np.float32(0.5)).astype(np.uint8)
    halves = _BLOCK // 2
    packed = np.empty(
        len(blocks), dtype=[("scale", "<f2"), ("lowest", "<f2"), ("fifth", "<u4"), ("pairs", "u1", halves)]
    )
    packed["scale"], packed["lowest"] = scale[:, 0], lowest[:, 0]
    packed["fifth"] = ((levels >> 4).astype(np.uint32) << np.arange(_BLOCK, dtype=np.uint32)).sum(axis=1)
    packed["pairs"] = (levels[:, :halves] & 0x0F) | ((levels[:, halves:] & 0x0F) << 4)
    return packed.tobytes()


def _inverse(scale: Floats) -> Floats:
    """Return 1 / scale, with 0 where the scale is 0."""
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)


def _away_from_zero(x: Floats) -> Floats:
    """Round halves away from zero, as C's `roundf` does."""
    return np.trunc(x + np.copysign(np.float32(0.5), x))


# Not f32: whisper.cpp's convolutions on a CPU stop at an assertion unless they are in half precision.
FORMATS = {
    "f16": Format(1, _F16, pack_f16),
    "q5_1": Format(9 + _VERSION_OF_BLOCKS, 7, pack_q5_1),
    "q8_0": Format(7 + _VERSION_OF_BLOCKS, 8, pack_q8_0),
}


def write_ggml(checkpoint: Checkpoint, target: Path, form: Format) -> None:
    """Write a checkpoint with the mel filters and the text tokens; the other tokens whisper.cpp knows by their number.

    Args:
        target: appears complete or not at all.
    """
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        dims = checkpoint.dims
        encoder = (dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
        decoder = (dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
        file.write(struct.pack("<12i", _MAGIC, dims.n_vocab, *encoder, *decoder, dims.n_mels, form.file_code))
        filters = mel_filters(dims.n_mels).numpy()
        file.write(struct.pack("<2i", *filters.shape) + pack_f32(filters))
        vocabulary = checkpoint.tokenizer.vocabulary
        file.write(struct.pack("<i", vocabulary.n_text))
        for token in vocabulary.tokens[: vocabulary.n_text]:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in checkpoint.tensors.items():
            _write_tensor(file, name, tensor.float().numpy(), form)
    part.rename(target)


def _write_tensor(file: BinaryIO, name: str, tensor: Floats, form: Format) -> None:
    if name in {"encoder.conv1.bias", "encoder.conv2.bias"}:
        tensor = tensor[:, None]  # whisper.cpp adds it to (channels, positions)
    if tensor.ndim < 2 or name in _EXACT:
        code, data = _F32, pack_f32(tensor)
    elif tensor.ndim == 2:
        code, data = form.tensor_code, form.pack(tensor)
    else:  # a convolution, which is never rounded further
        code, data = _F16, pack_f16(tensor)
    label = name.encode()
    file.write(struct.pack("<3i", tensor.ndim, len(label), code))
    file.write(struct.pack(f"<{tensor.ndim}i", *reversed(tensor.shape)) + label + data)
