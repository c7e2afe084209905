"""The command line: `whisperlite FILE...`, and the commands `models`, `convert`, `serve` and `token`.

Every option of `options.py` is a flag, named as openai-whisper names it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

import whisperlite
from whisperlite.batches import slots_for
from whisperlite.cancel import CancelToken
from whisperlite.errors import CancelledError, DecodingError, OptionError, TimeoutExceededError, WhisperliteError
from whisperlite.flags import WRONG_ARGUMENTS, Parser
from whisperlite.formats import WRITERS, SubtitleOptions, refuse_inapplicable
from whisperlite.formats.text import timed_line
from whisperlite.kinds import FLAG, argument_of, parser_of
from whisperlite.model_flags import (
    add_download_flags,
    add_model_dir,
    add_model_flags,
    download_arguments,
    load_arguments,
)
from whisperlite.options import Options, make_options
from whisperlite.results import ModelInfo, Segment, Transcription

_STDIN = "-"

_FAILED = 1
_INTERRUPTED = 130  # as shells say it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0; 1 if a file could not be transcribed or written, or a command could not do its work; 2 if
        the arguments are wrong, or the model to transcribe with cannot be loaded; 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows "?" where it lacks a character
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in _COMMANDS:
            return _COMMANDS[given[0]](given[1:])
        return _transcribe_all(given)
    except KeyboardInterrupt:  # while a model is loaded; within a transcription the first one is heard by its token
        _say("whisperlite: interrupted.")
        return _INTERRUPTED


def _transcribe_all(arguments: list[str]) -> int:
    parser = _parser()
    values = vars(parser.parse_args(_with_formats_joined(arguments)))
    options = {definition.name: values[definition.name] for definition in fields(Options)}
    formats = list(WRITERS) if "all" in values["output_format"] else values["output_format"]
    try:
        chosen = make_options(options)  # what contradicts each other fails before the model is loaded
        slots_for(chosen, values["batch_size"])
        subtitles = SubtitleOptions(**{each.name: values[each.name] for each in fields(SubtitleOptions)})
        refuse_inapplicable(subtitles, formats)
        for name in subtitles.given:
            if not options["word_timestamps"]:
                parser.error(f"--{name} requires --word_timestamps True")
        outputs = _outputs(values["audio"], Path(values["output_dir"]), formats)
        Path(values["output_dir"]).mkdir(parents=True, exist_ok=True)
        model = whisperlite.load_model(values["model"], **load_arguments(values))
        model.check_options(chosen)
    except (WhisperliteError, OSError) as error:
        _say(f"{parser.prog}: {error}")
        return WRONG_ARGUMENTS
    status = 0
    for file, targets in outputs.items():
        # Read here, where Ctrl-C ends the waiting for somebody who does not write.
        source = _standard_input() if file == _STDIN else file
        with _interruptible() as token:
            named = {**options, "batch_size": values["batch_size"]}
            status = max(status, _transcribe(model, file, source, named, subtitles, values["verbose"], targets, token))
        if token.is_cancelled:
            return _INTERRUPTED
    return status


@contextmanager
def _interruptible() -> Iterator[CancelToken]:
    """The first Ctrl-C cancels, so that the partial transcript can be written; the second one ends the program."""
    token = CancelToken()
    before = signal.getsignal(signal.SIGINT)
    # The main thread alone hears of it, and a job in the background of a script is not to.
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield token
        return

    def cancel(*_: object) -> None:
        token.cancel()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, cancel)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="whisperlite",
        description="Transcribe recordings, or translate them into English, with OpenAI's Whisper models.",
        epilog="Other commands: `whisperlite models` lists the models, `whisperlite convert` writes one as "
        "safetensors, `whisperlite serve` serves one over HTTP, `whisperlite token` creates a token for the service. "
        "Each has its own --help. To transcribe a file of such a name, write ./models, ./convert, ./serve or ./token.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {whisperlite.__version__}", help="Print the version."
    )
    parser.add_argument(
        "audio",
        nargs="+",
        metavar="FILE",
        help="One or more recordings, in any format that ffmpeg reads; - is the standard input.",
    )
    add_model_flags(parser)
    parser.add_argument(
        "--batch_size", type=int, default=None, help="Chunks decoded together with --chunking vad. (default: 8)"
    )
    parser.add_argument(
        "--output_dir", "-o", default=".", metavar="DIR", help="Folder for the output files. (default: .)"
    )
    parser.add_argument(
        "--output_format",
        "-f",
        type=_parse_formats,
        action=_Formats,
        default=["all"],
        metavar="FORMAT",
        help=f"Output formats: one or more of {', '.join(_FORMATS)}, separated by spaces or commas, or with a flag "
        "each. (default: all)",
    )
    parser.add_argument(
        "--verbose",
        type=parser_of(FLAG),
        default=True,
        metavar="{True,False}",
        help="Print each segment as soon as it is accepted. (default: True)",
    )
    _add_options(parser.add_argument_group("transcription"), Options)
    _add_options(parser.add_argument_group("subtitles", "All of these need --word_timestamps True."), SubtitleOptions)
    return parser


def _add_options(group: argparse._ArgumentGroup, options: type[Options | SubtitleOptions]) -> None:
    for definition in fields(options):
        group.add_argument(f"--{definition.name}", **argument_of(definition))


_FORMATS = (*WRITERS, "all")


def _parse_formats(text: str) -> list[str]:
    """`srt` or `srt,vtt`"""
    names = [name for name in text.split(",") if name]
    for name in names or [text]:
        if name not in _FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a known format; choose from {', '.join(_FORMATS)}")
    return names


class _Formats(argparse.Action):
    """Flags that are repeated add up; the default goes with the first."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, __: object = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is self.default else [*before, *values])


def _with_formats_joined(arguments: Sequence[str]) -> list[str]:
    """`-f srt vtt FILE` → `-f srt,vtt FILE`.

    Left to argparse, a flag of several words would take FILE for one of them. The words after the first belong to the
    flag as long as they name formats; a recording of such a name is ./srt.
    """
    joined: list[str] = []
    words = list(arguments)
    while words and words[0] != "--":
        joined.append(words.pop(0))
        flag = re.fullmatch(r"(?:-f|--output_f[ormat]*=?)(?P<value>.*)", joined[-1])  # argparse takes a flag cut short
        if flag and not flag["value"] and words:
            joined.append(words.pop(0))
        while flag and words and {*words[0].split(",")} - {""} <= {*_FORMATS} and words[0]:
            joined[-1] += f",{words.pop(0)}"
    return joined + words


def _outputs(files: Sequence[str], folder: Path, formats: Sequence[str]) -> dict[str, dict[str, Path]]:
    """File → format → path of the output.

    Raises:
        OptionError: two files would be written to the same place (correction 17), or over a recording.
    """
    outputs: dict[str, dict[str, Path]] = {}
    owners: dict[Path, str] = {}
    inputs = {each for file in files for each in _identities(Path(file))}
    for file in dict.fromkeys(files):
        stem = "stdin" if file == _STDIN else Path(file).stem
        outputs[file] = {name: folder / f"{stem}.{name}" for name in formats}
        for path in outputs[file].values():
            if path in owners:
                raise OptionError(
                    f"{owners[path]} and {file} would both be written to {path}; transcribe them one at a time into "
                    "different --output_dir folders."
                )
            if not inputs.isdisjoint(_identities(path)):
                raise OptionError(f"{path} is one of the inputs and would be overwritten; give another --output_dir.")
            owners[path] = file
    return outputs


def _identities(path: Path) -> tuple[object, ...]:
    """What two names of one file have in common: where it is or, of hard links, which one it is."""
    try:
        status = path.stat()
    except OSError:  # it is not there, or whoever opens it will tell
        return (path.resolve(),)
    return path.resolve(), (status.st_dev, status.st_ino)


def _transcribe(
    model: whisperlite.Whisper,
    file: str,
    source: str | bytes,
    options: dict[str, Any],
    subtitles: SubtitleOptions,
    verbose: bool,
    targets: dict[str, Path],
    token: CancelToken,
) -> int:
    bar = _ProgressBar(Path(file).name)

    def show(segment: Segment) -> None:
        bar.clear()
        _print(timed_line(segment))

    try:
        result = model.transcribe(
            source, on_segment=show if verbose else None, on_progress=bar.show, cancel=token, **options
        )
        bar.clear()
        _write(result, subtitles, targets)
    except (WhisperliteError, OSError) as error:
        bar.clear()
        _say(f"whisperlite: {file}: {_reason(error)}")
        if isinstance(error, (CancelledError, DecodingError)) and error.partial is not None and error.partial.segments:
            _write_partial(error.partial, file, subtitles, targets)
        return _FAILED
    _print_warnings(result, file)
    return 0


def _reason(error: Exception) -> str:
    """What went wrong, without what only a program can use."""
    if isinstance(error, TimeoutExceededError):
        return "it took longer than --timeout_s."
    return "interrupted." if isinstance(error, CancelledError) else str(error)


def _standard_input() -> bytes:
    """All of it; nothing where there is none."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def _write_partial(partial: Transcription, file: str, subtitles: SubtitleOptions, targets: dict[str, Path]) -> None:
    try:
        _write(partial, subtitles, targets)
        _print_warnings(partial, file)
        _say(f"whisperlite: {file}: the partial transcript was written.")
    except OSError as error:
        _say(f"whisperlite: {file}: {error}")


def _print_warnings(result: Transcription, file: str) -> None:
    for warning in result.warnings:
        _say(f"whisperlite: {file}: {warning}")


def _write(result: Transcription, subtitles: SubtitleOptions, targets: dict[str, Path]) -> None:
    """Write all files that can be written.

    Raises:
        OSError: one or more could not; it is the error of the first.
    """
    failed: list[OSError] = []
    for name, path in targets.items():
        try:
            # A path that is not UTF-8 may be the model's name: JSON reads it back so.
            path.write_text(WRITERS[name].write(result, subtitles), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _print(text: str) -> None:
    """On standard output; where its reader, `head` perhaps, has seen enough, to nobody: files are written then too."""
    try:
        print(text, flush=True)
    except OSError as error:
        _to_nobody(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            _say(f"whisperlite: standard output: {error.strerror}")


def _say(text: str) -> None:
    """On standard error, if there is one; likewise."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _to_nobody(sys.stderr)


def _to_nobody(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _models(arguments: list[str]) -> int:
    """`whisperlite models`"""
    parser = Parser(
        prog="whisperlite models",
        description="List the models that can be loaded by name: those in installed packages, those in the cache, and "
        "those that would be downloaded.",
    )
    parser.add_argument("--json", action="store_true", help="Print everything that is known, as JSON.")
    add_model_dir(parser)
    values = parser.parse_args(arguments)
    try:
        found = whisperlite.available_models(cache_dir=values.model_dir)
    except (WhisperliteError, OSError) as error:
        _say(f"{parser.prog}: {error}")
        return _FAILED
    if values.json:
        _print(json.dumps([asdict(info) for info in found], indent=2))
        return 0
    width = max(len(info.name) for info in found)
    _print(f"{'name':<{width}}  parameters  where     {'size':>8}")
    for info in found:
        parameters = "-" if info.parameters is None else f"{info.parameters} M"
        _print(f"{info.name:<{width}}  {parameters:>10}  {_where(info):<8}  {_size(info.size_bytes):>8}")
    return 0


def _where(info: ModelInfo) -> str:
    if info.is_embedded:
        return "embedded"
    return "-" if info.path is None else "cached"


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "-"
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _convert(arguments: list[str]) -> int:
    """`whisperlite convert`"""
    parser = Parser(
        prog="whisperlite convert",
        description="Write a model of any format as a folder of safetensors that the Hub's tools can read too.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="Model: a name, organisation/repository on the Hugging Face Hub, or a path."
    )
    parser.add_argument("destination", metavar="DESTINATION", help="Folder to write: a new one, or an empty one.")
    add_download_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace a model at DESTINATION.")
    values = vars(parser.parse_args(arguments))
    try:
        folder = whisperlite.convert_model(
            values["source"], values["destination"], overwrite=values["overwrite"], **download_arguments(values)
        )
    except (WhisperliteError, OSError) as error:
        _say(f"{parser.prog}: {error}")
        return _FAILED
    _print(str(folder))
    return 0


def _serve(arguments: list[str]) -> int:
    """`whisperlite serve`"""
    from whisperlite.server.command import serve

    return serve(arguments)


def _token(arguments: list[str]) -> int:
    """`whisperlite token`"""
    from whisperlite.server.command import token

    return token(arguments)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "models": _models,
    "convert": _convert,
    "serve": _serve,
    "token": _token,
}


_BESIDE_BAR = len("  100% 100000/100000 s ")


class _ProgressBar:
    """One line on the terminal that standard error is; nothing where it is a file or a pipe."""

    width = 30

    def __init__(self, name: str) -> None:
        room = max(shutil.get_terminal_size().columns - self.width - _BESIDE_BAR, 1)
        self.name = name if len(name) <= room else f"{name[: room - 1]}…"
        self.is_terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done_s: float, total_s: float) -> None:
        if self.is_terminal:
            share = done_s / total_s if total_s else 1.0
            bar = "█" * round(share * self.width)
            sys.stderr.write(f"\r\033[K{self.name} {bar:░<{self.width}} {share:4.0%} {done_s:.0f}/{total_s:.0f} s")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
