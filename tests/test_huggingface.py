"""Hugging Face folders as the Hub holds them: official repositories, older and newer ones, fine-tunes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models import STRUCTURES
from tests.refusing import refused
from tests.vocabularies import AddedToken, vocabulary_parts
from tests.writers import (
    EMBEDDING,
    SMALL,
    huggingface_tensors,
    preprocessor_config,
    published_generation_config,
    random_tensors,
    write_huggingface,
    write_json,
)
from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.huggingface import sinusoids
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.nn.build import HEAD
from whisperlite.text.tokenizer import Tokenizer

TENSORS = random_tensors(SMALL)
POSITIONS = "encoder.positional_embedding"


def assert_holds(checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> None:
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.tensors[name], tensor), name


# Weights


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("prefix", ["model.", ""])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_what_was_written_is_read(file: str, shards: int, prefix: str, untied: bool, tmp_path: Path) -> None:
    tensors = random_tensors(SMALL, untied=untied)
    folder = write_huggingface(tmp_path / "model", SMALL, tensors, file=file, shards=shards, prefix=prefix)
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.path, checkpoint.dims) == (folder, SMALL)
    assert_holds(checkpoint, tensors)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_stay_in_the_type_that_they_are_stored_in(dtype: torch.dtype, file: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, file=file, dtype=dtype)
    assert_holds(read_checkpoint(folder), {name: tensor.to(dtype) for name, tensor in TENSORS.items()})


def test_safetensors_come_before_pickles_and_plain_names_before_variants(tmp_path: Path) -> None:
    """openai/whisper-large-v3 has model.safetensors, model.fp32-0000?-of-00002.safetensors, pytorch_model.bin, …"""
    folder = tmp_path / "model"
    other = random_tensors(SMALL, seed=5)
    write_huggingface(folder, SMALL, other, file="model.fp32.safetensors", shards=2)
    write_huggingface(folder, SMALL, other, file="pytorch_model.bin")
    write_huggingface(folder, SMALL, other, file="pytorch_model.fp32.bin", shards=2)
    write_huggingface(folder, SMALL, TENSORS)
    assert_holds(read_checkpoint(folder), TENSORS)
    (folder / "model.safetensors").unlink()
    assert_holds(read_checkpoint(folder), other)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("file", ["model.fp16.safetensors", "model.fp32.safetensors", "pytorch_model.fp32.bin"])
def test_a_variant_is_read_where_it_is_all_there_is(file: str, shards: int, tmp_path: Path) -> None:
    assert_holds(read_checkpoint(write_huggingface(tmp_path, SMALL, TENSORS, file=file, shards=shards)), TENSORS)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "fine-tuned.safetensors"])
def test_a_file_is_read_with_what_lies_beside_it(file: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path / "model", SMALL, TENSORS, file=file)
    checkpoint = read_checkpoint(folder / file)
    assert checkpoint.path == folder / file
    assert_holds(checkpoint, TENSORS)
    (folder / "config.json").unlink()
    refused(folder / file, "config.json")


def test_a_head_that_repeats_the_embedding_is_dropped(tmp_path: Path) -> None:
    tensors = TENSORS | {HEAD: TENSORS["decoder.token_embedding.weight"].clone()}
    assert_holds(read_checkpoint(write_huggingface(tmp_path, SMALL, tensors)), TENSORS)


@pytest.mark.parametrize("says", [True, None])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_head_that_differs_is_kept_though_the_configuration_ties_it(
    file: str, says: bool | None, tmp_path: Path
) -> None:
    tensors = random_tensors(SMALL, untied=True)
    folder = write_huggingface(tmp_path, SMALL, tensors, file=file, config={"tie_word_embeddings": says})
    assert_holds(read_checkpoint(folder), tensors)


@pytest.mark.parametrize("says", [True, None])
def test_a_head_that_is_tied_and_alone_is_the_embedding_too(says: bool | None, tmp_path: Path) -> None:
    tensors = {HEAD if name == EMBEDDING else name: tensor for name, tensor in TENSORS.items()}
    folder = write_huggingface(tmp_path, SMALL, TENSORS, config={"tie_word_embeddings": says})
    save_file(huggingface_tensors(tensors), folder / "model.safetensors")
    assert_holds(read_checkpoint(folder), TENSORS)
    write_json(
        folder / "config.json", json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    )
    refused(folder, "embed_tokens")


def test_positions_that_a_file_leaves_out_are_the_published_ones(tmp_path: Path) -> None:
    left = {name: tensor for name, tensor in TENSORS.items() if name != POSITIONS}
    checkpoint = read_checkpoint(write_huggingface(tmp_path, SMALL, left))
    assert_holds(checkpoint, TENSORS | {POSITIONS: sinusoids(1500, 16)})


def test_positions_of_another_window_are_not_made_up(tmp_path: Path) -> None:
    """A number in config.json must not decide how much is allocated."""
    left = {name: tensor for name, tensor in TENSORS.items() if name != POSITIONS}
    dims = replace(SMALL, n_audio_ctx=10**9)
    refused(write_huggingface(tmp_path, dims, left), "embed_positions", "missing")


def test_a_head_in_another_type_than_the_embedding_is_kept(tmp_path: Path) -> None:
    """Where it repeats the embedding in another precision, it is what the checkpoint's logits come from."""
    tensors = TENSORS | {HEAD: TENSORS["decoder.token_embedding.weight"].half()}
    folder = write_huggingface(tmp_path, SMALL, tensors, config={"tie_word_embeddings": False})
    assert read_checkpoint(folder).tensors[HEAD].dtype == torch.float16


def test_the_published_positions_are_sinusoids() -> None:
    published = load_checkpoint("base").tensors[POSITIONS]
    torch.testing.assert_close(sinusoids(1500, 512).half(), published, rtol=0, atol=1e-3)


def test_reading_does_not_change_the_file(tmp_path: Path) -> None:
    for file in ("model.safetensors", "pytorch_model.bin"):
        folder = write_huggingface(tmp_path / file, SMALL, TENSORS, file=file)
        before = (folder / file).read_bytes()
        for tensor in read_checkpoint(folder).tensors.values():
            tensor.zero_()
        assert (folder / file).read_bytes() == before


# Configuration


def test_numbers_that_a_configuration_leaves_out_are_those_of_transformers(tmp_path: Path) -> None:
    left_out = {"max_source_positions": None, "max_target_positions": None, "num_mel_bins": None}
    assert read_checkpoint(write_huggingface(tmp_path, SMALL, TENSORS, config=left_out)).dims == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"model_type": None}, "None"),
        ({"encoder_ffn_dim": 128}, "encoder_ffn_dim=128"),
        ({"decoder_ffn_dim": 65}, "decoder_ffn_dim=65"),
        ({"activation_function": "relu"}, "activation_function='relu'"),
        ({"scale_embedding": True}, "scale_embedding=True"),
        ({"d_model": "16"}, "d_model='16'"),
        ({"encoder_layers": 2.0}, "encoder_layers=2.0"),
        ({"encoder_layers": True}, "encoder_layers=True"),
        ({"vocab_size": float("nan")}, "vocab_size=nan"),
        ({"decoder_layers": 0}, "n_text_layer=0"),
        ({"max_target_positions": -448}, "n_text_ctx=-448"),
        ({"decoder_attention_heads": 3}, "3 heads"),
        ({"vocab_size": 10**9}, "1000000000"),
    ],
)
def test_a_configuration_of_another_network_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, config=change)
    refused(folder, "config.json", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_layers": 3}, "'model.encoder.layers.2.self_attn_layer_norm.weight' is missing"),
        ({"encoder_layers": 1}, "'model.encoder.layers.1."),
        ({"encoder_layers": 10**9}, "1000000001 layers"),
        ({"d_model": 32, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}, "'model.encoder.conv1.weight'"),
        ({"d_model": 10**9, "encoder_ffn_dim": 4 * 10**9, "decoder_ffn_dim": 4 * 10**9}, "(1000000000, 80, 3)"),
        ({"max_source_positions": 10**12}, "'model.encoder.embed_positions.weight' has the shape (1500, 16)"),
        (
            {"max_target_positions": 449},
            "'model.decoder.embed_positions.weight' has the shape (448, 16), not (449, 16)",
        ),
        ({"vocab_size": 1800}, "'model.decoder.embed_tokens.weight'"),
    ],
)
def test_a_configuration_of_other_tensors_is_refused_by_their_name(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refused(write_huggingface(tmp_path, SMALL, TENSORS, config=change), "model.safetensors", message)


@pytest.mark.parametrize(
    "change", [{"feature_size": 128}, {"sampling_rate": 8000}, {"hop_length": 80}, {"n_fft": 512}, {"chunk_length": 10}]
)
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_other_features_than_whispers_are_refused(file: str, change: dict[str, int], tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    (folder / "preprocessor_config.json").unlink()
    features = preprocessor_config(SMALL) | change
    write_json(folder / file, features if file.startswith("pre") else {"feature_extractor": features})
    refused(folder, file, *change)


def test_the_features_need_not_be_described(tmp_path: Path) -> None:
    dims = replace(SMALL, n_mels=128)
    folder = write_huggingface(tmp_path, dims, random_tensors(dims))
    (folder / "preprocessor_config.json").unlink()
    assert read_checkpoint(folder).dims == dims
    write_json(folder / "processor_config.json", {"feature_extractor": preprocessor_config(dims)})
    assert read_checkpoint(folder).dims == dims


# Use


def test_what_a_checkpoint_says_about_its_use_is_read(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    stated = json.loads((folder / "generation_config.json").read_bytes())
    ids = vocabulary_parts(SMALL.n_vocab).ids
    assert read_checkpoint(folder).generation_config == GenerationConfig(
        alignment_heads=((0, 0), (0, 1)),
        suppress_tokens=tuple(stated["suppress_tokens"]),
        begin_suppress_tokens=(ids["Ġ"], ids["<|endoftext|>"]),
        language_ids=(("en", ids["<|en|>"]), ("de", ids["<|de|>"])),
        forced_tokens=((1, None), (2, ids["<|transcribe|>"])),
    )


def test_older_repositories_say_it_in_the_configuration(tmp_path: Path) -> None:
    stated = {"forced_decoder_ids": [[1, 263], [2, 266]], "suppress_tokens": [], "begin_suppress_tokens": [220, 261]}
    folder = write_huggingface(tmp_path, SMALL, TENSORS, generation_config={}, config=stated)
    assert read_checkpoint(folder).generation_config == GenerationConfig(
        suppress_tokens=(), begin_suppress_tokens=(220, 261), forced_tokens=((1, 263), (2, 266))
    )
    write_json(folder / "generation_config.json", {"suppress_tokens": [7], "forced_decoder_ids": None})
    generation = read_checkpoint(folder).generation_config
    assert (generation.suppress_tokens, generation.forced_tokens) == ((7,), None)
    assert generation.begin_suppress_tokens == (220, 261)


@pytest.mark.parametrize(
    "said", [{"language": "hindi"}, {"task": "translate"}, {"language": "<|hi|>", "task": "transcribe"}]
)
def test_a_language_or_task_of_a_fine_tune_replaces_what_its_origin_forced(
    said: dict[str, str], tmp_path: Path
) -> None:
    stated = {"forced_decoder_ids": [[1, 263], [2, 266]]}
    folder = write_huggingface(tmp_path, SMALL, TENSORS, generation_config=said, config=stated)
    assert read_checkpoint(folder).generation_config == GenerationConfig(**said)  # type: ignore[arg-type]


def test_several_languages_are_none_to_be_named(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, generation_config={"language": ["hi", "ur"], "task": None})
    assert read_checkpoint(folder).generation_config == GenerationConfig()


@pytest.mark.parametrize(
    "stated",
    [
        {"alignment_heads": 3},
        {"alignment_heads": [[1]]},
        {"alignment_heads": [["1", "2"]]},
        {"suppress_tokens": [1.5]},
        {"begin_suppress_tokens": "220"},
        {"forced_decoder_ids": [[1, 2, 3]]},
        {"lang_to_id": [50259]},
        {"lang_to_id": {"<|de|>": 263}},
        {"lang_to_id": {"<|de|>": "264"}},
        {"task_to_id": {"transcribe": 263}},
        {"task_to_id": {"translate": "265"}},
        {"task_to_id": [265, 266]},
        {"no_timestamps_token_id": 263},
        {"prev_sot_token_id": 1.5},
    ],
)
def test_damage_in_it_is_refused(stated: dict[str, Any], tmp_path: Path) -> None:
    refused(write_huggingface(tmp_path, SMALL, TENSORS, generation_config=stated), "generation_config.json")


# Vocabulary


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json", None])
@pytest.mark.parametrize("structure", ["tiny.en", "base", "large-v3"])
def test_a_published_vocabulary_is_the_bundled_tokenizer(structure: str, files: str | None, tmp_path: Path) -> None:
    dims = replace(SMALL, n_vocab=STRUCTURES[structure].n_vocab)
    folder = write_huggingface(tmp_path, dims, random_tensors(dims), tokenizer_files=files)
    assert read_checkpoint(folder).tokenizer is Tokenizer.of_published_size(dims.n_vocab)


@pytest.mark.parametrize(
    ("published", "n_vocab"), [(51865, 51866), (51864, 51865), (51864, 51866), (51865, 51904), (51866, 51904)]
)
def test_the_ids_that_a_checkpoint_states_tell_which_published_vocabulary_it_has(
    published: int, n_vocab: int, tmp_path: Path
) -> None:
    """A fine-tune with tokens of its own, without their names, may have as many ids as another published model."""
    dims = replace(SMALL, n_vocab=n_vocab)
    stated = published_generation_config(vocabulary_parts(published))
    folder = write_huggingface(tmp_path, dims, random_tensors(dims), tokenizer_files=None, generation_config=stated)
    tokenizer, expected = read_checkpoint(folder).tokenizer, Tokenizer.of_published_size(published)
    assert expected is not None
    assert tokenizer.vocabulary.tokens[:published] == expected.vocabulary.tokens
    assert tokenizer.unused_tokens == tuple(range(published, n_vocab))


def test_ids_of_no_published_vocabulary_need_one_of_their_own(tmp_path: Path) -> None:
    dims = replace(SMALL, n_vocab=51866)
    stated = {"no_timestamps_token_id": 50400}
    folder = write_huggingface(tmp_path, dims, random_tensors(dims), tokenizer_files=None, generation_config=stated)
    refused(folder, "tokenizer.json", "<|notimestamps|> would have the id 50400", "gives it 50364")


def test_the_ids_of_languages_mean_nothing_in_an_english_only_vocabulary(tmp_path: Path) -> None:
    dims = replace(SMALL, n_vocab=51864)
    folder = write_huggingface(
        tmp_path, dims, random_tensors(dims), generation_config={"lang_to_id": {"<|en|>": 50259}}
    )
    assert not read_checkpoint(folder).tokenizer.is_multilingual


def test_a_published_vocabulary_is_not_guessed(tmp_path: Path) -> None:
    """Both multilingual ones have this id."""
    dims = replace(SMALL, n_vocab=51904)
    stated = {"lang_to_id": {"<|en|>": 50259}}
    folder = write_huggingface(tmp_path, dims, random_tensors(dims), tokenizer_files=None, generation_config=stated)
    refused(folder, "tokenizer.json", "51904")


def test_a_vocabulary_of_its_own_must_come_with_it(tmp_path: Path) -> None:
    refused(write_huggingface(tmp_path, SMALL, TENSORS, tokenizer_files=None), "tokenizer.json", str(SMALL.n_vocab))


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_a_vocabulary_of_another_size_is_refused(files: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, tokenizer_files=None)
    vocabulary_parts(51865).write(folder, files)
    refused(folder, files, "belongs to another checkpoint")


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_tokens_that_the_network_was_never_given_are_left_out_and_said(
    files: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = vocabulary_parts(SMALL.n_vocab, (AddedToken("[PAD]", special=True),))
    folder = write_huggingface(tmp_path, SMALL, TENSORS, tokenizer_files=files, vocabulary=parts)
    tokenizer = read_checkpoint(folder).tokenizer
    assert tokenizer.n_vocab == SMALL.n_vocab
    assert "[PAD]" in caplog.text


def test_null_in_a_configuration_says_nothing(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    for name, keys in (
        ("config.json", ("scale_embedding", "activation_function")),
        ("preprocessor_config.json", ("n_fft", "chunk_length")),
    ):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(document | dict.fromkeys(keys)))
    assert read_checkpoint(folder).dims == SMALL


def test_another_formats_weights_beside_safetensors_are_passed_over(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    (folder / "model.bin").write_bytes(b"something else")
    assert_holds(read_checkpoint(folder), TENSORS)


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_a_fine_tune_may_add_tokens_and_pad_its_vocabulary(files: str, tmp_path: Path) -> None:
    parts = vocabulary_parts(
        SMALL.n_vocab, (AddedToken("grüezi", special=False), AddedToken("<|noise|>", special=True))
    )
    dims = replace(SMALL, n_vocab=1792)  # the next multiple of 64
    folder = write_huggingface(tmp_path, dims, random_tensors(dims), tokenizer_files=files, vocabulary=parts)
    tokenizer = read_checkpoint(folder).tokenizer
    word, noise = SMALL.n_vocab, SMALL.n_vocab + 1
    assert tokenizer.n_vocab == 1792
    assert [tokenizer.is_text(token) for token in (0, tokenizer.eot, word, noise)] == [True, False, True, False]
    assert tokenizer.decode([word, noise, tokenizer.timestamp_begin, word]) == "grüezigrüezi"
    assert tokenizer.unused_tokens == tuple(range(noise + 1, 1792))


# What lies there


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    refused(tmp_path, "merge_and_unload")


def test_an_adapter_beside_weights_is_not_passed_over(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path / "model", SMALL, TENSORS)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(folder, "merge_and_unload", "model.safetensors", "adapter_config.json")
    assert read_checkpoint(folder / "model.safetensors").dims == SMALL  # asked for by its name


@pytest.mark.parametrize("wrapped", ["q_proj.lora_A.default.weight", "q_proj.base_layer.weight"])
def test_weights_that_an_adapter_wraps_have_to_be_merged(wrapped: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    name = f"base_model.model.model.encoder.layers.0.self_attn.{wrapped}"
    save_file(huggingface_tensors(TENSORS) | {name: torch.zeros(2, 16)}, folder / "model.safetensors")
    refused(folder / "model.safetensors", "merge_and_unload", name)


def test_a_folder_without_a_model_says_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    refused(tmp_path, "model.safetensors", "model.bin", ".pt")
    refused(tmp_path / "notes.txt", "model.safetensors", "model.bin", ".pt")
    refused(tmp_path / "nothing.pt", "does not exist")


@pytest.mark.parametrize(("start", "format"), [(b"lmgg", "ggml"), (b"GGUF", "GGUF")])
@pytest.mark.parametrize("file", ["ggml-base.bin", "whisper.gguf", "base.pt"])
def test_a_file_of_whisper_cpp_is_recognised(start: bytes, format: str, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(start + bytes(100))
    refused(tmp_path / file, f"whisper.cpp's format {format}", "model that it was made from", "model.safetensors")


def test_weights_of_another_framework_alone_are_refused(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    refused(folder, "model.safetensors")


def test_weights_without_a_configuration_are_refused(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    (folder / "config.json").unlink()
    refused(folder, "config.json")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "generation_config.json"])
def test_a_pointer_beside_the_weights_is_recognised(file: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS)
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2480617\n")
    refused(folder, file, "git lfs pull")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_that_git_lfs_left_is_recognised(file: str, tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, file=file)
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3087130976\n")
    refused(folder, file, "git lfs pull")


# Shards

Index = dict[str, Any]


def without_weight_map(index: Index) -> None:
    del index["weight_map"]


def empty(index: Index) -> None:
    index["weight_map"] = {}


def at(name: object) -> Callable[[Index], None]:
    def change(index: Index) -> None:
        index["weight_map"]["model.encoder.conv1.bias"] = name

    return change


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_weight_map, "weight_map"),
        (empty, "weight_map"),
        (at("/etc/passwd"), "'/etc/passwd'"),
        (at("../model-00001-of-00002.safetensors"), "its own folder"),
        (at("..\\model.safetensors"), "its own folder"),
        (at("C:model.safetensors"), "its own folder"),
        (at("a/model.safetensors"), "its own folder"),
        (at("config.json"), "its own folder"),
        (at(""), "its own folder"),
        (at(7), "its own folder"),
        (at(None), "its own folder"),
        (at(["model-00001-of-00002.safetensors"]), "its own folder"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(
    change: Callable[[Index], None], message: str, file: str, tmp_path: Path
) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, file=file, shards=2)
    path = folder / f"{file}.index.json"
    index = json.loads(path.read_bytes())
    change(index)
    write_json(path, index)
    refused(folder, path.name, message)


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "model.safetensors.index.json", "model-00002-of-00003.safetensors")


def test_a_tensor_that_a_shard_lacks_is_named(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    index["weight_map"]["model.encoder.extra"] = "model-00001-of-00002.safetensors"
    write_json(path, index)
    refused(folder, "model-00001-of-00002.safetensors", "model.encoder.extra")


def test_a_tensor_that_the_index_does_not_list_is_named(tmp_path: Path) -> None:
    folder = write_huggingface(tmp_path, SMALL, TENSORS, shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    del index["weight_map"]["model.encoder.conv1.weight"]
    write_json(path, index)
    refused(folder, "model.encoder.conv1.weight")
