"""How much slower we are while another process keeps a core busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import Any

from benchmarks.speed.compare import LANGUAGE
from benchmarks.speed.processes import Workers
from benchmarks.speed.recordings import Chosen
from benchmarks.speed.settings import FLOAT32, INT8, Request, Side, Way

MOST = 3.0  # times the time alone

_WAYS: tuple[tuple[Way, int], ...] = (("sequential", 1), ("sequential", 5), ("chunks", 1), ("folder", 1))


def measure(chosen: Chosen, workers: Workers, repeats: int) -> list[dict[str, Any]]:
    """Time every way to transcribe alone and beside a busy process, in turn."""
    rows = []
    for side in workers.available((FLOAT32, INT8)):
        for way, beam_size in _WAYS:
            files = {"sequential": chosen.single[-1], "chunks": chosen.longest, "folder": chosen.folder}[way]
            if files is not None:
                rows.append(_measure(side, Request(files.files, LANGUAGE, beam_size, way), workers, repeats))
    return rows


def _measure(side: Side, request: Request, workers: Workers, repeats: int) -> dict[str, Any]:
    times: dict[bool, list[float]] = {False: [], True: []}
    workers.ask(side, request)
    for _ in range(repeats):
        for is_busy, found in times.items():
            with busy_process() if is_busy else nullcontext():
                found.append(round(workers.ask(side, request)["seconds"], 4))
    row: dict[str, Any] = {"compute_type": side.compute_type, "way": request.way, "beam_size": request.beam_size}
    row |= {"alone": times[False], "beside": times[True]}
    row["ratio"] = round(median(times[True]) / median(times[False]), 2)
    print(f"neighbour  {row}", file=sys.stderr)
    return row


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy with another process of the same priority during the block."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
