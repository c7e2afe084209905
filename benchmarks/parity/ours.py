"""whisperlite's answers, in the form of `reference`'s: `python -m benchmarks.parity.ours`, in its own environment.

The session is driven by hand, as any driver may: its asks and their answers are the record. What an engine answers
depends on the ask alone, so that runs of one clip share answers, as on the other side.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import whisperlite
from benchmarks.parity.matrix import LADDER, Run
from benchmarks.parity.store import Answer, Question, Store, read_lines
from benchmarks.source import source_sha256
from whisperlite.audio.load import read_audio
from whisperlite.audio.mel import Features, Window
from whisperlite.decoding.asks import Answer as EngineAnswer
from whisperlite.decoding.asks import Ask, Decode, Decoded, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine
from whisperlite.options import make_options
from whisperlite.transcription.session import Accepted, Session, session


class Model:
    """One checkpoint in float32, and the recording that it is at work on."""

    def __init__(self, name: str) -> None:
        model = whisperlite.load_model(name, device="cpu", compute_type="float32")
        self.tokenizer, self.dims = model.tokenizer, model.dims
        self.engine = Engine(model.network, model.tokenizer)
        self.path = ""
        self._remembered: dict[Any, EngineAnswer] = {}
        self._encoded: dict[tuple[int, int], Encoding] = {}

    def session(self, run: Run) -> Session:
        if self.path != run.clip.path:
            self.path, self.audio = run.clip.path, read_audio(run.clip.path)
            self.features = Features(self.audio.samples, self.dims.n_mels)
            self._remembered, self._encoded = {}, {}
        options = make_options({**run.options, "temperature": LADDER, "seed": run.seed})
        return session(self.features, options, self.tokenizer, duration=self.audio.duration, model=run.model)

    def answer(self, ask: Ask) -> EngineAnswer:
        assert isinstance(ask.window, Window), "sessions ask about places in their features"
        place = (ask.window.start_frame, ask.window.n_frames)
        asked: tuple[Any, ...] = ()
        if isinstance(ask, Decode):
            asked = (ask.prompt, ask.strategy, ask.timestamps, ask.max_new_tokens, ask.suppressed, ask.seed)
        if (place, asked) not in self._remembered:
            if place not in self._encoded:
                [self._encoded[place]] = self.engine.encode([ask.window])
            [self._remembered[place, asked]] = self.engine.run([replace(ask, encoding=self._encoded[place])])
        return self._remembered[place, asked]


@dataclass
class Record:
    """What happened in one run."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    detected: Answer | None = None
    fell_back: bool = False

    def note(self, ask: Ask, answer: EngineAnswer) -> None:
        if isinstance(answer, Detected):
            language, probability = max(answer.probabilities.items(), key=lambda item: item[1])
            self.detected = {"language": language, "probability": probability}
        elif isinstance(ask, Decode) and isinstance(answer, Decoded) and answer.temperature == 0:
            assert isinstance(ask.window, Window), "sessions ask about places in their features"
            start = ask.prompt.sot_index
            window: dict[str, Any] = {"seek": ask.window.start_frame, "prompt": list(ask.prompt.tokens[1:start])}
            for name in ("text", "avg_logprob", "compression_ratio", "no_speech_prob"):
                window[name] = getattr(answer, name)
            self.windows.append({**window, "tokens": list(answer.tokens)})

    def accept(self, event: Accepted) -> None:
        self.windows[-1].setdefault("decision", "accepted" if event.segments else "skipped")
        for segment in event.segments:
            each = {name: getattr(segment, name) for name in ("seek", "start", "end", "text", "temperature")}
            self.segments.append({**each, "tokens": list(segment.tokens)})


def answer_run(model: Model, run: Run, *, ladder: str) -> Answer:
    """What whisperlite makes of a run; the arguments and the answer are those of `reference.answer_run`."""
    record = Record()
    steps = model.session(run)
    reply: EngineAnswer | None = None
    language = run.options["language"] or "en"  # what an English-only model has, where nothing is detected
    try:
        while True:
            event = steps.send(reply)
            if isinstance(event, Accepted):
                record.accept(event)
                reply = None
                continue
            if isinstance(event, Decode) and event.strategy.temperature > 0:
                record.windows[-1]["decision"] = "falls back"
                record.fell_back = True
                if ladder == "stop":
                    steps.close()
                    break
            reply = model.answer(event)
            record.note(event, reply)
    except StopIteration as end:
        language = end.value.language
    if record.detected is not None:
        language = record.detected["language"]
    return {
        "windows": record.windows,
        "segments": record.segments,
        "language": language,
        "detected": record.detected,
        "fell_back": record.fell_back,
        "duration": model.audio.duration,
    }


def run_question(run: Run, *, ladder: str) -> Question:
    """The key of our answer to a run."""
    return {"kind": f"ours/{ladder}", "source": source_sha256(__file__), **run.to_dict()}


def answer_all(runs: list[Run], cache: Path, *, ladder: str) -> None:
    """Fill the store of a cache folder with our answers to the runs that it lacks."""
    store = Store(cache / "ours")
    models: dict[str, Model] = {}
    started = time.monotonic()
    for done, run in enumerate(runs):
        question = run_question(run, ladder=ladder)
        if store.get(question) is None:
            if run.model not in models:
                models[run.model] = Model(run.model)
            store.put(question, answer_run(models[run.model], run, ladder=ladder))
            print(f"{time.monotonic() - started:7.0f} s  {done + 1}/{len(runs)}  ours  {run.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill the cache with whisperlite's answers to a list of runs.")
    parser.add_argument("runs", type=Path, help="JSON lines, one run each")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--ladder", choices=("stop", "full"), default="stop")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = [Run.from_dict(line) for line in read_lines(arguments.runs)]
    answer_all(runs, arguments.cache, ladder=arguments.ladder)


if __name__ == "__main__":
    main()
