"""The flag that names formats."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from whisperlite.formats import WRITERS

FORMATS = (*WRITERS, "all")


def parse_formats(text: str) -> list[str]:
    """`srt` or `srt,vtt`"""
    names = [name for name in text.split(",") if name]
    for name in names or [text]:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a known format; choose from {', '.join(FORMATS)}")
    return names


class AddFormats(argparse.Action):
    """Flags that are repeated add up; the default goes with the first."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, __: object = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is self.default else [*before, *values])


def with_formats_joined(arguments: Sequence[str]) -> list[str]:
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
        while flag and words and {*words[0].split(",")} - {""} <= {*FORMATS} and words[0]:
            joined[-1] += f",{words.pop(0)}"
    return joined + words
