"""The processes of both sides: their interpreters, their ffmpeg, their shares of the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.parity import ours
from benchmarks.parity.matrix import MODELS, Run, run_question
from benchmarks.parity.store import Answer, Store, write_lines
from benchmarks.parity.weights import export
from whisperlite.audio.ffmpeg import find_binary
from whisperlite.checkpoints.resolve import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"

Ladder = Literal["stop", "full"]
Side = Literal["reference", "ours"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """The git-ignored folder for intermediate files, and the number of processes that share the work.

    Attributes:
        cache: the folder.
        workers: the number of processes, of one thread each.
    """

    cache: Path
    workers: int

    def prepare(self) -> None:
        """Write the files that the reference needs: the weights, and a link named `ffmpeg`, which it calls."""
        for model in MODELS:
            if not self.weights(model).with_suffix(".json").exists():
                export(load_checkpoint(model), self.weights(model))
        link, binary = self.cache / "bin/ffmpeg", find_binary()
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() or not link.samefile(binary):
            link.unlink(missing_ok=True)
            link.symlink_to(binary)

    def weights(self, model: str) -> Path:
        return self.cache / "weights" / f"{model}.npz"

    def weights_sha256(self, model: str) -> str:
        return _weights_sha256(self.weights(model).with_suffix(".json"))

    def ffmpeg_version(self) -> str:
        return _version_line(self.cache / "bin/ffmpeg")

    def answer(self, side: Side, runs: Sequence[Run], *, ladder: Ladder) -> None:
        """Have one side answer the runs that are not in the cache; one worker gets all runs of a clip.

        Raises:
            SystemExit: a worker failed.
        """
        started = []
        for index in range(self.workers):
            share = [run for run in runs if int(run.clip.sha256, 16) % self.workers == index]
            path = self.cache / f"runs-{os.getpid()}-{index}.jsonl"
            write_lines(path, (run.to_dict() for run in share))
            arguments = [str(path), "--cache", str(self.cache), "--ladder", ladder]
            if side == "reference":
                arguments += ["--ffmpeg", self.ffmpeg_version()]
            started.append((path, self.start(f"benchmarks.parity.{side}", arguments, side=side)))
        codes = [process.wait() for _, process in started]
        for path, _ in started:
            path.unlink(missing_ok=True)
        if any(codes):
            raise SystemExit(f"The processes of {side!r} failed: exit codes {codes}.")

    def find(self, side: Side, run: Run, *, ladder: Ladder) -> Answer | None:
        """Return a side's answer from the cache; None if it is not there."""
        if side == "ours":
            question = ours.run_question(run, ladder=ladder)
            return Store(self.cache / "ours").get(question)
        weights, ffmpeg = self.weights_sha256(run.model), self.ffmpeg_version()
        return Store(self.cache / "answers").get(run_question(run, weights=weights, ffmpeg=ffmpeg, ladder=ladder))

    def start(
        self, module: str, arguments: Sequence[str], *, side: Side, pipes: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a module in the environment of one side.

        Args:
            pipes: connect its standard input and output to the caller.
        """
        python = Path(sys.executable) if side == "ours" else reference_python()
        path = os.pathsep.join([str(self.cache / "bin"), os.environ.get("PATH", "")])
        # The reference's side sees this source tree (`numerics` calls whisperlite too) and no other.
        inherited = [os.environ["PYTHONPATH"]] if side == "ours" and "PYTHONPATH" in os.environ else []
        sources = os.pathsep.join([str(ROOT), str(ROOT / "src"), *inherited])
        environment = {**os.environ, "PYTHONPATH": sources, "PATH": path}
        command = [str(python), "-m", module, *arguments]
        pipe = subprocess.PIPE if pipes else None
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdin=pipe, stdout=pipe)


@cache
def _weights_sha256(facts: Path) -> str:
    return str(json.loads(facts.read_text(encoding="utf-8"))["sha256"])


@cache
def _version_line(program: Path) -> str:
    return subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def reference_python() -> Path:
    """Return $PARITY_REFERENCE_PYTHON, or else the Python of the environment that `make parity` creates."""
    python = Path(os.environ.get("PARITY_REFERENCE_PYTHON") or ROOT / ".venv-reference/bin/python")
    if not python.exists():
        raise SystemExit(f"{python} does not exist: run `make parity`, or set PARITY_REFERENCE_PYTHON.")
    return python


def evaluation_folder() -> Path | None:
    """Return $WHISPERLITE_EVAL, or else the folder beside the project; None if there is neither."""
    if chosen := os.environ.get("WHISPERLITE_EVAL"):
        return Path(chosen)
    beside = ROOT.parent / "shared/eval/dev"
    return beside if beside.is_dir() else None
