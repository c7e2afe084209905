"""openai-whisper's word times, as published and corrected: `python -m benchmarks.words.reference`, in its environment.

Each run goes through the reference's own `transcribe` several times: as published, and with each combination of the
corrections below. What it decodes and aligns is remembered, so that only what a correction changes is computed anew.

- `13`: the limit on a long first word after a pause takes the middle of the second word, not half of its end's time.
- `float32-dtw`: the costs of dynamic time warping are summed in float64; the sums decide between paths.
- `12`: weights that are not finite, because their standard deviation is 0, count as 0. Only where there are any.

A window that begins where the one before it began (`24`) ends the run: the reference would go on for ever.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
import whisper
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult

from benchmarks.parity.matrix import Run
from benchmarks.parity.reference import Watched, digest
from benchmarks.parity.store import Answer, Store, read_lines
from benchmarks.words.matrix import heads_file, words_question

timing: Any = importlib.import_module("whisper.timing")
transcription: Any = importlib.import_module("whisper.transcribe")

Corrections = frozenset[str]
Costs = npt.NDArray[np.float64]


class StuckError(Exception):
    """The reference asked for the window that it had just had."""


class WatchedWords(Watched):
    """A model whose alignments are remembered too, with the corrections that are in force."""

    def __init__(self, weights: Path, store: Store) -> None:
        super().__init__(weights, store)
        heads = json.loads(heads_file(weights).read_text(encoding="utf-8"))
        mask = torch.zeros(self.model.dims.n_text_layer, self.model.dims.n_text_head, dtype=torch.bool)
        for layer, head in heads:
            mask[layer, head] = True
        self.model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        self.heads = heads
        self.corrections: Corrections = frozenset()
        self.saw_not_finite = False
        self._aligned: dict[Any, list[Any]] = {}
        self._align, self._dtw, self._filter = timing.find_alignment, timing.dtw, timing.median_filter

    def forget(self) -> None:
        """Forget what was remembered, before another recording."""
        self._aligned = {}

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        result = super().decode(mel, options)
        if len(self.windows) > 1 and self.windows[-1]["seek"] <= self.windows[-2]["seek"]:
            self.windows.pop()
            raise StuckError
        return result

    @contextmanager
    def corrected(self, corrections: Corrections) -> Iterator[None]:
        """Apply these corrections to the reference's module of word times for the length of the block."""
        self.corrections, self.saw_not_finite = corrections, False
        with ExitStack() as stack:
            for name in ("find_alignment", "median_filter", "dtw"):
                stack.enter_context(patch.object(timing, name, getattr(self, name)))
            if "13" in corrections:
                stack.enter_context(patch.object(transcription, "add_word_timestamps", with_durations()))
            yield

    def find_alignment(self, model: Any, tokenizer: Any, text: list[int], mel: Tensor, n_frames: int) -> list[Any]:
        key = (digest(mel), tuple(tokenizer.sot_sequence), tuple(text), n_frames, self.corrections - {"13"})
        if key not in self._aligned:
            self._aligned[key] = self._align(model, tokenizer, text, mel, n_frames)
        # What comes after writes into them.
        return [replace(word, tokens=list(word.tokens)) for word in self._aligned[key]]

    def median_filter(self, weights: Tensor, width: int) -> Tensor:
        finite = weights.isfinite()
        self.saw_not_finite |= not bool(finite.all())
        if "12" in self.corrections:
            weights = torch.where(finite, weights, 0.0)
        filtered: Tensor = self._filter(weights, width)
        return filtered

    def dtw(self, costs: Tensor) -> npt.NDArray[np.int64]:
        if "float32-dtw" in self.corrections:
            return cheapest_path(costs.double().numpy())
        path: npt.NDArray[np.int64] = self._dtw(costs)
        return path


def with_durations() -> Callable[..., None]:
    """Return `add_word_timestamps` with one line of its source corrected, which halves a time."""
    wrong = 'max(words[1]["end"] / 2, '
    right = 'max((words[1]["start"] + words[1]["end"]) / 2, '
    source = inspect.getsource(timing.add_word_timestamps)
    if source.count(wrong) != 1:
        raise SystemExit(f"openai-whisper {whisper.__version__} is not the release whose word times are known.")
    # Its names are looked up in its module, where `corrected` puts others.
    defined: dict[str, Any] = {}
    exec(source.replace(wrong, right), timing.__dict__, defined)
    function: Callable[..., None] = defined["add_word_timestamps"]
    return function


def cheapest_path(costs: Costs) -> npt.NDArray[np.int64]:
    """Find the path of dynamic time warping, with sums in float64 and the reference's choice between equal ones.

    Args:
        costs: (tokens, frames).

    Returns:
        (2, steps): the path's tokens and frames.
    """
    n, m = costs.shape
    sums = np.full((n + 1, m + 1), np.inf)
    moves = np.full((n + 1, m + 1), 2)
    sums[0, 0] = 0.0
    # Along a diagonal, nothing depends on anything else.
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        both, token, frame = sums[i - 1, j - 1], sums[i - 1, j], sums[i, j - 1]
        move = np.where((both < token) & (both < frame), 0, np.where((token < both) & (token < frame), 1, 2))
        sums[i, j] = costs[i - 1, j - 1] + np.choose(move, [both, token, frame])
        moves[i, j] = move
    moves[:, 0], moves[0, :] = 1, 2
    path = []
    at, frame_at = n, m
    while at > 0 or frame_at > 0:
        path.append((at - 1, frame_at - 1))
        move_back = moves[at, frame_at]
        at -= move_back != 2
        frame_at -= move_back != 1
    return np.array(path[::-1]).T


def answer_run(model: WatchedWords, run: Run, audio: npt.NDArray[np.float32]) -> Answer:
    """Return the reference's answers to a run: names of corrections → the answer with them."""
    answer: Answer = {}
    known = ["13", "float32-dtw"]
    for corrections in subsets(known):
        answer["+".join(corrections)] = answer_variant(model, run, audio, frozenset(corrections))
    if any(variant["not_finite"] for variant in answer.values()):
        for corrections in subsets(known):
            names = ("12", *corrections)
            answer["+".join(names)] = answer_variant(model, run, audio, frozenset(names))
    return answer


def subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Return all subsets, the smaller ones first."""
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def answer_variant(model: WatchedWords, run: Run, audio: npt.NDArray[np.float32], corrections: Corrections) -> Answer:
    """Transcribe once, greedily, at temperature 0 only."""
    model.begin(stop_at_fallback=True)
    stuck = False
    with model.corrected(corrections):
        try:
            segments = whisper.transcribe(model.model, audio, **run.options, fp16=False, temperature=0.0)["segments"]
        except StuckError as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            inside = next(frame for frame in frames if frame.f_code is transcription.transcribe.__code__)
            segments, stuck = inside.f_locals["all_segments"], True
    names = ("seek", "start", "end", "text", "tokens", "words")
    return {
        "seeks": [window["seek"] for window in model.windows],
        "segments": [{name: segment[name] for name in names} for segment in segments],
        "stuck": stuck,
        "not_finite": model.saw_not_finite,
    }


def answer_all(runs: list[Run], cache: Path, *, ffmpeg: str) -> None:
    """Answer the runs that are not in the store of a cache folder."""
    store = Store(cache / "answers")
    models: dict[str, WatchedWords] = {}
    path, audio = "", np.zeros(0, np.float32)
    started = time.monotonic()
    for done, run in enumerate(runs):
        if run.model not in models:
            models[run.model] = WatchedWords(cache / "weights" / f"{run.model}.npz", store)
        model = models[run.model]
        question = words_question(run, weights=model.weights, ffmpeg=ffmpeg, heads=model.heads)
        if store.get(question) is not None:
            continue
        if path != run.clip.path:
            path, audio = run.clip.path, whisper.load_audio(run.clip.path)
            for each in models.values():
                each.forget()
        store.put(question, answer_run(model, run, audio))
        print(f"{time.monotonic() - started:7.0f} s  {done + 1}/{len(runs)}  {run.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill the cache with openai-whisper's word times.")
    parser.add_argument("runs", type=Path, help="JSON lines, one run each")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--ffmpeg", required=True, help="the version line of the ffmpeg that is on PATH")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    answer_all([Run.from_dict(line) for line in read_lines(arguments.runs)], arguments.cache, ffmpeg=arguments.ffmpeg)


if __name__ == "__main__":
    main()
