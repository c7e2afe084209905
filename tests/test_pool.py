"""Recordings that share an engine: what each gets and when, and what is left when one fails or all are left alone."""

from __future__ import annotations

import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typing_extensions import Unpack

import whisperlite
from tests.small_whisper import small_whisper
from tests.test_cancel import assert_is_a_prefix, wav_of
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
from whisperlite.audio.mel import Features
from whisperlite.decoding.asks import Answer
from whisperlite.decoding.engine import Engine

PATIENCE_S = 60.0  # nothing here takes so long, unless it never comes
QUICK: OptionsDict = {
    "language": "en",
    "beam_size": 1,
    "max_new_tokens": 4,
    "logprob_threshold": None,
    "without_timestamps": True,
}


def quick(**more: Unpack[OptionsDict]) -> OptionsDict:
    return {**QUICK, **more}


def noise(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(round(seconds * 16000)) * 0.1).astype(np.float32)


RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate((65, 3, 31, 0.5, 40, 7))]
LONG, SHORT = RECORDINGS[0], RECORDINGS[1]


@pytest.fixture(scope="module")
def model() -> Whisper:
    return small_whisper()


@pytest.fixture(scope="module")
def alone(model: Whisper) -> list[Transcription]:
    return [model.transcribe(each, **QUICK) for each in RECORDINGS]


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    assert pool_threads() == []


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("whisperlite-")]


class Steps:
    """Stands before every step of every engine, on the engine's thread.

    Attributes:
        begun: an engine has got as far as its first step.
        may_go: where it is cleared, nobody passes.
        before: called before each step, with its number.
    """

    def __init__(self) -> None:
        self.count = 0
        self.begun, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()
        self.before: Callable[[int], None] = lambda _: None

    def pass_by(self) -> None:
        self.count += 1
        self.begun.set()
        assert self.may_go.wait(PATIENCE_S)
        self.before(self.count)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    watched, step = Steps(), Engine.step

    def passing(engine: Engine) -> list[tuple[int, Answer]]:
        watched.pass_by()
        return step(engine)

    monkeypatch.setattr(Engine, "step", passing)
    yield watched
    watched.may_go.set()


class Upload(io.BytesIO):
    """A file that notes when it is read."""

    def __init__(self, content: bytes, on_read: Callable[[], object] = lambda: None) -> None:
        super().__init__(content)
        self.is_read = False
        self.on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.is_read:
            self.is_read = True
            self.on_read()
        return super().read(size)


WAV = wav_of(np.asarray(SHORT * 32767, np.int16))


def assert_same_result(one: Transcription | Exception, other: Transcription) -> None:
    """The same tokens, times and decisions; probabilities are rounded by the batch that they were computed in."""
    assert isinstance(one, Transcription)
    assert len(one.segments) == len(other.segments)
    for mine, theirs in zip(one.segments, other.segments, strict=True):
        assert (mine.tokens, mine.text, mine.language) == (theirs.tokens, theirs.text, theirs.language)
        assert (mine.start, mine.end, mine.seek) == (theirs.start, theirs.end, theirs.seek)
        assert (mine.temperature, mine.truncated) == (theirs.temperature, theirs.truncated)
        assert mine.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert mine.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)
    assert [(each.word, each.start, each.end) for each in one.words] == [
        (each.word, each.start, each.end) for each in other.words
    ]
    assert [(each.seek, each.temperature, each.failed) for each in one.attempts] == [
        (each.seek, each.temperature, each.failed) for each in other.attempts
    ]
    assert (one.text, one.language, one.task, one.model) == (other.text, other.language, other.task, other.model)
    assert (one.duration, one.skipped, one.warnings) == (other.duration, other.skipped, other.warnings)
    assert one.usage.tokens_generated == other.usage.tokens_generated


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


@pytest.mark.parametrize("where", ["pool", "reader"])
def test_an_iterator_that_is_collected_by_a_thread_of_its_own_leaves_no_thread(
    model: Whisper, steps: Steps, where: str
) -> None:
    """As when an exception keeps it, in a cycle, until some thread collects garbage."""
    collected = threading.Event()

    def collect() -> None:
        if abandoned.is_set() and not collected.is_set():
            gc.collect()
            collected.set()

    def sources() -> Iterator[AudioSource]:
        yield SHORT
        for _ in range(30):
            yield Upload(WAV, collect) if where == "reader" else SHORT

    abandoned = threading.Event()
    steps.before = lambda _: collect() if where == "pool" else None
    cycle: list[Any] = [model.transcribe_many(sources(), batch_size=8, **QUICK)]
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


def test_whatever_a_source_raises_its_job_raises(model: Whisper) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a reader of yours")

    with model.pool() as pool:
        broken, other = pool.submit(Upload(WAV, fail), **QUICK), pool.submit(Upload(WAV), **QUICK)
        with pytest.raises(ZeroDivisionError, match="a reader of yours"):
            broken.result(PATIENCE_S)
        assert other.result(PATIENCE_S).duration == pytest.approx(3.0)


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


@pytest.mark.parametrize("options", [{}, {"chunking": "vad"}])
def test_a_recording_that_is_done_is_let_go(model: Whisper, options: OptionsDict) -> None:
    sound = noise(2)
    watched = weakref.ref(sound)
    with model.pool() as pool:
        job = pool.submit(sound, **quick(**options))
        del sound
        job.result(PATIENCE_S)
        pool.submit("no such file.wav", **QUICK).segments()
        gc.collect()
        assert watched() is None


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


# An engine that breaks


def test_an_engine_that_breaks_fails_what_it_decodes_and_the_pool_goes_on(
    model: Whisper, alone: list[Transcription], steps: Steps
) -> None:
    """The second has been heard for a while, so that both are in it; the third has not been read."""
    jobs: list[Job] = []
    errors = [RuntimeError("the allocator is empty")]

    def fail(_: int) -> None:
        if errors and jobs[1].progress[0] > 0:
            raise errors.pop()

    steps.may_go.clear()
    steps.before = fail
    with model.pool(2) as pool:
        jobs += [pool.submit(np.resize(LONG, 300 * 16000), **QUICK) for _ in range(2)]
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
