"""whisperlite's word times, in the form of `reference`'s: `python -m benchmarks.words.ours`, in its own environment."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch

import whisperlite
from benchmarks.parity.matrix import Run
from benchmarks.parity.store import Answer, Question, Store, read_lines
from benchmarks.source import source_sha256


def our_question(run: Run) -> Question:
    """The key of our answer to a run."""
    return {"kind": "ours/words", "source": source_sha256(__file__), **run.to_dict()}


def answer_run(model: whisperlite.Whisper, run: Run) -> Answer:
    """A transcription, greedy, at temperature 0 only."""
    result = model.transcribe(run.clip.path, **run.options, temperature=(0.0,))
    segments = [
        {
            **{name: getattr(segment, name) for name in ("seek", "start", "end", "text")},
            "tokens": list(segment.tokens),
            "words": [asdict(word) for word in segment.words or ()],
        }
        for segment in result.segments
    ]
    # One attempt each.
    return {"seeks": [attempt.seek for attempt in result.attempts], "segments": segments, "duration": result.duration}


def answer_all(runs: list[Run], cache: Path) -> None:
    """Fill the store of a cache folder with our answers to the runs that it lacks."""
    store = Store(cache / "ours")
    models: dict[str, whisperlite.Whisper] = {}
    started = time.monotonic()
    for done, run in enumerate(runs):
        question = our_question(run)
        if store.get(question) is None:
            if run.model not in models:
                models[run.model] = whisperlite.load_model(run.model, device="cpu", compute_type="float32")
            store.put(question, answer_run(models[run.model], run))
            print(f"{time.monotonic() - started:7.0f} s  {done + 1}/{len(runs)}  ours  {run.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill the cache with whisperlite's word times.")
    parser.add_argument("runs", type=Path, help="JSON lines, one run each")
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    answer_all([Run.from_dict(line) for line in read_lines(arguments.runs)], arguments.cache)


if __name__ == "__main__":
    main()
