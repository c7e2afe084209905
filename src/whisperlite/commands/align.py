"""`whisperlite align`: finds when the words of a text are said, and writes it in the formats of transcripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import whisperlite
from whisperlite.commands.output_flags import (
    add_output_flags,
    add_verbose_flag,
    formats_of,
    subtitles_of,
    with_formats_joined,
)
from whisperlite.commands.outputs import formats_beside, make_folder, outputs_of, write
from whisperlite.commands.terminal import ProgressBar, interruptible, print_line, print_warnings, reason_of, say
from whisperlite.errors import OptionError, WhisperliteError
from whisperlite.exit_status import FAILED, WRONG_ARGUMENTS
from whisperlite.flags import Parser, add_options
from whisperlite.formats import SubtitleOptions, refuse_inapplicable
from whisperlite.formats.text import timed_line
from whisperlite.model_flags import add_model_flags, load_arguments
from whisperlite.options import Options
from whisperlite.results import Transcription

_OPTIONS = {
    "language": "The language of a text; None: detected. A transcript has its own.",
    "prepend_punctuations": "Punctuation joined to the word after it.",
    "append_punctuations": "Punctuation joined to the word before it.",
    "timeout_s": "Stop this many seconds after the call, and write nothing; None: no limit.",
    "max_duration_s": "Refuse a recording longer than this many seconds; None: no limit.",
}
_SUBTITLES = (".srt", ".vtt", ".tsv", ".lrc")


def align(arguments: list[str]) -> int:
    """Align a text with a recording, write the result, and return the exit status."""
    parser = _parser()
    values = vars(parser.parse_args(with_formats_joined(arguments)))
    file, text, folder = values["audio"], values["transcript"], Path(values["output_dir"])
    try:
        subtitles, formats = subtitles_of(values), formats_of(values)
        if "all" in values["output_format"]:
            formats = formats_beside(text, file, folder, formats)
        refuse_inapplicable(subtitles, formats)
        targets = outputs_of([file], folder, formats, besides=[text])[file]
        transcript = _read(Path(text))
        if values["language"] is not None and isinstance(transcript, Transcription):
            parser.error("--language is for a text; a transcript says its language itself")
        make_folder(folder)
        model = whisperlite.load_model(values["model"], **load_arguments(values))
    except (WhisperliteError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return WRONG_ARGUMENTS
    bar = ProgressBar(Path(file).name)
    times = 2 if isinstance(transcript, str) else 1  # that the recording is gone through

    def show(done_s: float, total_s: float) -> None:
        bar.show(done_s / times, total_s / times)

    with interruptible() as interruption:
        try:
            options: dict[str, Any] = {name: values[name] for name in _OPTIONS}
            result = model.align(file, transcript, on_progress=show, cancel=interruption.token, **options)
            bar.clear()
            for segment in result.segments if values["verbose"] else ():
                print_line(timed_line(segment))
            write(result, subtitles, targets)
        except (WhisperliteError, OSError) as error:
            bar.clear()
            is_of_text = isinstance(error, OptionError) and error.option == "transcript"
            say(f"{parser.prog}: {text if is_of_text else file}: {reason_of(error)}")
            return interruption.status or (WRONG_ARGUMENTS if is_of_text else FAILED)
    print_warnings(result, file)
    return interruption.status


def _read(path: Path) -> Transcription | str:
    """The transcript in a file of JSON, or the text in any other.

    Raises:
        OptionError: the file is not UTF-8, its JSON is no transcript, or it is a file of subtitles.
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in _SUBTITLES:
        raise OptionError(
            f"{path} is a file of subtitles, whose numbers and times would count as words: give the .json of the "
            "transcript, or only the text."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): convert it.") from error
    if suffix != ".json":
        return text
    try:
        return Transcription.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not the JSON of a transcript: {error}") from error


def _parser() -> Parser:
    parser = Parser(
        prog="whisperlite align",
        description="Find when the words of a text are said, such as lyrics, a script or a corrected transcript.",
    )
    parser.add_argument("audio", metavar="FILE", help="The recording, in any format that ffmpeg reads.")
    parser.add_argument(
        "transcript",
        metavar="TEXT",
        help="What is said: a text file in UTF-8, of which each line becomes a segment, or the .json of a transcript, "
        "whose segments are roughly where they are said.",
    )
    add_model_flags(parser)
    add_output_flags(parser)
    add_verbose_flag(parser, "Print the segments.")
    add_options(parser, Options, _OPTIONS)
    add_options(parser.add_argument_group("subtitles"), SubtitleOptions)
    return parser
