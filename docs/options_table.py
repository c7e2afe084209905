"""Writes the tables of `options.md` from the fields of `Options` and `VadOptions`: `python docs/options_table.py`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from whisperlite.kinds import Kind
from whisperlite.options import Options
from whisperlite.vad_options import VadOptions

PAGE = Path(__file__).with_name("options.md")
TABLES = {"table": Options, "vad table": VadOptions}


def with_table(page: str) -> str:
    """The page with the tables as they have to be."""
    for name, options in TABLES.items():
        begin, end = f"<!-- {name} begins -->\n", f"<!-- {name} ends -->\n"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}\n{table(options)}\n{end}{after}"
    return page


def table(options: type[Options | VadOptions]) -> str:
    rows = ["| option | default | takes | |", "|---|---|---|---|"]
    for definition in fields(options):
        kind: Kind = definition.metadata["kind"]
        cells = (f"`{definition.name}`", f"`{definition.default!r}`", kind.label, definition.metadata["help"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
