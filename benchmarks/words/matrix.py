"""Which runs are compared: every recording, those without speech too.

`base` hears all of them and `tiny.en` those that are not in another language: greedy, in the language given, at
temperature 0 only. Long recordings, and those without speech, are heard once more with a threshold of silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parity.matrix import MODELS, Clip, Run, run_question
from benchmarks.parity.store import Question, file_sha256, read_lines

SETTINGS: dict[str, dict[str, Any]] = {"words": {}, "silence-threshold": {"hallucination_silence_threshold": 2.0}}
LONG_S = 30.0
FORM = 1  # of the reference's answers


@dataclass(frozen=True, slots=True)
class Recording:
    """A line of the manifest; a recording without speech counts as English."""

    clip: Clip
    seconds: float
    has_speech: bool


def find_recordings(evaluation: Path) -> list[Recording]:
    """Return every recording of an evaluation folder."""
    return [
        Recording(
            Clip(str(evaluation / line["file"]), file_sha256(evaluation / line["file"]), line["lang"] or "en"),
            float(line["seconds"]),
            has_speech=bool(line["lang"]),
        )
        for line in read_lines(evaluation / "manifest.jsonl")
    ]


def all_runs(recordings: Sequence[Recording]) -> list[Run]:
    """Return every run, recording by recording, since the runs of one share much."""
    return [
        Run(each.clip, model, setting, {"language": each.clip.lang, "beam_size": None, "word_timestamps": True, **more})
        for model in MODELS
        for each in recordings
        if model == "base" or each.clip.lang == "en"
        for setting, more in SETTINGS.items()
        if setting == "words" or each.seconds > LONG_S or not each.has_speech
    ]


def words_question(run: Run, *, weights: str, ffmpeg: str, heads: Sequence[Sequence[int]]) -> Question:
    """Return the key of the reference's answer to a run.

    Args:
        weights: their SHA-256.
        ffmpeg: the version line of the ffmpeg that decodes the recording.
        heads: (layer, head) of each attention head that the words are aligned by.
    """
    question = run_question(run, weights=weights, ffmpeg=ffmpeg, ladder="words")
    return {**question, "alignment_heads": heads, "form": FORM}


def heads_file(weights: Path) -> Path:
    """Return the path for the alignment heads of exported weights."""
    return weights.with_suffix(".heads.json")
