"""Which recordings are transcribed: single ones of several lengths, a long one, and a folder of short clips."""

from __future__ import annotations

import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import whisperlite
from benchmarks.parity.environment import DATA
from benchmarks.parity.matrix import read_manifest
from benchmarks.peers.requests import SAMPLING_RATE, write_wave

_LENGTHS_S = (6.0, 14.0, 60.0)  # of which the nearest clean clips are chosen
_LONG_S = 190.0
_FOLDER_SIZE = 16
_FOLDER_S = (2.0, 16.0)
_DAMAGED = ("variants", "pauses", "short")  # folders of clips that were made from other recordings


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of English speech and its true text."""

    path: str
    truth: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Subject:
    """The files of one request: a recording, or a folder of them."""

    name: str
    recordings: tuple[Recording, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(recording.path for recording in self.recordings)

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    Attributes:
        single: of several lengths, the shortest first.
        long: some minutes; None without an evaluation folder.
        folder: short clips; None without an evaluation folder.
    """

    single: tuple[Subject, ...]
    long: Subject | None
    folder: Subject | None

    @property
    def longest(self) -> Subject:
        return self.long or self.single[-1]


def choose(evaluation: Path | None) -> Chosen:
    """Choose the project's own recordings, and clean ones from the evaluation folder."""
    single = [_own(path) for path in sorted(DATA.glob("*.wav"))]
    if evaluation is None:
        print("There is no evaluation folder: only the project's own recordings are transcribed.", file=sys.stderr)
        return Chosen(tuple(map(_alone, single)), None, None)
    evaluation = evaluation.resolve()
    clean = [
        (Recording(line["file"], line["text"], line["seconds"]), line["kind"])
        for line in read_manifest(evaluation)
        if line["lang"] == "en" and line["kind"] in ("short", "long")
        if Path(line["file"]).relative_to(evaluation).parts[1] not in _DAMAGED
    ]
    of_any_kind = [each for each, _ in clean]
    single += [_nearest(of_any_kind, seconds) for seconds in _LENGTHS_S]
    long = _nearest([each for each, kind in clean if kind == "long"], _LONG_S)
    short = [each for each in of_any_kind if _FOLDER_S[0] <= each.seconds <= _FOLDER_S[1]]
    # Spread over the whole list, for many voices.
    clips = [short[index * len(short) // _FOLDER_SIZE] for index in range(min(_FOLDER_SIZE, len(short)))]
    single.sort(key=lambda each: each.seconds)
    return Chosen(tuple(map(_alone, single)), _alone(long), Subject(f"{len(clips)} clips", tuple(clips)))


def _nearest(recordings: Sequence[Recording], seconds: float) -> Recording:
    return min(recordings, key=lambda each: abs(each.seconds - seconds))


def _own(path: Path) -> Recording:
    with wave.open(str(path), "rb") as file:
        seconds = file.getnframes() / file.getframerate()
    return Recording(str(path), path.with_suffix(".txt").read_text(encoding="utf-8"), seconds)


def _alone(recording: Recording) -> Subject:
    return Subject(Path(recording.path).name, (recording,))


def of_length(recording: Recording, seconds: float, folder: Path) -> Recording:
    """Cut or repeat a recording to a length; it has no true text then."""
    target = folder / f"{Path(recording.path).stem}-{seconds:g}s.wav"
    if not target.exists():
        samples = whisperlite.load_audio(recording.path)
        write_wave(target, np.resize(samples, round(seconds * SAMPLING_RATE)))
    return Recording(str(target), "", seconds)
