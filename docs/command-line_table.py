"""Writes the tables of `command-line.md` from the parsers themselves: `python docs/command-line_table.py`."""

from __future__ import annotations

import argparse
import re
import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from whisperlite.cli import main
from whisperlite.formats import SubtitleOptions
from whisperlite.kinds import FLAG, Kind
from whisperlite.options import Options
from whisperlite.server.settings import Settings

PAGE = Path(__file__).with_name("command-line.md")
GROUPS: Mapping[str, Sequence[str]] = runpy.run_path(str(PAGE.with_name("options_table.py")))["GROUPS"]

_DEFAULT = re.compile(r"(?P<help>.*?)\s*\(default: (?P<default>.*)\)", re.DOTALL)
_VALUES = {"DIR": "a folder", "FILE": "a file", "FORMAT": "formats", "{True,False}": FLAG.label}


class _Captured(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def actions(*command: str) -> dict[str, argparse.Action]:
    """Destination → argument of a command of `whisperlite`; () is `whisperlite FILE...` itself."""

    def capture(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise _Captured(parser)

    with patch.object(argparse.ArgumentParser, "parse_args", capture):
        try:
            main(command)
        except _Captured as captured:
            found = captured.parser._actions
            others = (argparse._HelpAction, argparse._VersionAction)
            return {action.dest: action for action in found if not isinstance(action, others)}
    raise AssertionError("every command parses its arguments")


def with_table(page: str) -> str:
    """The page with its tables replaced by current ones."""
    for title, text in tables().items():
        begin, end = f"<!-- {title} begins -->\n", f"<!-- {title} ends -->\n"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def tables() -> dict[str, str]:
    """Title → table."""
    flags = actions()
    groups = {**GROUPS, "Subtitles": [definition.name for definition in fields(SubtitleOptions)]}
    named = {name for names in groups.values() for name in names}
    found = {"General": table([action for name, action in flags.items() if name not in named], Options)}
    for title, names in groups.items():
        found[title] = table([flags[name] for name in names], SubtitleOptions if title == "Subtitles" else Options)
    subtitles = groups["Subtitles"]
    found["align"] = table([flag for name, flag in actions("align").items() if name not in subtitles], Options)
    for command, options in (("models", None), ("convert", None), ("serve", Settings), ("token", None)):
        found[command] = table(actions(command).values(), options)
    return found


def table(found: Iterable[argparse.Action], options: type[Any] | None) -> str:
    """A table with a row for each argument; if it is made from a field of `options`, its values are that field's."""
    definitions = {} if options is None else {each.name: each for each in fields(options)}
    rows = ["| flag | values | default | meaning |", "|---|---|---|---|"]
    for action in found:
        cells = _cells(action, definitions.get(action.dest))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _cells(action: argparse.Action, definition: Field[Any] | None) -> tuple[str, str, str, str]:
    help = (action.help or "").replace("%%", "%")
    match = _DEFAULT.fullmatch(help)
    meaning, default = (match["help"], match["default"]) if match else (help, "")
    if action.nargs == 0:
        return _names(action), "", "off", meaning
    if definition is None:
        return _names(action), _values(action), f"`{default}`" if re.fullmatch(r"\S+", default) else default, meaning
    kind: Kind = definition.metadata["kind"]
    value = definition.default
    return _names(action), kind.as_text, "" if value == () else f"`{value}`", meaning


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar}`" + (" …" if action.nargs == "+" else "")
    # Of two spellings the first is shown.
    spelt = {name.replace("_", "-"): name for name in reversed(action.option_strings)}
    return ", ".join(f"`{name}`" for name in reversed(spelt.values()))


def _values(action: argparse.Action) -> str:
    if action.type is int:
        return "an integer"
    return _VALUES.get(str(action.metavar), "a string") if action.option_strings else ""


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
