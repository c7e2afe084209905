"""The policy of a recording: its language, the ladder of temperatures, silence, and what is asked and reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.scripted import (
    DEFAULT,
    ENGLISH,
    GOOD,
    GOOD_30,
    MULTILINGUAL,
    REPEATS,
    SILENT,
    UNSURE,
    Said,
    at,
    drive,
    spans,
    spoken,
    text,
)
from whisperlite.audio.mel import Features
from whisperlite.decoding.asks import Align, Aligned, Beam, Decode, Decoded, Detect, Greedy, Sample
from whisperlite.options import Options
from whisperlite.results import Attempt, Segment, Skipped, Transcription
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.session import Accepted, session

# Language


def test_a_language_that_is_given_is_not_detected() -> None:
    run = drive([DEFAULT], language="de")
    assert [type(ask) for ask in run.asks] == [Decode]
    assert run.decodes[0].prompt.tokens[1] == MULTILINGUAL.language_token("de")
    assert (run.result.language, run.result.language_probability) == ("de", None)


def test_a_language_is_detected_on_the_first_thirty_seconds_followed_by_silence() -> None:
    run = drive([DEFAULT], language=None, languages={"en": 0.2, "ja": 0.7, "de": 0.1})
    assert isinstance(run.asks[0], Detect)
    assert run.asks[0].window == Features.detection_window(run.asks[0].window.features)  # type: ignore[attr-defined]
    assert run.decodes[0].prompt.tokens[1] == MULTILINGUAL.language_token("ja")
    assert (run.result.language, run.result.language_probability) == ("ja", 0.7)
    assert run.result.usage.tokens_input == 1 + 3


@pytest.mark.parametrize(("seconds", "is_reused"), [(45.0, True), (30.0, True), (29.9, False)])
def test_the_encoding_of_the_detection_is_reused_where_the_first_window_is_full(
    seconds: float, is_reused: bool
) -> None:
    run = drive(lambda _: Said(spoken(0, " Hello.", 30)), seconds=seconds, language=None)
    assert (run.decodes[0].encoding is run.encodings[0]) == is_reused
    assert all(ask.encoding is None for ask in run.decodes[1:])


def test_an_english_only_model_is_told_no_language() -> None:
    run = drive([Said([ENGLISH.timestamp_begin, *ENGLISH.encode(" Hi")])], tokenizer=ENGLISH)
    assert run.decodes[0].prompt.tokens == (ENGLISH.sot,)
    assert (run.result.language, run.result.language_probability, run.result.warnings) == ("en", None, ())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"language": "de"}, ["language='de'"]),
        ({"language": "en"}, []),
        ({"task": "translate"}, ["task='translate'"]),
        ({"language": "French", "task": "translate"}, ["language='fr'", "task='translate'"]),
    ],
)
def test_what_an_english_only_model_cannot_do_is_a_warning__correction_25(
    options: dict[str, Any], named: list[str]
) -> None:
    run = drive([Said([])], tokenizer=ENGLISH, warnings=("the file ended early",), **options)
    assert run.result.language == "en"
    assert run.result.warnings[0] == "the file ended early"
    assert len(run.result.warnings) == 1 + len(named)
    assert all(name in warning for name, warning in zip(named, run.result.warnings[1:], strict=True))


@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize("without_timestamps", [True, False])
def test_the_prompt_says_the_task(task: str, without_timestamps: bool) -> None:
    run = drive([DEFAULT], task=task, without_timestamps=without_timestamps)
    expected = [MULTILINGUAL.sot, MULTILINGUAL.language_token("en"), getattr(MULTILINGUAL, task)]
    expected += [MULTILINGUAL.no_timestamps] if without_timestamps else []
    assert list(run.decodes[0].prompt.tokens) == expected
    assert run.decodes[0].timestamps != without_timestamps
    assert run.result.task == task


# The ladder

LADDER = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_good_attempt_is_accepted_at_once() -> None:
    run = drive([GOOD])
    assert run.result.attempts == (Attempt(0, 0.0, -0.3, 1.2, 0.01, (), True),)
    assert run.result.segments[0].temperature == 0.0


@pytest.mark.parametrize(
    ("said", "failed"), [(REPEATS, ("compression_ratio_threshold",)), (UNSURE, ("logprob_threshold",))]
)
def test_an_attempt_that_fails_a_threshold_is_followed_by_the_next_temperature(said: Said, failed: object) -> None:
    run = drive([said, said, GOOD])
    assert run.temperatures == [0.0, 0.2, 0.4]
    assert [attempt.failed for attempt in run.result.attempts] == [failed, failed, ()]
    assert [attempt.accepted for attempt in run.result.attempts] == [False, False, True]
    assert spans(run) == [(0.0, 2.0, " Hello.")]
    assert run.result.segments[0].temperature == 0.4


def test_an_attempt_may_fail_two_thresholds() -> None:
    both = Said(spoken(0, " la", 2), avg_logprob=-2, compression_ratio=3)
    run = drive([both, GOOD])
    assert run.result.attempts[0].failed == ("compression_ratio_threshold", "logprob_threshold")


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (REPEATS, {"compression_ratio_threshold": None}),
        (REPEATS, {"compression_ratio_threshold": 2.5}),
        (UNSURE, {"logprob_threshold": None}),
        (UNSURE, {"logprob_threshold": -1.1}),
        (UNSURE, {"temperature_increment_on_fallback": None}),
        (UNSURE, {"temperature": [0.0]}),
        (REPEATS, {"temperature": 1.0}),
    ],
)
def test_a_threshold_that_is_off_or_just_met_accepts(said: Said, options: dict[str, Any]) -> None:
    run = drive([said], **options)
    assert [attempt.accepted for attempt in run.result.attempts] == [True]
    assert len(run.result.segments) == 1


@pytest.mark.parametrize(
    ("options", "ladder"),
    [
        ({}, LADDER),
        ({"temperature": 0.5}, [0.5, 0.7, 0.9]),
        ({"temperature": (0.0, 0.9)}, [0.0, 0.9]),
        ({"temperature": 1.5}, [1.5]),
        ({"temperature_increment_on_fallback": 0.5}, [0.0, 0.5, 1.0]),
    ],
)
def test_the_ladder_is_climbed_to_its_end__correction_15(options: dict[str, Any], ladder: list[float]) -> None:
    assert drive(lambda _: UNSURE, seconds=2, **options).temperatures == pytest.approx(ladder)


def test_beams_at_zero_and_samples_above() -> None:
    run = drive(lambda _: UNSURE, beam_size=4, patience=1.5, best_of=3, length_penalty=0.5, temperature=[0.0, 0.3])
    assert [ask.strategy for ask in run.decodes] == [Beam(4, 6, 0.5), Sample(0.3, 3, 0.5)]
    run = drive(lambda _: UNSURE, beam_size=1, best_of=None, temperature=[0.0, 0.3])
    assert [ask.strategy for ask in run.decodes] == [Greedy(), Sample(0.3, 1)]


def test_a_fallback_reuses_the_encoding_and_the_prompt__correction_21() -> None:
    run = drive([UNSURE, UNSURE, GOOD], initial_prompt="Names")
    first, *others = run.decodes
    assert first.encoding is None
    assert all(ask.encoding is run.encodings[0] for ask in others)
    assert all(ask.prompt == first.prompt and ask.window == first.window for ask in others)


def test_where_every_attempt_fails_the_best_one_is_kept__correction_2() -> None:
    """The likeliest of those that do not repeat themselves; not the last, and not a likelier one that does."""
    script = [
        Said(spoken(0, " first", 2), avg_logprob=-1.5),
        Said(spoken(0, " best", 2), avg_logprob=-1.2),
        Said(spoken(0, " loop", 2), avg_logprob=-0.1, compression_ratio=9.0),
        Said(spoken(0, " last", 2), avg_logprob=-3.0),
    ]
    run = drive(script, temperature=[0.0, 0.2, 0.4, 1.0])
    assert [attempt.accepted for attempt in run.result.attempts] == [False, True, False, False]
    assert (run.result.text, run.result.segments[0].temperature) == (" best", 0.2)


def test_an_attempt_at_the_limit_does_not_repeat_itself__correction_2() -> None:
    script = [
        Said(spoken(0, " at the limit", 2), avg_logprob=-1.1, compression_ratio=2.4),
        Said(spoken(0, " below it", 2), avg_logprob=-1.2),
    ]
    assert drive(script, temperature=[0.0, 1.0]).result.text == " at the limit"


def test_where_every_attempt_repeats_itself_the_one_that_does_so_least_is_kept__correction_2() -> None:
    """Of equals the likeliest. A loop is the likelier the longer it goes round."""
    script = [
        Said(spoken(0, f" {name}", 2), avg_logprob=logprob, compression_ratio=ratio)
        for name, logprob, ratio in [("loop", -0.1, 20.0), ("one", -0.9, 5.0), ("two", -0.4, 5.0), ("three", -0.4, 5.0)]
    ]
    assert drive(script, temperature=[0.0, 0.3, 0.6, 1.0]).result.text == " two"


def test_an_attempt_kept_from_low_on_the_ladder_still_resets_the_prompt__correction_2() -> None:
    """The reset goes by the temperature that the ladder ended with."""
    failing = [Said(spoken(0, " poor", 30), avg_logprob=-1.2 - i / 10) for i in range(6)]
    run = drive([*failing, Said(spoken(0, " more", 10))], seconds=40)
    assert run.result.segments[0].temperature == 0.0
    assert run.previous[-1] == ()


def test_seeds_differ_by_window_and_rung_and_follow_the_option__correction_18() -> None:
    def script(_: Decode) -> Said:
        return Said(spoken(0, " Hello.", 10), avg_logprob=-2.0)

    runs = [drive(script, seconds=60, seed=seed, temperature=[0.4, 0.8]) for seed in (0, 0, 9)]
    seeds = [[ask.seed for ask in run.decodes] for run in runs]
    assert len(seeds[0]) == len(set(seeds[0])) > 3
    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])


# Silence


def test_a_silent_window_is_passed_over_and_said_so__correction_19() -> None:
    run = drive([SILENT, Said(spoken(0, " Hello.", 5))], seconds=40)
    assert run.seeks == [0, 3000]
    assert spans(run) == [(30.0, 35.0, " Hello.")]
    assert run.result.skipped == (Skipped(0.0, 30.0, "no_speech"),)
    assert run.result.attempts[0].failed == ()  # no further temperature is tried
    assert run.accepted[0] == Accepted((), 30.0, 40.0)


def test_the_last_silent_window_ends_with_the_recording() -> None:
    assert drive([GOOD_30, SILENT], seconds=33.307).result.skipped == (Skipped(30.0, 33.3, "no_speech"),)


@pytest.mark.parametrize(
    "said",
    [
        Said(spoken(0, " Hello.", 2), avg_logprob=-0.9, no_speech_prob=0.99),
        Said(spoken(0, " Hello.", 2), avg_logprob=-0.3, no_speech_prob=0.7),
    ],
)
def test_a_window_with_likely_text_is_not_silent__correction_19(said: Said) -> None:
    run = drive([said])
    assert run.result.skipped == ()
    assert run.result.text == " Hello."


def test_without_a_logprob_threshold_no_speech_alone_decides() -> None:
    said = Said(spoken(0, " Hello.", 2), avg_logprob=-0.1, no_speech_prob=0.61)
    assert drive([said], logprob_threshold=None).result.skipped == (Skipped(0.0, 20.0, "no_speech"),)


def test_without_a_no_speech_threshold_nothing_is_passed_over() -> None:
    run = drive(lambda _: SILENT, no_speech_threshold=None)
    assert run.temperatures == pytest.approx(LADDER)
    assert run.result.skipped == ()
    assert len(run.result.segments) == 1


def test_silence_does_not_excuse_repetition() -> None:
    """A window that looks silent but failed the compression ratio alone is tried again."""
    said = Said(spoken(0, " la la", 2), avg_logprob=-0.5, no_speech_prob=0.9, compression_ratio=3.0)
    assert drive([said, GOOD]).temperatures == [0.0, 0.2]


def test_a_silent_window_leaves_the_previous_text_as_it_was() -> None:
    run = drive([Said(spoken(0, " One.", 30)), SILENT, Said(spoken(0, " Two.", 10))], seconds=70)
    assert run.previous == [(), tuple(spoken(0, " One.", 30)), tuple(spoken(0, " One.", 30))]


# What an ask carries


def test_options_reach_the_ask() -> None:
    run = drive([GOOD], suppress_blank=False, max_new_tokens=50, max_initial_timestamp=None)
    ask = run.decodes[0]
    assert (ask.suppress_blank, ask.max_new_tokens, ask.max_initial_timestamp) == (False, 50, None)
    ask = drive([GOOD]).decodes[0]
    assert (ask.suppress_blank, ask.max_new_tokens, ask.max_initial_timestamp) == (True, 224, 1.0)


def test_max_initial_timestamp_of_zero_reaches_the_ask__correction_5() -> None:
    assert drive([GOOD], max_initial_timestamp=0.0).decodes[0].max_initial_timestamp == 0.0


@pytest.mark.parametrize(
    ("given_tokens", "expected"),
    [
        ("-1", set(MULTILINGUAL.non_speech_tokens)),
        ("", set()),
        ([], set()),
        ((5, 6), {5, 6}),
        ([5, -1], {5, *MULTILINGUAL.non_speech_tokens}),
        ("5,6", {5, 6}),
        (np.array([5, 6]), {5, 6}),
    ],
)
def test_suppressed_tokens_may_be_any_sequence__correction_4(given_tokens: object, expected: set[int]) -> None:
    assert drive([GOOD], suppress_tokens=given_tokens).decodes[0].suppressed == expected


def test_a_list_of_suppressed_tokens_is_not_changed__correction_4() -> None:
    mine = [5, -1]
    drive([GOOD], suppress_tokens=mine)
    assert mine == [5, -1]


# What is reported


def test_an_answer_cut_at_the_limit_marks_the_segment_that_it_cut() -> None:
    cut = Said([at(0), *text(" and so on and")], truncated=True)
    assert [segment.truncated for segment in drive([cut]).result.segments] == [True]
    heard_again = Said([*spoken(0, " One.", 4), at(4), *text(" and so")], truncated=True)
    run = drive([heard_again, GOOD])
    assert [segment.truncated for segment in run.result.segments] == [False, False]


def test_usage_counts_every_attempt() -> None:
    run = drive([UNSURE, GOOD_30, GOOD], seconds=40, language=None, initial_prompt="Names")
    usage = run.result.usage
    prompts = [len(ask.prompt.tokens) for ask in run.decodes]
    names = len(text(" Names"))
    assert prompts == [1 + names + 3, 1 + names + 3, 1 + names + len(GOOD_30.tokens) + 3]
    assert usage.tokens_input == 1 + sum(prompts)
    assert usage.tokens_generated == len(UNSURE.tokens) + len(GOOD_30.tokens) + len(GOOD.tokens)
    assert (usage.audio_ms, usage.runtime_ms) == (40_000, 0)


def test_a_result_says_what_it_is_of() -> None:
    result = drive([GOOD], seconds=20.5).result
    assert (result.model, result.duration, result.task, result.schema_version) == ("scripted", 20.5, "transcribe", 1)
    assert result.segments == (
        Segment(0, 0, 0.0, 2.0, " Hello.", tuple(GOOD.tokens), 0.0, -0.3, 1.2, 0.01, False, "en", None),
    )


def test_progress_reaches_the_end_also_through_silence__correction_14() -> None:
    run = drive([GOOD_30, SILENT, SILENT], seconds=70)
    assert [(event.done_s, event.total_s) for event in run.accepted] == [(30.0, 70.0), (60.0, 70.0), (70.0, 70.0)]


def test_every_option_that_a_session_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match="beam_sizes"):
        drive([GOOD], beam_sizes=3)


def test_a_silence_that_is_passed_over_begins_behind_the_words_that_are_kept() -> None:
    """Words last their usual time, and may end behind their segment."""
    tokenizer = Tokenizer.bundled(multilingual=False)
    begin, encode = tokenizer.timestamp_begin, tokenizer.encode
    first = (begin, *encode(" hello"), *encode(" world"), begin + 100, begin + 500, *encode(" yes"), begin + 600)
    options = Options(
        word_timestamps=True,
        hallucination_silence_threshold=1.0,
        beam_size=1,
        temperature_increment_on_fallback=None,
    )
    encoding: Any = object()
    answers = iter([Decoded(first, "x", -0.3, 0.0, 1.0, 0.0, False, encoding)])
    silence = Decoded((begin,), "", -2.0, 0.9, 1.0, 0.0, False, encoding)
    under_way = session(Features(np.zeros(480000, np.float32), 80), options, tokenizer, duration=30.0)

    def answered() -> Transcription:
        answer: Any = None
        while True:
            try:
                asked = under_way.send(answer)
            except StopIteration as end:
                result: Transcription = end.value
                return result
            if isinstance(asked, Align):
                answer = Aligned((0.0, 1.9, 9.9, 9.92), (0.9, 0.9, 0.05), encoding)
            else:
                answer = None if isinstance(asked, Accepted) else next(answers, silence)

    result = answered()
    [passed] = [span for span in result.skipped if span.reason == "silence"]
    assert passed.start == pytest.approx(result.words[-1].end) == pytest.approx(2.6)
