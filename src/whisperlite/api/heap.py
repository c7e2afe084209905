"""Memory that was freed goes back to the system.

glibc keeps what is freed between what is not. A pool frees tensors of many sizes at every step; in an hour a process
then holds half as much again as it uses, and more all the time.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import lru_cache
from typing import Any

_EVERY_S = 5.0


class Heap:
    """Trims the heap of the process, now and then; where the C library cannot, nothing happens."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S
        self._has_freed = False

    def freed(self) -> None:
        """To be called whenever something large has been freed: it takes some milliseconds every few seconds."""
        self._has_freed = True
        self.give_back()

    def give_back(self) -> None:
        """To be called now and then while nothing is freed: what was freed since the last time goes back."""
        now = time.monotonic()
        if self._has_freed and now >= self._next:
            self._next, self._has_freed = now + _EVERY_S, False
            trim()


def trim() -> bool:
    """Give back all that is free; whether something was."""
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


@lru_cache(maxsize=1)
def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None  # musl has none
