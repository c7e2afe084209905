"""`python -m benchmarks.parity`: both sides' answers, compared under the parity law; exit status 1 outside of it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.parity import report
from benchmarks.parity.compare import Dispute, Outcome, compare, settle
from benchmarks.parity.environment import DATA, ROOT, Workplace, evaluation_folder
from benchmarks.parity.matrix import MODELS, Run, all_runs, find_clips, sample
from benchmarks.parity.ours import Model
from benchmarks.parity.store import Answer, read_lines, write_lines
from benchmarks.parity.trace import trace_beams


def main() -> None:
    arguments = _parse()
    place = Workplace(arguments.cache, arguments.workers)
    place.prepare()
    runs = choose_runs(arguments)
    print(f"{len(runs)} runs over {len({run.clip.sha256 for run in runs})} recordings", flush=True)
    if not arguments.cached:
        place.answer("reference", runs, ladder="stop")
    if arguments.reference_only:
        return
    answered = [(run, answer) for run in runs if (answer := place.find("reference", run, ladder="stop")) is not None]
    place.answer("ours", [run for run, _ in answered], ladder="stop")
    outcomes = judge_all(place, answered)
    summary = report.summarise(outcomes)
    (arguments.cache / "report.json").write_text(
        json.dumps([outcome.to_dict() for outcome in outcomes], indent=1, ensure_ascii=False), encoding="utf-8"
    )
    if arguments.out:
        report.write(summary, arguments.out)
    print(report.as_markdown(summary))
    numbers_agree = compare_numbers(place, arguments)
    raise SystemExit(0 if report.passes(summary) and numbers_agree else 1)


def compare_numbers(place: Workplace, arguments: argparse.Namespace) -> bool:
    """Whether features, encoder output and logits are within their limits; computed on the reference's side."""
    call = ["--cache", str(place.cache), "--data", str(DATA)]
    call += ["--eval", str(arguments.eval)] if arguments.eval else []
    call += ["--out", str(arguments.out)] if arguments.out else []
    return place.start("benchmarks.parity.numerics", call, side="reference").wait() == 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every run, not a sample")
    parser.add_argument("--size", type=int, default=40, help="runs in the sample")
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--clip", default="", help="only clips whose path contains this")
    parser.add_argument("--setting", default="", help="only settings whose name contains this")
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--out", type=Path, help="folder to write parity.md and parity.json into")
    parser.add_argument("--cached", action="store_true", help="only runs that the reference has answered before")
    parser.add_argument("--reference-only", action="store_true", help="make the reference's answers and stop")
    return parser.parse_args()


def choose_runs(arguments: argparse.Namespace) -> list[Run]:
    """Return the runs that the command line asks for."""
    runs = [
        run
        for run in all_runs(find_clips(arguments.eval, DATA))
        if arguments.model in (None, run.model) and arguments.clip in run.clip.path and arguments.setting in run.setting
    ]
    if not runs:
        raise SystemExit("No recording: give --eval a folder with a manifest.jsonl, or widen the filters.")
    return runs if arguments.all else sample(runs, arguments.size)


def judge_all(place: Workplace, answered: Sequence[tuple[Run, Answer]]) -> list[Outcome]:
    """Compare all runs, and let the reference's network settle what they leave open."""
    outcomes: list[Outcome] = []
    disputes: list[Dispute] = []
    for run, theirs in answered:
        answer = place.find("ours", run, ladder="stop")
        if answer is None:
            raise SystemExit("whisperlite's source changed while its answers were made: run this again.")
        result = compare(run, theirs, answer)
        if isinstance(result, Dispute):
            disputes.append(result)
        else:
            outcomes.append(result)
    return outcomes + list(map(settle, disputes, _verdicts(place, disputes)))


def _verdicts(place: Workplace, disputes: Sequence[Dispute]) -> list[dict[str, Any]]:
    if not disputes:
        return []
    torch.set_num_threads(1)
    models: dict[str, Model] = {}
    lines = []
    for dispute in disputes:
        run = dispute.run
        line = {"run": run.to_dict(), "window": dispute.window, "ours": dispute.ours}
        if run.options["beam_size"] is not None:
            model = models.get(run.model) or models.setdefault(run.model, Model(run.model))
            line["steps"] = trace_beams(model, run, dispute.window)
        lines.append(line)
    questions, verdicts = place.cache / "disputes.jsonl", place.cache / "verdicts.jsonl"
    write_lines(questions, lines)
    process = place.start(
        "benchmarks.parity.judge", [str(questions), str(verdicts), "--cache", str(place.cache)], side="reference"
    )
    if process.wait():
        raise SystemExit("The judge failed.")
    return list(read_lines(verdicts))


if __name__ == "__main__":
    main()
