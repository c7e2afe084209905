"""Results: frozen values that go to JSON and back, with the keys that openai-whisper's users know."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperlite.results import (
    Attempt,
    LanguageDetection,
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
        {"colour": "blue"},
        {"warnings": None},
        {"skipped": [{"start": 1.0}]},
        {"attempts": [{"seek": 0}]},
    ],
    ids=str,
)
def test_a_dict_of_another_form_is_a_value_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not the dict of a Transcription"):
        Transcription.from_dict({**TRANSCRIPTION.to_dict(), **change})


def test_a_dict_that_lacks_a_field_is_a_value_error() -> None:
    plain = TRANSCRIPTION.to_dict()
    del plain["language"]
    with pytest.raises(ValueError, match="not the dict of a Transcription"):
        Transcription.from_dict(plain)
