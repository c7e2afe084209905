"""What recordings are handed in as: whether it is one or many, and a copy of what its owner may change."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from torch import Tensor

from whisperlite.audio.load import AudioSource
from whisperlite.errors import OptionError


def refuse_one(audios: object) -> None:
    """Refuse one recording in place of many: iterating over it would give letters, bytes or samples.

    Raises:
        OptionError: it is one, or cannot be iterated.
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
    """Whether it can only be one recording. Rows of samples are many, and so is an array of paths."""
    if isinstance(audios, np.ndarray):
        return audios.ndim < 2 and audios.dtype.kind not in "OSU"
    if isinstance(audios, Tensor):
        return audios.ndim < 2
    return isinstance(audios, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audios, "read")


def as_submitted(audio: AudioSource) -> AudioSource:
    """What is read later, as it is now: a copy of what its owner may change, and a path that needs no directory."""
    if not isinstance(audio, (str, os.PathLike)):
        return own_copy(audio)
    path = os.fsdecode(audio)
    try:
        # Not as `abspath` does, which drops a trailing slash, and ".." behind a link. There is no file named "".
        return os.path.join(os.getcwd(), path) if path else path  # noqa: PTH109, PTH118
    except OSError:  # the directory was removed: nothing is in it
        return path


def own_copy(audio: AudioSource) -> AudioSource:
    """Samples and bytes as they are now, whatever their owner writes there later; anything else as it is."""
    if isinstance(audio, np.ndarray):
        return audio.copy()
    if isinstance(audio, Tensor):
        return audio.detach().clone()
    if isinstance(audio, memoryview):
        with suppress(ValueError):  # it was released, which is told where it is read
            return audio.tobytes()
    return bytes(audio) if isinstance(audio, bytearray) else audio
