"""Writes the table of `service.md` from the flags of `whisperlite serve`: `python docs/service_table.py`."""

from __future__ import annotations

import runpy
from pathlib import Path

from whisperlite.server.settings import Settings

PAGE = Path(__file__).with_name("service.md")
BEGIN, END = "<!-- settings begin -->\n", "<!-- settings end -->\n"


def with_table(page: str) -> str:
    """The page with the table as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    flags = runpy.run_path(str(PAGE.with_name("command-line_table.py")))
    text: str = flags["table"](flags["actions"]("serve").values(), Settings)
    return text


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
