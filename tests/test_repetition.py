"""Repetition and suppression in whole answers: what an option says does not come, does not come."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import random_mel, talkative_network
from tests.scripted import ENGLISH, MULTILINGUAL, Said, drive, spoken, text
from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy, Sample, Strategy
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.decoding.rules import NEVER, apply_repetition_rules
from whisperlite.options import Options
from whisperlite.text.prompt import build_prompt
from whisperlite.transcription.suppression import suppressed_tokens

NETWORK, TOKENIZER = talkative_network("base", seed=2)
STRATEGIES: list[Strategy] = [Greedy(), Beam(3, 3), Sample(0.3, 2)]
FEW = frozenset(range(12, TOKENIZER.eot))  # with only twelve words left, answers repeat themselves


def ask_for(strategy: Strategy, *, seed: int = 0, prefix: str | None = None, **changes: object) -> Decode:
    prompt = build_prompt(TOKENIZER, language="en", task="transcribe", without_timestamps=True, prefix=prefix)
    ask = Decode(
        as_window(random_mel(NETWORK.dims, seed)),
        prompt,
        strategy,
        max_new_tokens=10,
        suppressed=FEW | {TOKENIZER.eot} | set(range(TOKENIZER.sot, TOKENIZER.n_vocab)),
        timestamps=False,
    )
    return replace(ask, **changes)  # type: ignore[arg-type]


def answers(asks: Sequence[Decode], slots: int = 1) -> list[Decoded]:
    return [each for each in Engine(NETWORK, TOKENIZER, slots=slots).run(asks) if isinstance(each, Decoded)]


def most_often(tokens: Sequence[int], size: int) -> int:
    """How often the most frequent sequence of so many tokens comes."""
    return max(Counter(zip(*(tokens[i:] for i in range(size)), strict=False)).values())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_sequence_comes_twice_in_an_answer(strategy: Strategy, size: int) -> None:
    (answer,) = answers([ask_for(strategy, no_repeat_ngram_size=size)])
    assert len(answer.tokens) == 10
    assert most_often(answer.tokens, size) == 1


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_sequence_of_text_goes_on_across_timestamps(size: int) -> None:
    """Segments that say the same again and again repeat themselves, whatever stands between them."""
    logits = torch.zeros(1, TOKENIZER.n_vocab)
    begin = TOKENIZER.timestamp_begin
    history = torch.tensor([[begin, 1, 2, 3, begin + 50, begin + 50, 1, 2, begin + 99, 77]])
    apply_repetition_rules(logits, history, torch.tensor([9]), torch.ones(1), [size], TOKENIZER.eot)
    banned = (logits[0] == NEVER).nonzero()[:, 0].tolist()
    assert banned == {1: [1, 2, 3], 2: [3], 3: [3]}[size]


def test_without_the_rule_the_same_answers_repeat_themselves() -> None:
    """Else the tests above would say nothing."""
    (answer,) = answers([ask_for(Greedy())])
    assert most_often(answer.tokens, 3) > 1


def test_a_penalty_makes_an_answer_repeat_itself_less() -> None:
    free, penalised = answers([ask_for(Greedy()), ask_for(Greedy(), repetition_penalty=10.0)])
    assert len(set(penalised.tokens)) > len(set(free.tokens))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_penalty_of_one_changes_nothing(strategy: Strategy) -> None:
    """Also beside a window that has one, with which it shares a step."""
    free, beside = ask_for(strategy), ask_for(strategy, seed=1, repetition_penalty=3.0, no_repeat_ngram_size=2)
    (alone,) = answers([free])
    together, _ = answers([free, beside], slots=2)
    assert together.tokens == alone.tokens
    assert together.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)


def test_windows_with_rules_and_without_get_together_what_each_gets_alone() -> None:
    rules: list[tuple[Strategy, float, int]] = [
        (Greedy(), 1.0, 0),
        (Greedy(), 2.0, 0),
        (Greedy(), 1.0, 2),
        (Sample(0.5, 1), 1.5, 3),
        (Beam(3, 3), 1.0, 0),
        (Beam(3, 3), 1.2, 1),
        (Beam(3, 3), 1.0, 3),
    ]
    asks = [
        ask_for(strategy, seed=seed, repetition_penalty=penalty, no_repeat_ngram_size=size)
        for seed, (strategy, penalty, size) in enumerate(rules)
    ]
    for ask, together in zip(asks, answers(asks, slots=4), strict=True):
        (alone,) = answers([ask])
        assert together.tokens == alone.tokens
        assert together.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_prefix_is_a_part_of_what_does_not_come_again(strategy: Strategy) -> None:
    ask = ask_for(strategy, prefix="a b c", no_repeat_ngram_size=1, max_new_tokens=14)
    allowed = FEW - set(ask.prompt.forced)  # were it not for the rule, the words of the prefix could come
    (answer,) = answers([replace(ask, suppressed=allowed | (ask.suppressed - FEW))])
    assert answer.tokens[: len(ask.prompt.forced)] == ask.prompt.forced
    assert most_often(answer.tokens, 1) == 1


# Suppression


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([r"\d", "^ ", "ing$", "[A-Z]", r"^\W+$", "é", "�", "(?i)the", "$^"]))
def test_a_pattern_finds_the_tokens_in_whose_text_it_is_found(pattern: str) -> None:
    for tokenizer in (MULTILINGUAL, ENGLISH):
        expected = {token for token in range(tokenizer.eot) if re.search(pattern, tokenizer.decode([token]))}
        assert tokenizer.matching(pattern) == expected


def test_special_tokens_are_never_found() -> None:
    assert max(MULTILINGUAL.matching("")) < MULTILINGUAL.eot
    assert not any(token >= MULTILINGUAL.eot for token in MULTILINGUAL.matching("transcribe|endoftext"))


def test_numerals_are_digits_of_any_script_and_the_signs_read_out_beside_them() -> None:
    banned = suppressed_tokens(Options(suppress_numerals=True, suppress_tokens=[]), MULTILINGUAL)
    assert banned >= {*text("0123456789"), *text(" 42"), *text("1984"), *text(" $"), *text("%")}
    assert not banned & {*text(" forty-two per cent, dollars and pounds"), MULTILINGUAL.timestamp_begin}
    assert not any(re.search(r"[0-9%$]", MULTILINGUAL.decode([token])) for token in set(range(50257)) - banned)


def test_what_is_suppressed_adds_up() -> None:
    options = Options(suppress_tokens=[7, -1], suppress_regex="^ Dash", suppress_numerals=True)
    banned = suppressed_tokens(options, MULTILINGUAL)
    assert banned == (
        {7}
        | set(MULTILINGUAL.non_speech_tokens)
        | MULTILINGUAL.matching("^ Dash")
        | suppressed_tokens(Options(suppress_numerals=True, suppress_tokens=[]), MULTILINGUAL)
    )
    assert text(" Dash")[0] in banned


def test_nothing_is_suppressed_where_nothing_is_asked_for() -> None:
    assert suppressed_tokens(Options(suppress_tokens=""), MULTILINGUAL) == frozenset()


def test_repetition_and_suppression_reach_every_ask() -> None:
    run = drive(
        lambda _: Said(spoken(0, " One.", 30)),
        seconds=60,
        suppress_regex="^ Dash",
        suppress_tokens=[],
        repetition_penalty=1.3,
        no_repeat_ngram_size=4,
    )
    assert [(ask.repetition_penalty, ask.no_repeat_ngram_size) for ask in run.decodes] == [(1.3, 4)] * 2
    assert {ask.suppressed for ask in run.decodes} == {MULTILINGUAL.matching("^ Dash")}


def test_without_the_options_an_ask_has_no_rules() -> None:
    (ask,) = drive([Said(spoken(0, " One.", 20))]).decodes
    assert (ask.repetition_penalty, ask.no_repeat_ngram_size) == (1.0, 0)
