"""Whoever keeps an error keeps neither the recording nor the model, also where garbage is never collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from tests.pooled import PATIENCE_S, QUICK, Upload, noise
from tests.small_whisper import small_whisper
from whisperlite import CancelToken, Job, Whisper, WhisperliteError

pytestmark = pytest.mark.usefixtures("no_thread_stays")


_T = TypeVar("_T")


@dataclass
class Made:
    """Models and recordings that only the callee refers to."""

    references: list[weakref.ref[Any]] = field(default_factory=list)

    def model(self) -> Whisper:
        model = small_whisper()
        self._watched(model._runtime)  # which a pool keeps, rather than the model
        return model

    def samples(self) -> Any:
        return self._watched(noise(3.0))

    def no_audio(self) -> Any:
        return self._watched(Upload(b"no audio"))

    def broken(self) -> Any:
        def fail() -> None:
            raise OSError("the line is dead")

        return self._watched(Upload(b"", fail))

    def _watched(self, made: _T) -> _T:
        self.references.append(weakref.ref(made))
        return made


@pytest.fixture
def made() -> Iterator[Made]:
    gc.disable()
    yield Made()
    gc.enable()


def stopped() -> CancelToken:
    token = CancelToken()
    token.cancel()
    return token


SINGLE: list[Callable[[Made], object]] = [
    lambda made: made.model().transcribe(made.samples(), max_duration_s=1.0),
    lambda made: made.model().transcribe(made.samples(), cancel=stopped()),
    lambda made: made.model().transcribe(made.broken()),
    lambda made: made.model().iter_segments(made.no_audio()),
    lambda made: made.model().iter_segments(made.broken()),
    lambda made: made.model().detect_language(made.samples(), max_duration_s=1.0),
    lambda made: made.model().encode([made.samples()]),
]


@pytest.mark.parametrize("call", SINGLE)
def test_the_error_of_a_call_keeps_nothing(made: Made, call: Callable[[Made], object]) -> None:
    with pytest.raises(WhisperliteError) as caught:
        call(made)
    assert caught.value.__traceback__ is not None
    assert [each() for each in made.references] == [None, None]


@pytest.mark.parametrize("source", [Made.no_audio, Made.broken])
def test_the_error_of_a_job_keeps_nothing(made: Made, source: Callable[[Made], Any]) -> None:
    job = failed_job(made, source)
    assert [each() for each in made.references] == [None, None]
    with pytest.raises(WhisperliteError):
        job.result(PATIENCE_S)


def failed_job(made: Made, source: Callable[[Made], Any]) -> Job:
    with made.model().pool(1) as pool:
        return pool.submit(source(made), **QUICK)


@pytest.mark.parametrize("source", [Made.no_audio, Made.broken])
def test_an_error_among_many_results_keeps_nothing(made: Made, source: Callable[[Made], Any]) -> None:
    (error,) = made.model().transcribe_many(iter([source(made)]), **QUICK)
    assert isinstance(error, WhisperliteError)
    assert [each() for each in made.references] == [None, None]
