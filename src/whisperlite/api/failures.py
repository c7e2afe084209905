"""What torch raises where memory is short or a device fails, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Concatenate, Protocol, TypeVar

import torch
from typing_extensions import ParamSpec

from whisperlite.errors import DeviceError, MemoryExceededError, WhisperliteError

DECODING = "decode: give a smaller batch_size or beam_size, or load a smaller model"
READING = "read a recording: split it, or read fewer recordings at a time"

# torch 2.4 has it for CUDA only. On a CPU and on MPS it is a RuntimeError, and so it is in CUDA's libraries.
_OUT_OF_MEMORY: type[BaseException] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
# They also lack it, as a rule, where they cannot be initialized.
_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("STATUS_ALLOC_FAILED", "STATUS_NOT_INITIALIZED"),
)
# The device's own errors, in torch 2.8 and later; before, their text tells. Not all of them are its end.
_OF_DEVICES: tuple[type[BaseException], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
_DEVICES = ("CUDA error", "HIP error")

_Y = TypeVar("_Y")
_R = TypeVar("_R")
_P = ParamSpec("_P")
_Failure = TypeVar("_Failure", bound=MemoryExceededError | DeviceError)


class _OnDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


_M = TypeVar("_M", bound=_OnDevice)


def named(error: BaseException, device: torch.device, work: str = DECODING) -> MemoryExceededError | DeviceError | None:
    """What is to be raised for an error of torch, which is its cause; None: that may go as it is.

    Args:
        device: that the work was done on.
        work: what memory was short for, and what helps.
    """
    better = None if isinstance(error, WhisperliteError) else _named(error, device, work)
    if better is not None:
        better.__cause__ = error
    return better


def forget_frames(error: BaseException) -> None:
    """Let go of what was in the frames of an error that have ended, as whoever keeps it keeps them.

    As `traceback.clear_frames`, and of what called them too: since Python 3.11 a frame keeps its caller's. A frame that
    goes on keeps what is in it then; one that ends later is to let go of that itself.
    """
    _forget_frames_of(error)
    if error.__cause__ is not None:
        _forget_frames_of(error.__cause__)


def _forget_frames_of(error: BaseException) -> None:
    traceback = error.__traceback__
    while traceback is not None:
        frame: FrameType | None = traceback.tb_frame
        while frame is not None:
            try:
                frame.clear()
            except RuntimeError:  # it goes on, and so do those that called it
                break
            frame = frame.f_back
        traceback = traceback.tb_next


def again(failure: _Failure) -> _Failure:
    """The same error, for one more caller."""
    copy = type(failure)(*failure.args)
    copy.__cause__ = failure.__cause__
    return copy


def computes(device: torch.device) -> bool:
    """Whether a device still works: after an error that it does not recover from, whatever is asked of it fails."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:
        return _is_of_memory(error)
    return True


def _named(error: BaseException, device: torch.device, work: str) -> MemoryExceededError | DeviceError | None:
    text = str(error)
    reason = f"{type(error).__name__}: {text.partition(chr(10))[0][:200]}"
    if _is_of_memory(error):
        return MemoryExceededError(f"There is not enough memory to {work} ({reason}).")
    is_of_device = isinstance(error, _OF_DEVICES) or (isinstance(error, RuntimeError) and text.startswith(_DEVICES))
    if is_of_device and not computes(device):
        return DeviceError(
            f"The device failed, and nothing more can be computed on it in this process: start a new one ({reason})."
        )
    return None


def _is_of_memory(error: BaseException) -> bool:
    is_told = isinstance(error, RuntimeError) and any(part in str(error) for part in _OF_MEMORY)
    return is_told or isinstance(error, (MemoryError, _OUT_OF_MEMORY))


@contextmanager
def naming_failures(device: torch.device, work: str = DECODING) -> Iterator[None]:
    """Work whose errors are raised as `named` says."""
    try:
        yield
    except Exception as error:
        better = named(error, device, work)
        if better is not None or isinstance(error, WhisperliteError):
            forget_frames(error)  # whoever keeps the error, or tries again, is to find the memory free
        if better is None:
            raise
        raise better from error


def naming_failures_of(windows: Generator[_Y, None, _R], device: torch.device) -> Generator[_Y, None, _R]:
    """The same for work that goes on while somebody iterates."""
    with naming_failures(device):
        return (yield from windows)


def naming_its_failures(method: Callable[Concatenate[_M, _P], _R]) -> Callable[Concatenate[_M, _P], _R]:
    """The same for a method, whose frame has ended by then, so that the error does not keep what was in it."""

    @letting_go
    @wraps(method)
    def call(self: _M, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with naming_failures(self.device):
            return method(self, *args, **kwargs)

    return call


def letting_go(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """What calls one that may be given a whole recording, so that an error of ours does not keep that."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except WhisperliteError as error:
            forget_frames(error)
            raise
        finally:
            del args, kwargs  # this frame goes on

    return call
