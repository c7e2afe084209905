"""What the pages say is so: their Python runs, the demo's output, the table of options, links and commands."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest

from whisperlite.audio.ffmpeg import find_binary
from whisperlite.cli import main

ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "tests" / "data" / "librivox.wav"
SENTENCE_S = (7.1, 10.09)  # He was not an ill-disposed young man.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """(lines before it, source) of each block of Python."""
    text = page.read_text(encoding="utf-8")
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n"), block[1]) for block in blocks]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recordings that the pages speak of: one sentence, as mp3 and as wav."""
    folder = tmp_path_factory.mktemp("recordings")
    with wave.open(str(RECORDING)) as whole, wave.open(str(folder / "interview.wav"), "wb") as sentence:
        sentence.setparams(whole.getparams())
        start, end = (round(time * whole.getframerate()) for time in SENTENCE_S)
        whole.setpos(start)
        sentence.writeframes(whole.readframes(end - start))
    command = [find_binary(), "-v", "error", "-i", str(folder / "interview.wav"), str(folder / "talk.mp3")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for recording in recordings.iterdir():
        shutil.copy(recording, tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for lines_before, source in python_blocks(page):
        exec(compile("\n" * lines_before + source, str(page), "exec"), namespace)
    assert words(namespace["result"].text)[-3:] == ["disposed", "young", "man"]


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDING), "--output_dir", str(tmp_path)]) == 0
    (shown,) = re.findall(r"<!-- demo -->\n```text\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    # Times may differ by a step of 0.02 s from one processor to the next.
    lines = [re.sub(r"^\[.*?\]", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [re.sub(r"^\[.*?\]", "", line) for line in shown.splitlines()]
    transcript = RECORDING.with_suffix(".txt").read_text(encoding="utf-8")
    assert words(" ".join(lines)) == words(transcript)


def test_the_table_of_options_is_current() -> None:
    page = ROOT / "docs" / "options.md"
    with_table = runpy.run_path(str(ROOT / "docs" / "options_table.py"))["with_table"]
    text = page.read_text(encoding="utf-8")
    assert text == with_table(text), "run: python docs/options_table.py"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"(?:`|^    )make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= set(targets)
