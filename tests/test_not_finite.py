"""Half precision that overflows: the window is run again in float32, and goes on in it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models import random_mel, random_tensors
from tests.small_whisper import DIMS, HEADS, TOKENIZER, small_whisper
from whisperlite.decoding.asks import Align, Aligned, Beam, Decode, Decoded, Detect, Detected, Greedy, Sample, Strategy
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.errors import DecodingError
from whisperlite.nn.build import build_network, in_float32
from whisperlite.nn.network import Network
from whisperlite.options import Options
from whisperlite.text.prompt import build_prompt

HALF = small_whisper(torch.float16, overflows=True).network
FULL = small_whisper(torch.float32, overflows=True).network
PROMPT = build_prompt(TOKENIZER, language="en", task="transcribe", without_timestamps=True)
WINDOWS = [as_window(random_mel(DIMS, seed)) for seed in range(3)]


def ask_for(strategy: Strategy, window: int = 0) -> Decode:
    return Decode(WINDOWS[window], PROMPT, strategy, 6, frozenset(), timestamps=False)


def engine_of(network: Network, *, slots: int = 1, exact: Callable[[], Network] | None = None) -> Engine:
    return Engine(network, TOKENIZER, slots=slots, heads=HEADS, in_float32=exact)


def rescued(*, slots: int = 1) -> Engine:
    return engine_of(HALF, slots=slots, exact=lambda: in_float32(HALF))


def assert_same(one: object, other: object) -> None:
    assert isinstance(one, Decoded)
    assert isinstance(other, Decoded)
    assert (one.tokens, one.text, one.truncated) == (other.tokens, other.text, other.truncated)
    assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-3)
    assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-4)


strategies = pytest.mark.parametrize("strategy", [Greedy(), Beam(3, 3), Sample(0.7, 2)])


@strategies
def test_without_float32_a_window_that_overflows_has_no_probability(strategy: Strategy) -> None:
    (answer,) = engine_of(HALF).run([ask_for(strategy)])
    assert isinstance(answer, Decoded)
    assert np.isnan(answer.avg_logprob)
    assert not answer.in_float32


@strategies
def test_a_window_that_overflows_gets_the_answer_of_the_network_in_float32(strategy: Strategy) -> None:
    (answer,) = rescued().run([ask_for(strategy)])
    (expected,) = engine_of(FULL).run([ask_for(strategy)])
    assert_same(answer, expected)
    assert isinstance(answer, Decoded)
    assert answer.in_float32


def test_windows_that_overflow_together_each_get_their_own_answer() -> None:
    asks = [ask_for(Greedy(), 0), ask_for(Beam(2, 2), 1), ask_for(Greedy(), 2), ask_for(Sample(0.5, 1), 1)]
    for answer, ask in zip(rescued(slots=2).run(asks), asks, strict=True):
        (expected,) = engine_of(FULL).run([ask])
        assert_same(answer, expected)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_window_that_overflows_leaves_nothing_behind_for_those_that_take_its_place(slots: int) -> None:
    """What is not finite stays so at a weight of 0. The first layer is left alone: it has yet to look at the window."""
    dims = replace(DIMS, n_text_layer=2)
    network = build_network(dims, random_tensors(dims), device=torch.device("cpu"), dtype=torch.float16)
    long = replace(PROMPT, tokens=(TOKENIZER.sot_prev, *range(300, 330), *PROMPT.tokens), sot_index=31)
    loud = Decode(as_window(random_mel(DIMS, 9) * 1e6), long, Greedy(), 6, frozenset(), timestamps=False)
    asks = [loud, *(ask_for(Greedy(), window) for window in range(3)), loud, ask_for(Greedy(), 1)]
    answers = engine_of(network, slots=slots).run(asks)
    for answer, ask in zip(answers, asks, strict=True):
        assert isinstance(answer, Decoded)
        if ask is loud:
            assert np.isnan(answer.avg_logprob)
        else:
            assert_same(answer, engine_of(network).run([ask])[0])


def test_the_language_is_detected_again_in_float32() -> None:
    ask = Detect(WINDOWS[0], spans=((0, 150), (50, 200)))
    (answer,) = rescued().run([ask])
    (expected,) = engine_of(FULL).run([ask])
    assert isinstance(answer, Detected)
    assert isinstance(expected, Detected)
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
    for one, other in zip(answer.of_spans, expected.of_spans, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_words_are_aligned_again_in_float32() -> None:
    ask = Align(WINDOWS[0], PROMPT.tokens, (300, 17, 9), 3000)
    (answer,) = rescued().run([ask])
    (expected,) = engine_of(FULL).run([ask])
    assert isinstance(answer, Aligned)
    assert isinstance(expected, Aligned)
    assert answer.times == expected.times
    assert answer.probabilities == pytest.approx(expected.probabilities, rel=1e-3)


def test_a_span_that_is_not_finite_is_enough_for_a_detection_to_be_run_again() -> None:
    """The whole may be finite where a part is not."""
    ask = Detect(WINDOWS[0], spans=((0, 150),))
    engine = engine_of(FULL, exact=lambda: FULL)
    (found,) = engine.run([ask])
    assert isinstance(found, Detected)
    broken = replace(found, of_spans=({"en": float("nan")},))
    assert engine._answer_or_retry(1, ask, broken) == []


def test_further_asks_about_the_window_go_on_in_float32() -> None:
    engine = rescued()
    (first,) = engine.run([ask_for(Greedy())])
    assert isinstance(first, Decoded)
    assert not first.encoding.belongs_to(HALF.decoder)
    rung = replace(ask_for(Sample(0.4, 2)), encoding=first.encoding)
    align = Align(WINDOWS[0], PROMPT.tokens, (300, 17, 9), 3000, first.encoding)
    second, third = engine.run([rung, align])
    assert isinstance(second, Decoded)
    assert second.in_float32
    assert second.encoding is first.encoding
    assert isinstance(third, Aligned)
    assert third.encoding is first.encoding
    assert_same(second, engine_of(FULL).run([ask_for(Sample(0.4, 2))])[0])


def test_an_encoding_in_half_precision_that_turns_out_to_overflow_is_made_again() -> None:
    engine = rescued()
    (encoding,) = engine.encode([WINDOWS[0]])
    (answer,) = engine.run([replace(ask_for(Greedy()), encoding=encoding)])
    assert_same(answer, engine_of(FULL).run([ask_for(Greedy())])[0])


def test_the_network_in_float32_is_made_once() -> None:
    made = []

    def exact() -> Network:
        made.append(in_float32(HALF))
        return made[-1]

    engine = engine_of(HALF, exact=exact)
    engine.run([ask_for(Greedy()), ask_for(Greedy(), 1)])
    engine.run([ask_for(Greedy(), 2), Detect(WINDOWS[0])])
    assert len(made) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_whose_numbers_are_finite_stays_in_half_precision(dtype: torch.dtype) -> None:
    def never() -> Network:
        raise AssertionError("nothing overflowed")

    half = small_whisper(dtype).network
    answers = engine_of(half, exact=never).run([ask_for(Greedy()), Detect(WINDOWS[1])])
    assert isinstance(answers[0], Decoded)
    assert np.isfinite(answers[0].avg_logprob)
    assert not answers[0].in_float32


def test_every_number_of_the_network_is_kept_in_float32() -> None:
    exact = in_float32(HALF)
    assert exact.dtype == torch.float32
    assert exact.dims == HALF.dims
    assert torch.equal(exact.encoder.positions, HALF.encoder.positions.float())
    assert HALF.dtype == torch.float16


# Whole recordings

NOISE = (np.random.default_rng(0).standard_normal(45 * 16000) * 0.1).astype(np.float32)
SHORT_ANSWERS = Options(beam_size=1, temperature=0.0, temperature_increment_on_fallback=None, max_new_tokens=5)


def test_a_recording_in_half_precision_says_once_that_it_overflowed() -> None:
    model = small_whisper(torch.float16, overflows=True)
    result = model.transcribe(NOISE, beam_size=1, max_new_tokens=5, logprob_threshold=None, without_timestamps=True)
    expected = small_whisper(torch.float32, overflows=True).transcribe(
        NOISE, beam_size=1, max_new_tokens=5, logprob_threshold=None, without_timestamps=True
    )
    (warning,) = [warning for warning in result.warnings if warning not in expected.warnings]
    assert "float32" in warning
    assert len(result.attempts) >= 2
    assert all(attempt.avg_logprob is not None for attempt in result.attempts)
    assert result.text == expected.text
    assert result.language == expected.language
    assert not any("float32" in warning for warning in expected.warnings)


def test_threads_that_overflow_together_make_one_network_in_float32() -> None:
    model = small_whisper(torch.float16, overflows=True)
    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(lambda _: model._runtime.float32(), range(4))
    assert all(other is first for other in others)


def test_a_detection_by_the_public_method_is_run_again_too() -> None:
    found = small_whisper(torch.float16, overflows=True).detect_language(NOISE)
    expected = small_whisper(torch.float32, overflows=True).detect_language(NOISE)
    assert found.language == expected.language
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-4)


def test_a_decoding_by_the_public_method_is_run_again_too() -> None:
    windows = torch.stack([torch.nn.functional.pad(window(), (0, 3000 - window().shape[1])) for window in WINDOWS])
    options = replace(SHORT_ANSWERS, language="en")
    answers = small_whisper(torch.float16, overflows=True).decode(windows, options)
    assert all(answer.in_float32 for answer in answers)


def test_a_network_that_is_not_finite_in_float32_either_is_a_decoding_error_with_what_there_is() -> None:
    model = small_whisper(torch.float32)
    broken = small_whisper(torch.float32).network
    weights = broken.decoder.norm.weight
    weights[0] = torch.nan
    model._runtime.network = broken
    with pytest.raises(DecodingError, match="not finite") as caught:
        model.transcribe(NOISE, language="en", beam_size=1, max_new_tokens=5)
    assert caught.value.partial is not None
    assert (caught.value.partial.segments, caught.value.partial.duration) == ((), 45.0)
