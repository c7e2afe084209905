"""Time of whisperlite and openai-whisper on the same recordings, taking turns: `python -m benchmarks.speed`.

Each library lives in a process of its own with the same weights and number of threads, `base` in float32, at
temperature 0 without a ladder. Times run from the file to the text; where the tokens differ no times are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

import whisperlite
from benchmarks.parity.environment import DATA, ROOT, Side, Workplace, evaluation_folder
from benchmarks.parity.matrix import REFERENCE_VERSION, read_manifest

SIDES: tuple[Side, ...] = ("ours", "reference")
DECODINGS: dict[str, int | None] = {"greedy": None, "beam 5": 5}
LENGTHS = (6.0, 14.0, 60.0)  # seconds; the clips of the evaluation folder that come nearest


@dataclass(frozen=True, slots=True)
class Recording:
    path: str
    language: str


class Worker:
    """One side's process, its model loaded."""

    def __init__(self, place: Workplace, side: Side, threads: int) -> None:
        weights = str(place.weights("base"))
        self.process = place.start("benchmarks.speed_worker", [side, str(threads), weights], side=side, pipes=True)
        self.facts = self._read()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin is not None, "started with pipes"
        self.process.stdin.close()
        self.process.wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None, "started with pipes"
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None, "started with pipes"
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A worker ended with exit code {self.process.wait()}.")
        reply: dict[str, Any] = json.loads(line)
        return reply


def main() -> None:
    arguments = _parse()
    place = Workplace(arguments.cache, workers=1)
    place.prepare()
    recordings = choose_recordings(arguments.eval)
    with ExitStack() as stack:
        workers = {side: stack.enter_context(Worker(place, side, arguments.threads)) for side in SIDES}
        rows = measure(workers, recordings, arguments.repeats)
        facts = {side: worker.facts for side, worker in workers.items()}
    summary = {**describe_machine(), "threads": arguments.threads, "sides": facts, "repeats": arguments.repeats}
    summary |= {"reference": f"openai-whisper {REFERENCE_VERSION}", "rows": rows, "ratios": ratios(rows)}
    page = as_markdown(summary)
    print(page)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "speed.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "speed.md").write_text(page, encoding="utf-8")
    faster = all(ratio is not None and ratio > 1 for ratio in summary["ratios"].values())
    raise SystemExit(0 if faster else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder to write speed.md and speed.json into")
    return parser.parse_args()


def choose_recordings(evaluation: Path | None) -> list[Recording]:
    """The project's own, and clean ones of several lengths from the evaluation folder."""
    recordings = [Recording(str(path), "en") for path in sorted(DATA.glob("*.wav"))]
    if evaluation is not None:
        lines = [
            line for line in read_manifest(evaluation) if line["lang"] == "en" and line["kind"] in ("short", "long")
        ]
        nearest = [min(lines, key=lambda line: abs(line["seconds"] - length)) for length in LENGTHS]
        recordings += [Recording(line["file"], line["lang"]) for line in nearest]
    return recordings


def measure(workers: dict[Side, Worker], recordings: Sequence[Recording], repeats: int) -> list[dict[str, Any]]:
    """Both sides in turn, the one that begins changing each time; the first round only warms up."""
    rows = []
    for name, beam_size in DECODINGS.items():
        for recording in recordings:
            request = {"audio": recording.path, "language": recording.language, "beam_size": beam_size}
            replies: dict[Side, list[dict[str, Any]]] = {side: [] for side in SIDES}
            for turn in range(repeats + 1):
                for side in SIDES if turn % 2 else SIDES[::-1]:
                    replies[side].append(workers[side].ask(request))
            seconds = {side: sorted(reply["seconds"] for reply in replies[side][1:]) for side in SIDES}
            same = replies["ours"][0]["tokens"] == replies["reference"][0]["tokens"]
            row = {"decoding": name, "recording": Path(recording.path).name, "same_tokens": same, "seconds": seconds}
            row["ratio"] = median(seconds["reference"]) / median(seconds["ours"]) if same else None
            rows.append(row)
    return rows


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Decoding → the median over the recordings of (time of openai-whisper / our time); None: nothing to compare."""
    result: dict[str, float | None] = {}
    for name in DECODINGS:
        values = [row["ratio"] for row in rows if row["decoding"] == name and row["ratio"] is not None]
        result[name] = median(values) if values else None
    return result


def describe_machine() -> dict[str, Any]:
    """Where, with what and when."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False).stdout
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "whisperlite": whisperlite.__version__,
        "commit": commit + (" with changes" if changed else ""),
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    found = ", ".join(f"**{ratio:.2f}** on {name}" for name, ratio in summary["ratios"].items() if ratio is not None)
    lines = [
        "# Speed",
        "",
        f"Time of {summary['reference']} over time of whisperlite {summary['whisperlite']}: {found} (median over the "
        f"recordings). `base` in float32, {summary['threads']} threads each, taking turns in one run, temperature 0, "
        f"from the file to the text, on {summary['machine']}; torch {summary['sides']['ours']['torch']}. "
        f"Median and range of {summary['repeats']} repeats after one to warm up. Made by `make bench`.",
        "",
        "| decoding | recording | whisperlite, s | openai-whisper, s | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        times = [
            f"{median(row['seconds'][side]):.2f} ({row['seconds'][side][0]:.2f} to {row['seconds'][side][-1]:.2f})"
            for side in SIDES
        ]
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "tokens differ"
        lines.append(f"| {row['decoding']} | {row['recording']} | {times[0]} | {times[1]} | {ratio} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
