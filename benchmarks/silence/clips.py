"""The recordings of an evaluation folder that the benchmark listens to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import whisperlite
from benchmarks.parity.store import read_lines
from benchmarks.peers.desk import Desk
from benchmarks.peers.requests import SAMPLING_RATE, Recording

SOUNDS = ("silence", "noise", "tones", "music")
LANGUAGES = ("en", "pt", "fr", "de", "es", "ru")  # that `base` is good at
LONGEST_SOUND_S = 30.0
SHORT_CLIPS = 6  # of each language


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and the truth about it.

    Attributes:
        group: one of `SOUNDS`, where nobody speaks, or "speech".
        lang: of the speech; "en", which the libraries are told, where there is none.
        truth: what is said; "" where nothing is.
    """

    file: str
    group: str
    lang: str
    truth: str
    recording: Recording


def find_clips(folder: Path, desk: Desk) -> list[Clip]:
    """The hard negatives (the beginning of each), and the speech, of which short clips are sampled."""
    lines = list(read_lines(folder / "manifest.jsonl"))
    chosen = [line for line in lines if group_of(line) in SOUNDS]
    chosen += [line for line in lines if group_of(line) == "speech" and line["kind"] in ("noise", "long")]
    for lang in LANGUAGES:
        short = [
            line
            for line in lines
            if group_of(line) == "speech" and line["lang"] == lang and line["kind"] in ("short", "multilingual")
        ]
        chosen += sorted(short, key=_mixed)[:SHORT_CLIPS]
    return [_clip(folder, line, desk) for line in chosen]


def group_of(line: dict[str, Any]) -> str:
    """The group of a line of the manifest; "": it is left out."""
    if line["kind"] == "song":
        return ""
    if line["lang"]:
        return "speech" if line["lang"] in LANGUAGES and line["text"].strip() else ""
    # Tones are noise to the manifest, and have a folder of their own.
    return "tones" if "/tones/" in line["file"] else str(line["kind"])


def _clip(folder: Path, line: dict[str, Any], desk: Desk) -> Clip:
    samples = whisperlite.load_audio(folder / line["file"])
    group = group_of(line)
    if group != "speech":
        samples = samples[: round(LONGEST_SOUND_S * SAMPLING_RATE)]
    recording = desk.record(line["file"].replace("/", "--"), samples)
    return Clip(line["file"], group, line["lang"] or "en", line["text"] if group == "speech" else "", recording)


def _mixed(line: dict[str, Any]) -> str:
    return hashlib.sha256(line["file"].encode()).hexdigest()
