"""Every clip of an evaluation folder in a pool, with mixed options: the tokens that it gets alone.

The folder is $WHISPERLITE_EVAL, or the one beside the project, as for the benchmarks.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

import whisperlite
from benchmarks.parity.environment import evaluation_folder
from whisperlite import OptionsDict, Transcription

# They go round among the clips. Where no language is named it is heard.
OPTIONS: list[OptionsDict] = [
    {"beam_size": 1},
    {"beam_size": 1, "word_timestamps": True},
    {"beam_size": 5, "language": "en"},
    {"temperature": 0.6, "best_of": 3, "seed": 7, "language": "en"},
    {"beam_size": 1, "task": "translate"},
    {"beam_size": 2, "multilingual": True},
    {"beam_size": 1, "without_timestamps": True, "condition_on_previous_text": False},
    {"beam_size": 1, "vad_filter": True, "word_timestamps": True},
    {"beam_size": 3, "temperature": (0.0, 0.4), "logprob_threshold": -0.3, "best_of": 2},
]


@dataclass(frozen=True)
class Clip:
    path: str
    options: OptionsDict
    alone: Transcription

    @property
    def name(self) -> str:
        return f"{Path(self.path).name} {json.dumps(self.options)}"


@pytest.fixture(scope="module")
def clips(base: whisperlite.Whisper) -> list[Clip]:
    folder = evaluation_folder()
    if folder is None:
        pytest.skip("there is no evaluation folder: set WHISPERLITE_EVAL")
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    paths = [str(folder / json.loads(line)["file"]) for line in lines]
    began = time.monotonic()
    found = [Clip(path, options, base.transcribe(path, **options)) for path, options in zip(paths, cycle(OPTIONS))]
    print(f"{len(found)} clips alone: {time.monotonic() - began:.0f} s")
    return found


def difference(one: Transcription, other: Transcription) -> str:
    """Where they part; nothing where texts, tokens and what was passed over are equal."""
    for number, (mine, theirs) in enumerate(zip(one.segments, other.segments, strict=False)):
        if (mine.text, mine.tokens) != (theirs.text, theirs.tokens):
            return f"segment {number} at {mine.start:.2f} s: {mine.text!r}, alone {theirs.text!r}"
    if len(one.segments) != len(other.segments):
        return f"{len(one.segments)} segments, alone {len(other.segments)}"
    if (one.language, one.skipped) != (other.language, other.skipped):
        return f"{one.language} {one.skipped}, alone {other.language} {other.skipped}"
    return ""


@pytest.mark.parametrize("batch_size", [1, 2, 8, 16])
def test_a_pool_gives_every_clip_what_it_gets_alone(
    base: whisperlite.Whisper, clips: list[Clip], batch_size: int
) -> None:
    shuffled = random.Random(batch_size).sample(clips, len(clips))
    began = time.monotonic()
    with base.pool(batch_size) as pool:
        jobs = [pool.submit(clip.path, **clip.options) for clip in shuffled]
        results = [job.result() for job in jobs]
    differing = {
        clip.name: what
        for clip, result in zip(shuffled, results, strict=True)
        if (what := difference(result, clip.alone))
    }
    print(f"{batch_size} together: {time.monotonic() - began:.0f} s, {len(differing)} differ")
    for name, what in sorted(differing.items()):
        print(f"  {name}: {what}")
    assert differing == {}


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[2]])
def test_one_after_the_other_they_come_in_their_order(
    base: whisperlite.Whisper, clips: list[Clip], options: OptionsDict
) -> None:
    """Those clips that were transcribed with these options alone."""
    chosen = [clip for clip in clips if clip.options == options]
    results = list(base.transcribe_many([clip.path for clip in chosen], batch_size=8, **options))
    for clip, result in zip(chosen, results, strict=True):
        assert isinstance(result, Transcription)
        assert difference(result, clip.alone) == "", clip.name
