"""Times of tokens → words, and words and segments that stay where they belong, through whole sessions too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.scripted import BEGIN, MULTILINGUAL, Run, Said, at, drive, spoken, text
from whisperlite.decoding.asks import Align, Aligned, Decode
from whisperlite.decoding.encoding import Encoding
from whisperlite.results import Skipped, Word
from whisperlite.transcription.bounds import Bounds, words_inside
from whisperlite.transcription.segments import Draft
from whisperlite.transcription.words import (
    TimedWord,
    add_words,
    merge_punctuation,
    shorten_at_sentence_ends,
    speech_end,
    timed_words,
)

PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
NO_ENCODING = cast(Encoding, None)


def word(text: str, start: float, end: float, n_tokens: int = 1, probability: float = 0.9) -> TimedWord:
    return TimedWord(text, n_tokens, start, end, probability)


def draft(start: float, end: float, n_tokens: int, text: str = " text") -> Draft:
    """A segment of so many text tokens."""
    return Draft(start, end, text if n_tokens else "", (), tuple(range(n_tokens)), is_truncated=False)


def with_words(drafts: Sequence[Draft], words: Sequence[TimedWord], offset_s: float = 0.0, last: float = 0.0) -> Any:
    return add_words(drafts, words, offset_s=offset_s, last_speech_end_s=last, prepended=PREPENDED, appended=APPENDED)


def times(found: Sequence[Draft]) -> list[tuple[float, float]]:
    return [(round(each.start, 6), round(each.end, 6)) for draft in found for each in draft.words or ()]


# Tokens → words


def test_tokens_are_joined_to_words_with_their_times_and_the_mean_of_their_probabilities() -> None:
    tokens = text(" Mr. Dashwood came,")
    assert [MULTILINGUAL.decode([token]) for token in tokens] == [" Mr", ".", " Dash", "wood", " came", ","]
    aligned = Aligned((0.0, 0.2, 0.4, 0.8, 1.0, 1.4, 1.5), (0.9, 0.8, 0.5, 0.7, 0.6, 1.0), NO_ENCODING)
    assert timed_words(tokens, aligned, MULTILINGUAL, "en") == [
        TimedWord(" Mr", 1, 0.0, 0.2, 0.9),
        TimedWord(".", 1, 0.2, 0.4, 0.8),
        TimedWord(" Dashwood", 2, 0.4, 1.0, 0.6),
        TimedWord(" came", 1, 1.0, 1.4, 0.6),
        TimedWord(",", 1, 1.4, 1.5, 1.0),
    ]


def test_a_language_without_spaces_has_characters_for_words() -> None:
    tokens = text("東京タワー。")
    aligned = Aligned(tuple(i * 0.1 for i in range(len(tokens) + 1)), (0.5,) * len(tokens), NO_ENCODING)
    found = timed_words(tokens, aligned, MULTILINGUAL, "ja")
    assert len(found) > 2
    assert "".join(each.text for each in found) == "東京タワー。"
    assert sum(each.n_tokens for each in found) == len(tokens)
    assert all(before.end == after.start for before, after in pairwise(found))


def test_half_a_character_at_the_end_is_a_word_of_its_own() -> None:
    tokens = [*text(" one"), text(" 🎈")[0]]
    aligned = Aligned((0.0, 0.5, 1.0), (0.9, 0.1), NO_ENCODING)
    assert [each.n_tokens for each in timed_words(tokens, aligned, MULTILINGUAL, "en")] == [1, 1]


# Punctuation


@pytest.mark.parametrize(
    ("given_texts", "merged"),
    [
        ([" one", ",", " two", "."], [" one,", " two."]),
        ([" “", "Yes", "!", "”", " he"], [" “Yes!”", " he"]),
        ([" (", " [", "sic", "]", ")"], [" ( [sic])"]),  # two before and two behind
        ([" -", " no"], [" - no"]),
        (["-", "no"], ["-", "no"]),  # without a space before it, it belongs to nobody
        (["東", "京", "。", "は", "、"], ["東", "京。", "は、"]),
        ([" ¿", "Qué", "?"], [" ¿Qué?"]),
        ([" end", " ("], [" end", " ("]),  # nothing comes after it
        ([".", " one"], [".", " one"]),  # nothing comes before it
        ([" one ", ",", " two"], [" one ", ",", " two"]),  # a space parts them
        ([" one", "...", " two"], [" one", "...", " two"]),  # as in the reference: only signs that are listed
        ([], []),
    ],
)
def test_punctuation_joins_the_word_that_it_belongs_to(given_texts: list[str], merged: list[str]) -> None:
    words = [word(each, i, i + 1) for i, each in enumerate(given_texts)]
    assert [each.text for each in merge_punctuation(words, PREPENDED, APPENDED)] == merged


def test_a_word_keeps_its_own_times_and_probability_when_punctuation_joins_it() -> None:
    words = [word(" “", 0.0, 1.0, 2, 0.1), word("Yes", 1.0, 2.0, 1, 0.9), word("!", 2.0, 9.0, 1, 0.2)]
    assert merge_punctuation(words, PREPENDED, APPENDED) == [word(" “Yes!", 1.0, 2.0, 4, 0.9)]


def test_which_signs_are_merged_is_the_callers_choice() -> None:
    words = [word(" «", 0, 1), word("Oui", 1, 2), word(".", 2, 3), word("»", 3, 4)]
    assert [each.text for each in merge_punctuation(words, "«", "»")] == [" «Oui", ".»"]
    assert merge_punctuation(words, "", "") == words


pieces = st.sampled_from([" one", "two", ".", ",", " (", " “", "”", "。", "東", " ", " -", "?!", " three "])


@given(st.lists(pieces, max_size=12))
def test_merging_loses_no_text_and_no_token(given_texts: list[str]) -> None:
    words = [word(each, i, i + 1, n_tokens=i % 3 + 1) for i, each in enumerate(given_texts)]
    merged = merge_punctuation(words, PREPENDED, APPENDED)
    assert "".join(each.text for each in merged) == "".join(given_texts)
    assert sum(each.n_tokens for each in merged) == sum(each.n_tokens for each in words)
    assert [each.start for each in merged] == sorted(each.start for each in merged)


# Pauses


def test_a_mark_at_the_end_of_a_sentence_does_not_keep_the_pause() -> None:
    words = [word(" one", 0, 0.5), word(".", 0.5, 4.5), word(" two", 4.5, 5.0)]
    assert shorten_at_sentence_ends(words, 1.0) == [words[0], word(".", 0.5, 1.5), words[2]]


@pytest.mark.parametrize("mark", [".", "。", "!", "！", "?", "？"])
def test_the_word_behind_the_end_of_a_sentence_does_not_keep_the_pause(mark: str) -> None:
    words = [word(" one", 0, 0.5), word(mark, 0.5, 1.0), word(" two", 1.0, 5.0)]
    assert shorten_at_sentence_ends(words, 1.0)[2] == word(" two", 4.0, 5.0)


def test_other_words_may_be_long() -> None:
    words = [word(" one", 0, 9), word(",", 9, 14), word(" two", 14, 20), word(" three", 20, 29)]
    assert shorten_at_sentence_ends(words, 1.0) == words


def test_words_without_any_length_are_left_alone() -> None:
    words = [word(" one", 2, 2), word(".", 2, 2), word(" two", 2, 2)]
    assert shorten_at_sentence_ends(words, 0.0) == words


# Words → segments

SHORT = [word(" b", 6.0, 6.4), word(" c", 6.4, 6.8), word(" d", 6.8, 7.2)]  # the usual length is 0.4


def test_a_segment_gets_its_words_and_their_times() -> None:
    words = [word(" a", 0.1, 0.5), word(" b", 0.5, 0.9), word(" c", 1.3, 1.7)]
    first, second = with_words([draft(0, 1, 2), draft(1, 2, 1)], words, offset_s=30.0, last=30.0)
    assert first.words == (Word(" a", 30.1, 30.5, 0.9), Word(" b", 30.5, 30.9, 0.9))
    assert (first.start, first.end) == (30.1, 30.9)
    assert (second.words, second.start, second.end) == ((Word(" c", 31.3, 31.7, 0.9),), 31.3, 31.7)


def test_the_first_word_after_a_pause_is_no_longer_than_twice_the_usual() -> None:
    (found,) = with_words([draft(5.1, 7.2, 4)], [word(" a", 2.0, 6.0), *SHORT])
    assert times([found])[0] == (5.2, 6.0)
    assert (found.start, found.end) == pytest.approx((5.2, 7.2))


def test_the_second_word_after_a_pause_gives_way_to_the_first() -> None:
    long = [word(" a", 2.0, 3.0), word(" b", 3.0, 7.0), *[replace(each, start=each.start + 1) for each in SHORT]]
    words = [*long[:2], word(" c", 7.0, 7.4), word(" d", 7.4, 7.8), word(" e", 7.8, 8.2)]
    (found,) = with_words([draft(5.0, 8.2, 5)], words)
    assert times([found])[:2] == [(5.4, 6.2), (6.2, 7.0)]


def test_the_second_word_after_a_pause_keeps_half_of_its_duration__correction_13() -> None:
    """The border is the middle of the word where that lies behind; the reference halves the time since the start."""
    words = [word(" a", 2.0, 3.0), word(" b", 3.0, 4.0), *[word(f" {i}", 4 + i * 0.4, 4.4 + i * 0.4) for i in range(5)]]
    (found,) = with_words([draft(2.6, 6.0, 7)], words)
    assert times([found])[:2] == [(2.7, 3.5), (3.5, 4.0)]


def test_without_a_pause_a_long_first_word_stays() -> None:
    (found,) = with_words([draft(2.0, 7.2, 4)], [word(" a", 2.0, 6.0), *SHORT], last=5.9)
    assert times([found])[0] == (2.0, 6.0)


def test_the_pause_is_counted_from_the_segment_before() -> None:
    """1.0 s is more than twice 0.4 s, but nobody paused."""
    words = [word(" x", 5.0, 5.4), word(" a", 5.4, 6.4), *SHORT[1:], word(" e", 7.2, 7.6)]
    assert times(with_words([draft(5.0, 5.4, 1), draft(5.4, 7.6, 4)], words, last=0.0))[1] == (5.4, 6.4)
    assert times(with_words([draft(5.4, 7.6, 4)], words[1:], last=0.0))[0] == (5.6, 6.4)


def test_a_segments_own_start_is_believed_where_its_first_word_begins_long_before() -> None:
    words = [word(" a", 2.0, 4.5), word(" b", 4.5, 4.9), word(" c", 4.9, 5.3)]
    (found,) = with_words([draft(4.0, 5.3, 3)], words, last=4.4)
    assert (found.start, times([found])[0]) == (4.0, (4.0, 4.5))


def test_the_first_word_keeps_the_usual_length_where_its_segment_begins_late() -> None:
    words = [word(" a", 2.0, 4.5), word(" b", 4.5, 4.9), word(" c", 4.9, 5.3)]
    (found,) = with_words([draft(4.3, 5.3, 3)], words, last=4.4)
    assert (found.start, times([found])[0]) == (4.3, (4.1, 4.5))


def test_a_segments_own_end_is_believed_where_its_last_word_ends_long_after() -> None:
    words = [word(" a", 4.1, 4.5), word(" b", 4.5, 4.9), word(" c", 4.9, 9.0)]
    (found,) = with_words([draft(4.1, 6.0, 3)], words, last=4.0)
    assert (found.end, times([found])[-1]) == (6.0, (4.9, 6.0))


def test_the_last_word_keeps_the_usual_length_where_its_segment_ends_early() -> None:
    words = [word(" a", 4.1, 4.5), word(" b", 4.5, 4.9), word(" c", 4.9, 9.0)]
    (found,) = with_words([draft(4.1, 5.0, 3)], words, last=4.0)
    assert (found.end, times([found])[-1]) == (5.0, (4.9, 5.3))


def test_half_a_second_is_near_enough_for_words_to_move_their_segment() -> None:
    words = [word(" a", 4.0, 4.5), word(" b", 4.5, 5.0)]
    (found,) = with_words([draft(4.5, 4.5, 2)], words, last=4.0)
    assert (found.start, found.end) == (4.0, 5.0)


def test_the_usual_length_is_at_most_seven_tenths_of_a_second() -> None:
    words = [word(" a", 0.0, 10.0), word(" b", 10.0, 13.0), word(" c", 13.0, 16.0)]
    (found,) = with_words([draft(9.0, 16.0, 3)], words)
    assert times([found])[:2] == [(10.2, 11.6), (11.6, 13.0)]


def test_a_segment_without_text_between_others_takes_no_word() -> None:
    words = [word(" a", 0.0, 0.4), word(" b", 3.0, 3.4)]
    found = with_words([draft(0, 1, 1), draft(1, 3, 0), draft(3, 4, 1)], words)
    assert [[each.word for each in draft.words or ()] for draft in found] == [[" a"], [], [" b"]]
    assert (found[1].start, found[1].end) == (1, 3)


@pytest.mark.parametrize(
    ("tokens", "sizes", "owners"),
    [
        ([1, 2], [2, 1], [[0], [1]]),
        ([1, 1, 1], [2, 1], [[0], [], [1]]),
        ([1, 1, 1], [3], [[0], [], []]),
        ([2, 0, 2, 1], [1, 2, 1, 1], [[0, 1], [], [2], [3]]),
        ([1, 2, 2], [2, 2, 1], [[0], [1], [2]]),
        ([2, 2], [1, 1, 1, 1], [[0, 1], [2, 3]]),
    ],
)
def test_a_word_across_segments_belongs_to_the_first_and_shifts_no_other(
    tokens: list[int], sizes: list[int], owners: list[list[int]]
) -> None:
    words = [word(f" {i}", i * 0.4, (i + 1) * 0.4, size) for i, size in enumerate(sizes)]
    found = with_words([draft(0, 1, count) for count in tokens], words)
    assert [[int(each.word) for each in draft.words or ()] for draft in found] == owners


ticks = st.integers(0, 60).map(lambda n: n / 50)


@pytest.mark.parametrize("shift", [1.0, 60.0, 3600.0, 7200.5])
def test_words_do_not_depend_on_where_in_the_recording_they_are_said__correction_13(shift: float) -> None:
    """A pause, two long words, of which the border between them moves, and usual ones, of 0.3 s."""
    times = [(0.0, 3.1), (3.1, 6.4), (6.4, 6.7), (6.7, 7.0), (7.0, 7.3), (7.3, 7.6), (7.6, 7.9)]
    words = [word(" a", *each) for each in times]
    found = []
    for offset in (100.0, 100.0 + shift):
        drafts = [draft(offset, offset + 8, len(words))]
        found.append(with_words(drafts, words, offset_s=offset, last=offset - 10))
    [[here], [there]] = found
    assert here.words is not None
    assert there.words is not None
    assert here.words[0].end == pytest.approx(100 + 6.4 - 0.6)  # not the middle of all the time before
    for one, other in zip(here.words, there.words, strict=True):
        assert (other.start - shift, other.end - shift) == pytest.approx((one.start, one.end), abs=1e-6)
    assert (there.start - shift, there.end - shift) == pytest.approx((here.start, here.end), abs=1e-6)


def test_speech_ends_with_the_last_word_or_else_with_the_last_segment() -> None:
    said = replace(draft(0, 5, 1), words=(Word(" a", 1.0, 2.0, 0.9),))
    assert speech_end([said, draft(5, 7, 0)]) == 2.0
    assert speech_end([draft(0, 5, 0), draft(5, 7, 0)]) == 7
    assert speech_end([]) is None


# Bounds


def test_words_are_kept_inside_their_segment_and_behind_each_other() -> None:
    words = [Word(" a", 0.5, 1.2, 0.9), Word(" b", 1.1, 1.5, 0.8), Word(" c", 1.9, 3.0, 0.7), Word(" d", 4.0, 5.0, 0.6)]
    assert words_inside(words, 1.0, 2.5) == (
        Word(" a", 1.0, 1.2, 0.9),
        Word(" b", 1.2, 1.5, 0.8),
        Word(" c", 1.9, 2.5, 0.7),
        Word(" d", 2.5, 2.5, 0.6),
    )


def test_sums_of_times_are_rounded() -> None:
    (word,) = words_inside([Word(" a", 0.1 + 0.2, 1.0000000000000009, 0.9)], 0.0, 2.0)
    assert (word.start, word.end) == (0.3, 1.0)


any_time = st.floats(-50, 200)


@given(st.lists(st.tuples(any_time, any_time), max_size=6), st.tuples(any_time, any_time).map(sorted))
def test_whatever_the_times_words_are_monotonic_and_inside(
    given_times: list[tuple[float, float]], segment: list[float]
) -> None:
    start, end = segment
    words = words_inside([Word(" a", first, last, 0.5) for first, last in given_times], start, end)
    found = [time for each in words for time in (each.start, each.end)]
    assert found == sorted(found)
    assert all(start <= time <= end for time in found)


@given(words=st.lists(st.floats(0, 1), max_size=5), data=st.data())
def test_words_that_are_inside_already_are_left_alone(words: list[float], data: st.DataObject) -> None:
    times = st.integers(1000, 9000).map(lambda milliseconds: milliseconds / 1000)  # what times are rounded to
    ends = sorted(data.draw(st.lists(times, min_size=2 * len(words), max_size=2 * len(words))))
    given_words = tuple(Word(" a", ends[2 * i], ends[2 * i + 1], p) for i, p in enumerate(words))
    assert words_inside(given_words, 1.0, 9.0) == given_words


@pytest.mark.parametrize(
    ("start", "end", "not_before", "kept"),
    [
        (11.0, 14.0, 0.0, (11.0, 14.0)),
        (9.0, 14.0, 0.0, (10.0, 14.0)),  # before its window
        (11.0, 21.0, 0.0, (11.0, 20.005)),  # behind it, and it ends with the recording
        (11.0, 14.0, 12.5, (12.5, 14.0)),  # before the segment before it has ended
        (11.0, 12.0, 12.5, (12.5, 12.5)),
        (14.0, 11.0, 0.0, (14.0, 14.0)),  # backwards
        (25.0, 26.0, 0.0, (20.005, 20.005)),
        (11.00049, 14.0006, 0.0, (11.0, 14.001)),  # rounded to a millisecond
    ],
)
def test_a_segment_is_kept_inside_its_window__correction_9(
    start: float, end: float, not_before: float, kept: tuple[float, float]
) -> None:
    assert Bounds(2000, 20.005).clamped(start, end, (1000, 2000), not_before) == kept


@given(
    start=any_time,
    end=any_time,
    not_before=st.floats(0, 20.005),
    window=st.tuples(st.integers(0, 1999), st.integers(1, 2000)),
)
def test_whatever_its_times_a_segment_is_inside_the_recording_and_behind_the_one_before__correction_9(
    start: float, end: float, not_before: float, window: tuple[int, int]
) -> None:
    """Also where that one went on past the end of this window, which a change of language may bring nearer."""
    bounds = Bounds(2000, 20.005)
    first, last = bounds.clamped(start, end, (window[0], max(window[0] + 1, window[1])), not_before)
    assert not_before <= first <= last <= 20.005


def test_frames_that_became_seconds_are_the_same_frames_again() -> None:
    bounds = Bounds(20_000, 200.0)
    for first in range(0, 20_000, 7):
        (found,), _, _ = bounds.clips([(0.0, None)], [bounds.seconds(first, first + 7)])
        assert found == (first, min(first + 7, 20_000))


def clips(speech: Sequence[tuple[float, float]], *asked: tuple[float, float | None]) -> tuple[Any, Any]:
    found, _, silence = Bounds(2000, 20.005).clips(asked or ((0.0, None),), speech)
    return found, [(each.start, each.end) for each in silence]


def test_only_where_speech_is_is_transcribed() -> None:
    assert clips([(1.0, 5.0), (7.0, 20.005)]) == ([(100, 500), (700, 2000)], [(0.0, 1.0), (5.0, 7.0)])


def test_without_speech_nothing_is_transcribed() -> None:
    assert clips([]) == ([], [(0.0, 20.005)])


def test_speech_is_cut_at_the_edges_of_a_clip() -> None:
    assert clips([(1.0, 3.0), (5.0, 9.0)], (2.0, 6.0)) == ([(200, 300), (500, 600)], [(3.0, 5.0)])


def test_speech_outside_of_the_clips_is_no_matter() -> None:
    assert clips([(0.0, 2.0), (6.0, 20.0)], (2.0, 6.0)) == ([], [(2.0, 6.0)])


def test_speech_over_several_clips_is_in_each() -> None:
    assert clips([(1.0, 9.0)], (0.0, 2.0), (4.0, 6.0)) == ([(100, 200), (400, 600)], [(0.0, 1.0)])


def test_touching_speech_is_two_clips_without_silence_between() -> None:
    assert clips([(1.0, 5.0), (5.0, 8.0)]) == ([(100, 500), (500, 800)], [(0.0, 1.0), (8.0, 20.005)])


def test_where_nothing_was_looked_for_nothing_is_silent() -> None:
    assert Bounds(2000, 20.005).clips(((2.0, 4.0),), None) == ([(200, 400)], [], [])


def test_the_reason_for_what_is_left_out_is_voice_activity() -> None:
    _, _, silence = Bounds(2000, 20.0).clips(((0.0, None),), [(0.0, 12.0)])
    assert silence == [Skipped(12.0, 20.0, "vad")]


def test_touching_speech_between_two_frames_is_not_heard_twice() -> None:
    """Where long speech is divided, the border may lie anywhere; clips begin and end with frames."""
    found, _ = clips([(1.0, 2.0051), (2.0051, 3.0)])
    assert all(after[0] >= before[1] for before, after in pairwise(found))


@settings(deadline=None, max_examples=200)
@given(
    borders=st.lists(st.integers(0, 330_000), max_size=8).map(sorted),
    asked=st.lists(st.floats(0, 25), max_size=4).map(sorted),
    samples=st.integers(1, 325_000),
)
def test_what_is_transcribed_and_what_is_silent_make_up_the_clips(
    borders: list[int], asked: list[float], samples: int
) -> None:
    speech = [(a / 16000, b / 16000) for a, b in zip(borders[::2], borders[1::2], strict=False) if a < b <= samples]
    pairs: list[tuple[float, float | None]] = [*zip(asked[::2], asked[1::2], strict=False)] or [(0.0, None)]
    bounds = Bounds(samples // 160, samples / 16000)
    whole, _, _ = bounds.clips(pairs, None)
    found, _, silence = bounds.clips(pairs, speech)
    parts = [bounds.seconds(*clip) for clip in found] + [(each.start, each.end) for each in silence]
    parts.sort()
    assert all(first < last for first, last in parts)
    assert all(after[0] >= before[1] for before, after in pairwise(parts))
    total = sum(last - first for first, last in parts)
    assert total == pytest.approx(sum(last - first for first, last in (bounds.seconds(*clip) for clip in whole)))


# Through a session


def words_of(run: Run) -> list[list[tuple[str, float, float]]]:
    return [[(each.word, each.start, each.end) for each in segment.words or ()] for segment in run.result.segments]


def test_words_are_asked_for_and_added_to_their_segments() -> None:
    run = drive([Said([*spoken(0, " One two.", 2), *spoken(2, " Three.", 4)])], word_timestamps=True)
    assert [type(ask) for ask in run.asks] == [Decode, Align]
    ask = run.asks[1]
    assert isinstance(ask, Align)
    assert ask.tokens == tuple(text(" One two. Three."))
    assert ask.prompt == (
        *(MULTILINGUAL.sot, MULTILINGUAL.language_token("en"), MULTILINGUAL.transcribe),
        MULTILINGUAL.no_timestamps,
    )
    assert ask.n_frames == 2000
    assert ask.encoding is run.encodings[0]
    assert words_of(run) == [
        [(" One", 0.0, 0.5), (" two.", 0.5, 1.0)],
        [(" Three.", 1.5, 2.0)],
    ]
    assert [(segment.start, segment.end) for segment in run.result.segments] == [(0.0, 1.0), (1.5, 2.0)]


def test_an_unfinished_window_moves_on_to_the_end_of_its_last_word() -> None:
    script = [Said([*spoken(0, " One two.", 4), at(4), *text(" Thr")]), Said(spoken(0, " Three.", 3))]
    run = drive(script, word_timestamps=True)
    assert run.seeks == [0, 100]
    assert words_of(run)[1][0][0] == " Three."


def test_a_complete_window_moves_on_to_its_end() -> None:
    run = drive([Said(spoken(0, " One two.", 4))], word_timestamps=True)
    assert [event.done_s for event in run.accepted] == [20.0]


def test_a_window_advances_although_its_words_end_where_it_begins__correction_24() -> None:
    def nowhere(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (0.0,) * (len(ask.tokens) + 1), (0.9,) * len(ask.tokens)

    run = drive(
        lambda _: Said([*spoken(0, " One.", 4), at(4), *text(" Two")]), seconds=65, word_timestamps=True, times=nowhere
    )
    assert run.seeks == sorted(set(run.seeks))
    assert run.accepted[-1].done_s == 65.0


def test_a_window_without_words_moves_on_to_its_end_at_most() -> None:
    """Else 15 s of the recording would be passed over without a word."""
    script = [Said([at(25)]), Said(spoken(0, " One.", 10)), Said(spoken(0, " Two.", 10))]
    run = drive(script, seconds=30, chunk_length=10, word_timestamps=True)
    assert run.seeks == [0, 1000, 2000]


def test_a_window_without_text_is_not_aligned() -> None:
    run = drive([Said([at(0), at(2)])], word_timestamps=True)
    assert [type(ask) for ask in run.asks] == [Decode]


def test_where_words_are_asked_for_a_segment_without_text_has_no_word() -> None:
    """None would say that they were not asked for."""
    tokens = [*spoken(0, " One.", 2), *spoken(2, "", 4), *spoken(4, " Two.", 6)]
    run = drive([Said(tokens)], word_timestamps=True)
    assert run.result.text == " One. Two."
    assert {segment.words for segment in run.result.segments if not segment.text} == {()}


def test_a_window_without_text_has_segments_with_no_word() -> None:
    run = drive([Said([at(0), at(2)])], word_timestamps=True)
    assert [segment.words for segment in run.result.segments] == [()] * len(run.result.segments)


def test_where_words_are_not_asked_for_there_are_none() -> None:
    run = drive([Said(spoken(0, " One.", 2))])
    assert [segment.words for segment in run.result.segments] == [None]


def test_a_word_across_two_segments_is_a_word_of_the_first() -> None:
    dash, wood = text(" Dashwood")
    run = drive([Said([at(0), dash, at(1), at(1), wood, *text(" came."), at(4)])], word_timestamps=True)
    assert words_of(run) == [[(" Dashwood", 0.0, 1.0)], [(" came.", 1.0, 1.5)]]


def test_what_is_passed_over_has_no_part_of_a_segment_whose_word_is_that_of_the_one_before() -> None:
    """The window goes on where the word ends."""
    dash, wood = text(" Dashwood")
    silent = Said([at(0)], avg_logprob=-3.0, no_speech_prob=0.9)
    run = drive([Said([at(0), dash, at(1), at(1), wood, at(4), at(4)]), silent], word_timestamps=True)
    assert run.seeks == [0, 100]
    assert [(segment.start, segment.end) for segment in run.result.segments] == [(0.0, 1.0), (1.0, 4.0)]
    assert run.result.skipped == (Skipped(4.0, 20.0, "no_speech"),)


@pytest.mark.parametrize(
    ("task", "words"), [("translate", [" unquestionably", "."]), ("transcribe", [" un", "quest", "ion", "ably", "."])]
)
def test_a_translation_is_split_into_words_as_english__correction_32(task: str, words: list[str]) -> None:
    """Chinese has no spaces."""
    said = Said(spoken(0, " unquestionably.", 4))
    run = drive([said], word_timestamps=True, append_punctuations="", language="zh", task=task)
    assert [each.word for each in run.result.words] == words


def test_times_of_words_are_those_of_the_recording_in_every_window() -> None:
    script = [Said(spoken(0, " One.", 30)), Said(spoken(0, " Two.", 3))]
    run = drive(script, seconds=40, word_timestamps=True)
    assert words_of(run) == [[(" One.", 0.0, 0.5)], [(" Two.", 30.0, 30.5)]]


def test_punctuation_that_is_merged_is_an_option() -> None:
    run = drive([Said(spoken(0, " One, two.", 4))], word_timestamps=True, append_punctuations=".")
    assert [each for each, _, _ in words_of(run)[0]] == [" One", ",", " two."]


def test_the_answer_of_a_fallback_is_aligned_on_the_same_encoding() -> None:
    script = [Said(spoken(0, " la", 2), compression_ratio=9.0), Said(spoken(0, " One.", 2))]
    run = drive(script, word_timestamps=True)
    assert [type(ask) for ask in run.asks] == [Decode, Decode, Align]
    assert run.asks[2].encoding is run.encodings[0]


# Laws

PIECES = [*text(" Well, so. (Yes) 東京。"), *range(BEGIN, BEGIN + 1501, 100)]
tokens_of_any_kind = st.lists(st.sampled_from(PIECES), max_size=12)
speech_like = st.lists(
    st.tuples(st.integers(0, 15), st.lists(st.sampled_from(PIECES[:8]), max_size=6), st.integers(0, 15)), max_size=3
).map(
    lambda parts: [
        token
        for begin, words, length in parts
        for token in (BEGIN + begin * 50, *words, BEGIN + min(begin + length, 30) * 50)
    ]
)
answers = st.tuples(
    tokens_of_any_kind | speech_like, st.sampled_from([-0.3, -0.3, -1.2]), st.sampled_from([0.01, 0.01, 0.9])
).map(lambda each: Said(each[0], avg_logprob=each[1], no_speech_prob=each[2]))
recordings = st.floats(0.02, 100)


def timer(seed: int, *, makes_sense: bool) -> Any:
    """Random times: ascending inside the window's content, or any at all."""
    generator = random.Random(seed)

    def answer(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        count = len(ask.tokens)
        probabilities = tuple(generator.choice([0.0, 0.1, 0.5, 0.99]) for _ in range(count))
        if makes_sense:
            end = ask.n_frames // 2
            frames = sorted(generator.randint(0, end) for _ in range(count))
            return (0.0, *(frame / 50 for frame in frames)), probabilities
        return tuple(generator.uniform(-40, 90) for _ in range(count + 1)), probabilities

    return answer


def cycling(script: Sequence[Said]) -> Any:
    count = 0

    def answer(_: Decode) -> Said:
        nonlocal count
        count += 1
        return script[count % len(script)]

    return answer


def check_everything_is_in_its_place(run: Run, seconds: float) -> None:
    segments = run.result.segments
    found = [time for segment in segments for time in (segment.start, segment.end)]
    assert found == sorted(found)
    assert all(0 <= time <= seconds for time in found)
    for segment in segments:
        inside = [
            segment.start,
            *(time for each in segment.words or () for time in (each.start, each.end)),
            segment.end,
        ]
        assert inside == sorted(inside)
    assert [segment.id for segment in segments] == list(range(len(segments)))
    for skipped in run.result.skipped:
        assert 0 <= skipped.start < skipped.end <= seconds
    done = [event.done_s for event in run.accepted]
    assert all(earlier < later for earlier, later in pairwise(done))
    assert all(0 < each <= seconds for each in done)


@settings(deadline=None, max_examples=300)
@given(
    script=st.lists(answers, min_size=1, max_size=5),
    seconds=recordings,
    seed=st.integers(0, 1_000_000),
    makes_sense=st.booleans(),
    threshold=st.none() | st.sampled_from([0.0, 0.5, 2.0, 50.0]),
)
def test_whatever_is_answered_words_are_inside_their_segments_and_the_end_is_reached__correction_24(
    script: list[Said], seconds: float, seed: int, makes_sense: bool, threshold: float | None
) -> None:
    run = drive(
        cycling(script),
        seconds=seconds,
        times=timer(seed, makes_sense=makes_sense),
        word_timestamps=True,
        hallucination_silence_threshold=threshold,
        temperature=0.0,
        temperature_increment_on_fallback=None,
    )
    check_everything_is_in_its_place(run, seconds)
    assert run.accepted[-1].done_s > seconds - 0.02
    assert run.seeks == sorted(set(run.seeks))


@settings(deadline=None, max_examples=150)
@given(
    script=st.lists(answers, min_size=1, max_size=5),
    seconds=recordings,
    asked=st.lists(st.integers(0, 1000), max_size=6).map(sorted),
    seed=st.integers(0, 1_000_000),
    threshold=st.none() | st.sampled_from([0.0, 2.0, 50.0]),
)
def test_progress_never_goes_back_where_clips_are_given(
    script: list[Said], seconds: float, asked: list[int], seed: int, threshold: float | None
) -> None:
    run = drive(
        cycling(script),
        seconds=seconds,
        times=timer(seed, makes_sense=True),
        word_timestamps=True,
        hallucination_silence_threshold=threshold,
        temperature_increment_on_fallback=None,
        clip_timestamps=[each / 10 for each in asked],
    )
    check_everything_is_in_its_place(run, seconds)


LANGUAGES = ["en", "de", "ja"]


@settings(deadline=None, max_examples=150)
@given(
    script=st.lists(answers, min_size=1, max_size=5),
    seconds=recordings,
    labels=st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=30),
    seed=st.integers(0, 1_000_000),
    word_timestamps=st.booleans(),
)
@example([Said([*text(" Well"), BEGIN, BEGIN])], 1.0, ["en", "de"], 0, True)  # no time passes before its end
def test_whatever_is_answered_in_whatever_language_everything_is_in_its_place(
    script: list[Said], seconds: float, labels: list[str], seed: int, word_timestamps: bool
) -> None:
    def listen(_: Any, span: tuple[float, float]) -> dict[str, float]:
        spoken = labels[int(span[0]) // 2 % len(labels)]
        return {code: 0.9 if code == spoken else 0.05 for code in LANGUAGES}

    run = drive(
        cycling(script),
        seconds=seconds,
        times=timer(seed, makes_sense=True),
        language=None,
        languages=listen,
        multilingual=True,
        word_timestamps=word_timestamps,
        temperature_increment_on_fallback=None,
    )
    check_everything_is_in_its_place(run, seconds)
    assert run.accepted[-1].done_s > seconds - 0.02
