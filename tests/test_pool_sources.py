"""Recordings on their way into a pool: who may take his time, and who may change what he has handed in."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pooled import (
    LONG,
    PATIENCE_S,
    QUICK,
    SHORT,
    WAV,
    Steps,
    Upload,
    assert_same_result,
    noise,
    pool_threads,
    quick,
    wait_until,
)
from whisperlite import (
    AudioDecodeError,
    AudioFormatError,
    AudioNotFoundError,
    LanguageError,
    OptionError,
    Pool,
    Transcription,
    Whisper,
)
from whisperlite.api.job_state import JobState
from whisperlite.api.readers import Readers
from whisperlite.audio.load import AudioSource
from whisperlite.own_threads import OwnThread

pytestmark = pytest.mark.usefixtures("threads_end")


# Who gives recordings may take his time


class Live:
    """Recordings of which the second comes when it is let."""

    def __init__(self) -> None:
        self.asked, self.comes = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[AudioSource]:
        yield SHORT
        self.asked.set()
        assert self.comes.wait(PATIENCE_S)
        yield LONG


def test_a_source_that_waits_holds_up_no_result(model: Whisper) -> None:
    live = Live()
    results = model.transcribe_many(live, **QUICK)
    assert_same_result(next(results), model.transcribe(SHORT, **QUICK))
    live.comes.set()
    assert_same_result(next(results), model.transcribe(LONG, **QUICK))
    assert list(results) == []


def test_what_was_given_before_an_error_of_the_source_has_its_results(model: Whisper) -> None:
    def broken() -> Iterator[AudioSource]:
        yield SHORT
        yield b"no sound"
        raise LookupError("no more")

    results = model.transcribe_many(broken(), **QUICK)
    assert isinstance(next(results), Transcription)
    assert isinstance(next(results), AudioDecodeError)
    with pytest.raises(LookupError, match="no more"):
        next(results)


async def recordings() -> AsyncIterator[bytes]:
    yield WAV


@pytest.mark.parametrize(("wrong", "said"), [(None, "got NoneType"), (5, "got int"), (recordings(), "asynchronous")])
def test_what_cannot_be_iterated_is_refused_at_once(model: Whisper, wrong: Any, said: str) -> None:
    with model.pool() as pool:
        for transcribe_many in (model.transcribe_many, pool.transcribe_many):
            with pytest.raises(OptionError, match=said) as caught:
                transcribe_many(wrong, **QUICK)
            assert caught.value.option == "audios"


def test_leaving_early_cancels_what_was_handed_in(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[JobState] = []
    submit = Readers.submit

    def watched(self: Readers, *arguments: Any) -> JobState:
        jobs.append(submit(self, *arguments))
        return jobs[-1]

    monkeypatch.setattr(Readers, "submit", watched)
    with model.pool(1) as pool:
        results = pool.transcribe_many([SHORT] + [LONG] * 20, **QUICK)
        next(results)
        results.close()  # type: ignore[attr-defined]
        assert "whisperlite-feed" not in pool_threads()
        assert len(jobs) > 1
        assert all(job.token.is_cancelled for job in jobs[1:])


def test_leaving_an_interrupted_wait_cancels_the_job_that_was_waited_for(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted: list[JobState] = []

    def interrupt(self: JobState) -> Transcription:
        interrupted.append(self)
        raise KeyboardInterrupt

    steps.may_go.clear()
    with model.pool(1) as pool:
        monkeypatch.setattr(JobState, "awaited", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(pool.transcribe_many([SHORT], **QUICK))
        assert interrupted[0].token.is_cancelled
        steps.may_go.set()


def test_leaving_while_the_source_waits_leaves_no_more_than_that(model: Whisper) -> None:
    live = Live()
    results = model.transcribe_many(live, **QUICK)
    next(results)
    assert live.asked.wait(PATIENCE_S)
    results.close()  # type: ignore[attr-defined]
    assert pool_threads() == ["whisperlite-feed"]
    live.comes.set()  # and that ends too


def test_leaving_while_the_caller_holds_what_is_needed_to_submit_ends(
    model: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the garbage collector closes it in the middle of a submission to the same pool."""
    live, submitting, submit, join = Live(), threading.Event(), Readers.submit, OwnThread.join
    limits: list[float | None] = []

    def watched(self: Readers, *arguments: Any) -> JobState:
        submitting.set()
        return submit(self, *arguments)

    def limited(self: OwnThread, timeout: float | None = None) -> None:
        limits.append(timeout)
        join(self, 0.1)

    with model.pool(1) as pool:
        results = pool.transcribe_many(live, **QUICK)
        next(results)
        with monkeypatch.context() as patched, pool._readers._changed:
            patched.setattr(Readers, "submit", watched)
            patched.setattr(OwnThread, "join", limited)
            live.comes.set()
            assert submitting.wait(PATIENCE_S)
            results.close()  # type: ignore[attr-defined]
        assert limits == [1.0]


def test_a_source_may_have_a_pool_of_its_own_and_leaving_that_waits(model: Whisper, steps: Steps) -> None:
    pools: list[Pool] = []
    was_done: list[bool] = []
    left = threading.Event()

    def by_another_pool() -> Iterator[AudioSource]:
        with model.pool(1) as inner:
            pools.append(inner)
            job = inner.submit(SHORT, **QUICK)
        was_done.append(job.done)
        left.set()
        yield SHORT

    steps.may_go.clear()
    results = model.transcribe_many(by_another_pool(), **QUICK)
    with ThreadPoolExecutor(1) as caller:
        found = caller.submit(list, results)
        wait_until(lambda: bool(pools) and pools[0]._readers.is_closed)
        assert not left.wait(0.2)
        steps.may_go.set()
        assert len(found.result(PATIENCE_S)) == 1
    assert was_done == [True]


def test_a_source_that_is_left_is_let_go_and_closed(model: Whisper) -> None:
    closed = threading.Event()

    def endless() -> Iterator[AudioSource]:
        try:
            while True:
                yield SHORT
        finally:
            closed.set()

    results = model.transcribe_many(endless(), batch_size=1, **QUICK)
    next(results)
    del results
    gc.collect()
    assert closed.wait(PATIENCE_S)


# Who has handed something in may change it

Handed = np.ndarray[Any, Any] | torch.Tensor | bytearray


def full() -> list[Handed]:
    return [SHORT.copy(), (SHORT * 32767).astype(np.int16), torch.from_numpy(SHORT.copy()), bytearray(WAV)]


KINDS = ["float32", "int16", "tensor", "bytes"]


def overwrite(audio: Handed) -> None:
    audio[:] = type(audio)(len(audio)) if isinstance(audio, bytearray) else 0  # type: ignore[assignment]


@pytest.mark.parametrize("audio", full(), ids=KINDS)
def test_what_is_submitted_is_what_it_was_then(model: Whisper, steps: Steps, audio: Handed) -> None:
    expected = model.transcribe(audio, **QUICK)
    steps.may_go.clear()
    with model.pool(1) as pool:
        before = [pool.submit(Upload(WAV), **QUICK) for _ in range(3)]  # as many as there is room for
        job = pool.submit(memoryview(audio) if isinstance(audio, bytearray) else audio, **QUICK)
        overwrite(audio)
        steps.may_go.set()
        assert_same_result(job.result(PATIENCE_S), expected)
    assert all(each.done for each in before)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_relative_path_is_of_the_directory_that_it_was_submitted_in(
    model: Whisper, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "speech.wav").write_bytes(WAV)
    steps.may_go.clear()
    with model.pool(1) as pool:
        jobs = [pool.submit(SHORT, **QUICK) for _ in range(3)]  # as many as are read before one is done
        wait_until(lambda: pool.queued == 0)
        monkeypatch.chdir(tmp_path / "here")
        jobs.append(pool.submit(kind("speech.wav"), **QUICK))
        monkeypatch.chdir(tmp_path)
        steps.may_go.set()
        assert [job.result(PATIENCE_S).duration for job in jobs] == pytest.approx([3.0] * 4)


def test_a_memoryview_that_was_released_is_the_error_of_its_recording(model: Whisper) -> None:
    view = memoryview(WAV)
    view.release()
    found = list(model.transcribe_many([view, WAV], **QUICK))
    assert [type(each) for each in found] == [AudioFormatError, Transcription]


@pytest.mark.parametrize(
    ("name", "said"),
    [("cancel", r"cancel\(\)"), ("on_segment", "add_callback"), ("on_progress", "progress"), ("batch_size", "pool")],
)
def test_what_a_job_does_in_place_of_an_argument_is_told(model: Whisper, name: str, said: str) -> None:
    argument: Any = {name: None}
    with model.pool(1) as pool, pytest.raises(OptionError, match=f"submit takes no {name}: .*{said}"):
        pool.submit(SHORT, **argument)


def test_a_name_that_is_empty_is_no_directory(model: Whisper) -> None:
    with model.pool(1) as pool, pytest.raises(AudioNotFoundError, match="no file ''"):
        pool.submit("", **QUICK).result(PATIENCE_S)


def test_a_generator_may_fill_one_buffer_again_and_again(model: Whisper) -> None:
    sounds = [noise(3, seed) * level for seed, level in enumerate((0.01, 1.0, 5.0, 0.3, 1.0))]
    buffer = np.empty_like(sounds[0])

    def refilled() -> Iterator[AudioSource]:
        for sound in sounds:
            buffer[:] = sound
            yield buffer

    expected = [model.transcribe(sound, **QUICK) for sound in sounds]
    assert len({each.segments[0].avg_logprob for each in expected}) == len(sounds)
    for found, alone in zip(model.transcribe_many(refilled(), **QUICK), expected, strict=True):
        assert_same_result(found, alone)


@pytest.mark.parametrize("audio", full()[:3], ids=KINDS[:3])
def test_segments_one_by_one_are_of_the_samples_as_they_were(model: Whisper, audio: Any) -> None:
    expected = model.transcribe(audio, **QUICK)
    segments = model.iter_segments(audio, **QUICK)
    overwrite(audio)
    assert_same_result(segments.result, expected)


# One in place of many

ONE: list[Any] = [
    "talk.mp3",
    Path("talk.mp3"),
    b"sound",
    bytearray(b"sound"),
    memoryview(b"sound"),
    io.BytesIO(b"sound"),
    SHORT,
    np.ones(()),
    torch.from_numpy(SHORT),
]


@pytest.mark.parametrize("one", ONE, ids=lambda one: type(one).__name__)
def test_one_recording_in_place_of_many_is_refused(model: Whisper, one: Any) -> None:
    with model.pool() as pool:
        for transcribe_many in (model.transcribe_many, pool.transcribe_many):
            with pytest.raises(OptionError, match="put it into a list") as caught:
                transcribe_many(one)
            assert caught.value.option == "audios"


def test_rows_of_samples_and_an_array_of_paths_are_many(model: Whisper) -> None:
    rows = np.stack([noise(2, 1), noise(2, 2)])
    assert [each.duration for each in model.transcribe_many(rows, **QUICK)] == [2.0, 2.0]  # type: ignore[union-attr]
    found = list(model.transcribe_many(np.array(["no such file.wav"] * 2), **QUICK))
    assert [type(each) for each in found] == [AudioNotFoundError] * 2


def test_wrong_options_are_refused_before_anything_is_iterated(model: Whisper) -> None:
    with model.pool() as pool:
        for transcribe_many in (model.transcribe_many, pool.transcribe_many):
            with pytest.raises(OptionError, match="beam_size"):
                transcribe_many([], beam_sise=3)  # type: ignore[call-arg]
            with pytest.raises(LanguageError, match="yue"):
                transcribe_many([], **quick(language="yue"))
    with pytest.raises(ValueError, match="closed"):
        pool.transcribe_many([])
