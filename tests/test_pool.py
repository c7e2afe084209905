"""Recordings that share an engine: what each gets, when, and in which order."""

from __future__ import annotations

import gc
import math
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import whisperlite
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
)
from whisperlite import (
    AudioDecodeError,
    AudioFormatError,
    AudioNotFoundError,
    CancelledError,
    Job,
    OptionError,
    OptionsDict,
    TimeoutExceededError,
    Transcription,
    Whisper,
)
from whisperlite.audio.load import AudioSource


@pytest.fixture(scope="module")
def alone(model: Whisper) -> list[Transcription]:
    return [model.transcribe(each, **QUICK) for each in RECORDINGS]


pytestmark = pytest.mark.usefixtures("threads_end")


# What each gets


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_recordings_together_get_what_each_gets_alone(
    model: Whisper, alone: list[Transcription], batch_size: int
) -> None:
    """The first is the longest: they come in their order, not in that in which they are done."""
    together = list(model.transcribe_many(RECORDINGS, batch_size=batch_size, **QUICK))
    for one, other in zip(together, alone, strict=True):
        assert_same_result(one, other)


MIXED: list[OptionsDict] = [
    {"language": "en", "beam_size": 3},
    {"beam_size": 1},
    {"language": "de", "beam_size": 1, "temperature": 0.7, "best_of": 2, "seed": 5},
    {"language": "en", "beam_size": 2, "word_timestamps": True},
    {"language": "fr", "task": "translate", "beam_size": 1},
    {"multilingual": True, "beam_size": 1},
    {"language": "en", "beam_size": 1, "clip_timestamps": [0, 2, 5, 6]},
    {"language": "en", "beam_size": 1, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    {"language": "en", "temperature": (0.0, 0.4), "logprob_threshold": 0.0, "beam_size": 2, "best_of": 3},
]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_recording_may_have_options_of_its_own(model: Whisper, batch_size: int) -> None:
    def options(number: int) -> OptionsDict:
        chosen: OptionsDict = {"max_new_tokens": 5, **MIXED[number]}
        return chosen

    sounds = [noise(7, seed) for seed in range(len(MIXED))]
    with model.pool(batch_size) as pool:
        jobs = [pool.submit(sound, **options(number)) for number, sound in enumerate(sounds)]
        results = [job.result(PATIENCE_S) for job in jobs]
    for number, (sound, result) in enumerate(zip(sounds, results, strict=True)):
        assert_same_result(result, model.transcribe(sound, **options(number)))


def test_a_long_recording_does_not_keep_short_ones_waiting(model: Whisper, steps: Steps) -> None:
    seen: set[tuple[bool, ...]] = set()
    jobs: list[Job] = []
    steps.may_go.clear()
    steps.before = lambda _: seen.add(tuple(job.done for job in jobs))
    with model.pool(2) as pool:
        jobs += [pool.submit(LONG, **QUICK), pool.submit(SHORT, **QUICK), pool.submit(SHORT, **QUICK)]
        steps.may_go.set()
    assert (False, True, True) in seen


def test_jobs_may_be_submitted_from_many_threads(model: Whisper, alone: list[Transcription]) -> None:
    with model.pool(3) as pool, ThreadPoolExecutor(6) as callers:
        results = list(callers.map(lambda sound: pool.submit(sound, **QUICK).result(PATIENCE_S), RECORDINGS * 2))
    for one, other in zip(results, alone * 2, strict=True):
        assert_same_result(one, other)


def test_samples_carry_their_rate(model: Whisper) -> None:
    (result,) = model.transcribe_many([noise(4)], sampling_rate=8000, **QUICK)
    assert isinstance(result, Transcription)
    assert result.duration == 8.0


def test_torchs_number_of_threads_stays_as_it_was(model: Whisper) -> None:
    before = torch.get_num_threads()
    list(model.transcribe_many([SHORT], **QUICK))
    assert torch.get_num_threads() == before


# Many, one after the other


def test_no_recordings_are_no_results(model: Whisper) -> None:
    assert list(model.transcribe_many([], **QUICK)) == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_recordings_are_asked_for_as_there_is_room(model: Whisper, batch_size: int) -> None:
    taken = 0

    def endless() -> Iterator[AudioSource]:
        nonlocal taken
        while True:
            taken += 1
            yield SHORT

    results = model.transcribe_many(endless(), batch_size=batch_size, **QUICK)
    assert taken == 0
    for number in range(1, 4):
        assert isinstance(next(results), Transcription)
        assert taken < number + 2 * batch_size + 5
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_what_cannot_be_read_is_an_error_in_its_place(
    model: Whisper, alone: list[Transcription], batch_size: int
) -> None:
    sources: list[Any] = [SHORT, "no such file.wav", b"no sound", LONG, None, np.full(9, np.nan, np.float32), SHORT]
    first, missing, unreadable, second, nothing, not_a_number, last = model.transcribe_many(
        sources, batch_size=batch_size, **QUICK
    )
    assert isinstance(missing, AudioNotFoundError)
    assert "no such file.wav" in str(missing)
    assert isinstance(unreadable, AudioDecodeError)
    assert isinstance(nothing, AudioFormatError)
    assert isinstance(not_a_number, AudioFormatError)
    for one, other in ((first, alone[1]), (second, alone[0]), (last, alone[1])):
        assert_same_result(one, other)


def test_what_takes_too_long_is_an_error_in_its_place(model: Whisper) -> None:
    found = list(model.transcribe_many([SHORT, LONG, SHORT], **quick(timeout_s=0.0)))
    assert [type(each) for each in found] == [TimeoutExceededError] * 3


def test_an_error_of_whoever_gives_the_recordings_is_raised(model: Whisper) -> None:
    def broken() -> Iterator[AudioSource]:
        yield SHORT
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(model.transcribe_many(broken(), batch_size=1, **QUICK))


def test_an_abandoned_iterator_leaves_no_thread(model: Whisper) -> None:
    results = model.transcribe_many(RECORDINGS, batch_size=2, **QUICK)
    next(results)
    assert pool_threads() != []
    del results
    gc.collect()
    assert pool_threads() == []


@pytest.mark.parametrize("where", ["pool", "reader", "feed"])
def test_an_iterator_that_is_collected_by_a_thread_of_its_own_leaves_no_thread(
    model: Whisper, steps: Steps, where: str
) -> None:
    """As when an exception keeps it, in a cycle, until some thread collects garbage."""
    abandoned, collected = threading.Event(), threading.Event()
    endless = np.resize(LONG, 300 * 16000)

    def collect() -> None:
        if not collected.is_set():
            gc.collect()
            collected.set()

    def read() -> None:
        assert abandoned.wait(PATIENCE_S)
        collect()

    def given() -> Iterator[AudioSource]:
        yield SHORT
        if where == "feed":
            read()
        for _ in range(9):
            yield Upload(WAV, read) if where == "reader" else endless

    steps.before = lambda _: collect() if where == "pool" and abandoned.is_set() else None
    cycle: list[Any] = [model.transcribe_many(given(), batch_size=8, **QUICK)]
    next(cycle[0])
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("whisperlite-")]
    cycle.append(cycle)
    gc.disable()  # this thread is not to collect it
    try:
        del cycle
        abandoned.set()
        assert collected.wait(PATIENCE_S)
    finally:
        gc.enable()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_an_iterator_that_was_never_begun_has_no_thread(model: Whisper) -> None:
    results = model.transcribe_many(RECORDINGS, **QUICK)
    assert pool_threads() == []
    del results


@pytest.mark.parametrize("batch_size", [0, -1, 129, 2.0, "8", None, True])
def test_a_batch_size_that_no_pool_can_have_is_refused_at_once(model: Whisper, batch_size: Any) -> None:
    with pytest.raises(OptionError, match=r"batch_size=.* 1 to 128"):
        model.pool(batch_size)
    with pytest.raises(OptionError, match=r"batch_size=.* 1 to 128"):
        model.transcribe_many([], batch_size=batch_size)


def test_wrong_options_are_refused_before_anything_is_iterated(model: Whisper) -> None:
    with pytest.raises(OptionError, match="beam_size"):
        model.transcribe_many([], beam_sise=3)  # type: ignore[call-arg]
    with model.pool() as pool:
        with pytest.raises(OptionError, match="beam_size"):
            pool.submit(SHORT, beam_size=0)
        with pytest.raises(whisperlite.LanguageError):
            pool.submit(SHORT, language="klingon")


# A job


def test_segments_are_handed_out_while_the_rest_is_not_yet_done(
    model: Whisper, alone: list[Transcription], steps: Steps
) -> None:
    jobs: list[Job] = []
    accepted, go_on = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        if jobs[0].progress[0] > 0 and not accepted.is_set():
            accepted.set()
            assert go_on.wait(PATIENCE_S)

    steps.may_go.clear()
    steps.before = hold
    with model.pool(2) as pool:
        jobs.append(pool.submit(LONG, **QUICK))
        assert jobs[0].progress in ((0.0, 0.0), (0.0, 65.0))
        assert steps.begun.wait(PATIENCE_S)
        assert jobs[0].progress == (0.0, 65.0)
        steps.may_go.set()
        assert accepted.wait(PATIENCE_S)
        segments = jobs[0].segments()
        assert next(segments).text == alone[0].segments[0].text
        assert (jobs[0].progress, jobs[0].done) == ((30.0, 65.0), False)
        go_on.set()
        rest = list(segments)
    assert [each.text for each in rest] == [each.text for each in alone[0].segments[1:]]
    assert (jobs[0].progress, jobs[0].done) == ((65.0, 65.0), True)
    assert tuple(jobs[0].segments()) == jobs[0].result().segments  # from the first on, for whoever comes later


def test_a_result_may_be_waited_for_as_long_as_one_likes(model: Whisper, steps: Steps) -> None:
    steps.may_go.clear()
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        with pytest.raises(TimeoutError) as caught:
            job.result(timeout=0.01)
        assert not isinstance(caught.value, CancelledError)
        assert not job.done
        steps.may_go.set()
        assert job.result(timeout=PATIENCE_S) is job.result()


@pytest.mark.parametrize("timeout", [math.inf, 1e10, np.float32(60.0), 60])
def test_any_number_of_seconds_may_be_waited(model: Whisper, steps: Steps, timeout: float) -> None:
    waits: list[float | None] = []

    class Noting(threading.Condition):
        def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
            waits.append(timeout)
            steps.may_go.set()
            return super().wait_for(predicate, timeout)

    steps.may_go.clear()
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        job._state._changed = Noting()
        assert job.result(timeout).duration == 3.0
    assert waits == [min(float(timeout), 365 * 86400.0)]


@pytest.mark.parametrize("timeout", [-1, -math.inf, 0.0])
def test_no_time_is_not_waited(model: Whisper, steps: Steps, timeout: float) -> None:
    steps.may_go.clear()
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        with pytest.raises(TimeoutError, match="It goes on"):
            job.result(timeout)
        steps.may_go.set()


@pytest.mark.parametrize("timeout", [math.nan, "5", True, [1.0]])
def test_what_is_no_time_is_refused(model: Whisper, timeout: Any) -> None:
    with model.pool() as pool:
        job = pool.submit(SHORT, **QUICK)
        with pytest.raises(OptionError, match="timeout="):
            job.result(timeout)


def test_every_caller_sees_the_error(model: Whisper) -> None:
    with model.pool() as pool:
        job = pool.submit("no such file.wav", **QUICK)
        for _ in range(2):
            with pytest.raises(AudioNotFoundError):
                job.result(PATIENCE_S)
        with pytest.raises(AudioNotFoundError):
            list(job.segments())
        assert job.done
        assert job.progress == (0.0, 0.0)


def test_whatever_a_source_raises_is_the_error_of_its_job(model: Whisper) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a reader of yours")

    with model.pool() as pool:
        broken, other = pool.submit(Upload(WAV, fail), **QUICK), pool.submit(Upload(WAV), **QUICK)
        with pytest.raises(AudioDecodeError, match="ZeroDivisionError: a reader of yours") as caught:
            broken.result(PATIENCE_S)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert other.result(PATIENCE_S).duration == pytest.approx(3.0)


def test_what_is_shown_of_a_pool_and_its_jobs(model: Whisper, steps: Steps) -> None:
    steps.may_go.clear()
    with model.pool(3) as pool:
        job = pool.submit(SHORT, **QUICK)
        assert repr(pool).startswith("<Pool of 3 slots, ")
        assert repr(pool).endswith(" 1 jobs not done>")
        assert re.fullmatch(r"<Job, 0 of [\d.]+ s done>", repr(job))
        steps.may_go.set()
        job.result(PATIENCE_S)
        assert repr(job) == "<Job, done>"


def test_what_is_shown_of_an_iterator_and_of_an_encoding(model: Whisper) -> None:
    with model.iter_segments(SHORT, **QUICK) as segments:
        assert re.fullmatch(r"<SegmentIterator, 0 of [\d.]+ s done>", repr(segments))
    (encoding,) = model.encode(torch.zeros(1, 80, 3000))
    assert repr(encoding) == "<Encoding (1500, 64), float32 on cpu>"
