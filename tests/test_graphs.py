"""A step that is recorded once and replayed gives what it gives when its operators are called."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.cuda import CUDAGraph

import whisperlite
from tests.models import STRUCTURES, Table, random_mel, random_network, random_tensors, table_network, talkative_network
from tests.pooled import PATIENCE_S, Steps, noise
from tests.replaying import Replayer
from tests.small_whisper import small_whisper
from tests.test_engine import N_TEXT_CTX, SMALL, assert_same, random_asks, table_asks
from tests.test_network import cache_of, close, memory_starts_as_nan, random_tokens
from tests.test_search import ask_for, check, literal_answer
from whisperlite import MemoryExceededError
from whisperlite.api import spare_engine
from whisperlite.api.spare_engine import SpareEngine
from whisperlite.audio.mel import Samples
from whisperlite.decoding import encoding, replays
from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy
from whisperlite.decoding.encoding import WindowEncoder, at_once
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.decoding.prefill import Prefill
from whisperlite.decoding.replays import Replays
from whisperlite.nn import graphs
from whisperlite.nn.build import build_network
from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.graphs import CudaGraphs, Recorder, can_replay, recorder_for
from whisperlite.text.prompt import Prompt

CPU = torch.device("cpu")


@dataclass
class Recorders:
    """One for each engine and lane that is made.

    Attributes:
        fails, calls: of each of them at first.
        missing: numbers of those that are not made.
    """

    fails: int = 0
    calls: bool = False
    missing: range = range(0)
    asked: int = 0
    made: list[Replayer] = field(default_factory=list)

    def __call__(self, *_: object) -> Replayer | None:
        self.asked += 1
        if self.asked - 1 in self.missing:
            return None
        self.made.append(Replayer(self.fails, self.calls))
        return self.made[-1]

    @property
    def recorded(self) -> int:
        return sum(each.recorded for each in self.made)

    @property
    def replayed(self) -> int:
        return sum(each.replayed for each in self.made)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> Recorders:
    """Every engine and lane that is made replays what it can."""
    recorders = Recorders()
    monkeypatch.setattr(replays, "recorder_for", recorders)
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


def test_a_step_moves_nothing_to_the_host() -> None:
    """Where there are no numbers, all that would is an error."""
    dims, meta = STRUCTURES["base"], torch.device("meta")
    decoder = build_network(dims, random_tensors(dims), device=meta, dtype=torch.float16).decoder
    heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
    keys, values = (torch.empty(dims.n_text_layer, 10, heads, 32, width, device=meta).half() for _ in range(2))
    cross = torch.empty(dims.n_text_layer, 2, heads, dims.n_audio_ctx, width, device=meta).half()
    tokens, lengths = (torch.zeros(10, dtype=torch.long, device=meta) for _ in range(2))
    logits = decoder.next_logits(tokens, FixedCache(keys, values, CrossKeysValues(cross, cross), lengths))
    assert (logits.device, logits.shape) == (meta, (10, dims.n_vocab))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(asks=st.lists(table_asks(), min_size=1, max_size=8), slots=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_every_window_gets_its_literal_answer(asks: list[Decode], slots: int, seed: int) -> None:
    """Slots come and go, move, and are fewer than what is computed; the literal implementation knows nothing of it."""
    table = Table(SMALL.n_vocab, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replays, "recorder_for", lambda *_: Calling())
        patch.setattr(replays, "_POSITIONS", 5)
        patch.setattr(replays, "_BITS", 1)
        patch.setattr(replays, "_CALLS_TO_RECORD", 2)
        answers = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=slots, graphs=True).run(asks)
    for ask, answer in zip(asks, answers, strict=True):
        check(answer, literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


def test_a_row_without_a_slot_writes_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot that goes had a longer prompt than the steps of the others are for."""
    monkeypatch.setattr(replays, "recorder_for", lambda *_: Calling())
    monkeypatch.setattr(replays, "_POSITIONS", 5)
    monkeypatch.setattr(replays, "_BITS", 1)
    monkeypatch.setattr(replays, "_CALLS_TO_RECORD", 1)
    table = Table(SMALL.n_vocab, seed=0)
    engine = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=4, graphs=True)
    long = Prompt((*[0] * 15, SMALL.sot), sot_index=15, forced=())
    asks = [ask_for(number, Greedy(), SMALL, max_new_tokens=8) for number in range(3)]
    tickets = [engine.submit(ask) for ask in [*asks, ask_for(3, Greedy(), SMALL, prompt=long, max_new_tokens=8)]]
    answers = dict(engine.step())
    engine.cancel(tickets[3])
    while len(answers) < 3:
        answers |= engine.step()
    for ticket, ask in zip(tickets, asks, strict=False):
        check(answers[ticket], literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


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
        found = Engine(network, tokenizer, slots=slots, graphs=True).run(asks)
    assert recorders.replayed > recorders.recorded > 0
    expected = Engine(network, tokenizer, slots=slots).run(asks)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("count", "recorded"), [(1, 1), (2, 1), (4, 1), (8, 0), (11, 2)])
def test_few_windows_are_encoded_by_what_was_recorded(
    monkeypatch: pytest.MonkeyPatch, count: int, recorded: int
) -> None:
    monkeypatch.setattr(encoding, "at_once", lambda count, _: at_once(count, "cuda"))
    network = random_network("base")
    windows = [as_window(random_mel(network.dims, seed)) for seed in range(count)]
    recorder = Replayer()
    replaying, calling = WindowEncoder(network, Replays(recorder)), WindowEncoder(network, None)
    with torch.inference_mode():
        found = [replaying.encode(windows) for _ in range(5)]
        expected = calling.encode(windows)
    assert (recorder.recorded, recorder.replayed) == (recorded, 2 * recorded)
    for each in found:
        for one, other in zip(each, expected, strict=True):
            assert torch.equal(one.hidden, other.hidden)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 40, 300])
def test_a_prompt_is_read_by_what_was_recorded_for_more_tokens(count: int) -> None:
    """Each in a window of its own, the logits being asked for in places of its own."""
    network = random_network("base")
    recorder = Replayer()
    prefill = Prefill(network, Replays(recorder))
    ids = random_tokens(network, 5, count)
    with torch.inference_mode():
        for seed, tokens in enumerate(ids):
            [encoding] = WindowEncoder(network, None).encode([as_window(random_mel(network.dims, seed))])
            place = seed % count
            read = prefill.read(Prompt(tuple(tokens.tolist()), sot_index=place, forced=()), encoding)
            if seed < 2:
                assert read is None
                continue
            assert read is not None
            cache = Cache.empty(encoding.cross, rows=1, capacity=count)
            logits, _ = network.decoder(tokens[None], cache)
            close(read.logits, logits[0, [place, -1]])
            close(read.keys, cache.keys)
            close(read.values, cache.values)
            close(read.cross.keys, encoding.cross.keys)
            close(read.cross.values, encoding.cross.values)
    assert (recorder.recorded, recorder.replayed) == (1, 2)


def test_few_different_steps_are_recorded(recorders: Recorders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one for each number of slots and each length of text."""
    monkeypatch.setattr(encoding, "at_once", lambda count, _: at_once(count, "cuda"))
    network, tokenizer = talkative_network("base", 2)
    ask = random_asks("base", tokenizer, [random_mel(network.dims, 0)])[0]
    endless = replace(ask, suppressed=frozenset({tokenizer.eot}))
    asks = [replace(endless, max_new_tokens=20 + number % 16) for number in range(40)]
    Engine(network, tokenizer, slots=16, graphs=True).run(asks)
    of_engine, of_lane = recorders.made
    assert of_engine.recorded == 2  # encoding a window, reading a prompt
    assert of_lane.recorded <= 5
    assert of_lane.replayed > 40


@pytest.mark.parametrize("calls", [True, False])
def test_what_cannot_be_recorded_is_called_once(recorders: Recorders, calls: bool) -> None:
    network, tokenizer = talkative_network("base", 2)
    asks = random_asks("base", tokenizer, [random_mel(network.dims, seed) for seed in range(3)])
    expected = Engine(network, tokenizer).run(asks)
    for fails in (3, 10_000):
        recorders.fails, recorders.calls = fails, calls
        for one, other in zip(Engine(network, tokenizer, graphs=True).run(asks), expected, strict=True):
            assert_same(one, other)
    assert recorders.made[-1].recorded == 0


@pytest.mark.parametrize("missing", [range(1), range(1, 9)])
def test_not_everything_of_an_engine_need_replay(recorders: Recorders, missing: range) -> None:
    """What one lane looks at stays as it is when a prompt is read for another."""
    network, tokenizer = talkative_network("base", 2)
    ask = random_asks("base", tokenizer, [random_mel(network.dims, 0)])[0]
    endless = replace(ask, suppressed=frozenset({tokenizer.eot}), max_new_tokens=30, strategy=Greedy())
    others = [
        replace(endless, window=as_window(random_mel(network.dims, seed)), max_new_tokens=2) for seed in (1, 2, 3)
    ]

    def tokens() -> tuple[int, ...]:
        engine = Engine(network, tokenizer, slots=2, graphs=True)
        for other in others:  # one by one, so that the lane stays narrow; prompts are replayed from now on
            engine.run([other])
        ticket, answers = engine.submit(endless), dict(engine.step())
        engine.submit(replace(others[0], strategy=Beam(2, max_candidates=2)))
        while ticket not in answers:
            answers |= engine.step()
        answer = answers[ticket]
        assert isinstance(answer, Decoded)
        return answer.tokens

    expected = tokens()
    recorders.asked, recorders.missing = 0, missing
    assert tokens() == expected


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 0.6, "best_of": 2}], ids=str)
def test_a_recording_gets_the_same_transcript(
    monkeypatch: pytest.MonkeyPatch,
    recorders: Recorders,
    base: whisperlite.Whisper,
    librivox: Samples,
    options: whisperlite.OptionsDict,
) -> None:
    options = {**options, "language": "en", "word_timestamps": True}
    expected = base.transcribe(librivox, **options)
    monkeypatch.setattr(base._runtime, "cuda_graphs", True)
    monkeypatch.setattr(base._runtime, "spare_engine", SpareEngine())
    found = base.transcribe(librivox, **options)
    assert recorders.replayed > 20
    assert [segment.tokens for segment in found.segments] == [segment.tokens for segment in expected.segments]
    assert found.words == expected.words


SHORT: whisperlite.OptionsDict = {"language": "en", "max_new_tokens": 8}


def tokens_of(segments: Iterable[whisperlite.Segment]) -> list[tuple[int, ...]]:
    return [segment.tokens for segment in segments]


def test_a_later_call_replays_what_an_earlier_one_has_recorded(recorders: Recorders, librivox: Samples) -> None:
    model = small_whisper(cuda_graphs=True)
    expected = model.transcribe(noise(70), **SHORT)
    recorded, made = recorders.recorded, len(recorders.made)
    assert recorded > 0
    assert model.transcribe(noise(70), **SHORT).text == expected.text
    assert (recorders.recorded, len(recorders.made)) == (recorded, made)
    for _ in range(2):  # as many windows as others want take memory that is not kept
        made = len(recorders.made)
        model.transcribe(librivox, language="en", chunking="vad", batch_size=2)
        assert len(recorders.made) > made


@pytest.mark.usefixtures("recorders")
def test_calls_at_once_do_not_share_what_was_recorded() -> None:
    model = small_whisper(cuda_graphs=True)
    expected = tokens_of(model.transcribe(noise(100), **SHORT).segments)
    first, second = (model.iter_segments(noise(100), **SHORT) for _ in range(2))
    begun = [tokens_of([next(each)]) for each in (first, second)]
    assert [start + tokens_of(each) for start, each in zip(begun, (first, second), strict=True)] == [expected, expected]


def test_what_was_left_in_the_middle_is_not_used_again(recorders: Recorders) -> None:
    model = small_whisper(cuda_graphs=True)
    expected = tokens_of(model.transcribe(noise(70), **SHORT).segments)
    made = len(recorders.made)
    with model.iter_segments(noise(70), **SHORT) as segments:
        next(segments)
    assert len(recorders.made) == made
    assert tokens_of(model.transcribe(noise(70), **SHORT).segments) == expected
    assert len(recorders.made) > made


@pytest.mark.usefixtures("recorders")
def test_an_engine_is_kept_for_the_stream_that_its_memory_is_used_on(monkeypatch: pytest.MonkeyPatch) -> None:
    network, tokenizer = talkative_network("base", 2)
    engine, spare = Engine(network, tokenizer, graphs=True), SpareEngine()
    spare.keep(engine, 7)
    for stream, expected in ((8, None), (7, engine), (7, None)):
        monkeypatch.setattr(spare_engine, "stream_of", lambda _, stream=stream: stream)
        assert spare.take(1, CPU) is expected
    spare.keep(engine, 7)
    assert spare.take(2, CPU) is None  # its memory is wanted
    assert spare.take(1, CPU) is None


@pytest.mark.usefixtures("recorders")
def test_where_memory_is_short_a_pool_lets_go_of_the_engine_that_its_model_keeps(steps: Steps) -> None:
    model = small_whisper(cuda_graphs=True)
    with model.pool(2) as pool:
        model.transcribe(noise(5), **SHORT)
        assert model._runtime.spare_engine._kept
        steps.fail_once(torch.cuda.OutOfMemoryError("CUDA out of memory."))
        with pytest.raises(MemoryExceededError):
            pool.submit(noise(5), **SHORT).result(PATIENCE_S)
        assert not model._runtime.spare_engine._kept


@pytest.mark.usefixtures("recorders")
def test_of_what_overflows_only_the_engine_in_half_precision_is_kept() -> None:
    model = small_whisper(torch.float16, overflows=True, cuda_graphs=True)
    assert model.transcribe(noise(5), **SHORT).warnings
    [(engine, _)] = model._runtime.spare_engine._kept
    assert engine._float32_engine is None


def test_a_model_that_is_let_go_lets_go_of_what_it_kept(recorders: Recorders) -> None:
    Replayer().record(lambda: torch.zeros(1))  # the first in a process holds its caller
    model = small_whisper(torch.bfloat16, cuda_graphs=True)
    model.transcribe(noise(70), **SHORT)
    made, engine = len(recorders.made), weakref.ref(model._runtime.spare_engine._kept[0][0])
    gone = weakref.ref(model)
    model.transcribe(noise(70), **SHORT)
    assert len(recorders.made) == made
    gc.disable()
    try:
        del model
        assert gone() is None
        assert engine() is None
    finally:
        gc.enable()


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
        assert can_replay(recorder, CPU, dtype) is works


@pytest.mark.parametrize(
    ("version", "hip", "records"),
    [
        ("2.13.0+cu130", None, True),
        ("2.11.0+cu130", None, True),
        ("2.10.1", None, False),
        ("2.13.0+rocm", "6.4", False),
    ],
)
def test_graphs_are_recorded_where_they_can_be(
    monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, version: str, hip: str | None, records: bool
) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(graphs, "_works", lambda *_: True)
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch, "version", SimpleNamespace(hip=hip))
    assert (recorder_for(gpu, torch.float16) is not None) is records
    assert recorder_for(CPU, torch.float32) is None
    assert cuda.log == []


def test_nothing_is_recorded_unless_it_is_asked_for(recorders: Recorders, librivox: Samples) -> None:
    model = small_whisper()
    model.transcribe(librivox, **SHORT)
    with model.pool() as pool:
        assert pool.submit(librivox, **SHORT).result().segments
    assert recorders.asked == 0


def test_whether_graphs_work_is_asked_once_in_a_process(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(graphs, "_works", lambda *_: True)
    assert recorder_for(gpu, torch.float16) is not None
    monkeypatch.setattr(graphs, "_works", lambda *_: False)
    assert recorder_for(gpu, torch.float16) is not None
    assert recorder_for(gpu, torch.bfloat16) is None
    assert cuda.log == []


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
        errors: what the ends of the next recordings raise.
        ids: of the streams that torch hands out, again and again.
    """

    log: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: cycle(range(32)))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(torch.cuda, "Stream", lambda index: FakeStream(next(self.ids), torch.device("cuda", index)))
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "device", lambda device: self._within(f"device {device}"))
        patch.setattr(torch.cuda, "stream", lambda stream: self._within(f"stream {stream.cuda_stream}"))
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
        patch.setattr(torch.cuda, "empty_cache", lambda: self.log.append("empty cache"))
        patch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(self))
        patch.setattr(graphs, "_STREAMS", graphs._Streams())
        patch.setattr(graphs, "_PROBED", {})
        patch.setattr(CudaGraphs, "failures", 0)

    @contextmanager
    def _within(self, name: str) -> Iterator[None]:
        self.log.append(name)
        try:
            yield
        finally:
            self.log.append(f"left {name}")


@dataclass
class FakeStream:
    cuda_stream: int
    device: torch.device


@dataclass
class FakeGraph:
    cuda: FakeCuda

    def capture_begin(self, **options: Any) -> None:
        inspect.signature(CUDAGraph.capture_begin).bind(self, **options)
        self.cuda.log.append("begin")

    def capture_end(self) -> None:
        self.cuda.log.append("end")
        if self.cuda.errors:
            raise self.cuda.errors.pop(0)

    def replay(self) -> None:
        self.cuda.log.append("replay")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    cuda = FakeCuda()
    cuda.install(monkeypatch)
    return cuda


def new_graphs(index: int = 0) -> CudaGraphs:
    device = torch.device("cuda", index)
    stream = graphs._STREAMS.lend(device)
    assert stream is not None
    return CudaGraphs(device, stream)


CAPTURED = ["stream 0", "begin", "call", "end", "left stream 0"]


def test_a_call_is_made_once_before_it_is_recorded_and_never_when_it_is_replayed(cuda: FakeCuda) -> None:
    result = torch.zeros(2)

    def call() -> Tensor:
        cuda.log.append("call")
        return result

    recorder = new_graphs(index=1)
    replay = recorder.record(call)
    assert replay is not None
    assert [replay() is result for _ in range(2)] == [True, True]
    assert cuda.log == ["device cuda:1", "call", *CAPTURED, "left device cuda:1", "replay", "replay"]


def test_a_recording_that_fails_is_tried_again_with_what_memory_there_is(cuda: FakeCuda) -> None:
    cuda.errors = [torch.cuda.OutOfMemoryError("CUDA out of memory")]
    result = torch.zeros(2)

    def call() -> Tensor:
        cuda.log.append("call")
        return result

    recorder = new_graphs()
    replay = recorder.record(call)
    assert replay is not None
    assert cuda.log == ["device cuda:0", "call", *CAPTURED, "empty cache", *CAPTURED, "left device cuda:0"]
    assert replay() is result
    assert len(recorder._graphs) == 2  # the pool lives as long as one of its graphs


def test_a_gpu_that_cannot_record_is_asked_three_times(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    cuda.errors = [RuntimeError("operation not permitted when stream is capturing")] * 9
    for number in range(6):
        assert new_graphs(index=number % 2).record(lambda: torch.zeros(2)) is None
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [str(cuda.errors[0])] * 3
    assert cuda.log.count("begin") == 2 * 3


def test_memory_that_is_short_for_the_step_itself_is_told(cuda: FakeCuda) -> None:
    def call() -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        new_graphs().record(call)
    assert cuda.log.count("begin") == 0


def test_no_two_recorders_share_a_stream_and_it_is_lent_again_when_its_graphs_have_ended(cuda: FakeCuda) -> None:
    recorders = [new_graphs(index=number % 2) for number in range(2 * 16)]
    for index in (0, 1):
        assert len({each._stream.cuda_stream for each in recorders[index::2]}) == 16
        assert graphs._STREAMS.lend(torch.device("cuda", index)) is None
    replay = recorders[4].record(lambda: torch.zeros(2))
    assert replay is not None
    graph, stream = weakref.ref(recorders[4]._graphs[0]), recorders[4]._stream
    del recorders[4]
    assert graph() is None  # though somebody has still what would replay it
    assert graphs._STREAMS.lend(torch.device("cuda", 0)) is stream
    assert cuda.log.count("begin") == 1
