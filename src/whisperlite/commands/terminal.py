"""Standard output and standard error: lines and a progress bar; and the signals that interrupt a command."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from whisperlite.cancel import CancelToken
from whisperlite.errors import CancelledError, TimeoutExceededError
from whisperlite.exit_status import INTERRUPTED, TERMINATED
from whisperlite.results import Transcription


def print_line(text: str) -> None:
    """Print a line on standard output.

    If its reader, such as `head`, has closed it, or it cannot be written, this and later lines are discarded, so that
    the files of transcripts are written all the same.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            say(f"whisperlite: standard output: {error.strerror}")


def say(text: str) -> None:
    """Print a line on standard error; discard it if there is none or it cannot be written."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def print_warnings(result: Transcription, file: str) -> None:
    """Print the warnings of a recording's result on standard error."""
    for warning in result.warnings:
        say(f"whisperlite: {file}: {warning}")


def reason_of(error: Exception) -> str:
    """An error message for users of the command line, without what only programs can use."""
    if isinstance(error, TimeoutExceededError):
        return "it took longer than --timeout_s."
    return "interrupted." if isinstance(error, CancelledError) else str(error)


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_BESIDE_BAR = len("  100% 100000/100000 s ")


class ProgressBar:
    """A line on standard error if that is a terminal; nothing is shown on a file or a pipe."""

    width = 30

    def __init__(self, name: str) -> None:
        room = max(shutil.get_terminal_size().columns - self.width - _BESIDE_BAR, 1)
        self.name = name if len(name) <= room else f"{name[: room - 1]}…"
        self.is_terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done_s: float, total_s: float) -> None:
        if self.is_terminal:
            share = done_s / total_s if total_s else 1.0
            bar = "█" * round(share * self.width)
            sys.stderr.write(f"\r\033[K{self.name} {bar:░<{self.width}} {share:4.0%} {done_s:.0f}/{total_s:.0f} s")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


@dataclass(slots=True)
class Interruption:
    """Whether and how a signal has interrupted a transcription.

    Attributes:
        token: cancelled by the first signal.
        status: the exit status that names that signal; 0 before it.
    """

    token: CancelToken = field(default_factory=CancelToken)
    status: int = 0


_SIGNALS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let the first Ctrl-C or SIGTERM cancel a token, so that the partial transcript can be written.

    A second one ends the program. Signals that are ignored stay so: a shell makes background jobs of a script ignore
    interrupts.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield interruption
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def cancel(number: int, _: object) -> None:
        interruption.token.cancel()
        interruption.status = _SIGNALS[signal.Signals(number)]
        restore()

    for number in handlers:
        signal.signal(number, cancel)
    try:
        yield interruption
    finally:
        restore()
