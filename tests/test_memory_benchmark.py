"""What `benchmarks.memory` reads about a process, and the table that it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device import SHAPES
from benchmarks.memory import COMPUTE_TYPES, MODELS, PAGE, as_table, memory_bytes, with_table
from benchmarks.provenance import ROOT

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux only")


def summary_of(**models: tuple[int, int, int]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"model": model, "compute_type": compute_type, "loading_mb": loading, "loaded_mb": loaded, "call_mb": call}
        for model, (loading, loaded, call) in models.items()
        for compute_type in COMPUTE_TYPES
    ]
    rows[-1]["call_mb"] += 1000
    return {"rows": rows}


def test_a_model_has_a_line_in_gigabytes_with_its_largest_call() -> None:
    lines = as_table(summary_of(base=(380, 340, 160), small=(900, 800, 500)))
    assert lines[2:] == ["| `base` | 0.3 | 0.4 | 0.3 | 0.4 | 0.2 |", "| `small` | 0.8 | 0.9 | 0.8 | 0.9 | 1.5 |"]


def test_the_table_replaces_what_is_between_the_marks() -> None:
    page = "Before.\n\n<!-- memory begins -->\nold\n<!-- memory ends -->\n\nAfter.\n"
    summary = summary_of(base=(380, 340, 160))
    found = with_table(page, summary)
    assert found.startswith("Before.\n\n<!-- memory begins -->\n\n| model |")
    assert found.endswith("|\n\n<!-- memory ends -->\n\nAfter.\n")
    assert "old" not in found
    assert with_table(found, summary) == found


def test_the_page_has_the_marks_and_between_them_what_the_numbers_give() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- memory begins -->") == page.count("<!-- memory ends -->") == 1
    numbers = ROOT / "docs/benchmarks/memory.json"
    if numbers.exists():
        assert page == with_table(page, json.loads(numbers.read_text(encoding="utf-8")))


def test_every_model_without_embedded_weights_has_a_shape() -> None:
    assert {"base", *SHAPES} >= set(MODELS)


@linux
def test_memory_that_is_held_is_counted() -> None:
    before = memory_bytes("VmRSS")
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    assert memory_bytes("VmRSS") - before > 60 << 20
    assert memory_bytes("VmHWM") >= memory_bytes("VmRSS")
