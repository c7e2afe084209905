"""Throughput, latency and memory of the service under load: `python -m benchmarks.service`.

The sides run one after the other, since each loads all cores: our service, `transcribe_many` in a process of its own,
and a plain FastAPI service around faster-whisper, as it comes, with a request on each thread, and passive, with the
same weights, precision, clips, order, options and time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.parity.environment import ROOT, evaluation_folder
from benchmarks.peers.command import publish
from benchmarks.peers.desk import Desk
from benchmarks.provenance import about_now, machine
from benchmarks.service.clips import Clip, choose
from benchmarks.service.expected import expected_texts
from benchmarks.service.processes import run_many, run_peer, run_service, versions_of
from benchmarks.service.report import (
    COMPUTE_TYPES,
    PASSIVE,
    PEER,
    SIDES,
    SPREAD,
    Row,
    Run,
    as_markdown,
    conclude,
    rows_to_keep,
    summarise,
)


def main() -> None:
    arguments = _parse()
    if arguments.eval is None:
        raise SystemExit("Recordings are needed: --eval FOLDER with a manifest.jsonl.")
    Desk(arguments.cache, arguments.threads).prepare()
    clips = choose(arguments.eval)
    about = _about(clips, arguments)
    kept = _earlier_rows(arguments.out, about) if arguments.merge else {}
    compute_types = arguments.compute_type or COMPUTE_TYPES
    expected = {each: expected_texts(clips, arguments.cache, arguments.threads, each) for each in compute_types}
    runs = {each: measure(arguments.library or SIDES, clips, each, arguments) for each in compute_types}
    of_types = {
        each: summarise(runs.get(each, {}), expected.get(each, {}), about=about_now(), kept=kept.get(each))
        for each in COMPUTE_TYPES
        if each in runs or each in kept
    }
    summary = conclude(about, of_types)
    page = as_markdown(summary)
    print(page)
    publish("service", summary, page, arguments.out)


def measure(
    sides: Sequence[str], clips: Sequence[Clip], compute_type: str, arguments: argparse.Namespace
) -> dict[str, list[Run]]:
    """Measure all sides in turn, starting each round with another."""
    load = {"cache": arguments.cache, "threads": arguments.threads, "seconds": arguments.seconds}
    load["compute_type"] = compute_type
    measurements: dict[str, Callable[[Sequence[Clip]], Run]] = {
        "whisperlite": partial(run_service, **load, clients=arguments.clients),
        "transcribe_many": partial(run_many, **load),
        PEER: partial(run_peer, **load, clients=arguments.clients),
        SPREAD: partial(run_peer, **load, clients=arguments.clients, workers=arguments.threads),
        PASSIVE: partial(run_peer, **load, clients=arguments.clients, wait_policy="PASSIVE"),
    }
    sides = [side for side in SIDES if side in sides]
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for turn in range(arguments.repeats):
        first = turn % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            run = measurements[side](clips)
            runs[side].append(run)
            print(
                f"{compute_type}  {side}  {len(run.answers)} answers  {run.throughput:.2f} s of audio per s",
                file=sys.stderr,
            )
    return runs


def _earlier_rows(folder: Path, about: dict[str, Any]) -> dict[str, dict[str, Row]]:
    earlier = folder / "service.json"
    if not earlier.exists():
        return {}
    return rows_to_keep(json.loads(earlier.read_text(encoding="utf-8")), about)


def _about(clips: Sequence[Clip], arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": "base, beam 5, fallback on, language given",
        "machine": machine(),
        **about_now(),
        "versions": versions_of(),
        "threads": arguments.threads,
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "repeats": arguments.repeats,
        "clips": [{"file": Path(each.path).name, "language": each.language, "seconds": each.seconds} for each in clips],
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--library", choices=SIDES, action="append", help="only this side; may be repeated")
    parser.add_argument(
        "--compute-type", choices=COMPUTE_TYPES, action="append", help="only this precision; may be repeated"
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="how long clients begin requests")
    parser.add_argument("--clients", type=int, default=32, help="at a time, of a service")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder to write service.md and service.json into")
    parser.add_argument("--merge", action="store_true", help="keep the sides that the service.json there has besides")
    arguments = parser.parse_args()
    if arguments.merge and arguments.out is None:
        parser.error("--merge needs --out: there is nothing to merge with")
    return arguments


if __name__ == "__main__":
    main()
