"""The libraries' processes: started when they are first needed, and asked over pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.parity.environment import ROOT
from benchmarks.peers.desk import python_of
from benchmarks.speed.settings import Request, Side

Reply = dict[str, Any]


class WorkerError(Exception):
    """A library's process ended; its own message is on the standard error stream."""


@dataclass
class Workers:
    """The processes of the sides, one each, with their models loaded.

    Attributes:
        cache: the folder with the weights and ffmpeg.
        threads: the threads of each.
        left_out: names of libraries that could not be loaded.
        versions: of the loaded libraries: `version`, and `facts` about the packages below them.
    """

    cache: Path
    threads: int
    left_out: set[str] = field(default_factory=set)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    loaded: dict[Side, Worker] = field(default_factory=dict)

    def available(self, sides: Sequence[Side]) -> list[Side]:
        """Load the sides, and return those for which that was possible."""
        for side in sides:
            if side not in self.loaded and side.library not in self.left_out:
                try:
                    self.loaded[side] = self._start(side)
                except WorkerError as error:
                    if side.library == "whisperlite":
                        raise
                    print(f"{side.library} is left out: {error}", file=sys.stderr, flush=True)
                    self.left_out.add(side.library)
        return [side for side in sides if side in self.loaded]

    def ask(self, side: Side, request: Request) -> Reply:
        return self.loaded[side].ask(request)

    def close(self) -> None:
        for worker in self.loaded.values():
            worker.close()
        self.loaded.clear()

    @contextmanager
    def fresh(self, side: Side) -> Iterator[Worker]:
        """Start a new process for the length of the block."""
        worker = self._start(side)
        try:
            yield worker
        finally:
            worker.close()

    def _start(self, side: Side) -> Worker:
        worker = Worker(self.cache, side, self.threads)
        self.versions[side.library] = {name: worker.loaded[name] for name in ("version", "facts")}
        return worker


class Worker:
    """The process of one side.

    Attributes:
        side: the side that it loaded.
        loaded: its reply after loading: `load_s`, `peak_bytes`, `version`, `facts`.

    Raises:
        WorkerError: the process ended, here or in `ask`.
    """

    def __init__(self, cache: Path, side: Side, threads: int) -> None:
        self.side = side
        ours = side.library == "whisperlite"
        python = Path(sys.executable) if ours else python_of("openai-whisper")
        command = [str(python), "-m", "benchmarks.speed.worker", json.dumps(side.to_dict()), str(threads)]
        self._process = subprocess.Popen(
            [*command, str(cache.resolve())],
            env=environment(cache, ours=ours, threads=threads, python=python),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.loaded = self._read()

    def ask(self, request: Request) -> Reply:
        assert self._process.stdin is not None, "started with pipes"
        self._process.stdin.write(json.dumps(request.to_dict()).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None, "started with pipes"
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Reply:
        assert self._process.stdout is not None, "started with pipes"
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the process of {self.side.name} ended with exit code {self._process.wait()}")
        reply: Reply = json.loads(line)
        return reply


def environment(cache: Path, *, ours: bool, threads: int, python: Path) -> dict[str, str]:
    """Return the environment variables of a library's process; only whisperlite's sees this source."""
    found = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    found["PATH"] = os.pathsep.join([str(cache.resolve() / "bin"), os.environ.get("PATH", "")])
    found["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")] if ours else [str(ROOT)])
    found["TRANSFORMERS_VERBOSITY"] = "error"
    # A whisper.cpp that was built here looks for its parts where it was built, not where it was installed.
    packages = [str(path) for path in (python.parent.parent / "lib").glob("python3.*/site-packages")]
    return found if ours else {**found, "LD_LIBRARY_PATH": os.pathsep.join(packages)}
