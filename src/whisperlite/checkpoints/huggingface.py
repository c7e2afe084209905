"""Reads folders in Hugging Face's layout: `config.json`, safetensors or `pytorch_model.bin`, and a tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.generation import check_ids, read_generation_config, read_raw_config, read_special_ids
from whisperlite.checkpoints.layout import wrapped_message
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.checkpoints.shapes import check_dimensions, check_storage, take_tensors
from whisperlite.checkpoints.tokenizer_files import read_tokenizer
from whisperlite.checkpoints.weights import Weights, read_weights
from whisperlite.errors import CheckpointError
from whisperlite.nn.build import HEAD
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.files import read_json_object

# The numbers of config.json that determine shapes, with the defaults of transformers.
_SHAPE = {
    "d_model": 384,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "decoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "encoder_layers": 4,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "num_mel_bins": 80,
    "vocab_size": 51865,
}
# Values that are the same for every Whisper; a file with others describes another network.
_NETWORK = {"activation_function": "gelu", "scale_embedding": False}
_SOUND = {"sampling_rate": 16000, "hop_length": 160, "n_fft": 400, "chunk_length": 30}

_EMBEDDING = huggingface_name("decoder.token_embedding.weight")
_POSITIONS = huggingface_name("encoder.positional_embedding")
_HEAD = huggingface_name(HEAD)
_ADAPTED = re.compile(r"\.(?:lora_\w+|base_layer)\.")  # in names of tensors that peft has wrapped


def read(folder: Path, weights: Path) -> Checkpoint:
    """Read a Hugging Face folder.

    Args:
        folder: the folder with `config.json` and, unless its vocabulary is a published one, a tokenizer.
        weights: the file in it that contains or lists the weights.

    Raises:
        CheckpointError: it is damaged, incomplete or not a Whisper.
    """
    config = read_json_object(folder / "config.json")
    dims = _dimensions(config, folder / "config.json")
    _check_features(folder, dims)
    is_tied = config.get("tie_word_embeddings") is not False
    tensors = _tensors(read_weights(weights), dims, is_tied=is_tied)
    raw_config = read_raw_config(folder)
    special_ids = read_special_ids(folder, raw_config, config)
    tokenizer = read_tokenizer(folder, "huggingface", n_vocab=dims.n_vocab, special_ids=special_ids)
    check_ids(folder, special_ids, tokenizer)
    return Checkpoint(folder, dims, tensors, tokenizer, read_generation_config(folder, raw_config, config), raw_config)


def _dimensions(config: dict[str, Any], path: Path) -> ModelDimensions:
    if config.get("model_type") != "whisper":
        raise CheckpointError(f"{path} describes a {config.get('model_type')!r} model, not a Whisper.")
    for key, value in _NETWORK.items():
        if config.get(key) not in (None, value):
            raise CheckpointError(f"{path} says {key}={config[key]!r}; every Whisper has {value!r}.")
    numbers = {key: config.get(key, default) for key, default in _SHAPE.items()}
    for key, value in numbers.items():
        if type(value) is not int:
            raise CheckpointError(f"{path} says {key}={value!r}; it has to be a whole number.")
    width = numbers["d_model"]
    for part in ("encoder", "decoder"):
        if numbers[f"{part}_ffn_dim"] != 4 * width:
            inner = numbers[f"{part}_ffn_dim"]
            raise CheckpointError(f"{path} says {part}_ffn_dim={inner}; a Whisper has 4 · d_model = {4 * width}.")
    dims = ModelDimensions(
        n_mels=numbers["num_mel_bins"],
        n_audio_ctx=numbers["max_source_positions"],
        n_audio_state=width,
        n_audio_head=numbers["encoder_attention_heads"],
        n_audio_layer=numbers["encoder_layers"],
        n_vocab=numbers["vocab_size"],
        n_text_ctx=numbers["max_target_positions"],
        n_text_state=width,
        n_text_head=numbers["decoder_attention_heads"],
        n_text_layer=numbers["decoder_layers"],
    )
    check_dimensions(path, dims)
    return dims


def _check_features(folder: Path, dims: ModelDimensions) -> None:
    """Refuse a network that was trained on features other than Whisper's."""
    path = folder / "preprocessor_config.json"
    features = read_json_object(path) if path.is_file() else {}
    if not features and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"  # where transformers 5 puts it
        features = read_json_object(path).get("feature_extractor") or {}
        if not isinstance(features, dict):
            raise CheckpointError(f"{path}: its feature_extractor is not an object.")
    for key, value in (_SOUND | {"feature_size": dims.n_mels}).items():
        if features.get(key) not in (None, value):
            raise CheckpointError(f"{path} says {key}={features[key]!r}; this network takes {value}.")


def _tensors(loaded: Weights, dims: ModelDimensions, *, is_tied: bool) -> dict[str, Tensor]:
    """The tensors under OpenAI's names, without a head that equals the embedding.

    A head that differs is kept whatever the configuration says, as in transformers 5: training it, as peft's
    `modules_to_save` does, unties it.
    """
    if wrapped := next(filter(_ADAPTED.search, loaded.tensors), None):
        raise CheckpointError(wrapped_message(loaded.path, wrapped))
    found: dict[str, Tensor] = {}
    for stored, tensor in loaded.tensors.items():
        # If the bare network was saved, without its head, names lack the prefix.
        name = stored if stored.startswith("model.") or stored == _HEAD else f"model.{stored}"
        if name in found:
            raise CheckpointError(f"{loaded.path} holds the tensor {name!r} twice, with and without its prefix.")
        found[name] = tensor
    if _HEAD in found and is_tied and _EMBEDDING not in found:
        found[_EMBEDDING] = found.pop(_HEAD)
    elif _HEAD in found and _are_same(found[_HEAD], found.get(_EMBEDDING)):
        del found[_HEAD]
    check_storage(loaded.path, found, loaded.stored_bytes)
    if _POSITIONS not in found:
        found |= _positions(found, dims)
    return take_tensors(loaded.path, dims, found, name_of=huggingface_name)


def _positions(found: dict[str, Tensor], dims: ModelDimensions) -> dict[str, Tensor]:
    """The encoder's positions, for a file without them; they depend only on the width."""
    # Only for the width of other tensors, so that a number in config.json cannot decide how much memory is allocated.
    conv = found.get(huggingface_name("encoder.conv2.weight"))
    width = dims.n_audio_state
    if conv is None or tuple(conv.shape) != (width, width, 3) or width % 2 or width < 4 or dims.n_audio_ctx != 1500:
        return {}
    return {_POSITIONS: sinusoids(dims.n_audio_ctx, width)}


def _are_same(head: Tensor, embedding: Tensor | None) -> bool:
    return embedding is not None and head.dtype == embedding.dtype and torch.equal(head, embedding)


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) the encoder's positions: sines, then cosines, of wavelengths from 2π to 10000 · 2π.

    Source: Radford et al. 2022, section 2.2; the published files hold these values.
    """
    octaves = torch.arange(width // 2, dtype=torch.float32, device="cpu") / (width // 2 - 1)
    angles = torch.arange(length, dtype=torch.float32, device="cpu")[:, None] * 10000.0**-octaves
    return torch.cat([angles.sin(), angles.cos()], dim=1)
