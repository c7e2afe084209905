"""Every error that whisperlite raises on purpose, but for a few of Python's own that the methods of its objects name:
`ValueError` of what is closed, of another process, or no such dict, `TimeoutError` of a wait that was limited.

    WhisperliteError
    ├── OptionError (ValueError)                an option's name, type, range or combination
    ├── AudioError
    │   ├── AudioNotFoundError (FileNotFoundError)
    │   ├── AudioDecodeError                    ffmpeg could not read it, or it holds no sound
    │   ├── AudioTooLongError                   it is longer than `max_duration_s`
    │   ├── AudioFormatError (ValueError)       samples of a wrong type, shape, rate or value
    │   └── FFmpegError                         no ffmpeg, or the wrong package named `ffmpeg`
    ├── ModelError
    │   ├── ModelNotFoundError                  no checkpoint of that name
    │   ├── DownloadError                       the Hub cannot be reached or refuses, or the cache cannot be written
    │   └── CheckpointError                     a checkpoint that is damaged or is not a Whisper
    ├── MissingPackageError (ImportError)       an optional package that an option needs is not installed
    ├── CancelledError                          a `CancelToken` was cancelled
    │   └── TimeoutExceededError (TimeoutError) `timeout_s` was over
    ├── DecodingError                           the network gave no usable answer
    ├── MemoryExceededError (MemoryError)       there is not enough memory to decode, or to read a recording
    ├── DeviceError                             the device failed: nothing more can be computed on it
    └── LanguageError (ValueError)              a language that Whisper, or this model, does not have

A message says what was received, what is allowed, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisperlite.results import Transcription


class WhisperliteError(Exception):
    """The root of all errors that whisperlite raises on purpose."""


class OptionError(WhisperliteError, ValueError):
    """An option has an unknown name, a wrong type or range, or contradicts another.

    Attributes:
        option: its name; None where it is not one option that is wrong.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class LanguageError(WhisperliteError, ValueError):
    """A language that Whisper, or the loaded model, does not have.

    Attributes:
        option: that named it; None where it is not known.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class MissingPackageError(WhisperliteError, ImportError):
    """An optional package that an option needs is not installed."""


class CancelledError(WhisperliteError):
    """A `CancelToken` was cancelled.

    Attributes:
        partial: what there was by then: a prefix of the whole result.
    """

    partial: Transcription | None = None


class TimeoutExceededError(CancelledError, TimeoutError):
    """`timeout_s` was over; `partial` is as in `CancelledError`."""


class DecodingError(WhisperliteError):
    """The network gave no usable answer: its probabilities are not finite.

    Attributes:
        partial: of a whole recording, what there was by then.
    """

    partial: Transcription | None = None


class MemoryExceededError(WhisperliteError, MemoryError):
    """There is not enough memory to decode, on the device or the host, or to read a recording."""


class DeviceError(WhisperliteError):
    """The device failed, as a GPU does after an illegal access: nothing more can be computed on it in this process."""


class AudioError(WhisperliteError):
    """The audio could not be read."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """There is no file at the path."""


class AudioDecodeError(AudioError):
    """ffmpeg could not read the file, or found no sound in it."""


class AudioTooLongError(AudioError):
    """The recording is longer than `max_duration_s`."""


class AudioFormatError(AudioError, ValueError):
    """Samples of a wrong type, shape, sampling rate or value."""


class FFmpegError(AudioError):
    """No ffmpeg binary, or the unrelated package `ffmpeg` in the place of `ffmpeg-python`."""


class ModelError(WhisperliteError):
    """The model could not be loaded."""


class ModelNotFoundError(ModelError):
    """No checkpoint of that name or path."""


class DownloadError(ModelError):
    """The model could not be downloaded: the Hub cannot be reached or refuses, or the cache cannot be written."""


class CheckpointError(ModelError):
    """The checkpoint is damaged, or is not a Whisper."""
