"""The command line, run as a user runs it, on the embedded weights."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest

import whisperlite
from tests.spoken import said, spoken
from whisperlite import CancelledError, Segment, Transcription
from whisperlite.cli import main
from whisperlite.commands import transcribe
from whisperlite.commands.outputs import write
from whisperlite.commands.terminal import ProgressBar, interruptible
from whisperlite.formats import WRITERS, SubtitleOptions, render

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


def test_nor_one_that_has_its_name_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "talk.wav"
    shutil.copy(RECORDING, recording)
    (tmp_path / "talk.srt").hardlink_to(recording)
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
        (["--batch_size", "4", "--model", "enormous"], "chunking='vad'"),  # before a model is looked for
        (["--suppress_tokens", "99999"], "99999"),
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


def test_an_interrupt_while_the_model_is_loaded_is_said_and_exits_as_shells_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(whisperlite, "load_model", interrupted)
    try:
        status = main([str(RECORDING), "-o", str(tmp_path)])
    except KeyboardInterrupt:  # it would end pytest
        pytest.fail("The interrupt came through as it was.")
    assert status == 130
    assert capsys.readouterr().err == "whisperlite: interrupted.\n"


# Which files are written, and how: the model answers at once, whatever it is asked

TALK = spoken(
    said((" Well,", 0.0, 0.4), (" I", 0.4, 0.6), (" see.", 0.6, 1.0)), said((" Do", 2.0, 2.5), (" you?", 2.5, 3.0))
)
WITH_WORDS = ["--word_timestamps", "True"]


class Answering:
    """A model that hears the same in every recording, and takes every option."""

    def check_options(self, _: object) -> None: ...

    def transcribe(
        self, *_: object, on_segment: Callable[[Segment], None] | None = None, **__: object
    ) -> whisperlite.Transcription:
        if on_segment is not None:
            on_segment(TALK.segments[0])
        return TALK


class Stopping(Answering):
    """A model that ends every transcription early."""

    def transcribe(self, *_: object, **__: object) -> whisperlite.Transcription:
        error = CancelledError("It was cancelled.")
        error.partial = TALK
        raise error


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model that answers at once."""
    monkeypatch.setattr(whisperlite, "load_model", lambda *_, **__: Answering())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_job_in_the_background_of_a_script_goes_on_when_that_is_interrupted() -> None:
    """Its shell has it ignore the interrupt."""
    seen: list[object] = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGINT))
        seen.append(signal.getsignal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_IGN] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_is_left_to_whoever_had_it_before(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda number, _: seen.append(number))
    try:
        with interruptible() as interruption:
            assert not interruption.token.is_cancelled
            signal.raise_signal(number)
            assert (interruption.token.is_cancelled, interruption.status, seen) == (True, 128 + number, [])
            signal.raise_signal(number)
        signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert seen == [number] * 2


def test_a_name_that_is_no_unicode_goes_into_json_and_back(tmp_path: Path) -> None:
    result = replace(Answering().transcribe(), model=os.fsdecode(b"m\xff"))
    write(result, SubtitleOptions(), {"json": tmp_path / "a.json", "txt": tmp_path / "a.txt"})
    assert Transcription.from_dict(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))) == result


def test_the_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("COLUMNS", "80")
    bar = ProgressBar("2024-03-12 Weekly meeting with the customers of the year.wav")
    bar.show(99999.0, 100000.0)
    line = written.getvalue().removeprefix("\r\033[K")
    assert len(line) <= 80
    assert line.startswith("2024-03-12 Weekly")


def test_without_a_standard_error_files_are_written_all_the_same(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["talk.wav", "-f", "txt"]) == 0
    assert (desk / "talk.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">&- 2>&-", "2>&1 | head -c 1"])
def test_a_file_is_written_whoever_listens(tmp_path: Path, redirection: str) -> None:
    shutil.copy(RECORDING, tmp_path / "talk.wav")
    given = ["missing.wav", "talk.wav", "--model", "tiny.en", "-f", "txt", *QUICK]
    command = f"{shlex.join([sys.executable, '-m', 'whisperlite', *given])} {redirection}"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert "John Dashwood" in (tmp_path / "talk.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--fp16", "False"], "There is no --fp16. Did you mean --compute_type?\n"),
        (["--word-timestamps", "True"], "There is no --word-timestamps. Did you mean --word_timestamps?\n"),
        (["--zzz"], ""),
    ],
)
def test_an_unknown_flag_is_told_in_a_few_lines(
    given: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["talk.wav", *given])
    told = f"whisperlite: error: unrecognized arguments: {' '.join(given)}\n{hint}"
    assert capsys.readouterr().err == f"{told}`whisperlite --help` lists all arguments.\n"


@pytest.mark.parametrize(
    ("flag", "begin"), [("--help", "usage: whisperlite "), ("--version", f"whisperlite {whisperlite.__version__}\n")]
)
def test_the_package_is_a_command_too(flag: str, begin: str) -> None:
    command = [sys.executable, "-m", "whisperlite", flag]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    assert shown.startswith(begin)


@pytest.mark.parametrize(("flags", "count"), [([], None), (["--threads", "0"], None), (["--threads", "2"], 2)])
def test_threads_of_0_are_as_many_as_without_the_flag(
    flags: list[str], count: int | None, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 is openai-whisper's default."""
    asked: list[object] = []

    def load_model(*_: object, cpu_threads: int | None, **__: object) -> Answering:
        asked.append(cpu_threads)
        return Answering()

    monkeypatch.setattr(whisperlite, "load_model", load_model)
    assert main(["talk.mp3", "-o", str(desk), *flags]) == 0
    assert asked == [count]


@pytest.mark.parametrize(("flags", "expected"), [([], True), (["--no_cuda_graphs"], False)])
def test_graphs_are_used_unless_a_flag_forbids_it(
    flags: list[str], expected: bool, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def load_model(*_: object, cuda_graphs: bool, **__: object) -> Answering:
        asked.append(cuda_graphs)
        return Answering()

    monkeypatch.setattr(whisperlite, "load_model", load_model)
    assert main(["talk.mp3", "-o", str(desk), *flags]) == 0
    assert asked == [expected]


@pytest.mark.parametrize(
    "arguments",
    [
        "talk.mp3 -f srt vtt",
        "-f srt vtt talk.mp3",
        "-f srt,vtt talk.mp3",
        "-f srt, vtt talk.mp3",
        "-f srt -f vtt talk.mp3",
        "-f srt vtt srt -- talk.mp3",
        "-fsrt vtt talk.mp3",
        "--output_format srt vtt talk.mp3",
        "--output_format=srt vtt talk.mp3",
        "--output_format=srt,vtt talk.mp3",
        "--output_f srt vtt talk.mp3",
        "--verbose False --output_format srt vtt --language en talk.mp3",
    ],
)
def test_several_formats_are_given_in_any_way_and_leave_the_recording_alone(arguments: str, desk: Path) -> None:
    assert main(arguments.split()) == 0
    assert sorted(path.name for path in desk.iterdir()) == ["talk.srt", "talk.vtt"]


@pytest.mark.parametrize("arguments", ["talk.mp3", "talk.mp3 -f all", "-f all talk.mp3", "-f srt all txt talk.mp3"])
def test_all_formats_are_written_unless_some_are_chosen(arguments: str, desk: Path) -> None:
    assert main(arguments.split()) == 0
    assert sorted(path.name for path in desk.iterdir()) == sorted(f"talk.{name}" for name in WRITERS)


@pytest.mark.parametrize("arguments", ["-f txt ./srt", "-f txt -- srt", "srt -f txt"])
def test_a_recording_may_have_the_name_of_a_format(arguments: str, desk: Path) -> None:
    assert main(arguments.split()) == 0
    assert [path.name for path in desk.iterdir()] == ["srt.txt"]


@pytest.mark.parametrize("file", ["talk.mp3", "docx"])
@pytest.mark.parametrize("arguments", ["-f {}", "-f {} srt", "-f srt,{} x", "--output_format={} x"])
def test_an_unknown_format_is_named_with_those_there_are(
    arguments: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.format(file).split())
    assert f"{file!r} is not a known format; choose from txt, json, srt, vtt, tsv, lrc, all" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["talk.mp3 -f", "talk.mp3 -f --verbose False", "talk.mp3 --output_format="])
def test_a_format_flag_without_a_format_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert "--output_format" in capsys.readouterr().err


def test_a_format_that_cannot_be_written_leaves_the_others(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "talk.txt").mkdir()
    assert main(["talk.mp3", "-f", "txt", "srt"]) == 1
    assert (desk / "talk.srt").is_file()
    assert "talk.txt" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_file_that_cannot_be_written_to_its_end_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("Well, see.", encoding="utf-8")
    with files_of_at_most(16), pytest.raises(OSError, match=re.escape(str(path))):
        write(TALK, SubtitleOptions(), {"txt": path})
    assert [each.name for each in tmp_path.iterdir()] == ["talk.txt"]
    assert path.read_text(encoding="utf-8") == "Well, see."


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("folder", ["/proc", "/proc/new", "talk.mp3"])
def test_a_folder_that_cannot_be_written_is_told_before_the_model_is_loaded(
    folder: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "talk.mp3").touch()
    monkeypatch.setattr(whisperlite, "load_model", lambda *_, **__: pytest.fail("The model was loaded."))
    assert main(["talk.mp3", "-f", "txt", "-o", folder]) == 2
    assert f"--output_dir {folder} cannot be written to: " in capsys.readouterr().err


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full after so many bytes."""
    import resource

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of POSIX")
def test_a_file_that_is_replaced_keeps_its_permissions_and_its_link(desk: Path) -> None:
    (desk / "kept").mkdir()
    (desk / "kept" / "transcript").write_text("before", encoding="utf-8")
    (desk / "kept" / "transcript").chmod(0o640)
    (desk / "talk.txt").symlink_to("kept/transcript")
    assert main(["talk.mp3", "-f", "txt", "srt"]) == 0
    assert (desk / "talk.txt").is_symlink()
    assert (desk / "kept" / "transcript").read_text(encoding="utf-8") == "Well, I see.\nDo you?\n"
    assert stat.S_IMODE((desk / "kept" / "transcript").stat().st_mode) == 0o640
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((desk / "talk.srt").stat().st_mode) == 0o666 & ~mask


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
def test_what_cannot_be_replaced_is_written_in_place(desk: Path) -> None:
    os.mkfifo(desk / "talk.txt")
    (desk / "other").write_text("before", encoding="utf-8")
    (desk / "talk.tsv").hardlink_to(desk / "other")
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append((desk / "talk.txt").read_text(encoding="utf-8")))
    listener.start()
    assert main(["talk.mp3", "-f", "txt", "tsv"]) == 0
    listener.join(60)
    assert heard == ["Well, I see.\nDo you?\n"]
    assert (desk / "talk.txt").is_fifo()
    assert (desk / "other").read_text(encoding="utf-8").startswith("start\tend")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everything")
def test_a_transcript_that_is_protected_is_left_as_it_is(desk: Path) -> None:
    (desk / "talk.txt").write_text("before", encoding="utf-8")
    (desk / "talk.txt").chmod(0o444)
    assert main(["talk.mp3", "-f", "txt"]) == 1
    assert (desk / "talk.txt").read_text(encoding="utf-8") == "before"


@pytest.mark.usefixtures("desk")
def test_no_format_overwrites_another_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk.mp3", "talk.vtt", "-f", "srt", "vtt"]) == 2
    assert "talk.vtt is one of the inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        "--highlight_words True",
        "--max_line_width 42",
        "--max_line_width 42 --max_line_count 2",
        "--max_words_per_line 3",
        "--break_at_sentences True",
    ],
)
def test_a_flag_of_subtitles_needs_words(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["talk.mp3", *flags.split()])
    assert f"{flags.split()[0]} requires --word_timestamps True" in capsys.readouterr().err


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("flags", ["--highlight_words False", "--max_line_width None --max_words_per_line None"])
def test_a_flag_of_subtitles_that_asks_for_nothing_needs_no_words(flags: str) -> None:
    assert main(["talk.mp3", *flags.split()]) == 0


def test_flags_of_subtitles_shape_the_files(desk: Path) -> None:
    assert main(["talk.mp3", "--max_line_width", "6", "--max_line_count", "1", *WITH_WORDS]) == 0
    for format in ("srt", "vtt"):
        text = (desk / f"talk.{format}").read_text(encoding="utf-8")
        assert text == render(TALK, format, max_line_width=6, max_line_count=1) != render(TALK, format)
    assert (desk / "talk.txt").read_text(encoding="utf-8") == "Well, I see.\nDo you?\n"


def test_words_are_highlighted_in_every_format_that_can(desk: Path) -> None:
    assert main(["talk.mp3", "--highlight_words", "True", *WITH_WORDS]) == 0
    assert "<u>see.</u>" in (desk / "talk.srt").read_text(encoding="utf-8")
    assert "<00:00.60>see." in (desk / "talk.lrc").read_text(encoding="utf-8")


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--max_line_count 2", "max_line_count=2 counts lines that max_line_width makes"),
        ("--max_line_width 40 --max_line_count 2 --max_words_per_line 3", "max_words_per_line=3 cannot apply"),
        ("-f txt lrc --max_line_width 40", "max_line_width does nothing for txt, lrc"),
    ],
)
def test_a_flag_of_subtitles_that_would_be_ignored_is_refused(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["talk.mp3", *flags.split(), *WITH_WORDS]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("desk")
def test_of_several_recordings_standard_error_says_which_one_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a.mp3", "talks/b.mp3", "-f", "txt"]) == 0
    out, err = capsys.readouterr()
    assert err == "1/2 a.mp3\n2/2 talks/b.mp3\n"
    assert out == "[00:00.000 --> 00:01.000]  Well, I see.\n" * 2


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("arguments", [["a.mp3"], ["a.mp3", "b.mp3", "--verbose", "False"]])
def test_which_recording_begins_is_not_said_of_one_or_if_nothing_is_to_be_printed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "-f", "txt"]) == 0
    assert capsys.readouterr().err == ""


def test_the_bar_says_which_of_several_recordings_it_is(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[str] = []

    class Noted(ProgressBar):
        def __init__(self, name: str) -> None:
            bars.append(name)
            super().__init__(name)

    monkeypatch.setattr(transcribe, "ProgressBar", Noted)
    assert main(["a.mp3", "talks/b.mp3", "-o", str(desk)]) == 0
    assert bars == ["1/2 a.mp3", "2/2 b.mp3"]


def test_recordings_whose_outputs_all_exist_can_be_skipped(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.txt", "a.srt", "b.txt"):
        (desk / name).write_text("before", encoding="utf-8")
    assert main(["a.mp3", "b.mp3", "-f", "txt", "srt", "--skip_existing"]) == 0
    assert (desk / "a.txt").read_text(encoding="utf-8") == "before"
    assert (desk / "b.txt").read_text(encoding="utf-8") == "Well, I see.\nDo you?\n"
    assert capsys.readouterr().err == "whisperlite: a.mp3: skipped: its outputs exist.\n"


def test_if_all_recordings_are_skipped_no_model_is_loaded(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisperlite, "load_model", lambda *_, **__: pytest.fail("The model was loaded."))
    (desk / "a.txt").touch()
    assert main(["a.mp3", "-f", "txt", "--skip_existing"]) == 0


def test_where_recordings_are_skipped_none_is_left_half_done(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whisperlite, "load_model", lambda *_, **__: Stopping())
    assert main(["a.mp3", "-f", "txt", "--skip_existing"]) == 1
    assert list(desk.iterdir()) == []
    assert capsys.readouterr().err == "whisperlite: a.mp3: interrupted.\n"
    assert main(["a.mp3", "-f", "txt"]) == 1
    assert (desk / "a.txt").is_file()


@pytest.mark.parametrize("flags", ["--max_line_width 0", "--max_line_count two", "--highlight_words yes"])
def test_a_wrong_value_of_a_flag_of_subtitles_names_it(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["talk.mp3", *flags.split()])
    assert flags.split()[0] in capsys.readouterr().err


def test_help_lists_every_option_of_subtitles(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert [each.name for each in fields(SubtitleOptions) if f"--{each.name}" not in text] == []


# Standard input


def test_a_recording_may_come_from_standard_input(tmp_path: Path) -> None:
    """`cat FILE | whisperlite -`"""
    called = [sys.executable, "-m", "whisperlite.cli", "-", "-o", str(tmp_path), "-f", "txt", "srt", *QUICK]
    done = subprocess.run(called, input=RECORDING.read_bytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {path.name for path in tmp_path.iterdir()} == {"stdin.txt", "stdin.srt"}
    assert "John Dashwood" in (tmp_path / "stdin.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-"])
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_a_standard_input_without_sound_is_refused(tmp_path: Path, redirection: str) -> None:
    called = [sys.executable, "-m", "whisperlite.cli", "-", "-o", str(tmp_path)]
    done = subprocess.run(f"{shlex.join(called)} {redirection}", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "empty, 0 bytes" in done.stderr
    assert list(tmp_path.iterdir()) == []


# A reader that has seen enough


def test_a_list_of_models_that_nobody_reads_to_its_end_is_no_error() -> None:
    """`whisperlite models | head`"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        called = [sys.executable, "-m", "whisperlite.cli", "models"]
        done = subprocess.run(called, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_files_are_written_though_nobody_reads_the_segments(tmp_path: Path) -> None:
    """`whisperlite FILE | head -1`"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        called = [sys.executable, "-m", "whisperlite.cli", str(RECORDING), "-o", str(tmp_path), "-f", "txt", *QUICK]
        done = subprocess.run(called, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    assert "John Dashwood" in (tmp_path / "librivox.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_writes_what_there_is_and_exits_as_shells_expect(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "whisperlite.cli", str(RECORDING), "-f", "txt", "-o", str(tmp_path), *QUICK]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--chunk_length", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert "Traceback" not in errors
    written = (tmp_path / "librivox.txt").read_text(encoding="utf-8").splitlines()
    assert first.split("] ", 1)[1].strip() == written[0]
    assert len(written) < 6
    assert f"whisperlite: {RECORDING}: interrupted.\n" in errors
    assert "This is not the whole" in errors
    assert "the partial transcript was written." in errors


def test_a_time_limit_is_told_as_the_flag_that_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "whisperlite", str(RECORDING), "--timeout_s", "0", *QUICK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"whisperlite: {RECORDING}: it took longer than --timeout_s.\n")
