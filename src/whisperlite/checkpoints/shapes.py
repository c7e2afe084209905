"""Checks that a file's tensors are those of a Whisper of the shape that it states, before a network is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from whisperlite.errors import CheckpointError
from whisperlite.nn.build import HEAD, expected_shapes
from whisperlite.nn.config import ModelDimensions

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Token ids cost memory even if the file is small. This is twenty times as many as in any published checkpoint.
_MOST_IDS = 1 << 20


def check_dimensions(path: Path, dims: ModelDimensions) -> None:
    """Refuse a shape that no network can have.

    Raises:
        CheckpointError: a number is below 1, a width is no multiple of its number of heads, or there are too many ids.
    """
    for name, value in asdict(dims).items():
        if value < 1:
            raise CheckpointError(f"{path} says {name}={value}; it has to be 1 at least.")
    for part, width, heads in (
        ("encoder", dims.n_audio_state, dims.n_audio_head),
        ("decoder", dims.n_text_state, dims.n_text_head),
    ):
        if width % heads:
            raise CheckpointError(f"{path} says that the {part} has {heads} heads at a width of {width}.")
    if dims.n_vocab > _MOST_IDS:
        raise CheckpointError(f"{path} says that there are {dims.n_vocab} token ids; {_MOST_IDS} at most can be read.")


def take_tensors(
    path: Path,
    dims: ModelDimensions,
    found: Mapping[str, Tensor],
    *,
    name_of: Callable[[str], str] = str,
) -> dict[str, Tensor]:
    """Check the tensors of a file, and return them under OpenAI's names.

    Args:
        path: the file, for messages.
        found: name in the file → tensor.
        name_of: OpenAI's name → name in the file.

    Raises:
        CheckpointError: a tensor is missing, surplus, not of a floating-point type, or has a wrong shape.
    """
    check_dimensions(path, dims)
    layers = dims.n_audio_layer + dims.n_text_layer
    if layers > len(found):
        raise CheckpointError(f"{path} says that there are {layers} layers, and it holds {len(found)} tensors.")
    shapes = expected_shapes(dims)
    if name_of(HEAD) in found:
        shapes[HEAD] = shapes["decoder.token_embedding.weight"]
    tensors = {}
    for name, shape in shapes.items():
        stored = name_of(name)
        if stored not in found:
            raise CheckpointError(f"{path}: the tensor {stored!r} is missing; its shape would be {shape}.")
        tensor = found[stored]
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{path}: the tensor {stored!r} has the shape {tuple(tensor.shape)}, not {shape}.")
        if tensor.dtype not in _TYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{path}: the tensor {stored!r} is stored as {kind}; floating point is needed.")
        tensors[name] = tensor
    surplus = sorted(found.keys() - {name_of(name) for name in shapes})
    if surplus:
        raise CheckpointError(
            f"{path}: {len(surplus)} tensors belong to no Whisper of its shape, such as {surplus[0]!r}."
        )
    return tensors


def check_storage(path: Path, found: Mapping[str, Tensor], stored_bytes: int) -> None:
    """Refuse tensors that repeat the same bytes, from which something far larger than the file would be computed.

    Args:
        stored_bytes: the size of the file, or of all its shards together.

    Raises:
        CheckpointError: a tensor, or all together, have more values than are stored.
    """
    for name, tensor in found.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: the tensor {name!r} has more values than are stored.")
    # Vectors can be shared: converters store equal ones once.
    if _bytes(tensor for tensor in found.values() if tensor.dim() > 1) > stored_bytes:
        raise CheckpointError(f"{path}: its tensors have more values than are stored in {stored_bytes} bytes.")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(math.prod(tensor.shape) * tensor.element_size() for tensor in tensors)
