"""Memory that does not suffice, and devices that fail: what is raised, and what goes on."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable

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
    quick,
    wait_until,
    watch_engines,
)
from whisperlite import DeviceError, Job, MemoryExceededError, Options, Transcription, Whisper
from whisperlite.api.failures import as_typed_error, device_responds
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.lane import Lane

CPU = torch.device("cpu")
OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of …"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to …"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:98] data. DefaultCPUAllocator: not enough memory: you tried to …"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 384 KB, max allowed: 9 GB)."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
]
OF_DEVICES: list[Exception] = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
    RuntimeError("HIP error: unspecified launch failure"),
]
if hasattr(torch, "AcceleratorError"):
    OF_DEVICES.append(torch.AcceleratorError("an error of a device without a name"))


pytestmark = pytest.mark.usefixtures("no_thread_stays")


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device does not compute any more."""
    monkeypatch.setattr("whisperlite.api.failures.device_responds", lambda _: False)


# Which error is which


@pytest.mark.parametrize("error", OF_MEMORY, ids=str)
def test_short_memory_is_told_with_what_to_do(error: Exception) -> None:
    found = as_typed_error(error, CPU)
    assert isinstance(found, MemoryExceededError)
    assert isinstance(found, MemoryError)
    assert "batch_size or beam_size, or load a smaller model" in str(found)
    assert str(error)[:20] in str(found)
    assert found.__cause__ is error


def test_torch_says_so_in_these_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, device="cpu")
    assert isinstance(as_typed_error(caught.value, CPU), MemoryExceededError)


@pytest.mark.parametrize("error", OF_DEVICES, ids=lambda error: type(error).__name__)
@pytest.mark.usefixtures("lost")
def test_a_device_that_fails_is_told_from_other_errors(error: Exception) -> None:
    found = as_typed_error(error, CPU)
    assert isinstance(found, DeviceError)
    assert "\n" not in str(found)


@pytest.mark.parametrize("error", OF_DEVICES, ids=lambda error: type(error).__name__)
def test_an_error_of_a_device_that_still_computes_is_what_it_is(error: Exception) -> None:
    assert as_typed_error(error, CPU) is None


@pytest.mark.parametrize(("error", "expected"), [(OF_DEVICES[0], False), (OF_MEMORY[0], True)], ids=str)
def test_a_device_computes_unless_it_fails_for_want_of_more_than_memory(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    assert device_responds(CPU)
    monkeypatch.setattr(torch, "zeros", fail)
    assert device_responds(CPU) is expected


@pytest.mark.parametrize("error", [RuntimeError("the sizes differ"), ValueError("out of memory"), DeviceError("mine")])
def test_other_errors_are_what_they_are(error: Exception) -> None:
    assert as_typed_error(error, CPU) is None


# Memory


def fails_once(steps: Steps, error: Exception, when: Callable[[], bool] = lambda: True) -> None:
    errors = [error]

    def fail(_: int) -> None:
        if errors and when():
            raise errors.pop()

    steps.before = fail


def test_where_memory_is_short_what_is_decoded_fails_and_half_of_it_goes_on(
    model: Whisper, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    expected = model.transcribe(SHORT, **QUICK)
    jobs: list[Job] = []
    steps.may_go.clear()
    with model.pool(4) as pool:
        jobs += [pool.submit(np.resize(LONG, 300 * 16000), **QUICK) for _ in range(2)]
        wait_until(lambda: all(job.progress[1] > 0 for job in jobs))
        fails_once(steps, OF_MEMORY[0], lambda: jobs[1].progress[0] > 0)
        steps.may_go.set()
        for job in jobs:
            with pytest.raises(MemoryExceededError, match="CUDA out of memory"):
                job.result(PATIENCE_S)
        assert pool.slots == 2
        assert "2 in place of 4 slots" in caplog.text
        for slots in (1, 1):
            fails_once(steps, OF_MEMORY[1])
            with pytest.raises(MemoryExceededError, match="can't allocate"):
                pool.submit(SHORT, **QUICK).result(PATIENCE_S)
            assert pool.slots == slots
        assert_same_result(pool.submit(SHORT, **QUICK).result(PATIENCE_S), expected)
        assert not pool.is_broken


def test_slots_double_again_after_steps_without_an_error_and_later_each_time(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("whisperlite.api.decoding_thread._CALM_STEPS", 4)
    expected = model.transcribe(LONG, **QUICK)
    slots: list[int] = []
    with model.pool(3) as pool:
        for calm in (4, 8):
            fails_once(steps, OF_MEMORY[0])
            with pytest.raises(MemoryExceededError):
                pool.submit(SHORT, **QUICK).result(PATIENCE_S)
            slots.clear()
            steps.before = lambda _: slots.append(pool.slots)
            jobs = [pool.submit(LONG, **QUICK) for _ in range(3)]
            for job in jobs:
                assert_same_result(job.result(PATIENCE_S), expected)
            assert [each for each in slots if each < 3] == [1] * calm + [2] * calm
            assert pool.slots == 3
    assert "3 in place of 2 slots" in caplog.text


def test_as_many_windows_are_decoded_as_there_are_slots_again(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisperlite.api.decoding_thread._CALM_STEPS", 2)
    active: set[int] = set()
    lane_step = Lane.step

    def watched(self: Lane) -> None:
        active.add(len(self.slots))
        lane_step(self)

    monkeypatch.setattr(Lane, "step", watched)
    with model.pool(4) as pool:
        fails_once(steps, OF_MEMORY[0])
        with pytest.raises(MemoryExceededError):
            pool.submit(SHORT, **QUICK).result(PATIENCE_S)
        steps.may_go.clear()
        jobs = [pool.submit(LONG, **quick(max_new_tokens=12)) for _ in range(6)]
        wait_until(lambda: all(job.progress[1] > 0 for job in jobs))
        steps.may_go.set()
        assert [job.result(PATIENCE_S).duration for job in jobs] == [65.0] * 6
    assert max(active) == 4


def test_memory_that_is_short_while_a_recording_is_read_is_its_result(model: Whisper) -> None:
    def fail() -> None:
        raise MemoryError("Unable to allocate 3.00 GiB for an array")

    found = list(model.transcribe_many([SHORT, Upload(WAV, fail), SHORT], **QUICK))
    assert [type(each) for each in found] == [Transcription, MemoryExceededError, Transcription]
    assert str(found[1]) == (
        "There is not enough memory to read a recording: split it, or read fewer recordings at a time "
        "(MemoryError: Unable to allocate 3.00 GiB for an array)."
    )
    with pytest.raises(MemoryExceededError, match="read a recording"):
        model.transcribe(Upload(WAV, fail), **QUICK)


def test_who_keeps_the_error_does_not_keep_the_engine(
    model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = watch_engines(monkeypatch, weakref.ref)
    with model.pool(4) as pool:
        fails_once(steps, OF_MEMORY[0])
        job = pool.submit(SHORT, **QUICK)
        with pytest.raises(MemoryExceededError):
            job.result(PATIENCE_S)
        assert pool.submit(SHORT, **QUICK).result(PATIENCE_S).duration == 3.0  # the next engine works
        gc.collect()
        assert [engine() is None for engine in engines] == [True, False]


def test_short_memory_is_the_result_of_a_recording_and_the_next_ones_go_on(model: Whisper, steps: Steps) -> None:
    """At most three are in memory at the first step, and which of them is decoded is up to the readers."""
    fails_once(steps, OF_MEMORY[0])
    found = list(model.transcribe_many([SHORT] * 6, batch_size=1, **QUICK))
    assert MemoryExceededError in [type(each) for each in found[:3]]
    assert [type(each) for each in found[3:]] == [Transcription] * 3


def test_a_single_call_says_so_too_and_lets_go(model: Whisper, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = watch_engines(monkeypatch, weakref.ref)
    for call in (
        lambda: model.transcribe(SHORT, **QUICK),
        lambda: next(model.iter_segments(SHORT, **QUICK)),
        lambda: model.detect_language(SHORT),
        lambda: model.decode(torch.zeros(1, 80, 3000), Options(language="en", beam_size=1)),
    ):
        fails_once(steps, OF_MEMORY[0])
        with pytest.raises(MemoryExceededError) as caught:
            call()
        gc.collect()
        assert [engine() for engine in engines] == [None] * len(engines)
        assert caught.value.__cause__ is OF_MEMORY[0]


def test_a_single_encoding_says_so_too(model: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OF_MEMORY[0]

    monkeypatch.setattr(Engine, "encode", fail)
    with pytest.raises(MemoryExceededError):
        model.encode(torch.zeros(1, 80, 3000))


# A device that fails


@pytest.mark.usefixtures("lost")
def test_a_pool_whose_device_has_failed_is_broken(model: Whisper, steps: Steps) -> None:
    """What is decoded, what was read and what waits, which is not read any more, all fail; nothing more is taken."""
    steps.may_go.clear()
    fails_once(steps, OF_DEVICES[0])
    with model.pool(1) as pool:
        was_broken = pool.is_broken
        files = [Upload(WAV) for _ in range(9)]
        jobs = [pool.submit(file, **QUICK) for file in files]
        wait_until(lambda: all(file.is_read for file in files[:3]))
        steps.may_go.set()
        for job in jobs:
            with pytest.raises(DeviceError, match="illegal memory access"):
                job.result(PATIENCE_S)
        assert not any(file.is_read for file in files[3:])
        assert (was_broken, pool.is_broken) == (False, True)
        assert (pool.slots, pool.active_slots, pool.jobs) == (1, 0, 0)
        with pytest.raises(DeviceError, match="illegal memory access"):
            pool.submit(SHORT, **QUICK)
        with pytest.raises(DeviceError, match="illegal memory access"):
            pool.transcribe_many([SHORT], **QUICK)


def test_a_pool_whose_device_still_computes_goes_on(model: Whisper, steps: Steps) -> None:
    fails_once(steps, OF_DEVICES[0])
    with model.pool(1) as pool:
        with pytest.raises(RuntimeError, match=r"^CUDA error"):
            pool.submit(SHORT, **QUICK).result(PATIENCE_S)
        assert pool.submit(SHORT, **QUICK).result(PATIENCE_S).duration == 3.0
        assert not pool.is_broken


@pytest.mark.usefixtures("lost")
def test_a_device_that_fails_is_no_result_of_a_recording(model: Whisper, steps: Steps) -> None:
    fails_once(steps, OF_DEVICES[0])
    with pytest.raises(DeviceError):
        list(model.transcribe_many([SHORT] * 3, **QUICK))


@pytest.mark.usefixtures("lost")
def test_a_single_call_tells_of_the_device(model: Whisper, steps: Steps) -> None:
    fails_once(steps, OF_DEVICES[0])
    with pytest.raises(DeviceError, match="start a new one"):
        model.transcribe(SHORT, **QUICK)
