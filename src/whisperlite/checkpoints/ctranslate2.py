"""Reads CTranslate2's model folders: `model.bin`, `config.json` and a vocabulary → `Checkpoint`.

The file (CTranslate2, `python/ctranslate2/specs/model_spec.py`, binary version 6, little-endian): version, name of the
specification, its revision, the number of variables; for each variable its name, rank, dimensions, type, size in bytes
and data; at the end the aliases. Variables stored as integers come with a `…_scale` that multiplied them.
"""

from __future__ import annotations

import math
import mmap
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.generation import ids, pairs
from whisperlite.checkpoints.layout import CONFIG, CTRANSLATE2
from whisperlite.checkpoints.shapes import check_dimensions, check_storage, take_tensors
from whisperlite.checkpoints.tokenizer_files import read_tokenizer
from whisperlite.errors import CheckpointError
from whisperlite.nn.build import HEAD
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.files import read_json_object, refuse_pointer, start_of

_EMBEDDING, _HEAD = "decoder/embeddings/weight", "decoder/projection/weight"

# CTranslate2's numbering of types. bfloat16 (5) has no numpy type: its bits are read as int16.
_TYPES: dict[int, tuple[npt.DTypeLike, torch.dtype]] = {
    0: (np.float32, torch.float32),
    1: (np.int8, torch.int8),
    2: (np.int16, torch.int16),
    3: (np.int32, torch.int32),
    4: (np.float16, torch.float16),
    5: (np.int16, torch.bfloat16),
}

Variables = dict[str, Tensor]


def is_ctranslate2_file(path: Path) -> bool:
    """Whether a file begins as CTranslate2's do: with a version below 10, in four bytes."""
    start = start_of(path, 6)
    return len(start) == 6 and 0 < start[0] < 10 and start[1:4] == b"\0\0\0"


def read(folder: Path, *, model_file: Path | None = None) -> Checkpoint:
    """Read a CTranslate2 folder.

    Args:
        folder: holds `config.json`, the vocabulary and, unless it is given separately, `model.bin`.
        model_file: the weights, if they are elsewhere.

    Raises:
        CheckpointError: it is damaged, not a Whisper, or of an unknown file version.
    """
    path = model_file or folder / CTRANSLATE2
    variables = _read_variables(path)
    try:
        dims = _dimensions(variables)
        check_dimensions(path, dims)
        # Checked before integers become floats. The head is usually an alias of the embedding.
        check_storage(
            path, {k: v for k, v in variables.items() if k != _HEAD or _has_own_head(variables)}, path.stat().st_size
        )
        found = _tensors(variables, dims)
    except KeyError as error:
        raise CheckpointError(f"{path}: the tensor {error.args[0]!r} is missing; is it a Whisper model?") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its tensors do not have the shapes of a Whisper: {error}.") from error
    tensors = take_tensors(path, dims, found)
    tokenizer = read_tokenizer(folder, "ctranslate2", n_vocab=dims.n_vocab)
    return Checkpoint(folder, dims, tensors, tokenizer, _generation_config(folder))


def _generation_config(folder: Path) -> GenerationConfig:
    path = folder / CONFIG
    if not path.is_file():
        return GenerationConfig()
    config = read_json_object(path)
    try:
        return GenerationConfig(
            alignment_heads=pairs(config.get("alignment_heads")),
            suppress_tokens=ids(config.get("suppress_ids")),
            begin_suppress_tokens=ids(config.get("suppress_ids_begin")),
        )
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is not a CTranslate2 configuration: {error}.") from error


class _Reader:
    """Reads values from the mapped file in order, and checks that none extends past its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                # Copy-on-write: torch wants writable memory, and the file must not change.
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except ValueError as error:
            raise CheckpointError(f"{path} is empty.") from error
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
        self.position = 0

    def skip(self, size: int) -> int:
        start = self.position
        if start + size > len(self.data):
            raise CheckpointError(
                f"{self.path} is cut short: {start + size} bytes are announced, it has {len(self.data)}."
            )
        self.position += size
        return start

    def release(self) -> None:
        """Release the memory that reading took; pages that are needed again are read from the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            with suppress(OSError):  # pages that the program has locked are not released
                self.data.madvise(mmap.MADV_DONTNEED)

    def number(self, kind: str) -> int:
        value: int = struct.unpack_from("<" + kind, self.data, self.skip(struct.calcsize("<" + kind)))[0]
        return value

    def string(self) -> str:
        size = self.number("H")
        raw = bytes(self.data[self.skip(size) : self.position])
        try:
            return raw.rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.path}: a name is not text; the file is damaged.") from error

    def tensor(self, name: str) -> Tensor:
        shape = [self.number("I") for _ in range(self.number("B"))]
        type_id, size = self.number("B"), self.number("I")
        if type_id not in _TYPES:
            raise CheckpointError(f"{self.path}: the tensor {name!r} has the unknown type {type_id}.")
        numpy_type, torch_type = _TYPES[type_id]
        count = math.prod(shape)
        if not count:
            raise CheckpointError(f"{self.path}: the tensor {name!r} of shape {shape} has no values.")
        if count * np.dtype(numpy_type).itemsize != size:
            raise CheckpointError(f"{self.path}: the tensor {name!r} of shape {shape} cannot be {size} bytes long.")
        start = self.skip(size)
        array = np.frombuffer(self.data, dtype=numpy_type, count=count, offset=start)
        tensor = torch.from_numpy(array if array.flags.aligned else array.copy())
        return (tensor.view(torch_type) if torch_type == torch.bfloat16 else tensor).reshape(shape)


def _read_variables(path: Path) -> Variables:
    refuse_pointer(path)
    reader = _Reader(path)
    version = reader.number("I")
    if not 4 <= version <= 6:
        raise CheckpointError(f"{path} is not a CTranslate2 file of version 4 to 6 (its first number is {version}).")
    specification = reader.string()
    if specification != "WhisperSpec":
        raise CheckpointError(f"{path} holds a {specification!r} model, not a Whisper.")
    reader.number("I")
    variables: Variables = {}
    for _ in range(reader.number("I")):
        name = reader.string()
        variables[name] = reader.tensor(name)
    for _ in range(reader.number("I")):
        alias, target = reader.string(), reader.string()
        if target not in variables:
            raise CheckpointError(f"{path}: {alias!r} stands for {target!r}, which is not there.")
        variables[alias] = variables[target]
    reader.release()
    return variables


def _dimensions(variables: Variables) -> ModelDimensions:
    n_audio_state, n_mels, _ = variables["encoder/conv1/weight"].shape
    n_vocab, n_text_state = variables[_EMBEDDING].shape
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=len(variables["encoder/position_encodings/encodings"]),
        n_audio_state=n_audio_state,
        n_audio_head=_heads(variables, "encoder", n_audio_state),
        n_audio_layer=_layers(variables, "encoder"),
        n_vocab=n_vocab,
        n_text_ctx=len(variables["decoder/position_encodings/encodings"]),
        n_text_state=n_text_state,
        n_text_head=_heads(variables, "decoder", n_text_state),
        n_text_layer=_layers(variables, "decoder"),
    )


def _heads(variables: Variables, part: str, n_state: int) -> int:
    # Converters before CTranslate2 2.x did not store the number; every published Whisper has heads of width 64.
    heads = variables.get(f"{part}/num_heads")
    count = int(heads) if heads is not None else n_state // 64
    if count < 1 or n_state % count:
        raise ValueError(f"the {part} has {count} heads at a width of {n_state}")
    return count


def _layers(variables: Variables, part: str) -> int:
    return sum(1 for name in variables if name.startswith(f"{part}/layer_") and name.endswith("/ffn/linear_0/weight"))


def _tensors(variables: Variables, dims: ModelDimensions) -> dict[str, Tensor]:
    """The tensors under OpenAI's names; joint projections are split."""
    tensors: dict[str, Tensor] = {}
    used = {_HEAD}

    def take(source: str, target: str) -> None:
        used.add(source)
        tensors[target] = _plain(variables, source)

    def norm(source: str, target: str) -> None:
        take(f"{source}/gamma", f"{target}.weight")
        take(f"{source}/beta", f"{target}.bias")

    def linear(source: str, *targets: str) -> None:
        for kind in ("weight", "bias"):
            used.add(f"{source}/{kind}")
            parts = _plain(variables, f"{source}/{kind}").chunk(len(targets))
            for target, part in zip(targets, parts, strict=True):
                # Whisper's keys have no bias: here it is zeros.
                if (kind, target.rsplit(".", 1)[-1]) != ("bias", "key"):
                    tensors[f"{target}.{kind}"] = part

    for conv in ("conv1", "conv2"):
        linear(f"encoder/{conv}", f"encoder.{conv}")
    take("encoder/position_encodings/encodings", "encoder.positional_embedding")
    take("decoder/position_encodings/encodings", "decoder.positional_embedding")
    take(_EMBEDDING, "decoder.token_embedding.weight")
    if _has_own_head(variables):
        take(_HEAD, HEAD)
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    for part, layers in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        for layer in range(layers):
            source, target = f"{part}/layer_{layer}", f"{part}.blocks.{layer}"
            norm(f"{source}/self_attention/layer_norm", f"{target}.attn_ln")
            linear(
                f"{source}/self_attention/linear_0", *(f"{target}.attn.{name}" for name in ("query", "key", "value"))
            )
            linear(f"{source}/self_attention/linear_1", f"{target}.attn.out")
            norm(f"{source}/ffn/layer_norm", f"{target}.mlp_ln")
            linear(f"{source}/ffn/linear_0", f"{target}.mlp.0")
            linear(f"{source}/ffn/linear_1", f"{target}.mlp.2")
            if part == "decoder":
                norm(f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")
                linear(f"{source}/attention/linear_0", f"{target}.cross_attn.query")
                linear(f"{source}/attention/linear_1", f"{target}.cross_attn.key", f"{target}.cross_attn.value")
                linear(f"{source}/attention/linear_2", f"{target}.cross_attn.out")
    # Variables without dimensions are settings.
    surplus = [name for name, value in variables.items() if value.dim() and name.removesuffix("_scale") not in used]
    if surplus:
        raise ValueError(f"{surplus[0]!r} belongs to none")
    return tensors


def _has_own_head(variables: Variables) -> bool:
    """Whether the output head differs from the embedding. In most files it is an alias; old ones leave it out."""

    def differs(kind: str) -> bool:
        head, embedding = variables.get(_HEAD + kind), variables.get(_EMBEDDING + kind)
        if head is None or head is embedding:
            return False
        return embedding is None or not torch.equal(head, embedding)

    return _HEAD in variables and (differs("") or differs("_scale"))


def _plain(variables: Variables, name: str) -> Tensor:
    """A variable as floats: integers are divided by their scale, of which there is one per row (int8) or one in all."""
    tensor = variables[name]
    if tensor.is_floating_point():
        return tensor
    scale = variables[f"{name}_scale"].float()
    if scale.numel() not in (1, len(tensor)):
        raise ValueError(f"{name!r} has {len(tensor)} rows and {scale.numel()} scales")
    return tensor.float() / scale.reshape(-1, *[1] * (tensor.dim() - 1))
