"""Where windows end when it is known where nobody speaks."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.scripted import SILENT, Said, drive, spans, spoken
from whisperlite.audio.mel import Window
from whisperlite.decoding.asks import Align, Decode
from whisperlite.transcription.pauses import Pauses

PAUSES = Pauses([(0.0, 1.0), (4.0, 5.0), (9.0, 10.0)])


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [(0, 10, 7.0), (1, 4, 3.0), (3.5, 5.5, 1.0), (4.2, 4.8, 0.0), (6, 6, 0.0), (9.5, 12, 2.0), (20, 30, 10.0)],
)
def test_speech_is_what_lies_between_pauses(start: float, end: float, seconds: float) -> None:
    assert PAUSES.spoken(start, end) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("time", "before", "after"),
    [(0.5, -math.inf, 0.0), (1.0, 1.0, 4.0), (4.5, 1.0, 4.0), (5.0, 5.0, 9.0), (99, 10.0, math.inf)],
)
def test_the_pauses_around_a_time(time: float, before: float, after: float) -> None:
    assert (PAUSES.before(time)[1], PAUSES.after(time)) == (before, after)


# The next window begins in a pause

TWO = [*spoken(0, " One.", 10), *spoken(10, " Two", 20)[:-1]]  # the second sentence is left to the next window
LAST = Said(spoken(0, " Two.", 8))


def after_ten(pauses: list[tuple[float, float]] | None, **options: Any) -> tuple[int, list[float]]:
    """Where the second window begins, in frames, and the ends of the segments."""
    script = [Said(TWO), Said(spoken(0, " Two.", 20))]
    run = drive(script, seconds=30, speech=None if pauses is None else [(0.0, 30.0)], pauses=pauses, **options)
    return run.seeks[1], [end for _, end, _ in spans(run)]


# Around a word that is over where the output ends: it is in the text.
TWO_PAUSES = [(9.0, 9.8), (10.1, 10.5)]


def test_a_window_that_ends_just_behind_a_pause_ends_in_it() -> None:
    assert after_ten([(9.0, 9.8)]) == (960, [9.6, 29.6])
    assert after_ten([(9.7, 9.8)]) == (970, [9.7, 29.7])  # a short one: where it begins
    assert after_ten([(1.0, 2.0), (9.0, 9.99), (12.0, 13.0)]) == (979, [9.79, 29.79])


@pytest.mark.parametrize("pauses", [None, [], [(8.0, 9.5)], [(9.5, 10.5)], [(10.1, 12.0)], [(0.0, 0.01)], TWO_PAUSES])
def test_otherwise_it_ends_where_its_output_does(pauses: list[tuple[float, float]] | None) -> None:
    assert after_ten(pauses)[0] == 1000


def test_words_say_themselves_where_they_end() -> None:
    script = [Said(TWO), Said(spoken(0, " Two.", 29))]
    run = drive(script, seconds=30, speech=[(0.0, 30.0)], pauses=[(0.1, 0.4)], word_timestamps=True)
    assert run.seeks == [0, 50]  # a tenth of a second behind the pause


# Speech that a window leaves out

EARLY = Said(spoken(0, " One.", 8))  # a single timestamp: no speech follows


def seeks(script: list[Said], pauses: list[tuple[float, float]] | None, **options: Any) -> list[int]:
    speech = None if pauses is None else [(0.0, 60.0)]
    return drive(script, seconds=60, speech=speech, pauses=pauses, **options).seeks


def test_what_is_spoken_behind_the_end_of_the_output_is_heard_once_more() -> None:
    pauses = [(8.2, 10.0)]
    assert seeks([EARLY, Said(spoken(0, " Two.", 30)), Said(spoken(0, " Three.", 21.8))], pauses) == [0, 820, 3820]


def test_nothing_is_heard_again_where_nobody_speaks() -> None:
    rest = Said(spoken(0, " Two.", 29.5))
    assert seeks([EARLY, rest], [(8.1, 29.5)]) == [0, 3000]
    assert seeks([EARLY, rest], None) == [0, 3000]


def test_a_window_that_says_again_that_no_speech_follows_is_believed() -> None:
    """What sounds like speech may be none: one window for each of its segments would write a text for each."""
    assert seeks([EARLY, EARLY, EARLY, EARLY], []) == [0, 800, 3800, 4600]


def test_a_silent_window_does_not_stand_in_for_one_that_leaves_speech_out() -> None:
    rest = Said(spoken(0, " Two.", 22))
    assert seeks([SILENT, EARLY, rest], []) == [0, 3000, 3800]


def test_the_times_of_an_attempt_that_failed_are_no_reason_to_hear_it_again() -> None:
    failed = Said(spoken(0, " One.", 0.5), avg_logprob=-1.1)
    rest = Said(spoken(0, " Two.", 30))
    assert seeks([failed, rest], [], temperature=(0.0,)) == [0, 3000]


def test_a_window_that_is_decoded_again_without_its_silence_is_no_window_before() -> None:
    """Its hallucination says nothing of what follows, so what the next one leaves out is decoded once more."""

    def improbable_at_first(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        assert isinstance(ask.window, Window)
        is_first, count = ask.window.start_frame == 0, len(ask.tokens)
        return tuple(float(place + 3 * is_first) for place in range(count + 1)), (0.01 if is_first else 0.9,) * count

    script = [Said(spoken(3, " Bye.", 5)), EARLY, Said(spoken(0, " Two.", 30)), Said(spoken(0, " Three.", 26))]
    found = seeks(
        script,
        [(0.0, 2.9)],
        times=improbable_at_first,
        word_timestamps=True,
        hallucination_silence_threshold=2.0,
    )
    assert found == [0, 300, 400, 3400]


def test_words_of_such_a_window_end_where_its_output_does() -> None:
    def late(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
        count = len(ask.tokens)
        return (1.0, *(29.0 for _ in range(count))), (0.9,) * count

    script = [EARLY, Said(spoken(0, " Two.", 30)), Said(spoken(0, " Three.", 22))]
    found = seeks(script, [(8.2, 10.0)], word_timestamps=True, times=late)
    assert found[:2] == [0, 820]


def test_a_decode_after_it_is_told_what_was_said_before() -> None:
    run = drive([EARLY, Said(spoken(0, " Two.", 22))], seconds=30, speech=[(0.0, 30.0)], pauses=[])
    assert all(isinstance(ask, Decode) for ask in run.asks)
    assert run.previous[1] == tuple(EARLY.tokens)
