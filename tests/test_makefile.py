"""What the targets of the Makefile run, with programs in place of Python that only write down how they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAMPS = (".dev", ".demo", ".ready", ".native")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *arguments: str, failing: str = "nothing") -> tuple[int, list[str], str]:
    """Run make with an environment whose Python fails if it is asked for one module.

    Returns:
        The exit status, the arguments that Python was called with, and what make wrote to standard error.
    """
    (folder / "bin").mkdir()
    python = folder / "bin/python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{folder}/calls\n[ "$2" != {failing} ]\n', encoding="utf-8")
    python.chmod(0o755)
    for stamp in STAMPS:
        (folder / stamp).touch()
    places = [f"{name}={folder}" for name in ("VENV", "REFERENCE_VENV", "PEERS_VENV")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", *places, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    calls = (folder / "calls").read_text(encoding="utf-8").splitlines() if (folder / "calls").exists() else []
    return done.returncode, calls, done.stderr


@pytest.mark.parametrize("failing", ["nothing", "benchmarks.speed", "benchmarks.wer", "benchmarks.padding"])
def test_bench_runs_all_four_benchmarks_and_fails_at_the_end_if_one_does(failing: str, tmp_path: Path) -> None:
    status, calls, errors = make(tmp_path, "bench", "ARGS=--threads 1", "SPEED=--roofline", failing=failing)
    assert calls == [
        "-m benchmarks.speed --threads 1 --roofline",
        "-m benchmarks.wer --threads 1",
        "-m benchmarks.precision --threads 1",
        "-m benchmarks.padding --threads 1",
    ]
    assert (status != 0) == (failing != "nothing")
    assert failing.rpartition(".")[2] in errors or failing == "nothing"
