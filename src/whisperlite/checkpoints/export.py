"""Writes a checkpoint of any format as a folder of safetensors in Hugging Face's layout, as transformers reads it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.checkpoints.tokenizer_files import write_json, write_tokenizer
from whisperlite.errors import ModelError
from whisperlite.nn.build import HEAD
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer

# The largest file that the Hub's tools write.
_SHARD_BYTES = 5_000_000_000
_SCRATCH = ".export-"


def export_checkpoint(checkpoint: Checkpoint, folder: Path, *, shard_bytes: int = _SHARD_BYTES) -> None:
    """Write a checkpoint as safetensors with the configuration and tokenizer files that Hugging Face's have.

    Tensors are written bit for bit in their present type. What the checkpoint says about its use is written unchanged;
    what it does not say is written as in OpenAI's checkpoints, since transformers' `generate()` needs it. A new folder
    appears complete or not at all; an empty one is filled.

    Args:
        checkpoint: the result of a reader.
        folder: the folder to write, which does not exist or is empty.
        shard_bytes: the most bytes of tensors in one file; a larger tensor gets a file of its own.

    Raises:
        ModelError: the folder cannot be written, or Hugging Face's layout cannot describe such a network.
    """
    dims = checkpoint.dims
    if dims.n_audio_state != dims.n_text_state:
        raise ModelError(
            f"{checkpoint.path} has an encoder of width {dims.n_audio_state} and a decoder of width "
            f"{dims.n_text_state}; Hugging Face's layout has one width for both, so it cannot be exported."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        is_there = folder.is_dir()  # possibly a mount point: its parent can be on another disk
        if is_there:
            _check_empty(folder)
        with tempfile.TemporaryDirectory(dir=folder if is_there else folder.parent, prefix=_SCRATCH) as scratch:
            # A folder below the temporary one, which only its owner can read.
            complete = Path(scratch) / "export"
            complete.mkdir()
            _write(checkpoint, complete, shard_bytes)
            if is_there:
                _check_empty(folder)  # again: another process may have filled it
                _move_all(complete, folder)
            else:
                complete.rename(folder)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{checkpoint.path} could not be exported to {folder}: {error}. Nothing of it is left there; "
            "give a new or empty folder on a disk with room for the weights."
        ) from error


def _check_empty(folder: Path) -> None:
    """Raise an OSError if a folder holds anything but temporary folders of exports."""
    if any(not path.name.startswith(_SCRATCH) for path in folder.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def _move_all(source: Path, folder: Path) -> None:
    """Move the files of a model, `config.json` last, since it makes the folder a model."""
    moved = []
    try:
        for file in sorted(source.iterdir(), key=lambda file: file.name == "config.json"):
            moved.append(folder / file.name)
            file.rename(moved[-1])
    except BaseException:
        for file in moved:
            file.unlink(missing_ok=True)
        raise


def _write(checkpoint: Checkpoint, folder: Path, shard_bytes: int) -> None:
    write_json(folder / "config.json", _config(checkpoint))
    write_json(folder / "generation_config.json", _generation_config(checkpoint))
    write_json(folder / "preprocessor_config.json", _preprocessor_config(checkpoint.dims))
    write_tokenizer(checkpoint.tokenizer, folder)
    _write_tensors({huggingface_name(name): tensor for name, tensor in checkpoint.tensors.items()}, folder, shard_bytes)


def _write_tensors(tensors: dict[str, Tensor], folder: Path, shard_bytes: int) -> None:
    shards = _shards(tensors, shard_bytes)
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(
            _without_shared_memory({key: tensors[key] for key in shard}), folder / name, metadata={"format": "pt"}
        )
        # safetensors makes its files readable by the owner only.
        (folder / name).chmod((folder / "config.json").stat().st_mode)
        weight_map.update(dict.fromkeys(shard, name))
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        write_json(
            folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
        )


def _without_shared_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where several share memory, as parts of one tensor do: the format does not allow it."""
    owners = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.contiguous()
        if owners[tensor.untyped_storage().data_ptr()] == 1
        else tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _shards(tensors: dict[str, Tensor], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    dims, tokenizer = checkpoint.dims, checkpoint.tokenizer
    dtype = checkpoint.tensors["decoder.token_embedding.weight"].dtype
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "scale_embedding": False,
        "d_model": dims.n_text_state,
        "num_mel_bins": dims.n_mels,
        "max_source_positions": dims.n_audio_ctx,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "max_target_positions": dims.n_text_ctx,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "vocab_size": dims.n_vocab,
        "tie_word_embeddings": HEAD not in checkpoint.tensors,
        **_start_and_end(tokenizer),
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def _generation_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config, tokenizer = checkpoint.generation_config, checkpoint.tokenizer
    document: dict[str, Any] = {
        **_start_and_end(tokenizer),
        "prev_sot_token_id": tokenizer.sot_prev,
        "no_timestamps_token_id": tokenizer.no_timestamps,
        "is_multilingual": tokenizer.is_multilingual,
        "max_length": checkpoint.dims.n_text_ctx,
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
        "suppress_tokens": sorted({*tokenizer.non_speech_tokens, *tokenizer.control_tokens}),
        "begin_suppress_tokens": tokenizer.blank_tokens,
        **_languages_and_tasks(config, tokenizer),
    }
    given = {
        "alignment_heads": config.alignment_heads,
        "suppress_tokens": config.suppress_tokens,
        "begin_suppress_tokens": config.begin_suppress_tokens,
        "forced_decoder_ids": config.forced_tokens,
        "language": config.language,
        "task": config.task,
    }
    document |= {key: value for key, value in given.items() if value is not None}
    return document | {key: value for key, value in checkpoint.raw_config.items() if _is_kept(key, value)}


def _is_kept(key: str, value: object) -> bool:
    """Whether a value of the source's `generation_config.json` is kept."""
    if key == "_from_model_config":  # refers to a config.json that is written anew
        return False
    return value is not None or key not in ("alignment_heads", "lang_to_id", "task_to_id")


def _languages_and_tasks(config: GenerationConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    languages = tokenizer.language_tokens.items() if config.language_ids is None else config.language_ids
    if not languages:
        return {}
    document: dict[str, Any] = {
        "lang_to_id": {f"<|{code}|>": token for code, token in languages},
        "task_to_id": {"transcribe": tokenizer.transcribe, "translate": tokenizer.translate},
    }
    if config.forced_tokens is None:
        document["task"] = "transcribe"  # otherwise transformers gives the network no task at all
    return document


def _start_and_end(tokenizer: Tokenizer) -> dict[str, int]:
    end = tokenizer.eot
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": tokenizer.sot,
    }


def _preprocessor_config(dims: ModelDimensions) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": dims.n_mels,
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
