"""The parser of the commands: what it says of wrong arguments."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from whisperlite.exit_status import WRONG_ARGUMENTS
from whisperlite.other_names import nearest


class Parser(argparse.ArgumentParser):
    """As argparse's, but it says what is wrong in a line or two, and does not show every flag before."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        hints = "".join(self._hint(flag) for flag in re.findall(r"--[\w-]+", message.partition("unrecognized")[2]))
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: error: {message}\n{hints}`{self.prog} --help` lists all arguments.\n")

    def _hint(self, flag: str) -> str:
        names = [known[2:] for known in self._option_string_actions if known.startswith("--")]
        near = nearest(flag[2:].replace("-", "_"), names)
        return f"There is no {flag}. Did you mean --{near}?\n" if near else ""
