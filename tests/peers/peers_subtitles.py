"""The files of subtitles against openai-whisper's, byte by byte: `make peers ARGS="-k subtitles"`.

Both sides write the same results with every combination of options. What we write otherwise on purpose is not among
them: `tests/test_formats.py` has it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.peers.peers_pages import theirs
from tests.spoken import evenly, said, segment, spoken
from whisperlite.errors import OptionError
from whisperlite.formats import render
from whisperlite.results import Segment, Transcription, Word

SIDE = Path(__file__).with_name("side_subtitles.py")

GRID: dict[str, list[Any]] = {
    "highlight_words": [False, True],
    "max_line_width": [None, 1, 10, 42],
    "max_line_count": [None, 1, 2, 3],
    "max_words_per_line": [None, 1, 3, 7],
}
OPTIONS = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]

BY_HAND = {
    "nothing": spoken(),
    "one-word": spoken(said((" Yes.", 0.0, 0.4))),
    "sentences": spoken(
        evenly([" My", " thought,", " I", " have", " nobody."], 0.0, 0.3),
        evenly([" A", " man", "-eating", " shark", "?!"], 1.5, 0.5),
    ),
    "pauses": spoken(
        said((" One", 0.0, 0.5), (" two", 3.0, 3.2), (" three", 6.1, 6.3)),
        said((" four", 6.4, 6.5), (" five", 9.4, 10.0)),
    ),
    "without-spaces": spoken(evenly(list("我们今天说中文。"), 2.0, 0.25), evenly(["日本", "語", "です"], 4.0, 0.5)),
    "many-letters": spoken(evenly([" Donaudampfschifffahrtsgesellschaft", " fährt", " 🚢🏴‍☠️", " e\u0301te\u0301"])),
    "hours": spoken(evenly([" Still", " here"], 3599.5, 0.7), evenly([" after", " days"], 360_000.0004)),
    "empty-segments": spoken(
        segment(0.0, 0.0, "", ()), evenly([" Text"]), segment(1.0, 1.0, "", ()), evenly([" on"], 2.0)
    ),
    "same-times": spoken(said((" a", 1.0, 1.0), (" b", 1.0, 1.0), (" c", 1.0, 1.5))),
    "markup": spoken(evenly([" Tom>", " Jerry", " \\N", " {\\an8}"])),
    "edge-of-a-line": spoken(evenly([" 3456789", " 1", " 34567890", " 1", " 12345678901"])),
}
WORDS = [
    " a",
    " I",
    " the",
    " don't",
    " Whisper,",
    " naïve",
    "-like",
    " 12.5%",
    "…",
    "你",
    "好。",
    " Übermäßigkeit",
    " 🎵",
    " ♪",
    " مرحبا",
]


def drawn(seed: int) -> Transcription:
    """Words with and without pauses, in segments some of which are empty."""
    source = random.Random(seed)
    time = source.choice([0.0, 3590.0])
    segments: list[Segment] = []
    for _ in range(source.randint(1, 8)):
        words: list[Word] = []
        for _ in range(source.choice([0, 1, 5, 20])):
            start = round(time + source.choice([0.0, 0.0, 0.0, 0.2, 2.9, 3.1, 6.0]), 2)
            time = round(start + source.choice([0.0, 0.12, 0.5, 1.37]), 2)
            words.append(Word(source.choice(WORDS), start, time, 0.5))
        text = "".join(word.word for word in words)
        segments.append(segment(words[0].start if words else time, time, text, tuple(words)))
    return spoken(*segments)


def without_words(transcription: Transcription) -> Transcription:
    """Differs: we write no cue where there is no text; such segments are left out."""
    return spoken(*(replace(each, words=None) for each in transcription.segments if each.text.strip()))


WITH_WORDS = {**BY_HAND, **{f"drawn-{seed}": drawn(seed) for seed in range(40)}}
WITHOUT_WORDS = {f"{name}-plain": without_words(each) for name, each in WITH_WORDS.items()}
WITHOUT_WORDS |= {
    "arrows": spoken(segment(0.0, 1.0, " a --> b -->"), segment(1.0, 2.0, " --")),
    "spaces": spoken(segment(0.0, 1.0, "  two  spaces \t tab\t "), segment(1.0, 2.0, "one\ntwo")),
}


def name_of(options: Mapping[str, Any]) -> str:
    return "-".join(str(value) for value in options.values())


def cases() -> Iterator[dict[str, Any]]:
    grid = {name_of(options): options for options in OPTIONS}
    for name, each in WITH_WORDS.items():
        yield {"name": name, "result": each.to_dict(), "options": grid, "formats": ["srt", "vtt"]}
    for name, each in WITHOUT_WORDS.items():
        formats = ["srt", "vtt", "txt"] + ["tsv"] * (name != "spaces")
        yield {"name": name, "result": each.to_dict(), "options": {"none": {}}, "formats": formats}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of openai-whisper's files."""
    desk = tmp_path_factory.mktemp("subtitles")
    (desk / "cases.json").write_text(json.dumps(list(cases())), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        assert int(theirs("run", str(SIDE))) == sum(len(case["options"]) * len(case["formats"]) for case in cases())
    return desk / "theirs"


def ignored_by_theirs(options: dict[str, Any]) -> str | None:
    """The option that we refuse because it would have no effect."""
    if options["max_line_count"] is None:
        return None
    if options["max_line_width"] is None:
        return "max_line_count"
    return "max_words_per_line" if options["max_words_per_line"] is not None else None


@pytest.mark.parametrize("format", ["srt", "vtt"])
@pytest.mark.parametrize("name", WITH_WORDS)
def test_subtitles_are_theirs_with_every_combination_of_options(name: str, format: str, written: Path) -> None:
    accepted = [options for options in OPTIONS if ignored_by_theirs(options) is None]
    different = [
        options
        for options in accepted
        if render(WITH_WORDS[name], format, **options).encode()
        != (written / f"{name}-{name_of(options)}.{format}").read_bytes()
    ]
    assert different == []


@pytest.mark.parametrize("name", WITH_WORDS)
def test_what_we_refuse_does_nothing_there(name: str, written: Path) -> None:
    refused = [options for options in OPTIONS if ignored_by_theirs(options) is not None]
    for options in refused:
        with pytest.raises(OptionError, match=ignored_by_theirs(options)):
            render(WITH_WORDS[name], "srt", **options)
        without = {key: None if key == ignored_by_theirs(options) else value for key, value in options.items()}
        theirs_with, theirs_without = (written / f"{name}-{name_of(each)}.srt" for each in (options, without))
        assert theirs_with.read_bytes() == theirs_without.read_bytes()


@pytest.mark.parametrize("format", ["srt", "vtt", "txt", "tsv"])
def test_files_without_words_are_theirs(format: str, written: Path) -> None:
    different = [
        name
        for name, each in WITHOUT_WORDS.items()
        if (name, format) != ("spaces", "tsv")
        and render(each, format).encode() != (written / f"{name}-none.{format}").read_bytes()
    ]
    assert different == []
