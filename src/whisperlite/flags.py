"""The parser of the commands: what it says of wrong arguments."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

from whisperlite.other_names import OTHER_NAMES

WRONG_ARGUMENTS = 2  # the exit status, as argparse has it


class Parser(argparse.ArgumentParser):
    """As argparse's, but it says what is wrong in a line or two, and does not show every flag before."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        hints = "".join(self._hint(flag) for flag in re.findall(r"--[\w-]+", message.partition("unrecognized")[2]))
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: error: {message}\n{hints}`{self.prog} --help` lists all arguments.\n")

    def _hint(self, flag: str) -> str:
        flags = list(self._option_string_actions)
        name = flag[2:].replace("-", "_")
        here = f"--{OTHER_NAMES.get(name, name)}"
        near = [here] if here in flags else difflib.get_close_matches(here, flags, n=1)
        return f"There is no {flag}. Did you mean {near[0]}?\n" if near else ""
