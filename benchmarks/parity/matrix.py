"""Which runs are compared: every speech clip, under one setting for each decoding and each factor varied on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from benchmarks.parity.store import Question, file_sha256, read_lines

REFERENCE_VERSION = "20250625"
LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MODELS = ("base", "tiny.en")
DECODINGS: dict[str, dict[str, Any]] = {"greedy": {"beam_size": None}, "beam5": {"beam_size": 5}}
# Each differs from the first in one option. The last is for clips that are not in English.
FACTORS: dict[str, dict[str, Any]] = {
    "plain": {},
    "detected": {"language": None},
    "no-timestamps": {"without_timestamps": True},
    "no-previous-text": {"condition_on_previous_text": False},
    "prompt": {"initial_prompt": "A recording of someone speaking, written down word for word."},
    "translate": {"task": "translate"},
}


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of speech: its file, the SHA-256 of that file, and its language."""

    path: str
    sha256: str
    lang: str


@dataclass(frozen=True, slots=True)
class Run:
    """One recording through one model under one setting.

    Attributes:
        options: keyword arguments of both libraries' `transcribe`, without the temperatures.
        seed: seed for sampling when a window falls back; the two libraries draw different numbers from it.
    """

    clip: Clip
    model: str
    setting: str
    options: dict[str, Any]
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.model} {self.setting} {Path(self.clip.path).name}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Run:
        return cls(**{**data, "clip": Clip(**data["clip"])})


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of `manifest.jsonl` that are speech, with `file` as a full path."""
    for line in read_lines(folder / "manifest.jsonl"):
        if line["lang"] and line["kind"] != "song":
            yield {**line, "file": str(folder / line["file"])}


def find_clips(evaluation: Path | None, data: Path) -> list[Clip]:
    """Return the speech clips of the evaluation folder (if any) and of the project, in a fixed but shuffled order."""
    clips = [_clip(Path(line["file"]), line["lang"]) for line in (read_manifest(evaluation) if evaluation else ())]
    clips += [_clip(path, "en") for path in sorted(data.glob("*.wav"))]
    return sorted(clips, key=lambda clip: clip.sha256)


def _clip(path: Path, lang: str) -> Clip:
    return Clip(str(path), file_sha256(path), lang)


def all_runs(clips: Iterable[Clip]) -> list[Run]:
    """Return every run, clip by clip, since the runs of a clip share encoder output and many windows."""
    return [
        Run(clip, model, f"{decoding}/{factor}", {"language": clip.lang, **DECODINGS[decoding], **FACTORS[factor]})
        for clip in clips
        for model in MODELS
        if model == "base" or clip.lang == "en"
        for factor in FACTORS
        if factor != "translate" or clip.lang != "en"
        for decoding in DECODINGS
    ]


def run_question(run: Run, *, weights: str, ffmpeg: str, ladder: str) -> Question:
    """Return the key of the reference's answer to a run, which has everything that the answer depends on.

    Args:
        weights: their SHA-256.
        ffmpeg: the version line of the ffmpeg that decodes the clip.
        ladder: "stop" or "full", as `reference.answer_run` takes it.
    """
    return {
        "kind": f"run/{ladder}" if run.seed == 0 else f"run/{ladder}/{run.seed}",
        "audio": run.clip.sha256,
        "ffmpeg": ffmpeg,
        "weights": weights,
        "options": run.options,
        "whisper": REFERENCE_VERSION,
    }


def sample(runs: Iterable[Run], size: int) -> list[Run]:
    """Choose `size` runs, always the same ones, equally many of each model and setting."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=_mixed):
        groups.setdefault((run.model, run.setting), []).append(run)
    rounds = chain.from_iterable(zip_longest(*groups.values()))
    chosen = [run for run in rounds if run is not None][:size]
    return sorted(chosen, key=lambda run: run.clip.sha256)


def _mixed(run: Run) -> str:
    return hashlib.sha256(f"{run.clip.sha256} {run.model} {run.setting}".encode()).hexdigest()
