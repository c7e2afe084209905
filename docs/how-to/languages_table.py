"""Writes the list of languages of `languages.md`: `python docs/how-to/languages_table.py`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from whisperlite.languages import ALIASES, LANGUAGES

PAGE = Path(__file__).with_name("languages.md")
BEGIN, END = "<!-- list begins -->\n", "<!-- list ends -->\n"
WIDTH = 120


def with_table(page: str) -> str:
    """The page with the list as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{listed()}\n{END}{after}"


def listed() -> str:
    """Names and codes, a line after the other."""
    names = {name: code for code, name in LANGUAGES.items()}
    return "".join(_paragraph(each) for each in (names, ALIASES))


def _paragraph(names: dict[str, str]) -> str:
    lead = "" if names is not ALIASES else "Other names for some of them: "
    said = ", ".join(f"{name.title()} (`{code}`)" for name, code in sorted(names.items()))
    text = textwrap.fill(f"{lead}{said}.", WIDTH, break_on_hyphens=False)
    return text + "\n" + ("\n" if not lead else "")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
