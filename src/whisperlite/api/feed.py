"""Submits the recordings of an iterable, so that results need not wait for its next item."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from whisperlite.api.job_state import JobState, check_process
from whisperlite.api.waiting import FeedThread, check_may_wait, may_wait
from whisperlite.audio.load import AudioSource
from whisperlite.decoding.threads import ending_workers

_END_S = 1.0  # how long `end` waits for the thread


@dataclass(frozen=True, slots=True)
class _End:
    """Marks the end of the jobs, with the error that ended them, if any."""

    error: BaseException | None = None


class Feed:
    """Iterates over recordings on a thread of its own, and submits each, in their order.

    Garbage collection may call `end` on any thread at any moment, so nothing here takes a lock; `SimpleQueue` has none.

    Args:
        audios: the recordings.
        submit: submits a recording, and returns its job.
        room: how many jobs may be ahead of `next`; further recordings are not requested.
    """

    def __init__(self, audios: Iterable[AudioSource], submit: Callable[[AudioSource], JobState], room: int) -> None:
        self._audios, self._submit = audios, submit
        self._room: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[JobState | _End] = queue.SimpleQueue()
        self._process = os.getpid()
        self._is_over = False
        for _ in range(room):
            self.make_room()
        self._thread = FeedThread("feed", self._work)
        self._thread.start()

    def next(self) -> JobState | None:
        """Wait for the next job, and return it; None if there are no more.

        Raises:
            BaseException: an error of the iterable or of `submit`.
            ValueError: this process was forked.
            RuntimeError: this is a thread of a pool.
        """
        check_process(self._process)
        check_may_wait()
        found = self._jobs.get()
        if isinstance(found, JobState):
            return found
        if found.error is None:
            return None
        try:
            raise found.error
        finally:
            del found  # or the error would keep itself, through this frame

    def make_room(self) -> None:
        """Let one more recording be requested."""
        self._room.put(True)

    def end(self) -> None:
        """Request no more recordings, cancel the jobs that were not taken, and wait for the thread for a moment.

        The wait is short because the iterable may block, and because a garbage collection may have called this on a
        thread that holds a lock which the other thread waits for.
        """
        self._is_over = True
        self._room.put(False)
        with suppress(queue.Empty):
            while True:
                found = self._jobs.get_nowait()
                if isinstance(found, JobState):
                    found.token.cancel()
        if os.getpid() == self._process and threading.current_thread() is not self._thread and may_wait():
            self._thread.join(_END_S)

    # On the thread

    def _work(self) -> None:
        try:
            with self._thread.asking():
                sources = iter(self._audios)
            while self._room.get() and self._submit_next(sources):
                pass
            self._jobs.put(_End())
        except BaseException as error:  # raised by `next`
            self._jobs.put(_End(error))
        finally:
            self._thread.is_asking = True  # deleting a generator runs its code
            del self._audios, self._submit

    def _submit_next(self, sources: Iterator[AudioSource]) -> bool:
        """Submit the next recording; False if there is none."""
        if self._has_ended():
            return False
        try:
            with ending_workers(), self._thread.asking():
                audio = next(sources)
        except StopIteration:
            return False
        if self._has_ended():
            return False
        job = self._submit(audio)
        self._jobs.put(job)
        if self._has_ended():  # `end` was called before this job was in the queue
            job.token.cancel()
        return True

    def _has_ended(self) -> bool:
        """Whether `end` was called, which may happen at any moment."""
        return self._is_over
