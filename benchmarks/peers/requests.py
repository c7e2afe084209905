"""What a library is asked: a recording, a setting, a seed."""

from __future__ import annotations

import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Library = Literal["whisperlite", "openai-whisper", "faster-whisper"]
LIBRARIES: tuple[Library, ...] = ("whisperlite", "openai-whisper", "faster-whisper")
LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5
HALLUCINATION_SILENCE_S = 2.0
SAMPLING_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to call any of the libraries.

    Attributes:
        thresholds: the three thresholds at their defaults with the whole ladder; False: temperature 0 and none of them.
        vad: voice activity detection cuts silence out first, with the library's own defaults.
        words: word timestamps.
        hallucination: hallucination_silence_threshold of 2 s; needs `words`.
        multilingual: the language is detected anew in every window.
    """

    thresholds: bool = True
    vad: bool = False
    words: bool = False
    hallucination: bool = False
    multilingual: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """A WAV file of 16 kHz, mono, 16 bits, which all libraries read alike, and its SHA-256."""

    path: str
    sha256: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Request:
    """One recording through one library.

    Attributes:
        language: None: the library detects it.
        seed: of what is sampled where a window falls back.
    """

    library: Library
    recording: Recording
    language: str | None
    setting: Setting
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Request:
        made = {"recording": Recording(**data["recording"]), "setting": Setting(**data["setting"])}
        return cls(**{**data, **made})


def read_wave(path: str | Path) -> np.ndarray:
    """Return the samples of a WAV file, float32 in [-1, 1)."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return samples.astype(np.float32) / 32768


def write_wave(path: Path, samples: np.ndarray) -> None:
    """Write samples in [-1, 1) with 16 bits; samples that were read from 16 bits do not change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
