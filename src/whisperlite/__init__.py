"""whisperlite: OpenAI's Whisper in pure PyTorch.

    import whisperlite
    result = whisperlite.transcribe("talk.mp3")

Importing it is cheap: torch is imported by the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from whisperlite import forks as _forks  # noqa: F401 - registers its hook before any fork
from whisperlite.cancel import CancelToken
from whisperlite.errors import (
    AudioDecodeError,
    AudioError,
    AudioFormatError,
    AudioNotFoundError,
    AudioTooLongError,
    CancelledError,
    CheckpointError,
    DecodingError,
    DeviceError,
    DownloadError,
    FFmpegError,
    LanguageError,
    MemoryExceededError,
    MissingPackageError,
    ModelError,
    ModelNotFoundError,
    OptionError,
    TimeoutExceededError,
    WhisperliteError,
)
from whisperlite.languages import LANGUAGES
from whisperlite.options import Options, OptionsDict
from whisperlite.results import (
    Attempt,
    LanguageDetection,
    Match,
    ModelInfo,
    Segment,
    Skipped,
    Transcription,
    Usage,
    Word,
)
from whisperlite.vad_options import VadOptions

if TYPE_CHECKING:
    from whisperlite.api import Job, Pool, SegmentIterator, Whisper, load_model, transcribe
    from whisperlite.audio.load import load_audio
    from whisperlite.audio.mel import log_mel_spectrogram
    from whisperlite.decoding.asks import Decoded
    from whisperlite.decoding.encoding import Encoding
    from whisperlite.models import available_models, convert_model
    from whisperlite.text.tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "LANGUAGES",
    "Attempt",
    "AudioDecodeError",
    "AudioError",
    "AudioFormatError",
    "AudioNotFoundError",
    "AudioTooLongError",
    "CancelToken",
    "CancelledError",
    "CheckpointError",
    "Decoded",
    "DecodingError",
    "DeviceError",
    "DownloadError",
    "Encoding",
    "FFmpegError",
    "Job",
    "LanguageDetection",
    "LanguageError",
    "Match",
    "MemoryExceededError",
    "MissingPackageError",
    "ModelError",
    "ModelInfo",
    "ModelNotFoundError",
    "OptionError",
    "Options",
    "OptionsDict",
    "Pool",
    "Segment",
    "SegmentIterator",
    "Skipped",
    "TimeoutExceededError",
    "Tokenizer",
    "Transcription",
    "Usage",
    "VadOptions",
    "Whisper",
    "WhisperliteError",
    "Word",
    "__version__",
    "available_models",
    "convert_model",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "transcribe",
]

_LAZY = {
    "Decoded": "whisperlite.decoding.asks",
    "Encoding": "whisperlite.decoding.encoding",
    "Job": "whisperlite.api",
    "Pool": "whisperlite.api",
    "SegmentIterator": "whisperlite.api",
    "Tokenizer": "whisperlite.text.tokenizer",
    "Whisper": "whisperlite.api",
    "available_models": "whisperlite.models",
    "convert_model": "whisperlite.models",
    "load_audio": "whisperlite.audio.load",
    "load_model": "whisperlite.api",
    "log_mel_spectrogram": "whisperlite.audio.mel",
    "transcribe": "whisperlite.api",
}


if not TYPE_CHECKING:  # type checkers would conclude that every name exists

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module 'whisperlite' has no attribute {name!r}")
        value: object = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
