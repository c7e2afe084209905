"""Choosing tokens: beams, samples and ranking, against literal implementations on tables of random logits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import literal
from tests.models import Table, numbered_window, small_tokenizer, table_network
from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy, Sample, Strategy
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.search import (
    Hypothesis,
    arrange,
    beam_step,
    best_hypothesis,
    choose_likeliest,
    choose_sampled,
    draw_uniforms,
    largest,
)
from whisperlite.text.prompt import Prompt
from whisperlite.text.tokenizer import Tokenizer

# Examples are the same at every run: scores closer than float32 can tell would make two right answers.
same_examples = settings(deadline=None, derandomize=True)


def ask_for(window: int, strategy: Strategy, tokenizer: Tokenizer, **changes: object) -> Decode:
    prompt = Prompt((tokenizer.sot,), sot_index=0, forced=())
    values = {"suppressed": frozenset[int](), "timestamps": False, "max_new_tokens": 8} | changes
    return Decode(numbered_window(window), values.pop("prompt", prompt), strategy, **values)  # type: ignore[arg-type]


def logits_after(table: Table, ask: Decode, tokenizer: Tokenizer) -> literal.LogitsAfter:
    window, limit = int(ask.window()[0, 0]), ask.max_initial_timestamp
    rules = literal.Rules(
        tokenizer,
        ask.suppressed,
        ask.suppress_blank,
        ask.timestamps,
        None if limit is None else round(limit * 50),
        ask.prompt.forced,
        ask.repetition_penalty,
        ask.no_repeat_ngram_size,
        round(ask.text_until * 50),
    )
    return lambda chosen: rules.apply(table.logits(window, (*ask.prompt.tokens, *chosen)), chosen)


def literal_answer(table: Table, ask: Decode, tokenizer: Tokenizer, n_text_ctx: int = 64) -> literal.Outcome:
    after, eot, strategy = logits_after(table, ask, tokenizer), tokenizer.eot, ask.strategy
    limit = min(ask.max_new_tokens - len(ask.prompt.forced), n_text_ctx + 1 - len(ask.prompt.tokens))
    if isinstance(strategy, Greedy):
        return literal.greedy(after, limit=limit, eot=eot)
    if isinstance(strategy, Beam):
        outcomes = literal.beam_search(
            after, beams=strategy.queries, max_candidates=strategy.max_candidates, limit=limit, eot=eot
        )
        return literal.best(outcomes, strategy.length_penalty)
    uniforms = draw_uniforms(ask.seed, limit, strategy.queries).T.tolist()
    draws = [literal.sample(after, row, temperature=strategy.temperature, limit=limit, eot=eot) for row in uniforms]
    return literal.best(draws, strategy.length_penalty)


def check(answer: object, expected: literal.Outcome, ask: Decode) -> None:
    assert isinstance(answer, Decoded)
    assert answer.tokens == ask.prompt.forced + expected.tokens
    assert answer.truncated == expected.truncated
    assert answer.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-4)


# Beam search

beams = st.builds(
    lambda size, patience, penalty: Beam(size, max(round(size * patience), 1), penalty),
    st.integers(1, 5),
    st.sampled_from([0.2, 0.5, 1.0, 1.5, 2.0, 3.0]),
    st.none() | st.floats(0, 1),
)


@settings(same_examples, max_examples=300)
@given(
    strategy=beams,
    n_text=st.integers(2, 12),
    n_times=st.integers(1, 8),
    timestamps=st.booleans(),
    suppress_blank=st.booleans(),
    limit=st.integers(1, 9),
    prompt=st.lists(st.integers(0, 1), max_size=4),
    scale=st.sampled_from([0.5, 2.0, 5.0]),
    seed=st.integers(0, 1_000_000),
)
def test_beam_search_equals_the_literal_one(
    strategy: Beam,
    n_text: int,
    n_times: int,
    timestamps: bool,
    suppress_blank: bool,
    limit: int,
    prompt: list[int],
    scale: float,
    seed: int,
) -> None:
    tokenizer = small_tokenizer(n_text, n_times)
    table = Table(tokenizer.n_vocab, seed, scale)
    ask = ask_for(
        3,
        strategy,
        tokenizer,
        prompt=Prompt((*prompt, tokenizer.sot), sot_index=len(prompt), forced=()),
        timestamps=timestamps,
        suppress_blank=suppress_blank,
        max_new_tokens=limit,
        max_initial_timestamp=None,
    )
    (answer,) = Engine(table_network(table), tokenizer).run([ask])
    check(answer, literal_answer(table, ask, tokenizer), ask)


@settings(same_examples, max_examples=100)
@given(
    live=st.integers(1, 3),
    length=st.integers(1, 3),
    penalty=st.none() | st.floats(0, 1),
    suppress_blank=st.booleans(),
    seed=st.integers(0, 1_000_000),
)
def test_beams_that_cover_everything_find_the_best_sequence_there_is(
    live: int, length: int, penalty: float | None, suppress_blank: bool, seed: int
) -> None:
    tokenizer = small_tokenizer(n_text=60, n_times=1)
    table = Table(tokenizer.n_vocab, seed)
    suppressed = frozenset(range(live + 1, tokenizer.n_vocab)) - {tokenizer.eot} | {0}
    ask = ask_for(
        0,
        Beam(queries=45, max_candidates=10_000, length_penalty=penalty),
        tokenizer,
        suppressed=suppressed,
        suppress_blank=suppress_blank,
        max_new_tokens=length,
    )
    after = logits_after(table, ask, tokenizer)
    everything = []
    for count in range(length + 1):
        for tokens in itertools.product(range(1, live + 1), repeat=count):
            ended = () if count == length else (tokenizer.eot,)
            steps = (*tokens, *ended)
            total = sum(float(literal.log_softmax(after(steps[:i]))[token]) for i, token in enumerate(steps))
            if total > -math.inf:
                everything.append(literal.Outcome(tokens, total, truncated=count == length))
    (answer,) = Engine(table_network(table), tokenizer).run([ask])
    check(answer, literal.best(everything, penalty), ask)


@settings(same_examples, max_examples=200)
@given(windows=st.integers(1, 4), queries=st.integers(1, 4), eot_bonus=st.floats(0, 3), seed=st.integers(0, 10_000))
def test_a_step_of_many_windows_is_a_step_of_each(windows: int, queries: int, eot_bonus: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    eot = 5
    logits = torch.randn(windows, queries, 9, generator=generator)
    logits[..., eot] += eot_bonus
    logits[torch.rand(logits.shape, generator=generator) < 0.2] = -math.inf
    logits[..., 0] = 0.0
    sums = -torch.rand(windows, queries, generator=generator).cumsum(-1)
    first = torch.rand(windows, generator=generator) < 0.3
    step = beam_step(logits, sums, first, eot)
    for window in range(windows):
        candidates = sorted(
            (
                (sums[window, query] + logprob, query, token)
                for query in range(1 if first[window] else queries)
                for token, logprob in enumerate(logits[window, query].log_softmax(-1))
                if logprob in logits[window, query].log_softmax(-1).topk(queries + 1).values and logprob > -math.inf
            ),
            reverse=True,
        )
        going = [candidate for candidate in candidates if candidate[2] != eot][:queries]
        bound = going[-1][0] if len(going) == queries else torch.tensor(-math.inf)
        ended = [candidate for candidate in candidates if candidate[2] == eot and candidate[0] > bound]
        finite = int((step.sums[window] > -math.inf).sum())
        assert finite == len(going)
        torch.testing.assert_close(step.sums[window, :finite], torch.tensor([float(total) for total, _, _ in going]))
        assert step.sources[window, :finite].tolist() == [query for _, query, _ in going]
        assert step.tokens[window, :finite].tolist() == [token for _, _, token in going]
        assert step.ended_sources[window][step.ended[window]].tolist() == [query for _, query, _ in ended]


@settings(same_examples, max_examples=100)
@given(
    rows=st.integers(1, 3),
    size=st.integers(8, 9000),
    count=st.integers(1, 8),
    kinds=st.sampled_from([3, 100_000]),
    never=st.sampled_from([0.0, 0.5, 0.9999]),
    seed=st.integers(0, 10_000),
)
def test_the_largest_are_found(rows: int, size: int, count: int, kinds: int, never: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(kinds, (2, rows, size), generator=generator).float()
    values[torch.rand(values.shape, generator=generator) < never] = -math.inf
    top, indices = largest(values, count)
    assert torch.equal(top, values.topk(count).values)
    assert torch.equal(values.gather(-1, indices), top)
    assert all(len(set(row)) == count for row in indices.flatten(0, 1).tolist())


def test_what_is_no_number_is_the_largest() -> None:
    values = torch.zeros(1, 1, 9000)
    values[..., 777] = math.nan
    assert largest(values, 2)[1][0, 0, 0] == 777


@given(sources=st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_hypotheses_that_go_on_stay_where_they_are(sources: list[int]) -> None:
    order = arrange(sources)
    assert sorted(order) == list(range(5))  # each has a place
    stayed = [query for query in range(5) if sources[order[query]] == query]
    assert stayed == sorted(set(sources))
    # Of several that continue the same, the best one stays; the others keep their order.
    assert all(order[query] == sources.index(query) for query in stayed)
    moved = [order[query] for query in range(5) if query not in stayed]
    assert moved == sorted(moved)


# Samples


def test_the_likeliest_token_is_chosen_with_its_log_probability() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -math.inf, 2.0]])
    tokens, logprobs = choose_likeliest(logits)
    assert tokens.tolist() == [1, 0]  # the first of equals
    torch.testing.assert_close(logprobs, logits.log_softmax(-1)[[0, 1], [1, 0]])


@settings(deadline=None, max_examples=300)
@given(
    size=st.integers(1, 40),
    temperature=st.floats(0.05, 3),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
    banned=st.floats(0, 0.9),
    seed=st.integers(0, 10_000),
)
def test_a_sample_is_where_the_distribution_function_passes_the_uniform(
    size: int, temperature: float, uniform: float, banned: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(1, size, generator=generator)
    logits[0, (torch.rand(size, generator=generator) < banned) & (torch.arange(size) != seed % size)] = -math.inf
    tokens, logprobs = choose_sampled(logits, torch.tensor([temperature]), torch.tensor([uniform]))
    probabilities = np.exp(literal.log_softmax(logits[0].double().numpy() / temperature))
    token = int(tokens[0])
    assert probabilities[token] > 0
    assert probabilities[:token].sum() <= uniform + 1e-5
    assert probabilities[: token + 1].sum() >= uniform - 1e-5
    assert float(logprobs[0]) == pytest.approx(float(literal.log_softmax(logits[0].double().numpy())[token]), abs=1e-4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_evenly_spread_uniforms_give_every_token_its_share(temperature: float) -> None:
    n = 20_000
    logits = torch.tensor([0.5, -math.inf, 2.0, -1.0, 0.0, -math.inf]).repeat(n, 1)
    tokens, _ = choose_sampled(logits, torch.full((n,), temperature), (torch.arange(n) + 0.5) / n)
    shares = torch.bincount(tokens, minlength=6) / n
    torch.testing.assert_close(shares, (logits[0] / temperature).softmax(-1), rtol=0, atol=2e-4)


@pytest.mark.parametrize("uniform", [0.0, 2.0**-24, 0.5, 1 - 2.0**-24])
def test_what_cannot_be_is_never_drawn(uniform: float) -> None:
    """Neither at the ends nor where rounding leaves the sum of a whole vocabulary short of 1."""
    for seed in range(20):
        logits = torch.randn(1, 51865, generator=torch.Generator().manual_seed(seed))
        allowed = torch.zeros(51865, dtype=torch.bool)
        allowed[100:50_000:3] = True
        logits[0, ~allowed] = -math.inf
        tokens, logprobs = choose_sampled(logits, torch.tensor([0.7]), torch.tensor([uniform]))
        assert allowed[tokens[0]]
        assert logprobs[0] > -math.inf


def test_the_only_possible_token_is_drawn_whatever_the_uniform() -> None:
    uniforms = torch.cat([torch.rand(500, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1 - 2.0**-24])])
    logits = torch.full((len(uniforms), 30), -math.inf)
    logits[:, 7] = -3.0
    tokens, logprobs = choose_sampled(logits, torch.full_like(uniforms, 0.2), uniforms)
    assert (tokens == 7).all()
    assert (logprobs == 0).all()


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e3])
def test_extreme_temperatures_still_draw(temperature: float) -> None:
    logits = torch.tensor([[1.0, 30.0, -math.inf, 29.0]]).repeat(64, 1)
    uniforms = torch.rand(64, generator=torch.Generator().manual_seed(0))
    tokens, logprobs = choose_sampled(logits, torch.full((64,), temperature), uniforms)
    assert set(tokens.tolist()) == ({0, 1, 3} if temperature > 1 else {1})
    assert logprobs.isfinite().all()


def test_uniforms_come_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    drawn = draw_uniforms((1, 300, 2), 50, 5)
    torch.manual_seed(5)
    assert torch.equal(draw_uniforms((1, 300, 2), 50, 5), drawn)
    torch.set_rng_state(state)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert len(set(drawn.flatten().tolist())) > 240
    for other in [(2, 300, 2), (1, 301, 2), (1, 300, 3), (1, 300)]:
        assert not torch.equal(draw_uniforms(other, 50, 5), drawn)


def test_a_lower_limit_does_not_change_the_draws_before_it() -> None:
    assert torch.equal(draw_uniforms((7,), 10, 5), draw_uniforms((7,), 224, 5)[:10])


@settings(same_examples, max_examples=150)
@given(
    queries=st.integers(1, 4),
    temperature=st.sampled_from([0.2, 0.7, 1.0, 1.7]),
    penalty=st.none() | st.floats(0, 1),
    timestamps=st.booleans(),
    limit=st.integers(1, 9),
    seed=st.integers(0, 1_000_000),
)
def test_best_of_equals_the_literal_draws(
    queries: int, temperature: float, penalty: float | None, timestamps: bool, limit: int, seed: int
) -> None:
    tokenizer = small_tokenizer(n_text=7, n_times=6)
    table = Table(tokenizer.n_vocab, seed)
    ask = ask_for(
        1,
        Sample(temperature, queries, penalty),
        tokenizer,
        timestamps=timestamps,
        max_new_tokens=limit,
        max_initial_timestamp=0.04,
        seed=(seed, 3),
    )
    (answer,) = Engine(table_network(table), tokenizer).run([ask])
    check(answer, literal_answer(table, ask, tokenizer), ask)


@settings(same_examples, max_examples=100)
@given(timestamps=st.booleans(), limit=st.integers(1, 12), seed=st.integers(0, 1_000_000))
def test_greedy_equals_the_literal_one_and_a_beam_of_one(timestamps: bool, limit: int, seed: int) -> None:
    tokenizer = small_tokenizer(n_text=7, n_times=6)
    table = Table(tokenizer.n_vocab, seed)
    asks = [
        ask_for(1, strategy, tokenizer, timestamps=timestamps, max_new_tokens=limit)
        for strategy in (Greedy(), Beam(queries=1, max_candidates=1))
    ]
    for answer, ask in zip(Engine(table_network(table), tokenizer).run(asks), asks, strict=True):
        check(answer, literal_answer(table, asks[0], tokenizer), ask)


# Ranking


def ranked(*hypotheses: tuple[int, float], length_penalty: float | None = None) -> int:
    given_ = [Hypothesis((1,) * length, total) for length, total in hypotheses]
    return given_.index(best_hypothesis(given_, length_penalty))


@pytest.mark.parametrize(
    ("length_penalty", "winner"),
    [(None, 1), (0.0, 0), (0.5, 0), (1.0, 1)],
    ids=["per token", "sum", "half", "full"],
)
def test_the_length_penalty_decides_between_short_and_long(length_penalty: float | None, winner: int) -> None:
    # Per token -1.0 and -0.5; in sum -2 and -2.5; ((5 + length) / 6)^α is 1.17^α and 1.67^α.
    assert ranked((2, -2.0), (5, -2.5), length_penalty=length_penalty) == winner


def test_the_first_of_equals_wins() -> None:
    assert ranked((2, -2.0), (4, -4.0), (1, -1.0)) == 0
    assert best_hypothesis([Hypothesis((1,), -1.0), Hypothesis((2,), -1.0)], 0.7).tokens == (1,)


@pytest.mark.parametrize("order", [lambda pair: pair, lambda pair: pair[::-1]], ids=["first", "last"])
def test_an_empty_hypothesis_ranks_last__correction_23(order: Callable[[list[Hypothesis]], list[Hypothesis]]) -> None:
    empty, poor = Hypothesis((), -0.001), Hypothesis((1,), -1000.0)
    assert best_hypothesis(order([empty, poor]), None) is poor
    assert best_hypothesis([empty], None) is empty


def test_an_empty_answer_is_an_answer__correction_23() -> None:
    """With suppress_blank=False and no timestamps, ending at once can be the likeliest of all."""
    tokenizer = small_tokenizer(n_text=3, n_times=1)
    table = Table(tokenizer.n_vocab, seed=0)
    only_end = frozenset(range(tokenizer.n_vocab)) - {tokenizer.eot}
    strategies: list[Strategy] = [Greedy(), Beam(2, 2), Sample(1.0, 2)]
    asks = [ask_for(0, one, tokenizer, suppressed=only_end, suppress_blank=False) for one in strategies]
    for answer in Engine(table_network(table), tokenizer).run(asks):
        assert isinstance(answer, Decoded)
        assert (answer.tokens, answer.text, answer.truncated) == ((), "", False)
        assert answer.avg_logprob == pytest.approx(0.0, abs=1e-6)


def test_scores_count_the_end_as_a_token() -> None:
    assert Hypothesis((1, 2, 3), -2.0).avg_logprob == -0.5
    assert Hypothesis((), -2.0).avg_logprob == -2.0
