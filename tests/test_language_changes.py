"""Which language is spoken: of a recording, of a window, and where it changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scripted import ENGLISH, MULTILINGUAL, SILENT, UNSURE, Listener, Run, Said, at, drive, spoken, text
from whisperlite.audio.mel import Window
from whisperlite.decoding.asks import Align, Decode, Detect
from whisperlite.errors import DecodingError
from whisperlite.results import Skipped
from whisperlite.transcription.languages import (
    HOP_S,
    SPAN_S,
    Beginning,
    Heard,
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
    return beginning_of([Heard(each) for each in found], **arguments)


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
    noise = [Heard(heard("en", 0.9), no_speech=0.8)] * 5
    speech = [Heard(heard("de"), no_speech=0.1)] * 3
    found = beginning_of([*speech, *noise, *speech])
    assert (found.language, found.end_s) == ("de", None)
    assert found.probability == pytest.approx((6 * 0.9 * 0.98 + 5 * 0.2 * 0.05) / (6 * 0.9 + 5 * 0.2))
    assert beginning_of(noise, before="de").language == "de"
    assert beginning_of([*noise, *speech]).language == "de"


def test_the_whole_of_a_window_decides_only_where_somebody_speaks() -> None:
    speech = [Heard(heard("de"), no_speech=0.1)] * 3
    assert beginning_of(speech, whole=Heard(heard("fr", 0.7), no_speech=0.1)) == Beginning("fr", 0.7, None)
    assert beginning_of(speech, whole=Heard(heard("fr", 0.7), no_speech=0.7)).language == "de"


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


# Sessions of several languages


def changing(*parts: tuple[float, str]) -> Listener:
    """Until each time, the language; a span is in the language of its middle."""

    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        middle = (span[0] + span[1]) / 2
        return heard(next((code for end, code in parts if middle < end), parts[-1][1]), 0.98)

    return listen


def multilingual(script: Any, languages: Any, *, seconds: float = 30.0, **options: Any) -> Run:
    return drive(script, seconds=seconds, language=None, languages=languages, multilingual=True, **options)


def languages_asked(run: Run) -> list[str]:
    """Of each Decode."""
    by_token = {token: code for code, token in MULTILINGUAL.language_tokens.items()}
    return [by_token[ask.prompt.tokens[ask.prompt.sot_index + 1]] for ask in run.decodes]


def full(words: str) -> Said:
    return Said(spoken(0, words, 30))


def test_every_window_is_listened_to_and_decoded_in_its_language() -> None:
    run = multilingual(
        [full(" One."), full(" Zwei."), full(" Trois.")], changing((30, "en"), (60, "de"), (90, "fr")), seconds=90
    )
    assert [type(ask) for ask in run.asks] == [Detect, Decode, Detect] * 3
    assert languages_asked(run) == ["en", "de", "fr"]
    assert [segment.language for segment in run.result.segments] == ["en", "de", "fr"]


def test_a_window_is_heard_whole_and_in_spans_of_its_content() -> None:
    run = multilingual([Said(spoken(0, " One.", 5))], changing((99, "en")), seconds=5.0)
    ask = run.asks[0]
    assert isinstance(ask, Detect)
    assert ask.spans == ((0, 150), (50, 200), (100, 250))
    assert isinstance(ask.window, Window)
    assert (ask.window.start_frame, ask.window.n_frames) == (0, 500)


def test_the_encoding_of_the_detection_is_that_of_the_decoding() -> None:
    run = multilingual([full(" One."), full(" Two.")], changing((99, "en")), seconds=45)
    assert [ask.encoding for ask in run.decodes] == [run.encodings[0], run.encodings[3]]


def test_segments_before_a_change_are_accepted_and_the_next_window_begins_behind_them() -> None:
    first = Said([*spoken(0, " One.", 5), *spoken(5, " Two.", 10), *spoken(10, " Drei.", 20)])
    run = multilingual([first, Said(spoken(0, " Drei.", 10))], changing((10, "en"), (99, "de")), seconds=20)
    assert run.seeks == [0, 1000]
    assert [(each.start, each.end, each.text, each.language) for each in run.result.segments] == [
        (0.0, 5.0, " One.", "en"),
        (5.0, 10.0, " Two.", "en"),
        (10.0, 20.0, " Drei.", "de"),
    ]
    assert [event.done_s for event in run.accepted] == [10.0, 20.0]


def test_a_segment_a_little_over_the_change_belongs_to_the_language_of_its_middle() -> None:
    first = Said([*spoken(0, " One.", 12), *spoken(12, " Zwei.", 20)])
    run = multilingual([first, Said(spoken(0, " Zwei.", 8))], changing((10, "en"), (99, "de")), seconds=20)
    assert run.seeks == [0, 1200]
    assert [segment.language for segment in run.result.segments] == ["en", "de"]


def test_a_single_segment_in_two_languages_is_decoded_again_up_to_the_change() -> None:
    script = [Said(spoken(0, " One zwei.", 30)), Said(spoken(0, " One.", 10)), Said(spoken(0, " Zwei.", 20))]
    run = multilingual(script, changing((10, "en"), (99, "de")))
    windows = [(ask.window.start_frame, ask.window.n_frames) for ask in run.decodes]  # type: ignore[attr-defined]
    assert windows == [(0, 3000), (0, 1000), (1000, 2000)]
    assert languages_asked(run) == ["en", "en", "de"]
    assert run.result.text == " One. Zwei."


def test_a_segment_that_begins_before_the_change_and_goes_on_long_behind_it_is_decoded_again() -> None:
    """Its middle is at 9.5 s, before the change; but it ends more than three seconds behind it."""
    script = [
        Said([*spoken(0, " One.", 5), *spoken(5, " Two zwei.", 14), *spoken(14, " Drei.", 30)]),
        Said(spoken(0, " One. Two.", 10)),
        Said(spoken(0, " Zwei.", 20)),
    ]
    run = multilingual(script, changing((10, "en"), (99, "de")))
    assert run.seeks == [0, 0, 1000]
    assert run.result.text == " One. Two. Zwei."


def test_only_one_attempt_of_a_window_that_is_decoded_again_decides_it() -> None:
    script = [Said(spoken(0, " One zwei.", 30)), Said(spoken(0, " One.", 10)), Said(spoken(0, " Zwei.", 20))]
    run = multilingual(script, changing((10, "en"), (99, "de")))
    assert [(attempt.seek, attempt.accepted) for attempt in run.result.attempts] == [
        (0, False),
        (0, True),
        (1000, True),
    ]


def test_a_segment_that_is_heard_in_another_language_is_decoded_again_in_that() -> None:
    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if ask.encoding is not None and span == (0, 10) else "en")

    script = [Said(spoken(0, " Oh, in.", 10)), Said(spoken(0, " Ohne ihn.", 10)), Said(spoken(0, " Next.", 20))]
    run = multilingual(script, listen)
    windows = [(ask.window.start_frame, ask.window.n_frames) for ask in run.decodes]  # type: ignore[attr-defined]
    assert windows == [(0, 3000), (0, 1000), (1000, 2000)]
    assert languages_asked(run) == ["en", "de", "en"]
    assert [(segment.text, segment.language) for segment in run.result.segments] == [
        (" Ohne ihn.", "de"),
        (" Next.", "en"),
    ]
    assert [attempt.accepted for attempt in run.result.attempts] == [False, True, True]
    assert run.result.language == "en"


def test_segments_before_one_that_is_heard_in_another_language_are_kept() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span in {(5, 20), (5, 35)} else "en")

    script = [Said([*spoken(0, " One.", 5), *spoken(5, " So I.", 20)]), Said(spoken(0, " Zwei.", 15))]
    run = multilingual(script, listen, seconds=20)
    assert run.seeks == [0, 500]
    assert [(segment.text, segment.language) for segment in run.result.segments] == [(" One.", "en"), (" Zwei.", "de")]


def test_segments_that_are_too_short_to_be_heard_alone_are_not() -> None:
    run = multilingual([Said(spoken(0, " One.", 2.9))], changing((99, "en")), seconds=5.0)
    assert [type(ask) for ask in run.asks] == [Detect, Decode]


def test_a_silent_window_is_passed_over_up_to_the_change() -> None:
    run = multilingual([SILENT, Said(spoken(0, " Zwei.", 20))], changing((10, "en"), (99, "de")))
    assert run.seeks == [0, 1000]
    assert run.result.skipped == (Skipped(0.0, 10.0, "no_speech"),)


def test_words_are_looked_for_in_what_is_kept_before_a_change() -> None:
    counted = " one two three four five six seven eight nine ten"
    script = [Said([*spoken(0, counted, 10), *spoken(10, " Elf.", 20)]), Said(spoken(0, " Elf.", 10))]

    def evenly(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        count = len(ask.tokens)
        return tuple(10 * i / count for i in range(count + 1)), (0.9,) * count

    languages = changing((10, "en"), (99, "de"))
    run = multilingual(script, languages, seconds=20, word_timestamps=True, times=evenly)
    aligned = [ask.tokens for ask in run.asks if isinstance(ask, Align)]
    assert aligned == [tuple(text(counted)), tuple(text(" Elf."))]
    tokens = [ask.prompt[1] for ask in run.asks if isinstance(ask, Align)]
    assert tokens == [MULTILINGUAL.language_token("en"), MULTILINGUAL.language_token("de")]


def test_a_window_is_not_told_what_was_said_in_another_language() -> None:
    script = [full(" One."), full(" Two."), full(" Drei."), full(" Vier."), full(" Five.")]
    run = multilingual(script, changing((60, "en"), (120, "de"), (150, "en")), seconds=150)
    assert run.previous == [
        (),
        tuple(spoken(0, " One.", 30)),
        (),
        tuple(spoken(0, " Drei.", 30)),
        (),
    ]


def test_an_initial_prompt_is_told_to_the_first_window_in_whatever_language() -> None:
    run = multilingual(
        [full(" Eins."), full(" Two.")], changing((30, "de"), (60, "en")), seconds=60, initial_prompt="Names"
    )
    assert run.previous == [tuple(text(" Names")), ()]


def test_the_language_of_the_recording_is_the_most_spoken_with_its_mean_probability() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("en", 0.6) if span[0] < 30 else heard("de", 0.8) if span[0] < 60 else heard("de", 0.9)

    script = [full(" One."), Said(spoken(0, " Zwei.", 16)), Said(spoken(0, " Drei.", 20))]
    result = multilingual(script, listen, seconds=90).result
    assert result.language == "de"
    assert result.language_probability == pytest.approx(0.85)


def test_a_recording_without_segments_has_the_language_that_it_was_heard_in_first() -> None:
    run = multilingual(lambda _: SILENT, changing((30, "fr"), (60, "de")), seconds=60)
    assert (run.result.language, run.result.segments) == ("fr", ())


def test_without_a_window_there_is_one_detection_all_the_same() -> None:
    run = multilingual([], changing((30, "fr")), seconds=0.005)
    assert [type(ask) for ask in run.asks] == [Detect]
    assert run.result.language == "fr"


def test_detections_are_counted_as_input() -> None:
    run = multilingual([Said(spoken(0, " One.", 5))], changing((99, "en")), seconds=5.0)
    assert run.result.usage.tokens_input == 1 + 3 + 3 + 1 + 1  # whole, spans, prompt; whole, the segment


# Which languages may be detected


def test_only_allowed_languages_are_detected_with_the_probabilities_of_the_model() -> None:
    languages = {"en": 0.7, "de": 0.1, "fr": 0.2}
    run = drive([full(" Un.")], seconds=30, language=None, languages=languages, allowed_languages=["de", "French"])
    assert (run.result.language, run.result.language_probability) == ("fr", 0.2)
    assert languages_asked(run) == ["fr"]


def test_only_allowed_languages_are_detected_in_every_window() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return {"en": 0.9, "de": 0.02, "fr": 0.08} if span[0] < 30 else {"en": 0.9, "de": 0.08, "fr": 0.02}

    run = multilingual([full(" Un."), full(" Zwei.")], listen, seconds=60, allowed_languages="de,fr")
    assert set(languages_asked(run)) <= {"de", "fr"}
    assert languages_asked(run) == ["fr", "de"]


# From how much of a recording


def places(run: Run) -> list[int]:
    """Where each detection listened, in frames."""
    found = []
    for ask in run.asks:
        if isinstance(ask, Detect):
            assert isinstance(ask.window, Window)
            assert ask.window.n_frames == 3000
            assert ask.spans == ()
            found.append(ask.window.start_frame)
    return found


def detecting(languages: Any, *, seconds: float = 120.0, segments: int = 3, **options: Any) -> Run:
    return drive(
        lambda _: full(" One."),
        seconds=seconds,
        language=None,
        languages=languages,
        language_detection_segments=segments,
        **options,
    )


def test_detection_stops_at_the_first_window_that_is_clear() -> None:
    run = detecting(lambda _, span: heard("de", 0.8) if span[0] == 30 else UNCLEAR)
    assert places(run) == [0, 3000]
    assert (run.result.language, run.result.language_probability) == ("de", 0.8)


def test_the_first_window_is_enough_where_it_is_clear() -> None:
    assert places(detecting(heard("de", 0.5))) == [0]


def test_where_no_window_is_clear_the_mean_decides() -> None:
    answers = {0: {"en": 0.4, "de": 0.3, "fr": 0.3}, 30: {"en": 0.1, "de": 0.4, "fr": 0.3}, 60: UNCLEAR}
    run = detecting(lambda _, span: answers[int(span[0])])
    assert places(run) == [0, 3000, 6000]
    assert run.result.language == "de"
    assert run.result.language_probability == pytest.approx((0.3 + 0.4 + 0.3) / 3)


def test_what_counts_as_clear_is_an_option() -> None:
    assert places(detecting(heard("de", 0.8), language_detection_threshold=0.9)) == [0, 3000, 6000]
    assert places(detecting(UNCLEAR, language_detection_threshold=0.2)) == [0]


def test_one_window_is_listened_to_unless_more_are_asked_for() -> None:
    run = drive([full(" One.")], seconds=30, language=None, languages=UNCLEAR)
    assert places(run) == [0]
    assert run.result.language == "de"


def test_no_window_is_listened_to_behind_the_end() -> None:
    assert places(detecting(UNCLEAR, seconds=45, segments=9)) == [0, 3000]
    assert places(detecting(UNCLEAR, seconds=30, segments=9)) == [0]


def test_where_speech_was_looked_for_it_is_listened_to() -> None:
    speech = [(7.0, 12.0), (20.0, 25.0), (50.0, 90.0)]
    run = drive(
        lambda _: Said(spoken(0, " One.", 3)),
        seconds=120,
        language=None,
        languages=UNCLEAR,
        language_detection_segments=4,
        speech=speech,
    )
    assert places(run) == [700, 5000, 8000]  # 20 s lies in the first window


def test_without_speech_the_beginning_is_listened_to() -> None:
    run = drive([], seconds=60, language=None, languages=heard("de"), speech=[])
    assert places(run) == [0]
    assert run.result.language == "de"


def test_only_the_encoding_of_the_first_detection_can_be_that_of_the_first_window() -> None:
    run = detecting(UNCLEAR)
    assert run.decodes[0].encoding is run.encodings[0]
    assert all(ask.encoding is None for ask in run.decodes[1:])


def test_each_detection_is_counted_as_input() -> None:
    run = drive(
        [Said(spoken(0, " One.", 3))],
        seconds=30,
        language=None,
        languages=UNCLEAR,
        language_detection_segments=5,
    )
    assert run.result.usage.tokens_input == 1 + 3


def test_probabilities_that_are_not_numbers_are_a_decoding_error_with_what_there_is() -> None:
    with pytest.raises(DecodingError, match="languages are not finite") as caught:
        drive([], language=None, languages={"en": float("nan"), "de": 0.5})
    assert caught.value.partial is not None
    assert (caught.value.partial.text, caught.value.partial.language) == ("", "")


# English-only models


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"multilingual": True}, ["multilingual=True"]),
        ({"allowed_languages": ["de"]}, ["allowed_languages=('de',)"]),
        ({"allowed_languages": ["en"]}, []),
        ({"multilingual": True, "task": "translate"}, ["task='translate'", "multilingual=True"]),
    ],
)
def test_an_english_only_model_says_that_it_does_not_detect__correction_25(
    options: dict[str, Any], named: list[str]
) -> None:
    run = drive([Said([ENGLISH.timestamp_begin, *ENGLISH.encode(" Hi")])], tokenizer=ENGLISH, **options)
    assert [type(ask) for ask in run.asks] == [Decode]
    assert len(run.result.warnings) == len(named)
    assert all(name in warning for name, warning in zip(named, run.result.warnings, strict=True))
    assert run.result.segments[0].language == "en"


# What goes on around a change


def test_a_fallback_does_not_change_the_language_of_a_window() -> None:
    run = multilingual([UNSURE, full(" One.")], changing((99, "fr")))
    assert languages_asked(run) == ["fr", "fr"]


def test_a_change_before_anything_was_written_is_decoded_again() -> None:
    """The answer holds only the second language; what is before the change is asked for once more."""
    script = [Said(spoken(12, " Zwei.", 30)), Said([at(0), at(10)]), Said(spoken(0, " Zwei.", 20))]
    run = multilingual(script, changing((10, "en"), (99, "de")))
    assert run.seeks == [0, 0, 1000]
    assert run.result.text == " Zwei."
