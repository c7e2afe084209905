"""Which language is spoken: of a recording, of a window, and where it changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.transcription.languages import (
    HOP_S,
    SPAN_S,
    Beginning,
    LanguageEvidence,
    among,
    average,
    beginning_of,
    likeliest,
    spans_of,
)

CODES = ("en", "de", "fr")


def heard(code: str, probability: float = 0.98) -> dict[str, float]:
    """The rest is shared by the others."""
    return {each: probability if each == code else (1 - probability) / 2 for each in CODES}


UNCLEAR = {"en": 0.2, "de": 0.3, "fr": 0.25}


def beginning(*found: dict[str, float], **arguments: Any) -> Beginning:
    return beginning_of([LanguageEvidence(each) for each in found], **arguments)


def begins(*codes: str, probability: float = 0.98) -> Beginning:
    return beginning(*(heard(code, probability) for code in codes))


# The spans of a window


@pytest.mark.parametrize(
    ("length", "spans"),
    [
        (0.02, [(0.0, 0.02)]),
        (2.0, [(0.0, 2.0)]),
        (3.0, [(0.0, 3.0)]),
        (3.5, [(0.0, 3.0), (1.0, 3.5)]),
        (5.0, [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0)]),
    ],
)
def test_a_window_is_heard_in_spans_of_three_seconds(length: float, spans: list[tuple[float, float]]) -> None:
    assert list(spans_of(length)) == spans


@given(st.integers(1, 3000).map(lambda frames: frames / 100))
def test_the_spans_cover_the_window_and_none_goes_beyond_it(length: float) -> None:
    spans = spans_of(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= SPAN_S for start, end in spans)
    assert all(after[0] - before[0] == HOP_S for before, after in pairwise(spans))


# Where a language changes


def test_one_language_is_that_of_the_window_with_the_mean_of_its_probabilities() -> None:
    found = beginning(heard("de", 0.8), heard("de", 0.9))
    assert (found.language, found.end_s) == ("de", None)
    assert found.probability == pytest.approx(0.85)


def test_a_change_lies_between_the_middles_of_the_spans_around_it() -> None:
    """Spans from 0, 1, 2 s in one language, from 3, 4 s in the other: their middles are 3.5 s and 4.5 s."""
    found = begins("en", "en", "en", "de", "de")
    assert (found.language, found.end_s) == ("en", 4.0)


def test_the_probability_is_that_of_the_spans_before_the_change() -> None:
    found = beginning(heard("en", 0.96), heard("en", 0.98), heard("de", 0.99), heard("de", 0.99))
    assert found.probability == pytest.approx(0.97)


@pytest.mark.parametrize("place", range(6))
def test_a_single_odd_span_is_no_change(place: int) -> None:
    codes = ["en"] * 6
    codes[place] = "fr"
    assert (begins(*codes).language, begins(*codes).end_s) == ("en", None)


def test_odd_spans_that_are_apart_are_no_change() -> None:
    found = begins("en", "en", "fr", "en", "en", "de", "en", "en")
    assert (found.language, found.end_s) == ("en", None)


def test_of_two_changes_the_first_is_where_the_beginning_ends() -> None:
    assert begins(*["en"] * 3, *["de"] * 4, *["fr"] * 4).end_s == 4.0


def test_a_language_that_comes_back_is_two_changes() -> None:
    assert begins(*["en"] * 3, *["de"] * 4, *["en"] * 4).end_s == 4.0


def test_unclear_spans_at_the_beginning_belong_to_the_language_that_follows() -> None:
    """Silence gives any language at all a little probability."""
    found = beginning(UNCLEAR, UNCLEAR, heard("en"), heard("en"))
    assert (found.language, found.end_s) == ("en", None)


def test_unclear_spans_do_not_hide_a_change() -> None:
    found = beginning(heard("en"), heard("en"), UNCLEAR, UNCLEAR, heard("de"), heard("de"))
    assert found.language == "en"
    assert found.end_s is not None
    assert 2.0 < found.end_s < 6.0


def test_where_nothing_is_clear_the_likeliest_on_average_is_taken() -> None:
    found = beginning(UNCLEAR, {"en": 0.45, "de": 0.3, "fr": 0.25}, UNCLEAR)
    assert (found.language, found.end_s) == ("de", None)
    assert found.probability == pytest.approx(0.3)


def test_what_is_said_of_a_language_where_nobody_speaks_is_said_of_noise() -> None:
    noise = [LanguageEvidence(heard("en", 0.9), no_speech=0.8)] * 5
    speech = [LanguageEvidence(heard("de"), no_speech=0.1)] * 3
    found = beginning_of([*speech, *noise, *speech])
    assert (found.language, found.end_s) == ("de", None)
    assert found.probability == pytest.approx((6 * 0.9 * 0.98 + 5 * 0.2 * 0.05) / (6 * 0.9 + 5 * 0.2))
    assert beginning_of(noise, before="de").language == "de"
    assert beginning_of([*noise, *speech]).language == "de"


def test_the_whole_of_a_window_decides_only_where_somebody_speaks() -> None:
    speech = [LanguageEvidence(heard("de"), no_speech=0.1)] * 3
    assert beginning_of(speech, whole=LanguageEvidence(heard("fr", 0.7), no_speech=0.1)) == Beginning("fr", 0.7, None)
    assert beginning_of(speech, whole=LanguageEvidence(heard("fr", 0.7), no_speech=0.7)).language == "de"


def test_one_span_is_enough_for_a_language() -> None:
    assert begins("fr") == Beginning("fr", 0.98, None)


def test_two_spans_are_enough_for_a_change_and_weak_ones_are_not() -> None:
    assert begins("en", "en", "en", "de", "de", probability=0.97).end_s == 4.0
    assert begins("en", "en", "en", "de", "de", probability=0.6).end_s is None


probabilities = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(
    lambda numbers: {code: number / sum(numbers) for code, number in zip(CODES, numbers, strict=True)}
)
found_spans = st.lists(probabilities, min_size=1, max_size=12)


@settings(deadline=None)
@given(found_spans)
def test_a_beginning_is_a_language_of_the_table_and_ends_inside_the_window(found: list[dict[str, float]]) -> None:
    begun = beginning(*found)
    assert begun.language in CODES
    assert 0 < begun.probability <= 1
    if begun.end_s is not None:
        assert SPAN_S / 2 < begun.end_s < (len(found) - 1) * HOP_S + SPAN_S / 2


@settings(deadline=None)
@given(found_spans, st.permutations(CODES))
def test_the_order_of_the_languages_has_no_influence_where_none_are_equal(
    found: list[dict[str, float]], order: Sequence[str]
) -> None:
    values = [value for each in found for value in each.values()]
    if len(set(values)) < len(values):
        return
    reordered = [{code: each[code] for code in order} for each in found]
    assert beginning(*reordered) == beginning(*found)


@settings(deadline=None)
@given(found_spans)
def test_the_end_of_the_first_language_is_a_beginning_of_the_next(found: list[dict[str, float]]) -> None:
    """What comes before a change, heard alone, is in the language that it was given."""
    begun = beginning(*found)
    if begun.end_s is not None:
        length = round(begun.end_s - SPAN_S / 2 + 0.5)
        alone = beginning(*found[:length])
        assert (alone.language, alone.end_s) == (begun.language, None)


@settings(deadline=None)
@given(st.sampled_from(CODES), st.floats(0.5, 1.0), st.integers(1, 28))
def test_one_language_throughout_never_changes(code: str, probability: float, count: int) -> None:
    assert begins(*[code] * count, probability=probability).end_s is None


def test_averages_and_choices() -> None:
    assert average([{"en": 0.2, "de": 0.8}, {"en": 0.6, "de": 0.4}]) == pytest.approx({"en": 0.4, "de": 0.6})
    assert likeliest({"en": 0.4, "de": 0.4, "fr": 0.2}) == ("en", 0.4)
    assert among(heard("en"), ("fr", "de")) == pytest.approx({"de": 0.01, "fr": 0.01})
    assert among(heard("en"), None) == heard("en")
