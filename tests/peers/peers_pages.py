"""The "coming from" pages against the libraries that they are about: `make peers`.

Both sides of a page transcribe the same recording with the same real weights. Every `text` that a block of theirs
leaves has to be that of ours, in their order; the tables have to have every option that the installed library has.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest

import whisperlite
from tests.desk import SENTENCE_S, write_models, write_recordings
from tests.pages import COMING_FROM, ROOT, blocks, option_tables
from whisperlite.audio.ffmpeg import find_binary

SIDE = Path(__file__).with_name("side.py")


WHOLE_S = (0.0, 24.73)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that the pages speak of."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture
def desk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the models, and an ffmpeg by the name that two of the libraries call."""
    shutil.copytree(models, tmp_path, copy_function=os.link, dirs_exist_ok=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(find_binary())
    monkeypatch.setenv("PATH", os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"])))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def theirs(command: str, argument: str) -> Any:
    """What the other side answers, in the working directory."""
    python = Path(os.environ["PEERS_PYTHON"])
    called = [str(python if python.is_absolute() else ROOT / python), str(SIDE), command, argument]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(called, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def blocks_titled(page: Path, title: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == "python" and block.title == title]


def written_by_ours(page: Path) -> list[str]:
    namespace: dict[str, Any] = {"__name__": "page"}
    found: list[str] = []
    for block in blocks_titled(page, ""):
        exec(compile(block, str(page), "exec"), namespace)
        found += [namespace.pop("text").strip()] if "text" in namespace else []
    return found


def written_by_theirs(page: Path) -> list[str]:
    Path("before.json").write_text(json.dumps(blocks_titled(page, page.stem)), encoding="utf-8")
    return [str(text).strip() for text in theirs("page", "before.json")]


@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_both_sides_of_a_page_write_the_same(page: Path, desk: Path) -> None:
    write_recordings(desk, SENTENCE_S if page.stem == "transformers" else WHOLE_S)
    ours = written_by_ours(page)
    assert len(ours[0]) > 30
    assert ours == written_by_theirs(page)


def test_transformers_differs_on_a_longer_recording_by_padding_it_with_silence(desk: Path) -> None:
    """With its padding we write its text; without, a sentence near the end comes out otherwise (correction 10)."""
    write_recordings(desk, WHOLE_S)
    (page,) = (page for page in COMING_FROM if page.stem == "transformers")
    model = whisperlite.load_model("my-whisper")
    samples = whisperlite.load_audio("talk.mp3")
    mel = whisperlite.log_mel_spectrogram(numpy.pad(samples, (0, 480_000 - len(samples))), n_mels=model.dims.n_mels)
    (silent,) = model.decode([mel[:, :3000]], whisperlite.Options(language="en"))
    text = written_by_theirs(page)[0]
    assert silent.text.strip() == text
    assert model.transcribe(samples, language="en").text.strip() != text


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_a_page_has_every_option_of_the_library_and_no_other(page: Path) -> None:
    options = theirs("options", page.stem)
    generic = set(options.pop("generic", ()))
    shown = {heading: table.names for heading, table in option_tables(page).items()}
    assert set(shown.pop("`generate_kwargs`", ())) <= generic
    assert {heading: sorted(names) for heading, names in shown.items()} == {
        heading: sorted(names) for heading, names in options.items()
    }
