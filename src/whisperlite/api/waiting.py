"""Which threads may wait for a pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from whisperlite.own_threads import OwnThread


class FeedThread(OwnThread):
    """The thread of a `Feed`, which iterates over the caller's recordings.

    Attributes:
        is_asking: whether the thread runs the caller's iterable, which may wait as on any other thread.
    """

    is_asking = False

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While this context is active, the thread runs the caller's code."""
        self.is_asking = True
        try:
            yield
        finally:
            self.is_asking = False


def may_wait() -> bool:
    """Whether the calling thread may wait for a pool.

    A thread of whisperlite might wait for itself, or hold a lock that others need. It may be in the middle of anything,
    because the garbage collector closes abandoned iterators on any thread.
    """
    thread = threading.current_thread()
    return thread.is_asking if isinstance(thread, FeedThread) else not isinstance(thread, OwnThread)


def check_may_wait() -> None:
    """Refuse to wait on a thread where the wait might never end.

    Raises:
        RuntimeError: the calling thread belongs to a pool.
    """
    if not may_wait():
        raise RuntimeError(
            "A job's callback and the read of a file object run on threads of a pool, which must not wait for a job: "
            "look at job.done first, or wait on a thread of your own."
        )
