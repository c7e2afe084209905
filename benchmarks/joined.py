"""Recordings made of others: where speech begins and ends in a clip, and clips joined by pauses, the truth known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.requests import SAMPLING_RATE

PEAK = 0.5
_FRAME = SAMPLING_RATE // 50  # 20 ms
_STEADY_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance and its place in a recording, from `start` to `end` in seconds."""

    start: float
    end: float
    text: str
    lang: str


def find_speech(samples: np.ndarray) -> tuple[float, float]:
    """Return where speech begins and ends in a clip of one utterance, in seconds.

    Speech is what lies above half of the way, in decibels, from the clip's quiet frames to its loud ones: breath and
    the handling of a microphone lie below.

    Raises:
        ValueError: no frames are above that level for 60 ms.
    """
    n_frames = len(samples) // _FRAME
    frames = samples[: n_frames * _FRAME].astype(np.float64).reshape(n_frames, _FRAME)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    quiet, loud = np.percentile(level_db, [5, 95])
    quiet = max(quiet, loud - 60)
    above = level_db > (quiet + loud) / 2
    steady = np.flatnonzero(np.convolve(above, np.ones(_STEADY_FRAMES), mode="valid") == _STEADY_FRAMES)
    if not len(steady):
        raise ValueError("nothing in the clip is louder than the rest")
    seconds = _FRAME / SAMPLING_RATE
    return float(steady[0] * seconds), float((steady[-1] + _STEADY_FRAMES) * seconds)


def join(
    clips: Sequence[tuple[np.ndarray, str, str]], pauses: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[Utterance]]:
    """Join clips with a pause after each but the last; every clip is scaled to the same peak.

    Returns the samples and the utterances in them.

    Args:
        clips: (samples, text, language).
        pauses: the samples of each pause.
    """
    parts: list[np.ndarray] = []
    utterances = []
    at = 0
    for index, (samples, text, lang) in enumerate(clips):
        start, end = find_speech(samples)
        utterances.append(Utterance(at / SAMPLING_RATE + start, at / SAMPLING_RATE + end, text, lang))
        parts.append(samples * (PEAK / max(float(np.abs(samples).max()), 1e-6)))
        parts += [pauses[index]] if index < len(clips) - 1 else []
        at += sum(map(len, parts[-2:])) if index < len(clips) - 1 else len(samples)
    return np.concatenate(parts).astype(np.float32), utterances


def overlap(start: float, end: float, utterance: Utterance) -> float:
    """Return the seconds that a span shares with an utterance, or minus the gap between them."""
    return min(end, utterance.end) - max(start, utterance.start)
