"""`whisperlite align`: finds when the words of a text are said, and writes it in the formats of transcripts."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import whisperlite
from whisperlite.commands.format_flag import add_output_flags, formats_of, with_formats_joined
from whisperlite.commands.outputs import make_folder, outputs_of, write
from whisperlite.commands.terminal import ProgressBar, interruptible, print_line, print_warnings, reason_of, say
from whisperlite.errors import OptionError, WhisperliteError
from whisperlite.exit_status import FAILED, WRONG_ARGUMENTS
from whisperlite.flags import Parser, add_options, parser_of
from whisperlite.formats import SubtitleOptions, refuse_inapplicable
from whisperlite.formats.text import timed_line
from whisperlite.kinds import FLAG
from whisperlite.model_flags import add_model_flags, load_arguments
from whisperlite.options import Options
from whisperlite.results import Transcription

_OPTIONS = ("language", "prepend_punctuations", "append_punctuations", "timeout_s", "max_duration_s")


def align(arguments: list[str]) -> int:
    """Align a text with a recording, write the result, and return the exit status."""
    parser = _parser()
    values = vars(parser.parse_args(with_formats_joined(arguments)))
    file = values["audio"]
    try:
        subtitles = SubtitleOptions(**{each.name: values[each.name] for each in fields(SubtitleOptions)})
        folder, formats = Path(values["output_dir"]), formats_of(values)
        if "all" in values["output_format"]:
            own = Path(values["transcript"]).resolve()
            formats = [each for each in formats if (folder / Path(file).with_suffix(f".{each}").name).resolve() != own]
        refuse_inapplicable(subtitles, formats)
        targets = outputs_of([file], folder, formats, besides=[values["transcript"]])[file]
        transcript = _read(Path(values["transcript"]))
        if values["language"] is not None and isinstance(transcript, Transcription):
            parser.error("--language is for a text; a transcript says its language itself")
        make_folder(folder)
        model = whisperlite.load_model(values["model"], **load_arguments(values))
    except (WhisperliteError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return WRONG_ARGUMENTS
    bar = ProgressBar(Path(file).name)
    with interruptible() as interruption:
        try:
            options: dict[str, Any] = {name: values[name] for name in _OPTIONS}
            result = model.align(file, transcript, on_progress=bar.show, cancel=interruption.token, **options)
            bar.clear()
            for segment in result.segments if values["verbose"] else ():
                print_line(timed_line(segment))
            write(result, subtitles, targets)
        except (WhisperliteError, OSError) as error:
            bar.clear()
            say(f"{parser.prog}: {file}: {reason_of(error)}")
            return interruption.status or FAILED
    print_warnings(result, file)
    return interruption.status


def _read(path: Path) -> Transcription | str:
    """The transcript in a file of JSON, or the text in any other.

    Raises:
        OptionError: the file is not UTF-8, or its JSON is no transcript.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): convert it.") from error
    if path.suffix.lower() != ".json":
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
    parser.add_argument(
        "--verbose",
        type=parser_of(FLAG),
        default=True,
        metavar="{True,False}",
        help="Print the segments. (default: True)",
    )
    add_options(parser, Options, _OPTIONS)
    add_options(parser.add_argument_group("subtitles"), SubtitleOptions)
    return parser
