"""The engine: many windows at once, each with its own options, get what each gets alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import whisperlite
from tests.models import Table, random_mel, small_tokenizer, table_network, talkative_network
from tests.test_network import memory_starts_as_nan
from tests.test_search import ask_for, check, literal_answer
from whisperlite.audio.mel import Features, Samples
from whisperlite.decoding import encoding
from whisperlite.decoding.asks import Answer, Ask, Beam, Decode, Decoded, Detect, Detected, Greedy, Sample, Strategy
from whisperlite.decoding.encoding import at_once
from whisperlite.decoding.engine import Engine, as_window, compression_ratio
from whisperlite.nn.network import Encoder, Network
from whisperlite.options import Options, OptionsDict
from whisperlite.text.prompt import Prompt, build_prompt
from whisperlite.text.tokenizer import Tokenizer

N_TEXT_CTX = 24
SMALL = small_tokenizer(n_text=7, n_times=6)

strategies = st.one_of(
    st.just(Greedy()),
    st.builds(Sample, st.sampled_from([0.3, 1.0, 1.5]), st.integers(1, 3), st.none() | st.floats(0, 1)),
    st.builds(
        lambda size, patience, penalty: Beam(size, max(round(size * patience), 1), penalty),
        st.integers(1, 3),
        st.sampled_from([0.5, 1.0, 2.0]),
        st.none() | st.floats(0, 1),
    ),
)


@st.composite
def table_asks(draw: st.DrawFn) -> Decode:
    """Any ask about a window of a table: prompts up to a full context, a beginning that is forced, any strategy."""
    before = draw(st.lists(st.integers(0, 5), max_size=N_TEXT_CTX - 4))
    timestamps = draw(st.booleans())
    room = N_TEXT_CTX - len(before) - 1
    text = draw(st.lists(st.integers(0, 5), max_size=min(room - 1, 3))) if room > 1 else []
    forced = ((SMALL.timestamp_begin,) if timestamps and text else ()) + tuple(text)
    limit = draw(st.integers(len(forced) + 1, 12))
    return ask_for(
        draw(st.integers(0, 4)),
        draw(strategies),
        SMALL,
        prompt=Prompt((*before, SMALL.sot, *forced), sot_index=len(before), forced=forced),
        suppressed=draw(st.frozensets(st.integers(1, 4), max_size=2)),
        suppress_blank=draw(st.booleans()),
        timestamps=timestamps,
        max_initial_timestamp=draw(st.sampled_from([None, 0.0, 0.04, 1.0])),
        max_new_tokens=limit,
        seed=(draw(st.integers(0, 5)),),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 0.7, 1.5, 3.0])),
        no_repeat_ngram_size=draw(st.sampled_from([0, 0, 1, 2, 3])),
        text_until=draw(st.sampled_from([0.0, 0.0, 0.04, 0.08, 1.0])),
    )


# Memory of what waits


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_encodings_wait_than_there_are_slots(slots: int) -> None:
    """Many recordings begin at once: the language of each is heard, then its window is decoded from that encoding."""
    network, tokenizer = talkative_network("base")
    engine = Engine(network, tokenizer, slots=slots)
    prompt = build_prompt(tokenizer, language="en", task="transcribe", without_timestamps=True)
    heard, decoded, most = 0, 0, 0
    for seed in range(12):
        engine.submit(Detect(as_window(random_mel(network.dims, seed))))
    while decoded < 12:
        for _, answer in engine.step():
            if isinstance(answer, Detected):
                heard += 1
                encoding = answer.encoding
                engine.submit(
                    Decode(encoding.window, prompt, Greedy(), 4, frozenset(), timestamps=False, encoding=encoding)
                )
            else:
                decoded += 1
        most = max(most, sum(ask.encoding is not None for _, ask in engine._waiting))
    assert heard == 12
    assert 0 < most <= slots


def test_windows_with_different_beams_share_the_slots_and_memory_follows_them() -> None:
    """A lane for each number of beams would hold as many windows as there are slots, and for ever."""
    network, tokenizer = talkative_network("base")
    engine = Engine(network, tokenizer, slots=4)
    prompt = build_prompt(tokenizer, language="en", task="transcribe", without_timestamps=True)

    def ask(beams: int) -> Decode:
        return Decode(as_window(random_mel(network.dims, beams)), prompt, Beam(beams, beams), 6, frozenset())

    for _ in range(2):
        for beams in range(1, 9):
            engine.submit(ask(beams))
    answers, active, places = 0, [], []
    while answers < 16:
        answers += len(engine.step())
        active.append(engine.active_slots)
        places.append(sum(lane.width for lane in engine._lanes.values()))
    assert max(active) == 4
    assert max(places) <= 2 * 4
    engine.run([ask(3)] * 4)
    assert set(engine._lanes) >= {3}
    assert len(engine._lanes) <= 2


# Against the literal implementation


@settings(deadline=None, derandomize=True, max_examples=250)
@given(asks=st.lists(table_asks(), min_size=1, max_size=8), slots=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_every_window_of_a_call_gets_its_literal_answer(asks: list[Decode], slots: int, seed: int) -> None:
    """More asks than slots: lanes are refilled while others are in the middle of theirs."""
    table = Table(SMALL.n_vocab, seed)
    engine = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=slots)
    for ask, answer in zip(asks, engine.run(asks), strict=True):
        check(answer, literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 3), table_asks()), min_size=2, max_size=8),
    slots=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_asks_that_arrive_over_time_get_their_literal_answers(
    arrivals: list[tuple[int, Decode]], slots: int, seed: int
) -> None:
    table = Table(SMALL.n_vocab, seed)
    engine = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=slots)
    answers: dict[int, Answer] = {}
    asks: dict[int, Decode] = {}
    for pause, ask in arrivals:
        asks[engine.submit(ask)] = ask
        for _ in range(pause):
            answers.update(engine.step())
    for _ in range(200):
        answers.update(engine.step())
    assert answers.keys() == asks.keys()
    for ticket, ask in asks.items():
        check(answers[ticket], literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    asks=st.lists(st.tuples(table_asks(), st.none() | st.integers(0, 4)), min_size=2, max_size=6),
    slots=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_asks_that_are_cancelled_leave_the_others_their_literal_answers(
    asks: list[tuple[Decode, int | None]], slots: int, seed: int
) -> None:
    """Some are cancelled after a number of steps: waiting, decoded in any slot, or answered."""
    table = Table(SMALL.n_vocab, seed)
    engine = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=slots)
    tickets = [engine.submit(ask) for ask, _ in asks]
    answers: dict[int, Answer] = {}
    for count in range(200):
        for ticket, (_, moment) in zip(tickets, asks, strict=True):
            if moment == count:
                engine.cancel(ticket)
        answers.update(engine.step())
    for ticket, (ask, moment) in zip(tickets, asks, strict=True):
        assert ticket in answers or moment is not None
        if ticket in answers:
            check(answers[ticket], literal_answer(table, ask, SMALL, N_TEXT_CTX), ask)


@pytest.mark.parametrize("strategy", [Greedy(), Sample(1.0, 3), Beam(3, 3)])
@pytest.mark.parametrize("room", [1, 2, 5])
def test_a_prompt_that_nearly_fills_the_context_leaves_the_rest(strategy: Strategy, room: int) -> None:
    """The context and one: the last token chosen is never read again (reference: `DecodingTask._main_loop`)."""
    table = Table(SMALL.n_vocab, seed=0)
    tokens = (SMALL.sot, *[1] * (N_TEXT_CTX - room))
    never_ends = frozenset({SMALL.eot})
    ask = ask_for(0, strategy, SMALL, prompt=Prompt(tokens, 0, ()), max_new_tokens=20, suppressed=never_ends)
    (answer,) = Engine(table_network(table, n_text_ctx=N_TEXT_CTX), SMALL, slots=2).run([ask])
    assert isinstance(answer, Decoded)
    assert len(answer.tokens) == room
    assert answer.truncated


@pytest.mark.parametrize("strategy", [Greedy(), Sample(0.5, 3), Beam(3, 3)])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_no_answer_is_longer_than_its_limit(strategy: Strategy, limit: int) -> None:
    table = Table(SMALL.n_vocab, seed=0)
    ask = ask_for(0, strategy, SMALL, max_new_tokens=limit, suppressed=frozenset({SMALL.eot}))
    (answer,) = Engine(table_network(table), SMALL).run([ask])
    assert isinstance(answer, Decoded)
    assert (len(answer.tokens), answer.truncated) == (limit, True)


def test_an_answer_that_ends_at_its_limit_is_not_truncated() -> None:
    table = Table(SMALL.n_vocab, seed=3)
    (free,) = Engine(table_network(table), SMALL).run([ask_for(2, Greedy(), SMALL, max_new_tokens=40)])
    assert isinstance(free, Decoded)
    assert not free.truncated
    exact = ask_for(2, Greedy(), SMALL, max_new_tokens=len(free.tokens) + 1)
    short = ask_for(2, Greedy(), SMALL, max_new_tokens=len(free.tokens))
    for ask, truncated in ((exact, False), (short, True)):
        (answer,) = Engine(table_network(table), SMALL).run([ask])
        assert isinstance(answer, Decoded)
        assert (answer.tokens, answer.truncated) == (free.tokens, truncated)


def test_no_speech_is_read_at_the_start_of_the_transcript() -> None:
    table = Table(SMALL.n_vocab, seed=1)
    prompt = Prompt((1, 2, SMALL.sot, 3), sot_index=2, forced=(3,))
    asks = [ask_for(0, one, SMALL, prompt=prompt) for one in (Greedy(), Beam(2, 2), Sample(1.0, 2))]
    logits = torch.from_numpy(table.logits(0, (1, 2, SMALL.sot)))
    for answer in Engine(table_network(table), SMALL, slots=2).run(asks):
        assert isinstance(answer, Decoded)
        assert answer.no_speech_prob == pytest.approx(float(logits.softmax(-1)[SMALL.no_speech]), abs=1e-6)


def test_a_sample_of_one_leaves_the_greedy_window_beside_it_alone() -> None:
    table = Table(SMALL.n_vocab, seed=5)
    greedy = ask_for(0, Greedy(), SMALL)
    samples = [ask_for(0, Sample(1.5, 1), SMALL, seed=(seed,)) for seed in range(6)]
    answers = Engine(table_network(table), SMALL, slots=4).run([samples[0], greedy, *samples[1:]])
    check(answers[1], literal_answer(table, greedy, SMALL), greedy)
    assert len({answer.tokens for answer in answers if isinstance(answer, Decoded)}) > 3


# Encodings


@dataclass(frozen=True)
class CountingEncoder:
    """An encoder that notes how many windows it was given."""

    encoder: Encoder
    batches: list[int] = field(default_factory=list)

    @property
    def positions(self) -> Tensor:
        return self.encoder.positions

    def __call__(self, mel: Tensor) -> Tensor:
        self.batches.append(len(mel))
        return self.encoder(mel)


def counted(network: Network) -> tuple[Network, list[int]]:
    encoder = CountingEncoder(network.encoder)
    return replace(network, encoder=cast(Encoder, encoder)), encoder.batches


def test_a_window_whose_encoding_is_given_is_not_encoded_again__correction_21() -> None:
    network, batches = counted(table_network(Table(SMALL.n_vocab, seed=0)))
    engine = Engine(network, SMALL, slots=2)
    (first,) = engine.run([ask_for(3, Greedy(), SMALL)])
    assert isinstance(first, Decoded)

    def never() -> Tensor:
        raise AssertionError("the window was computed again")

    again = [
        replace(ask_for(3, one, SMALL), window=never, encoding=first.encoding)
        for one in (Greedy(), Beam(2, 2), Sample(0.4, 3))
    ]
    answers = engine.run(again)
    assert batches == [1]
    assert isinstance(answers[0], Decoded)
    assert answers[0].tokens == first.tokens
    assert all(isinstance(answer, Decoded) and answer.encoding is first.encoding for answer in answers)


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [("cpu", 3, [1, 1, 1]), ("mps", 3, [3]), ("xpu", 11, [8, 3]), ("cuda", 11, [8, 2, 1]), ("cuda", 8, [8])],
)
def test_windows_that_are_admitted_together_are_encoded_together_but_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, kind: str, count: int, expected: list[int]
) -> None:
    monkeypatch.setattr(encoding, "at_once", lambda count, _: at_once(count, kind))
    network, batches = counted(table_network(Table(SMALL.n_vocab, seed=0)))
    Engine(network, SMALL, slots=count).run([ask_for(window, Greedy(), SMALL) for window in range(count)])
    assert batches == expected


def test_on_a_cpu_a_step_encodes_one_window_so_that_what_is_cancelled_ends_soon() -> None:
    network, batches = counted(table_network(Table(SMALL.n_vocab, seed=0)))
    engine = Engine(network, SMALL, slots=3)
    for window in range(3):
        engine.submit(ask_for(window, Greedy(), SMALL))
    for count in range(1, 4):
        engine.step()
        assert len(batches) == count


def test_on_a_cpu_a_window_is_encoded_the_same_to_the_bit_alone_and_among_others() -> None:
    network, tokenizer = talkative_network("base")
    windows = [as_window(random_mel(network.dims, seed)) for seed in range(3)]
    engine = Engine(network, tokenizer, slots=3)
    for window, together in zip(windows, engine.encode(windows), strict=True):
        assert torch.equal(together.hidden, engine.encode([window])[0].hidden)


def test_no_windows_are_no_work() -> None:
    network, batches = counted(table_network(Table(SMALL.n_vocab, seed=0)))
    engine = Engine(network, SMALL)
    assert (engine.run([]), engine.encode([]), engine.step(), batches) == ([], [], [], [])


# Networks with random weights


def random_asks(structure: str, tokenizer: Tokenizer, mels: Sequence[Tensor], *, limit: int = 14) -> list[Decode]:
    """A window each, all different: prompts of many lengths, every strategy, with timestamps and without."""
    kinds: list[Strategy] = [
        *(Greedy(), Beam(5, 5), Sample(0.8, 5), Beam(2, 4, 0.6), Sample(1.2, 1), Beam(3, 1), Greedy()),
        *(Sample(0.5, 2, 1.0), Beam(5, 5, 1.0)),
    ]
    asks = []
    for i, mel in enumerate(mels):
        prompt = build_prompt(
            tokenizer,
            language=["en", "de", "ja"][i % 3],
            task=["transcribe", "translate"][i % 2],
            without_timestamps=i % 4 == 3,
            previous=range(1000, 1000 + (i * 37) % 230),
            prefix=" so it goes" if i % 5 == 1 else None,
        )
        asks.append(
            Decode(
                window=as_window(mel),
                prompt=prompt,
                strategy=kinds[i % len(kinds)],
                max_new_tokens=limit + i % 3,
                suppressed=frozenset(tokenizer.non_speech_tokens if i % 2 else ()),
                suppress_blank=i % 3 > 0,
                timestamps=i % 4 != 3,
                max_initial_timestamp=[1.0, 0.0, None][i % 3],
                seed=(i, len(structure)),
            )
        )
    return asks


def assert_same(one: Answer, other: Answer) -> None:
    assert isinstance(one, Decoded)
    assert isinstance(other, Decoded)
    assert one.tokens == other.tokens
    assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-3)
    assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-4)
    assert (one.text, one.truncated, one.temperature) == (other.text, other.truncated, other.temperature)


@pytest.mark.parametrize(("structure", "seed"), [("tiny.en", 4), ("base", 2), ("turbo", 4), ("distil-large-v3", 0)])
@pytest.mark.parametrize("slots", [3, 12])
def test_windows_together_get_what_each_gets_alone(structure: str, seed: int, slots: int) -> None:
    network, tokenizer = talkative_network(structure, seed)
    asks = random_asks(structure, tokenizer, [random_mel(network.dims, seed) for seed in range(12)])
    together = Engine(network, tokenizer, slots=slots).run(asks)
    alone = [Engine(network, tokenizer).run([ask])[0] for ask in asks]
    for one, other in zip(together, alone, strict=True):
        assert_same(one, other)
    lengths = {len(answer.tokens) for answer in alone if isinstance(answer, Decoded)}
    assert len(lengths) > 3  # they ended at different times


def test_memory_that_was_never_written_has_no_influence() -> None:
    network, tokenizer = talkative_network("base", seed=2)
    asks = random_asks("base", tokenizer, [random_mel(network.dims, seed) for seed in range(6)], limit=6)
    with memory_starts_as_nan():
        answers = Engine(network, tokenizer, slots=4).run(asks)
    for one, other in zip(answers, Engine(network, tokenizer, slots=4).run(asks), strict=True):
        assert_same(one, other)


def test_eight_threads_on_one_network_get_equal_answers__correction_11() -> None:
    network, tokenizer = talkative_network("large-v3", seed=4)
    asks = random_asks("large-v3", tokenizer, [random_mel(network.dims, seed) for seed in range(6)], limit=8)
    expected = Engine(network, tokenizer, slots=3).run(asks)
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda _: Engine(network, tokenizer, slots=3).run(asks), range(8)))
    for answers in runs:
        for one, other in zip(answers, expected, strict=True):
            assert isinstance(one, Decoded)
            assert isinstance(other, Decoded)
            assert (one.tokens, one.avg_logprob) == (other.tokens, other.avg_logprob)


def test_a_long_prompt_and_a_high_limit_share_the_context() -> None:
    network, tokenizer = talkative_network("base")
    prompt = build_prompt(tokenizer, language="en", task="transcribe", without_timestamps=True, previous=[1000] * 300)
    assert len(prompt.tokens) == 224 + 4
    ask = Decode(
        as_window(random_mel(network.dims, 0)), prompt, Greedy(), 224, frozenset({tokenizer.eot}), timestamps=False
    )
    (answer,) = Engine(network, tokenizer).run([ask])
    assert isinstance(answer, Decoded)
    assert (len(answer.tokens), answer.truncated) == (449 - 228, True)


def test_detections_and_decodings_share_a_call() -> None:
    network, tokenizer = talkative_network("large-v3")
    mels = [random_mel(network.dims, seed) for seed in range(4)]
    decodes = random_asks("large-v3", tokenizer, mels[:2], limit=4)
    asks: list[Ask] = [Detect(as_window(mels[2])), decodes[0], Detect(as_window(mels[3])), decodes[1]]
    answers = Engine(network, tokenizer, slots=1).run(asks)
    for ask, answer in zip(asks, answers, strict=True):
        (alone,) = Engine(network, tokenizer).run([ask])
        if isinstance(answer, Detected):
            assert isinstance(alone, Detected)
            assert list(answer.probabilities) == list(tokenizer.languages)
            assert len(answer.probabilities) == 100
            assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
            assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        else:
            assert_same(answer, alone)


def test_repetition_compresses() -> None:
    assert compression_ratio("a" * 200) > 10
    assert compression_ratio("how much there might be prudently in his power") < 1.2
    assert compression_ratio("") == 0.0


# The real model


def crops(samples: Samples, spans: Sequence[tuple[float, float]]) -> list[Tensor]:
    features = Features(samples, 80)
    return [features.window(round(start * 100), round((end - start) * 100))() for start, end in spans]


OPTIONS = [
    Options(language="en", beam_size=1),
    Options(language="en", beam_size=3, patience=2.0, length_penalty=0.5, initial_prompt="Sense and Sensibility."),
    Options(language="en", beam_size=1, without_timestamps=True, initial_prompt="Dashwood, " * 60),
    Options(language="en", temperature=0.6, best_of=3, seed=3),
    Options(beam_size=1, task="translate", prefix="He was not"),
]
SPANS = [(0.0, 3.0), (5.9, 10.0), (20.5, 24.7), (5.9, 8.0), (5.9, 10.0)]


def test_base_decodes_windows_together_as_alone(base: whisperlite.Whisper, librivox: Samples) -> None:
    windows = base.encode(crops(librivox, SPANS))
    together = base.decode(windows, OPTIONS)
    assert "John Dashwood" in together[0].text
    for window, options, answer in zip(windows, OPTIONS, together, strict=True):
        (alone,) = base.decode([window], options)
        assert_same(answer, alone)


def test_threads_on_one_real_model_get_equal_transcripts(tiny_en: whisperlite.Whisper, librivox: Samples) -> None:
    parts = [librivox[round(a * 16000) : round(b * 16000)] for a, b in ((5.9, 8), (20.5, 22), (14, 15.5), (0, 1.5))]

    def run(i: int) -> str:
        strategies: list[OptionsDict] = [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 0.4, "best_of": 2}]
        return tiny_en.transcribe(parts[i % 4], **strategies[i % 3]).text

    alone = [run(i) for i in range(4)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(run, [0, 1, 2, 3] * 2)) == alone * 2
