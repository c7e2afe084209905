"""Any source of sound → mono samples at 16 kHz.

In: a path, the bytes of a media file, a binary file object, a numpy array or a torch tensor. Out: an `Audio`, with
warnings about damaged or missing parts, or an error that says what to do. Files are decoded by ffmpeg (`ffmpeg.py`).
"""

from __future__ import annotations

import inspect
import io
import math
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from whisperlite.audio import ffmpeg
from whisperlite.audio.arrays import SAMPLE_RATE, as_float32, is_tensor, read_array, tensor_to_array
from whisperlite.audio.containers import is_cut_ogg
from whisperlite.errors import (
    AudioDecodeError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLongError,
    WhisperliteError,
)

if TYPE_CHECKING:
    import torch

# A string, because evaluating it would import torch, which a caller without tensors does not need.
AudioSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | npt.NDArray[Any] | torch.Tensor"
)


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """One recording: mono, 16 kHz."""

    # int16 as decoded by ffmpeg, where a sample is value / 32768: half the memory of float32, and lossless.
    # float32 in [-1, 1] if the user passed samples.
    samples: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


def load_audio(source: AudioSource, *, sampling_rate: int | None = None) -> npt.NDArray[np.float32]:
    """Read a recording as mono samples at 16 kHz, which is what Whisper takes.

    Args:
        source: the path of a media file (a file name, never an address); the content of one, as bytes or as a binary
            file object, which is read from its current position; or samples, as a numpy array or a torch tensor on
            any device: float16, float32 or float64 in [-1, 1], int16, int32 or uint8 in their full range, of shape
            (samples,), (channels, samples) or (samples, channels). The shorter axis is taken for the channels, at
            most 32, which are averaged.
        sampling_rate: the rate of samples, in Hz, 1000 to 768000; 16000 if not given. Files state their own.

    Returns:
        Samples (n,), float32 in [-1, 1]. For a file, they are exactly those of openai-whisper's `load_audio` with the
        same ffmpeg. An array that has this form already is returned as it is, not copied. A `UserWarning` is issued if
        parts of the recording are damaged or missing, its sound begins late, or it has several sound tracks.

    Raises:
        AudioNotFoundError: there is no such file.
        AudioDecodeError: there is no sound in it, it cannot be read, or the `read` of a file object raised an error.
        AudioFormatError: samples of a wrong type, shape, rate or value, or a source of another type.
        FFmpegError: ffmpeg is needed and missing.
    """
    audio = read_audio(source, sampling_rate=sampling_rate)
    for text in audio.warnings:
        warnings.warn(text, stacklevel=2)
    return as_float32(audio.samples)


def read_audio(
    source: AudioSource,
    *,
    sampling_rate: int | None = None,
    check: ffmpeg.Check = None,
    max_duration_s: float | None = None,
) -> Audio:
    """Like `load_audio`, but return warnings as values, and a file's samples as ffmpeg's int16.

    `check` is called while reading; if it raises, ffmpeg is killed and temporary files are removed. A recording longer
    than `max_duration_s` raises an `AudioTooLongError`, for a file as soon as more than that has been decoded.
    """
    # The product may overflow to infinity.
    most_samples = None if max_duration_s is None else math.floor(min(max_duration_s * SAMPLE_RATE, sys.maxsize))
    audio = _read(source, sampling_rate, check, most_samples)
    if max_duration_s is not None and audio.duration > max_duration_s:
        raise AudioTooLongError(
            f"the recording is longer than max_duration_s={max_duration_s:g}: cut it, or allow more"
        )
    return audio


def _read(source: AudioSource, sampling_rate: int | None, check: ffmpeg.Check, most_samples: int | None) -> Audio:
    if isinstance(source, np.ndarray):
        return Audio(*read_array(source, sampling_rate, check))
    if is_tensor(source):
        return Audio(*read_array(tensor_to_array(source), sampling_rate, check))
    if sampling_rate is not None:
        raise AudioFormatError(
            f"sampling_rate={sampling_rate!r} was given with a file, which carries its own rate: leave it out"
        )
    if isinstance(source, (str, os.PathLike)):
        return _from_path(os.fsdecode(source), check, most_samples)
    if isinstance(source, (bytes, bytearray, memoryview)):
        try:
            content = source.tobytes() if isinstance(source, memoryview) else source
        except ValueError as error:
            raise AudioFormatError(f"this memoryview holds no bytes any more: {error}") from error
        return _from_content(io.BytesIO(content), "the bytes given", check, most_samples)
    if hasattr(source, "read"):
        return _from_content(source, "the file object given", check, most_samples)
    raise AudioFormatError(
        f"cannot read audio from {type(source).__name__}: give a path, bytes, a binary file object, a numpy array "
        "or a torch tensor"
    )


def _from_path(path: str, check: ffmpeg.Check, most_samples: int | None) -> Audio:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would turn "" into "." and drop a trailing slash
    except PermissionError as error:
        raise AudioDecodeError(f"{path!r} may not be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        hint = " (whisperlite opens files only: download it first)" if "://" in path else ""
        raise AudioNotFoundError(f"there is no file {path!r}{hint}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioDecodeError(f"{path!r} is a directory: give the path of one media file in it")
    # In a pipe or a device ffmpeg could not seek, and to its process a name like /dev/stdin means another file.
    if not stat.S_ISREG(status.st_mode) or path.startswith(("/dev/", "/proc/")):
        try:
            with Path(path).open("rb") as pipe:
                return _from_content(pipe, repr(path), check, most_samples)
        except WhisperliteError:
            raise
        except OSError as error:
            raise AudioDecodeError(f"{path!r} could not be read: {error}") from error
    return _decode(Path(path).absolute(), status.st_size, repr(path), check, most_samples)


def _from_content(file: BinaryIO, name: str, check: ffmpeg.Check, most_samples: int | None) -> Audio:
    """Decode content through a temporary file: formats such as m4a need seeking, which a pipe does not allow."""
    with ExitStack() as held:
        try:
            path = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="whisperlite-")), "audio")
            with path.open("wb") as copy:
                while chunk := _next_bytes(file, name):
                    copy.write(chunk)
                    if check is not None:
                        check()
        except WhisperliteError:  # raised by `check`: one of its errors is a TimeoutError, and so an OSError
            raise
        except UnicodeDecodeError as error:
            raise AudioFormatError(f"{name} gives no bytes: open it in binary mode, 'rb'") from error
        except OSError as error:
            raise AudioDecodeError(f"{name} could not be copied to a temporary file: {error}") from error
        if path.stat().st_size == 0 and (position := _position(file)) > 0:
            raise AudioDecodeError(f"{name}: nothing follows its position, byte {position}: seek(0) first?")
        if missing := _undelivered_bytes(file):
            raise AudioDecodeError(f"{name}: {missing} bytes are missing, the download was cut off: try again")
        return _decode(path, path.stat().st_size, name, check, most_samples)


def _position(file: BinaryIO) -> int:
    """The current position of a file object; 0 if it has none."""
    with suppress(Exception):  # a broken stream may raise anything
        position: object = file.tell()
        if isinstance(position, int):
            return position
    return 0


def _undelivered_bytes(file: object) -> int:
    """The number of bytes that an HTTP response announced but did not deliver; its `read` does not report them."""
    http = sys.modules.get("http.client")  # imported by anyone who has a response
    if http is not None and isinstance(file, http.HTTPResponse):
        return int(file.length or 0)
    remaining = getattr(file, "length_remaining", None)  # urllib3's, and so that of `requests.get(…, stream=True).raw`
    return remaining if isinstance(remaining, int) else 0


def _next_bytes(file: BinaryIO, name: str) -> bytes:
    """Read only what a pipe has available: waiting for the full size could not be interrupted."""
    size = 1 << 20
    try:
        # Only for this very class: others, and its subclasses, may implement only `read`.
        if type(file) is io.BufferedReader:
            # `read1` returns b"" both at the end and if a non-blocking stream has nothing yet; `read` returns None in
            # the latter case. On a terminal, it would ask the user to end the input twice.
            found: Any = file.read1(size) or (b"" if file.isatty() else file.read(1))
        else:
            found = file.read(size)
    except (WhisperliteError, MemoryError, UnicodeDecodeError):
        raise
    # A broken stream may raise anything, such as gzip's EOFError or http.client's HTTPException.
    except Exception as error:
        if isinstance(error, TypeError) and not _takes_size(file.read):
            raise AudioFormatError(f"{name} has a `read` that takes no size: give what `read()` returns") from error
        raise AudioDecodeError(f"{name} could not be read: {type(error).__name__}: {error}") from error
    if inspect.iscoroutine(found):
        found.close()
        raise AudioFormatError("the file object given is asynchronous: give what `await file.read()` returns")
    if found is None:
        raise AudioDecodeError(f"{name} is non-blocking and has nothing to read yet: make it blocking, or give bytes")
    return found if isinstance(found, bytes) else _as_bytes(found, name)


def _takes_size(read: Callable[..., object]) -> bool:
    try:
        inspect.signature(read).bind(1)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        pass
    return True


def _as_bytes(found: object, name: str) -> bytes:
    try:
        return memoryview(found).tobytes()  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise AudioFormatError(f"{name} gives no bytes: open it in binary mode, 'rb'") from error


def _decode(path: Path, size: int, name: str, check: ffmpeg.Check, most_samples: int | None) -> Audio:
    if size == 0:
        raise AudioDecodeError(f"{name}: empty, 0 bytes")
    samples, report = ffmpeg.decode_file(path, SAMPLE_RATE, check, most_samples)
    if most_samples is not None and len(samples) > most_samples:
        return Audio(samples)  # too long, and not read to its end
    if len(samples) == 0:
        raise AudioDecodeError(f"{name}: {_why_silent(report)}")
    return Audio(samples, tuple(_warnings(path, report, len(samples) / SAMPLE_RATE)))


_NOTABLE_DELAY_S = 0.1
_FILL_GAPS = "`ffmpeg -i FILE -af aresample=async=1:first_pts=0 FILE.wav` fills gaps with silence"


def _warnings(path: Path, report: ffmpeg.Report, duration_s: float) -> Iterator[str]:
    if report.problems or report.returncode != 0:
        yield f"parts of the recording may be missing or damaged; ffmpeg reported: {report.summary}"
    contents = report.contents
    if contents.duration_s is not None:
        missing_s = contents.duration_s - contents.track_start_s - duration_s
        found = f"its header says {contents.duration_s:.2f} s, {duration_s:.2f} s could be decoded"
        # Encoders round durations to a packet, and some include their own delay.
        if contents.is_one_track and missing_s > 0.5 + 0.001 * contents.duration_s:
            if contents.has_timestamps:
                yield f"the file ended early or has gaps: {found}; times after a gap are too early, and {_FILL_GAPS}"
            else:
                yield f"the file ended early: {found}"
        # Sound may be shorter than the pictures on purpose.
        elif not contents.is_one_track and missing_s > max(5.0, 0.1 * contents.duration_s):
            yield f"the sound ends before the file, begins late or has gaps: {found} of the sound; {_FILL_GAPS}"
    if contents.track_start_s > _NOTABLE_DELAY_S:
        yield (
            f"the sound begins {contents.track_start_s:.2f} s after the file, so all times are that much too early; "
            f"{_FILL_GAPS}"
        )
    if contents.n_tracks > 1:
        yield (
            f"the file has {contents.n_tracks} sound tracks, and 0:a:{contents.track} was transcribed; "
            "for another one: `ffmpeg -i FILE -map 0:a:N FILE.wav`"
        )
    if is_cut_ogg(path):
        yield "the file ended early: its last Ogg page is incomplete"


def _why_silent(report: ffmpeg.Report) -> str:
    if report.says("Format not on whitelist"):
        return "a playlist or script that names other files: give the media file itself"
    if report.says("does not contain any stream"):
        return "there is no audio stream in it (a video without sound, or an image)"
    if report.returncode == 0:
        return "there is an audio stream in it, but not one sample: the recording is empty or its header is damaged"
    return f"ffmpeg cannot read it as audio: {report.summary}"
