"""Recordings that share an engine: how one is stopped, what is held meanwhile, and how a pool ends or goes on."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import whisperlite
from tests.conftest import DATA
from tests.pooled import (
    LONG,
    PATIENCE_S,
    QUICK,
    RECORDINGS,
    SHORT,
    WAV,
    Steps,
    Upload,
    assert_same_result,
    noise,
    pool_threads,
    quick,
    wait_until,
    watch_engines,
)
from tests.test_cancel import assert_is_a_prefix
from whisperlite import (
    CancelledError,
    Job,
    MemoryExceededError,
    OptionsDict,
    Pool,
    TimeoutExceededError,
    Transcription,
    Whisper,
)
from whisperlite.api.decoding_thread import DecodingThread
from whisperlite.api.readers import Readers
from whisperlite.audio.load import AudioSource
from whisperlite.audio.mel import Features
from whisperlite.cancel import Stop
from whisperlite.decoding.engine import Engine
from whisperlite.own_threads import OwnThread


@pytest.fixture(scope="module")
def alone(model: Whisper) -> list[Transcription]:
    return [model.transcribe(each, **QUICK) for each in RECORDINGS]


pytestmark = pytest.mark.usefixtures("no_thread_stays")


# Stopping


@pytest.mark.parametrize("number", range(1, 8, 2))
def test_a_job_that_is_cancelled_while_it_is_decoded_has_a_prefix_and_the_others_go_on(
    model: Whisper, alone: list[Transcription], steps: Steps, number: int
) -> None:
    jobs: list[Job] = []

    def cancel(count: int) -> None:
        if count == number:
            jobs[0].cancel()

    steps.may_go.clear()
    steps.before = cancel
    with model.pool(2) as pool:
        jobs += [pool.submit(each, **QUICK) for each in RECORDINGS[:3]]
        steps.may_go.set()
        with pytest.raises(CancelledError) as caught:
            jobs[0].result(PATIENCE_S)
    assert_is_a_prefix(caught.value.partial, alone[0])
    assert caught.value.partial is not None
    assert segments_until_the_error(jobs[0]) == caught.value.partial.segments
    for job, expected in zip(jobs[1:], alone[1:3], strict=True):
        assert_same_result(job.result(PATIENCE_S), expected)


def segments_until_the_error(job: Job) -> tuple[whisperlite.Segment, ...]:
    found = []
    try:
        for segment in job.segments():
            found.append(segment)
    except CancelledError:
        return tuple(found)
    raise AssertionError("it was cancelled")


def assert_was_not_begun(error: CancelledError) -> None:
    assert error.partial is not None
    assert (error.partial.segments, error.partial.duration, error.partial.language) == ((), 0.0, "en")


@pytest.mark.parametrize("number", [0, 3, 7])
def test_a_job_that_waits_for_room_can_be_cancelled_and_is_not_read(model: Whisper, steps: Steps, number: int) -> None:
    steps.may_go.clear()
    with model.pool(1) as pool:
        running = [pool.submit(SHORT, **QUICK) for _ in range(3)]
        files = [Upload(WAV) for _ in range(8)]
        waiting = [pool.submit(each, **QUICK) for each in files]
        waiting[number].cancel()
        with pytest.raises(CancelledError) as caught:
            waiting[number].result(PATIENCE_S)
        assert_was_not_begun(caught.value)
        assert not any(each.is_read for each in files)
        steps.may_go.set()
    assert all(job.result().duration == 3.0 for job in running)
    assert [each.is_read for each in files] == [index != number for index in range(8)]


def test_a_job_that_is_cancelled_while_its_loudest_moment_is_looked_for_leaves_the_others_alone(
    model: Whisper, alone: list[Transcription], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    submitted = threading.Event()
    log_power = Features._log_power

    def cancelling(self: Features, start: int, count: int) -> torch.Tensor:
        assert submitted.wait(PATIENCE_S)
        if len(self.samples) == len(LONG):
            jobs[0].cancel()
        return log_power(self, start, count)

    monkeypatch.setattr(Features, "_log_power", cancelling)
    with model.pool(2) as pool:
        jobs += [pool.submit(LONG, **QUICK), pool.submit(SHORT, **QUICK)]
        submitted.set()
        with pytest.raises(CancelledError) as caught:
            jobs[0].result(PATIENCE_S)
        assert_same_result(jobs[1].result(PATIENCE_S), alone[1])
    assert caught.value.partial is not None
    assert caught.value.partial.segments == ()


def test_a_cancelled_job_makes_room(model: Whisper, alone: list[Transcription], steps: Steps) -> None:
    steps.may_go.clear()
    with model.pool(1) as pool:
        jobs = [pool.submit(LONG, **QUICK) for _ in range(5)]
        last = pool.submit(SHORT, **QUICK)
        for job in jobs:
            job.cancel()
            job.cancel()
        steps.may_go.set()
        assert_same_result(last.result(PATIENCE_S), alone[1])
    assert all(job.done for job in jobs)


def test_cancelling_what_is_done_changes_nothing(model: Whisper) -> None:
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        result = job.result(PATIENCE_S)
        job.cancel()
        assert job.result() is result


def test_time_counts_while_a_recording_is_decoded(model: Whisper, steps: Steps) -> None:
    steps.may_go.clear()
    with model.pool() as pool:
        late, other = pool.submit(LONG, **quick(timeout_s=0.05)), pool.submit(SHORT, **quick(timeout_s=600))
        assert steps.begun.wait(PATIENCE_S)
        with pytest.raises(TimeoutError):
            late.result(0.1)
        steps.may_go.set()
        with pytest.raises(TimeoutExceededError, match=r"timeout_s=0\.05"):
            late.result(PATIENCE_S)
        assert other.result(PATIENCE_S).duration == 3.0


# Memory


def test_no_more_are_read_than_fit_and_two(model: Whisper, steps: Steps) -> None:
    """The engine stands still; what waits for room runs out of its time unread."""
    read = threading.Semaphore(0)
    steps.may_go.clear()
    with model.pool(2) as pool:
        jobs = [pool.submit(Upload(WAV, read.release), **QUICK) for _ in range(4)]
        for _ in jobs:
            assert read.acquire(timeout=PATIENCE_S)
        files = [Upload(WAV) for _ in range(6)]
        for late in [pool.submit(each, **quick(timeout_s=0.2)) for each in files]:
            with pytest.raises(TimeoutExceededError) as caught:
                late.result(PATIENCE_S)
            assert_was_not_begun(caught.value)
        assert not any(each.is_read for each in files)
        steps.may_go.set()
    assert all(job.result().duration == pytest.approx(3.0) for job in jobs)


def test_what_failed_makes_room(model: Whisper) -> None:
    with model.pool(1) as pool:
        jobs = [pool.submit("no such file.wav", **QUICK) for _ in range(9)]
        last = pool.submit(SHORT, **QUICK)
        assert last.result(PATIENCE_S).duration == 3.0
    assert all(job.done for job in jobs)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, weakref.ref[Features]]]:
    """Those that are read from now on, while there is no garbage collection.

    That comes seldom, and does not know how much a recording takes.
    """
    watched: dict[int, weakref.ref[Features]] = {}
    find_floor = Features.find_floor

    def watching(self: Features) -> float:
        watched.setdefault(id(self), weakref.ref(self))
        return find_floor(self)

    monkeypatch.setattr(Features, "find_floor", watching)
    gc.disable()
    yield watched
    gc.enable()


@pytest.mark.parametrize("options", [{}, {"chunking": "vad"}])
def test_a_recording_that_is_done_is_let_go(
    model: Whisper, options: OptionsDict, recordings: dict[int, weakref.ref[Features]]
) -> None:
    with model.pool() as pool:
        pool.submit(noise(2), **quick(**options)).result(PATIENCE_S)
        wait_until(lambda: not any(features() for features in recordings.values()))
    assert len(recordings) == 1


@pytest.mark.parametrize("options", [{}, {"chunking": "vad"}])
def test_a_recording_that_is_left_is_let_go(
    model: Whisper, options: OptionsDict, recordings: dict[int, weakref.ref[Features]]
) -> None:
    with model.iter_segments(str(DATA / "librivox.wav"), **quick(**options)) as segments:
        next(segments)
        assert any(features() for features in recordings.values())
    del segments
    assert not any(features() for features in recordings.values())


@pytest.mark.parametrize("options", [{}, {"chunking": "vad"}])
def test_so_are_those_of_an_engine_that_breaks(
    model: Whisper, options: OptionsDict, recordings: dict[int, weakref.ref[Features]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Engine) -> None:
        raise MemoryError

    monkeypatch.setattr(Engine, "step", fail)
    with pytest.raises(MemoryExceededError):
        model.transcribe(str(DATA / "librivox.wav"), **quick(**options))
    with model.pool() as pool:
        with pytest.raises(MemoryExceededError):
            pool.submit(str(DATA / "librivox.wav"), **quick(**options)).result(PATIENCE_S)
        wait_until(lambda: not any(features() for features in recordings.values()))
    assert len(recordings) >= 1


def test_a_closed_pool_keeps_no_engine(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = watch_engines(monkeypatch, weakref.ref)
    with model.pool(2) as pool:
        pool.submit(SHORT, **QUICK).result(PATIENCE_S)
        assert engines[0]() is not None
    gc.collect()
    assert [engine() for engine in engines] == [None]
    assert (pool.slots, pool.active_slots, pool.queued, pool.jobs) == (2, 0, 0, 0)


def test_what_waits_is_looked_at_now_and_then_and_not_at_every_step(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that stands still."""
    looks: list[Stop] = []

    def is_over(self: Stop) -> bool:
        looks.append(self)
        return False

    monkeypatch.setattr("whisperlite.api.readers.time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(Stop, "is_over", property(is_over))
    with model.pool(1) as pool:
        jobs = [pool.submit(SHORT, **QUICK) for _ in range(20)]
        for job in jobs:
            job.result(PATIENCE_S)
        assert steps.count >= 20
        assert len(looks) <= 20


# The end of a pool


def test_leaving_a_pool_waits_for_what_was_submitted(model: Whisper, alone: list[Transcription]) -> None:
    with model.pool(2) as pool:
        jobs = [pool.submit(each, **QUICK) for each in RECORDINGS]
    assert all(job.done for job in jobs)
    for job, expected in zip(jobs, alone, strict=True):
        assert_same_result(job.result(), expected)


def test_a_closed_pool_takes_nothing(model: Whisper) -> None:
    pool = model.pool()
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        pool.submit(SHORT, **QUICK)
    with pytest.raises(ValueError, match="closed"):
        next(pool.transcribe_many([SHORT], **QUICK))


def test_leaving_a_pool_by_an_error_cancels_what_is_left(model: Whisper, steps: Steps) -> None:
    long = np.resize(LONG, 300 * 16000)
    jobs: list[Job] = []
    steps.may_go.clear()

    def leave() -> None:
        with model.pool(2) as pool:
            jobs.extend(pool.submit(long, **QUICK) for _ in range(8))
            assert steps.begun.wait(PATIENCE_S)
            steps.may_go.set()
            raise LookupError("something else")

    with pytest.raises(LookupError):
        leave()
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(0)


def test_an_interrupt_while_a_pool_is_waited_for_cancels_what_is_left(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: DecodingThread) -> None:
        raise KeyboardInterrupt

    steps.may_go.clear()
    join = DecodingThread.join
    monkeypatch.setattr(DecodingThread, "join", interrupt)
    pool = model.pool(1)
    with pytest.raises(KeyboardInterrupt), pool:
        jobs = [pool.submit(SHORT, **QUICK) for _ in range(3)]
    steps.may_go.set()
    join(pool._thread)
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result()


def test_a_pool_can_be_told_not_to_wait(model: Whisper, steps: Steps) -> None:
    steps.may_go.clear()
    pool = model.pool(2)
    jobs = [pool.submit(np.resize(LONG, 300 * 16000), **QUICK) for _ in range(5)]
    assert steps.begun.wait(PATIENCE_S)
    steps.may_go.set()
    pool.close(cancel=True)
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(0)


def test_whoever_closes_a_pool_waits_for_it_whatever_his_thread_is_called(model: Whisper, steps: Steps) -> None:
    steps.may_go.clear()
    pool = model.pool()
    job = pool.submit(SHORT, **QUICK)
    was_done: list[bool] = []

    def close() -> None:
        pool.close()
        was_done.append(job.done)

    thread = threading.Thread(target=close, name="whisperlite-of-mine")
    thread.start()
    wait_until(lambda: pool._readers.is_closed)
    thread.join(0.1)
    assert thread.is_alive()
    steps.may_go.set()
    thread.join(PATIENCE_S)
    assert was_done == [True]


def test_a_callback_may_close_the_pool(model: Whisper) -> None:
    pool = model.pool()
    pool.submit(SHORT, **QUICK).add_callback(lambda _: pool.close())
    wait_until(lambda: pool_threads() == [])


def test_a_pool_that_nobody_refers_to_finishes_and_says_so(model: Whisper, alone: list[Transcription]) -> None:
    with pytest.warns(ResourceWarning, match="A pool was not closed"):
        job = model.pool(2).submit(SHORT, **QUICK)
    assert_same_result(job.result(PATIENCE_S), alone[1])
    wait_until(lambda: pool_threads() == [])


def test_a_pool_for_which_there_are_no_threads_leaves_none(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = OwnThread.start, 0

    def failing(self: OwnThread) -> None:
        nonlocal started
        started += 1
        if started == 3:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(OwnThread, "start", failing)
    with pytest.raises(RuntimeError, match="new thread"):
        model.pool()
    wait_until(lambda: pool_threads() == [])


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda again: again.__name__)
def test_neither_a_pool_nor_a_job_can_be_copied(model: Whisper, again: Callable[[object], object]) -> None:
    with model.pool(1) as pool:
        job = pool.submit(SHORT, **QUICK)
        for each, said in ((pool, "A Pool has threads"), (job, "A Job is done by threads")):
            with pytest.raises(TypeError, match=said):
                again(each)
        gc.collect()
        assert pool.submit(SHORT, **QUICK).result(PATIENCE_S).duration == 3.0


# A callback


def test_what_a_callback_raises_is_logged_wherever_it_is_called(
    model: Whisper, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Job) -> None:
        raise LookupError("mine")

    steps.may_go.clear()
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        job.add_callback(fail)
        steps.may_go.set()
        assert job.result(PATIENCE_S).duration == 3.0
    calls = len(caplog.records)
    assert calls > 0
    job.add_callback(fail)
    assert len(caplog.records) == calls + 1
    assert "mine" in caplog.text


@pytest.mark.parametrize("error", [SystemExit("mine"), pytest.fail.Exception("mine")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("audio", [SHORT, b"no sound"], ids=["decoder", "reader"])
def test_whatever_a_callback_raises_it_ends_no_thread_of_the_pool(
    model: Whisper,
    alone: list[Transcription],
    steps: Steps,
    audio: AudioSource,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_read = threading.Event()

    def fail(_: Job) -> None:
        raise error

    steps.may_go.clear()
    pool = model.pool(2)
    held = Upload(audio if isinstance(audio, bytes) else WAV, lambda: may_read.wait(PATIENCE_S))
    job, other = pool.submit(held, **QUICK), pool.submit(LONG, **QUICK)
    job.add_callback(fail)
    may_read.set()
    steps.may_go.set()
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert job.done
    assert_same_result(other.result(0), alone[0])
    assert "A callback of a job failed." in caplog.text


@dataclass
class InCallback:
    """What a callback might wait for."""

    itself: Job
    other: Job
    pool: Pool


@pytest.mark.parametrize(
    "wait",
    [
        lambda given: given.itself.result(),
        lambda given: given.other.result(PATIENCE_S),
        lambda given: list(given.other.segments()),
        lambda given: list(given.pool.transcribe_many([SHORT], **QUICK)),
    ],
    ids=["itself", "another", "segments", "many"],
)
def test_a_callback_that_would_wait_for_the_pool_is_told_so(
    model: Whisper, steps: Steps, wait: Callable[[InCallback], object]
) -> None:
    said: list[str] = []
    steps.may_go.clear()
    with model.pool(2) as pool:
        jobs = [pool.submit(LONG, **QUICK) for _ in range(2)]

        def call(job: Job) -> None:
            if not said:  # the first window of one, when neither is done
                with pytest.raises(RuntimeError) as caught:
                    wait(InCallback(job, jobs[job is jobs[0]], pool))
                said.append(str(caught.value))

        for job in jobs:
            job.add_callback(call)
        steps.may_go.set()
        assert [job.result(PATIENCE_S).duration for job in jobs] == [65.0] * 2
    assert "look at job.done" in said[0]


def test_a_callback_may_ask_for_a_result_that_is_there(model: Whisper, steps: Steps) -> None:
    texts: list[str] = []

    def call(job: Job) -> None:
        with suppress(TimeoutError):
            texts.append(job.result(timeout=0).text)

    steps.may_go.clear()
    with model.pool(1) as pool:
        job = pool.submit(SHORT, **QUICK)
        job.add_callback(call)
        steps.may_go.set()
    assert texts == [job.result().text]


def test_an_interrupt_in_a_callback_that_is_called_at_once_is_raised(model: Whisper) -> None:
    def interrupt(_: Job) -> None:
        raise KeyboardInterrupt

    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        job.result(PATIENCE_S)
        with pytest.raises(KeyboardInterrupt):
            job.add_callback(interrupt)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_readers_that_end_before_their_time_do_not_keep_the_pool(
    model: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: Readers) -> bool:
        raise SystemExit

    monkeypatch.setattr(Readers, "_read_next", end)
    closing = threading.Thread(target=model.pool().close, daemon=True)
    closing.start()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()


# An engine that breaks


def test_an_engine_that_breaks_fails_what_it_decodes_and_the_pool_goes_on(
    model: Whisper, alone: list[Transcription], steps: Steps
) -> None:
    """Both have been read before its first step, and the second has been heard for a while: both are in it."""
    jobs: list[Job] = []
    errors = [RuntimeError("the allocator is empty")]

    def fail(_: int) -> None:
        if errors and jobs[1].progress[0] > 0:
            raise errors.pop()

    steps.may_go.clear()
    steps.before = fail
    with model.pool(2) as pool:
        jobs += [pool.submit(np.resize(LONG, 300 * 16000), **QUICK) for _ in range(2)]
        wait_until(lambda: all(job.progress[1] > 0 for job in jobs))
        steps.may_go.set()
        for job in jobs:
            with pytest.raises(RuntimeError, match="allocator"):
                job.result(PATIENCE_S)
        jobs += [pool.submit(each, **QUICK) for each in RECORDINGS]
        for job, expected in zip(jobs[2:], alone, strict=True):
            assert_same_result(job.result(PATIENCE_S), expected)


def test_an_engine_that_breaks_is_no_result_of_a_recording(model: Whisper, steps: Steps) -> None:
    """It is a bug, or a machine that is too small: it is raised, not handed out for one recording after the other."""

    def fail(_: int) -> None:
        raise RuntimeError("the allocator is empty")

    steps.before = fail
    with pytest.raises(RuntimeError, match="allocator"):
        list(model.transcribe_many([SHORT] * 3, **QUICK))
