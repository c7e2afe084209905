"""The processes of the sides, each fresh for its measurement, and their memory while they work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.parity.environment import ROOT
from benchmarks.peers.desk import python_of
from benchmarks.service.clients import Answer, Endpoint, ask, send
from benchmarks.service.clips import Clip, in_order
from benchmarks.service.report import Run
from benchmarks.speed.processes import environment

_STARTED = re.compile(r"Uvicorn running on http://[^\s:]+:(\d+)")
_START_S = 120.0
_STOP_S = 60.0
_PACKAGES = {"whisperlite": "torch starlette uvicorn", "faster-whisper": "faster-whisper ctranslate2 fastapi uvicorn"}
_PRINT_VERSIONS = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


# The sides


def run_service(
    clips: Sequence[Clip], *, cache: Path, threads: int, compute_type: str, seconds: float, clients: int
) -> Run:
    """`whisperlite serve`, with clients that post to its inference API."""
    arguments = ["--no-auth", "--compute-type", compute_type, "--device", "cpu", "--threads", str(threads)]
    variables = environment(cache, ours=True, threads=threads, python=Path(sys.executable))
    with serving(arguments, variables) as (process, port):
        endpoint = Endpoint(port, "/v1/inference/openai/whisper-base", "audio")
        return _run_clients(process, endpoint, clips, seconds, clients)


def run_peer(
    clips: Sequence[Clip],
    *,
    cache: Path,
    threads: int,
    compute_type: str,
    seconds: float,
    clients: int,
    workers: int = 1,
    wait_policy: str | None = None,
) -> Run:
    """The service around faster-whisper, likewise.

    Args:
        workers: the number of requests that it computes at a time; each gets an equal share of the threads.
        wait_policy: OMP_WAIT_POLICY. Threads that spin while they wait make it several times as slow as soon as another
            process wants a core; with "PASSIVE" they sleep. None keeps the policy of this process, if any.
    """
    python = python_of("faster-whisper")
    variables = environment(cache, ours=False, threads=threads, python=python)
    variables |= {"SERVICE_MODEL": str(cache.resolve() / "base-ct2"), "SERVICE_COMPUTE_TYPE": compute_type}
    variables |= {"SERVICE_WORKERS": str(workers), "SERVICE_THREADS": str(threads // workers)}
    if wait_policy is not None:
        variables["OMP_WAIT_POLICY"] = wait_policy
    command = [str(python), "-m", "uvicorn", "benchmarks.service.faster_whisper_service:app"]
    with _started([*command, "--host", "127.0.0.1", "--port", "0"], variables) as (process, port):
        return _run_clients(process, Endpoint(port, "/transcribe", "file"), clips, seconds, clients)


def run_many(clips: Sequence[Clip], *, cache: Path, threads: int, compute_type: str, seconds: float) -> Run:
    """`transcribe_many`."""
    question = {"clips": [clip.to_dict() for clip in clips], "seconds": seconds, "threads": threads}
    question["compute_type"] = compute_type
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service.many"],
        env=environment(cache, ours=True, threads=threads, python=Path(sys.executable)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None, "started with pipes"
    assert process.stdout is not None, "started with pipes"
    with process.stdin:
        process.stdin.write(json.dumps(question).encode())
    process.stdout.readline()  # it has loaded the model
    with Memory(process.pid) as memory:
        lines = [json.loads(line) for line in process.stdout]
    if process.wait():
        raise SystemExit(f"The process of transcribe_many failed: exit code {process.returncode}.")
    return Run(seconds, [Answer(**{**line, "clip": Clip(**line["clip"])}) for line in lines], memory.samples)


def versions_of() -> dict[str, dict[str, str]]:
    """Return the versions of packages in each side's environment, without a peer that is not installed."""
    found = {}
    for library, packages in _PACKAGES.items():
        try:
            python = Path(sys.executable) if library == "whisperlite" else python_of("faster-whisper")
        except SystemExit:
            continue
        names = packages.split()
        done = subprocess.run([python, "-c", _PRINT_VERSIONS, *names], capture_output=True, text=True, check=True)
        found[library] = dict(zip(names, done.stdout.split(), strict=True))
    return found


def _run_clients(
    process: subprocess.Popen[bytes], endpoint: Endpoint, clips: Sequence[Clip], seconds: float, clients: int
) -> Run:
    warm_up = ask(clips[0], endpoint, time.perf_counter())
    if warm_up.error is not None:
        raise SystemExit(f"A service does not answer: {warm_up.error}")
    with Memory(process.pid) as memory:
        answers = send(in_order(clips), endpoint, clients, seconds)
    return Run(seconds, answers, memory.samples)


# Processes


@contextmanager
def serving(
    arguments: Sequence[str], variables: Mapping[str, str], folder: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`whisperlite serve` as a process, and its port.

    Args:
        arguments: further arguments of the command, which gets its port and its data folder here.
        folder: for its data; None for a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command = [str(Path(sys.executable).with_name("whisperlite")), "serve", "--port", "0"]
        command += ["--data-dir", str(folder or temporary), *arguments]
        with _started(command, variables) as started:
            yield started


@contextmanager
def _started(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a service with uvicorn for the block, which begins when it listens; yields its process and port."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=stream, stderr=stream)
        try:
            yield process, _port(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print("A service did not stop when it was told to, and was killed.", file=sys.stderr)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        if found := _STARTED.search(log.read_text(encoding="utf-8", errors="replace")):
            return int(found[1])
        time.sleep(0.1)
    raise SystemExit(f"A service did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


# Memory


class Memory:
    """Measures the memory of a process and its children once a second during the block.

    Attributes:
        samples: seconds since the block began, bytes.
    """

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int]] = []
        self._pid, self._is_over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        start = time.perf_counter()
        while not self._is_over.wait(1.0):
            self.samples.append((time.perf_counter() - start, held_bytes(self._pid)))


def held_bytes(pid: int) -> int:
    """Return the physical memory of a process and its children; shared pages are counted in parts (PSS)."""
    process = Path("/proc") / str(pid)
    held = 0
    try:
        for line in (process / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                held += int(line.split()[1]) * 1024
        for task in os.listdir(process / "task"):  # noqa: PTH208 - only names are needed
            children = (process / "task" / task / "children").read_text(encoding="ascii")
            held += sum(held_bytes(int(child)) for child in children.split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended
    return held
