"""Writes the benchmarks' pages again from the JSON beside them: `python -m benchmarks.pages [FOLDER]`.

For when the text of a page changes and its numbers do not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import device, languages, padding, pauses, precision, wer
from benchmarks.parity import report as parity
from benchmarks.provenance import ROOT
from benchmarks.service import report as service
from benchmarks.silence import report as silence
from benchmarks.speed import report as speed
from benchmarks.words import report as words

FOLDER = ROOT / "docs/benchmarks"
WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "device": device.page,
    "languages": languages.as_markdown,
    "padding": padding.as_markdown,
    "parity": parity.as_markdown,
    "pauses": pauses.as_markdown,
    "precision": precision.as_markdown,
    "service": service.as_markdown,
    "silence": silence.as_markdown,
    "speed": lambda summary: speed.as_markdown(summary, has_plot=True),
    "wer": wer.as_markdown,
    "words": words.as_markdown,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for path, page in render(folder):
        path.write_text(page, encoding="utf-8")


def render(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of each page whose JSON is in the folder or below it."""
    for numbers in sorted(folder.rglob("*.json")):
        if writer := WRITERS.get(numbers.stem):
            yield numbers.with_suffix(".md"), writer(json.loads(numbers.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
