"""Hands recordings in as they come, so that results need not wait for whoever gives them."""

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

_END_S = 1.0  # for how long the end waits for the thread


@dataclass(frozen=True, slots=True)
class _End:
    """There are no more jobs."""

    error: BaseException | None = None


class Feed:
    """Iterates over recordings on a thread of its own, and makes each a job, in their order.

    Garbage collection may end it on any thread at any moment, so nothing here takes a lock; simple queues need none.

    Args:
        audios: recordings.
        submit: makes one a job.
        room: jobs that may be ahead of whoever takes them; further recordings are not asked for.
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
        """The next job, as soon as there is one; None: there are no more.

        Raises:
            BaseException: what the iterable raised, or `submit`.
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
            del found  # or the error would keep itself, by way of this frame

    def make_room(self) -> None:
        """Let one more be asked for."""
        self._room.put(True)

    def end(self) -> None:
        """Ask for no more, cancel the jobs that nobody took, and wait for the thread, though not for long.

        The iterable may block; and where garbage is collected, the calling thread may hold what the other waits for.
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

    # On its thread

    def _work(self) -> None:
        try:
            with self._thread.asking():
                sources = iter(self._audios)
            while self._room.get() and self._hand_in(sources):
                pass
            self._jobs.put(_End())
        except BaseException as error:  # it is raised where the results are asked for
            self._jobs.put(_End(error))
        finally:
            self._thread.is_asking = True  # a generator is closed
            del self._audios, self._submit

    def _hand_in(self, sources: Iterator[AudioSource]) -> bool:
        """Whether there was one more to hand in."""
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
        if self._has_ended():  # too early to know of this one
            job.token.cancel()
        return True

    def _has_ended(self) -> bool:
        """Whether `end` was called; it may be at any moment."""
        return self._is_over
