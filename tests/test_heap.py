"""Freed memory that goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.pooled import QUICK, SHORT
from tests.small_whisper import small_whisper
from whisperlite.api import heap
from whisperlite.api.heap import Heap, trim


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do it by themselves")
def test_what_is_free_between_what_is_not_goes_back() -> None:
    blocks = [np.ones(60_000, np.uint8) for _ in range(4000)]  # small enough to lie in the heap
    kept = blocks[::50]
    full = resident_mb()
    del blocks
    trim()
    assert resident_mb() < full - 150
    assert len(kept) == 80


def test_it_is_done_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    now = [100.0]
    monkeypatch.setattr(heap, "trim", lambda: calls.append(None))
    monkeypatch.setattr("whisperlite.api.heap.time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = Heap()
    for _ in range(10):
        kept.freed()
        now[0] += 1.0
    assert len(calls) == 1
    for count in (2, 2):  # what was freed last, though nothing is freed any more
        now[0] += 5.0
        kept.give_back()
        assert len(calls) == count


def test_a_pool_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(heap, "_EVERY_S", 0.0)
    monkeypatch.setattr(heap, "trim", lambda: calls.append(None))
    with small_whisper().pool(2) as pool:
        pool.submit(SHORT, **QUICK).result(60)
    assert calls
