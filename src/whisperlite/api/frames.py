"""Clearing the frames of errors, so that whoever keeps an error does not keep a recording or a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import TypeVar

from typing_extensions import ParamSpec

from whisperlite.errors import WhisperliteError

_R = TypeVar("_R")
_P = ParamSpec("_P")


def clear_frames(error: BaseException) -> None:
    """Clear the local variables of all frames of an error, and of its cause, that have ended.

    Like `traceback.clear_frames`, but it clears their callers as well: since Python 3.11 a frame keeps its caller's. A
    frame that is still running keeps its variables, and has to drop them itself when it ends.
    """
    _clear_frames_of(error)
    if error.__cause__ is not None:
        _clear_frames_of(error.__cause__)


def _clear_frames_of(error: BaseException) -> None:
    traceback = error.__traceback__
    while traceback is not None:
        frame: FrameType | None = traceback.tb_frame
        while frame is not None:
            try:
                frame.clear()
            except RuntimeError:  # it is still running, and so are its callers
                break
            frame = frame.f_back
        traceback = traceback.tb_next


def clears_frames(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a function so that the errors of whisperlite that it raises do not keep its arguments alive.

    For functions that may be given a whole recording.
    """

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except WhisperliteError as error:
            clear_frames(error)
            raise
        finally:
            del args, kwargs  # this frame is still running when the others are cleared

    return call
