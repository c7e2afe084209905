"""A `Transcription` → the text of a file in one of several formats.

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
    """The writer of a format.

    Attributes:
        write: a transcription and options → the text of the file. It never fails, and leaves out what the format cannot
            represent.
        options: the names of the options that the format supports.
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
"""Name of a format, which is also the extension of its files → its writer."""


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
    """Return a transcription as the text of a file, to be written as UTF-8.

    Args:
        transcription: the result of `transcribe`; the options below need it to be made with `word_timestamps=True`.
        format: "txt", "json", "srt", "vtt", "tsv" or "lrc".
        highlight_words, max_line_width, max_line_count, max_words_per_line, break_at_sentences, max_cue_duration: see
            `SubtitleOptions`.

    Raises:
        OptionError: `transcription` is not a Transcription; the format is unknown; or an option has a wrong value, is
            not supported by the format, or needs word timestamps that the transcription does not have.
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
    """Refuse an option that none of these formats supports, rather than ignore it.

    Raises:
        OptionError: an option is not supported.
    """
    names = list(formats)
    followed = frozenset[str]().union(*(WRITERS[name].options for name in names))
    for option in options.given:
        if option not in followed:
            able = [name for name, writer in WRITERS.items() if option in writer.options]
            raise OptionError(f"{option} does nothing for {', '.join(names)}: it is for {', '.join(able)}.")


def _lacks_words(transcription: Transcription) -> bool:
    """Whether there is text, but no segment has word timestamps."""
    segments = transcription.segments
    return any(segment.text.strip() for segment in segments) and all(segment.words is None for segment in segments)


def _named(options: SubtitleOptions) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.given.items())
