"""`whisperlite align`, run as a user runs it, on the embedded weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import whisperlite
from tests.conftest import DATA
from tests.spoken import evenly, spoken
from whisperlite import CancelledError, Transcription
from whisperlite.cli import main

RECORDING = DATA / "librivox.wav"
LINES = (
    "And Mr. John Dashwood had then leisure to consider",
    "how much there might be prudently in his power to do for them.",
)
QUICK = ["--model", "tiny.en"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recording, talk.wav, and a text, talk.txt."""
    shutil.copy(RECORDING, tmp_path / "talk.wav")
    (tmp_path / "talk.txt").write_text("\ufeff" + "\r\n".join(LINES), encoding="utf-8")
    return tmp_path


def aligned(folder: Path, *arguments: str, text: str = "talk.txt") -> int:
    return main(["align", str(folder / "talk.wav"), str(folder / text), "-o", str(folder), *QUICK, *arguments])


def test_a_text_is_written_with_its_times(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "talk.txt").read_bytes()
    assert aligned(folder) == 0
    assert [line.partition("]  ")[2] for line in capsys.readouterr().out.splitlines()] == list(LINES)
    assert {path.suffix for path in folder.iterdir()} == {".wav", ".txt", ".json", ".srt", ".vtt", ".tsv", ".lrc"}
    assert (folder / "talk.txt").read_bytes() == text
    result = Transcription.from_dict(json.loads((folder / "talk.json").read_text(encoding="utf-8")))
    assert [each.text for each in result.segments] == [f" {line}" for line in LINES]
    assert [each.word for each in result.words] == [f" {word}" for line in LINES for word in line.split()]


def test_a_corrected_transcript_keeps_its_segments(folder: Path) -> None:
    assert aligned(folder, "-f", "json", "--verbose", "False") == 0
    path = folder / "talk.json"
    path.write_text(path.read_text(encoding="utf-8").replace("Dashwood", "Ashwood"), encoding="utf-8")
    assert aligned(folder, "-f", "srt", "--max_words_per_line", "4", text="talk.json") == 0
    assert "And Mr. John Ashwood\n" in (folder / "talk.srt").read_text(encoding="utf-8")


def test_an_output_never_replaces_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert aligned(folder, "-f", "txt") == 2
    assert "talk.txt is one of the inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "No such file"),
        ("latin.txt", "Schöne Grüße".encode("latin-1"), "is not UTF-8"),
        ("broken.json", b"{", "is not the JSON of a transcript"),
        ("other.json", b"[]", "is not the JSON of a transcript"),
        ("talk.srt", b"1\n00:00:00,000 --> 00:00:01,000\nAnd\n", "is a file of subtitles"),
    ],
)
def test_what_is_no_transcript_is_refused_before_a_model_is_loaded(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    assert aligned(folder, "--model", "there is none", text=name) == 2
    error = capsys.readouterr().err
    assert message in error
    assert name in error


def test_a_transcript_says_its_language_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "talk.json").write_text(json.dumps(spoken(evenly([" one"])).to_dict()), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        aligned(folder, "--language", "en", text="talk.json")
    assert ended.value.code == 2
    assert "says its language itself" in capsys.readouterr().err


def test_what_fails_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "talk.wav").write_bytes(b"no sound")
    assert aligned(folder) == 1
    assert "talk.wav" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["talk.txt", "talk.wav"]


def test_an_interruption_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise CancelledError

    monkeypatch.setattr(whisperlite.Whisper, "align", interrupted)
    assert aligned(folder) == 130
    assert "interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["talk.txt", "talk.wav"]


def test_a_warning_names_what_was_not_heard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "talk.txt").open("a", encoding="utf-8") as file:
        file.write("\nNobody ever said this line.")
    assert aligned(folder, "-f", "lrc") == 0
    assert "'Nobody ever said this line.'" in capsys.readouterr().err


def test_a_blank_text_is_a_wrong_argument(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "talk.txt").write_bytes(b"\xef\xbb\xbf \n")
    assert aligned(folder) == 2
    error = capsys.readouterr().err
    assert "talk.txt: There is no text" in error
    assert "talk.wav" not in error


def test_a_text_with_another_name_is_not_replaced_either(folder: Path) -> None:
    (folder / "name.lyrics").hardlink_to(folder / "talk.txt")
    text = (folder / "talk.txt").read_bytes()
    assert aligned(folder, "--verbose", "False", text="name.lyrics") == 0
    assert (folder / "talk.txt").read_bytes() == text
    assert (folder / "talk.srt").is_file()


def test_a_folder_is_no_recording(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["align", ".", "talk.txt", "-o", "out", *QUICK]) == 1
    assert "Traceback" not in capsys.readouterr().err
