"""The command line, run as a user runs it, on the embedded weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import whisperlite
from whisperlite.cli import main
from whisperlite.formats.text import timestamp

RECORDING = Path(__file__).parent / "data" / "librivox.wav"
QUICK = ["--language", "en", "--beam_size", "1", "--temperature_increment_on_fallback", "None"]


def test_segments_are_printed_and_files_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDING), "--output_dir", str(tmp_path / "new"), *QUICK]) == 0
    printed = capsys.readouterr().out.splitlines()
    text = (tmp_path / "new" / "librivox.txt").read_text(encoding="utf-8").splitlines()
    data = json.loads((tmp_path / "new" / "librivox.json").read_text(encoding="utf-8"))
    assert printed[0].startswith("[00:00.000 --> 00:0")
    assert [line.split("] ", 1)[1].strip() for line in printed] == text
    assert whisperlite.Transcription.from_dict(data).to_dict() == data
    assert "John Dashwood" in data["text"]


def test_only_the_format_asked_for_is_written_and_nothing_printed_when_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-f", "txt", "-o", str(tmp_path), "--verbose", "False", "--clip_timestamps", "0,8", *QUICK]
    assert main([str(RECORDING), *arguments]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["librivox.txt"]
    assert capsys.readouterr().out == ""


def test_a_file_that_fails_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-f", "txt", "-o", str(tmp_path), "--clip_timestamps", "0,8", *QUICK]
    assert main([str(tmp_path / "missing.wav"), str(RECORDING), *arguments]) == 1
    assert (tmp_path / "librivox.txt").is_file()
    message = capsys.readouterr().err
    assert "missing.wav" in message
    assert "Traceback" not in message


def test_inputs_with_one_name_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Correction 17."""
    first, second = tmp_path / "a" / "talk.wav", tmp_path / "b" / "talk.mp3"
    for path in (first, second):
        path.parent.mkdir()
        shutil.copy(RECORDING, path)
    assert main([str(first), str(second), "-o", str(tmp_path / "out")]) == 2
    assert "talk.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_never_overwrites_an_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "talk.txt"
    shutil.copy(RECORDING, recording)
    assert main([str(recording), "-o", str(tmp_path)]) == 2
    assert "overwritten" in capsys.readouterr().err
    assert recording.read_bytes() == RECORDING.read_bytes()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--patience", "0"], "--patience"),
        (["--beam_size", "many"], "--beam_size"),
        (["--task", "sing"], "--task"),
        (["--suppress_blank", "yes"], "--suppress_blank"),
    ],
)
def test_a_wrong_value_names_its_flag(flags: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(RECORDING), *flags])
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--language", "Klingon"], "Klingon"),
        (["--beam_size", "1", "--patience", "2"], "patience"),
        (["--model", "enormous"], "enormous"),
        (["--device", "abacus"], "abacus"),
        (["--compute_type", "int3"], "int3"),
    ],
)
def test_what_cannot_be_done_is_said_and_exits_with_2(
    flags: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = main([str(RECORDING), "-o", str(tmp_path), *flags])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert named in capsys.readouterr().err


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    missing = [name for name in whisperlite.OptionsDict.__annotations__ if f"--{name}" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "00:00.000"), (59.9996, "01:00.000"), (61.5, "01:01.500"), (3723.004, "01:02:03.004")],
)
def test_timestamps_carry_into_minutes_and_hours(seconds: float, expected: str) -> None:
    assert timestamp(seconds) == expected
