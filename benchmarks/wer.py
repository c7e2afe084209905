"""Word error rate of whisperlite and openai-whisper on the same recordings: `python -m benchmarks.wer`.

`base` in float32, language given, the whole ladder of temperatures. A window that falls back is sampled, by each
library from its own random numbers: such recordings are transcribed with several seeds, and their errors averaged.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.parity.environment import DATA, ROOT, Side, Workplace, evaluation_folder
from benchmarks.parity.matrix import REFERENCE_VERSION, Run, all_runs, find_clips, read_manifest
from benchmarks.parity.store import read_lines, write_lines
from benchmarks.provenance import describe_provenance, provenance

SIDES: tuple[Side, ...] = ("ours", "reference")
SETTINGS = ("greedy/plain", "beam5/plain")
SEEDS = range(5)
FEWEST_CLIPS = 5
ALLOWED = 0.1  # percentage points


def main() -> None:
    arguments = _parse()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    place = Workplace(arguments.cache, arguments.workers)
    place.prepare()
    truths = {line["file"]: line["text"] for line in read_manifest(arguments.eval)}
    languages = Counter(line["lang"] for line in read_manifest(arguments.eval))
    runs = [
        run
        for run in all_runs(find_clips(arguments.eval, DATA))
        if run.model == "base"
        and run.setting in SETTINGS
        and run.clip.path in truths
        and languages[run.clip.lang] >= FEWEST_CLIPS
    ]
    if arguments.cached:
        runs = [run for run in runs if place.find("reference", run, ladder="stop") is not None]
    if not runs:
        raise SystemExit("Nothing to compare; with --cached, the reference must have answered before.")
    for side in SIDES:
        place.answer(side, runs, ladder="stop")
    sampled = [run for run in runs if falls_back(place, run)]
    repeats = [replace(run, seed=seed) for run in runs for seed in (SEEDS if run in sampled else [0])]
    for side in SIDES:
        place.answer(side, [replace(run, seed=seed) for run in sampled for seed in SEEDS], ladder="full")
    summary = summarise(place, repeats, truths) | provenance(threads=1)
    page = as_markdown(summary)
    print(page)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "wer.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "wer.md").write_text(page, encoding="utf-8")
    raise SystemExit(0 if summary["passes"] else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wer", description=__doc__)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--out", type=Path, help="folder to write wer.md and wer.json into")
    parser.add_argument("--cached", action="store_true", help="only runs that the reference has answered before")
    return parser.parse_args()


def falls_back(place: Workplace, run: Run) -> bool:
    """Whether a window falls back on either side in a run."""
    answers = [place.find(side, run, ladder="stop") for side in SIDES]
    return any(answer is not None and answer["fell_back"] for answer in answers)


def summarise(place: Workplace, runs: Sequence[Run], truths: dict[str, str]) -> dict[str, Any]:
    """Compute error rates in percent, by language and setting.

    Args:
        runs: a recording with several seeds counts once, with the average of its errors.
        truths: path of a recording → what is said in it.
    """
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for index, run in enumerate(runs):
        groups.setdefault((run.clip.lang, run.setting), {}).setdefault(run.clip.path, []).append(index)
    errors = {
        side: count_errors(place, side, [_line(place, side, run, truths[run.clip.path]) for run in runs])
        for side in SIDES
    }
    rows = []
    for (lang, setting), recordings in sorted(groups.items()):
        length = sum(errors["ours"][repeats[0]].length for repeats in recordings.values())
        row: dict[str, Any] = {"language": lang, "setting": setting, "clips": len(recordings), "length": length}
        row["sampled"] = sum(len(repeats) > 1 for repeats in recordings.values())
        for side in SIDES:
            each = (mean(errors[side][index].errors for index in repeats) for repeats in recordings.values())
            row[side] = round(100 * sum(each) / length, 4)
        row["difference"] = round(row["ours"] - row["reference"], 4)
        rows.append(row)
    return {
        "model": "base, float32",
        "reference": f"openai-whisper {REFERENCE_VERSION}",
        "seeds": len(SEEDS),
        # Only being worse fails.
        "passes": all(row["difference"] <= ALLOWED for row in rows),
        "rows": rows,
    }


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of one text, and the length of the truth in words (characters in ja and zh)."""

    errors: int
    length: int


def count_errors(place: Workplace, name: str, lines: Sequence[dict[str, str]]) -> list[Errors]:
    """Count the errors of texts (`lang`, `truth`, `text`), in the environment that has the tools for it."""
    source, target = place.cache / f"texts-{name}.jsonl", place.cache / f"errors-{name}.jsonl"
    write_lines(source, lines)
    if place.start("benchmarks.count_errors", [str(source), str(target)], side="reference").wait():
        raise SystemExit("The error count failed.")
    return [Errors(*pair) for pair in read_lines(target)]


def _line(place: Workplace, side: Side, run: Run, truth: str) -> dict[str, str]:
    # Without a fallback, the answer that stops at fallbacks is complete.
    answer = place.find(side, run, ladder="full" if falls_back(place, replace(run, seed=0)) else "stop")
    if answer is None:
        raise SystemExit("whisperlite's source changed while its answers were made: run this again.")
    text = "".join(segment["text"] for segment in answer["segments"])
    return {"lang": run.clip.lang, "truth": truth, "text": text}


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    lines = [
        "# Word error rate",
        "",
        f"This page compares the word error rates of whisperlite and {summary['reference']}, measured against human "
        "transcripts. A negative difference means that whisperlite makes fewer errors. Made by `make bench`; [all "
        "numbers](wer.json).",
        "",
        f"Both libraries transcribe the same recordings with the same weights (`{summary['model']}`), with the "
        f"language given, in all languages with {FEWEST_CLIPS} recordings or more. Rates are in percent of the words "
        "(in Japanese and Chinese, of the characters), after Whisper's normaliser; differences are in percentage "
        f"points, of which whisperlite may have at most {ALLOWED:g} more.",
        "",
        "*sampled*: recordings with a window that falls back to a temperature above 0. There the two libraries draw "
        f"different random numbers, so the errors are averages over {summary['seeds']} seeds. Everything else is "
        "deterministic in both libraries.",
        "",
        "| language | decoding | recordings | sampled | words | whisperlite, % | openai-whisper, % | difference |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        decoding = row["setting"].split("/")[0].replace("beam", "beam ")
        lines.append(
            f"| {row['language']} | {decoding} | {row['clips']} | {row['sampled']} | {row['length']} | "
            f"{row['ours']:.2f} | {row['reference']:.2f} | {row['difference']:+.2f} |"
        )
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
