"""Words made up where nobody speaks, and what the result says of the spans that have no segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.scripted import GOOD, MULTILINGUAL, SILENT, UNSURE, Run, Said, at, drive, spoken, text
from whisperlite.audio.mel import Window
from whisperlite.decoding.asks import Align, Decode
from whisperlite.results import Skipped, Word
from whisperlite.transcription.hallucination import FilteredWindow, WindowTimes, is_anomaly, without_hallucinations
from whisperlite.transcription.segments import Draft

PUNCTUATION = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"
VIEW = WindowTimes(start=30.0, end=60.0, content_end=60.0, recording_end=120.0)


def draft(*words: tuple[float, float, float], text: str = " word") -> Draft:
    """A segment of words (start, end, probability); without any, an empty one."""
    timed = tuple(Word(text, *each) for each in words)
    start, end = (words[0][0], words[-1][1]) if words else (0.0, 0.0)
    return Draft(start, end, text * len(words), (), (), is_truncated=False, words=timed)


def said(start: float, end: float, probability: float = 0.9) -> Draft:
    """A segment of words that take about a second each."""
    count = max(round(end - start), 1)
    borders = [start + (end - start) * i / count for i in range(count + 1)]
    return draft(*((first, last, probability) for first, last in pairwise(borders)))


def made_up(start: float, end: float) -> Draft:
    return said(start, end, probability=0.01)


def verdict(
    *drafts: Draft, view: WindowTimes = VIEW, threshold: float = 2.0, last_speech_end: float = 29.0
) -> FilteredWindow:
    return without_hallucinations(
        drafts, view, threshold_s=threshold, last_speech_end_s=last_speech_end, punctuation=PUNCTUATION
    )


# What looks made up


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([(0.0, 0.5, 0.9)], False),
        ([(0.0, 0.5, 0.14)], True),  # improbable
        ([(0.0, 0.5, 0.15)], False),
        ([(0.0, 0.05, 0.9)], True),  # 83 ms too short: 1.245
        ([(0.0, 0.1, 0.9)], False),  # 33 ms too short: 0.495
        ([(0.0, 2.9, 0.9)], False),  # 0.9 s too long: 0.9
        ([(0.0, 3.0, 0.9)], True),
        ([(0.0, 0.5, 0.1), (0.5, 1.0, 0.9)], False),  # half of it
        ([(0.0, 0.5, 0.1), (0.5, 1.0, 0.1)], True),  # all of it
        ([(i / 2, i / 2 + 0.5, 0.1 if i < 3 else 0.9) for i in range(8)], True),  # three are enough
        ([(i / 2, i / 2 + 0.5, 0.1 if i < 2 else 0.9) for i in range(8)], False),
        ([(i / 2, i / 2 + 0.5, 0.1 if i > 7 else 0.9) for i in range(16)], False),  # only the first eight are looked at
        ([], False),
    ],
)
def test_improbable_very_short_and_very_long_words_look_made_up(
    words: list[tuple[float, float, float]], expected: bool
) -> None:
    assert is_anomaly(draft(*words), PUNCTUATION) == expected


def test_punctuation_is_no_word_of_its_own() -> None:
    sign = Word("!", 0.0, 0.5, 0.01)
    good = Word(" word", 0.5, 1.0, 0.9)
    signs_and_a_word = Draft(0.0, 1.0, "", (), (), is_truncated=False, words=(sign,) * 8 + (good,))
    assert not is_anomaly(signs_and_a_word, PUNCTUATION)
    assert is_anomaly(draft((0.0, 0.5, 0.9), text="!"), PUNCTUATION)  # nothing but punctuation


# What is dropped


def test_speech_is_kept() -> None:
    drafts = [said(31, 33), said(33, 36), said(50, 59)]
    assert verdict(*drafts) == FilteredWindow(drafts)


def test_silence_before_the_first_made_up_words_is_skipped_and_they_are_heard_again() -> None:
    assert verdict(made_up(33, 35), said(35, 40)) == FilteredWindow([], 33, (30.0, 33), is_void=True)


def test_an_empty_segment_before_them_does_not_hide_the_silence() -> None:
    assert verdict(draft(), made_up(33, 35)).next_s == 33


@pytest.mark.parametrize("first", [made_up(32, 34), said(33, 35)])
def test_short_silence_or_good_words_at_the_beginning_are_no_reason_to_begin_again(first: Draft) -> None:
    assert verdict(first, said(34, 60), last_speech_end=31.0) == FilteredWindow([first, said(34, 60)])


def test_made_up_words_amid_silence_are_dropped_with_all_behind_them_which_are_heard_again() -> None:
    before, after = said(31, 35), said(45, 59)
    assert verdict(before, made_up(40, 41), after) == FilteredWindow([before], 40, (35, 40))


def test_made_up_words_amid_speech_are_kept() -> None:
    drafts = [said(31, 39), made_up(40, 41), said(42, 59)]
    assert verdict(*drafts) == FilteredWindow(drafts)


@pytest.mark.parametrize("others", [(said(31, 39), said(45, 59)), (said(31, 36), said(42, 59))])
def test_silence_on_one_side_is_not_enough(others: tuple[Draft, Draft]) -> None:
    drafts = [others[0], made_up(40, 41), others[1]]
    assert verdict(*drafts) == FilteredWindow(drafts)


def test_made_up_words_before_made_up_words_count_as_silence() -> None:
    before = said(31, 35)
    assert verdict(before, made_up(40, 41), made_up(41, 59)) == FilteredWindow([before], 40, (35, 40))


def test_the_silence_of_the_window_before_counts() -> None:
    assert verdict(made_up(31.5, 33), said(36, 59), last_speech_end=20.0) == FilteredWindow([], 31.5, (30.0, 31.5))


def test_words_at_the_edge_of_a_window_count_as_behind_silence() -> None:
    """Speech went on up to 30.5 s, and less than 2 s of the window lie before them."""
    assert verdict(made_up(31.9, 33), said(36, 59), last_speech_end=30.5).next_s == 31.9
    assert verdict(said(30, 31.6), made_up(32.0, 33), said(36, 59)).next_s is None


def test_words_at_the_end_of_a_window_count_as_before_silence() -> None:
    view = WindowTimes(30.0, 60.0, 60.0, 120.0)
    assert verdict(said(31, 50), made_up(57, 58.5), view=view).next_s == 57
    view = WindowTimes(30.0, 60.0, 59.0, 120.0)
    assert verdict(said(31, 50), made_up(56, 57.5), view=view).next_s is None


def test_silence_behind_the_last_words_goes_to_the_end_of_the_content() -> None:
    assert verdict(said(31, 35), made_up(40, 41)).next_s == 40
    assert verdict(said(31, 35), made_up(40, 41), view=WindowTimes(30.0, 60.0, 42.0, 120.0)).next_s is None


def test_an_empty_segment_behind_them_is_not_what_comes_next() -> None:
    drafts = [said(31, 35), made_up(40, 41), draft(), said(42, 59)]
    assert verdict(*drafts) == FilteredWindow(drafts)


def test_words_at_the_beginning_of_the_recording_count_as_behind_silence() -> None:
    view = WindowTimes(0.0, 30.0, 30.0, 120.0)
    found = verdict(made_up(1.9, 2.5), said(10, 29), view=view, last_speech_end=0.0)
    assert found == FilteredWindow([], 1.9, (0.0, 1.9))
    found = verdict(made_up(2.5, 3.5), said(10, 29), view=view, threshold=3.0, last_speech_end=0.0)
    assert found == FilteredWindow([], 2.5, (0.0, 2.5))


def test_the_window_after_begins_a_second_later_at_least() -> None:
    assert verdict(made_up(30.2, 31), said(40, 59), last_speech_end=25.0) == FilteredWindow([], 31.0, (30.0, 31.0))


def test_near_the_end_of_the_recording_nothing_is_heard_again() -> None:
    found = verdict(said(31, 35), made_up(57, 58.5), view=WindowTimes(30.0, 60.0, 59.5, 59.5))
    assert found == FilteredWindow([said(31, 35)], 59.5, (35, 59.5))


def test_a_higher_threshold_takes_more_silence() -> None:
    drafts = [said(31, 35), made_up(40, 41), said(45, 59)]
    assert verdict(*drafts, threshold=4.5) == FilteredWindow(drafts)


def test_a_window_without_words_is_kept() -> None:
    assert verdict(draft(), draft()) == FilteredWindow([draft(), draft()])
    assert verdict() == FilteredWindow([])


# Through a session


def words_at(*words: tuple[float, float, float]) -> Any:
    """Times of tokens that each are a word: (start, end, probability); a pause belongs to the word before it."""

    def answer(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        assert len(ask.tokens) == len(words)
        return (*(start for start, _, _ in words), words[-1][1]), tuple(probability for _, _, probability in words)

    return answer


def timed(**scripts: Any) -> Any:
    """A timer by the text of an ask."""

    def answer(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        found = MULTILINGUAL.decode(ask.tokens).split()[0]
        result: tuple[tuple[float, ...], tuple[float, ...]] = scripts[found](ask)
        return result

    return answer


def without(*script: Said, times: Any, seconds: float = 30.0, threshold: float = 2.0, **options: Any) -> Run:
    return drive(
        script,
        seconds=seconds,
        times=times,
        word_timestamps=True,
        hallucination_silence_threshold=threshold,
        **options,
    )


def test_a_session_skips_silence_and_listens_again_behind_it() -> None:
    run = without(
        Said(spoken(5, " Bye", 7)),
        Said(spoken(0, " Hello", 2)),
        times=timed(Bye=words_at((5.0, 6.0, 0.01)), Hello=words_at((0.0, 1.0, 0.9))),
    )
    assert run.seeks == [0, 500]
    assert [(segment.start, segment.end, segment.text) for segment in run.result.segments] == [(5.0, 6.0, " Hello")]
    assert run.result.skipped == (Skipped(0.0, 5.0, "silence"),)
    assert run.result.text == " Hello"
    assert run.accepted[0].done_s == 5.0


def test_what_was_dropped_is_not_told_to_the_next_window() -> None:
    run = without(
        Said(spoken(5, " Bye", 7)),
        Said(spoken(0, " Hello", 2)),
        times=timed(Bye=words_at((5.0, 6.0, 0.01)), Hello=words_at((0.0, 1.0, 0.9))),
    )
    assert run.previous == [(), ()]


NAMES = tuple(text(" Names"))
SILENT_FIRST = (Said(spoken(5, " Bye", 7)), Said(spoken(0, " Hello", 2)), Said(spoken(0, " you", 2)))
FIRST_TIMES = {"Bye": words_at((5.0, 6.0, 0.01)), "Hello": words_at((0.0, 1.0, 0.9)), "you": words_at((0.0, 1.0, 0.9))}


def test_a_window_that_is_decoded_again_without_its_silence_gets_what_it_got_the_first_time() -> None:
    """As in the reference, where such a window leaves no mark on the prompts."""
    run = without(
        *SILENT_FIRST,
        times=timed(**FIRST_TIMES),
        seconds=40.0,
        initial_prompt="Names",
        condition_on_previous_text=False,
    )
    assert run.seeks == [0, 500, 3500]
    assert run.previous == [NAMES, NAMES, ()]


def test_the_temperature_of_a_window_that_counts_for_nothing_resets_no_prompt() -> None:
    hot = replace(SILENT_FIRST[0], avg_logprob=-1.1)
    run = without(
        *(hot, SILENT_FIRST[0], *SILENT_FIRST[1:]),
        times=timed(**FIRST_TIMES),
        seconds=40.0,
        initial_prompt="Names",
        temperature=(0.0, 0.8),
    )
    assert run.temperatures[:2] == [0.0, 0.8]
    assert run.previous[2] == NAMES
    assert run.previous[3] == (*NAMES, *spoken(0, " Hello", 2))


def test_a_first_window_that_is_decoded_again_begins_with_the_prefix_again() -> None:

    def improbable_at_first(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        assert isinstance(ask.window, Window)
        is_first, count = ask.window.start_frame == 0, len(ask.tokens)
        return tuple(5.0 * is_first + place for place in range(count + 1)), (0.01 if is_first else 0.9,) * count

    run = without(*SILENT_FIRST, times=improbable_at_first, seconds=40.0, prefix="So")
    begins = [MULTILINGUAL.decode(ask.prompt.forced) for ask in run.decodes]
    assert begins == [" So", " So", ""]


def test_a_chunk_is_taken_to_follow_on_speech() -> None:
    """Its first words are not after a pause since the beginning of the recording."""
    run = without(
        Said(spoken(2.5, " Bye", 3.5)),
        times=words_at((2.5, 3.5, 0.01)),
        seconds=90.0,
        threshold=3.0,
        chunking="vad",
        chunk=(6000, 7000),
    )
    assert run.result.text == " Bye"


def test_a_made_up_end_of_a_recording_is_skipped() -> None:
    times = words_at((0.0, 1.0, 0.9), (1.0, 28.0, 0.9), (28.0, 28.5, 0.01))
    run = without(Said([*spoken(0, " Hello.", 2), *spoken(28, " Bye", 29)]), times=times)
    assert run.seeks == [0]
    assert run.result.text == " Hello."
    assert run.result.skipped == (Skipped(1.0, 30.0, "silence"),)
    assert run.accepted[-1].done_s == 30.0


def test_a_window_whose_words_go_on_nearly_to_its_end_is_complete() -> None:
    """What remains is shorter than the silence that speech could be expected behind."""
    run = without(Said([*spoken(0, " Hello", 28.5), at(28.5), *text(" there")]), times=_until(28.5))
    assert run.seeks == [0]
    assert run.result.skipped == (Skipped(28.5, 30.0, "silence"),)


def _until(end: float) -> Any:
    def answer(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        count = len(ask.tokens)
        return tuple(end - (count - i) * 0.5 for i in range(count + 1)), (0.9,) * count

    return answer


def test_a_window_that_is_heard_again_is_not_said_to_end_in_silence() -> None:
    """Its last word ends at 29 s, but all from 12 s on is listened to once more."""
    script = [
        Said([*spoken(0, " One.", 2), *spoken(12, " Bye.", 13), *spoken(28, " Two", 29), at(29), *text(" x")]),
        Said(spoken(16.8, " Three", 17.8)),
    ]
    one = words_at((0.0, 1.0, 0.9), (1.0, 12.0, 0.9), (12.0, 12.5, 0.01), (12.5, 28.0, 0.9), (28.0, 29.0, 0.9))
    run = without(*script, times=timed(**{"One.": one, "Three": words_at((16.8, 17.8, 0.9))}))
    assert [(each.start, each.end, each.text) for each in run.result.segments] == [
        (0.0, 1.0, " One."),
        (28.8, 29.8, " Three"),
    ]
    assert run.result.skipped == (Skipped(1.0, 12.0, "silence"),)


def test_silence_at_the_end_of_the_recording_does_not_end_an_earlier_clip_later_than_it_ends() -> None:
    """The next clip is transcribed, so it was not skipped, and progress does not go back."""
    script = [
        Said([*spoken(0, " One.", 1), *spoken(4.0, " Bye", 4.5)]),
        Said(spoken(0, " Hello", 1)),
    ]
    one = words_at((0.0, 0.5, 0.9), (0.5, 4.0, 0.9), (4.0, 4.5, 0.01))
    times = timed(**{"One.": one, "Hello": words_at((0.0, 0.9, 0.9))})
    run = without(*script, times=times, seconds=7.0, clip_timestamps=[0, 5, 6, 7], threshold=2.6, chunk_length=5)
    assert run.result.text == " One. Hello"
    assert all(each.end <= 5.0 for each in run.result.skipped)
    assert all(before.done_s <= after.done_s for before, after in pairwise(run.accepted))


# What was passed over, and why


def reasons(run: Run) -> list[tuple[float, float, str]]:
    return [(each.start, each.end, each.reason) for each in run.result.skipped]


def test_a_window_taken_for_silence_is_said_to_have_no_speech() -> None:
    assert reasons(drive([SILENT, GOOD], seconds=40)) == [(0.0, 30.0, "no_speech")]


def test_a_window_with_nothing_to_write_is_said_to_have_no_text() -> None:
    run = drive([Said([at(0), at(30)]), GOOD], seconds=40)
    assert reasons(run) == [(0.0, 30.0, "no_text")]
    assert run.result.segments[0].text == ""


def test_a_window_with_nothing_to_write_ends_where_the_next_one_begins() -> None:
    """It closes a segment without text, and opens one that it does not close: that is heard in the next window."""
    run = drive([Said([at(0), at(5), at(5), *text(" Hello")]), GOOD], seconds=35)
    assert run.seeks == [0, 500]
    assert reasons(run) == [(0.0, 5.0, "no_text")]


def test_a_window_whose_attempts_all_fail_and_whose_best_has_no_text_says_so() -> None:
    nothing = Said([at(0), at(30)], avg_logprob=-1.1)
    worse = Said(spoken(0, " mumble", 30), avg_logprob=-3.0)
    run = drive([nothing, worse, GOOD], seconds=40, temperature=[0.0, 1.0])
    assert reasons(run) == [(0.0, 30.0, "failed_thresholds")]


def test_a_window_whose_attempts_all_fail_but_whose_best_has_text_is_not_passed_over() -> None:
    assert reasons(drive(lambda _: UNSURE, seconds=20, temperature=0.0)) == []


def test_what_voice_activity_leaves_out_is_said_first() -> None:
    run = drive([GOOD, GOOD], seconds=40, speech=[(5.0, 12.0), (20.0, 39.0)])
    assert reasons(run) == [(0.0, 5.0, "vad"), (12.0, 20.0, "vad"), (39.0, 40.0, "vad")]
    assert run.seeks == [500, 2000]


def test_a_recording_without_speech_is_one_span() -> None:
    run = drive([], seconds=20, speech=[])
    assert reasons(run) == [(0.0, 20.0, "vad")]
    assert (run.asks, run.result.segments, run.result.text) == ([], (), "")


def test_spans_are_in_the_order_of_the_recording() -> None:
    def script(ask: Decode) -> Said:
        return SILENT if ask.window.start_frame == 500 else GOOD  # type: ignore[attr-defined]

    run = drive(script, seconds=60, speech=[(5.0, 12.0), (20.0, 50.0)])
    assert reasons(run) == [(0.0, 5.0, "vad"), (5.0, 12.0, "no_speech"), (12.0, 20.0, "vad"), (50.0, 60.0, "vad")]


def test_segments_with_text_are_not_passed_over() -> None:
    assert reasons(drive(lambda _: Said([*spoken(0, " One.", 2), *spoken(2, "", 4)]))) == []


def test_the_words_of_one_window_may_hold_two_silences() -> None:
    """The silence before words that were made up, and then that of the rest of the recording."""
    run = without(
        Said(spoken(5, " Bye", 7)),
        SILENT,
        times=timed(Bye=words_at((5.0, 6.0, 0.01))),
    )
    assert reasons(run) == [(0.0, 5.0, "silence"), (5.0, 30.0, "no_speech")]


def spans_overlap(spans: Sequence[tuple[float, float, str]]) -> bool:
    return any(after[0] < before[1] for before, after in pairwise(spans))


def test_spans_of_one_silence_are_not_counted_twice() -> None:
    run = without(
        Said(spoken(5, " Bye", 7)),
        Said(spoken(3, " Bye", 7)),
        SILENT,
        times=timed(Bye=words_at((5.0, 6.0, 0.01))),
    )
    assert not spans_overlap(reasons(run))
