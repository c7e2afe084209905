"""Pools that a program does not close before it ends, or takes along into a process that it forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pooled import PATIENCE_S

ROOT = Path(__file__).parents[1]

BEGINNING = """
import io, os, sys, threading, warnings
import numpy as np
from tests.pooled import QUICK, SHORT, LONG, WAV, Upload
from tests.small_whisper import small_whisper
from whisperlite.api import decoding_thread
from whisperlite.decoding.engine import Engine

model = small_whisper()
"""

LEFT_OPEN = (
    BEGINNING
    + """
decoding_thread._STEP_S = 3600.0  # it is not this limit that ends it
pool = model.pool(2)
long = [pool.submit(np.resize(LONG, 600 * 16000), **QUICK) for _ in range(2)]
never_comes = threading.Event()
blocked = pool.submit(Upload(WAV, never_comes.wait), **QUICK)
waiting = [pool.submit(LONG, **QUICK) for _ in range(20)]
next(long[0].segments())
sys.exit(7)
"""
)


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_program_that_does_not_close_its_pool_ends_all_the_same_with_its_own_status() -> None:
    """One recording is being decoded, one is being read and never comes, others wait."""
    ended = run(LEFT_OPEN, "-W", "always::ResourceWarning")
    assert ended.returncode == 7, ended.stderr
    assert "ResourceWarning: A pool was not closed" in ended.stderr
    assert "Traceback" not in ended.stderr


CLOSED = (
    BEGINNING
    + """
with model.pool(2) as pool:
    pool.submit(SHORT, **QUICK).result()
assert len(list(model.transcribe_many([SHORT] * 3, **QUICK))) == 3
abandoned = model.transcribe_many([SHORT] * 3, **QUICK)
"""
)


def test_a_program_that_closes_its_pools_is_told_nothing() -> None:
    ended = run(CLOSED, "-W", "error::ResourceWarning")
    assert (ended.returncode, ended.stderr) == (0, "")


FORKED = (
    BEGINNING
    + """
warnings.simplefilter("ignore")  # of forking with threads
goes_on = threading.Event()
goes_on.set()
step = Engine.step

def held_up(engine):
    goes_on.wait()
    return step(engine)

Engine.step = held_up
pool = model.pool(2)
done = pool.submit(SHORT, **QUICK)
done.result()
results = pool.transcribe_many([SHORT] * 99, **QUICK)
next(results)
goes_on.clear()
job = pool.submit(SHORT, **QUICK)

def say(*texts):
    print(*texts, flush=True)

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        sys.exit(3)  # in good order, with all that Python does then
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3

def wait_for_what_never_comes():
    for name, call in {
        "submit": lambda: pool.submit(SHORT, **QUICK),
        "transcribe_many": lambda: pool.transcribe_many([SHORT], **QUICK),
        "results": lambda: next(results),
        "result": job.result,
        "segments": lambda: next(job.segments()),
        "add_callback": lambda: job.add_callback(print),
        "close": pool.close,
    }.items():
        try:
            call()
        except ValueError as error:
            say(name, str(error).replace(str(pool._readers.process), "N"))
    say("done", done.result().duration)

def leave_by_an_error():
    try:
        with pool:
            raise LookupError("mine")
    except LookupError as error:
        say("left by", error)

in_child(wait_for_what_never_comes)
in_child(leave_by_an_error)
goes_on.set()
say("parent", job.result().duration)
results.close()
pool.close()
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_in_a_process_that_was_forked_a_pool_of_the_other_one_says_so_instead_of_waiting() -> None:
    ended = run(FORKED)
    assert ended.returncode == 0, ended.stderr
    message = "This pool belongs to process N: make one after the fork."
    names = ["submit", "transcribe_many", "results", "result", "segments", "add_callback", "close"]
    lines = [f"{name} {message}" for name in names]
    assert ended.stdout.splitlines() == [*lines, "done 3.0", "left by mine", "parent 3.0"]
    assert ended.stderr == ""
