"""openai-whisper's answers, kept in a store: `python -m benchmarks.parity.reference`, in the reference's environment.

Each run goes through the reference's own `transcribe`, its ladder of temperatures in force. Its `decode` and encoder
are watched from outside: what a window was asked and answered is recorded, and what was answered before is taken from
the store (at temperature 0 it can't differ). Once a window falls back, what follows is random: the run ends there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import ModelDimensions, Whisper

from benchmarks.parity.matrix import LADDER, Run, run_question
from benchmarks.parity.store import Answer, Question, Store, read_lines

BEST_OF = 5  # as whisperlite, and the reference on its command line
_RESULT_FIELDS = ("tokens", "text", "avg_logprob", "compression_ratio", "no_speech_prob", "temperature", "language")


class FellBackError(Exception):
    """The reference asked for a temperature above 0."""


def load_model(weights: Path) -> tuple[Whisper, str]:
    """Return the reference's network with exported weights, in float32, and the weights' SHA-256."""
    facts = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    model = Whisper(ModelDimensions(**facts["dims"]))
    with np.load(weights, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
    model.load_state_dict(state, strict=True)
    return model.eval(), facts["sha256"]


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


class Watched:
    """A model whose `decode`, `detect_language` and encoder are recorded and remembered."""

    def __init__(self, weights: Path, store: Store) -> None:
        self.model, self.weights = load_model(weights)
        self.store = store
        self.windows: list[dict[str, Any]] = []
        self.asked: list[tuple[torch.Tensor, DecodingOptions]] = []
        self.detected: Answer | None = None
        self.stop_at_fallback = True
        self._encoded: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._encode, self._decode = self.model.encoder.forward, self.model.decode
        self._detect = self.model.detect_language
        self.model.encoder.forward = self.encode
        self.model.decode = self.decode
        self.model.detect_language = self.detect_language

    def begin(self, *, stop_at_fallback: bool) -> None:
        self.windows, self.asked, self.detected, self.stop_at_fallback = [], [], None, stop_at_fallback

    def encode(self, mel: torch.Tensor) -> torch.Tensor:
        key = digest(mel)
        if key not in self._encoded:
            self._encoded[key] = self._encode(mel)
            if len(self._encoded) > 32:
                self._encoded.popitem(last=False)
        return self._encoded[key]

    def detect_language(self, mel: torch.Tensor) -> tuple[None, dict[str, float]]:
        question = self._question("detect", mel, {})
        answer = self.store.get(question)
        if answer is None:
            _, probs = self._detect(mel)
            answer = {"probs": probs}
            self.store.put(question, answer)
        probs = answer["probs"]
        language = max(probs, key=probs.get)
        self.detected = {"language": language, "probability": probs[language]}
        return None, probs

    def decode(self, mel: torch.Tensor, options: DecodingOptions) -> DecodingResult:
        if options.temperature > 0:
            self.windows[-1]["decision"] = "falls back"
            if self.stop_at_fallback:
                raise FellBackError
            return self._decode(mel, options)
        question = self._question("decode", mel, asdict(options))
        answer = self.store.get(question)
        if answer is None:
            result = self._decode(mel, options)
            answer = {name: getattr(result, name) for name in _RESULT_FIELDS}
            self.store.put(question, answer)
        seek = _locals_of_transcribe(sys._getframe())["seek"]
        self.asked.append((mel, options))
        self.windows.append({"seek": seek, "mel": digest(mel), "prompt": list(options.prompt or ()), **answer})
        # `transcribe` reads no features from the result.
        return DecodingResult(audio_features=torch.empty(0), **answer)

    def _question(self, kind: str, mel: torch.Tensor, options: dict[str, Any]) -> Question:
        versions = {"whisper": whisper.__version__, "weights": self.weights}
        return {"kind": kind, "mel": digest(mel), "options": options, **versions}


def answer_run(model: Watched, run: Run, audio: np.ndarray, *, ladder: str) -> Answer:
    """Return the reference's answer to a run.

    Args:
        ladder: "stop" ends at the first window that falls back; "full" goes on, sampling from the run's seed.
    """
    model.begin(stop_at_fallback=ladder == "stop")
    torch.manual_seed(run.seed)
    options = {**run.options, "fp16": False, "temperature": LADDER, "best_of": BEST_OF}
    try:
        result = whisper.transcribe(model.model, audio, **options)
        segments, language = result["segments"], result["language"]
        fell_back = False
    except FellBackError as error:
        seen = _locals_of_transcribe(error.__traceback__)
        segments, language = seen["all_segments"], seen["language"]
        fell_back = True
    _decide(model.windows, segments)
    return {
        "windows": model.windows,
        "segments": segments,
        "language": language,
        "detected": model.detected,
        "fell_back": fell_back,
    }


def _decide(windows: list[dict[str, Any]], segments: list[dict[str, Any]]) -> None:
    """Note the outcome of each window: all but those skipped as silence leave a segment, even if it is empty."""
    kept = {segment["seek"] for segment in segments}
    for window in windows:
        window.setdefault("decision", "accepted" if window["seek"] in kept else "skipped")


def _locals_of_transcribe(at: FrameType | TracebackType | None) -> dict[str, Any]:
    """Return the local variables of the running `transcribe`: outwards from a frame, or inwards along a traceback."""
    while at is not None:
        frame = at if isinstance(at, FrameType) else at.tb_frame
        if frame.f_code.co_name == "transcribe":
            return frame.f_locals
        at = at.f_back if isinstance(at, FrameType) else at.tb_next
    raise LookupError("not inside whisper.transcribe")


def answer_all(runs: list[Run], cache: Path, *, ffmpeg: str, ladder: str) -> None:
    """Answer the runs that are not in the store of a cache folder."""
    store = Store(cache / "answers")
    models: dict[str, Watched] = {}
    audio: tuple[str, np.ndarray] = ("", np.zeros(0))
    started = time.monotonic()
    for done, run in enumerate(runs):
        if run.model not in models:
            models[run.model] = Watched(cache / "weights" / f"{run.model}.npz", store)
        model = models[run.model]
        question = run_question(run, weights=model.weights, ffmpeg=ffmpeg, ladder=ladder)
        if store.get(question) is not None:
            continue
        if audio[0] != run.clip.path:
            audio = (run.clip.path, whisper.load_audio(run.clip.path))
        store.put(question, answer_run(model, run, audio[1], ladder=ladder))
        print(f"{time.monotonic() - started:7.0f} s  {done + 1}/{len(runs)}  {run.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill the cache with openai-whisper's answers to a list of runs.")
    parser.add_argument("runs", type=Path, help="JSON lines, one run each")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--ffmpeg", required=True, help="the version line of the ffmpeg that is on PATH")
    parser.add_argument("--ladder", choices=("stop", "full"), default="stop")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = [Run.from_dict(line) for line in read_lines(arguments.runs)]
    answer_all(runs, arguments.cache, ffmpeg=arguments.ffmpeg, ladder=arguments.ladder)


if __name__ == "__main__":
    main()
