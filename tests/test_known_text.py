"""Words of a transcript whose text is known: windows, tokens and times by scripted answers, and real ones on speech."""

from __future__ import annotations

import json
import math
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
from whisperlite import DecodingError, LanguageError, OptionError, Segment, Transcription
from whisperlite.audio.mel import Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine, compression_ratio
from whisperlite.options import Options
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.known_text import align_text, check_transcript, compare_with_recording
from whisperlite.transcription.passages import passages_of, windows_of
from whisperlite.transcription.record import Record

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
    record = Record(Bounds(features.content_frames, duration), [*transcript.warnings, *warnings])
    compare_with_recording(transcript, record)
    passages = passages_of(transcript.segments, record.bounds)
    steps = align_text(features, tokenizer, transcript, passages, Options(), record=record)
    asks: list[Align] = []
    sent: Aligned | None = None
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


def windows(parts: Sequence[Segment], duration: float) -> list[tuple[int, list[tuple[int, int]]]]:
    found = windows_of(passages_of(parts, Bounds(round(duration * 100), duration)))
    return [(seek, [(known.first, known.end) for known in group]) for seek, group in found]


def test_a_window_has_as_many_segments_as_fit_and_begins_with_the_first() -> None:
    parts = [segment(start, start + 9.0, " a") for start in (1.0, 11.0, 22.0, 32.0, 70.0)]
    assert windows(parts, 80.0) == [
        (100, [(100, 1050), (1100, 2050)]),
        (2200, [(2200, 3150), (3200, 4150)]),
        (7000, [(7000, 7950)]),
    ]


def test_a_segment_s_words_are_looked_for_up_to_the_next_segment_and_the_end_of_the_recording() -> None:
    parts = [segment(1.0, 2.0, " a"), segment(2.2, 4.0, " b"), segment(3.9, 5.0, " c"), segment(7.0, 9.0, " d")]
    assert windows(parts, 9.2) == [(100, [(100, 220), (220, 400), (390, 550), (700, 920)])]


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 30)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_every_segment_lies_in_its_window(steps: list[tuple[float, float]]) -> None:
    parts, start = [], 0.0
    for gap, length in steps:
        parts.append(segment(start, start + length, " a"))
        start += gap
    check_transcript(spoken(*parts), MULTILINGUAL)
    end = max((each.end for each in parts), default=0.0) + 1
    found = list(windows_of(passages_of(parts, Bounds(round(end * 100), end))))
    assert [each for _, group in found for known in group for each in known.segments] == parts
    for seek, group in found:
        for known in group:
            assert seek <= known.first < known.end <= seek + 3000
            assert known.first == pytest.approx(known.segments[0].start * 100, abs=0.51)
            assert known.end + 0.51 >= known.segments[0].end * 100


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([segment(0.0, 30.5, " Too long.")], "'Too long.', lasts 30.5 s"),
        ([segment(0.0, 9.0, " a" * 500)], "more than 440 tokens"),
        ([segment(5.0, 4.0, " a")], "ends before it begins, at 4 s"),
        ([segment(5.0, 6.0, " a"), segment(4.0, 5.0, " b")], "begins before the one before it, at 5 s"),
        ([segment(-1.0, 6.0, " a")], "impossible times"),
        ([segment(float("nan"), 6.0, " a")], "impossible times"),
        ([segment(1.0, float("inf"), " a")], "impossible times"),
    ],
)
def test_times_that_cannot_be_are_refused(parts: list[Segment], message: str) -> None:
    with pytest.raises(OptionError, match=message) as error:
        check_transcript(spoken(*parts), MULTILINGUAL)
    assert error.value.option == "transcript"


def test_a_segment_of_30_s_is_accepted_wherever_it_begins() -> None:
    for hundredths in range(0, 6000, 7):
        start = hundredths / 100
        check_transcript(spoken(segment(start, start + 30.0, " a")), MULTILINGUAL)


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
    result, asks = aligned(spoken(segment(2.0, 4.0, " Hello, my friends."), segment(4.0, 5.0, " Good bye.")))
    assert words_of(result) == [" Hello,", " my", " friends.", " Good", " bye."]
    assert [MULTILINGUAL.decode(ask.tokens) for ask in asks] == [" Hello, my friends.", " Good bye."]
    assert [ask.part for ask in asks] == [(0, 100), (100, 175)]
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
    assert (result.segments[0].avg_logprob, result.segments[0].compression_ratio) == (-0.2, 1.0)


@pytest.mark.parametrize("tokens", [(50364, 2425, 50464), (10**9,), ()])
def test_a_text_that_was_changed_has_its_own_tokens(tokens: tuple[int, ...]) -> None:
    result, (ask,) = aligned(spoken(replace(segment(0.0, 2.0, " Hallo"), tokens=tokens)))
    (own,) = result.segments
    assert ask.tokens == own.tokens == tuple(MULTILINGUAL.encode(" Hallo"))
    assert own.avg_logprob == pytest.approx(math.log(0.9))
    assert own.compression_ratio == compression_ratio("Hallo")


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


def test_a_transcript_must_be_in_a_language_of_the_model() -> None:
    nameless = replace(spoken(segment(0.0, 2.0, " Hello")), language="")
    with pytest.raises(LanguageError, match="has no language"):
        check_transcript(nameless, MULTILINGUAL)
    with pytest.raises(LanguageError, match="'xx'"):
        check_transcript(replace(nameless, language="xx"), MULTILINGUAL)
    check_transcript(replace(nameless, segments=()), MULTILINGUAL)


@pytest.mark.parametrize("language", ["", "en", "ja"])
def test_an_english_only_model_says_what_it_does_not_use(language: str) -> None:
    transcript = replace(spoken(segment(0.0, 2.0, " Hello")), language=language, task="translate")
    check_transcript(transcript, ENGLISH)
    result, _ = aligned(transcript, tokenizer=ENGLISH)
    assert words_of(result) == [" Hello"]
    named = [f"language={language!r} was not used: the model is English-only."] if language == "ja" else []
    assert list(result.warnings) == [*named, "task='translate' was not used: the model is English-only."]


def test_words_of_two_segments_stay_apart_without_a_space_too() -> None:
    result, _ = aligned(
        spoken(*(segment(at, at + 1.0, text) for at, text in enumerate(("Hello friends.", "Yes", "No"))))
    )
    assert [[word.word for word in each.words or ()] for each in result.segments] == [
        ["Hello", " friends."],
        ["Yes"],
        ["No"],
    ]
    assert result.text == "Hello friends. Yes No"
    chinese = replace(spoken(segment(0.0, 1.0, "你好"), segment(1.0, 2.0, "朋友")), language="zh")
    assert aligned(chinese)[0].text == "你好朋友"


def test_probabilities_that_are_not_finite_are_an_error() -> None:
    def broken(ask: Align) -> Aligned:
        return replace(evenly(ask), probabilities=(float("nan"),) * len(ask.tokens))

    with pytest.raises(DecodingError, match="not finite"):
        aligned(spoken(segment(0.0, 2.0, " Hello")), answer=broken)


def test_what_ran_in_float32_is_told() -> None:
    result, _ = aligned(spoken(segment(0.0, 2.0, " Hello")), answer=lambda ask: replace(evenly(ask), in_float32=True))
    assert "float32" in result.warnings[0]


def test_segments_stay_in_order_also_those_without_text() -> None:
    parts = (segment(1.0, 2.0, " a"), segment(2.0, 2.0, ""), segment(2.2, 4.0, " b"), segment(9.0, 9.5, " "))
    result, _ = aligned(spoken(*parts), duration=20.0)
    times = [time for each in result.segments for time in (each.start, each.end)]
    assert times == sorted(times)
    assert times[-1] == 9.5


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


def test_what_was_said_but_is_not_written_moves_nothing(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    for missing in range(1, len(heard.segments) - 1):
        kept = tuple(each for each in heard.segments if each.id != missing)
        found = tiny_en.align(RECORDING, replace(heard, segments=kept))
        for before, after in zip(kept, found.segments, strict=True):
            assert abs(before.start - after.start) < 0.3
            assert abs(before.end - after.end) < 0.6


def test_texts_may_come_without_spaces_in_front(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    stripped = replace(heard, segments=tuple(replace(each, text=each.text.strip()) for each in heard.segments))
    found = tiny_en.align(RECORDING, stripped)
    assert [word.word.strip() for word in found.words] == [word.word.strip() for word in heard.words]
    assert found.text == heard.text.strip()


def test_its_options_are_those_of_a_transcription(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    samples = whisperlite.load_audio(RECORDING)
    plain = tiny_en.align(samples, heard)
    assert tiny_en.align(samples[::2], heard, sampling_rate=8000).duration == plain.duration
    apart = tiny_en.align(samples, heard, append_punctuations="", prepend_punctuations="")
    assert len(apart.words) > len(plain.words)
    with pytest.raises(whisperlite.AudioTooLongError):
        tiny_en.align(samples, heard, max_duration_s=10.0)
    with pytest.raises(OptionError, match="timeout_s"):
        tiny_en.align(samples, heard, timeout_s=-1.0)
    assert any("English-only" in each for each in tiny_en.align(samples, replace(heard, task="translate")).warnings)


def test_it_stops_between_segments(
    tiny_en: whisperlite.Whisper, heard: Transcription, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = whisperlite.CancelToken()
    run = Engine.run

    def watched(self: Engine, asks: Any) -> Any:
        token.cancel()
        return run(self, asks)

    monkeypatch.setattr(Engine, "run", watched)
    with pytest.raises(whisperlite.CancelledError):
        tiny_en.align(RECORDING, heard, cancel=token)


def test_it_can_be_stopped(tiny_en: whisperlite.Whisper, heard: Transcription) -> None:
    token = whisperlite.CancelToken()
    token.cancel()
    with pytest.raises(whisperlite.CancelledError):
        tiny_en.align(RECORDING, heard, cancel=token)
    with pytest.raises(whisperlite.TimeoutExceededError):
        tiny_en.align(RECORDING, heard, timeout_s=1e-6)


def test_what_is_no_transcript_is_refused(tiny_en: whisperlite.Whisper) -> None:
    wrong: Any = {"text": "And Mr. John Dashwood"}
    with pytest.raises(OptionError, match="is neither a Transcription nor a text"):
        tiny_en.align(RECORDING, wrong)
