"""What the tests of pools share: short sounds and quick options, an engine that can be held up, watched files."""

from __future__ import annotations

import io
import threading
import time
import wave
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import Unpack

from whisperlite import OptionsDict, Transcription
from whisperlite.api.runtime import Runtime
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


def wav_of(samples: npt.NDArray[Any]) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate((65, 3, 31, 0.5, 40, 7))]
LONG, SHORT = RECORDINGS[0], RECORDINGS[1]


def wait_until(is_so: Callable[[], bool]) -> None:
    """For what a pool does on its own threads, and tells nobody of."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


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
        self.before: Callable[[int], object] = lambda _: None

    def pass_by(self) -> None:
        self.count += 1
        self.begun.set()
        assert self.may_go.wait(PATIENCE_S)
        self.before(self.count)

    def fail_once(self, error: Exception) -> None:
        """The next step raises it."""

        def fail(_: int) -> None:
            self.before = lambda _: None
            raise error

        self.before = fail


def watch_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """For a fixture."""
    watched, step = Steps(), Engine.step

    def passing(engine: Engine) -> list[tuple[int, Answer]]:
        watched.pass_by()
        return step(engine)

    monkeypatch.setattr(Engine, "step", passing)
    yield watched
    watched.may_go.set()


Seen = TypeVar("Seen")


def watch_engines(monkeypatch: pytest.MonkeyPatch, look: Callable[[Engine], Seen]) -> list[Seen]:
    """What is seen of every engine that a model makes from now on."""
    seen: list[Seen] = []
    make = Runtime.engine

    def watched(self: Runtime, **arguments: Any) -> Engine:
        engine = make(self, **arguments)
        seen.append(look(engine))
        return engine

    monkeypatch.setattr(Runtime, "engine", watched)
    return seen


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
