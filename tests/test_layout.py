"""Which files make up a model: one order of weights, and a vocabulary for each format."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisperlite.checkpoints.layout import Format, names_in, vocabulary_files, weights_file
from whisperlite.errors import CheckpointError

# From the best to the worst: whatever comes first of those that are there is read.
ORDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "model.fp16.safetensors",
    "model.safetensors.index.fp16.json",
    "model.fp32.safetensors",
    "model.safetensors.index.fp32.json",
    "model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.fp32.bin",
    "pytorch_model.bin.index.fp32.json",
    "model.ema.safetensors",
    "pytorch_model.ema.bin",
)


def test_weights_have_one_order() -> None:
    assert [weights_file(set(ORDER[first:])) for first in range(len(ORDER))] == list(ORDER)


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00002.safetensors",
        "model.fp32-00001-of-00002.safetensors",
        "onnx/model.safetensors",
        "model.a/b.safetensors",
        "adapter_model.safetensors",
        "model.onnx",
        "flax_model.msgpack",
        "base.pt",
    ],
)
def test_what_is_a_part_or_of_another_kind_is_not_taken_for_weights(name: str) -> None:
    assert weights_file({name, "config.json"}) is None


@pytest.mark.parametrize(
    ("names", "format", "chosen"),
    [
        ("tokenizer.json vocab.json merges.txt vocabulary.json", "huggingface", "tokenizer.json"),
        ("tokenizer.json vocab.json merges.txt vocabulary.json", "ctranslate2", "tokenizer.json"),
        ("vocab.json merges.txt vocabulary.json", "huggingface", "vocab.json merges.txt"),
        ("vocab.json merges.txt vocabulary.json vocabulary.txt", "ctranslate2", "vocabulary.json"),
        ("vocab.json vocabulary.txt", "huggingface", "vocabulary.txt"),
        ("vocab.json merges.txt added_tokens.json", "ctranslate2", "vocab.json merges.txt added_tokens.json"),
        ("vocab.json tokenizer_config.json", "huggingface", ""),
        ("", "ctranslate2", ""),
    ],
)
def test_a_format_s_own_vocabulary_comes_first_and_another_will_do(names: str, format: Format, chosen: str) -> None:
    assert vocabulary_files(names.split(), format) == chosen.split()


def test_only_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    (tmp_path / "config.json").write_text("{}")
    assert names_in(tmp_path) == {"config.json"}


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing cannot be read: No such file"):
        names_in(tmp_path / "missing")
