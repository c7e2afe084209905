"""Results: frozen values that go to JSON and back, with the keys that openai-whisper's users know."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spoken import evenly, said, segment, spoken
from whisperlite.errors import OptionError
from whisperlite.results import (
    Attempt,
    LanguageDetection,
    Match,
    Segment,
    Skipped,
    Transcription,
    Usage,
    Word,
)

TRANSCRIPTION = Transcription(
    text=" Hello there.",
    segments=(
        Segment(
            id=0,
            seek=0,
            start=0.0,
            end=1.5,
            text=" Hello there.",
            tokens=(50364, 2425, 456, 13, 50439),
            temperature=0.2,
            avg_logprob=-0.25,
            compression_ratio=0.6,
            no_speech_prob=0.01,
            truncated=True,
        ),
    ),
    language="en",
    language_probability=0.98,
    duration=1.5,
    task="transcribe",
    model="base",
    usage=Usage(tokens_input=4, tokens_generated=5, runtime_ms=120, audio_ms=1500),
    warnings=("the file ended early",),
    skipped=(Skipped(1.5, 2.0, "no_speech"),),
    attempts=(Attempt(0, 0.2, -0.25, 0.6, 0.01, ("logprob_threshold",), True),),
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 10**9)
texts = st.text()
words = st.builds(Word, texts, numbers, numbers, numbers)


# A busy machine is slow to draw values of this size.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def tuples_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


segments = st.builds(
    Segment,
    id=counts,
    seek=counts,
    start=numbers,
    end=numbers,
    text=texts,
    tokens=tuples_of(counts),
    temperature=numbers,
    avg_logprob=numbers,
    compression_ratio=numbers,
    no_speech_prob=numbers,
    truncated=st.booleans(),
    words=st.none() | tuples_of(words),
)
attempts = st.builds(Attempt, counts, numbers, numbers, numbers, numbers, tuples_of(texts), st.booleans())
transcriptions = st.builds(
    Transcription,
    text=texts,
    segments=tuples_of(segments),
    language=texts,
    language_probability=st.none() | numbers,
    duration=numbers,
    task=st.sampled_from(["transcribe", "translate"]),
    model=texts,
    usage=st.builds(Usage, counts, counts, counts, counts),
    warnings=tuples_of(texts),
    skipped=tuples_of(st.builds(Skipped, numbers, numbers, texts)),
    attempts=tuples_of(attempts),
)


@patient
@given(transcriptions)
def test_json_and_back_gives_an_equal_transcription(transcription: Transcription) -> None:
    text = json.dumps(transcription.to_dict(), allow_nan=False)
    assert Transcription.from_dict(json.loads(text)) == transcription


@patient
@given(transcriptions)
def test_pickle_gives_an_equal_transcription(transcription: Transcription) -> None:
    assert pickle.loads(pickle.dumps(transcription)) == transcription


@pytest.mark.parametrize(
    "value",
    [
        TRANSCRIPTION,
        TRANSCRIPTION.segments[0],
        TRANSCRIPTION.usage,
        TRANSCRIPTION.skipped[0],
        TRANSCRIPTION.attempts[0],
        Word(" Hello", 0.0, 0.5, 0.9),
        Match(0.0, 0.5, "Hello"),
        LanguageDetection("en", 0.9, {"en": 0.9, "fr": 0.1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_results_are_frozen_and_slotted(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)
    assert not hasattr(value, "__dict__")


def test_the_dict_has_the_keys_of_openai_whisper_with_the_same_types() -> None:
    plain = TRANSCRIPTION.to_dict()
    types = {"text": str, "segments": list, "language": str}
    assert {key: type(plain[key]) for key in types} == types
    in_segment = {
        "id": int,
        "seek": int,
        "start": float,
        "end": float,
        "text": str,
        "tokens": list,
        "temperature": float,
        "avg_logprob": float,
        "compression_ratio": float,
        "no_speech_prob": float,
    }
    assert {key: type(plain["segments"][0][key]) for key in in_segment} == in_segment


def test_the_dict_has_every_field() -> None:
    assert list(TRANSCRIPTION.to_dict()) == [field.name for field in fields(Transcription)]


def test_a_segment_has_words_in_the_dict_only_where_words_were_asked_for() -> None:
    assert "words" not in TRANSCRIPTION.to_dict()["segments"][0]
    segment = replace(TRANSCRIPTION.segments[0], words=(Word(" Hello", 0.0, 0.5, 0.9),))
    plain = replace(TRANSCRIPTION, segments=(segment,)).to_dict()
    assert plain["segments"][0]["words"] == [{"word": " Hello", "start": 0.0, "end": 0.5, "probability": 0.9}]


def test_the_schema_version_is_written() -> None:
    assert TRANSCRIPTION.to_dict()["schema_version"] == 1


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=f"schema_version is {version!r}; this release of whisperlite reads 1"):
        Transcription.from_dict({**TRANSCRIPTION.to_dict(), "schema_version": version})


@pytest.mark.parametrize(
    "change",
    [
        {"segments": None},
        {"segments": [{"id": 0}]},
        {"segments": [3]},
        {"usage": {"tokens": 1}},
        {"usage": None},
        {"warnings": None},
        {"skipped": [{"start": 1.0}]},
        {"attempts": [{"seek": 0}]},
        {"warnings": "abc"},
        {"warnings": [3]},
        {"segments": {}},
        {"segments": [{**TRANSCRIPTION.to_dict()["segments"][0], "tokens": ["x"]}]},
        {"duration": "65"},
        {"text": 5},
        {"language": None},
        {"usage": {**TRANSCRIPTION.to_dict()["usage"], "runtime_ms": True}},
        {"segments": [{**TRANSCRIPTION.to_dict()["segments"][0], "start": "0"}]},
        {"segments": [{**TRANSCRIPTION.to_dict()["segments"][0], "truncated": 0}]},
    ],
    ids=str,
)
def test_a_dict_of_another_form_is_a_value_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not the dict of a Transcription"):
        Transcription.from_dict({**TRANSCRIPTION.to_dict(), **change})


def test_keys_of_a_later_release_are_left_out() -> None:
    plain = TRANSCRIPTION.to_dict()
    for part in (plain, plain["usage"], *plain["segments"], *plain["skipped"], *plain["attempts"]):
        part["colour"] = "blue"
    assert Transcription.from_dict(plain) == TRANSCRIPTION


def test_a_dict_that_lacks_a_field_is_a_value_error() -> None:
    plain = TRANSCRIPTION.to_dict()
    del plain["language"]
    with pytest.raises(ValueError, match="not the dict of a Transcription"):
        Transcription.from_dict(plain)


# Words


TALK = spoken(
    said((" Well,", 0.0, 0.4), (" I", 0.4, 0.6), (" see.", 0.6, 1.0), number=0),
    segment(1.0, 2.0, "", (), number=1),
    said((" You", 2.0, 2.5), (" see", 2.5, 3.0), (" C++?", 3.0, 4.0), number=2),
)


def test_words_are_those_of_all_segments_in_order() -> None:
    mixed = replace(TALK, segments=(TALK.segments[0], segment(1.0, 2.0, " Hm."), *TALK.segments[1:]))
    assert [word.word for word in mixed.words] == [" Well,", " I", " see.", " You", " see", " C++?"]


@patient
@given(transcriptions)
def test_words_are_as_many_as_the_segments_have(transcription: Transcription) -> None:
    assert len(transcription.words) == sum(len(each.words or ()) for each in transcription.segments)


# Finding


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see", [Match(0.6, 1.0, "see."), Match(2.5, 3.0, "see")]),
        ("WELL I see", [Match(0.0, 1.0, "Well, I see.")]),
        ("well, i", [Match(0.0, 0.6, "Well, I")]),
        ("  I  see you\tsee ", [Match(0.4, 3.0, "I see. You see")]),
        ("ell", [Match(0.0, 0.4, "Well,")]),
        ("c++", [Match(3.0, 4.0, "C++?")]),
        ("?", [Match(3.0, 4.0, "C++?")]),
        ("well; i", []),
        ("C+++", []),
        ("nobody", []),
        ("", []),
        (" ", []),
    ],
)
def test_a_phrase_is_found_with_the_time_of_its_words(text: str, found: list[Match]) -> None:
    assert list(TALK.find(text)) == found


def test_a_phrase_is_found_in_segments_where_there_are_no_words() -> None:
    plain = spoken(
        segment(0.0, 4.0, " Ask not what"), segment(4.0, 9.0, " your country can do."), segment(9.0, 10.0, "")
    )
    assert plain.find("not") == (Match(0.0, 4.0, "Ask not what"),)
    assert plain.find("what your country") == (Match(0.0, 9.0, "Ask not what your country can do."),)


def test_a_phrase_is_found_where_only_some_segments_have_words() -> None:
    mixed = spoken(segment(0.0, 4.0, " Ask not"), said((" what", 4.0, 4.5), (" your", 4.5, 5.0)))
    assert mixed.find("not what") == (Match(0.0, 4.5, "Ask not what"),)


@pytest.mark.parametrize("wrong", [5, None, b"what"])
def test_what_is_no_text_is_not_looked_for(wrong: Any) -> None:
    with pytest.raises(OptionError, match="find looks for text"):
        TRANSCRIPTION.find(wrong)


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [(list("我们说中文。"), "说中文", "说中文"), ([" Straße"], "STRASSE", "Straße"), ([" हिन्दी"], "हिन्दी", "हिन्दी")],
)
def test_a_phrase_is_found_in_any_script(words: list[str], text: str, found: str) -> None:
    assert [match.text for match in spoken(evenly(words)).find(text)] == [found]


# No word is part of another.
drawn_words = st.lists(st.sampled_from([" ask", " not,", " what"]), min_size=1, max_size=12)


@patient
@given(st.lists(drawn_words, min_size=1, max_size=3), st.integers(0, 30), st.integers(1, 4))
def test_a_phrase_is_found_wherever_its_words_follow_each_other(
    texts: list[list[str]], first: int, length: int
) -> None:
    transcription = spoken(*(evenly(words, 100.0 * index) for index, words in enumerate(texts)))
    words = transcription.words
    phrase = [word.word.strip(",") for word in words[first % len(words) :][:length]]
    places = []
    place = 0
    while place < len(words):
        run = words[place : place + len(phrase)]
        is_one = [word.word.strip(",") for word in run] == phrase
        places += [(run[0].start, run[-1].end)] if is_one else []
        place += len(phrase) if is_one else 1
    assert [(match.start, match.end) for match in transcription.find("".join(phrase))] == places


# Parts


def test_a_part_keeps_the_words_that_begin_in_it() -> None:
    part = TALK.slice(0.5, 2.6)
    assert [word.word for word in part.words] == [" see.", " You", " see"]
    first, empty, last = part.segments
    assert (first.id, first.start, first.end, first.text, first.tokens) == (0, 0.6, 1.0, " see.", ())
    assert empty == TALK.segments[1]
    assert (last.id, last.start, last.end, last.text, last.tokens) == (2, 2.0, 3.0, " You see", ())
    assert part.text == " see. You see"


def test_a_segment_of_which_nothing_is_cut_away_stays_as_it_is() -> None:
    assert TALK.slice(1.5, 60.0).segments == TALK.segments[1:]


def test_a_segment_none_of_whose_words_begins_in_the_part_is_left_out() -> None:
    assert TALK.slice(3.5, 4.0).segments == ()


def test_a_part_keeps_whole_segments_where_there_are_no_words() -> None:
    plain = spoken(segment(0.0, 2.0, " a"), segment(2.0, 2.0, ""), segment(2.0, 4.0, " b"), segment(4.0, 6.0, " c"))
    assert plain.slice(1.0, 2.0).segments == plain.segments[:1]
    assert plain.slice(2.0, 4.0).segments == plain.segments[1:3]
    assert plain.slice(1.9, 4.1).segments == plain.segments
    assert plain.slice(1.9, 4.1).text == " a b c"
    assert plain.slice(1.0, 1.0).segments == ()


def test_a_part_without_an_end_goes_to_the_end() -> None:
    assert TALK.slice(2.5) == TALK.slice(2.5, 60.0) == TALK.slice(2.5, math.inf)


def test_a_part_keeps_what_was_skipped_and_tried_in_it_and_what_is_said_of_the_whole() -> None:
    attempts = tuple(
        Attempt(seek, temperature, -0.2, 1.0, 0.0, (), True)
        for seek, temperature in ((0, 0.0), (0, 0.2), (2800, 0.0), (5000, 0.0))
    )
    skipped = (Skipped(0.0, 5.0, "no_speech"), Skipped(5.0, 9.0, "no_speech"), Skipped(30.0, 60.0, "no_speech"))
    whole = replace(TALK, attempts=attempts, skipped=skipped, warnings=("damaged",), language_probability=0.5)
    part = whole.slice(5.0, 28.5)
    assert part.attempts == attempts[:3]
    assert part.skipped == skipped[1:2]
    assert replace(part, text="", segments=(), attempts=(), skipped=()) == replace(
        whole, text="", segments=(), attempts=(), skipped=()
    )
    assert whole.slice(28.0, 49.0).attempts == attempts[2:3]
    assert whole.slice(60.0).attempts == ()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *((2.0, 1.0), (-1.0, 2.0), (-2.0, -1.0), (math.nan, 2.0), (0.0, math.nan), (math.inf, 2.0)),
        *((None, 2.0), (0.0, None), ("0", "2")),
    ],
)
def test_a_part_that_is_none_is_refused(start: Any, end: Any) -> None:
    with pytest.raises(OptionError, match=r"it takes 0 <= start <= end"):
        TALK.slice(start, end)


@st.composite
def recordings(draw: st.DrawFn) -> Transcription:
    """Segments in order, some with words, some without, and pauses between them."""
    steps = st.integers(0, 8).map(lambda quarters: quarters / 4)
    parts: list[Segment] = []
    time = 0.0
    for number in range(draw(st.integers(0, 5))):
        start = time + draw(steps)
        spans: list[Word] = []
        time = start
        for text in draw(st.lists(st.sampled_from([" a", " b", "c"]), max_size=4)):
            begin = time + draw(steps)
            time = begin + draw(steps)
            spans.append(Word(text, begin, time, 0.5))
        time += draw(steps)
        text = "".join(word.word for word in spans)
        parts.append(segment(start, time, text, draw(st.sampled_from([tuple(spans), None])), number=number))
    return spoken(*parts)


moments = st.integers(0, 120).map(lambda quarters: quarters / 4)
spans = st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair)))


@patient
@given(recordings())
def test_the_part_that_is_all_is_the_whole(whole: Transcription) -> None:
    assert whole.slice(0.0) == whole


@patient
@given(recordings(), moments)
def test_parts_that_meet_share_no_word_and_lose_none(whole: Transcription, moment: float) -> None:
    assert whole.slice(0.0, moment).words + whole.slice(moment).words == whole.words


@patient
@given(recordings(), spans, spans)
def test_the_part_of_a_part_is_the_part_that_both_have(
    whole: Transcription, one: tuple[float, float], other: tuple[float, float]
) -> None:
    start, end = max(one[0], other[0]), min(one[1], other[1])
    if start < end:
        assert whole.slice(*one).slice(*other) == whole.slice(start, end)


@patient
@given(recordings(), spans)
def test_a_part_goes_to_json_and_back(whole: Transcription, span: tuple[float, float]) -> None:
    part = whole.slice(*span)
    assert Transcription.from_dict(json.loads(json.dumps(part.to_dict()))) == part


@patient
@given(recordings(), spans)
def test_words_of_a_part_begin_in_it(whole: Transcription, span: tuple[float, float]) -> None:
    assert all(span[0] <= word.start < span[1] for word in whole.slice(*span).words)
