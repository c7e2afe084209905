"""A recording that was submitted to a pool, as its caller sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from whisperlite.api.callbacks import check_callable
from whisperlite.api.job_state import JobState
from whisperlite.kinds import checked, number, optional
from whisperlite.results import Segment, Transcription

_LONGEST_S = 365 * 86400.0  # how long a lock can be waited for is limited, depending on the system


class Job:
    """A recording that was submitted to a pool; made by `Pool.submit`. Any thread may use it."""

    def __init__(self, state: JobState) -> None:
        self._state = state

    def __repr__(self) -> str:
        done_s, total_s = self.progress
        return f"<Job, {'done' if self.done else f'{done_s:g} of {total_s:g} s done'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Job is done by threads of this process: it cannot be copied or pickled. Hand on its result()."
        )

    def result(self, timeout: float | None = None) -> Transcription:
        """Wait for the transcription, and return it.

        A job that exceeded its `timeout_s` raises `TimeoutExceededError`, which is a `TimeoutError` too. If you wait in
        a loop, catch that first, or let `done` end the loop:

            while not job.done:
                with contextlib.suppress(TimeoutError):
                    job.result(timeout=1.0)
                print(job.progress)
            result = job.result()

        Args:
            timeout: how many seconds to wait; 0 or less: do not wait; None: wait as long as it takes.

        Raises:
            OptionError: the timeout is not a number of seconds.
            TimeoutError: the transcription is not there yet.
            TimeoutExceededError: the job exceeded its `timeout_s`; `partial` is the partial result.
            CancelledError: the job was cancelled; `partial` is the partial result.
            WhisperliteError: any error that `Whisper.transcribe` raises.
            ValueError: the job is not done, and never will be in this process, which was forked from the pool's.
            RuntimeError: the job is not done, and this was called in a callback of a job or in the `read` of a file
                object. These run on the pool's threads, which would wait for themselves.
        """
        timeout = checked("timeout", timeout, optional(number()))
        self._state.wait(lambda: self.done, None if timeout is None else min(max(timeout, 0.0), _LONGEST_S))
        if not self.done:
            raise TimeoutError(f"The transcription is not there after timeout={timeout:g} s. It goes on.")
        return self._state.outcome()

    def segments(self) -> Iterator[Segment]:
        """Yield each segment when it is accepted, starting with the first; at the end, raise what `result` raises."""
        taken = 0
        while True:
            self._state.wait(partial(self._state.has_more, taken))
            fresh = self._state.segments[taken:]
            yield from fresh
            taken += len(fresh)
            if not fresh:
                self._state.outcome()
                return

    def add_callback(self, callback: Callable[[Job], object]) -> None:
        """Register a function that is called with this job whenever segments are accepted, and once when it is done.

        This is for programs that wait for many jobs at once, such as those that run an event loop. The function is
        called on a thread of the pool, which does nothing else meanwhile: it should return at once, and it must not
        wait for a job, so check `done` before you call `result`. If the job is done or has segments already, the
        function is also called here, before this method returns; the pool may call it at the same moment. Exceptions
        that it raises are logged; those that are not an `Exception`, such as `KeyboardInterrupt`, are raised if the
        function was called here.

        Raises:
            OptionError: the callback cannot be called.
            ValueError: the job is not done, and never will be in this process, which was forked from the pool's.
        """
        check_callable("callback", callback)
        self._state.add_callback(partial(callback, self))

    def cancel(self) -> None:
        """Stop the job within one step of the model; `result` then raises `CancelledError`."""
        self._state.token.cancel()

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._state.is_done

    @property
    def accepted(self) -> tuple[Segment, ...]:
        """The segments accepted so far."""
        return tuple(self._state.segments)

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds done, and seconds in all; both are 0 until the recording has been read."""
        return self._state.progress
