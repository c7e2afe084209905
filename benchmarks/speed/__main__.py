"""Time, errors and memory of whisperlite and four other libraries, taking turns: `python -m benchmarks.speed`.

Without a choice all settings and the memory are measured. With `--out` the page is written after every part, and what
was measured there before is kept where `--merge` is given, so that a run can be made in parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.parity.environment import ROOT, evaluation_folder
from benchmarks.peers.desk import Desk
from benchmarks.provenance import about_now
from benchmarks.speed import growth, memory, neighbour, roofline
from benchmarks.speed.compare import measure, pair, subjects_of
from benchmarks.speed.processes import Workers
from benchmarks.speed.recordings import Chosen, choose
from benchmarks.speed.report import publish
from benchmarks.speed.settings import MEMORY_SIDES, PEERS, SETTINGS, Setting, Side
from benchmarks.speed.summary import open_summary, verdicts
from benchmarks.speed.weights import prepare

MEMORY = "memory"


def main() -> None:
    arguments = _parse()
    desk = Desk(arguments.cache, arguments.threads)
    prepare(desk)
    summary = open_summary(arguments.out if arguments.merge else None, threads=arguments.threads)
    chosen = choose(arguments.eval)
    with closing(Workers(arguments.cache, arguments.threads)) as workers:
        run = _Run(desk, workers, chosen, arguments, summary)
        for setting in SETTINGS:
            if setting.name in arguments.setting:
                run.compare(setting)
        if MEMORY in arguments.setting:
            run.measure_memory()
        if arguments.lengths is not None:
            run.measure_lengths(arguments.lengths or growth.LENGTHS_S)
        if arguments.batch_sizes is not None:
            run.measure_batch_sizes(arguments.batch_sizes or growth.BATCH_SIZES)
        if arguments.roofline:
            run.measure_roofline()
        if arguments.neighbour:
            run.measure_neighbour()
    print(publish(summary, None))
    misses = any(row["verdict"] == "miss" for row in verdicts(summary))
    slow = any(row["ratio"] > neighbour.MOST for row in summary.get("neighbour", {"rows": []})["rows"])
    raise SystemExit(1 if misses or slow else 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*(setting.name for setting in SETTINGS), MEMORY]
    parser.add_argument("--setting", choices=names, action="append", help="only this one; may be repeated")
    parser.add_argument("--library", choices=PEERS, action="append", help="only this peer; may be repeated")
    parser.add_argument(
        "--lengths", type=float, nargs="*", metavar="SECONDS", help="cost against length, ours; alone, or in addition"
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="*", metavar="SIZE", help="cost against batch size, ours; likewise"
    )
    parser.add_argument("--roofline", action="store_true", help="a decode step against the bandwidth; likewise")
    parser.add_argument("--neighbour", action="store_true", help="beside a process that keeps a core busy; likewise")
    parser.add_argument("--long", action="store_true", help="sequential settings also with the long recording")
    parser.add_argument("--subject", action="append", metavar="NAME", help="only recordings of this name")
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder to write speed.md, speed.json and speed.svg into")
    parser.add_argument("--merge", action="store_true", help="keep what the speed.json there has of other parts")
    arguments = parser.parse_args()
    if arguments.merge and arguments.out is None:
        parser.error("--merge needs --out: there is nothing to merge with")
    ours = (arguments.lengths is not None, arguments.batch_sizes is not None, arguments.roofline, arguments.neighbour)
    if arguments.setting is None:
        arguments.setting = [] if any(ours) else names
    return arguments


class _Run:
    """The measurements of one call; each part is written to the summary when it is done."""

    def __init__(
        self, desk: Desk, workers: Workers, chosen: Chosen, arguments: argparse.Namespace, summary: dict[str, Any]
    ) -> None:
        self.desk, self.workers, self.chosen, self.summary = desk, workers, chosen, summary
        self.repeats: int = arguments.repeats
        self.long: bool = arguments.long
        self.names: list[str] | None = arguments.subject
        self.libraries: Sequence[str] = ["whisperlite", *(arguments.library or PEERS)]
        self.out: Path | None = arguments.out

    def compare(self, setting: Setting) -> None:
        subjects = subjects_of(setting, self.chosen, long=self.long)
        subjects = [subject for subject in subjects if self.names is None or subject.name in self.names]
        peers = self._sides(setting.peers)
        if not subjects or not peers:
            return
        self.workers.available([setting.ours])
        warm_up = self.chosen.single[0] if setting.way == "chunks" else subjects[0]
        replies = measure(setting, peers, subjects, warm_up, self.workers, self.repeats)
        measured = self.summary["settings"].setdefault(setting.name, {})
        for name, rows in pair(setting, replies, subjects, self.desk.count_errors).items():
            measured[name] = {**about_now(), "repeats": self.repeats, "rows": rows}
        self._write()

    def measure_memory(self) -> None:
        sides = [side for side in MEMORY_SIDES if side.library in self.libraries]
        found = memory.measure(sides, self.chosen.single[-1], self.workers, self.repeats)
        self.summary["memory"] = {**about_now(), **found}
        self._write()

    def measure_lengths(self, lengths: Sequence[float]) -> None:
        rows = growth.measure_lengths(self.chosen.longest.recordings[0], lengths, self.workers)
        self.summary["lengths"] = {**about_now(), "rows": rows}
        self._write()

    def measure_batch_sizes(self, sizes: Sequence[int]) -> None:
        folder = self.chosen.folder or self.chosen.single[0]
        rows = growth.measure_batch_sizes(folder, sizes, self.workers, self.repeats)
        self.summary["batch_sizes"] = {**about_now(), "rows": rows}
        self._write()

    def measure_roofline(self) -> None:
        found = roofline.measure(self.chosen.longest.files[0], self.workers.threads)
        self.summary["roofline"] = {**about_now(), **found}
        self._write()

    def measure_neighbour(self) -> None:
        rows = neighbour.measure(self.chosen, self.workers, self.repeats)
        self.summary["neighbour"] = {**about_now(), "rows": rows}
        self._write()

    def _sides(self, sides: Sequence[Side]) -> list[Side]:
        return self.workers.available([side for side in sides if side.library in self.libraries])

    def _write(self) -> None:
        self.summary["versions"] |= self.workers.versions
        left_out = {*self.summary["left_out"], *self.workers.left_out}
        self.summary["left_out"] = sorted(left_out - self.workers.versions.keys())
        publish(self.summary, self.out)


if __name__ == "__main__":
    main()
