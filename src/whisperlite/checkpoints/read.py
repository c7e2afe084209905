"""Reads a folder or file of any format: chooses the reader by its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from whisperlite.checkpoints import ctranslate2, huggingface, openai
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.layout import ADAPTER, CONFIG, adapter_message, format_of, names_in, weights_file
from whisperlite.errors import CheckpointError
from whisperlite.text.files import start_of

_READABLE = (
    "What can be read: a Hugging Face folder (config.json with model.safetensors or pytorch_model.bin), a CTranslate2 "
    "folder (model.bin), or a .pt file of OpenAI's."
)

_TORCH = (b"PK\x03\x04", b"\x80")  # the first bytes of torch's files: zip archives and, before 1.6, pickles
_WHISPER_CPP = {b"lmgg": "ggml", b"GGUF": "GGUF"}  # the first bytes of whisper.cpp's files


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a folder, or the file in it that contains the weights.

    Raises:
        CheckpointError: it is damaged, not a Whisper, or of no format that can be read.
    """
    checkpoint = _read_folder(path) if path.is_dir() else _read_file(path)
    return replace(checkpoint, path=path)


def _read_folder(folder: Path) -> Checkpoint:
    names = names_in(folder)
    weights = weights_file(names)
    if ADAPTER in names:
        raise CheckpointError(adapter_message(str(folder), weights))
    if weights is not None:
        if format_of(weights) == "ctranslate2":
            return ctranslate2.read(folder)
        if CONFIG not in names:
            raise CheckpointError(f"{folder} has weights but no {CONFIG}, which says of what shape they are.")
        return huggingface.read(folder, folder / weights)
    found = [folder / name for name in sorted(names) if name.endswith(".pt")]
    if len(found) == 1:
        return openai.read(found[0])
    if found:
        raise CheckpointError(f"{folder} has {len(found)} .pt files; give the path of one, such as {found[0]}.")
    raise CheckpointError(f"{folder} is not a model folder. {_READABLE}")


def _read_file(path: Path) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    start = start_of(path, 4)
    if other := _WHISPER_CPP.get(start):
        raise CheckpointError(
            f"{path} is in whisper.cpp's format {other}, which is not read; give the model that it was made from. "
            f"{_READABLE}"
        )
    if path.suffix == ".pt":
        return openai.read(path)
    if path.suffix == ".bin" and ctranslate2.is_ctranslate2_file(path):
        return ctranslate2.read(path.parent, model_file=path)
    if path.suffix in (".safetensors", ".bin"):
        if not (path.parent / CONFIG).is_file():
            raise CheckpointError(f"{path} needs a {CONFIG} beside it, which says of what shape its tensors are.")
        return huggingface.read(path.parent, path)
    if start.startswith(_TORCH):  # the reference loads OpenAI's format under any name
        return openai.read(path)
    raise CheckpointError(f"{path} is not a file of a model. {_READABLE}")
