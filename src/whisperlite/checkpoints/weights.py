"""Reads a file of tensors in Hugging Face's layout, or the shards that an index lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from whisperlite.checkpoints.pickles import named_tensors, read_pickle
from whisperlite.checkpoints.shards import read_index
from whisperlite.errors import CheckpointError
from whisperlite.text.files import refuse_pointer


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors under the names and in the types that are stored.

    Attributes:
        path: the file, or the index of the shards.
        tensors: stored name → tensor, mapped from the file.
        stored_bytes: the size of the files together.
    """

    path: Path
    tensors: dict[str, Tensor]
    stored_bytes: int


def read_weights(path: Path) -> Weights:
    """Read a safetensors file, a torch zip file, or the shards that an index lists.

    Raises:
        CheckpointError: it is damaged or incomplete, or its index leads out of its folder.
    """
    if path.suffix == ".json":
        return _read_shards(path)
    return Weights(path, _read_file(path), path.stat().st_size)


def _read_file(path: Path) -> dict[str, Tensor]:
    refuse_pointer(path)
    if path.suffix != ".safetensors":
        return named_tensors(read_pickle(path), path)
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is not a dictionary
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}.") from error


def _read_shards(index: Path) -> Weights:
    tensors: dict[str, Tensor] = {}
    size = 0
    shards = read_index(index)
    for name in shards:
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} lists {name}, which is not in its folder; the download is incomplete.")
    for name, listed in shards.items():
        path = index.parent / name
        part = _read_file(path)
        if missing := sorted(listed - part.keys()):
            raise CheckpointError(f"{path} lacks the tensor {missing[0]!r}, which {index.name} says it holds.")
        if surplus := sorted(part.keys() - listed):
            raise CheckpointError(f"{path} holds the tensor {surplus[0]!r}, which {index.name} does not list there.")
        tensors |= part
        size += path.stat().st_size
    return Weights(index, tensors, size)
