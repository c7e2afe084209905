"""Every error that whisperlite raises on purpose.

A few methods also raise built-in errors, as their docstrings say: `ValueError` if an object is closed or belongs to
another process, or a dict cannot be read, and `TimeoutError` if a wait took too long.

    WhisperliteError
    ├── OptionError (ValueError)                an option has a wrong name, type, range or combination
    ├── AudioError
    │   ├── AudioNotFoundError (FileNotFoundError)
    │   ├── AudioDecodeError                    ffmpeg could not read the file, or it has no sound
    │   ├── AudioTooLongError                   the recording is longer than `max_duration_s`
    │   ├── AudioFormatError (ValueError)       samples have a wrong type, shape, rate or value
    │   └── FFmpegError                         there is no ffmpeg, or the wrong package named `ffmpeg`
    ├── ModelError
    │   ├── ModelNotFoundError                  there is no checkpoint of that name
    │   ├── DownloadError                       the Hub cannot be reached or refuses, or the cache cannot be written
    │   └── CheckpointError                     the checkpoint is damaged, or is not a Whisper
    ├── MissingPackageError (ImportError)       an optional package that an option needs is not installed
    ├── CancelledError                          a `CancelToken` was cancelled
    │   └── TimeoutExceededError (TimeoutError) `timeout_s` was exceeded
    ├── DecodingError                           the network gave no usable answer
    ├── MemoryExceededError (MemoryError)       there is not enough memory to decode, or to read a recording
    ├── DeviceError                             the device failed: nothing more can be computed on it
    └── LanguageError (ValueError)              Whisper, or this model, does not have the language

Messages say what was received, what is allowed, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisperlite.results import Transcription


class WhisperliteError(Exception):
    """The base class of all errors that whisperlite raises on purpose."""


class OptionError(WhisperliteError, ValueError):
    """An option has an unknown name, a wrong type or range, or contradicts another.

    Attributes:
        option: the name of the option; None if the error is not about a single option.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class LanguageError(WhisperliteError, ValueError):
    """Whisper, or the loaded model, does not have the language.

    Attributes:
        option: the option that named the language; None if it is not known.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class MissingPackageError(WhisperliteError, ImportError):
    """An optional package that an option needs is not installed."""


class CancelledError(WhisperliteError):
    """A `CancelToken` was cancelled.

    Attributes:
        partial: the partial result, a prefix of the whole one; None if there is none.
    """

    partial: Transcription | None = None


class TimeoutExceededError(CancelledError, TimeoutError):
    """`timeout_s` was exceeded; `partial` is as in `CancelledError`."""


class DecodingError(WhisperliteError):
    """The network gave no usable answer: its probabilities are not finite.

    Attributes:
        partial: the partial result if a whole recording was being transcribed, else None.
    """

    partial: Transcription | None = None


class MemoryExceededError(WhisperliteError, MemoryError):
    """There is not enough memory, on the device or the host, to decode or to read a recording."""


class DeviceError(WhisperliteError):
    """The device failed, as a GPU does after an illegal access: nothing more can be computed on it in this process."""


class AudioError(WhisperliteError):
    """The audio could not be read."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """There is no audio file at the path."""


class AudioDecodeError(AudioError):
    """ffmpeg could not read the file, or found no sound in it."""


class AudioTooLongError(AudioError):
    """The recording is longer than `max_duration_s`."""


class AudioFormatError(AudioError, ValueError):
    """The samples have a wrong type, shape, sampling rate or value."""


class FFmpegError(AudioError):
    """There is no ffmpeg binary, or the unrelated package `ffmpeg` is installed in place of `ffmpeg-python`."""


class ModelError(WhisperliteError):
    """The model could not be loaded."""


class ModelNotFoundError(ModelError):
    """There is no checkpoint of that name or path."""


class DownloadError(ModelError):
    """The model could not be downloaded: the Hub cannot be reached or refuses, or the cache cannot be written."""


class CheckpointError(ModelError):
    """The checkpoint is damaged, or is not a Whisper."""
