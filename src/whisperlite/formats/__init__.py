"""A `Transcription` → the text of a file.

from whisperlite.formats import render
Path("talk.srt").write_text(render(result, "srt", max_line_width=42, max_line_count=2), encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from whisperlite.errors import OptionError
from whisperlite.formats.json import to_json
from whisperlite.formats.lrc import to_lrc
from whisperlite.formats.srt import to_srt
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.text import to_txt
from whisperlite.formats.tsv import to_tsv
from whisperlite.formats.vtt import to_vtt
from whisperlite.results import Transcription

__all__ = ["WRITERS", "SubtitleOptions", "Writer", "refuse_inapplicable", "render"]


@dataclass(frozen=True, slots=True)
class Writer:
    """How a format is written.

    Attributes:
        write: a transcription and options → the text of the file. It never fails, and passes over what its format
            cannot show.
        options: names of the options that the format can follow.
    """

    write: Callable[[Transcription, SubtitleOptions], str]
    options: frozenset[str] = frozenset()


_CUES = frozenset(definition.name for definition in fields(SubtitleOptions))

WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        "txt": Writer(lambda transcription, _: to_txt(transcription)),
        "json": Writer(lambda transcription, _: to_json(transcription)),
        "srt": Writer(to_srt, _CUES),
        "vtt": Writer(to_vtt, _CUES),
        "tsv": Writer(lambda transcription, _: to_tsv(transcription)),
        "lrc": Writer(to_lrc, frozenset({"highlight_words"})),
    }
)
"""Name of the format, which is also the file's ending → what writes it."""


def render(
    transcription: Transcription,
    format: str,
    *,
    highlight_words: bool = False,
    max_line_width: int | None = None,
    max_line_count: int | None = None,
    max_words_per_line: int | None = None,
    break_at_sentences: bool = False,
    max_cue_duration: float | None = None,
) -> str:
    """The text of a file of that format; write it as UTF-8.

    Args:
        transcription: what `transcribe` returned; with `word_timestamps=True` for the options below.
        format: "txt", "json", "srt", "vtt", "tsv" or "lrc".
        highlight_words, max_line_width, max_line_count, max_words_per_line, break_at_sentences, max_cue_duration: see
            `SubtitleOptions`.

    Raises:
        OptionError: an unknown format, or an option that is wrong, that the format cannot follow, or that needs words
            of a transcription that was made without, or what is no transcription.
    """
    if not isinstance(transcription, Transcription):
        raise OptionError(
            f"A {type(transcription).__name__} is no Transcription: give what transcribe returned, or what "
            "Transcription.from_dict makes of its dict."
        )
    if format not in WRITERS:
        raise OptionError(f"There is no format {format!r}. Formats: {', '.join(WRITERS)}.")
    options = SubtitleOptions(
        highlight_words=highlight_words,
        max_line_width=max_line_width,
        max_line_count=max_line_count,
        max_words_per_line=max_words_per_line,
        break_at_sentences=break_at_sentences,
        max_cue_duration=max_cue_duration,
    )
    refuse_inapplicable(options, [format])
    if options.given and _lacks_words(transcription):
        raise OptionError(
            f"{_named(options)} needs the times of words, which this transcription has none of: transcribe with "
            "word_timestamps=True."
        )
    return WRITERS[format].write(transcription, options)


def refuse_inapplicable(options: SubtitleOptions, formats: Iterable[str]) -> None:
    """An option that none of these formats can follow is refused, not ignored.

    Raises:
        OptionError: there is one.
    """
    names = list(formats)
    followed = frozenset[str]().union(*(WRITERS[name].options for name in names))
    for option in options.given:
        if option not in followed:
            able = [name for name, writer in WRITERS.items() if option in writer.options]
            raise OptionError(f"{option} does nothing for {', '.join(names)}: it is for {', '.join(able)}.")


def _lacks_words(transcription: Transcription) -> bool:
    """There is text, and no words were made of any of it."""
    segments = transcription.segments
    return any(segment.text.strip() for segment in segments) and all(segment.words is None for segment in segments)


def _named(options: SubtitleOptions) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.given.items())
