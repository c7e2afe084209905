"""Which threads may wait for a pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from whisperlite.own_threads import OwnThread


class FeedThread(OwnThread):
    """Asks for recordings.

    Attributes:
        is_asking: it runs the code of whoever gives them, which may wait as it may on any other thread.
    """

    is_asking = False

    @contextmanager
    def asking(self) -> Iterator[None]:
        """That code."""
        self.is_asking = True
        try:
            yield
        finally:
            self.is_asking = False


def may_wait() -> bool:
    """Whether the calling thread may wait for a pool: one of our own might wait for itself, or hold what others need.

    It may be in the middle of anything, since an iterator that was abandoned is closed by the garbage collector.
    """
    thread = threading.current_thread()
    return thread.is_asking if isinstance(thread, FeedThread) else not isinstance(thread, OwnThread)


def check_may_wait() -> None:
    """Refuse to wait where that might never end.

    Raises:
        RuntimeError: this is a thread of a pool.
    """
    if not may_wait():
        raise RuntimeError(
            "A job's callback and the read of a file object run on threads of a pool, which must not wait for a job: "
            "look at job.done first, or wait on a thread of your own."
        )
