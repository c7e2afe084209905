"""The policy of a recording: the text before a window, where it is cut, and where the next one begins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scripted import (
    BEGIN,
    GOOD,
    GOOD_30,
    UNSURE,
    Said,
    at,
    drive,
    spans,
    spoken,
    text,
)
from whisperlite.decoding.asks import Decode
from whisperlite.transcription.session import Accepted

# Previous text


def test_windows_are_given_the_text_before_them() -> None:
    one, two = spoken(0, " One.", 30), spoken(0, " Two.", 30)
    run = drive([Said(one), Said(two), Said(spoken(0, " Three.", 5))], seconds=65)
    assert run.previous == [(), tuple(one), (*one, *two)]
    assert run.result.text == " One. Two. Three."


def test_only_the_last_of_a_long_text_is_given() -> None:
    long = [at(0), *text(" word") * 150, at(30)]
    run = drive([Said(long), Said(long), Said(spoken(0, " End.", 5))], seconds=65)
    assert run.previous[2] == tuple([*long, *long][-223:])


def test_previous_text_can_be_switched_off() -> None:
    run = drive([GOOD_30, GOOD_30, GOOD], seconds=65, condition_on_previous_text=False)
    assert run.previous == [(), (), ()]


@pytest.mark.parametrize(("temperature", "is_reset"), [(0.5, False), (0.51, True)])
def test_a_high_temperature_forgets_the_previous_text(temperature: float, is_reset: bool) -> None:
    run = drive([GOOD_30, UNSURE, GOOD_30, GOOD], seconds=65, temperature=[0.0, temperature])
    expected = () if is_reset else (*GOOD_30.tokens, *GOOD_30.tokens)
    assert run.previous[-1] == expected
    assert run.result.text == " Full. Full. Hello."  # the text itself is kept


def test_the_threshold_of_the_reset_is_an_option() -> None:
    run = drive([GOOD_30, GOOD_30, GOOD], seconds=65, temperature=0.3, prompt_reset_on_temperature=0.2)
    assert run.previous == [(), (), ()]


def test_an_initial_prompt_comes_before_the_first_window_and_is_no_part_of_the_text() -> None:
    initial = tuple(text(" Names: Elinor."))
    run = drive([GOOD_30, GOOD], seconds=40, initial_prompt="  Names: Elinor. ")
    assert run.previous == [initial, (*initial, *GOOD_30.tokens)]
    assert run.result.text == " Full. Hello."


def test_an_initial_prompt_without_previous_text_is_for_the_first_window_only() -> None:
    run = drive([GOOD_30, GOOD], seconds=40, initial_prompt="Names", condition_on_previous_text=False)
    assert run.previous == [tuple(text(" Names")), ()]


def test_an_initial_prompt_can_be_carried_to_every_window() -> None:
    initial = tuple(text(" Names"))
    run = drive([GOOD_30, GOOD_30, GOOD], seconds=65, initial_prompt="Names", carry_initial_prompt=True)
    assert run.previous == [initial, initial + tuple(GOOD_30.tokens), initial + tuple(GOOD_30.tokens) * 2]
    run = drive(
        [GOOD_30, GOOD_30, GOOD],
        seconds=65,
        initial_prompt="Names",
        carry_initial_prompt=True,
        condition_on_previous_text=False,
    )
    assert run.previous == [initial] * 3


def test_a_carried_prompt_keeps_its_place_before_a_long_text() -> None:
    long = [at(0), *text(" word") * 200, at(30)]
    run = drive([Said(long), Said(long), GOOD], seconds=65, initial_prompt="Names", carry_initial_prompt=True)
    initial = text(" Names")
    assert run.previous[2] == (*initial, *[*long, *long][-(223 - len(initial)) :])


@pytest.mark.parametrize("words", [222, 223, 224, 400])
def test_a_carried_prompt_of_the_whole_length_leaves_no_room__correction_3(words: int) -> None:
    initial = text(" word" * words)
    assert len(initial) == words
    run = drive([GOOD_30, GOOD], seconds=40, initial_prompt="word" + " word" * (words - 1), carry_initial_prompt=True)
    expected = [*initial, *(GOOD_30.tokens[-1:] if words == 222 else [])]
    assert run.previous[1] == tuple(expected[-223:])


# Prefix


def test_a_prefix_begins_the_first_window_only__correction_8() -> None:
    run = drive([Said([*text(" there."), at(30)]), GOOD], seconds=40, prefix=" Well, ")
    forced = (at(0), *text(" Well,"))
    assert run.decodes[0].prompt.forced == forced
    assert run.decodes[0].prompt.tokens[-len(forced) :] == forced
    assert all(ask.prompt.forced == () for ask in run.decodes[1:])
    assert run.result.text.startswith(" Well, there.")
    assert run.result.segments[0].tokens[:3] == (forced + tuple(text(" there.")))[:3]


def test_a_prefix_without_timestamps_has_none__correction_8() -> None:
    run = drive([Said(text(" there."))], prefix="Well,", without_timestamps=True)
    assert run.decodes[0].prompt.forced == tuple(text(" Well,"))
    assert run.result.text == " Well, there."


@pytest.mark.parametrize("without_timestamps", [True, False])
def test_a_long_prefix_keeps_its_last_tokens_and_leaves_room__correction_8(without_timestamps: bool) -> None:
    run = drive([Said([])], prefix="word " * 300, without_timestamps=without_timestamps)
    forced = run.decodes[0].prompt.forced
    assert len(forced) == 223
    assert forced[0] == (text(" word")[0] if without_timestamps else at(0))
    assert run.decodes[0].max_new_tokens == 224


def test_a_prefix_is_not_counted_as_generated() -> None:
    run = drive([Said([*text(" there."), at(3)])], prefix="Well,")
    assert run.result.usage.tokens_generated == len(text(" there.")) + 1


# Segments and seeking


def test_consecutive_timestamps_cut_and_the_unfinished_rest_is_heard_again() -> None:
    tokens = [*spoken(0, " One.", 4), *spoken(4.5, " Two.", 9), at(9.5), *text(" Thr")]
    run = drive([Said(tokens), Said(spoken(0, " Three.", 3))])
    assert run.seeks == [0, 900]
    assert spans(run) == [(0.0, 4.0, " One."), (4.5, 9.0, " Two."), (9.0, 12.0, " Three.")]
    assert run.previous[1] == (*spoken(0, " One.", 4), *spoken(4.5, " Two.", 9))
    assert [segment.seek for segment in run.result.segments] == [0, 0, 900]
    assert [segment.id for segment in run.result.segments] == [0, 1, 2]


def test_a_single_timestamp_at_the_end_says_that_nothing_follows() -> None:
    tokens = [*spoken(0, " One.", 4), *spoken(4, " Two.", 9)]
    run = drive([Said(tokens)])
    assert spans(run) == [(0.0, 4.0, " One."), (4.0, 9.0, " Two.")]
    assert run.accepted == [Accepted(run.result.segments, 20.0, 20.0)]


def test_two_timestamps_at_the_end_move_on_to_them() -> None:
    run = drive([Said([*spoken(0, " One.", 4), at(4)]), Said(spoken(0, " Two.", 3))])
    assert run.seeks == [0, 400]
    assert spans(run) == [(0.0, 4.0, " One."), (4.0, 7.0, " Two.")]


def test_an_answer_without_an_end_covers_the_window() -> None:
    assert spans(drive([Said([at(0), *text(" One.")])])) == [(0.0, 20.0, " One.")]
    assert spans(drive([Said(text(" One."))], without_timestamps=True)) == [(0.0, 20.0, " One.")]


def test_a_lone_timestamp_is_where_the_speech_ends() -> None:
    assert spans(drive([Said([at(1), *text(" One.")])])) == [(0.0, 1.0, " One.")]  # as in the reference


@pytest.mark.parametrize("tokens", [[], [at(0)], spoken(0, " ", 3), spoken(3, "", 3), [at(0), at(0)]])
def test_a_segment_without_words_is_kept_empty(tokens: list[int]) -> None:
    run = drive(lambda _: Said(tokens), seconds=5)
    assert run.result.text == ""
    assert len(run.result.segments) > 0
    assert {(segment.text, segment.tokens, segment.words) for segment in run.result.segments} == {("", (), None)}


def test_a_segment_without_length_loses_its_text() -> None:
    run = drive([Said([*spoken(2, " One.", 2), *spoken(2, " Two.", 4)])])
    assert spans(run) == [(2.0, 2.0, ""), (2.0, 4.0, " Two.")]
    assert run.result.text == " Two."


def test_ends_are_clamped_to_the_recording_and_prompts_are_not__correction_9() -> None:
    tokens = [*spoken(0, " One.", 4), *spoken(4, " Two.", 26)]
    run = drive([Said(tokens)], seconds=5.007)
    assert spans(run) == [(0.0, 4.0, " One."), (4.0, 5.007, " Two.")]
    assert run.result.segments[1].tokens == tuple(spoken(4, " Two.", 26))


def test_ends_stay_inside_their_clip__correction_9() -> None:
    run = drive([Said(spoken(0, " One.", 9)), Said(spoken(0, " Two.", 3))], clip_timestamps=[0, 5, 6, 10])
    assert spans(run) == [(0.0, 5.0, " One."), (6.0, 9.0, " Two.")]


tokens_of_any_kind = st.lists(st.sampled_from([*text(" Well, so."), *range(BEGIN, BEGIN + 1501, 100)]), max_size=12)


@settings(deadline=None, max_examples=200)
@given(
    script=st.lists(tokens_of_any_kind, min_size=1, max_size=6),
    seconds=st.floats(0.02, 100),
    clips=st.lists(st.floats(0, 120), max_size=5).map(sorted),
    without_timestamps=st.booleans(),
)
def test_whatever_is_answered_segments_are_monotonic_and_inside_and_the_end_is_reached__correction_9(
    script: list[list[int]], seconds: float, clips: list[float], without_timestamps: bool
) -> None:
    """Also for answers that break the timestamp rules, as those without timestamps may."""
    count = 0

    def answer(_: Decode) -> Said:
        nonlocal count
        count += 1
        return Said(script[count % len(script)])

    run = drive(answer, seconds=seconds, clip_timestamps=clips, without_timestamps=without_timestamps)
    times = [time for segment in run.result.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert all(0 <= time <= seconds for time in times)
    assert [segment.id for segment in run.result.segments] == list(range(len(run.result.segments)))
    done = [event.done_s for event in run.accepted]
    assert done == sorted(done)
    assert all(event.done_s <= event.total_s == seconds for event in run.accepted)
    if not clips and run.accepted:
        assert done[-1] > seconds - 0.02
    assert run.seeks == sorted(set(run.seeks))


def test_a_window_always_advances__correction_24() -> None:
    run = drive(lambda _: Said([at(0), at(0), *text(" stuck")]), seconds=65)
    assert run.seeks == [0, 3000, 6000]


def test_a_text_without_duration_is_left_out_and_said() -> None:
    tokens = [at(0), *text(" One."), at(2), at(2), *text(" Yes."), at(2), at(2), *text(" Two."), at(4)]
    run = drive([Said(tokens)], seconds=5)
    assert [segment.text for segment in run.result.segments] == [" One.", "", " Two."]
    assert run.result.warnings == ("A text without duration was left out at 2.00 s: Yes.",)


def test_an_empty_recording_is_an_empty_transcript() -> None:
    run = drive([], seconds=0.005)
    assert (run.asks, run.result.text, run.result.segments) == ([], "", ())


# Clips


def test_only_the_clips_are_transcribed() -> None:
    run = drive([GOOD, GOOD, GOOD], seconds=100, clip_timestamps="10,20.5,30,70")
    windows = [(ask.window.start_frame, ask.window.n_frames) for ask in run.decodes]  # type: ignore[attr-defined]
    assert windows == [(1000, 1050), (3000, 3000), (6000, 1000)]
    assert [segment.start for segment in run.result.segments] == [10.0, 30.0, 60.0]
    assert run.result.warnings == ()


def test_a_clip_without_an_end_goes_to_the_end() -> None:
    assert drive([GOOD, GOOD], seconds=50, clip_timestamps=[15]).seeks == [1500, 4500]


def test_a_clip_that_ends_past_the_recording_is_cut_with_a_warning__correction_1() -> None:
    run = drive([GOOD], seconds=20, clip_timestamps=[5, 500])
    assert [(a.window.start_frame, a.window.n_frames) for a in run.decodes] == [(500, 1500)]  # type: ignore[attr-defined]
    (warning,) = run.result.warnings
    assert "5 s to 500 s" in warning
    assert "20 s" in warning


def test_a_time_far_behind_any_recording_is_cut_too__correction_1() -> None:
    assert drive([GOOD], seconds=20, clip_timestamps=[5, 1e308]).seeks == [500]


@pytest.mark.parametrize("clips", [[30, 40], [20], [25.0], [1e308]])
def test_a_clip_that_begins_past_the_recording_is_empty_with_a_warning__correction_1(clips: list[float]) -> None:
    run = drive([], seconds=20, clip_timestamps=clips)
    assert run.result.segments == ()
    assert len(run.result.warnings) == 1


def test_a_clip_that_ends_with_the_recording_needs_no_warning() -> None:
    assert drive([GOOD], seconds=9.997, clip_timestamps=[0, 9.997]).result.warnings == ()


def test_an_empty_clip_is_no_window() -> None:
    assert drive([GOOD], seconds=20, clip_timestamps=[5, 5, 10, 12]).seeks == [1000]


# Chunks


def test_only_the_last_window_of_a_chunk_leaves_no_speech_to_another() -> None:
    """It holds all of the rest: what opens more than a second before its end has text."""
    run = drive([GOOD_30, Said(spoken(0, " Rest.", 12))], seconds=60, chunk=(500, 4700))
    assert run.seeks == [500, 3500]
    assert [ask.text_until for ask in run.decodes] == [0.0, pytest.approx(11.0)]


def test_what_a_chunk_leaves_unfinished_ends_with_it() -> None:
    rest = [*spoken(0, " One.", 4), at(4), *text(" Two")]
    assert drive([Said(rest)], seconds=60, chunk=(500, 1700), word_timestamps=True).seeks == [500]
    run = drive([Said(rest)], seconds=60, chunk=(500, 1700))
    assert run.seeks == [500]
    assert [(segment.start, segment.end, segment.text) for segment in run.result.segments][1:] == [(9.0, 17.0, " Two")]
    again = drive([Said(rest), Said(spoken(0, " Two.", 3))], seconds=60, clip_timestamps="5,17")
    assert again.seeks == [500, 900]


def test_a_chunk_that_is_cut_at_the_token_limit_goes_on_where_its_last_segment_ended() -> None:
    cut = Said([*spoken(0, " One.", 4), at(4), *text(" Two")], truncated=True)
    run = drive([cut, Said(spoken(0, " Two.", 3))], seconds=60, chunk=(500, 1700))
    assert run.seeks == [500, 900]


def test_where_the_language_may_change_a_chunk_has_further_windows() -> None:
    run = drive([GOOD], seconds=60, chunk=(500, 1700), multilingual=True, language=None)
    assert [ask.text_until for ask in run.decodes] == [0.0]


@pytest.mark.parametrize("end", [501, 599, 600])
def test_a_second_of_a_chunk_may_stay_without_text(end: int) -> None:
    run = drive([Said(spoken(0, " Ah.", 0.5))], seconds=60, chunk=(500, end))
    assert [ask.text_until for ask in run.decodes] == [0.0]


def test_windows_of_a_whole_recording_leave_speech_to_the_next_as_in_the_reference() -> None:
    run = drive([GOOD_30, Said(spoken(0, " Rest.", 10))], seconds=40)
    assert [ask.text_until for ask in run.decodes] == [0.0, 0.0]
