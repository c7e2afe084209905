"""`whisperlite FILE...`: transcribes recordings and writes their transcripts.

Every option of `options.py` is a flag of its name, which is openai-whisper's if that has the option.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import whisperlite
from whisperlite.batches import slots_for
from whisperlite.cancel import CancelToken
from whisperlite.commands.output_flags import (
    add_output_flags,
    add_verbose_flag,
    formats_of,
    subtitles_of,
    with_formats_joined,
)
from whisperlite.commands.outputs import STDIN, make_folder, outputs_of, write
from whisperlite.commands.terminal import ProgressBar, interruptible, print_line, print_warnings, reason_of, say
from whisperlite.errors import CancelledError, DecodingError, WhisperliteError
from whisperlite.exit_status import FAILED, WRONG_ARGUMENTS
from whisperlite.flags import Parser, add_options
from whisperlite.formats import SubtitleOptions, refuse_inapplicable
from whisperlite.formats.text import timed_line
from whisperlite.model_flags import add_model_flags, load_arguments
from whisperlite.options import Options, make_options
from whisperlite.results import Segment, Transcription


def transcribe(arguments: list[str]) -> int:
    """Transcribe recordings, write their transcripts, and return the exit status."""
    parser = _parser()
    values = vars(parser.parse_args(with_formats_joined(arguments)))
    options = {definition.name: values[definition.name] for definition in fields(Options)}
    formats = formats_of(values)
    try:
        chosen = make_options(options)  # contradictions are refused before the model is loaded
        slots_for(chosen, values["batch_size"])
        subtitles = subtitles_of(values)
        refuse_inapplicable(subtitles, formats)
        for name in subtitles.given:
            if not options["word_timestamps"]:
                parser.error(f"--{name} requires --word_timestamps True")
        outputs = outputs_of(values["audio"], Path(values["output_dir"]), formats)
        if values["skip_existing"]:
            outputs = _without_existing(outputs, is_verbose=values["verbose"])
            if not outputs:
                return 0
        make_folder(Path(values["output_dir"]))
        model = whisperlite.load_model(values["model"], **load_arguments(values))
        model.check_options(chosen)
    except (WhisperliteError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return WRONG_ARGUMENTS
    run = _Run(
        model,
        {**options, "batch_size": values["batch_size"]},
        subtitles,
        is_verbose=values["verbose"],
        writes_partial=not values["skip_existing"],
    )
    status = 0
    for number, (file, targets) in enumerate(outputs.items(), 1):
        position = f"{number}/{len(outputs)} " if len(outputs) > 1 else ""
        # Read outside of `interruptible`, so that Ctrl-C ends the wait for a program that writes nothing.
        source = _standard_input() if file == STDIN else file
        with interruptible() as interruption:
            status = max(status, run.transcribe(file, source, targets, interruption.token, position))
        if interruption.status:
            return interruption.status
    return status


def _without_existing(outputs: dict[str, dict[str, Path]], *, is_verbose: bool) -> dict[str, dict[str, Path]]:
    """The files, with their outputs, of which an output is missing."""
    missing = {}
    for file, targets in outputs.items():
        if not all(path.is_file() for path in targets.values()):
            missing[file] = targets
        elif is_verbose:
            say(f"whisperlite: {file}: skipped: its outputs exist.")
    return missing


@dataclass(frozen=True, slots=True)
class _Run:
    """What the recordings of one command share.

    Attributes:
        model: what transcribes them.
        options: the keyword arguments of its `transcribe`.
        subtitles: how subtitles are laid out.
        is_verbose: whether segments are printed as soon as they are accepted.
        writes_partial: whether the partial transcript of a recording that ends early is written.
    """

    model: whisperlite.Whisper
    options: dict[str, Any]
    subtitles: SubtitleOptions
    is_verbose: bool
    writes_partial: bool

    def transcribe(
        self, file: str, source: str | bytes, targets: dict[str, Path], token: CancelToken, position: str = ""
    ) -> int:
        """Transcribe a recording, write its files, and return the exit status.

        Args:
            file: its name, for messages.
            source: its path or content.
            targets: format → path of the output.
            token: stops the transcription when it is cancelled.
            position: which of several recordings it is, such as "17/10000 ".
        """
        bar = ProgressBar(position + Path(file).name)
        if position and self.is_verbose:
            say(position + file)  # standard output has nothing but segments

        def show(segment: Segment) -> None:
            bar.clear()
            print_line(timed_line(segment))

        on_segment = show if self.is_verbose else None
        try:
            result = self.model.transcribe(
                source, on_segment=on_segment, on_progress=bar.show, cancel=token, **self.options
            )
            bar.clear()
            write(result, self.subtitles, targets)
        except (WhisperliteError, OSError) as error:
            bar.clear()
            say(f"whisperlite: {file}: {reason_of(error)}")
            partial = error.partial if isinstance(error, (CancelledError, DecodingError)) else None
            if self.writes_partial and partial is not None and partial.segments:
                self._write_partial(partial, file, targets)
            return FAILED
        print_warnings(result, file)
        return 0

    def _write_partial(self, partial: Transcription, file: str, targets: dict[str, Path]) -> None:
        try:
            write(partial, self.subtitles, targets)
            print_warnings(partial, file)
            say(f"whisperlite: {file}: the partial transcript was written.")
        except OSError as error:
            say(f"whisperlite: {file}: {error}")


def _standard_input() -> bytes:
    """All of standard input; nothing if there is none."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="whisperlite",
        description="Transcribe recordings, or translate them into English, with OpenAI's Whisper models.",
        epilog="Other commands: `whisperlite models` lists the models, `whisperlite convert` writes one as "
        "safetensors, `whisperlite serve` serves one over HTTP, `whisperlite token` creates a token for the service. "
        "`whisperlite align` finds when the words of a text are said. Each has its own --help. To transcribe a file of "
        "such a name, write ./models and so on.",
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
    add_output_flags(parser)
    parser.add_argument(
        "--skip_existing",
        action="store_true",
        help="Skip a recording if all its output files exist. Partial transcripts are then not written.",
    )
    add_verbose_flag(parser, "Print each segment as soon as it is accepted.")
    add_options(parser.add_argument_group("transcription"), Options)
    add_options(parser.add_argument_group("subtitles", "All of these need --word_timestamps True."), SubtitleOptions)
    return parser
