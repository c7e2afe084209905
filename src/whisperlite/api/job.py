"""A recording on its way through a pool, as its caller sees it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from whisperlite.api.callbacks import check_callable
from whisperlite.api.waiting import check_may_wait
from whisperlite.cancel import CancelToken
from whisperlite.kinds import checked, number, optional
from whisperlite.results import Segment, Transcription
from whisperlite.transcription.recording import Event
from whisperlite.transcription.session import Accepted

_LOG = logging.getLogger("whisperlite")
_LONGEST_S = 365 * 86400.0  # what a lock can wait for has a limit, which depends on the system


class Job:
    """A recording on its way through a pool; made by `Pool.submit`. Any thread may use it."""

    def __init__(self) -> None:
        self._token = CancelToken()
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._segments: list[Segment] = []
        self._progress = (0.0, 0.0)
        self._end: Transcription | BaseException | None = None
        self._callbacks: list[Callable[[Job], object]] = []

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Job is done by threads of this process: it cannot be copied or pickled. Hand on its result()."
        )

    def result(self, timeout: float | None = None) -> Transcription:
        """The transcription, as soon as it is there.

        A job whose `timeout_s` is over raises `TimeoutExceededError`, which is a `TimeoutError` too. If you wait in a
        loop, catch that first, or let `done` end the loop:

            while not job.done:
                with contextlib.suppress(TimeoutError):
                    job.result(timeout=1.0)
                print(job.progress)
            result = job.result()

        Args:
            timeout: seconds to wait, 0 or less not at all; None: as long as it takes.

        Raises:
            OptionError: the timeout is no number of seconds.
            TimeoutError: it is not there yet.
            TimeoutExceededError: its `timeout_s` is over; `partial` is the partial result.
            CancelledError: it was cancelled; `partial` is the partial result.
            WhisperliteError: what `Whisper.transcribe` raises.
            ValueError: it is not done, and never will be in this process, which was forked from the pool's.
            RuntimeError: it is not done, and this was called in a callback of a job, or in the `read` of a file object:
                they run on the pool's threads, which would wait for themselves.
        """
        timeout = checked("timeout", timeout, optional(number()))
        self._wait(lambda: self.done, None if timeout is None else min(max(timeout, 0.0), _LONGEST_S))
        if not self.done:
            raise TimeoutError(f"The transcription is not there after timeout={timeout:g} s. It goes on.")
        return self._outcome()

    def segments(self) -> Iterator[Segment]:
        """Each segment as soon as it is accepted, from the first on; at the end it raises what `result` does."""
        taken = 0
        while True:
            self._wait(partial(self._has_more, taken))
            fresh = self._segments[taken:]
            yield from fresh
            taken += len(fresh)
            if not fresh:
                self._outcome()
                return

    def add_callback(self, callback: Callable[[Job], object]) -> None:
        """Have something called, with this job, each time that segments are accepted, and when it is done.

        For programs that wait for many jobs at once, such as those that run an event loop. It is called on a thread of
        the pool, which does nothing else meanwhile, so it should return at once, and must not wait for a job: look at
        `done` before you ask for `result`. If the job has segments already, or is
        done, it is also called here, before this returns; the pool may call it at the same moment. What it raises is
        logged; what is not an `Exception`, such as `KeyboardInterrupt`, is raised if it was called here.

        Raises:
            OptionError: it cannot be called.
            ValueError: the job is not done, and never will be in this process, which was forked from the pool's.
        """
        check_callable("callback", callback)
        self._check_process()
        with self._changed:
            self._callbacks.append(callback)
            happened = self._has_more(0)
        if happened:
            self._call(callback, Exception)

    def cancel(self) -> None:
        """Stop it, within one step of the model; `result` raises `CancelledError`."""
        self._token.cancel()

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._end is not None

    @property
    def accepted(self) -> tuple[Segment, ...]:
        """The segments that there are by now."""
        return tuple(self._segments)

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds done, and seconds in all; both are 0 until the recording has been read."""
        return self._progress

    def _has_more(self, taken: int) -> bool:
        return self.done or len(self._segments) > taken

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        if not until():
            self._check_process()
            if timeout != 0:
                check_may_wait()
            with self._changed:
                self._changed.wait_for(until, timeout)

    def _check_process(self) -> None:
        if not self.done:
            check_process(self._process)

    def _awaited(self) -> Transcription | BaseException | None:
        """What it ended with, as soon as it has."""
        self._wait(lambda: self.done)
        return self._end

    def _outcome(self) -> Transcription:
        end = self._end
        assert end is not None, "the caller has waited"
        if isinstance(end, Transcription):
            return end
        try:
            raise end
        finally:
            del self, end  # or the error would keep itself, by way of this frame

    # On the pool's threads

    def _begun(self, duration: float) -> None:
        self._progress = (0.0, duration)

    def _happened(self, event: Event) -> None:
        with self._changed:
            if isinstance(event, Accepted):
                self._segments += event.segments
                self._progress = (event.done_s, event.total_s)
            else:
                if isinstance(event, Transcription):
                    self._progress = (event.duration, event.duration)
                self._end = event
            self._changed.notify_all()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            self._call(callback, BaseException)  # the thread is the pool's: nothing may end it

    def _call(self, callback: Callable[[Job], object], logged: type[BaseException]) -> None:
        try:
            callback(self)
        except logged:  # of the caller's code; the other jobs are not to suffer from it
            _LOG.exception("A callback of a job failed.")


def check_process(process: int) -> None:
    """Refuse to wait in a process that was forked: the threads that work on it stayed in the other one.

    Args:
        process: that the pool was made in.

    Raises:
        ValueError: it is another one.
    """
    if os.getpid() != process:
        raise ValueError(f"This pool belongs to process {process}: make one after the fork.")
