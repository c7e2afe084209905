"""The text of each format, with words and without, and what we write otherwise than openai-whisper.

`tests/peers/peers_subtitles.py` compares the files with openai-whisper's own.
"""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spoken import evenly, said, segment, spoken
from whisperlite.errors import OptionError
from whisperlite.formats import WRITERS, SubtitleOptions, refuse_inapplicable, render
from whisperlite.formats.timestamps import timestamp
from whisperlite.results import Transcription, Word

PLAIN = spoken(segment(0.0, 1.5, " Hello there."), segment(3600.0, 3601.25, " How are you?", number=1))
WORDS = spoken(
    said((" Hello", 0.0, 0.5), (" there.", 0.75, 1.5)),
    said((" How", 2.0, 2.5), (" are", 2.5, 3.0), (" you?", 3.0, 3.5), number=1),
)
SUBTITLES = ["srt", "vtt"]


def texts_of(transcription: Transcription, **options: Any) -> list[str]:
    """The texts of the cues."""
    return [text for _, text in shown(transcription, **options)]


def shown(transcription: Transcription, **options: Any) -> list[tuple[str, str]]:
    """(times, text) of each cue, as a reader that goes by blank lines finds them."""
    header, *blocks = render(transcription, "vtt", **options).split("\n\n")
    assert (header, blocks.pop()) == ("WEBVTT", "")
    return [(times, text) for times, _, text in (block.partition("\n") for block in blocks)]


# Each format


def test_srt_has_numbered_cues_with_hours_and_a_comma() -> None:
    assert render(PLAIN, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n01:00:00,000 --> 01:00:01,250\nHow are you?\n\n"
    )


def test_vtt_has_a_header_and_hours_only_where_there_are_some() -> None:
    assert render(PLAIN, "vtt") == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nHello there.\n\n01:00:00.000 --> 01:00:01.250\nHow are you?\n\n"
    )


def test_tsv_has_milliseconds_and_a_header() -> None:
    assert render(PLAIN, "tsv") == "start\tend\ttext\n0\t1500\tHello there.\n3600000\t3601250\tHow are you?\n"


def test_lrc_has_hundredths_and_minutes_beyond_an_hour() -> None:
    assert render(PLAIN, "lrc") == "[00:00.00]Hello there.\n[60:00.00]How are you?\n"


def test_txt_has_a_line_for_each_segment() -> None:
    assert render(PLAIN, "txt") == "Hello there.\nHow are you?\n"


def test_json_is_the_dict() -> None:
    assert json.loads(render(WORDS, "json")) == WORDS.to_dict()


@pytest.mark.parametrize(
    ("format", "text"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("tsv", "start\tend\ttext\n"), ("lrc", "")],
)
def test_a_transcription_of_nothing_is_an_empty_file_of_its_format(format: str, text: str) -> None:
    assert render(spoken(), format) == text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "00:00.000"), (59.9996, "01:00.000"), (61.5, "01:01.500"), (3723.004, "01:02:03.004"), (-0.5, "00:00.000")],
)
def test_timestamps_carry_into_minutes_and_hours(seconds: float, expected: str) -> None:
    assert timestamp(seconds) == expected


def test_hundredths_carry_into_minutes() -> None:
    assert render(spoken(segment(59.996, 61.0, "Late")), "lrc") == "[01:00.00]Late\n"


# Words


def test_a_segment_with_words_is_shown_while_they_are_said() -> None:
    late = spoken(segment(0.0, 9.0, " Hello", (Word(" Hello", 4.0, 4.5, 0.9),)))
    assert shown(late) == [("00:04.000 --> 00:04.500", "Hello")]


def test_each_word_is_underlined_while_it_is_said_and_none_in_a_pause() -> None:
    first = spoken(WORDS.segments[0])
    assert shown(first, highlight_words=True) == [
        ("00:00.000 --> 00:00.500", "<u>Hello</u> there."),
        ("00:00.500 --> 00:00.750", "Hello there."),
        ("00:00.750 --> 00:01.500", "Hello <u>there.</u>"),
    ]


def test_lrc_times_each_word_where_words_are_highlighted() -> None:
    assert render(WORDS, "lrc", highlight_words=True) == (
        "[00:00.00]<00:00.00>Hello <00:00.75>there.\n[00:02.00]<00:02.00>How <00:02.50>are <00:03.00>you?\n"
    )


def test_a_long_segment_is_broken_into_lines_of_one_cue() -> None:
    assert texts_of(WORDS, max_line_width=8) == ["Hello\nthere.", "How are\nyou?"]


def test_a_word_longer_than_the_line_has_a_line_of_its_own() -> None:
    transcription = spoken(evenly([" a", " Donaudampfschiff", " b"]))
    assert texts_of(transcription, max_line_width=5) == ["a\nDonaudampfschiff\nb"]


def test_a_line_may_be_exactly_as_wide_as_allowed() -> None:
    assert texts_of(spoken(evenly([" 123", " 56"])), max_line_width=6) == ["123 56"]
    assert texts_of(spoken(evenly([" 123", " 567"])), max_line_width=6) == ["123\n567"]


def test_with_a_number_of_lines_words_go_on_over_segments() -> None:
    assert texts_of(WORDS, max_line_width=12, max_line_count=2) == ["Hello there.\nHow are you?"]
    assert texts_of(WORDS, max_line_width=16, max_line_count=1) == ["Hello there. How", "are you?"]


@pytest.mark.parametrize(("start", "cues"), [(3.0, ["a b"]), (3.01, ["a", "b"])])
def test_a_pause_of_more_than_three_seconds_begins_a_cue(start: float, cues: list[str]) -> None:
    transcription = spoken(said((" a", 0.0, 0.5)), said((" b", start, start + 1.0)))
    assert texts_of(transcription, max_line_width=40, max_line_count=2) == cues


def test_a_cue_has_no_more_words_than_allowed() -> None:
    assert texts_of(WORDS, max_words_per_line=2) == ["Hello there.", "How are", "you?"]


def test_numbers_of_words_and_widths_apply_together() -> None:
    assert texts_of(WORDS, max_words_per_line=2, max_line_width=5) == ["Hello\nthere.", "How\nare", "you?"]


def test_languages_without_spaces_are_broken_between_words() -> None:
    assert texts_of(spoken(evenly(list("我们说中文"))), max_line_width=2) == ["我们\n说中\n文"]


# Differs: where openai-whisper fails or writes a file that readers misunderstand


# Cues that follow sentences


def test_a_cue_is_a_sentence_across_segments() -> None:
    talk = spoken(
        evenly([" We", " went", " home.", " Then"], 0.0, 0.5), evenly([" it", " rained,", " as", " ever."], 2.0, 0.5)
    )
    assert shown(talk, break_at_sentences=True) == [
        ("00:00.000 --> 00:01.500", "We went home."),
        ("00:01.500 --> 00:04.000", "Then it rained, as ever."),
    ]


@pytest.mark.parametrize("word", [" Dr.", " J.", " (Mrs.", " 3.14", " U.S.", " p.m.", " e.g."])
def test_not_every_dot_ends_a_sentence(word: str) -> None:
    talk = spoken(evenly([" Here", " comes", word, " Smith."], 0.0, 0.5))
    assert texts_of(talk, break_at_sentences=True) == [f"Here comes{word} Smith."]


@pytest.mark.parametrize("end", [".", "?!", ".”", ".)", "。", "؟", "…"])
def test_a_sentence_ends_in_many_ways(end: str) -> None:
    talk = spoken(evenly([" All", " is", f" well{end}", " Really"], 0.0, 0.5))
    assert texts_of(talk, break_at_sentences=True) == [f"All is well{end}", "Really"]


def test_a_sentence_that_nobody_could_read_goes_with_the_next() -> None:
    talk = spoken(evenly([" No.", " I", " never", " did.", " Yes."], 0.0, 0.4))
    assert texts_of(talk, break_at_sentences=True) == ["No. I never did.", "Yes."]


def test_a_pause_ends_a_sentence_too() -> None:
    talk = spoken(said((" One", 0.0, 0.5), (" two", 3.0, 3.2), (" three", 6.1, 6.3)))
    assert texts_of(talk, break_at_sentences=True) == ["One two", "three"]


def test_a_long_sentence_is_halved_after_a_clause_near_its_middle() -> None:
    talk = spoken(evenly([" One", " two", " three", " four,", " five", " six", " seven", " eight."], 0.0, 1.0))
    assert texts_of(talk, break_at_sentences=True, max_cue_duration=6) == [
        "One two three four,",
        "five six seven eight.",
    ]
    assert texts_of(talk, break_at_sentences=True, max_cue_duration=2) == [
        *("One two", "three four,", "five six", "seven eight.")
    ]
    early = spoken(evenly([" One,", " two", " three", " four", " five", " six"], 0.0, 1.0))
    assert texts_of(early, break_at_sentences=True, max_cue_duration=4) == ["One, two three", "four five six"]


def test_a_sentence_of_too_many_lines_or_words_is_halved() -> None:
    talk = spoken(evenly([" One", " two", " three", " four", " five", " six."], 0.0, 1.0))
    options: dict[str, Any] = {"break_at_sentences": True, "max_line_width": 10}
    assert texts_of(talk, **options, max_line_count=2) == ["One two\nthree", "four five\nsix."]
    assert texts_of(talk, **options) == ["One two\nthree four\nfive six."]
    assert texts_of(talk, break_at_sentences=True, max_words_per_line=3) == ["One two three", "four five six."]


def test_one_word_may_be_too_long_for_a_cue() -> None:
    talk = spoken(said((" Well", 0.0, 5.0), (" then.", 5.0, 5.5)))
    assert texts_of(talk, break_at_sentences=True, max_cue_duration=2) == ["Well", "then."]


LAYOUTS = [{}, {"max_words_per_line": 1}, {"max_line_width": 40, "max_line_count": 2}]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_a_segment_whose_words_were_not_looked_for_is_a_cue_of_its_own_among_those_with(
    options: dict[str, int],
) -> None:
    """Correction 7."""
    without = segment(5.0, 6.0, " No words.")
    before, after = evenly([" Before"], 4.0), evenly([" after"], 7.0)
    for order in ([before, without, after], [without, after], [before, without]):
        assert texts_of(spoken(*order), **options) == [each.text.strip() for each in order]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_a_word_across_two_segments_is_shown_once(options: dict[str, int]) -> None:
    """It belongs to the first (correction 26), and the second has a text but no word."""
    transcription = spoken(evenly([" Hello?"]), segment(1.0, 2.0, "?", ()), evenly([" Yes."], 5.0))
    assert texts_of(transcription, **options) == ["Hello?", "Yes."]
    lines = ["[00:00.00]<00:00.00>Hello?", "[00:05.00]<00:05.00>Yes."]
    assert render(transcription, "lrc", highlight_words=True).splitlines() == lines


@pytest.mark.parametrize("words", [None, ()])
def test_an_empty_segment_makes_no_cue_and_keeps_its_line_elsewhere(words: tuple[Word, ...] | None) -> None:
    """Correction 7; the reference fails where the first segment is empty, and else shows nothing for a while."""
    transcription = spoken(segment(0.0, 0.0, "", words), segment(1.0, 2.0, " Text."), segment(2.0, 3.0, " ", words))
    assert render(transcription, "srt") == "1\n00:00:01,000 --> 00:00:02,000\nText.\n\n"
    assert shown(transcription) == [("00:01.000 --> 00:02.000", "Text.")]
    assert render(transcription, "tsv") == "start\tend\ttext\n0\t0\t\n1000\t2000\tText.\n2000\t3000\t\n"
    assert render(transcription, "lrc") == "[00:00.00]\n[00:01.00]Text.\n[00:02.00]\n"
    assert render(transcription, "txt") == "\nText.\n\n"


def test_an_empty_segment_does_not_part_the_words_around_it() -> None:
    transcription = spoken(evenly([" One"]), segment(1.0, 1.0, "", ()), evenly([" two"], 1.0))
    assert texts_of(transcription, max_line_width=40, max_line_count=1) == ["One two"]


def test_vtt_escapes_what_would_begin_a_tag_or_a_character() -> None:
    words = spoken(evenly([" AT&T", " <3"]))
    assert texts_of(words) == ["AT&amp;T &lt;3"]
    assert texts_of(words, highlight_words=True) == ["<u>AT&amp;T</u> &lt;3", "AT&amp;T <u>&lt;3</u>"]
    assert texts_of(words, max_line_width=8, max_line_count=1) == ["AT&amp;T &lt;3"]  # 8 letters are read
    assert "AT&T <3" in render(words, "srt")


@pytest.mark.parametrize("highlight_words", [False, True])
def test_words_that_are_only_spaces_make_no_cue(highlight_words: bool) -> None:
    assert texts_of(spoken(evenly([" ", "  "])), highlight_words=highlight_words) == []


@pytest.mark.parametrize("arrow", ["-->", "--->", "------>"])
def test_an_arrow_in_the_text_loses_its_length(arrow: str) -> None:
    """Correction 17: with words too; and "--->" does not become "-->"."""
    assert texts_of(spoken(segment(0.0, 1.0, f" a {arrow} b"))) == ["a -> b"]
    assert texts_of(spoken(evenly([" a", f" {arrow}", " b"]))) == ["a -> b"]


def test_an_arrow_made_of_several_words_loses_its_length_too() -> None:
    pieces = spoken(evenly([" a -", "-", "> b"]))
    assert texts_of(pieces) == ["a -> b"]
    assert texts_of(pieces, highlight_words=True) == ["<u>a </u>-> b", "a <u>-</u>> b", "a -<u>> b</u>"]


@pytest.mark.parametrize("line_break", ["\n\n", "\r\n\r\n", "\n \n", "\r\r"])
def test_a_blank_line_in_the_text_does_not_end_the_cue(line_break: str) -> None:
    text = f" one{line_break}two"
    assert texts_of(spoken(segment(0.0, 1.0, text))) == ["one\ntwo"]
    assert texts_of(spoken(evenly([text, "\n", " three\n"]))) == ["one\ntwo\n three"]


def test_a_line_break_in_the_text_does_not_end_a_row_of_tsv_or_lrc() -> None:
    transcription = spoken(segment(0.0, 1.0, " one\ttwo\r\nthree\nfour"))
    assert render(transcription, "tsv").splitlines() == ["start\tend\ttext", "0\t1000\tone two three four"]
    assert render(transcription, "lrc") == "[00:00.00]one\ttwo three four\n"


def test_no_cue_ends_before_it_begins_where_words_overlap() -> None:
    transcription = spoken(said((" a", 0.0, 2.0), (" b", 1.5, 2.5)))
    assert shown(transcription, highlight_words=True) == [
        ("00:00.000 --> 00:02.000", "<u>a</u> b"),
        ("00:01.500 --> 00:02.500", "a <u>b</u>"),
    ]


# Any transcription


# A busy machine is slow to draw values of this size.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

times = st.floats(0, 40_000)
letters = st.text(st.sampled_from(list(" ab->\n\r\t好é")), max_size=12)
words = st.builds(Word, letters, times, times, st.floats(0, 1))
segments = st.builds(segment, times, times, letters, st.none() | st.lists(words, max_size=8).map(tuple))
transcriptions = st.lists(segments, max_size=5).map(lambda drawn: spoken(*drawn))
widths, counts = st.none() | st.integers(1, 20), st.none() | st.integers(1, 4)


@st.composite
def subtitle_options(draw: st.DrawFn) -> SubtitleOptions:
    width = draw(widths)
    count = draw(counts) if width is not None else None
    words_per_line = draw(counts) if count is None else None
    follows_sentences = draw(st.booleans())
    return SubtitleOptions(
        highlight_words=draw(st.booleans()),
        max_line_width=width,
        max_line_count=count,
        max_words_per_line=words_per_line,
        break_at_sentences=follows_sentences,
        max_cue_duration=draw(st.none() | st.floats(0.1, 10.0)) if follows_sentences else None,
    )


@patient
@given(transcriptions, subtitle_options(), st.sampled_from(list(WRITERS)))
def test_every_format_can_write_every_transcription(
    transcription: Transcription, options: SubtitleOptions, format: str
) -> None:
    text = WRITERS[format].write(transcription, options)
    assert text == "" or text.endswith("\n")


@patient
@given(transcriptions, subtitle_options())
def test_every_cue_has_a_number_its_times_and_a_text(transcription: Transcription, options: SubtitleOptions) -> None:
    *blocks, end = WRITERS["srt"].write(transcription, options).split("\n\n")
    assert end == ""
    clock = r"\d{2,}:\d\d:\d\d,\d{3}"
    for number, block in enumerate(blocks, start=1):
        assert re.fullmatch(rf"{number}\n{clock} --> {clock}\n(?:.*\S.*\n?)+", block)
        assert block.count("-->") == 1


def bare(text: str) -> str:
    """What is left to read, without spaces and the dashes that an arrow may lose."""
    return re.sub(r"\s|-", "", text)


@patient
@given(transcriptions, subtitle_options())
def test_no_word_is_lost_or_said_twice(transcription: Transcription, options: SubtitleOptions) -> None:
    plain = replace(options, highlight_words=False)
    blocks = WRITERS["srt"].write(transcription, plain).split("\n\n")[:-1]
    written = "".join(block.split("\n", 2)[2] for block in blocks)
    said_by = (
        each.text if each.words is None else "".join(word.word for word in each.words)
        for each in transcription.segments
    )
    assert bare(written) == bare("".join(said_by))


@patient
@given(st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=5).map(" {}".format), min_size=1), st.data())
def test_no_line_is_wider_and_no_cue_has_more_lines_than_allowed(texts: list[str], data: st.DataObject) -> None:
    width, count = data.draw(st.integers(6, 20)), data.draw(st.integers(1, 4))
    for text in texts_of(spoken(evenly(texts)), max_line_width=width, max_line_count=count):
        assert len(text.split("\n")) <= count
        assert max(map(len, text.split("\n"))) <= width


# Options


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SubtitleOptions().max_line_width = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_line_width": 0},
        {"max_line_width": -1},
        {"max_line_width": 4.5},
        {"max_line_width": True},
        {"max_line_count": "2", "max_line_width": 10},
        {"max_words_per_line": 0},
        {"highlight_words": 1},
        {"break_at_sentences": 1},
        {"max_cue_duration": 0.0, "break_at_sentences": True},
        {"max_cue_duration": "6", "break_at_sentences": True},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_what_is_allowed(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        OptionError, match=r"is not allowed: it takes (an integer of at least 1|a number|a finite number|True or False)"
    ):
        SubtitleOptions(**wrong)


@pytest.mark.parametrize(
    ("ignored", "options"),
    [
        ("max_line_count=2", {"max_line_count": 2}),
        ("max_words_per_line=3", {"max_line_width": 42, "max_line_count": 2, "max_words_per_line": 3}),
        ("max_cue_duration=6", {"max_cue_duration": 6}),
    ],
)
def test_an_option_that_others_leave_no_effect_is_refused(ignored: str, options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=ignored):
        render(WORDS, "srt", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["txt", "json", "tsv", "lrc"])
def test_an_option_that_the_format_cannot_follow_is_refused(format: str) -> None:
    with pytest.raises(OptionError, match=f"max_line_width does nothing for {format}: it is for srt, vtt"):
        render(WORDS, format, max_line_width=42)


def test_one_of_several_formats_that_follows_an_option_is_enough() -> None:
    refuse_inapplicable(SubtitleOptions(max_line_width=42), ["txt", "vtt"])
    with pytest.raises(OptionError, match="does nothing for txt, lrc"):
        refuse_inapplicable(SubtitleOptions(max_line_width=42), ["txt", "lrc"])


def test_an_option_is_refused_where_no_words_were_made() -> None:
    with pytest.raises(OptionError, match=r"highlight_words=True needs the times of words.*word_timestamps=True"):
        render(PLAIN, "srt", highlight_words=True)


@pytest.mark.parametrize("format", SUBTITLES)
def test_an_option_is_taken_where_nothing_was_said(format: str) -> None:
    silence = spoken(segment(0.0, 1.0, ""))
    assert render(silence, format, highlight_words=True) == render(silence, format)


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(OptionError, match=r"no format 'docx'\. Formats: txt, json, srt, vtt, tsv, lrc"):
        render(PLAIN, "docx")


@pytest.mark.parametrize("wrong", ["Hello there.", PLAIN.to_dict(), None], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_transcription_is_told_how_to_become_one(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"Transcription\.from_dict"):
        render(wrong, "srt")
