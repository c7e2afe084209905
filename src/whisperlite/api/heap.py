"""Returns freed memory to the system.

glibc keeps freed memory that lies between blocks in use. A pool frees tensors of many sizes at every step, so after
an hour a process holds half as much again as it uses, and more all the time.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import lru_cache
from typing import Any

_EVERY_S = 5.0


class Heap:
    """Trims the heap of the process every few seconds; does nothing if the C library cannot."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._has_freed = False

    def freed(self) -> None:
        """Note that something large was freed, and trim if it is time; trimming takes some milliseconds."""
        self._has_freed = True
        self.give_back()

    def give_back(self) -> None:
        """Trim if it is time and something was freed since the last time; to be called while nothing is freed."""
        now = time.monotonic()
        if self._has_freed and now >= self._next:
            self._next, self._has_freed = now + _EVERY_S, False
            trim()


def trim() -> bool:
    """Return all free memory to the system; whether there was any."""
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


@lru_cache(maxsize=1)
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None  # musl has no malloc_trim
