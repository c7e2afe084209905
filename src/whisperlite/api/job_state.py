"""The state of a job: written by the threads of a pool, read by any thread."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from whisperlite.api.waiting import check_may_wait
from whisperlite.cancel import CancelToken
from whisperlite.results import Segment, Transcription
from whisperlite.transcription.recording import Event
from whisperlite.transcription.session import Accepted

_LOG = logging.getLogger("whisperlite")


class JobState:
    """What has become of a recording that was submitted to a pool; a `Job` is its public view.

    Attributes:
        token: stops the job.
        segments: the segments accepted so far.
        progress: seconds done, and seconds in all.
        end: the transcription or the error that the job ended with; None: it is not done.
    """

    def __init__(self) -> None:
        self.token = CancelToken()
        self.segments: list[Segment] = []
        self.progress = (0.0, 0.0)
        self.end: Transcription | BaseException | None = None
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_done(self) -> bool:
        """Whether there is a result, or an error."""
        return self.end is not None

    def has_more(self, taken: int) -> bool:
        """Whether the job is done, or has more segments than `taken`."""
        return self.is_done or len(self.segments) > taken

    def wait(self, until: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until a condition holds, for at most `timeout` seconds.

        Raises:
            ValueError: the job is not done, and this process was forked from the pool's.
            RuntimeError: this is a thread of a pool.
        """
        if not until():
            self._check_process()
            if timeout != 0:
                check_may_wait()
            with self._changed:
                self._changed.wait_for(until, timeout)

    def awaited(self) -> Transcription | BaseException | None:
        """Wait until the job is done, and return what it ended with."""
        self.wait(lambda: self.is_done)
        return self.end

    def outcome(self) -> Transcription:
        """Return the transcription of a job that is done, or raise its error."""
        end = self.end
        assert end is not None, "the caller has waited"
        if isinstance(end, Transcription):
            return end
        try:
            raise end
        finally:
            del self, end  # or the error would keep itself, through this frame

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Register a callback; see `Job.add_callback`."""
        self._check_process()
        with self._changed:
            if not self.is_done:
                self._callbacks.append(callback)
            has_more = self.has_more(0)
        if has_more:
            _call(callback, Exception)

    def _check_process(self) -> None:
        if not self.is_done:
            check_process(self._process)

    # On the pool's threads

    def begin(self, duration: float) -> None:
        """Note that the recording was read, and its duration in seconds."""
        self.progress = (0.0, duration)

    def publish(self, event: Event) -> None:
        """Record what happened to the recording, wake those that wait, and run the callbacks."""
        with self._changed:
            callbacks = list(self._callbacks)
            if isinstance(event, Accepted):
                self.segments += event.segments
                self.progress = (event.done_s, event.total_s)
            else:
                if isinstance(event, Transcription):
                    self.progress = (event.duration, event.duration)
                self.end = event
                self._callbacks.clear()  # they refer to the job, which refers to this
            self._changed.notify_all()
        for callback in callbacks:
            _call(callback, BaseException)  # on the pool's thread, which nothing may end


def _call(callback: Callable[[], object], logged: type[BaseException]) -> None:
    try:
        callback()
    except logged:  # raised by the caller's code; other jobs must not suffer from it
        _LOG.exception("A callback of a job failed.")


def check_process(process: int) -> None:
    """Refuse to wait for a pool in a forked process: the pool's threads exist only in the process that made it.

    Args:
        process: the id of the process that the pool was made in.

    Raises:
        ValueError: this is another process.
    """
    if os.getpid() != process:
        raise ValueError(f"This pool belongs to process {process}: make one after the fork.")
