"""Sets how many threads torch uses on a CPU.

torch keeps that number for each calling thread of the process, and it is restored after every step. Only a thread that
first uses torch in the middle of a step starts with the step's number. Tokens do not depend on it.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from whisperlite.forks import was_forked

_PERIOD = 64  # steps after which the other number of threads is tried again
_LONG_PERIOD = 256  # the same while one thread is faster: next to a busy process a trial is expensive
_RECENT = 5  # steps that a trial is compared with
_SUDDEN = 2.0  # a step that takes this many times as long as usual causes a trial
_WORTH = 0.9  # a trial wins if it takes less than this fraction of the usual time

_CGROUP_LIMITS = (("/sys/fs/cgroup/cpu.max", None), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "cpu.cfs_period_us"))


def usable_threads() -> int:
    """The number of threads that torch would use, but at most the cores that this process may use.

    $OMP_NUM_THREADS and `torch.set_num_threads` set torch's number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(torch.get_num_threads(), cores, _quota()), 1)


def _quota() -> int:
    """The number of cores that this process's control group may keep busy, rounded up."""
    for path, period_name in _CGROUP_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").split()
            period = Path(path).with_name(period_name).read_text(encoding="ascii") if period_name else text[1]
            if text[0] not in ("max", "-1"):
                return max(math.ceil(int(text[0]) / int(period)), 1)
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue  # there is no such file, or another kernel writes something else: no limit is known
    return os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """While this context is active, torch's operators run on this many threads if the calling thread calls them."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_SOFT_PAUSE = 1  # `omp_pause_soft`: the program's settings stay


@contextmanager
def ending_workers() -> Iterator[None]:
    """End the calling thread's workers when this context ends, see `release_workers`."""
    try:
        yield
    finally:
        release_workers()


def release_workers() -> bool:
    """End the worker threads that GNU's OpenMP keeps for the calling thread; its next parallel work starts new ones.

    That library counts the workers of every thread that has ever computed in parallel. Once there are more of them than
    cores, workers sleep while they wait for their next part, and a decoder step, which has hundreds, takes half as long
    again. So no thread should keep workers that it does not use.

    In a forked process this does nothing: the library would wait for the workers of the parent, which do not exist.

    Returns:
        Whether the library was called. Other OpenMP libraries, which have no such rule, are left alone.
    """
    library = _gnu_openmp()
    if library is None or was_forked() or not _has_native_threads():
        return False
    library.omp_pause_resource(_SOFT_PAUSE, library.omp_get_initial_device())
    return True


def _has_native_threads() -> bool:
    """Whether there are threads, such as workers, that Python did not start.

    A process that was forked before whisperlite was imported has none, and `was_forked` may not know of the fork.
    """
    try:
        tasks = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - nothing is made of the names
    except OSError:
        return False
    return tasks > threading.active_count()


@lru_cache(maxsize=1)
def _gnu_openmp() -> Any:
    """torch's OpenMP, if it is GNU's; None if it is another, or cannot be called."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)  # torch loads OpenMP for the whole process
    has = {name: hasattr(library, name) for name in ("GOMP_parallel", "omp_pause_resource", "__kmpc_fork_call")}
    # LLVM's and Intel's libraries also have the first two names.
    return library if has["GOMP_parallel"] and has["omp_pause_resource"] and not has["__kmpc_fork_call"] else None


class StepThreads:
    """Finds out whether similar short steps are faster on all threads or on one.

    Threads wait for each other many times within a step. If another process keeps a core busy, waiting can take ten
    times as long as the work, and counting cores does not tell. So the other number is tried now and then, and soon
    after steps suddenly take longer.

    Args:
        most: the most threads that may be used.
        clock: returns the time in seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most, self.chosen = most, most
        self._clock = clock
        self._size = 0
        self._until_trial = _RECENT
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def run(self, step: Callable[[], None], *, size: int) -> None:
        """Run a step and measure its time; only times of the same size are compared."""
        if self.most == 1:
            step()
            return
        if size != self._size:
            self._size = size
            self._recent.clear()
        is_trial = self._until_trial <= 0 and len(self._recent) == _RECENT
        count = (1 if self.chosen > 1 else self.most) if is_trial else self.chosen
        with threads(count):
            began = self._clock()
            step()
            took = self._clock() - began
        if is_trial:
            if took < _WORTH * median(self._recent):
                self.chosen = count
                self._recent.clear()
            self._until_trial = _PERIOD if self.chosen > 1 else _LONG_PERIOD
        else:
            self._until_trial -= 1
            if self.chosen > 1 and len(self._recent) == _RECENT and took > _SUDDEN * median(self._recent):
                self._recent.clear()  # compare a trial with the steps from now on
                self._until_trial = 0
            self._recent.append(took)
