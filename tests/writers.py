"""Writes a model in each format that is read, from the facts of the formats as they are published."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests import models
from tests.vocabularies import N_SMALL, VocabularyParts, vocabulary_parts
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.nn.build import HEAD
from whisperlite.nn.config import ModelDimensions

EMBEDDING = "decoder.token_embedding.weight"

# A model of a few kilobytes with a small vocabulary of its own.
SMALL = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=16,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=N_SMALL,
    n_text_ctx=448,
    n_text_state=16,
    n_text_head=4,
    n_text_layer=1,
)


def random_tensors(
    dims: ModelDimensions, seed: int = 0, dtype: torch.dtype = torch.float32, *, untied: bool = False
) -> dict[str, Tensor]:
    """Seeded weights under OpenAI's names; with `untied` also an output head of its own."""
    tensors = models.random_tensors(dims, seed)
    if untied:
        tensors[HEAD] = 0.4 * torch.randn(tensors[EMBEDDING].shape, generator=torch.Generator().manual_seed(seed + 1))
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


# Hugging Face


def write_huggingface(
    folder: Path,
    dims: ModelDimensions,
    tensors: Mapping[str, Tensor],
    *,
    shards: int = 1,
    file: str = "model.safetensors",
    dtype: torch.dtype | None = None,
    tokenizer_files: str | None = "tokenizer.json",
    generation_config: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    prefix: str = "model.",
    vocabulary: VocabularyParts | None = None,
) -> Path:
    """Write a model as `transformers` publishes it on the Hub; returns the folder.

    Args:
        shards: more than one: as many numbered files, and an index.
        file: `model.safetensors`, `pytorch_model.bin`, or a variant such as `model.fp16.safetensors`.
        dtype: that weights are stored in; None: as they are.
        tokenizer_files: `tokenizer.json`, or `vocab.json` with merges and added tokens; None: none.
        generation_config: None: as published; {}: no such file.
        config: entries of `config.json` that differ; None as a value leaves one out.
        prefix: of the names of tensors; the bare network is saved without.
        vocabulary: None: that of `dims.n_vocab`. It may have fewer tokens: networks are padded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = vocabulary or vocabulary_parts(dims.n_vocab)
    stored = {
        name: tensor.to(dtype or tensor.dtype).contiguous()
        for name, tensor in huggingface_tensors(tensors, prefix=prefix).items()
    }
    if file.endswith(".bin") and HEAD not in tensors:
        # These files hold the tied head too, as a second name of one storage; safetensors leave it out.
        stored["proj_out.weight"] = stored[huggingface_name(EMBEDDING).replace("model.", prefix, 1)]
    _write_shards(folder, stored, file, shards)
    settings = huggingface_config(dims, parts, dtype or tensors[EMBEDDING].dtype, tied=HEAD not in tensors)
    settings |= dict(config or {})
    write_json(folder / "config.json", {key: value for key, value in settings.items() if value is not None})
    write_json(folder / "preprocessor_config.json", preprocessor_config(dims))
    if generation_config is None:
        generation_config = published_generation_config(parts)
    if generation_config:
        write_json(folder / "generation_config.json", generation_config)
    if tokenizer_files is not None:
        parts.write(folder, tokenizer_files)
    return folder


def huggingface_tensors(tensors: Mapping[str, Tensor], *, prefix: str = "model.") -> dict[str, Tensor]:
    """Under Hugging Face's names."""
    named = {huggingface_name(name): tensor for name, tensor in tensors.items()}
    return {
        prefix + name.removeprefix("model.") if name.startswith("model.") else name: tensor
        for name, tensor in named.items()
    }


def _write_shards(folder: Path, stored: dict[str, Tensor], file: str, shards: int) -> None:
    if shards == 1:
        _save(folder / file, stored)
        return
    # model.fp32.safetensors → model.fp32-00001-of-00002.safetensors, model.safetensors.index.fp32.json
    stem, _, kind = file.rpartition(".")
    base, dot, variant = stem.partition(".")
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"{stem}-{number + 1:05}-of-{shards:05}.{kind}"
        shard = dict(list(stored.items())[number::shards])
        weight_map |= dict.fromkeys(shard, name)
        _save(folder / name, shard)
    total = sum(tensor.nbytes for tensor in stored.values())
    write_json(
        folder / f"{base}.{kind}.index{dot}{variant}.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(OrderedDict(tensors), path)


def huggingface_config(
    dims: ModelDimensions, parts: VocabularyParts, dtype: torch.dtype, *, tied: bool = True
) -> dict[str, Any]:
    """`config.json` with the keys that the Hub's Whisper repositories have."""
    eot = parts.ids["<|endoftext|>"]
    return {
        "_name_or_path": "openai/whisper-base",
        "activation_dropout": 0.0,
        "activation_function": "gelu",
        "architectures": ["WhisperForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": eot,
        "d_model": dims.n_audio_state,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "decoder_layerdrop": 0.0,
        "decoder_layers": dims.n_text_layer,
        "decoder_start_token_id": eot + 1,
        "dropout": 0.0,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "encoder_layerdrop": 0.0,
        "encoder_layers": dims.n_audio_layer,
        "eos_token_id": eot,
        "init_std": 0.02,
        "is_encoder_decoder": True,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "model_type": "whisper",
        "num_hidden_layers": dims.n_audio_layer,
        "num_mel_bins": dims.n_mels,
        "pad_token_id": eot,
        "scale_embedding": False,
        "tie_word_embeddings": tied,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "transformers_version": "4.36.0",
        "use_cache": True,
        "vocab_size": dims.n_vocab,
    }


def preprocessor_config(dims: ModelDimensions) -> dict[str, Any]:
    return {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": dims.n_mels,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
    }


def published_generation_config(parts: VocabularyParts) -> dict[str, Any]:
    """`generation_config.json` as multilingual and English-only repositories have it."""
    ids = parts.ids
    eot, sot, space = ids["<|endoftext|>"], ids["<|startoftranscript|>"], ids["Ġ"]
    no_timestamps = ids["<|notimestamps|>"]
    is_english = eot == 50256
    forced: list[list[int | None]] = [[1, no_timestamps]]
    if not is_english:
        forced = [[1, None], [2, ids["<|transcribe|>"]]]
    config: dict[str, Any] = {
        "alignment_heads": [[0, 0], [0, 1]],
        "begin_suppress_tokens": [space, eot],
        "bos_token_id": eot,
        "decoder_start_token_id": sot,
        "eos_token_id": eot,
        "forced_decoder_ids": forced,
        "is_multilingual": not is_english,
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": no_timestamps,
        "pad_token_id": eot,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": [1, 2, 7, ids["<|translate|>"], ids["<|transcribe|>"], sot],
        "transformers_version": "4.31.0",
    }
    if not is_english:
        config["lang_to_id"] = parts.languages
        config["task_to_id"] = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    return config


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# OpenAI


def write_openai(path: Path, dims: ModelDimensions, tensors: Mapping[str, Tensor]) -> Path:
    """Write OpenAI's `.pt`; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(dims), "model_state_dict": OrderedDict(tensors)}, path)
    return path


# CTranslate2

Variables = dict[str, Tensor]
TYPE_IDS = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.float16: 4, torch.bfloat16: 5}


def write_ctranslate2(
    folder: Path, dims: ModelDimensions, tensors: Mapping[str, Tensor], storage: str = "float32"
) -> Path:
    """Write CTranslate2's folder; returns it.

    Args:
        storage: float32, float16, bfloat16, int16 or int8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = stored(ctranslate2_variables(tensors, dims), storage)
    # A tied head is a second name of the embedding, and of its scale.
    shared = [name for name in variables if name.startswith("decoder/embeddings/") and HEAD not in tensors]
    aliases = tuple((name.replace("embeddings", "projection"), name) for name in shared)
    (folder / "model.bin").write_bytes(ctranslate2_file(variables, aliases=aliases))
    parts = vocabulary_parts(dims.n_vocab)
    parts.write(folder, "vocabulary.json")
    ids = parts.ids
    config = {
        "alignment_heads": [[0, 0], [0, 1]],
        "lang_ids": list(parts.languages.values()),
        "suppress_ids": [1, 2, 7],
        "suppress_ids_begin": [ids["Ġ"], ids["<|endoftext|>"]],
    }
    write_json(folder / "config.json", config)
    return folder


def ctranslate2_variables(tensors: Mapping[str, Tensor], dims: ModelDimensions) -> Variables:
    """OpenAI's names → CTranslate2's: projections joined, keys given a bias of zeros."""
    variables: Variables = {}

    def put(target: str, *sources: str) -> None:
        weights = [tensors[f"{source}.weight"] for source in sources]
        zeros = [weight.new_zeros(len(weight)) for weight in weights]
        biases = [tensors.get(f"{source}.bias", zero) for source, zero in zip(sources, zeros, strict=True)]
        variables[f"{target}/weight"], variables[f"{target}/bias"] = torch.cat(weights), torch.cat(biases)

    def norm(target: str, source: str) -> None:
        gamma, beta = tensors[f"{source}.weight"], tensors[f"{source}.bias"]
        variables[f"{target}/gamma"], variables[f"{target}/beta"] = gamma, beta

    for conv in ("conv1", "conv2"):
        put(f"encoder/{conv}", f"encoder.{conv}")
    for part, layers, heads in (
        ("encoder", dims.n_audio_layer, dims.n_audio_head),
        ("decoder", dims.n_text_layer, dims.n_text_head),
    ):
        variables[f"{part}/position_encodings/encodings"] = tensors[f"{part}.positional_embedding"]
        variables[f"{part}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
        norm(f"{part}/layer_norm", {"encoder": "encoder.ln_post", "decoder": "decoder.ln"}[part])
        for layer in range(layers):
            target, source = f"{part}/layer_{layer}", f"{part}.blocks.{layer}"
            norm(f"{target}/self_attention/layer_norm", f"{source}.attn_ln")
            put(f"{target}/self_attention/linear_0", *(f"{source}.attn.{one}" for one in ("query", "key", "value")))
            put(f"{target}/self_attention/linear_1", f"{source}.attn.out")
            norm(f"{target}/ffn/layer_norm", f"{source}.mlp_ln")
            put(f"{target}/ffn/linear_0", f"{source}.mlp.0")
            put(f"{target}/ffn/linear_1", f"{source}.mlp.2")
            if part == "decoder":
                norm(f"{target}/attention/layer_norm", f"{source}.cross_attn_ln")
                put(f"{target}/attention/linear_0", f"{source}.cross_attn.query")
                put(f"{target}/attention/linear_1", f"{source}.cross_attn.key", f"{source}.cross_attn.value")
                put(f"{target}/attention/linear_2", f"{source}.cross_attn.out")
    variables["decoder/embeddings/weight"] = tensors[EMBEDDING]
    if HEAD in tensors:
        variables["decoder/projection/weight"] = tensors[HEAD]
    return variables


def stored(variables: Variables, storage: str) -> Variables:
    """As a converter stores them: weights of two axes and more as integers with their scale, or all in half."""
    if storage in ("float16", "bfloat16", "float32"):
        return {k: v.to(getattr(torch, storage)) if v.is_floating_point() else v for k, v in variables.items()}
    quantised: Variables = {}
    for name, tensor in variables.items():
        quantised[name] = tensor
        if not name.endswith("weight"):
            continue
        if storage == "int8":
            scale = 127.0 / tensor.flatten(1).float().abs().amax(1)
            rows = scale.reshape(-1, *[1] * (tensor.dim() - 1))
            quantised[name] = (tensor * rows).round().to(torch.int8)
        else:
            scale = torch.tensor(1000.0)
            quantised[name] = (tensor * scale).round().to(torch.int16)
        quantised[f"{name}_scale"] = scale
    return quantised


def text_field(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def tensor_field(tensor: Tensor) -> bytes:
    raw = tensor.contiguous().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor.contiguous()
    data = raw.numpy().tobytes()
    head = struct.pack("<B", tensor.dim()) + b"".join(struct.pack("<I", size) for size in tensor.shape)
    return head + struct.pack("<BI", TYPE_IDS[tensor.dtype], len(data)) + data


def ctranslate2_file(
    variables: Variables,
    *,
    version: int = 6,
    specification: str = "WhisperSpec",
    aliases: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """`model.bin`."""
    parts = [struct.pack("<I", version), text_field(specification), struct.pack("<II", 3, len(variables))]
    parts += [text_field(name) + tensor_field(tensor) for name, tensor in variables.items()]
    parts += [struct.pack("<I", len(aliases))] + [text_field(one) + text_field(other) for one, other in aliases]
    return b"".join(parts)
