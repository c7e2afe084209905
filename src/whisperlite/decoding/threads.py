"""How many threads torch's work on a CPU runs on.

torch keeps the number for each thread of the process that calls it, and it is put back after every step. Only a thread
that uses torch for the first time in the middle of a step starts with the step's number. Tokens do not depend on it.
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

_PERIOD = 64  # steps after which the other number is tried once more
_LONG_PERIOD = 256  # the same while one thread was faster: with a busy neighbour a trial is expensive
_RECENT = 5
_SUDDEN = 2.0  # times as long as usual: it may be worth a trial soon
_WORTH = 0.9

_CGROUP_LIMITS = (("/sys/fs/cgroup/cpu.max", None), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "cpu.cfs_period_us"))


def usable_threads() -> int:
    """As many as torch would take, but no more than the cores that this process may use.

    Whoever sets $OMP_NUM_THREADS or calls `torch.set_num_threads` sets torch's number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(torch.get_num_threads(), cores, _quota()), 1)


def _quota() -> int:
    """Cores that the control group of this process may keep busy, rounded up."""
    for path, period_name in _CGROUP_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").split()
            period = Path(path).with_name(period_name).read_text(encoding="ascii") if period_name else text[1]
            if text[0] not in ("max", "-1"):
                return max(math.ceil(int(text[0]) / int(period)), 1)
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue  # there is no such file here, or another kernel writes something else: no limit is known
    return os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch's operators on so many threads, on the calling thread of the process."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_SOFT_PAUSE = 1  # `omp_pause_soft`: what the program has set stays


@contextmanager
def ending_workers() -> Iterator[None]:
    """Parallel work of the calling thread; at its end its workers end, see `release_workers`."""
    try:
        yield
    finally:
        release_workers()


def release_workers() -> bool:
    """End the threads that GNU's OpenMP keeps for the calling thread; its next parallel work has new ones.

    That library counts the workers of every thread that has ever worked in parallel. Where there are more than cores,
    none of them waits awake any longer for its next part, and a step of the decoder, which has hundreds, takes half as
    long again. So no thread is to keep workers that it does not use.

    In a process that was forked off it does nothing: the library would wait for the workers of the parent, which are
    not there.

    Returns:
        Whether the library was asked. It is left alone where it is not GNU's: others have no such rule.
    """
    library = _gnu_openmp()
    if library is None or was_forked() or not _has_native_threads():
        return False
    library.omp_pause_resource(_SOFT_PAUSE, library.omp_get_initial_device())
    return True


def _has_native_threads() -> bool:
    """Whether there are threads that Python knows nothing of, as workers are.

    In a process that was forked off before whisperlite was imported there are none, and `was_forked` may not know.
    """
    try:
        tasks = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - nothing is made of the names
    except OSError:
        return False
    return tasks > threading.active_count()


@lru_cache(maxsize=1)
def _gnu_openmp() -> Any:
    """torch's OpenMP, if it is GNU's; None: another, or none that can be asked."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)  # torch loads it for the whole process
    has = {name: hasattr(library, name) for name in ("GOMP_parallel", "omp_pause_resource", "__kmpc_fork_call")}
    # LLVM's and Intel's answer to both names.
    return library if has["GOMP_parallel"] and has["omp_pause_resource"] and not has["__kmpc_fork_call"] else None


class StepThreads:
    """Finds whether short steps, all alike, are faster on all threads or on one.

    Threads wait for each other many times within a step. Where another process keeps a core busy that can take ten
    times as long as the work, and no count of cores tells. So the other number is tried now and then, and soon where
    steps suddenly take longer than before.

    Args:
        most: threads that may be used.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most, self.chosen = most, most
        self._clock = clock
        self._size = 0
        self._until_trial = _RECENT
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def run(self, step: Callable[[], None], *, size: int) -> None:
        """Take a step, and its time; steps of another size take another time."""
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
                self._recent.clear()  # a trial is to be compared with what steps take from now on
                self._until_trial = 0
            self._recent.append(took)
