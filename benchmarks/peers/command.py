"""What the benchmarks against other libraries have in common on the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.parity.environment import ROOT, evaluation_folder
from benchmarks.peers.requests import Library


def parser_of(name: str, description: str | None, libraries: Sequence[Library]) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all of them take."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--library", choices=libraries, action="append", help="only this one; may be repeated")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help=f"folder to write {name}.md and {name}.json into")
    parser.add_argument("--cached", action="store_true", help="only what the other libraries have answered before")
    return parser


def publish(name: str, summary: dict[str, Any], page: str, out: Path | None) -> NoReturn:
    """Write the page and the numbers, and exit with status 1 if a target is missed."""
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(page, encoding="utf-8")
    raise SystemExit(0 if summary["passes"] else 1)
