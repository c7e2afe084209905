"""Words of a transcript whose text is known: windows, tokens and times by scripted answers, and real ones on speech."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whisperlite
from tests.conftest import DATA
from tests.scripted import ENGLISH, MULTILINGUAL
from tests.spoken import segment, spoken
from whisperlite import LanguageError, OptionError, Segment, Transcription
from whisperlite.audio.mel import Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.options import Options
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.known_text import align_text, check_times, windows_of

RECORDING = DATA / "librivox.wav"


def evenly(ask: Align) -> Aligned:
    """Every token takes the same time, up to half a second before the end of the window."""
    end = max(ask.n_frames / 100 - 0.5, 0.1)
    times = np.linspace(0.0, end, len(ask.tokens) + 1)
    return Aligned(tuple(times.tolist()), (0.9,) * len(ask.tokens), cast(Encoding, None))


def aligned(
    transcript: Transcription,
    *,
    duration: float = 60.0,
    tokenizer: Tokenizer = MULTILINGUAL,
    answer: Callable[[Align], Aligned] = evenly,
    warnings: Sequence[str] = (),
) -> tuple[Transcription, list[Align]]:
    features = Features(np.zeros(round(duration * 16000), np.float32), 80)
    steps = align_text(features, tokenizer, transcript, Options(), duration=duration, warnings=warnings)
    asks, sent = [], None
    while True:
        try:
            ask = steps.send(cast(Any, sent))
        except StopIteration as end:
            return end.value, asks
        assert isinstance(ask, Align)
        asks.append(ask)
        sent = answer(ask)


def words_of(result: Transcription) -> list[str]:
    return [word.word for word in result.words]


# Windows


def test_a_window_has_as_many_segments_as_fit_and_begins_with_the_first() -> None:
    parts = [segment(start, start + 9.0, " a") for start in (1.0, 11.0, 22.0, 32.0, 70.0)]
    found = list(windows_of(parts, Bounds(8000, 80.0)))
    assert [(window.seek, window.n_frames, len(window.segments)) for window in found] == [
        (100, 3000, 3),
        (3200, 950, 1),
        (7000, 950, 1),
    ]


def test_a_window_ends_with_the_recording() -> None:
    (window,) = windows_of([segment(1.0, 9.0, " a")], Bounds(920, 9.2))
    assert (window.seek, window.n_frames) == (100, 820)


def test_a_window_has_one_language() -> None:
    parts = [replace(segment(start, start + 1.0, " a"), language=code) for start, code in ((0.0, "en"), (1.0, "fr"))]
    assert [len(window.segments) for window in windows_of(parts, Bounds(1000, 10.0))] == [1, 1]


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 30)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_every_segment_lies_in_the_window_that_it_is_in(steps: list[tuple[float, float]]) -> None:
    parts, start = [], 0.0
    for gap, length in steps:
        parts.append(segment(start, start + length, " a"))
        start += gap
    check_times(parts)
    end = max((each.end for each in parts), default=0.0) + 1
    found = list(windows_of(parts, Bounds(round(end * 100), end)))
    assert [each for window in found for each in window.segments] == parts
    for window in found:
        assert 1 <= window.n_frames <= 3000
        for each in window.segments:
            assert window.seek <= each.start * 100
            assert each.end * 100 <= window.seek + window.n_frames + 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([segment(0.0, 30.5, " Too long.")], "'Too long.', lasts 30.5 s"),
        ([segment(5.0, 4.0, " a")], "ends before it begins"),
        ([segment(5.0, 6.0, " a"), segment(4.0, 5.0, " b")], "begins before the one before it"),
        ([segment(-1.0, 6.0, " a")], "begins before"),
        ([segment(float("nan"), 6.0, " a")], "begins before"),
    ],
)
def test_times_that_cannot_be_are_refused(parts: list[Segment], message: str) -> None:
    with pytest.raises(OptionError, match=message) as error:
        check_times(parts)
    assert error.value.option == "transcript"


def test_a_segment_after_the_recording_is_refused() -> None:
    with pytest.raises(OptionError, match="begins at 12 s, but the recording has 10 s"):
        aligned(spoken(segment(12.0, 13.0, " a")), duration=10.0)


@pytest.mark.parametrize("duration", [0.004, 0.02, 9.996])
def test_a_segment_may_begin_in_the_last_moment(duration: float) -> None:
    result, (ask,) = aligned(spoken(segment(duration - 0.001, duration, " a")), duration=duration)
    assert ask.window().shape == (80, 3000)
    (word,) = result.words
    assert duration - 0.02 <= word.start <= word.end <= duration


# Text


def test_words_are_those_of_the_text_and_their_segment_s_times_agree() -> None:
    result, (ask,) = aligned(spoken(segment(2.0, 4.0, " Hello, my friends."), segment(4.0, 5.0, " Good bye.")))
    assert words_of(result) == [" Hello,", " my", " friends.", " Good", " bye."]
    assert MULTILINGUAL.decode(ask.tokens) == " Hello, my friends. Good bye."
    assert result.text == " Hello, my friends. Good bye."
    for each in result.segments:
        assert each.words
        assert (each.start, each.end) == (each.words[0].start, each.words[-1].end)
        assert 2.0 <= each.start < each.end <= 5.5


def test_the_tokens_of_a_text_that_was_not_changed_are_kept() -> None:
    unusual = (50364, *MULTILINGUAL.encode(" He"), *MULTILINGUAL.encode("llo"), 50464)
    kept = replace(segment(0.0, 2.0, " Hello"), tokens=unusual)
    result, (ask,) = aligned(spoken(kept))
    assert (result.segments[0].tokens, ask.tokens) == (unusual, unusual[1:-1])


@pytest.mark.parametrize("tokens", [(50364, 2425, 50464), (10**9,), ()])
def test_a_text_that_was_changed_has_its_own_tokens(tokens: tuple[int, ...]) -> None:
    result, (ask,) = aligned(spoken(replace(segment(0.0, 2.0, " Hallo"), tokens=tokens)))
    assert ask.tokens == result.segments[0].tokens == tuple(MULTILINGUAL.encode(" Hallo"))


def test_segments_without_text_stay_and_have_no_words() -> None:
    result, asks = aligned(spoken(segment(0.0, 0.0, ""), segment(0.0, 2.0, " Hello"), segment(1.0, 1.0, " ")))
    assert [len(each.words or ()) for each in result.segments] == [0, 1, 0]
    assert all(each.words is not None for each in result.segments)
    assert len(asks) == 1


def test_without_text_nothing_is_asked() -> None:
    result, asks = aligned(spoken())
    assert (result.segments, asks) == ((), [])


def test_the_prompt_names_the_language_and_the_task() -> None:
    english = spoken(segment(0.0, 2.0, " Hello"))
    for transcript, expected in (
        (english, ("<|en|>", "<|transcribe|>")),
        (replace(english, language="fr", task="translate"), ("<|fr|>", "<|translate|>")),
        (spoken(replace(segment(0.0, 2.0, " Hello"), language="de")), ("<|de|>", "<|transcribe|>")),
    ):
        _, (ask,) = aligned(transcript)
        names = MULTILINGUAL.decode_with_timestamps(ask.prompt)
        assert names == f"<|startoftranscript|>{''.join(expected)}<|notimestamps|>"


def test_a_transcript_must_say_its_language_unless_there_is_but_one() -> None:
    nameless = replace(spoken(segment(0.0, 2.0, " Hello")), language="")
    with pytest.raises(LanguageError, match="which language"):
        aligned(nameless)
    result, _ = aligned(nameless, tokenizer=ENGLISH)
    assert words_of(result) == [" Hello"]


def test_another_length_is_told_and_warnings_are_kept() -> None:
    transcript = replace(spoken(segment(0.0, 2.0, " Hello")), warnings=("before",))
    result, _ = aligned(transcript, duration=20.0, warnings=["of the file"])
    before, of_the_file, length = result.warnings
    assert (before, of_the_file) == ("before", "of the file")
    assert "of 60 s; this one has 20 s" in length
    assert result.duration == 20.0
    assert aligned(transcript)[0].warnings == ("before",)


def test_words_never_go_back_from_one_window_to_the_next() -> None:
    def late(ask: Align) -> Aligned:
        return replace(evenly(ask), times=tuple([0.0] + [ask.n_frames / 100] * len(ask.tokens)))

    parts = [segment(start, start + 29.0, " one two three") for start in (0.0, 29.2, 58.4)]
    result, _ = aligned(spoken(*parts), duration=90.0, answer=late)
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= 90.0


# Real speech


@pytest.fixture(scope="module")
def heard(tiny_en: whisperlite.Whisper) -> Transcription:
    return tiny_en.transcribe(RECORDING, word_timestamps=True)


def test_words_are_found_where_they_are_found_while_transcribing(
    tiny_en: whisperlite.Whisper, heard: Transcription
) -> None:
    without = replace(heard, segments=tuple(replace(each, words=None) for each in heard.segments))
    found = tiny_en.align(RECORDING, Transcription.from_dict(json.loads(json.dumps(without.to_dict()))))
    assert [word.word for word in found.words] == [word.word for word in heard.words]
    apart = [abs(one.start - other.start) for one, other in zip(found.words, heard.words, strict=True)]
    assert np.quantile(apart, 0.9) <= 0.2
    assert max(apart) <= 1.0
    assert replace(found, segments=()) == replace(heard, segments=())


def test_a_corrected_word_is_found_where_it_was_said(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    (match,) = heard.find("amiable woman")
    corrected = replace(
        heard,
        segments=tuple(
            replace(each, text=each.text.replace("amiable woman", "lovely lady")) for each in heard.segments
        ),
    )
    found = tiny_en.align(RECORDING, corrected)
    (other,) = found.find("lovely lady")
    assert abs(other.start - match.start) < 0.5
    assert abs(other.end - match.end) < 0.5
    assert "lovely lady" in found.text
    probability = {word.word.strip(): word.probability for word in found.words}
    assert probability["lovely"] < min(word.probability for word in heard.words if word.word == " amiable")


def test_it_can_be_stopped(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    token = whisperlite.CancelToken()
    token.cancel()
    with pytest.raises(whisperlite.CancelledError):
        tiny_en.align(RECORDING, heard, cancel=token)
    with pytest.raises(whisperlite.TimeoutExceededError):
        tiny_en.align(RECORDING, heard, timeout_s=1e-6)


def test_what_is_no_transcript_is_refused(tiny_en: whisperlite.Whisper) -> None:
    wrong: Any = "And Mr. John Dashwood"
    with pytest.raises(OptionError, match="is no Transcription"):
        tiny_en.align(RECORDING, wrong)
