"""A folder or file of any format → `Checkpoint`: what lies there decides which reader takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from whisperlite.checkpoints import ctranslate2, huggingface, openai
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.weights import ADAPTER, adapter_message, find_weights
from whisperlite.errors import CheckpointError

_READABLE = (
    "What can be read: a Hugging Face folder (config.json with model.safetensors or pytorch_model.bin), a CTranslate2 "
    "folder (model.bin), or a .pt file of OpenAI's."
)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: of a folder, or of the file in it that holds the weights.

    Raises:
        CheckpointError: it is damaged, not a Whisper, or of no format that can be read.
    """
    checkpoint = _read_folder(path) if path.is_dir() else _read_file(path)
    return replace(checkpoint, path=path)


def _read_folder(folder: Path) -> Checkpoint:
    weights = find_weights(folder)
    is_safe = weights is not None and ".safetensors" in weights.name  # these come first, as in what is downloaded
    if ctranslate2.is_ctranslate2(folder) and not is_safe:
        return ctranslate2.read(folder)
    if weights is not None:
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} has weights but no config.json, which says of what shape they are.")
        return huggingface.read(folder)
    if (folder / ADAPTER).is_file():
        raise CheckpointError(adapter_message(str(folder)))
    found = sorted(folder.glob("*.pt"))
    if len(found) == 1:
        return openai.read(found[0])
    if found:
        raise CheckpointError(f"{folder} has {len(found)} .pt files; give the path of one, such as {found[0]}.")
    raise CheckpointError(f"{folder} is not a model folder. {_READABLE}")


def _read_file(path: Path) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    if path.suffix == ".pt":
        return openai.read(path)
    if path.suffix == ".bin" and ctranslate2.is_ctranslate2_file(path):
        return ctranslate2.read(path.parent, model_file=path)
    if path.suffix in (".safetensors", ".bin"):
        if not (path.parent / "config.json").is_file():
            raise CheckpointError(f"{path} needs a config.json beside it, which says of what shape its tensors are.")
        return huggingface.read(path.parent, weights=path)
    raise CheckpointError(f"{path} is not a file of a model. {_READABLE}")
