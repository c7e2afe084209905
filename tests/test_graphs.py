"""A step that is recorded once and replayed gives what it gives when its operators are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.cuda import CUDAGraph

import whisperlite
from tests.models import Table, random_mel, random_network, table_network, talkative_network
from tests.replaying import Replayer
from tests.test_engine import N_TEXT_CTX, SMALL, assert_same, random_asks, table_asks
from tests.test_network import cache_of, close, memory_starts_as_nan, random_tokens
from tests.test_search import check, literal_answer
from whisperlite.audio.mel import Samples
from whisperlite.decoding import lane
from whisperlite.decoding.asks import Decode
from whisperlite.decoding.engine import Engine
from whisperlite.nn.cache import FixedCache
from whisperlite.nn.graphs import SWITCH, CudaGraphs, Recorder, recorder_for, replays

CPU = torch.device("cpu")


@dataclass
class Recorders:
    """One for each lane that is made.

    Attributes:
        fails: what each of them fails at first.
    """

    fails: int = 0
    made: list[Replayer] = field(default_factory=list)

    def __call__(self, *_: object) -> Replayer:
        self.made.append(Replayer(self.fails))
        return self.made[-1]

    @property
    def recorded(self) -> int:
        return sum(each.recorded for each in self.made)

    @property
    def replayed(self) -> int:
        return sum(each.replayed for each in self.made)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> Recorders:
    """Every lane that is made replays its steps."""
    recorders = Recorders()
    monkeypatch.setattr(lane, "recorder_for", recorders)
    return recorders


@pytest.mark.parametrize("structure", ["tiny.en", "turbo"])
@pytest.mark.parametrize("end", [13, 16, 40])
def test_a_step_that_asks_the_host_for_nothing_gives_the_same_logits(structure: str, end: int) -> None:
    network = random_network(structure)
    start = random_tokens(network, 4, 12)
    cache = network.decoder(start, cache_of(network, 0, 1, queries=2, capacity=80))[1].truncated((1, 12, 5, 5))
    tokens = random_tokens(network, 4, 1, seed=1)
    keys, values = (x[:, :, :, :end].clone() for x in (cache.keys, cache.values))
    found = network.decoder.next_logits(
        tokens[:, 0], FixedCache(keys, values, cache.cross, torch.tensor(cache.lengths))
    )
    expected, _ = network.decoder(tokens, cache)
    close(found, expected[:, 0])
    for row, length in enumerate(cache.lengths):
        close(keys[:, row, :, : length + 1], cache.keys[:, row, :, : length + 1])
        close(values[:, row, :, : length + 1], cache.values[:, row, :, : length + 1])


@settings(deadline=None, derandomize=True, max_examples=150)
@given(asks=st.lists(table_asks(), min_size=1, max_size=8), slots=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_every_window_gets_its_literal_answer(asks: list[Decode], slots: int, seed: int) -> None:
    """Slots come and go, move, and are fewer than what is computed; the literal implementation knows nothing of it."""
    table = Table(SMALL.n_vocab, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "recorder_for", lambda *_: Calling())
        patch.setattr(lane, "_POSITIONS", 5)
        patch.setattr(lane, "_SLOTS", 2)
        answers = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=slots).run(asks)
    for ask, answer in zip(asks, answers, strict=True):
        check(answer, literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


class Calling:
    """What it records is called."""

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return call


@pytest.mark.parametrize(("structure", "seed"), [("tiny.en", 4), ("base", 2), ("turbo", 4)])
@pytest.mark.parametrize("slots", [1, 3, 12])
def test_windows_get_the_same_with_steps_that_are_replayed(
    recorders: Recorders, structure: str, seed: int, slots: int
) -> None:
    network, tokenizer = talkative_network(structure, seed)
    asks = random_asks(structure, tokenizer, [random_mel(network.dims, seed) for seed in range(12)])
    with memory_starts_as_nan():
        found = Engine(network, tokenizer, slots=slots).run(asks)
    assert recorders.replayed > recorders.recorded > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "recorder_for", recorder_for)
        expected = Engine(network, tokenizer, slots=slots).run(asks)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_few_different_steps_are_recorded(recorders: Recorders) -> None:
    """Not one for each number of slots and each length of text."""
    network, tokenizer = talkative_network("base", 2)
    ask = random_asks("base", tokenizer, [random_mel(network.dims, 0)])[0]
    endless = replace(ask, suppressed=frozenset({tokenizer.eot}))
    asks = [replace(endless, max_new_tokens=20 + number % 16) for number in range(40)]
    Engine(network, tokenizer, slots=16).run(asks)
    assert recorders.recorded <= 5
    assert recorders.replayed > 60


def test_what_cannot_be_recorded_is_called(recorders: Recorders) -> None:
    recorders.fails = 3
    network, tokenizer = talkative_network("base", 2)
    asks = random_asks("base", tokenizer, [random_mel(network.dims, seed) for seed in range(3)])
    found = Engine(network, tokenizer).run(asks)
    assert recorders.recorded > 0
    recorders.fails = 10_000
    for one, other in zip(found, Engine(network, tokenizer).run(asks), strict=True):
        assert_same(one, other)
    assert recorders.made[-1].recorded == 0


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 0.6, "best_of": 2}], ids=str)
def test_a_recording_gets_the_same_transcript(
    recorders: Recorders, base: whisperlite.Whisper, librivox: Samples, options: whisperlite.OptionsDict
) -> None:
    options = {**options, "language": "en", "word_timestamps": True}
    found = base.transcribe(librivox, **options)
    assert recorders.replayed > 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "recorder_for", recorder_for)
        expected = base.transcribe(librivox, **options)
    assert [segment.tokens for segment in found.segments] == [segment.tokens for segment in expected.segments]
    assert found.words == expected.words


# Whether a device can do it


class Repeating:
    """Gives what it gave when it was recorded."""

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        result = call().clone()
        return lambda: result


class Failing:
    def record(self, call: Callable[[], Tensor]) -> None:
        call()


@pytest.mark.parametrize(
    ("recorder", "works"), [(Replayer(), True), (Calling(), True), (Repeating(), False), (Failing(), False)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_small_decoder_tells_whether_steps_are_replayed(recorder: Recorder, dtype: torch.dtype, works: bool) -> None:
    with torch.inference_mode():
        assert replays(recorder, CPU, dtype) is works


def test_a_cpu_records_nothing_and_neither_does_a_gpu_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorder_for(CPU, torch.float32) is None
    monkeypatch.setenv(SWITCH, "0")
    assert recorder_for(torch.device("cuda"), torch.float16) is None


def test_something_that_asks_for_a_number_cannot_be_replayed() -> None:
    """So none of the steps above does."""
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="_local_scalar_dense"):
        Replayer().record(lambda: x * x.sum().item())


# CUDA's own calls, of which a machine without a GPU can see the order


@dataclass
class FakeCuda:
    """Stands in for `torch.cuda`.

    Attributes:
        log: what was called.
        error: what the end of the next recordings raises.
    """

    log: list[str] = field(default_factory=list)
    error: Exception | None = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "Stream", lambda _: FakeStream(self, "own"))
        patch.setattr(torch.cuda, "current_stream", lambda _: FakeStream(self, "current"))
        patch.setattr(torch.cuda, "stream", self._on)
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
        patch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(self))

    @contextmanager
    def _on(self, stream: FakeStream) -> Iterator[None]:
        self.log.append(f"on {stream.name}")
        yield
        self.log.append(f"off {stream.name}")


@dataclass
class FakeStream:
    cuda: FakeCuda
    name: str

    def wait_stream(self, other: FakeStream) -> None:
        self.cuda.log.append(f"{self.name} waits for {other.name}")


@dataclass
class FakeGraph:
    cuda: FakeCuda

    def capture_begin(self, **options: Any) -> None:
        inspect.signature(CUDAGraph.capture_begin).bind(self, **options)
        self.cuda.log.append("begin")

    def capture_end(self) -> None:
        self.cuda.log.append("end")
        if self.cuda.error is not None:
            raise self.cuda.error

    def replay(self) -> None:
        self.cuda.log.append("replay")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    cuda = FakeCuda()
    cuda.install(monkeypatch)
    return cuda


def test_a_call_is_made_once_before_it_is_recorded_and_never_when_it_is_replayed(cuda: FakeCuda) -> None:
    result = torch.zeros(2)

    def call() -> Tensor:
        cuda.log.append("call")
        return result

    replay = CudaGraphs(torch.device("cuda")).record(call)
    assert replay is not None
    assert [replay() is result for _ in range(2)] == [True, True]
    begin, end = ["own waits for current", "on own", "call"], ["off own", "current waits for own"]
    assert cuda.log == [*begin, "begin", "call", "end", *end, "replay", "replay"]


def test_a_gpu_that_cannot_record_is_asked_three_times(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    cuda.error = RuntimeError("operation not permitted when stream is capturing")
    graphs = CudaGraphs(torch.device("cuda"))
    assert [graphs.record(lambda: torch.zeros(2)) for _ in range(6)] == [None] * 6
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == [str(cuda.error)] * 3
    assert cuda.log.count("begin") == 3


def test_memory_that_is_short_while_recording_is_told(cuda: FakeCuda) -> None:
    def call() -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        CudaGraphs(torch.device("cuda")).record(call)
    assert cuda.log.count("begin") == 0
