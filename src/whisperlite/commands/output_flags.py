"""The flags that say what is written, and where."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from whisperlite.flags import parser_of
from whisperlite.formats import WRITERS, SubtitleOptions
from whisperlite.kinds import FLAG

FORMATS = (*WRITERS, "all")


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--output_dir` and `--output_format`."""
    parser.add_argument(
        "--output_dir", "-o", default=".", metavar="DIR", help="Folder for the output files. (default: .)"
    )
    parser.add_argument(
        "--output_format",
        "-f",
        type=_parse_formats,
        action=_AddFormats,
        default=["all"],
        metavar="FORMAT",
        help=f"Output formats: one or more of {', '.join(FORMATS)}, separated by spaces or commas, or with a flag "
        "each. (default: all)",
    )


def add_verbose_flag(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add `--verbose`, which is on by default."""
    parser.add_argument(
        "--verbose",
        type=parser_of(FLAG),
        default=True,
        metavar="{True,False}",
        help=f"{meaning} (default: True)",
    )


def formats_of(values: Mapping[str, Any]) -> list[str]:
    """The formats to write, from the values of the flags."""
    return list(WRITERS) if "all" in values["output_format"] else values["output_format"]


def subtitles_of(values: Mapping[str, Any]) -> SubtitleOptions:
    """How subtitles are laid out, from the values of the flags.

    Raises:
        OptionError: the values contradict each other.
    """
    return SubtitleOptions(**{each.name: values[each.name] for each in fields(SubtitleOptions)})


def with_formats_joined(arguments: Sequence[str]) -> list[str]:
    """Join the words that follow the flag and name formats: `-f srt vtt FILE` → `-f srt,vtt FILE`.

    argparse would take FILE for one of the values of such a flag. A recording that has the name of a format is written
    ./srt.
    """
    joined: list[str] = []
    words = list(arguments)
    while words and words[0] != "--":
        joined.append(words.pop(0))
        flag = re.fullmatch(r"(?:-f|--output_f[ormat]*=?)(?P<value>.*)", joined[-1])  # argparse accepts abbreviations
        if flag and not flag["value"] and words:
            joined.append(words.pop(0))
        while flag and words and {*words[0].split(",")} - {""} <= {*FORMATS} and words[0]:
            joined[-1] += f",{words.pop(0)}"
    return joined + words


def _parse_formats(text: str) -> list[str]:
    """Parse text such as `srt` or `srt,vtt`."""
    names = [name for name in text.split(",") if name]
    for name in names or [text]:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a known format; choose from {', '.join(FORMATS)}")
    return names


class _AddFormats(argparse.Action):
    """Join the values of a repeated flag; the first one replaces the default."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, __: object = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is self.default else [*before, *values])
