"""Samples → log-mel features (Radford et al. 2022, section 2.2), window by window, in memory bounded for any length.

The features of a recording are those of its samples followed by 30 s of zeros, clipped to 8 below their maximum *over
all of that*. So a first pass over the samples, in chunks, finds the maximum; the windows are computed when asked for.
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

_CHUNK_FRAMES = 6000  # of the first pass: about 20 MB at work
_DYNAMIC_RANGE = 8.0  # in powers of ten, below the maximum of the recording

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]


@dataclass(eq=False)
class Features:
    """The log-mel features of one recording, computed lazily.

    Attributes:
        samples: mono, 16 kHz; int16 (scaled by 1/32768 on use) or float32 in [-1, 1]. Referred to, not copied.
        n_mels: 80 or 128.
        check: called between the chunks of the first pass, which it may end by raising.
    """

    samples: Samples
    n_mels: int
    check: Callable[[], None] | None = None
    _floor: float | None = field(default=None, init=False)

    @property
    def content_frames(self) -> int:
        """Frames of 10 ms that the recording covers."""
        return len(self.samples) // HOP_LENGTH

    def window(self, start_frame: int, n_frames: int) -> Window:
        """The window of `n_frames` ≤ 3000 frames from `start_frame` on; what lacks to 3000 is filled with 0."""
        return Window(self, start_frame, n_frames)

    def detection_window(self, start_frame: int = 0) -> Window:
        """30 s of the recording *followed by silent samples*: what language detection looks at."""
        return Window(self, start_frame, WINDOW_FRAMES)

    def find_floor(self) -> float:
        """The smallest log10 power that is told apart. Who asks first makes the first pass: at the latest a window."""
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
        """log10 of the mel power of frames [start, start + count), (n_mels, count)."""
        samples = self._slice(start * HOP_LENGTH - N_FFT // 2, (start + count - 1) * HOP_LENGTH + N_FFT // 2)
        spectrum = torch.stft(samples, N_FFT, HOP_LENGTH, window=_hann(), center=False, return_complex=True)
        with torch.autocast("cpu", enabled=False):  # the user's would have the product in bfloat16
            return (mel_filters(self.n_mels) @ spectrum.abs().square()).clamp(min=1e-10).log10()

    def _slice(self, start: int, end: int) -> Tensor:
        """Samples [start, end) in float32: mirrored before the beginning, zero after the end."""
        if start < 0:
            beginning = self._slice(0, max(end, 1 - start))
            return torch.cat([beginning[1 : 1 - start].flip(0), beginning[:end]])
        scaled = as_tensor(self.samples[start:end])
        return F.pad(scaled, (0, end - start - len(scaled)))


def as_tensor(samples: Samples) -> Tensor:
    """Samples in float32, in [-1, 1]; without a copy where torch can do without, as it cannot of read-only arrays."""
    return torch.from_numpy(np.require(as_float32(samples), requirements=("C", "W")))


@dataclass(frozen=True, slots=True)
class Window:
    """A place in a recording's features; calling it computes them."""

    features: Features
    start_frame: int
    n_frames: int

    def __call__(self) -> Tensor:
        """(n_mels, 3000) in float32.

        Frames past `n_frames` are 0 *in log-mel space*, as in the reference (`transcribe`, `pad_or_trim`): that is not
        what silence looks like, but it is what its tokens come from.
        """
        if self.n_frames == 0:
            return torch.zeros(self.features.n_mels, WINDOW_FRAMES, dtype=torch.float32, device="cpu")
        frames = self.features._frames(self.start_frame, self.n_frames)
        return F.pad(frames, (0, WINDOW_FRAMES - self.n_frames))


def log_mel_spectrogram(samples: Samples, *, n_mels: int = 80) -> Tensor:
    """The log-mel features of a whole recording at once.

    Args:
        samples: mono, 16 kHz, int16 or float32 in [-1, 1], shape (n_samples,), as `load_audio` gives them.
        n_mels: 80, or 128 for large-v3 and turbo.

    Returns:
        (n_mels, n_samples // 160 + 3000) in float32: the recording and the 30 s of silence behind it.

    Raises:
        AudioFormatError: something else than such samples.
        OptionError: another number of bands.
    """
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        shown = f"{type(samples).__name__} of {getattr(samples, 'dtype', '?')}, shape {getattr(samples, 'shape', '?')}"
        raise AudioFormatError(f"{shown}: give mono samples, int16 or float32, as load_audio makes them of all else")
    features = Features(samples, n_mels)
    return features._frames(0, features.content_frames + WINDOW_FRAMES)


@cache
def _hann() -> Tensor:
    # Not the process's default type and device, which are the user's to set.
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
