"""Errors of torch when memory is short or a device fails → errors of whisperlite that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, Protocol, TypeVar

import torch
from typing_extensions import ParamSpec

from whisperlite.api.frames import clear_frames, clears_frames
from whisperlite.errors import DeviceError, MemoryExceededError, WhisperliteError

DECODING = "decode: give a smaller batch_size or beam_size, or load a smaller model"
READING = "read a recording: split it, or read fewer recordings at a time"

# torch 2.4 defines it for CUDA only. On a CPU, on MPS and in CUDA's libraries it is a RuntimeError with a message.
_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
_MEMORY_MESSAGES = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    # Memory is also what CUDA's libraries usually lack when they cannot be initialized.
    *("STATUS_ALLOC_FAILED", "STATUS_NOT_INITIALIZED"),
)
# Before torch 2.8 errors of a device are told by their message. Not all of them mean that the device has failed.
_DEVICE_ERRORS: tuple[type[BaseException], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
)
_DEVICE_MESSAGES = ("CUDA error", "HIP error")

_Y = TypeVar("_Y")
_R = TypeVar("_R")
_P = ParamSpec("_P")
_Failure = TypeVar("_Failure", bound=MemoryExceededError | DeviceError)


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


_M = TypeVar("_M", bound=_OnDevice)


def as_typed_error(
    error: BaseException, device: torch.device, work: str = DECODING
) -> MemoryExceededError | DeviceError | None:
    """The whisperlite error to raise in place of a torch error; None if the error should propagate unchanged.

    The torch error becomes its cause.

    Args:
        device: the device that the work was done on.
        work: the work that memory was short for, and what helps.
    """
    typed = None if isinstance(error, WhisperliteError) else _classify(error, device, work)
    if typed is not None:
        typed.__cause__ = error
    return typed


def copy_error(failure: _Failure) -> _Failure:
    """A copy of an error with the same cause, to raise for one more caller."""
    copy = type(failure)(*failure.args)
    copy.__cause__ = failure.__cause__
    return copy


def device_responds(device: torch.device) -> bool:
    """Whether a device still computes. After an error that it cannot recover from, every operation on it fails."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        return _is_of_memory(error)
    return True


def _classify(error: BaseException, device: torch.device, work: str) -> MemoryExceededError | DeviceError | None:
    text = str(error)
    reason = f"{type(error).__name__}: {text.partition(chr(10))[0][:200]}"
    if _is_of_memory(error):
        return MemoryExceededError(f"There is not enough memory to {work} ({reason}).")
    is_of_device = isinstance(error, _DEVICE_ERRORS) or (
        isinstance(error, RuntimeError) and text.startswith(_DEVICE_MESSAGES)
    )
    if is_of_device and not device_responds(device):
        return DeviceError(
            f"The device failed, and nothing more can be computed on it in this process: start a new one ({reason})."
        )
    return None


def _is_of_memory(error: BaseException) -> bool:
    has_message = isinstance(error, RuntimeError) and any(part in str(error) for part in _MEMORY_MESSAGES)
    return has_message or isinstance(error, (MemoryError, _OUT_OF_MEMORY))


@contextmanager
def typed_errors(device: torch.device, work: str = DECODING) -> Iterator[None]:
    """Raise errors of the enclosed work as `as_typed_error` gives them."""
    try:
        yield
    except Exception as error:
        typed = as_typed_error(error, device, work)
        if typed is not None or isinstance(error, WhisperliteError):
            clear_frames(error)  # frees memory for a retry, and while the error is kept
        if typed is None:
            raise
        raise typed from error


def typed_errors_while_iterating(windows: Generator[_Y, None, _R], device: torch.device) -> Generator[_Y, None, _R]:
    """Iterate over a generator within `typed_errors`, and return its result."""
    # Before Python 3.11 a context manager that is a generator keeps the GeneratorExit that passes through it, and so
    # what the frames of that hold.
    try:
        return (yield from windows)
    except Exception:
        with typed_errors(device):
            raise


def raises_typed_errors(method: Callable[Concatenate[_M, _P], _R]) -> Callable[Concatenate[_M, _P], _R]:
    """Decorate a method to run within `typed_errors`; its frame is cleared too, so that an error keeps no argument."""

    @clears_frames
    @wraps(method)
    def call(self: _M, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with typed_errors(self.device):
            return method(self, *args, **kwargs)

    return call
