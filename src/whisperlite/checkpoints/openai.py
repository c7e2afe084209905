"""Reads OpenAI's own `.pt` files, which contain dimensions and tensors; their names are those used here."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.pickles import named_tensors, read_pickle
from whisperlite.checkpoints.shapes import check_storage, take_tensors
from whisperlite.errors import CheckpointError
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.files import refuse_pointer
from whisperlite.text.tokenizer import Tokenizer


def read(path: Path) -> Checkpoint:
    """Read a `.pt` file: {"dims": …, "model_state_dict": …}.

    It has no vocabulary: that is one of OpenAI's three, determined by its size.

    Raises:
        CheckpointError: it is damaged, not a Whisper, or has a vocabulary that OpenAI did not publish.
    """
    refuse_pointer(path)
    document = read_pickle(path)
    if not isinstance(document, dict) or not {"dims", "model_state_dict"} <= document.keys():
        raise CheckpointError(f"{path} is not a Whisper as OpenAI saves it: it has no 'dims' and 'model_state_dict'.")
    dims = _dimensions(document["dims"], path)
    found = named_tensors(document["model_state_dict"], path)
    check_storage(path, found, path.stat().st_size)
    tensors = take_tensors(path, dims, found)
    tokenizer = Tokenizer.of_published_size(dims.n_vocab)
    if tokenizer is None:
        raise CheckpointError(
            f"{path} has {dims.n_vocab} token ids and no vocabulary; OpenAI published none of that size. "
            "Give a folder in Hugging Face's layout, with a tokenizer.json."
        )
    return Checkpoint(path, dims, tensors, tokenizer, GenerationConfig())


def _dimensions(value: Any, path: Path) -> ModelDimensions:
    names = [field.name for field in fields(ModelDimensions)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise CheckpointError(f"{path}: its 'dims' are not the ten numbers {', '.join(names)}.")
    for name in names:
        if type(value[name]) is not int:
            raise CheckpointError(f"{path}: {name}={value[name]!r} is not a whole number.")
    return ModelDimensions(**value)
