"""Which words of a text were heard: against a plain implementation of the same score, and on sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.transcription.matching import common_subsequence, matched


def bits_of(heard: Sequence[str]) -> dict[str, int]:
    return {word: min(max(round(math.log2(len(heard) / count)), 1), 8) for word, count in Counter(heard).items()}


def best_score(written: Sequence[str], heard: Sequence[str]) -> int:
    """The highest score, by trying every way."""
    bits = bits_of(heard)

    @cache
    def best(i: int, j: int, follows_pair: bool) -> int:
        if i == len(written) or j == len(heard):
            return 0
        found = max(best(i + 1, j, False), best(i, j + 1, False))
        if written[i] == heard[j]:
            found = max(found, bits[heard[j]] + 2 * follows_pair + best(i + 1, j + 1, True))
        return found

    return best(0, 0, False)


def score_of(pairs: Sequence[tuple[int, int]], heard: Sequence[str]) -> int:
    bits = bits_of(heard)
    in_a_row = sum(after == (before[0] + 1, before[1] + 1) for before, after in pairwise(pairs))
    return sum(bits[heard[j]] for _, j in pairs) + 2 * in_a_row


WORDS = st.lists(st.sampled_from("abcd"), max_size=14)


@given(WORDS, WORDS)
@settings(deadline=None, max_examples=300)
def test_no_common_subsequence_has_a_higher_score(written: list[str], heard: list[str]) -> None:
    pairs = common_subsequence(written, heard)
    assert all(written[i] == heard[j] for i, j in pairs)
    assert all(before[0] < after[0] and before[1] < after[1] for before, after in pairwise(pairs))
    assert score_of(pairs, heard) == best_score(written, heard)


@given(st.lists(st.integers(0, 99).map(str), max_size=300))
@settings(deadline=None, max_examples=30)
def test_a_text_is_found_in_itself(words: list[str]) -> None:
    assert matched(words, words) == [(index, index) for index in range(len(words))]


@pytest.mark.parametrize(
    ("written", "heard", "expected"),
    [
        ("the man went home", "so the the man went home", [(0, 2), (1, 3), (2, 4), (3, 5)]),  # those in a row
        ("the grey man went home", "the gray man went home", [(0, 0), (2, 2), (3, 3), (4, 4)]),
        ("yes", "yes", [(0, 0)]),
        ("oh yes", "oh yes", [(0, 0), (1, 1)]),
        ("one two three", "", []),
        ("", "one two three", []),
        ("one two three", "four five six", []),
    ],
)
def test_words_are_paired(written: str, heard: str, expected: list[tuple[int, int]]) -> None:
    assert matched(written.split(), heard.split()) == expected


def test_words_that_any_two_texts_share_are_not_paired() -> None:
    written = "of all the things that he had ever seen it was the worst"
    heard = "nobody here knows what to think of that new road by the lake but it is long"
    assert matched(written.split(" "), heard.split(" ")) == []


def test_what_was_not_written_lies_between_pairs() -> None:
    before, after = ["and", "then", "we", "all"], ["went", "down", "to", "the", "river"]
    unwritten = [f"word{number}" for number in range(20)]
    pairs = matched(before + after, before + unwritten + after)
    assert pairs == [(index, index if index < len(before) else index + 20) for index in range(9)]


@pytest.mark.parametrize("count", [109, 110, 111, 2450])
def test_rows_are_computed_about_twice(count: int) -> None:
    words = [str(number * number % 997) for number in range(3000)]
    looks: list[None] = []
    matched(words[:count], words, lambda: looks.append(None))
    assert len(looks) <= 2 * (math.isqrt(count) + 2) + count / 100


def test_it_can_be_stopped() -> None:
    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        matched(["one"], ["one"], stop)
