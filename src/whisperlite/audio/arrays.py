"""Samples in a numpy array or a torch tensor → mono samples at 16 kHz."""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whisperlite.audio import ffmpeg
from whisperlite.errors import AudioDecodeError, AudioFormatError

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

SAMPLE_RATE = 16_000
MAX_CHANNELS = 32
RATES = range(1_000, 768_001)


def is_tensor(source: object) -> TypeIs[torch.Tensor]:
    # A caller who has a tensor has imported torch; nobody else should wait for that import.
    return "torch" in sys.modules and isinstance(source, sys.modules["torch"].Tensor)


def tensor_to_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type
        tensor = tensor.float()
    try:
        return np.asarray(tensor.cpu().resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise AudioFormatError(f"samples cannot be taken from this tensor, give a dense one: {error}") from error


# Full scale and zero point of the integer formats.
_INTEGERS = {"int16": (32768.0, 0.0), "int32": (2147483648.0, 0.0), "uint8": (128.0, 128.0)}
_FLOATS = ("float16", "float32", "float64")


def read_array(
    samples: npt.NDArray[Any], sampling_rate: int | None, check: ffmpeg.Check
) -> tuple[npt.NDArray[np.int16] | npt.NDArray[np.float32], tuple[str, ...]]:
    """Check samples and convert them to mono at 16 kHz.

    Returns:
        Samples (n,), int16 or float32 in [-1, 1], not copied if they have this form already; and warnings.

    Raises:
        AudioFormatError: samples of a wrong type, shape, rate or value.
        AudioDecodeError: there are none.
        FFmpegError: ffmpeg is needed to resample them, and is missing or failed.
    """
    rate = _checked_rate(sampling_rate)
    if np.ma.is_masked(samples):
        raise AudioFormatError("samples that are masked have no value: fill them first")
    samples = np.asarray(samples)  # not a matrix, which keeps two dimensions in every operation
    _check_form(samples)
    found: tuple[str, ...] = ()
    if samples.dtype.name in _FLOATS and (peak := _checked_peak(samples)) > 2.0:
        found = (f"samples reach {peak:g}, where [-1, 1] is full scale: divide them by the full scale of their format",)
    mono = _to_mono(samples)
    if rate != SAMPLE_RATE:
        mono = ffmpeg.resample(as_float32(mono), rate, SAMPLE_RATE, check)
        if len(mono) == 0:
            raise AudioDecodeError(f"samples of shape {samples.shape} at {rate} Hz are too short to resample")
    return mono, found


def _checked_rate(sampling_rate: int | None) -> int:
    if sampling_rate is None:
        return SAMPLE_RATE
    try:
        rate = operator.index(sampling_rate)
    except TypeError:
        rate = 0
    if isinstance(sampling_rate, bool) or rate not in RATES:
        raise AudioFormatError(
            f"sampling_rate={sampling_rate!r}: give a whole number of Hz from {RATES[0]} to {RATES[-1]}"
        )
    return rate


def _check_form(samples: npt.NDArray[Any]) -> None:
    name, shape = samples.dtype.name, samples.shape
    if name not in _INTEGERS and name not in _FLOATS:
        raise AudioFormatError(f"samples of type {name}: give one of {', '.join([*_FLOATS, *_INTEGERS])}")
    if len(shape) not in (1, 2):
        raise AudioFormatError(f"samples of shape {shape}: give (samples,), (channels, samples) or (samples, channels)")
    if samples.size == 0:
        raise AudioDecodeError(f"samples of shape {shape}: there is no sound in an empty array")
    if len(shape) == 2 and min(shape) > MAX_CHANNELS:
        raise AudioFormatError(
            f"samples of shape {shape} would be {min(shape)} channels: at most {MAX_CHANNELS} are taken"
        )


def _checked_peak(samples: npt.NDArray[Any]) -> float:
    """Return the largest magnitude, without a large temporary array, and refuse samples that are not finite."""
    with np.errstate(invalid="ignore"):
        peak = max(abs(float(samples.min())), abs(float(samples.max())))  # NaN if any sample is
    limit = float(np.finfo(np.float32).max)
    if not peak <= limit:
        wrong = np.argwhere(~(np.abs(samples.astype(np.float64)) <= limit))
        place = tuple(wrong[0].tolist())
        raise AudioFormatError(
            f"samples[{', '.join(map(str, place))}] is {float(samples[place])} ({len(wrong)} of {samples.size} samples "
            "are not finite float32 numbers): remove or replace them"
        )
    return peak


def _to_mono(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16] | npt.NDArray[np.float32]:
    """Average channels → (n,), int16 if mono samples are int16, else float32 in [-1, 1]; copied only if needed."""
    name = samples.dtype.name
    if 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim == 1 and name == "int16":
        return np.ascontiguousarray(samples, dtype=np.int16)
    if samples.ndim == 2:
        channels = int(samples.shape[0] > samples.shape[1])  # their axis, the first if both are equally long
        samples = samples.mean(axis=channels, dtype=np.result_type(samples.dtype, np.float32))
    if name in _FLOATS:
        with np.errstate(under="ignore"):  # tiny samples become 0, whatever the program has set
            return np.ascontiguousarray(samples, dtype=np.float32)
    scale, zero = _INTEGERS[name]
    scaled: npt.NDArray[np.float32] = samples.astype(np.float32)
    scaled -= np.float32(zero)
    scaled /= np.float32(scale)
    return scaled


def as_float32(samples: npt.NDArray[np.int16] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Samples as float32 in [-1, 1]. Floats are not copied, so it may be the caller's array, and read-only."""
    if samples.dtype == np.float32:
        return samples.astype(np.float32, copy=False)
    scaled: npt.NDArray[np.float32] = samples.astype(np.float32)
    scaled /= np.float32(32768)
    return scaled
