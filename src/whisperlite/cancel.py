"""Stop a transcription, from another thread or after a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NoReturn

from whisperlite.errors import CancelledError, OptionError, TimeoutExceededError


class CancelToken:
    """Stops the calls that it is passed to, from any thread: `transcribe(…, cancel=token)`, then `token.cancel()`.

    The calls raise `CancelledError` within one step of the model. A token stays cancelled: use a new one for the next
    call.
    """

    def __init__(self) -> None:
        self._is_cancelled = False  # no lock: a signal or the garbage collector may cancel in the middle of anything

    def __reduce__(self) -> NoReturn:
        raise TypeError("A CancelToken works within one process: it cannot be copied or pickled.")

    def cancel(self) -> None:
        """Stop the calls. Cancelling again has no effect."""
        self._is_cancelled = True

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._is_cancelled


class LinkedToken(CancelToken):
    """An internal token that also counts as cancelled when the caller's token is.

    Raises:
        OptionError: the caller's token is not a `CancelToken`.
    """

    def __init__(self, parent: CancelToken | None) -> None:
        super().__init__()
        _check(parent)
        self._parent = parent

    @property
    def is_cancelled(self) -> bool:
        """Whether this token or the caller's was cancelled."""
        return super().is_cancelled or (self._parent is not None and self._parent.is_cancelled)


@dataclass(frozen=True, slots=True)
class Stop:
    """The conditions on which a call has to stop.

    Attributes:
        token: the caller's token, or None.
        timeout_s: the caller's time limit, for the error message; None: no limit.
        deadline_s: when the time is up, on the clock of `time.monotonic`.

    Raises:
        OptionError: the token is not a `CancelToken`.
    """

    token: CancelToken | None = None
    timeout_s: float | None = None
    deadline_s: float = float("inf")

    def __post_init__(self) -> None:
        _check(self.token)

    @staticmethod
    def after(timeout_s: float | None, token: CancelToken | None = None) -> Stop:
        """A `Stop` whose time limit starts now."""
        return Stop(token, timeout_s, float("inf") if timeout_s is None else time.monotonic() + timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether `check` raises."""
        return (self.token is not None and self.token.is_cancelled) or time.monotonic() >= self.deadline_s

    def check(self) -> None:
        """Raise an error if the call has to stop.

        Raises:
            CancelledError: the token was cancelled.
            TimeoutExceededError: the time limit was exceeded.
        """
        if self.token is not None and self.token.is_cancelled:
            raise CancelledError("It was cancelled. A partial result, if there is one, is in `partial`.")
        if time.monotonic() >= self.deadline_s:
            raise TimeoutExceededError(
                f"It took longer than timeout_s={self.timeout_s:g}. A partial result, if there is one, is in `partial`."
            )


def _check(token: object) -> None:
    if not isinstance(token, CancelToken | None):
        raise OptionError(f"cancel={token!r} is no CancelToken: pass one, and call its cancel().", option="cancel")


NEVER = Stop()
