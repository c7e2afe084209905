"""Memory, loading and the first segment of each library, every time in a process that has done nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.parity.environment import ROOT
from benchmarks.peers.desk import python_of
from benchmarks.speed.compare import LANGUAGE, Row, verdict
from benchmarks.speed.processes import Workers, environment
from benchmarks.speed.recordings import Subject
from benchmarks.speed.settings import MEMORY_CLAIMS, Request, Side

_ONLY_TORCH = "import torch; from benchmarks.speed.worker import peak_bytes; print(peak_bytes())"


def measure(sides: Sequence[Side], subject: Subject, workers: Workers, repeats: int) -> dict[str, Any]:
    """Have each side in turn load its model and transcribe one recording, greedily.

    Returns:
        `subject`, `audio_s`, and for each of `sides`: `load_s`, `first_s` and `seconds` (lists over all rounds),
        `peak_mb`, `above_torch_mb`, which is without the peak of a process that only imports torch in the same
        environment, and `loaded_above_torch_mb`, the same after loading, before anything is transcribed.
    """
    request = Request(subject.files, LANGUAGE, beam_size=1)
    found: dict[str, dict[str, Any]] = {}
    for turn in range(repeats):
        first = turn % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            torch_bytes = _only_torch(workers, side)
            with workers.fresh(side) as worker:
                reply = worker.ask(request)
            row = found.setdefault(side.name, {})
            for name, value in (
                *(("load_s", worker.loaded["load_s"]), ("first_s", reply["first_s"]), ("seconds", reply["seconds"])),
                *(("peak", reply["peak_bytes"]), ("loaded", worker.loaded["peak_bytes"]), ("torch", torch_bytes)),
            ):
                row.setdefault(name, []).append(round(value, 4))
            print(f"memory  {side.name}  {reply['peak_bytes'] / 1e6:.0f} MB", file=sys.stderr)
    for row in found.values():
        peak, loaded, torch_alone = (median(row.pop(name)) / 1e6 for name in ("peak", "loaded", "torch"))
        row |= {"peak_mb": round(peak, 1), "above_torch_mb": round(peak - torch_alone, 1)}
        row |= {"loaded_above_torch_mb": round(loaded - torch_alone, 1)}
    return {"subject": subject.name, "audio_s": subject.seconds, "sides": found}


def _only_torch(workers: Workers, side: Side) -> int:
    """Return the peak memory of a process that only imports torch, in bytes."""
    ours = side.library == "whisperlite"
    python = Path(sys.executable) if ours else python_of("openai-whisper")
    variables = environment(workers.cache, ours=ours, threads=workers.threads, python=python)
    done = subprocess.run([python, "-c", _ONLY_TORCH], env=variables, cwd=ROOT, capture_output=True, check=True)
    return int(done.stdout)


def judge(memory: dict[str, Any], ours: Side) -> list[Row]:
    """Return the verdicts on the claims about memory, whose ratio is the peer's over ours."""
    sides = memory["sides"]
    found = []
    for claim in MEMORY_CLAIMS:
        name = claim.sides[0].name
        if name in sides and ours.name in sides:
            found.append(verdict(claim, name, sides[name]["above_torch_mb"] / sides[ours.name]["above_torch_mb"]))
    return found
