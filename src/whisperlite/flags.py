"""The parser of the commands, and flags made from the fields of options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, NoReturn

from whisperlite.errors import LanguageError, OptionError
from whisperlite.exit_status import WRONG_ARGUMENTS
from whisperlite.kinds import Kind
from whisperlite.other_names import nearest


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports wrong arguments in a line or two, without listing every flag first."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        hints = "".join(self._hint(flag) for flag in re.findall(r"--[\w-]+", message.partition("unrecognized")[2]))
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: error: {message}\n{hints}`{self.prog} --help` lists all arguments.\n")

    def _hint(self, flag: str) -> str:
        names = [known[2:] for known in self._option_string_actions if known.startswith("--")]
        near = nearest(flag[2:].replace("-", "_"), names)
        return f"There is no {flag}. Did you mean --{near}?\n" if near else ""


def add_options(group: argparse._ActionsContainer, options: type[Any], helps: Mapping[str, str] | None = None) -> None:
    """Add flags for fields of a class of options.

    Args:
        helps: the names of the fields, with what else they mean here; None: all fields.
    """
    for definition in fields(options):
        if helps is None:
            group.add_argument(f"--{definition.name}", **argument_of(definition))
        elif definition.name in helps:
            group.add_argument(f"--{definition.name}", **argument_of(definition, helps[definition.name]))


def argument_of(definition: Field[Any], help: str | None = None) -> dict[str, Any]:
    """The keyword arguments of `add_argument` for a field of options: type, default, metavar and help."""
    kind: Kind = definition.metadata["kind"]
    return {
        "type": parser_of(kind),
        "default": definition.default,
        "metavar": "{" + ",".join(kind.choices) + "}" if kind.choices else "VALUE",
        "help": f"{help or definition.metadata['help']} (default: {definition.default!r})".replace("%", "%%"),
    }


def parser_of(kind: Kind) -> Callable[[str], Any]:
    """A `type` for `add_argument`: text → checked value, or an error that says what is allowed."""

    def parse(text: str) -> Any:
        try:
            return kind.check(kind.parse(text))
        except (OptionError, LanguageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it takes {kind.as_text}") from error

    return parse
