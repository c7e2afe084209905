"""Writes the table of `formats.md` from the lists that `tests/test_matrix.py` runs: `python docs/formats_table.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.nn.config import ModelDimensions

PAGE = Path(__file__).with_name("formats.md")
BEGIN, END = "<!-- table begins -->\n", "<!-- table ends -->\n"


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        name: as the table shows it.
        files: that hold the weights.
        found_in: where such files are found.
    """

    name: str
    files: str
    found_in: str


FORMATS = (
    Format("safetensors float32", "`model.safetensors`", "`openai/whisper-base`, fine-tunes"),
    Format("safetensors float16", "`model.safetensors`", "`openai/whisper-large-v3`, fine-tunes"),
    Format("safetensors bfloat16", "`model.safetensors`", "fine-tunes"),
    Format("safetensors sharded", "`model-00001-of-00002.safetensors` …, an index", "fine-tunes of the large models"),
    Format("safetensors variant", "`model.fp32.safetensors`", "large models with more than one precision"),
    Format("PyTorch", "`pytorch_model.bin`", "older repositories and fine-tunes"),
    Format("OpenAI", "`*.pt`", "OpenAI's own files"),
    Format("CTranslate2 float16", "`model.bin`", "`Systran/faster-whisper-*`, the packages of the extras"),
    Format("CTranslate2 int8", "`model.bin`", "conversions for small machines"),
    Format("whisperlite", "`model.safetensors`, `tokenizer.json` …", "what `whisperlite convert` writes"),
)


def shapes() -> dict[str, ModelDimensions]:
    """The names of the published models, those of one shape together → the shape."""
    found: dict[ModelDimensions, list[str]] = {}
    for name, model in PUBLISHED.items():
        found.setdefault(model.dims, []).append(name)
    return {", ".join(sharing): dims for dims, sharing in found.items()}


def with_table(page: str) -> str:
    """The page with the table as it has to be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{tested()}\n{END}{after}"


def table() -> str:
    rows = [[each.name, each.files, each.found_in] for each in FORMATS]
    head = ["format", "files of the weights", "found in"]
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ["---"] * len(head), *rows])


def tested() -> str:
    return (
        f"The tests read the shapes of all published models, {len(shapes())} different ones, from each of these "
        f"{len(FORMATS)} formats:\n{len(shapes()) * len(FORMATS)} combinations.\n"
    )


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
