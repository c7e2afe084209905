"""What torch raises where memory is short or a device fails, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from traceback import clear_frames
from typing import TypeVar

import torch

from whisperlite.errors import DeviceError, MemoryExceededError, WhisperliteError

# torch 2.4 has it for CUDA only. On a CPU and on MPS it is a RuntimeError, and so it is in CUDA's libraries.
_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
# The device's own errors, in torch 2.8 and later; before, their text tells.
_OF_DEVICES: tuple[type[BaseException], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
_DEVICES = ("CUDA error", "HIP error")

_Y = TypeVar("_Y")
_R = TypeVar("_R")


def named(error: BaseException) -> MemoryExceededError | DeviceError | None:
    """What is to be raised for an error of torch, which is its cause; None: that may go as it is."""
    better = None if isinstance(error, WhisperliteError) else _named(error)
    if better is not None:
        better.__cause__ = error
    return better


def _named(error: BaseException) -> MemoryExceededError | DeviceError | None:
    text = str(error)
    reason = f"{type(error).__name__}: {text.partition(chr(10))[0][:200]}"
    is_of_memory = isinstance(error, RuntimeError) and any(part in text for part in _OF_MEMORY)
    if is_of_memory or isinstance(error, (MemoryError, _OUT_OF_MEMORY)):
        return MemoryExceededError(
            "There is not enough memory to decode: give a smaller batch_size or beam_size, or load a smaller model "
            f"({reason})."
        )
    if isinstance(error, _OF_DEVICES) or (isinstance(error, RuntimeError) and text.startswith(_DEVICES)):
        return DeviceError(
            f"The device failed, and nothing more can be computed on it in this process: start a new one ({reason})."
        )
    return None


@contextmanager
def naming_failures() -> Iterator[None]:
    """Work whose errors are raised as `named` says."""
    try:
        yield
    except Exception as error:
        better = named(error)
        if better is None:
            raise
        clear_frames(error.__traceback__)  # whoever tries again with less is to find the memory free
        raise better from error


def naming_failures_of(windows: Generator[_Y, None, _R]) -> Generator[_Y, None, _R]:
    """The same for work that goes on while somebody iterates."""
    with naming_failures():
        return (yield from windows)
