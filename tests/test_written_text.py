"""A text without times is placed by what was heard of it: by hand-made transcripts, and on speech."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whisperlite
from tests.conftest import DATA
from tests.scripted import MULTILINGUAL
from tests.spoken import evenly, spoken
from whisperlite import Attempt, OptionError, Segment, Transcription
from whisperlite.decoding.engine import Engine
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.passages import MOST_TOKENS, Passage, windows_of
from whisperlite.transcription.record import Record
from whisperlite.transcription.written_text import checked_text, place_text

RECORDING = DATA / "librivox.wav"


def heard(text: str, start: float = 0.0, step: float = 0.5) -> Segment:
    """A segment whose words take half a second each."""
    return evenly([f" {word}" for word in text.split()], start, step)


def placed(
    text: str, *said: Segment, duration: float = 60.0, language: str = "en"
) -> tuple[Transcription, list[Passage], list[str]]:
    record = Record(Bounds(round(duration * 100), duration), [])
    known = replace(spoken(*said), language=language, duration=duration)
    transcript, passages = place_text(text, known, MULTILINGUAL, record)
    return transcript, passages, record.warnings


def spans(passages: Sequence[Passage]) -> list[tuple[int, float, float]]:
    return [(len(each.segments), each.first / 100, each.end / 100) for each in passages]


def test_each_line_is_a_segment_with_the_times_of_its_words() -> None:
    result, passages, warnings = placed(
        "One two  three,\n\n  four five six.\n", heard("one two three", 1.0), heard("four five six", 9.0)
    )
    assert [(each.text, each.start, each.end) for each in result.segments] == [
        (" One two three,", 1.0, 2.5),
        (" four five six.", 9.0, 10.5),
    ]
    assert [each.id for each in result.segments] == [0, 1]
    assert spans(passages) == [(1, 1.0, 3.0), (1, 9.0, 11.0)]
    assert warnings == []


def test_a_segment_is_not_looked_for_where_another_was_heard() -> None:
    _, passages, _ = placed("one two three\nfour five six", heard("um one two three four five six well", 1.0))
    assert spans(passages) == [(1, 1.5, 3.0), (1, 3.0, 4.5)]


def test_lines_whose_border_was_not_heard_are_aligned_together() -> None:
    _, passages, warnings = placed(
        "one two three grey\ncolour four five six\nseven eight nine",
        heard("one two three gray color four five six seven eight nine", 1.0),
    )
    assert spans(passages) == [(2, 1.0, 5.0), (1, 5.0, 7.0)]
    assert warnings == []


def test_a_line_that_was_heard_as_something_else_lies_between_its_neighbours() -> None:
    _, passages, warnings = placed(
        "one two three\nJansky's xylophone\nfour five six",
        heard("one two three yon skis sill a phone four five six", 1.0),
    )
    assert spans(passages) == [(3, 1.0, 7.0)]
    (warning,) = warnings
    assert "1 of 3 segments" in warning
    assert '"Jansky\'s xylophone"' in warning


def test_a_line_that_was_not_said_takes_no_part_of_others() -> None:
    _, passages, (warning,) = placed(
        "one two three\nnobody ever said these words\nfour five six", heard("one two three four five six", 1.0)
    )
    assert spans(passages) == [(1, 1.0, 2.5), (1, 2.5, 2.51), (1, 2.5, 4.5)]
    assert "1 of 3 segments" in warning


def test_words_are_looked_for_in_a_gap_in_which_nothing_was_heard() -> None:
    _, passages, _ = placed(
        "one two three\nla la la la\nfour five six", heard("one two three", 1.0), heard("four five six", 12.0)
    )
    assert spans(passages) == [(3, 1.0, 14.0)]


def test_a_beginning_that_was_not_heard_is_looked_for_before_the_first_words() -> None:
    result, passages, _ = placed("A title\none two three", heard("one two three", 40.0))
    assert spans(passages) == [(2, 37.4, 42.0)]
    assert [(each.start, each.end) for each in result.segments] == [(37.4, 40.0), (40.0, 41.5)]


def test_what_is_not_written_makes_no_segment_longer() -> None:
    unwritten = " ".join(f"unwritten{number}" for number in range(60))
    result, passages, _ = placed(
        "one two three grey\nfour five six", heard(f"one two three gray {unwritten} four five six", 1.0, 0.4)
    )
    assert [(round(each.start, 2), round(each.end, 2)) for each in result.segments] == [(1.0, 3.6), (26.6, 27.8)]
    assert [each[0] for each in spans(passages)] == [1, 1]


def test_a_line_that_is_too_long_is_cut_into_its_sentences() -> None:
    text = " ".join(f"{name}{number}" + "." * (number % 20 == 19) for number in range(60) for name in ("word",))
    result, _, _ = placed(text, heard(text.replace(".", ""), 1.0))
    assert [each.text.split()[-1] for each in result.segments] == ["word19.", "word39.", "word59."]
    assert result.segments[1].start == 11.0


def test_nothing_heard_at_all_is_told() -> None:
    result, passages, (warning,) = placed("one two three\nfour five six")
    assert "2 of 2 segments" in warning
    assert passages
    assert [each.text for each in result.segments] == [" one two three", " four five six"]


def test_without_spaces_letters_are_matched() -> None:
    said = replace(evenly(list("我今天去看了朋友"), 1.0, 0.5))
    result, passages, warnings = placed("我今天去\n看了，朋友。", said, language="zh")
    assert [(each.text, each.start, each.end) for each in result.segments] == [
        ("我今天去", 1.0, 3.0),
        ("看了，朋友。", 3.0, 5.0),
    ]
    assert spans(passages) == [(1, 1.0, 3.0), (1, 3.0, 5.5)]
    assert warnings == []


def test_a_line_of_punctuation_stays_with_what_comes_before_it() -> None:
    result, passages, _ = placed("***\none two three\n— —\nfour five six", heard("one two three four five six", 1.0))
    assert [each.text for each in result.segments] == [" ***", " one two three", " — —", " four five six"]
    assert spans(passages) == [(3, 1.0, 2.5), (1, 2.5, 4.5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one two three four", heard("one two three four", 2.0)),
        ("one two three four\nla la la la", heard("one two three four", 2.0)),
        ("Jansky's xylophone\none two three four", heard("one two three four", 40.0)),
    ],
)
def test_a_line_of_punctuation_moves_nothing(text: str, said: Segment) -> None:
    _, without, _ = placed(text, said)
    for marked in (f"♪\n{text}", f"{text}\n***"):
        _, passages, _ = placed(marked, said)
        assert [each[1:] for each in spans(passages)] == [each[1:] for each in spans(without)]


def test_a_word_longer_than_any_is_divided() -> None:
    result, passages, _ = placed("x" * 3000 + " one two three", heard("one two three"))
    assert "".join(each.text for each in result.segments) == " " + "x" * 3000 + " one two three"
    for passage in passages:
        assert sum(len(MULTILINGUAL.encode(each.text)) for each in passage.segments) <= MOST_TOKENS


def test_what_is_known_of_the_recording_is_kept() -> None:
    attempt = Attempt(0, 0.0, -0.2, 1.0, 0.25, (), accepted=True)
    known = replace(spoken(heard("one two three")), attempts=(attempt,), language_probability=0.5)
    result, _ = place_text("one two three", known, MULTILINGUAL, Record(Bounds(6000, 60.0), []))
    assert (result.language_probability, result.usage, result.attempts) == (0.5, known.usage, ())
    assert result.segments[0].no_speech_prob == 0.25


@pytest.mark.parametrize(
    ("text", "said", "span"),
    [
        # Thirty words that nobody said, before and after a line that was heard.
        ("no " * 30 + "\none two three four", heard("one two three four", 60.0), (32.5, 62.5)),
        ("one two three four\n" + "no " * 30, heard("one two three four", 2.0), (2.0, 32.0)),
        ("no " * 25 + "one two three four", heard("one two three four", 60.0), (32.5, 62.5)),
        # Each side has a half of what a window leaves.
        ("no " * 30 + "one two three four" + " no" * 30, heard("one two three four", 60.0), (46.0, 76.0)),
    ],
)
def test_words_that_were_heard_lie_in_the_middle_of_those_that_were_not(
    text: str, said: Segment, span: tuple[float, float]
) -> None:
    _, passages, _ = placed(text, said, duration=120.0)
    (passage,) = passages
    assert (passage.first / 100, passage.end / 100) == span


def test_a_first_line_that_was_misheard_is_close_to_the_second() -> None:
    result, passages, _ = placed(
        "Jansky's xylophone\none two three four",
        heard("so much else was said before"),
        heard("yon skis sill a phone one two three four", 40.0),
    )
    assert result.segments[0].start >= 39.0
    assert passages[0].first >= 3900


@pytest.mark.parametrize("text", ["lobster a la newberg", "newberg lobsters", "Good morning", "surpassed"])
def test_few_words_are_found_if_they_are_long_enough(text: str) -> None:
    said = "and so it was that nobody knew what else to say of it"
    result, _, (warning,) = placed(
        f"unheard beginning\n{text}\nunheard end",
        *(heard(said), heard(f"{text.replace('a la', 'ala')} {said}", 20.0), heard(said, 40.0)),
    )
    assert result.segments[1].start == 20.0
    assert "2 of 3 segments" in warning


def test_decomposed_letters_and_unseen_characters_are_compared_without_them() -> None:
    said = evenly(list("がぎぐげご"), 20.0, 0.5)
    _, passages, warnings = placed(unicodedata.normalize("NFD", "がぎぐげご"), said, language="ja")
    assert (passages[0].first, warnings) == (2000, [])
    _, passages, warnings = placed(checked_text("\ufeffsur\u00adpassed\u200b"), heard("surpassed", 20.0))
    assert (passages[0].first, warnings) == (2000, [])


def test_a_latin_word_is_not_cut_in_a_language_without_spaces() -> None:
    text = "Python" * 3 + "朋友" * 8 + "iPhone"
    said = evenly(list(text), 1.0, 1.2)
    result, _, _ = placed(text, said, language="zh")
    assert len(result.segments) > 1
    assert all(
        each.text.count("P") * 5 == sum(each.text.count(letter) for letter in "ython") for each in result.segments[:-1]
    )


def test_lines_of_marks_are_no_warning_and_lie_where_speech_is() -> None:
    result, _, warnings = placed("♪♪\none two three four\n***", heard("one two three four", 40.0))
    assert warnings == []
    assert [each.start for each in result.segments] == [40.0, 40.0, 42.0]


def test_many_short_lines_are_no_more_tokens_than_a_passage_may_have() -> None:
    _, passages, _ = placed("\n".join(["=", "==="] * 300), language="zh")
    for passage in passages:
        assert sum(len(MULTILINGUAL.encode(each.text)) for each in passage.segments) <= MOST_TOKENS


TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e.", "—", "f-g", "la " * 150]), max_size=9), max_size=12
)


@given(TEXTS, st.lists(st.sampled_from("abcdefg"), max_size=60), st.floats(0.05, 3.0), st.sampled_from(["en", "zh"]))
@settings(deadline=None, max_examples=200)
def test_passages_hold_the_whole_text_in_order_and_fit(
    lines: list[list[str]], said: list[str], step: float, language: str
) -> None:
    text = "\n".join(" ".join(line) for line in lines)
    if not text.strip():
        return
    duration = len(said) * step + 1
    result, passages, _ = placed(
        text,
        *([evenly([f" {word}" for word in said], 0.5, step)] if said else []),
        duration=duration,
        language=language,
    )
    assert "".join("".join(each.text for each in result.segments).split()) == "".join(text.split())
    assert tuple(each for passage in passages for each in passage.segments) == result.segments
    assert all(each.text.strip() and each.start <= each.end for each in result.segments)
    assert [each.first for each in passages] == sorted(each.first for each in passages)
    for seek, group in windows_of(passages):
        assert all(seek <= each.first < each.end <= seek + 3000 for each in group)


@pytest.mark.parametrize(
    ("text", "message"), [("", "no text to align"), ("\ufeff \n\t\n", "no text to align"), ("a \ud800 b", "surrogate")]
)
def test_what_is_no_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as error:
        checked_text(text)
    assert error.value.option == "transcript"


# Speech


@pytest.fixture(scope="module")
def spoken_words(tiny_en: whisperlite.Whisper) -> Transcription:
    return tiny_en.transcribe(RECORDING, word_timestamps=True)


def test_a_text_gets_the_times_that_its_words_have_while_transcribing(
    tiny_en: whisperlite.Whisper, spoken_words: Transcription
) -> None:
    text = "\n".join(each.text for each in spoken_words.segments)
    found = tiny_en.align(RECORDING, text)
    assert [word.word for word in found.words] == [word.word for word in spoken_words.words]
    apart = [abs(one.start - other.start) for one, other in zip(found.words, spoken_words.words, strict=True)]
    assert np.quantile(apart, 0.9) <= 0.2
    assert max(apart) <= 1.0
    assert found.warnings == ()
    assert found.duration == spoken_words.duration
    for own, each in zip(found.segments, spoken_words.segments, strict=True):
        assert own.avg_logprob < 0
        assert own.compression_ratio > 0
        assert own.tokens == tuple(token for token in each.tokens if tiny_en.tokenizer.is_text(token))


def test_what_is_left_out_and_what_was_not_said_moves_nothing(
    tiny_en: whisperlite.Whisper, spoken_words: Transcription
) -> None:
    segments = spoken_words.segments
    kept = [each for each in segments if each.id != 2]
    lines = [each.text for each in kept]
    lines.insert(1, "The committee will vote on the new budget on Thursday.")
    found = tiny_en.align(RECORDING, "\n".join(lines))
    own = [each for index, each in enumerate(found.segments) if index != 1]
    for before, after in zip(kept, own, strict=True):
        assert abs(before.start - after.start) < 0.5
        assert abs(before.end - after.end) < 0.6
    assert found.segments[1].avg_logprob < min(each.avg_logprob for each in own) - 1
    assert "1 of" in found.warnings[0]


def test_a_text_may_come_in_one_line_without_punctuation(
    tiny_en: whisperlite.Whisper, spoken_words: Transcription
) -> None:
    bare = "".join(letter if letter.isalnum() else " " for letter in spoken_words.text.lower())
    found = tiny_en.align(RECORDING, bare)
    apart = [abs(one.start - other.start) for one, other in zip(found.words, spoken_words.words, strict=True)]
    assert np.quantile(apart, 0.9) <= 0.3


def test_the_words_of_a_line_stay_in_it(tiny_en: whisperlite.Whisper) -> None:
    lines = ["He was not -", "a cold hearted", '("young man', '",', "x" * 150 + " unless to be rather cold", "(hearted"]
    found = tiny_en.align(RECORDING, "\n".join(lines))
    assert found.text == "".join(each.text for each in found.segments) == "".join(f" {line}" for line in lines)
    for each in found.segments:
        assert "".join(word.word for word in each.words or ()) == each.text


def test_its_language_is_given_detected_or_its_own(tiny_en: whisperlite.Whisper, spoken_words: Transcription) -> None:
    assert any("was not used" in each for each in tiny_en.align(RECORDING, "And Mr. John", language="fr").warnings)
    with pytest.raises(OptionError, match="says its language itself"):
        tiny_en.align(RECORDING, spoken_words, language="en")
    with pytest.raises(whisperlite.LanguageError):
        tiny_en.align(RECORDING, "And Mr. John", language="xx")
    with pytest.raises(OptionError, match="no text"):
        tiny_en.align("does not exist.mp3", " ")


def test_a_text_that_was_stopped_has_no_partial_result(
    tiny_en: whisperlite.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = whisperlite.CancelToken()
    step = Engine.step

    def watched(self: Engine) -> object:
        token.cancel()
        return step(self)

    monkeypatch.setattr(Engine, "step", watched)
    with pytest.raises(whisperlite.CancelledError) as error:
        tiny_en.align(RECORDING, "And Mr. John Dashwood", cancel=token)
    assert error.value.partial is None


def test_progress_reaches_the_end_in_two_passes(tiny_en: whisperlite.Whisper, spoken_words: Transcription) -> None:
    done: list[tuple[float, float]] = []
    tiny_en.align(RECORDING, spoken_words.text, on_progress=lambda *seconds: done.append(seconds))
    duration = spoken_words.duration
    assert [seconds for seconds, _ in done] == sorted(seconds for seconds, _ in done)
    assert {total for _, total in done} == {2 * duration}
    assert done[0][0] <= duration < done[-1][0] == 2 * duration
    done.clear()
    tiny_en.align(RECORDING, spoken_words, on_progress=lambda *seconds: done.append(seconds))
    assert len(done) > len(spoken_words.segments)
    assert done[-1] == (duration, duration)
    with pytest.raises(OptionError, match="on_progress"):
        tiny_en.align(RECORDING, spoken_words, on_progress=5)  # type: ignore[arg-type]
