"""The numbers of all parts, as they are written to and read from speed.json, and what follows from them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.parity.environment import ROOT
from benchmarks.speed import compare, memory
from benchmarks.speed.settings import CLAIMS, FLOAT32

Summary = dict[str, Any]


def open_summary(folder: Path | None, *, threads: int) -> Summary:
    """A summary without any part, or that of an earlier run which is to be completed.

    Args:
        folder: where the earlier run's is; None: there is none.

    Raises:
        SystemExit: the earlier run was made on another machine, or with another number of threads.
    """
    where = {"machine": machine(), "threads": threads}
    fresh: Summary = {**where, "versions": {}, "left_out": [], "settings": {}}
    if folder is None or not (folder / "speed.json").exists():
        return fresh
    earlier: Summary = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    if "settings" not in earlier:  # it is of an older kind
        return fresh
    if any(earlier[name] != value for name, value in where.items()):
        raise SystemExit(f"{folder / 'speed.json'} was made elsewhere or otherwise; leave --merge out. Here: {where}")
    return earlier


def about_now() -> dict[str, str]:
    """Of which commit a measurement is, and when it was made."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False).stdout
    return {"commit": commit + (" with changes" if changed else ""), "date": date.today().isoformat()}


def machine() -> str:
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    """Its name and, since processors of one name may be of several generations, what it multiplies with."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    entries = dict(re.findall(r"^(.*?)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE))
    flags = entries.get("flags", "").split()
    found = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    return " with ".join([entries.get("model name", platform.machine()), *found[:1]])


_INSTRUCTIONS = {  # of /proc/cpuinfo, the best first
    "amx_int8": "AMX",
    "avx512_bf16": "AVX-512 and its products of 8-bit integers and of bfloat16",
    "avx512_vnni": "AVX-512 and its products of 8-bit integers",
    "avx_vnni": "AVX2 and products of 8-bit integers",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}


def verdicts(summary: Summary) -> list[compare.Row]:
    """What became of every claim that was measured."""
    found = []
    for claim in CLAIMS:
        measured = summary["settings"].get(claim.setting, {})
        row = compare.judge(claim, {name: part["rows"] for name, part in measured.items()})
        found += [row] if row else []
    if "memory" in summary:
        found += memory.judge(summary["memory"], FLOAT32)
    return found
