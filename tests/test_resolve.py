"""A name, a path or a repository → the place that its weights are read from."""

from __future__ import annotations

import hashlib
import logging
import pickle
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import whisperlite
from tests.hub_server import files_of, running_hub
from tests.models import random_tensors
from tests.writers import SMALL, write_ctranslate2, write_huggingface, write_openai
from whisperlite.api import load
from whisperlite.checkpoints import cache, embedded
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.resolve import load_checkpoint, local_path
from whisperlite.errors import (
    CancelledError,
    CheckpointError,
    DownloadError,
    ModelError,
    ModelNotFoundError,
    OptionError,
)
from whisperlite.nn.build import build_network
from whisperlite.nn.network import Network

TENSORS = random_tensors(SMALL)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubOptions:
    """Nothing is cached and nothing may be downloaded."""
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return HubOptions(cache_dir=str(tmp_path / "cache"), local_files_only=True)


# Paths


@pytest.mark.parametrize("form", ["absolute", "relative", "with a slash", "dotted", "home", "as a Path"])
def test_a_folder_is_found_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    folder = write_huggingface(tmp_path / "models" / "mine", SMALL, TENSORS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    names: dict[str, str | Path] = {
        "absolute": str(folder),
        "relative": "models/mine",
        "with a slash": "models/mine/",
        "dotted": "./models/mine",
        "home": "~/models/mine",
        "as a Path": Path("models/mine"),
    }
    assert load_checkpoint(names[form]).dims == SMALL


def test_a_file_is_read(tmp_path: Path) -> None:
    path = write_openai(
        tmp_path / "mine.pt", replace(SMALL, n_vocab=51865), random_tensors(replace(SMALL, n_vocab=51865))
    )
    assert load_checkpoint(path).dims.n_vocab == 51865


@pytest.mark.parametrize(
    "name",
    [
        "/nowhere/model",
        "./base",
        "~/no/such/model",
        "~nobody-of-that-name/model",
        "models/of/mine",
        "mine.pt",
        "org/model.safetensors",
        "base/",
        ".\\model",
        "C:\\models\\base",
        "x" * 300 + "/model.bin",
        "a\0b",
    ],
)
def test_a_path_to_nothing_is_not_asked_of_the_hub(name: str, options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no file or folder|cannot be looked up|no model"):
        load_checkpoint(name, options)


def test_a_folder_or_file_that_is_no_model_says_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(CheckpointError, match="can be read"):
            load_checkpoint(path)


def test_a_folder_named_as_a_repository_comes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_huggingface(tmp_path / "someone" / "whisper-small", SMALL, TENSORS)
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("someone/whisper-small").path == Path("someone/whisper-small")


def test_a_model_folder_with_an_official_name_comes_before_it_and_any_other_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.en").mkdir()
    (tmp_path / "tiny.en" / "recording.wav").write_bytes(b"")
    assert local_path("tiny.en") is None
    write_ctranslate2(tmp_path / "tiny.en", SMALL, TENSORS)
    assert local_path("tiny.en") == Path("tiny.en")


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("bass", "'base'"),
        ("whisper-large-v3", "'large-v3'"),
        ("Tiny", "'tiny'"),
        ("BASE", "'base'"),
        ("distil-large", "'distil-large-v"),
    ],
)
def test_a_name_that_is_not_known_says_what_was_meant_and_what_is_allowed(name: str, meant: str) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"no model '{name}'.*Did you mean.*{meant}.*large-v3-turbo.*organis"):
        load_checkpoint(name)


@pytest.mark.parametrize("name", ["a/b/../c", "org/", "/org", "org//model", "org/mod el", "org/mo--del", "hf:x/y"])
def test_what_can_be_no_repository_is_not_asked_of_the_hub(name: str, options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no (model|file or folder)"):
        load_checkpoint(name, options)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in embedded.EMBEDDED])
def test_every_official_name_leads_to_its_repository(name: str, options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=f"'{PUBLISHED[name].repository}'"):
        load_checkpoint(name, options)


def test_an_english_name_may_be_spelt_as_the_reference_spells_it() -> None:
    reference = {"tiny", "base", "small", "medium"}
    assert {*reference, *(f"{name}.en" for name in reference)} <= set(PUBLISHED)
    assert {"large-v1", "large-v2", "large-v3", "large", "large-v3-turbo", "turbo"} <= set(PUBLISHED)
    assert PUBLISHED["large"] == PUBLISHED["large-v3"]
    assert PUBLISHED["turbo"] == PUBLISHED["large-v3-turbo"]
    assert PUBLISHED["large-v1"].repository == "openai/whisper-large"


def test_a_revision_passes_over_embedded_weights(options: HubOptions) -> None:
    for name, chosen in (("tiny.en@main", options), ("tiny.en", replace(options, revision="main"))):
        with pytest.raises(ModelNotFoundError, match=r"'openai/whisper-tiny\.en'"):
            load_checkpoint(name, chosen)


# An embedded package that is not installed: the cache, the Hub, and only then an error


def test_without_the_package_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded.EMBEDDED, "base", missing("base"))
    files = files_of(write_huggingface(tmp_path / "model", SMALL, TENSORS))
    with running_hub() as hub:
        hub.add("openai/whisper-base", files)
        options = HubOptions(endpoint=hub.url, cache_dir=str(tmp_path / "cache"), token=False)
        assert load_checkpoint("base", options).dims == SMALL
    assert load_checkpoint("base", replace(options, local_files_only=True)).dims == SMALL


def test_without_the_package_and_the_hub_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: HubOptions
) -> None:
    monkeypatch.setitem(embedded.EMBEDDED, "base", missing("base"))
    with pytest.raises(ModelNotFoundError, match=r"pip install 'whisperlite\[base\]'"):
        load_checkpoint("base", options)
    with running_hub() as hub:
        nowhere = hub.url
    with pytest.raises(DownloadError, match=r"Connect.*pip install 'whisperlite\[base\]'"):
        load_checkpoint("base", HubOptions(endpoint=nowhere, cache_dir=str(tmp_path), token=False))


def missing(name: str) -> embedded.EmbeddedWeights:
    return replace(embedded.EMBEDDED[name], parts=(("not-there-weights", "data/part1"),))


# openai-whisper's own cache


@pytest.fixture
def openai_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny.pt` where openai-whisper leaves it, with the checksum that is published for it."""
    dims = replace(SMALL, n_vocab=51865)
    path = write_openai(tmp_path / "xdg" / "whisper" / "tiny.pt", dims, random_tensors(dims))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, "tiny", replace(PUBLISHED["tiny"], sha256=sha256))
    return path


def test_a_file_of_the_reference_is_used_and_hashed_once(
    openai_tiny: Path, options: HubOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, cache_dir=None)
    assert load_checkpoint("tiny", options).path == openai_tiny
    monkeypatch.delattr(cache, "sha256_of")
    assert load_checkpoint("tiny", options).path == openai_tiny


def test_the_folder_of_downloads_may_be_that_of_the_reference(openai_tiny: Path, options: HubOptions) -> None:
    options = replace(options, cache_dir=str(openai_tiny.parent))
    assert load_checkpoint("tiny", options).path == openai_tiny


def test_a_file_of_the_reference_with_a_wrong_checksum_is_passed_over_aloud(
    openai_tiny: Path, options: HubOptions, caplog: pytest.LogCaptureFixture
) -> None:
    openai_tiny.write_bytes(openai_tiny.read_bytes()[:-1] + b"x")
    with (
        caplog.at_level(logging.WARNING, "whisperlite"),
        pytest.raises(ModelNotFoundError, match=r"openai/whisper-tiny.*tiny\.pt was passed over.*SHA-256"),
    ):
        load_checkpoint("tiny", replace(options, cache_dir=None))
    assert str(openai_tiny) in caplog.text


# Loaded models


def test_a_model_pickles_with_its_place_and_without_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(write_huggingface(tmp_path / "model", SMALL, TENSORS))
    monkeypatch.chdir(tmp_path)
    with running_hub() as hub:
        repository = hub.add("someone/whisper-small", files)
        options = HubOptions(endpoint=hub.url, cache_dir="cache", token=False)
        load_checkpoint("someone/whisper-small", replace(options, revision="main"))
    commit = repository.refs["main"]
    model = whisperlite.load_model(
        "someone/whisper-small",
        device="cpu",
        revision=commit,
        token="hf_secret",
        cache_dir="cache",
        local_files_only=True,
    )
    data = pickle.dumps(model)
    assert b"hf_secret" not in data
    monkeypatch.chdir("/")
    again: whisperlite.Whisper = pickle.loads(data)
    window = torch.zeros((1, SMALL.n_mels, 3000))
    assert again.name == "someone/whisper-small"
    assert torch.equal(again.encode(window)[0].hidden, model.encode(window)[0].hidden)


def test_a_path_is_pickled_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_huggingface(tmp_path / "model", SMALL, TENSORS)
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(whisperlite.load_model("model", device="cpu"))
    monkeypatch.chdir("/")
    assert pickle.loads(data).name == str(tmp_path / "model")


@pytest.mark.parametrize("device", [None, "cpu"])
def test_a_model_is_unpickled_on_the_device_that_was_chosen_or_on_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    """A worker may have no GPU, though the process that pickled has one."""
    data = pickle.dumps(whisperlite.load_model(write_huggingface(tmp_path, SMALL, TENSORS), device=device))
    asked: list[object] = []

    def place(device: object) -> torch.device:
        asked.append(device)
        return torch.device("cpu")

    monkeypatch.setattr(load, "_device", place)
    assert pickle.loads(data).dims == SMALL
    assert asked == [device]


def test_a_link_into_a_cache_is_pickled_as_the_link(tmp_path: Path) -> None:
    """The Hub's cache names its files by their hash; only the links to them have the names that readers know."""
    folder = write_huggingface(tmp_path / "snapshot", SMALL, TENSORS)
    (folder / "model.safetensors").rename(tmp_path / "0123abcd")
    (folder / "model.safetensors").symlink_to(tmp_path / "0123abcd")
    model = whisperlite.load_model(folder / "model.safetensors", device="cpu")
    assert pickle.loads(pickle.dumps(model)).dims == SMALL


def test_transcribe_takes_a_loaded_model_and_leaves_its_device_alone(tmp_path: Path) -> None:
    model = whisperlite.load_model(write_huggingface(tmp_path / "model", SMALL, TENSORS), device="cpu")
    silence = np.zeros(1600, dtype=np.float32)
    result = whisperlite.transcribe(
        silence, model=model, language="en", temperature=0.0, beam_size=None, max_new_tokens=5
    )
    assert result.model == model.name
    with pytest.raises(OptionError, match="loaded already"):
        whisperlite.transcribe(silence, model=model, device="cpu")
    with pytest.raises(OptionError, match="loaded already"):
        whisperlite.transcribe(silence, model=model, compute_type="float32")


# The model of the last call


def silent(model: Path | str) -> whisperlite.Transcription:
    silence = np.zeros(1600, dtype=np.float32)
    quick: whisperlite.OptionsDict = {"language": "en", "temperature": 0.0, "beam_size": None, "max_new_tokens": 5}
    return whisperlite.transcribe(silence, model=model, device="cpu", **quick)


def test_the_model_of_the_last_call_goes_before_the_next_one_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write_huggingface(tmp_path / name, SMALL, TENSORS) for name in ("first", "second"))
    silent(first)
    last = load._LAST._model
    assert last is not None
    before = weakref.ref(last)
    del last
    found: list[object] = []

    def build_and_look(*arguments: Any, **named: Any) -> Network:
        found.append(before())
        return build_network(*arguments, **named)

    monkeypatch.setattr(load, "build_network", build_and_look)
    assert silent(second).model == str(second)
    assert found == [None]


def test_the_model_of_the_last_call_stays_where_the_next_one_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_huggingface(tmp_path / "model", SMALL, TENSORS)
    silent(folder)
    (tmp_path / "empty").mkdir()
    for name, error in (("no-such-model", ModelNotFoundError), (tmp_path / "empty", CheckpointError)):
        with pytest.raises(error):
            silent(name)
    monkeypatch.delattr(load, "build_network")  # so that nothing can be built
    assert silent(folder).model == str(folder)


def test_a_relative_path_is_another_model_in_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        write_huggingface(tmp_path / name / "model", SMALL, TENSORS)
        monkeypatch.chdir(tmp_path / name)
        assert silent("model").model == str(tmp_path / name / "model")


def test_a_call_that_is_cancelled_already_loads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(load, "load_checkpoint")
    token = whisperlite.CancelToken()
    token.cancel()
    with pytest.raises(CancelledError) as caught:
        whisperlite.transcribe("talk.mp3", model="large-v3", cancel=token, language="de")
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, partial.language, partial.model, partial.duration) == ("", "de", "large-v3", 0.0)


def test_a_network_that_looks_at_other_windows_is_refused(tmp_path: Path) -> None:
    dims = replace(SMALL, n_audio_ctx=750)
    folder = write_huggingface(tmp_path / "model", dims, random_tensors(dims))
    with pytest.raises(CheckpointError, match="750 positions of audio"):
        whisperlite.load_model(folder, device="cpu")


def test_a_path_that_is_misspelt_is_said_to_be_no_folder(options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no folder 'models/my-whisperr' here"):
        load_checkpoint("models/my-whisperr", options)


def test_without_a_home_folder_the_cache_has_to_be_named(options: HubOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(ModelNotFoundError):
        load_checkpoint("large-v3", replace(options, cache_dir=None))
    monkeypatch.delenv("WHISPERLITE_CACHE")
    with pytest.raises(ModelError, match="WHISPERLITE_CACHE"):
        load_checkpoint("base")
