"""Writes the table of `models.md` from the names that whisperlite knows: `python docs/models_table.py`."""

from __future__ import annotations

from pathlib import Path

from whisperlite.checkpoints.embedded import EMBEDDED
from whisperlite.checkpoints.published import PUBLISHED

PAGE = Path(__file__).with_name("models.md")
BEGIN, END = "<!-- table begins -->\n", "<!-- table ends -->\n"


def with_table(page: str) -> str:
    """The page with the table as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    rows = ["| name | parameters | languages | mel bands | on the Hub | extra |", "|---|---|---|---|---|---|"]
    for model in dict.fromkeys(PUBLISHED.values()):
        names = ", ".join(f"`{name}`" for name, other in PUBLISHED.items() if other is model)
        # Distil-Whisper's were trained on English alone, whatever their vocabulary has.
        is_english = not model.dims.is_multilingual or model.name.startswith("distil-")
        languages = "English" if is_english else str(model.dims.num_languages)
        extra = f"`{EMBEDDED[model.name].extra}`" if model.name in EMBEDDED else ""
        cells = (names, f"{model.parameters} M", languages, str(model.dims.n_mels), f"`{model.repository}`", extra)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
