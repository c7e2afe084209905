"""Sessions of recordings that change their language."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.scripted import ENGLISH, MULTILINGUAL, SILENT, UNSURE, Listener, Run, Said, at, drive, spoken, text
from whisperlite.audio.mel import Window
from whisperlite.decoding.asks import Align, Decode, Detect
from whisperlite.errors import DecodingError
from whisperlite.results import Skipped

CODES = ("en", "de", "fr")


def heard(code: str, probability: float = 0.98) -> dict[str, float]:
    """The rest is shared by the others."""
    return {each: probability if each == code else (1 - probability) / 2 for each in CODES}


UNCLEAR = {"en": 0.2, "de": 0.3, "fr": 0.25}


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
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (0, 10) else "en")

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


def test_a_beginning_that_sounds_otherwise_is_heard_again_without_what_follows_it() -> None:
    """In its window it is coloured by the rest; alone it is what it was taken for, and stays."""

    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        assert isinstance(ask.window, Window)
        is_among_others = ask.window.n_frames == 3000
        return heard("de" if is_among_others and span == (0, 10) else "en")

    run = multilingual([Said([*spoken(0, " One.", 10), *spoken(10, " Two.", 30)])], listen)
    windows = [cast(Window, ask.window).n_frames for ask in run.asks if isinstance(ask, Detect)]
    assert windows == [3000, 3000, 1000]
    assert [segment.text for segment in run.result.segments] == [" One.", " Two."]


def test_short_segments_at_the_beginning_are_heard_together() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (0, 4) else "en")

    said = Said([*spoken(0, " On.", 2), *spoken(2, " So.", 4), *spoken(4, " Next.", 5)])
    run = multilingual([said, Said(spoken(0, " Ohne so.", 4)), Said(spoken(0, " Next.", 1))], listen, seconds=5.0)
    assert [(segment.text, segment.language) for segment in run.result.segments] == [
        (" Ohne so.", "de"),
        (" Next.", "en"),
    ]


def test_segments_before_one_that_is_heard_in_another_language_are_kept() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span in {(5, 20), (5, 35)} else "en")

    script = [Said([*spoken(0, " One.", 5), *spoken(5, " So I.", 20)]), Said(spoken(0, " Zwei.", 15))]
    run = multilingual(script, listen, seconds=20)
    assert run.seeks == [0, 500]
    assert [(segment.text, segment.language) for segment in run.result.segments] == [(" One.", "en"), (" Zwei.", "de")]


def test_the_beginning_is_heard_without_what_comes_behind_a_pause() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (0, 2) else "en")

    said = Said([*spoken(0, " On.", 2), *spoken(3, " Next.", 9)])
    run = multilingual([said, Said(spoken(0, " Ohne.", 2)), Said(spoken(1, " Next.", 7))], listen, seconds=9.0)
    assert [(segment.text, segment.language) for segment in run.result.segments] == [(" Ohne.", "de"), (" Next.", "en")]


def test_short_segments_later_are_heard_together_up_to_a_pause() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (5, 9) else "en")

    said = Said([*spoken(0, " One.", 5), *spoken(5, " Two.", 7), *spoken(7, " Three.", 9), *spoken(11, " Four.", 20)])
    run = multilingual([said, Said(spoken(0, " Rest.", 15))], listen, seconds=20)
    assert run.seeks == [0, 500]
    assert [segment.text for segment in run.result.segments] == [" One.", " Rest."]


@pytest.mark.parametrize(("alone", "texts"), [("de", [" One.", " Zwei."]), ("en", [" One.", " Two."])])
def test_a_segment_that_does_not_sound_clear_is_heard_again_without_what_is_around_it(
    alone: str, texts: list[str]
) -> None:
    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        assert isinstance(ask.window, Window)
        if (ask.window.start_frame, ask.window.n_frames) == (500, 800):
            return heard(alone)
        return UNCLEAR if span == (5, 13) else heard("en")

    script = [Said([*spoken(0, " One.", 5), *spoken(5, " Two.", 13)]), Said(spoken(0, " Zwei.", 8))]
    run = multilingual(script[: 2 if alone == "de" else 1], listen, seconds=13)
    assert [segment.text for segment in run.result.segments] == texts


@pytest.mark.parametrize(("alone", "last"), [(0.55, " Zwei."), (0.65, " Two.")])
def test_a_segment_in_which_nobody_seems_to_speak_is_heard_again_too(alone: float, last: str) -> None:
    """It has a text. What counts is whether it is silent alone, as the reference's threshold has it."""

    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (5, 13) or cast(Window, ask.window).start_frame == 500 else "en")

    def silence(ask: Detect, span: tuple[float, float]) -> float:
        if cast(Window, ask.window).start_frame == 500:
            return alone
        return 0.7 if span == (5, 13) else 0.0

    def answer(ask: Decode) -> Said:
        if cast(Window, ask.window).start_frame == 500:
            return Said(spoken(0, " Zwei.", 8))
        return Said([*spoken(0, " One.", 5), *spoken(5, " Two.", 13)])

    run = multilingual(answer, listen, seconds=13, silence=silence)
    assert [segment.text for segment in run.result.segments] == [" One.", last]


def test_where_only_one_part_is_heard_again_it_is_one_in_which_somebody_speaks() -> None:
    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        if cast(Window, ask.window).start_frame == 1000:
            return heard("de")
        return UNCLEAR if span in {(5, 10), (10, 18)} else heard("en")

    def silence(_: Detect, span: tuple[float, float]) -> float:
        return 0.9 if span == (5, 10) else 0.0

    first = Said([*spoken(0, " One.", 5), *spoken(5, " Hm.", 10), *spoken(10, " Two.", 18)])
    run = multilingual([first, Said(spoken(0, " Zwei.", 8))], listen, seconds=18, silence=silence)
    assert [segment.text for segment in run.result.segments] == [" One.", " Hm.", " Zwei."]


def test_a_short_segment_is_not_taken_for_the_language_of_a_long_one_behind_it() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span in {(6, 14), (5, 14)} else "en")

    said = Said([*spoken(0, " One.", 5), *spoken(5, " Yes.", 6), *spoken(6, " So I.", 14)])
    run = multilingual([said, Said(spoken(0, " Try.", 8)), Said(spoken(0, " Drei.", 8))], listen, seconds=14)
    assert [(segment.text, segment.language) for segment in run.result.segments] == [
        (" One.", "en"),
        (" Yes.", "en"),
        (" Drei.", "de"),
    ]


def test_nothing_is_cut_behind_what_is_not_worth_a_window() -> None:
    """Else a window would move on by the tenth of a second that it keeps."""

    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span[0] == 1.2 else "en")

    run = multilingual([Said([*spoken(0, " Oh.", 0.1), *spoken(1.2, " So I.", 9)])], listen, seconds=9)
    assert run.seeks == [0]


def test_one_part_of_a_window_is_encoded_alone_behind_its_beginning() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return UNCLEAR if span[0] > 0 and span[1] - span[0] == 5 else heard("en")

    said = Said([part for at in range(0, 30, 5) for part in spoken(at, " So.", at + 5)])
    run = multilingual([said], listen)
    windows = [cast(Window, ask.window).n_frames for ask in run.asks if isinstance(ask, Detect)]
    assert windows == [3000, 3000, 500]


@pytest.fixture
def run_with_a_rest() -> Run:
    """A window whose short beginning is the rest of the window before.

    In its window it sounds like what is behind the pause; alone it is in the language that came before.
    """

    def listen(ask: Detect, _: tuple[float, float]) -> dict[str, float]:
        window = cast(Window, ask.window)
        return heard("de" if window.start_frame < 3000 or window.n_frames == 200 else "en")

    rest = Said([*spoken(0, " On.", 2), *spoken(4, " Next.", 9)])
    script = [full(" Eins."), rest, Said(spoken(0, " Ohne.", 2)), Said(spoken(2, " Next.", 7))]
    return multilingual(script, listen, seconds=39.0)


def test_a_short_beginning_may_be_the_rest_of_the_window_before(run_with_a_rest: Run) -> None:
    assert [(segment.text, segment.language) for segment in run_with_a_rest.result.segments] == [
        (" Eins.", "de"),
        (" Ohne.", "de"),
        (" Next.", "en"),
    ]


def test_a_beginning_that_turns_out_to_be_such_a_rest_is_told_the_text_before(run_with_a_rest: Run) -> None:
    """That it sounded like another language is no reason to forget what came before."""
    assert languages_asked(run_with_a_rest) == ["de", "en", "de", "en"]
    assert run_with_a_rest.previous == [(), (), tuple(spoken(0, " Eins.", 30)), ()]


def test_what_is_kept_before_a_change_moves_no_further_than_its_window() -> None:
    """The model places the end behind the window's content, of which nothing is to be left out."""
    first = Said([*spoken(0, " One.", 10.8), *spoken(10.8, " Zwei.", 12)])
    script = [first, Said(spoken(0, " Zwei.", 10))]
    run = multilingual(script, changing((8, "en"), (99, "de")), seconds=20.0, chunk_length=10.4)
    assert run.seeks == [0, 1040]
    assert [segment.language for segment in run.result.segments] == ["en", "de"]


def test_what_the_model_places_behind_the_content_is_not_heard() -> None:
    """And what reaches beyond it is, as far as it goes."""

    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        spans.append(span)
        return UNCLEAR if span[0] > 0 else heard("en")

    spans: list[tuple[float, float]] = []
    multilingual([Said([*spoken(0, " One.", 3.5), *spoken(6, " Two.", 12)])], listen, seconds=3.0)
    assert set(spans) == {(0.0, 30.0), (0.0, 3.0)}  # the first is the window's, which is filled up


def test_segments_that_are_too_short_to_be_heard_alone_are_not() -> None:
    run = multilingual([Said(spoken(0, " One.", 0.9))], changing((99, "en")), seconds=3.0)
    assert [type(ask) for ask in run.asks] == [Detect, Decode]


@pytest.mark.parametrize(
    ("alone", "no_speech", "texts"),
    [("de", 0.0, [" One.", " Zwei."]), ("en", 0.0, [" One."]), ("de", 0.7, [" One."])],
)
def test_what_was_not_written_since_it_is_in_another_language_is_for_the_next_window(
    alone: str, no_speech: float, texts: list[str]
) -> None:
    """The output says that nobody speaks behind its text. It may be music, so it is heard alone too."""

    def listen(ask: Detect, span: tuple[float, float]) -> dict[str, float]:
        if cast(Window, ask.window).start_frame == 500:
            return heard(alone)
        return heard("de" if span == (5, 13) else "en")

    def silence(ask: Detect, _: tuple[float, float]) -> float:
        return no_speech if cast(Window, ask.window).start_frame == 500 else 0.0

    def answer(ask: Decode) -> Said:
        begins = cast(Window, ask.window).start_frame
        return Said(spoken(0, " Zwei.", 8)) if begins == 500 else Said(spoken(0, " One.", 5))

    run = multilingual(answer, listen, seconds=13, silence=silence)
    assert [segment.text for segment in run.result.segments] == texts


def test_where_nobody_seems_to_speak_behind_what_was_written_nothing_is_heard_alone() -> None:
    def listen(_: Detect, span: tuple[float, float]) -> dict[str, float]:
        return heard("de" if span == (5, 13) else "en")

    run = multilingual(
        [Said(spoken(0, " One.", 5))], listen, seconds=13, silence=lambda _, span: 0.7 if span == (5, 13) else 0.0
    )
    assert [type(ask) for ask in run.asks] == [Detect, Decode, Detect]


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


def test_words_do_not_reach_into_what_is_behind_a_change() -> None:
    """However late their times are: the next window would pass over what was said in the other language."""
    script = [Said([*spoken(0, " One.", 10), *spoken(10, " Elf.", 20)]), Said(spoken(0, " Elf.", 10))]

    def late(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (2.0, *(19.0 for _ in ask.tokens)), (0.9,) * len(ask.tokens)

    run = multilingual(script, changing((10, "en"), (99, "de")), seconds=20, word_timestamps=True, times=late)
    assert [ask.n_frames for ask in run.asks if isinstance(ask, Align)] == [1000, 1000]
    assert run.seeks == [0, 1000]
    assert [segment.text for segment in run.result.segments] == [" One.", " Elf."]


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
