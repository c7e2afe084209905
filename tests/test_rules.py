"""The rules of what may come next, for a batch at once, against the same rules written down a row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.literal import Rules, repeated
from tests.models import small_tokenizer
from whisperlite.decoding.rules import (
    NEVER,
    TimestampState,
    apply_repetition_rules,
    apply_timestamp_rules,
    first_token_mask,
    forbid_empty_segments,
    suppression_mask,
)
from whisperlite.text.tokenizer import Tokenizer

TOKENIZER = small_tokenizer(n_text=6, n_times=8)
V, BEGIN, EOT = TOKENIZER.n_vocab, TOKENIZER.timestamp_begin, TOKENIZER.eot
ENGLISH = Tokenizer.bundled(multilingual=False)
CPU = torch.device("cpu")

# Two kinds of histories: any tokens at all, and what the rules themselves let through.
any_history = st.lists(st.integers(0, V - 1), max_size=8)
times = st.integers(BEGIN, V - 1)
plausible_history = st.lists(
    st.tuples(times, st.lists(st.integers(0, EOT - 1), max_size=3), times).map(lambda s: [s[0], *s[1], s[2]]),
    max_size=3,
).flatmap(lambda segments: st.integers(0, 15).map(lambda cut: [token for s in segments for token in s][:cut]))
histories = st.one_of(any_history, plausible_history)


def random_logits(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(rows, 1, generator=generator) * 6
    return torch.randn(rows, V, generator=generator) * spread


def states_of(rows: list[list[int]]) -> TimestampState:
    return TimestampState(
        torch.cat([TimestampState.after(row, TOKENIZER.timestamps, rows=1, device=CPU).data for row in rows])
    )


@settings(deadline=None, max_examples=400)
@given(rows=st.lists(st.tuples(histories, st.booleans()), min_size=1, max_size=6), seed=st.integers(0, 10_000))
def test_timestamp_rules_equal_the_literal_ones(rows: list[tuple[list[int], bool]], seed: int) -> None:
    logits = random_logits(len(rows), seed)
    logits[:, list(TOKENIZER.control_tokens | {TOKENIZER.no_timestamps})] = NEVER
    expected = [
        Rules(TOKENIZER, suppress_blank=False, timestamps=enabled).apply(row.numpy(), history or [0])
        if enabled
        else row.numpy().copy()
        for row, (history, enabled) in zip(logits, rows, strict=True)
    ]
    enabled = torch.tensor([enabled for _, enabled in rows])
    apply_timestamp_rules(logits, states_of([history or [0] for history, _ in rows]), enabled, TOKENIZER)
    np.testing.assert_allclose(logits.numpy(), np.stack(expected), rtol=1e-6)


@settings(deadline=None, max_examples=400)
@given(
    suppressed=st.frozensets(st.integers(0, V - 1), max_size=8),
    suppress_blank=st.booleans(),
    timestamps=st.booleans(),
    limit=st.none() | st.integers(0, 9),
    forced=histories,
    seed=st.integers(0, 10_000),
)
def test_the_first_token_follows_the_literal_rules(
    suppressed: frozenset[int],
    suppress_blank: bool,
    timestamps: bool,
    limit: int | None,
    forced: list[int],
    seed: int,
) -> None:
    """As a lane puts them together: what is never chosen, what does not come first, and the timestamps."""
    logits = random_logits(1, seed)
    rules = Rules(TOKENIZER, suppressed, suppress_blank, timestamps, limit, tuple(forced))
    expected = rules.apply(logits[0].numpy(), ())
    first = first_token_mask(
        TOKENIZER,
        suppress_blank=suppress_blank,
        timestamps=timestamps and not forced,
        max_initial_index=limit,
        size=V,
    )
    logits[0, first] = NEVER
    logits[0, suppression_mask(TOKENIZER, suppressed, timestamps=timestamps, size=V)] = NEVER
    apply_timestamp_rules(logits, states_of([forced]), torch.tensor([timestamps]), TOKENIZER)
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-6)


@given(histories, histories)
def test_a_state_that_is_advanced_is_the_state_of_the_longer_history(before: list[int], after: list[int]) -> None:
    state = states_of([before])
    for token in after:
        state = state.advanced(torch.tensor([token]), TOKENIZER.timestamps)
    assert torch.equal(state.data, states_of([before + after]).data)


def test_a_state_of_chosen_rows_is_theirs() -> None:
    states = states_of([[BEGIN], [BEGIN, 1, BEGIN + 2], []])
    assert torch.equal(states.of(torch.tensor([2, 0])).data, states_of([[], [BEGIN]]).data)


def test_rows_without_timestamps_are_left_alone() -> None:
    logits = random_logits(4, seed=0)
    before = logits.clone()
    states = states_of([[BEGIN], [BEGIN, 1, BEGIN + 2], [], [BEGIN + 5]])
    apply_timestamp_rules(logits, states, torch.tensor([False, True, False, False]), TOKENIZER)
    assert torch.equal(logits[[0, 2, 3]], before[[0, 2, 3]])
    assert not torch.equal(logits[1], before[1])


def test_a_timestamp_comes_where_all_of_them_together_beat_every_text_token() -> None:
    logits = torch.full((2, V), NEVER)
    logits[:, 1] = torch.tensor([1.0, 1.0])
    logits[0, BEGIN : BEGIN + 4] = 1.0 - np.log(4) + 0.01
    logits[1, BEGIN : BEGIN + 4] = 1.0 - np.log(4) - 0.01
    apply_timestamp_rules(logits, states_of([[2], [2]]), torch.tensor([True, True]), TOKENIZER)
    assert logits[0, 1] == NEVER
    assert logits[1, 1] == 1.0


# Segments without text


@pytest.mark.parametrize(
    ("history", "until", "is_forbidden"),
    [
        ([BEGIN, 1, BEGIN + 2, BEGIN + 2], 3, True),
        ([BEGIN, 1, BEGIN + 2, BEGIN + 3], 3, False),
        ([BEGIN, 1, BEGIN + 2, BEGIN + 2], 0, False),
        ([BEGIN, 1, BEGIN + 2], 3, False),
        ([BEGIN, 1, BEGIN + 2, BEGIN + 2, 1], 3, False),
        ([BEGIN], 3, False),
        ([], 3, False),
    ],
)
def test_the_end_does_not_come_where_a_further_segment_opens_early(
    history: list[int], until: int, is_forbidden: bool
) -> None:
    logits = random_logits(1, seed=0)
    before = logits.clone()
    forbid_empty_segments(logits, states_of([history]), torch.tensor([until]), TOKENIZER)
    assert (logits[0, EOT] == NEVER) == is_forbidden
    before[0, EOT] = logits[0, EOT]
    assert torch.equal(logits, before)


def test_the_end_comes_where_no_text_may() -> None:
    logits = random_logits(1, seed=0)
    logits[0, :EOT] = NEVER
    forbid_empty_segments(logits, states_of([[BEGIN, 1, BEGIN + 2, BEGIN + 2]]), torch.tensor([3]), TOKENIZER)
    assert logits[0, EOT] > NEVER


# Repetition


def applied(rows: list[list[int]], penalties: list[float], ngrams: list[int], logits: Tensor) -> Tensor:
    """The logits after the rules, of rows of unequal lengths with leftovers behind them."""
    longest = max(map(len, rows), default=0)
    history = torch.tensor([[*row, *[3] * (longest - len(row))] for row in rows]).view(len(rows), longest)
    lengths = torch.tensor([len(row) for row in rows])
    left = logits.clone()
    apply_repetition_rules(left, history.long(), lengths, torch.tensor(penalties), ngrams, EOT)
    return left


repeating_rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0, 1, 2, 3, BEGIN, BEGIN + 1]), max_size=12),
        st.sampled_from([1.0, 0.5, 1.3, 4.0]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=300)
@given(rows=repeating_rows, seed=st.integers(0, 10_000))
def test_repetition_rules_equal_the_literal_ones(rows: list[tuple[list[int], float, int]], seed: int) -> None:
    logits = random_logits(len(rows), seed)
    logits[:, 5] = NEVER
    expected = logits.double().numpy()
    for row, (history, penalty, size) in zip(expected, rows, strict=True):
        repeated(row, history, penalty, size, EOT)
    histories, penalties, ngrams = (list(each) for each in zip(*rows, strict=True))
    np.testing.assert_allclose(applied(histories, penalties, ngrams, logits).numpy(), expected, rtol=1e-6)


@settings(deadline=None)
@given(rows=repeating_rows, seed=st.integers(0, 10_000))
def test_rows_without_repetition_rules_are_left_alone(rows: list[tuple[list[int], float, int]], seed: int) -> None:
    logits = random_logits(len(rows), seed)
    assert torch.equal(applied([row for row, _, _ in rows], [1.0] * len(rows), [0] * len(rows), logits), logits)


def test_what_is_repeated_is_less_probable_whatever_the_sign_of_its_logit() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0, *[0.0] * (V - 3)]])
    assert applied([[0, 1]], [2.0], [0], logits)[0, :3].tolist() == [1.0, -4.0, 1.0]


def test_text_that_came_twice_is_not_penalised_twice() -> None:
    logits = torch.full((1, V), 2.0)
    assert applied([[1, 1, 1]], [2.0], [0], logits)[0, 1] == 1.0


def test_timestamps_come_again_as_they_please() -> None:
    logits = random_logits(1, seed=1)
    left = applied([[BEGIN, 1, BEGIN + 1, BEGIN + 1]], [5.0], [1], logits)
    assert torch.equal(left[:, EOT:], logits[:, EOT:])


@pytest.mark.parametrize(
    ("history", "size", "banned"),
    [
        ([], 1, []),
        ([1, 2, 1], 1, [1, 2]),
        ([1, 2, 1], 2, [2]),
        ([1, 2, 1], 3, []),
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 1, 4, 1], 2, [2, 4]),
        ([1, 1], 2, [1]),
        ([1, 1], 3, []),
        ([1, 1, 1], 3, [1]),
        ([1], 5, []),
        ([BEGIN, 1, 2, BEGIN, BEGIN, 1], 3, []),  # timestamps are no part of a sequence
        ([BEGIN, 1, 2, 3, BEGIN, BEGIN, 1, 2], 3, [3]),  # nor do they interrupt one
        ([BEGIN, 1, 2, BEGIN, BEGIN, 3, 1, BEGIN, BEGIN, 2], 3, [3]),
    ],
)
def test_no_sequence_comes_twice(history: list[int], size: int, banned: list[int]) -> None:
    left = applied([history], [1.0], [size], torch.zeros(1, V))
    assert (left[0] == NEVER).nonzero()[:, 0].tolist() == banned


# The corrections


def test_max_initial_timestamp_of_zero_allows_only_zero__correction_5() -> None:
    mask = first_token_mask(ENGLISH, suppress_blank=True, timestamps=True, max_initial_index=0, size=51864)
    assert (~mask).nonzero()[:, 0].tolist() == [ENGLISH.timestamp_begin]


def test_no_limit_allows_every_timestamp_to_come_first() -> None:
    mask = first_token_mask(ENGLISH, suppress_blank=True, timestamps=True, max_initial_index=None, size=51864)
    assert (~mask).nonzero()[:, 0].tolist() == list(range(ENGLISH.timestamp_begin, 51864))


@pytest.mark.parametrize("suppressed", [frozenset(), frozenset({1, 2})])
def test_control_tokens_are_never_chosen_and_language_tokens_may_be__correction_4(suppressed: frozenset[int]) -> None:
    tokenizer = Tokenizer.bundled(multilingual=True)
    for timestamps in (True, False):
        mask = suppression_mask(tokenizer, suppressed, timestamps=timestamps, size=51865)
        special = range(tokenizer.eot, tokenizer.timestamp_begin)
        control = {tokenizer.sot, tokenizer.sot_lm, tokenizer.sot_prev, tokenizer.no_speech}
        control |= {tokenizer.transcribe, tokenizer.translate}
        expected = control | ({tokenizer.no_timestamps} if timestamps else set())
        assert {token for token in special if mask[token]} == expected
