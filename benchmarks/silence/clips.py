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
LANGUAGES = ("en", "pt", "fr", "de", "es", "ru")  # in which `base` is good
LONGEST_SOUND_S = 30.0
SHORT_CLIPS = 6  # of each language


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is said in it.

    Attributes:
        group: one of `SOUNDS`, where nobody speaks, or "speech".
        lang: the language of the speech; "en" where nobody speaks, since the libraries are given a language.
        truth: what is said; "" where nobody speaks.
    """

    file: str
    group: str
    lang: str
    truth: str
    recording: Recording


def find_clips(folder: Path, desk: Desk) -> list[Clip]:
    """Return the beginnings of the recordings without speech, all long speech, and a sample of short speech clips."""
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
    """Return the group of a line of the manifest; "" if it is not used."""
    if line["kind"] == "song":
        return ""
    if line["lang"]:
        return "speech" if line["lang"] in LANGUAGES and line["text"].strip() else ""
    # The manifest calls tones noise, but they are in a folder of their own.
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
