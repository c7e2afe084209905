"""Hands requests to the libraries' processes and keeps their answers in a git-ignored folder.

Answers of the other libraries stay; ours are made anew when our source changes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from benchmarks.parity.environment import ROOT, Workplace
from benchmarks.parity.store import Answer, Question, Store, file_sha256, read_lines, write_lines
from benchmarks.peers.requests import SAMPLING_RATE, Library, Recording, Request, write_wave
from benchmarks.source import source_sha256
from benchmarks.word_errors import WordErrors
from whisperlite.checkpoints.embedded import installed_weights

REQUIREMENTS = ROOT / "tests/peers/requirements.txt"


@dataclass(frozen=True)
class Desk:
    """A cache folder, and how the libraries answer requests.

    Attributes:
        cache: the folder.
        threads: the threads of each library; one library runs at a time.
        seeds: how many seeds, from 0 on, a request is answered with if the library samples.
    """

    cache: Path
    threads: int = 1
    seeds: int = 3

    @cached_property
    def place(self) -> Workplace:
        return Workplace(self.cache, workers=1)

    def prepare(self) -> None:
        """Write out the weights, in the formats of the other libraries."""
        self.place.prepare()
        if (self.cache / "base-ct2").exists():
            return
        installed = installed_weights("base")
        assert installed is not None, "the benchmarks need the extra `base`"
        part = self.cache / f"base-ct2.{os.getpid()}"
        shutil.copytree(installed.folder, part, ignore=shutil.ignore_patterns("*.part*", "__pycache__"))
        (part / "model.bin").write_bytes(b"".join(path.read_bytes() for path in installed.parts))
        part.rename(self.cache / "base-ct2")

    def record(self, name: str, samples: np.ndarray) -> Recording:
        """Write samples as a WAV file that all libraries read."""
        path = self.cache / "recordings" / f"{name}.wav"
        write_wave(path, samples)
        return Recording(str(path), file_sha256(path), len(samples) / SAMPLING_RATE)

    def answer(self, requests: Sequence[Request], *, cached: bool = False) -> list[Request]:
        """Have the libraries answer the requests that are not in the cache.

        Returns the requests, repeated with every seed where a library sampled.

        Args:
            cached: the other libraries answer nothing new, and a recording that one of them has not answered in all
                settings is left out for all; further seeds are taken as far as they are there.
        """
        if cached:
            left_out = {each.recording for each in requests if each.library != "whisperlite" and not self.find(each)}
            requests = [request for request in requests if request.recording not in left_out]
        if not requests:
            raise SystemExit("Nothing to compare; with --cached, every library must have answered before.")
        for asked in (list, self.with_seeds):
            for library in dict.fromkeys(request.library for request in requests):
                if library == "whisperlite" or not cached:
                    self._work(library, [each for each in asked(requests) if each.library == library])
        return [request for request in self.with_seeds(requests) if self.find(request) is not None]

    def with_seeds(self, requests: Iterable[Request]) -> list[Request]:
        """Return each request once, or with every seed if its answer was sampled."""
        repeated: list[Request] = []
        for request in requests:
            answer = self.find(request)
            seeds = range(self.seeds) if answer is not None and answer["fell_back"] else range(1)
            repeated += [replace(request, seed=seed) for seed in seeds]
        return repeated

    def find(self, request: Request) -> Answer | None:
        return Store(self.cache / "peers").get(self._question(request))

    def seconds(self, requests: Iterable[Request]) -> float:
        """Return the seconds that the answers with the first seed took."""
        answers = (self.find(request) for request in requests if request.seed == 0)
        return sum(float(answer["seconds"]) for answer in answers if answer is not None)

    def count_errors(self, lines: Sequence[dict[str, str]]) -> list[WordErrors]:
        """Count the errors of texts (`lang`, `truth`, `text`), in the environment that has the tools for it."""
        source, target = (self.cache / f"{name}-{os.getpid()}.jsonl" for name in ("texts-counted", "word-errors"))
        write_lines(source, lines)
        if self.place.start("benchmarks.word_errors", [str(source), str(target)], side="reference").wait():
            raise SystemExit("The error count failed.")
        found = [WordErrors(**line) for line in read_lines(target)]
        source.unlink()
        target.unlink()
        return found

    def _work(self, library: Library, requests: Sequence[Request]) -> None:
        missing = [request for request in requests if self.find(request) is None]
        if not missing:
            return
        path = self.cache / f"requests-{os.getpid()}.jsonl"
        # Short ones first, so that the first lines of progress come soon.
        missing.sort(key=lambda request: request.recording.seconds)
        write_lines(path, ({"request": each.to_dict(), "question": self._question(each)} for each in missing))
        command = [str(python_of(library)), "-m", "benchmarks.peers.worker", library, str(path)]
        command += ["--cache", str(self.cache.resolve()), "--threads", str(self.threads)]
        # Only whisperlite's process has this source on its path.
        sources = [str(ROOT), str(ROOT / "src")] if library == "whisperlite" else [str(ROOT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources), "OMP_NUM_THREADS": str(self.threads)}
        environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        code = subprocess.run(command, env=environment, cwd=ROOT).returncode
        path.unlink(missing_ok=True)
        if code:
            raise SystemExit(f"The process of {library} failed: exit code {code}.")

    def _question(self, request: Request) -> Question:
        question = request.to_dict()
        question["recording"] = request.recording.sha256
        question["weights"] = self.place.weights_sha256("base")
        question["version"] = source_sha256() if request.library == "whisperlite" else version_of(request.library)
        if request.library == "openai-whisper":
            question["draws"] = "by the random numbers of whisperlite"
        return question


def python_of(library: Library) -> Path:
    """Return the Python of a library: this one for whisperlite, else $PEERS_PYTHON or the one of `make peers`."""
    if library == "whisperlite":
        return Path(sys.executable)
    python = ROOT / (os.environ.get("PEERS_PYTHON") or ".venv-peers/bin/python")
    if not python.exists():
        raise SystemExit(f"{python} does not exist: run `make peers`, or set PEERS_PYTHON.")
    return python


@cache
def version_of(library: Library) -> str:
    """Return the version of a library that is pinned for the environment of the others."""
    found = re.search(rf"^{re.escape(library)}==(.+)$", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{library} is not pinned in {REQUIREMENTS}"
    return found[1].strip()
