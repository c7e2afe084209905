"""What our cost depends on: the length of a recording, and how many windows are decoded together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.compare import LANGUAGE
from benchmarks.speed.processes import Workers
from benchmarks.speed.recordings import Recording, Subject, of_length
from benchmarks.speed.settings import FLOAT32, INT8, Request, Way

LENGTHS_S = (10, 60, 600, 3600, 10800)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_WAYS: tuple[Way, ...] = ("sequential", "chunks")


def measure_lengths(recording: Recording, lengths: Sequence[float], workers: Workers) -> list[dict[str, Any]]:
    """Measure time and memory for recordings of these lengths (s), greedy, in int8, each in a process of its own."""
    rows = []
    for seconds in lengths:
        made = of_length(recording, seconds, Path(workers.cache) / "recordings")
        for way in _WAYS:
            with workers.fresh(INT8) as worker:
                worker.ask(Request((of_length(recording, 5, Path(workers.cache) / "recordings").path,), LANGUAGE, 1))
                reply = worker.ask(Request((made.path,), LANGUAGE, beam_size=1, way=way))
            row = {"audio_s": seconds, "way": way, "seconds": round(reply["seconds"], 3)}
            row |= {"first_s": round(reply["first_s"], 3), "peak_mb": round(reply["peak_bytes"] / 1e6, 1)}
            print(f"lengths  {seconds:g} s  {way}  {row['seconds']} s  {row['peak_mb']} MB", file=sys.stderr)
            rows.append(row)
    return rows


def measure_batch_sizes(folder: Subject, sizes: Sequence[int], workers: Workers, repeats: int) -> list[dict[str, Any]]:
    """Time a folder of clips, greedy, with each batch size in turn."""
    # At least one full batch of clips.
    files = folder.files * -(-max(sizes) // len(folder.files))
    audio_s = folder.seconds * len(files) / len(folder.files)
    rows = []
    for side in workers.available((FLOAT32, INT8)):
        request = Request(files, LANGUAGE, beam_size=1, way="folder")
        workers.ask(side, replace(request, files=files[: max(sizes)], batch_size=max(sizes)))
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(repeats):
            for size in sizes if turn % 2 == 0 else sizes[::-1]:
                reply = workers.ask(side, replace(request, batch_size=size))
                times[size].append(round(reply["seconds"], 4))
                print(f"batch sizes  {side.name}  {size}  {reply['seconds']:.2f} s", file=sys.stderr)
        for size, seconds in times.items():
            row: dict[str, Any] = {"compute_type": side.compute_type, "batch_size": size, "seconds": seconds}
            rows.append(row | {"files": len(files), "times_real_time": round(audio_s / median(seconds), 1)})
    return rows
