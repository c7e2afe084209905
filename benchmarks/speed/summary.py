"""The numbers of all parts, as they are written to and read from speed.json, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.provenance import machine
from benchmarks.speed import compare, memory
from benchmarks.speed.settings import CLAIMS, FLOAT32

Summary = dict[str, Any]


def open_summary(folder: Path | None, *, threads: int) -> Summary:
    """Return an empty summary, or that of an earlier run, to be completed.

    Args:
        folder: the folder of the earlier run's summary; None if there is none.

    Raises:
        SystemExit: the earlier run was made on another machine, or with another number of threads.
    """
    where = {"machine": machine(), "threads": threads}
    fresh: Summary = {**where, "versions": {}, "left_out": [], "settings": {}}
    if folder is None or not (folder / "speed.json").exists():
        return fresh
    earlier: Summary = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    if "settings" not in earlier:  # an older format
        return fresh
    if any(earlier[name] != value for name, value in where.items()):
        raise SystemExit(f"{folder / 'speed.json'} was made elsewhere or otherwise; leave --merge out. Here: {where}")
    return earlier


def verdicts(summary: Summary) -> list[compare.Row]:
    """Return the verdict on every claim that was measured."""
    found = []
    for claim in CLAIMS:
        measured = summary["settings"].get(claim.setting, {})
        row = compare.judge(claim, {name: part["rows"] for name, part in measured.items()})
        found += [row] if row else []
    if "memory" in summary:
        found += memory.judge(summary["memory"], FLOAT32)
    return found
