"""`python -m benchmarks.words`: both sides' word times, compared; exit status 1 where they differ for no reason."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parity.environment import ROOT, Side, Workplace, evaluation_folder
from benchmarks.parity.matrix import MODELS, Run
from benchmarks.parity.store import Answer, Store, write_lines
from benchmarks.words import report
from benchmarks.words.compare import compare
from benchmarks.words.matrix import SETTINGS, all_runs, find_recordings, heads_file, words_question
from benchmarks.words.ours import our_question
from whisperlite.checkpoints.resolve import load_checkpoint


def main() -> None:
    arguments = _parse()
    if arguments.eval is None:
        raise SystemExit("Recordings are needed: --eval FOLDER with a manifest.jsonl.")
    place = Workplace(arguments.cache, arguments.workers)
    heads = prepare(place)
    runs = choose_runs(arguments)
    print(f"{len(runs)} runs over {len({run.clip.sha256 for run in runs})} recordings", flush=True)
    if not arguments.cached:
        answer(place, "reference", runs)
    if arguments.reference_only:
        return
    answered = [(run, theirs) for run in runs if (theirs := find_reference(place, run, heads)) is not None]
    answer(place, "ours", [run for run, _ in answered])
    store = Store(place.cache / "ours")
    outcomes = []
    for run, theirs in answered:
        ours = store.get(our_question(run))
        if ours is None:
            raise SystemExit("whisperlite's source changed while its answers were made: run this again.")
        outcomes.append(compare(run, theirs, ours))
    (place.cache / "words.json").write_text(
        json.dumps([outcome.to_dict() for outcome in outcomes], indent=1, ensure_ascii=False), encoding="utf-8"
    )
    summary = report.summarise(outcomes)
    if arguments.out:
        report.write(summary, arguments.out)
    print(report.as_markdown(summary))
    raise SystemExit(0 if report.passes(summary) else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.words", description=__doc__)
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--clip", default="", help="only recordings whose path contains this")
    parser.add_argument("--setting", choices=SETTINGS)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    parser.add_argument("--out", type=Path, help="folder to write words.md and words.json into")
    parser.add_argument("--cached", action="store_true", help="only runs that the reference has answered before")
    parser.add_argument("--reference-only", action="store_true", help="make the reference's answers and stop")
    return parser.parse_args()


def prepare(place: Workplace) -> dict[str, list[list[int]]]:
    """Write the files that the reference needs, and return the alignment heads of each model."""
    place.prepare()
    heads = {}
    for model in MODELS:
        pairs = load_checkpoint(model).generation_config.alignment_heads
        assert pairs is not None, "the embedded checkpoints say which heads follow the audio"
        heads[model] = [list(pair) for pair in pairs]
        heads_file(place.weights(model)).write_text(json.dumps(heads[model]), encoding="utf-8")
    return heads


def choose_runs(arguments: argparse.Namespace) -> list[Run]:
    """Return the runs that the command line asks for."""
    runs = [
        run
        for run in all_runs(find_recordings(arguments.eval))
        if arguments.model in (None, run.model)
        and arguments.setting in (None, run.setting)
        and arguments.clip in run.clip.path
    ]
    if not runs:
        raise SystemExit("No recording: widen the filters.")
    return runs


def answer(place: Workplace, side: Side, runs: Sequence[Run]) -> None:
    """Have one side answer the runs that are not in the cache; one worker gets all runs of a recording.

    Raises:
        SystemExit: a worker failed.
    """
    started = []
    for index in range(place.workers):
        share = [run for run in runs if int(run.clip.sha256, 16) % place.workers == index]
        path = place.cache / f"words-{os.getpid()}-{index}.jsonl"
        write_lines(path, (run.to_dict() for run in share))
        arguments = [str(path), "--cache", str(place.cache)]
        if side == "reference":
            arguments += ["--ffmpeg", place.ffmpeg_version()]
        started.append((path, place.start(f"benchmarks.words.{side}", arguments, side=side)))
    codes = [process.wait() for _, process in started]
    for path, _ in started:
        path.unlink(missing_ok=True)
    if any(codes):
        raise SystemExit(f"The processes of {side!r} failed: exit codes {codes}.")


def find_reference(place: Workplace, run: Run, heads: dict[str, list[list[int]]]) -> Answer | None:
    """Return the reference's answer from the cache; None if it is not there."""
    weights, ffmpeg = place.weights_sha256(run.model), place.ffmpeg_version()
    question = words_question(run, weights=weights, ffmpeg=ffmpeg, heads=heads[run.model])
    return Store(place.cache / "answers").get(question)


if __name__ == "__main__":
    main()
