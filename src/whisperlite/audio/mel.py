"""Samples → log-mel features (Radford et al. 2022, section 2.2), window by window, in memory bounded for any length.

The features of a recording are those of its samples followed by 30 s of zeros, clipped to 8 below the maximum *over
all of that*. So a first pass over the samples, in chunks, finds the maximum; windows are computed on demand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.audio.arrays import SAMPLE_RATE, as_float32
from whisperlite.errors import AudioFormatError, OptionError

N_FFT = 400  # 25 ms
HOP_LENGTH = 160  # 10 ms: one frame
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
WINDOW_FRAMES = 3000  # 30 s
WINDOW_SAMPLES = WINDOW_FRAMES * HOP_LENGTH

_CHUNK_FRAMES = 6000  # of the first pass, which takes about 20 MB
_DYNAMIC_RANGE = 8.0  # powers of ten below the recording's maximum

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]


@dataclass(eq=False)
class Features:
    """The log-mel features of one recording, computed lazily.

    Attributes:
        samples: mono, 16 kHz; int16 (scaled by 1/32768 on use) or float32 in [-1, 1]. Not copied.
        n_mels: 80 or 128.
        check: called before each chunk of the first pass; if it raises, the pass ends.
    """

    samples: Samples
    n_mels: int
    check: Callable[[], None] | None = None
    _floor: float | None = field(default=None, init=False)

    @property
    def content_frames(self) -> int:
        """The recording's length in whole frames of 10 ms."""
        return len(self.samples) // HOP_LENGTH

    def window(self, start_frame: int, n_frames: int) -> Window:
        """The window of `n_frames` ≤ 3000 frames from `start_frame` on, padded with 0 to 3000."""
        return Window(self, start_frame, n_frames)

    def detection_window(self, start_frame: int = 0) -> Window:
        """30 s of the recording *followed by silent samples*, which is what language detection takes."""
        return Window(self, start_frame, WINDOW_FRAMES)

    def find_floor(self) -> float:
        """Return the log10 power that lower values are clipped to. The first call makes the first pass."""
        if self._floor is None:
            self._floor = self._highest_log_power() - _DYNAMIC_RANGE
        return self._floor

    def _highest_log_power(self) -> float:
        total = self.content_frames + WINDOW_FRAMES
        peak = -math.inf
        for start in range(0, total, _CHUNK_FRAMES):
            if self.check is not None:
                self.check()
            peak = max(peak, self._log_power(start, min(_CHUNK_FRAMES, total - start)).max().item())
        return peak

    def _frames(self, start: int, count: int) -> Tensor:
        return (self._log_power(start, count).clamp(min=self.find_floor()) + 4.0) / 4.0

    def _log_power(self, start: int, count: int) -> Tensor:
        """The log10 mel power of frames [start, start + count), (n_mels, count)."""
        samples = self._slice(start * HOP_LENGTH - N_FFT // 2, (start + count - 1) * HOP_LENGTH + N_FFT // 2)
        spectrum = torch.stft(samples, N_FFT, HOP_LENGTH, window=_hann(), center=False, return_complex=True)
        with torch.autocast("cpu", enabled=False):  # the user's autocast would compute the product in bfloat16
            return (mel_filters(self.n_mels) @ spectrum.abs().square()).clamp(min=1e-10).log10()

    def _slice(self, start: int, end: int) -> Tensor:
        """Samples [start, end) in float32, mirrored before the recording begins and 0 after it ends."""
        if start < 0:
            beginning = self._slice(0, max(end, 1 - start))
            return torch.cat([beginning[1 : 1 - start].flip(0), beginning[:end]])
        scaled = as_tensor(self.samples[start:end])
        return F.pad(scaled, (0, end - start - len(scaled)))


def as_tensor(samples: Samples) -> Tensor:
    """Samples as a float32 tensor in [-1, 1]. Floats are copied only if torch needs it, as for read-only arrays."""
    return torch.from_numpy(np.require(as_float32(samples), requirements=("C", "W")))


@dataclass(frozen=True, slots=True)
class Window:
    """A span of a recording's features, which are computed when it is called."""

    features: Features
    start_frame: int
    n_frames: int

    def __call__(self) -> Tensor:
        """Compute the features, (n_mels, 3000) in float32.

        Frames after `n_frames` are 0 *in log-mel space*, as in the reference (`transcribe`, `pad_or_trim`): they do not
        look like silence, but the reference's tokens come from them.
        """
        if self.n_frames == 0:
            return torch.zeros(self.features.n_mels, WINDOW_FRAMES, dtype=torch.float32, device="cpu")
        frames = self.features._frames(self.start_frame, self.n_frames)
        return F.pad(frames, (0, WINDOW_FRAMES - self.n_frames))


def log_mel_spectrogram(samples: Samples, *, n_mels: int = 80) -> Tensor:
    """Compute the log-mel features of a whole recording at once.

    Args:
        samples: mono, 16 kHz, int16 or float32 in [-1, 1], shape (n_samples,), as returned by `load_audio`.
        n_mels: 80, or 128 for large-v3 and turbo.

    Returns:
        (n_mels, n_samples // 160 + 3000) in float32: the recording, followed by 30 s of silence.

    Raises:
        AudioFormatError: `samples` is anything else.
        OptionError: `n_mels` is another number.
    """
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        shown = f"{type(samples).__name__} of {getattr(samples, 'dtype', '?')}, shape {getattr(samples, 'shape', '?')}"
        raise AudioFormatError(f"{shown}: give mono samples, int16 or float32, as load_audio makes them of all else")
    features = Features(samples, n_mels)
    return features._frames(0, features.content_frames + WINDOW_FRAMES)


@cache
def _hann() -> Tensor:
    # The user may have set other defaults for dtype and device.
    return torch.hann_window(N_FFT, dtype=torch.float32, device="cpu")


@cache
def mel_filters(n_mels: int) -> Tensor:
    """Triangular filters on Slaney's mel scale, each of unit area, (n_mels, 201).

    The scale is linear below 1 kHz and logarithmic above it (Slaney, Auditory Toolbox, 1998); the same filters as
    `librosa.filters.mel(sr=16000, n_fft=400)`, with which Whisper was trained.
    """
    if n_mels not in (80, 128):
        raise OptionError(f"n_mels={n_mels}: Whisper has 80 or 128 mel bands.", option="n_mels")
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).clip(min=0.0)
    return torch.from_numpy((triangles * 2.0 / (upper - lower)).astype(np.float32))


_LINEAR_HERTZ_PER_MEL = 200.0 / 3.0
_LOG_START_HERTZ = 1000.0
_LOG_START_MEL = _LOG_START_HERTZ / _LINEAR_HERTZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _LOG_START_HERTZ:
        return hertz / _LINEAR_HERTZ_PER_MEL
    return float(_LOG_START_MEL + np.log(hertz / _LOG_START_HERTZ) / _LOG_STEP)


def _mel_to_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear = mels * _LINEAR_HERTZ_PER_MEL
    logarithmic = _LOG_START_HERTZ * np.exp(_LOG_STEP * (mels - _LOG_START_MEL))
    return np.where(mels < _LOG_START_MEL, linear, logarithmic)
