"""Recordings as callers give them: whether it is one or many, and copies of what callers may change later."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from torch import Tensor

from whisperlite.audio.load import AudioSource
from whisperlite.errors import OptionError


def refuse_one(audios: object) -> None:
    """Refuse one recording given in place of many: iterating over it would give letters, bytes or samples.

    Raises:
        OptionError: `audios` is one recording, or cannot be iterated.
    """
    if is_one_recording(audios):
        raise OptionError(
            f"transcribe_many takes many recordings, and got one ({type(audios).__name__}): put it into a list.",
            option="audios",
        )
    if not hasattr(audios, "__iter__") and not hasattr(audios, "__getitem__"):
        hint = ", and an asynchronous iterable gives none: collect them first" if hasattr(audios, "__aiter__") else ""
        raise OptionError(
            f"transcribe_many takes an iterable of recordings, and got {type(audios).__name__}{hint}.", option="audios"
        )


def is_one_recording(audios: object) -> bool:
    """Whether a value can only be one recording. Rows of samples are many recordings, and so is an array of paths."""
    if isinstance(audios, np.ndarray):
        return audios.ndim < 2 and audios.dtype.kind not in "OSU"
    if isinstance(audios, Tensor):
        return audios.ndim < 2
    return isinstance(audios, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audios, "read")


def as_submitted(audio: AudioSource) -> AudioSource:
    """A source that can be read later: a copy if its owner may change it, and a path independent of the directory."""
    if not isinstance(audio, (str, os.PathLike)):
        return own_copy(audio)
    path = os.fsdecode(audio)
    try:
        # `abspath` would drop a trailing slash, and a ".." that follows a link. There is no file named "".
        return os.path.join(os.getcwd(), path) if path else path  # noqa: PTH109, PTH118
    except OSError:  # the current directory was removed
        return path


def own_copy(audio: AudioSource) -> AudioSource:
    """A copy of samples or of a mutable buffer, since their owner may write to them later; anything else unchanged."""
    if isinstance(audio, np.ndarray):
        return audio.copy()
    if isinstance(audio, Tensor):
        return audio.detach().clone()
    if isinstance(audio, memoryview):
        with suppress(ValueError):  # it was released; reading it raises the error
            return audio.tobytes()
    return bytes(audio) if isinstance(audio, bytearray) else audio
