"""Writes the table of `service.md` from the fields of `Settings`: `python docs/service_table.py`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from whisperlite.kinds import Kind
from whisperlite.server.settings import Settings

PAGE = Path(__file__).with_name("service.md")
BEGIN, END = "<!-- settings begin -->\n", "<!-- settings end -->\n"


def with_table(page: str) -> str:
    """The page with the table as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    rows = ["| flag | default | takes | |", "|---|---|---|---|"]
    for definition in fields(Settings):
        kind: Kind = definition.metadata["kind"]
        flag = f"`--{definition.name.replace('_', '-')}`"
        cells = (flag, f"`{definition.default!r}`", kind.label, definition.metadata["help"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
