"""Writes the table of `options.md` from the fields of `Options`: `python docs/options_table.py`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from whisperlite.kinds import Kind
from whisperlite.options import Options

PAGE = Path(__file__).with_name("options.md")
BEGIN, END = "<!-- table begins -->\n", "<!-- table ends -->\n"


def with_table(page: str) -> str:
    """The page with the table as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    rows = ["| option | default | takes | |", "|---|---|---|---|"]
    for definition in fields(Options):
        kind: Kind = definition.metadata["kind"]
        cells = (f"`{definition.name}`", f"`{definition.default!r}`", kind.label, definition.metadata["help"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
