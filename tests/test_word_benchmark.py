"""The comparison of word times that `make words` makes: which difference has which reason."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.parity.matrix import Clip, Run
from benchmarks.words.compare import Outcome, compare
from benchmarks.words.report import passes, summarise

RUN = Run(Clip("clip.flac", "0" * 64, "en"), "base", "words", {})
WORDS = [(" one", 0.5, 1.0), (" two", 1.0, 1.6), (" three", 2.0, 3.0)]


def segment(*words: tuple[str, float, float], seek: int = 0, start: float | None = None) -> dict[str, Any]:
    return {
        "seek": seek,
        "start": words[0][1] if start is None else start,
        "end": words[-1][2],
        "text": "".join(word for word, _, _ in words),
        "tokens": [sum(map(ord, word)) for word, _, _ in words],
        "words": [{"word": word, "start": start, "end": end, "probability": 0.9} for word, start, end in words],
    }


def answer(*segments: dict[str, Any], stuck: bool = False, duration: float = 10.0) -> dict[str, Any]:
    seeks = sorted({each["seek"] for each in segments})
    return {"seeks": seeks, "segments": list(segments), "stuck": stuck, "duration": duration}


def codes(outcome: Outcome) -> list[str | None]:
    return [word.code for word in outcome.words]


def test_times_within_the_limit_need_no_reason() -> None:
    moved = [(word, start + 0.02, end - 0.02) for word, start, end in WORDS]
    outcome = compare(RUN, {"": answer(segment(*WORDS))}, answer(segment(*moved)))
    assert codes(outcome) == ["", "", ""]
    assert passes(summarise([outcome]))


def test_a_time_that_nothing_explains_is_a_defect() -> None:
    moved = [*WORDS[:2], (" three", 2.03, 3.0)]
    outcome = compare(RUN, {"": answer(segment(*WORDS))}, answer(segment(*moved)))
    assert codes(outcome) == ["", "", None]
    assert not passes(summarise([outcome]))


def test_a_time_of_a_corrected_answer_has_the_correction_as_its_reason() -> None:
    corrected = [(" one", 0.2, 0.8), (" two", 0.8, 1.6), WORDS[2]]
    theirs = {"": answer(segment(*WORDS)), "13": answer(segment(*corrected))}
    outcome = compare(RUN, theirs, answer(segment(*corrected)))
    assert codes(outcome) == ["13", "13", ""]
    assert passes(summarise([outcome]))


def test_the_smallest_combination_of_corrections_counts() -> None:
    corrected = answer(segment(*WORDS[:2], (" three", 2.0, 3.5)))
    theirs = {"13+float32-dtw": corrected, "float32-dtw": corrected, "": answer(segment(*WORDS))}
    assert codes(compare(RUN, theirs, corrected)) == ["", "", "float32-dtw"]


def test_a_time_behind_the_recording_is_moved_to_its_end() -> None:
    ours = answer(segment(*WORDS[:2], (" three", 2.0, 2.5)), duration=2.5)
    outcome = compare(RUN, {"": answer(segment(*WORDS))}, ours)
    assert codes(outcome) == ["", "", "9"]
    assert [each.code for each in outcome.segments] == ["9"]


def test_a_word_before_its_segment_is_moved_into_it() -> None:
    ours = answer(segment((" one", 0.8, 1.0), *WORDS[1:]))
    assert codes(compare(RUN, {"": answer(segment(*WORDS, start=0.8))}, ours)) == ["9", "", ""]


@pytest.mark.parametrize("meeting", [1.0, 1.5])
def test_words_out_of_order_are_moved_from_either_side(meeting: float) -> None:
    theirs = answer(segment((" one", 0.5, 1.5), (" two", 1.0, 2.0)))
    ours = answer(segment((" one", 0.5, meeting), (" two", meeting, 2.0)))
    assert None not in codes(compare(RUN, {"": theirs}, ours))


def test_moving_a_time_that_was_in_its_place_is_a_defect() -> None:
    ours = answer(segment(*WORDS[:2], (" three", 2.0, 2.8)), duration=10.0)
    assert codes(compare(RUN, {"": answer(segment(*WORDS))}, ours)) == ["", "", None]


def test_other_tokens_are_compared_with_the_correction_that_gives_them() -> None:
    ours = answer(segment(*WORDS), segment((" four", 4.0, 5.0), seek=300))
    theirs = {"": answer(segment(*WORDS), segment((" for", 4.0, 5.0), seek=310)), "13": ours}
    outcome = compare(RUN, theirs, ours)
    assert (outcome.tokens_code, outcome.tokens_defect) == ("13", "")
    assert codes(outcome) == ["", "", "", "13"]


def test_other_tokens_for_no_reason_are_a_defect_and_end_the_comparison() -> None:
    ours = answer(segment(*WORDS), segment((" four", 4.0, 5.0), seek=300))
    theirs = answer(segment(*WORDS), segment((" for", 4.0, 5.0), seek=310))
    outcome = compare(RUN, {"": theirs}, ours)
    assert "window 1 begins at frame 300, reference 310" in outcome.tokens_defect
    assert codes(outcome) == ["", "", ""]
    assert outcome.left_out == 1
    assert not passes(summarise([outcome]))


def test_a_reference_that_does_not_advance_is_a_reason_for_what_follows() -> None:
    ours = answer(segment(*WORDS), segment((" four", 4.0, 5.0), seek=300))
    outcome = compare(RUN, {"": answer(segment(*WORDS), stuck=True)}, ours)
    assert (outcome.tokens_code, outcome.tokens_defect, outcome.left_out) == ("24", "", 1)


def test_a_segment_that_one_side_leaves_out_is_a_defect() -> None:
    outcome = compare(RUN, {"": answer(segment(*WORDS))}, answer())
    assert outcome.tokens_defect


def test_probabilities_too_far_apart_fail() -> None:
    ours = answer(segment(*WORDS))
    ours["segments"][0]["words"][0]["probability"] = 0.5
    outcome = compare(RUN, {"": answer(segment(*WORDS))}, ours)
    assert outcome.probability_error == pytest.approx(0.4)
    assert not passes(summarise([outcome]))
