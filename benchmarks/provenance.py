"""Where a measurement comes from: what each summary records about itself, and what its page says about that."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def provenance(*, threads: int) -> dict[str, Any]:
    """The commit and date of a measurement that is made now, and the machine, torch and threads that it is made with.

    Args:
        threads: of each library.
    """
    return {**about_now(), "machine": machine(), "torch": version("torch"), "threads": threads}


def describe_provenance(summary: Mapping[str, Any]) -> list[str]:
    """The last lines of a page, which say where its numbers come from; none if the summary does not know.

    A summary from before summaries recorded their commit has `stored` instead: the commit that brought its numbers into
    the repository, and that commit's date.
    """
    if "commit" in summary:
        threads = summary["threads"]
        return [
            "",
            f"Measured {when([summary])}, with torch {summary['torch']} and {threads} thread{'s' * (threads != 1)}. "
            f"The machine: {summary['machine']}.",
        ]
    if "stored" in summary:
        return [
            "",
            f"Which commit was measured was not recorded. The numbers were stored on {when([summary['stored']])}.",
        ]
    return []


def when(parts: Iterable[Mapping[str, Any]]) -> str:
    """The dates and commits of the parts, each once."""
    return "; ".join(
        dict.fromkeys(f"{part['date']}, commit {part['commit'][:10]}{part['commit'][40:]}" for part in parts)
    )


def about_now() -> dict[str, str]:
    """The commit that is checked out, "with changes" if the package differs from it, and today's date."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False).stdout
    return {"commit": commit + (" with changes" if changed else ""), "date": date.today().isoformat()}


def machine() -> str:
    """The processor, the number of cores, the system and Python, for people to read."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    """The processor's name and its best instruction set: one name may stand for several generations."""
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
