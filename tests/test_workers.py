"""No thread keeps OpenMP workers that it does not use: while they exist, those of others sleep between their tasks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import whisperlite
from tests.pooled import PATIENCE_S, noise, quick, wait_until, wav_of
from whisperlite import Whisper
from whisperlite.decoding import threads as module
from whisperlite.decoding.threads import ending_workers, release_workers, threads

pytestmark = pytest.mark.skipif(module._gnu_openmp() is None, reason="this OpenMP does not count its workers")

CLIP = wav_of((noise(1.0) * 32768).astype(np.int16))


def tasks() -> set[str]:
    """The threads of this process, as the system lists them."""
    return {task.name for task in Path("/proc/self/task").iterdir()}


def work_in_parallel() -> None:
    with threads(3):
        torch.zeros(1 << 20).exp()


def workers_left_by(work: Callable[[], object]) -> int:
    """Of the two workers that a thread of its own has before `work`, or gets in it, those that are there after it."""
    found: list[int] = []

    def run() -> None:
        work_in_parallel()
        release_workers()  # what torch itself begins with its first parallel work stays
        before = tasks()
        work_in_parallel()
        assert len(tasks() - before) == 2
        work()
        deadline = time.monotonic() + 1  # a thread that has been joined is still listed for a moment
        while tasks() - before and time.monotonic() < deadline:
            time.sleep(0.01)
        found.append(len(tasks() - before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_S)
    return found[0]


@pytest.fixture(scope="module")
def model() -> Whisper:
    return whisperlite.load_model("tiny.en", device="cpu", cpu_threads=1)


def failing() -> None:
    with pytest.raises(LookupError), ending_workers():
        raise LookupError


@pytest.mark.parametrize("work", [release_workers, failing])
def test_workers_end_and_new_ones_come(work: Callable[[], object]) -> None:
    def twice() -> None:
        work()
        work_in_parallel()
        work()

    assert workers_left_by(work) == 0
    assert workers_left_by(twice) == 0
    assert workers_left_by(lambda: None) == 2


def test_a_model_leaves_no_workers_behind(model: Whisper) -> None:
    assert workers_left_by(lambda: whisperlite.load_model("tiny.en", device="cpu")) == 0
    assert workers_left_by(lambda: model.transcribe(CLIP, **quick())) == 0
    assert workers_left_by(lambda: list(model.iter_segments(CLIP, **quick()))) == 0
    assert workers_left_by(lambda: model.decode(model.encode(torch.zeros(1, 80, 3000)))) == 0


def test_neither_does_one_who_makes_a_pool_nor_its_readers(model: Whisper) -> None:
    class Recording(io.BytesIO):
        """What is read works in parallel while it is."""

        def read(self, size: int | None = -1) -> bytes:
            work_in_parallel()
            return super().read(size)

    def use() -> None:
        with model.pool(2) as pool:
            pool.submit(Recording(CLIP), **quick()).result()
            # The model's own work runs on one thread: what else there is would be a reader's.
            wait_until(lambda: tasks() - before <= {str(thread.native_id) for thread in threading.enumerate()})

    work_in_parallel()
    before = tasks()
    assert workers_left_by(use) == 0


FORKING = """
import multiprocessing, warnings
import torch
{before}

def work():
    torch.set_num_threads(1)  # as the workers of a DataLoader do
    import numpy, whisperlite
    from whisperlite.decoding.threads import release_workers
    model = whisperlite.load_model("tiny.en", device="cpu", cpu_threads=1)
    samples = numpy.zeros(8000, numpy.float32)
    model.transcribe(samples, beam_size=1, temperature=0.0)
    assert not release_workers()

torch.zeros(1 << 20).exp()  # the parent has workers, and the child what the library remembers of them
warnings.simplefilter("ignore")  # of forking with threads
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
assert child.exitcode == 0
"""


@pytest.mark.parametrize("before", ["import whisperlite", ""], ids=["imported before", "imported in the child"])
def test_a_process_that_was_forked_off_does_not_wait_for_the_workers_of_its_parent(before: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FORKING.format(before=before)], check=True, timeout=60.0, env=environment)
