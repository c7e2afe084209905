"""One library's answers, kept in a store: `python -m benchmarks.peers.worker`, in that library's environment.

In: JSON lines, each a `request` and the `question` that its answer is kept under. An answer has `segments` (start, end,
text, language or None, and words or None), `fell_back` (something was sampled) and `seconds`, from samples to text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.parity.store import Answer, Question, Store, read_lines
from benchmarks.peers.requests import BEST_OF, HALLUCINATION_SILENCE_S, LADDER, Library, Request, Setting, read_wave

MOST_STEPS = 448  # the positions of a text

Transcribe = Callable[[np.ndarray, Request], Answer]


def load_whisperlite(cache: Path) -> Transcribe:  # noqa: ARG001 - it has its weights from its own package
    import whisperlite

    model = whisperlite.load_model("base", device="cpu", compute_type="float32")

    def transcribe(samples: np.ndarray, request: Request) -> Answer:
        options: dict[str, Any] = {"beam_size": 1, "best_of": BEST_OF, "language": request.language}
        options |= {"seed": request.seed, **_common(request.setting, logprob="logprob_threshold")}
        # What is off is left out: a version that does not have it yet can do the rest.
        for name, on in (("vad_filter", request.setting.vad), ("multilingual", request.setting.multilingual)):
            options |= {name: True} if on else {}
        result = model.transcribe(samples, **options)
        segments = [_segment(segment, getattr(segment, "language", None)) for segment in result.segments]
        return {"segments": segments, "fell_back": any(each.temperature > 0 for each in result.attempts)}

    return transcribe


def load_openai_whisper(cache: Path) -> Transcribe:
    model = _Remembering(cache)

    def transcribe(samples: np.ndarray, request: Request) -> Answer:
        options: dict[str, Any] = {"fp16": False, "best_of": BEST_OF, "language": request.language}
        options |= _common(request.setting, logprob="logprob_threshold")
        model.begin(request.seed)
        result = model.whisper.transcribe(model.model, samples, **options)
        segments = [
            {**{name: segment[name] for name in ("start", "end", "text")}, "language": None, "words": _words(segment)}
            for segment in result["segments"]
        ]
        return {"segments": segments, "fell_back": model.fell_back, "seconds": model.saved_s}

    return transcribe


class _Remembering:
    """openai-whisper's network with `decode` cached in a store, since settings and seeds share many windows.

    Where it samples, it uses whisperlite's random numbers for the same seed, window and attempt, so that the two do not
    differ by chance.
    """

    def __init__(self, cache: Path) -> None:
        reference = import_module("benchmarks.parity.reference")
        self.whisper: Any = import_module("whisper")
        self.draws = _Draws()
        import_module("whisper.decoding").Categorical = self.draws  # type: ignore[attr-defined]
        cutting: Any = import_module("whisper.transcribe")
        self._pad_or_trim, cutting.pad_or_trim = cutting.pad_or_trim, self._cut
        self.model, self.weights = reference.load_model(cache / "weights/base.npz")
        self.model.set_alignment_heads(self.whisper._ALIGNMENT_HEADS["base"])
        for block in self.model.decoder.blocks:
            block.cross_attn.qkv_attention = _shared_by_rows(block.cross_attn.qkv_attention)
        self.store = Store(cache / "peers-decoded")
        self._encoded = ("", torch.empty(0), 0.0)
        self._decode, self.model.decode = self.model.decode, self.decode

    def begin(self, seed: int) -> None:
        self.seed, self.seek, self.fell_back, self.saved_s = seed, 0, False, 0.0

    def _cut(self, mel: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """Call the library's own function, and note where the window begins, since `mel` is a view of all features."""
        assert mel.stride(0) >= mel.shape[1], "a part of the features, not a copy"
        self.seek = int(mel.storage_offset())
        window: torch.Tensor = self._pad_or_trim(mel, *arguments)
        return window

    def decode(self, mel: torch.Tensor, options: Any) -> Any:
        self.fell_back |= options.temperature > 0
        digest = hashlib.sha256(mel.contiguous().numpy().tobytes()).hexdigest()
        question: Question = {"kind": "decode", "mel": digest, "options": asdict(options), "weights": self.weights}
        rung = LADDER.index(options.temperature)
        drawn_from = (self.seed, self.seek, rung) if rung else None
        question |= {"whisper": self.whisper.__version__, "drawn_from": drawn_from}
        answer = self.store.get(question)
        if answer is None:
            self.draws.begin(drawn_from)
            encoded, encoding_s = self._encode(mel, digest)
            began = time.perf_counter()
            result = self._decode(encoded, options)
            answer = {**asdict(result), "seconds": time.perf_counter() - began + encoding_s}
            del answer["audio_features"], answer["language_probs"]
            self.store.put(question, answer)
        else:
            self.saved_s += answer["seconds"]
        known = {name: value for name, value in answer.items() if name != "seconds"}
        # `transcribe` reads no features from the result.
        return self.whisper.DecodingResult(audio_features=torch.empty(0), **known)

    def _encode(self, mel: torch.Tensor, digest: str) -> tuple[torch.Tensor, float]:
        """Return a window's encoding and the seconds that it took; the library itself encodes it for each attempt."""
        if self._encoded[0] == digest:
            self.saved_s += self._encoded[2]
        else:
            began = time.perf_counter()
            with torch.no_grad():
                states = self.model.embed_audio(mel[None])[0]
            self._encoded = (digest, states, time.perf_counter() - began)
        return self._encoded[1:]


class _Draws:
    """Replaces torch's `Categorical`: samples rows with the inverse of the distribution function."""

    def begin(self, drawn_from: tuple[int, ...] | None) -> None:
        """Draw uniforms as whisperlite does, one for each step and row."""
        if drawn_from is not None:
            random = np.random.Generator(np.random.Philox(np.random.SeedSequence(drawn_from)))
            self.uniforms = iter(random.random((MOST_STEPS, BEST_OF), dtype=np.float32))

    def __call__(self, logits: torch.Tensor) -> _Draws:
        self.distribution = logits.softmax(-1).cumsum(-1)
        return self

    def sample(self) -> torch.Tensor:
        totals = self.distribution[:, -1:]
        targets = torch.from_numpy(next(self.uniforms))[:, None] * totals
        return torch.searchsorted(self.distribution, targets, right=True)[:, 0]


def _shared_by_rows(attention: Callable[..., Any]) -> Callable[..., Any]:
    """Compute cross-attention of rows that share a window by reading the window's keys once, not once for each row.

    Only the order of summation differs. With five samples it is several times as fast.
    """

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
        n_rows, n_tokens, width = q.shape
        if n_rows == 1:
            return attention(q, k, v, mask)
        out, _ = attention(q.reshape(1, n_rows * n_tokens, width), k[:1], v[:1], mask)
        return out.reshape(n_rows, n_tokens, width), None

    return attend


def load_faster_whisper(cache: Path) -> Transcribe:
    random = import_module("ctranslate2")
    model = import_module("faster_whisper").WhisperModel(
        str(cache / "base-ct2"), device="cpu", compute_type="float32", cpu_threads=1, local_files_only=True
    )

    def transcribe(samples: np.ndarray, request: Request) -> Answer:
        options: dict[str, Any] = {"beam_size": 1, "best_of": BEST_OF, "language": request.language}
        options |= {"vad_filter": request.setting.vad, "multilingual": request.setting.multilingual}
        options |= _common(request.setting, logprob="log_prob_threshold")
        random.set_random_seed(request.seed)
        segments = list(model.transcribe(samples, **options)[0])
        fell_back = any(segment.temperature > 0 for segment in segments)
        return {"segments": [_segment(segment, None) for segment in segments], "fell_back": fell_back}

    return transcribe


LOADERS: dict[Library, Callable[[Path], Transcribe]] = {
    "whisperlite": load_whisperlite,
    "openai-whisper": load_openai_whisper,
    "faster-whisper": load_faster_whisper,
}


def _common(setting: Setting, *, logprob: str) -> dict[str, Any]:
    """Return the options that have the same names in all libraries, except one."""
    options: dict[str, Any] = {"temperature": LADDER}
    if not setting.thresholds:
        options = {"temperature": (0.0,), "compression_ratio_threshold": None, "no_speech_threshold": None}
        options[logprob] = None
    if setting.words:
        options["word_timestamps"] = True
    if setting.hallucination:
        options["hallucination_silence_threshold"] = HALLUCINATION_SILENCE_S
    return options


def _segment(segment: Any, language: str | None) -> dict[str, Any]:
    words = segment.words and [{"start": each.start, "end": each.end, "word": each.word} for each in segment.words]
    times = {"start": segment.start, "end": segment.end}
    return {**times, "text": segment.text, "language": language, "words": words or None}


def _words(segment: dict[str, Any]) -> list[dict[str, Any]] | None:
    words = [{name: each[name] for name in ("start", "end", "word")} for each in segment.get("words", ())]
    return words or None


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a cache with one library's answers.")
    parser.add_argument("library", choices=tuple(LOADERS))
    parser.add_argument("requests", type=Path, help="JSON lines")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transcribe = LOADERS[arguments.library](arguments.cache)
    store = Store(arguments.cache / "peers")
    started = time.monotonic()
    lines = list(read_lines(arguments.requests))
    for done, line in enumerate(lines):
        if store.get(line["question"]) is not None:
            continue
        request = Request.from_dict(line["request"])
        samples = read_wave(request.recording.path)
        began = time.perf_counter()
        answer = transcribe(samples, request)
        answer["seconds"] = answer.get("seconds", 0.0) + time.perf_counter() - began
        store.put(line["question"], json.loads(json.dumps(answer, default=float)))
        name = Path(request.recording.path).name
        flags = "+".join(flag for flag, on in asdict(request.setting).items() if on)
        print(
            f"{time.monotonic() - started:7.0f} s  {done + 1}/{len(lines)}  {request.library}  {name}  {flags}  "
            f"seed {request.seed}  {answer['seconds']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
