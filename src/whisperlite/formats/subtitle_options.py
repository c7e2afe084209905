"""The options of the subtitle formats, once: name, type, default, check and help; flags are made from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, check_fields, integer, number, option, optional

_COUNT = optional(integer(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleOptions:
    """How words become subtitles; all of it needs the times of words.

    The first four have the names and meanings of openai-whisper.

    Attributes:
        highlight_words: mark each word while it is said: underlined in srt and vtt, with a time of its own in lrc.
        max_line_width: longest line, in characters; a longer word has a line of its own.
        max_line_count: most lines of a cue. With it words go on from one segment to the next, and a pause of more than
            3 s between the beginnings of two words begins a new cue; without it a segment is one cue of many lines.
        max_words_per_line: most words of a cue.
        break_at_sentences: cues follow sentences, not segments. A sentence that is too long for the other options is
            halved, after a clause if there is one near the middle; one of less than 1 s goes with the next.
        max_cue_duration: longest time that a cue is shown, in seconds; a longer word has a cue of its own.

    Raises:
        OptionError: a value of a wrong type or range; max_line_count without max_line_width; max_words_per_line
            together with both of them; max_cue_duration without break_at_sentences. The reference accepts what
            concerns its options, and ignores the one that cannot apply.
    """

    highlight_words: bool = option(
        False, FLAG, "Highlight each word while it is spoken: underlined in srt and vtt, with a time of its own in lrc."
    )
    max_line_width: int | None = option(None, _COUNT, "Maximum number of characters in a line of srt and vtt.")
    max_line_count: int | None = option(
        None,
        _COUNT,
        "Maximum number of lines in a cue of srt and vtt; cues can then span segments. Needs max_line_width.",
    )
    max_words_per_line: int | None = option(None, _COUNT, "Maximum number of words in a cue of srt and vtt.")
    break_at_sentences: bool = option(
        False, FLAG, "Begin a cue of srt and vtt with each sentence, not with each segment; halve long sentences."
    )
    max_cue_duration: float | None = option(
        None,
        optional(number(0.1, finite=True)),
        "Maximum duration of a cue of srt and vtt, in seconds. Needs break_at_sentences.",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_line_count is not None and self.max_line_width is None:
            raise OptionError(
                f"max_line_count={self.max_line_count} counts lines that max_line_width makes: give that too."
            )
        if self.max_words_per_line is not None and self.max_line_count is not None:
            raise OptionError(
                f"max_words_per_line={self.max_words_per_line} cannot apply where max_line_width and max_line_count "
                "cut the cues: leave it or max_line_count out."
            )

        if self.max_cue_duration is not None and not self.break_at_sentences:
            raise OptionError(
                f"max_cue_duration={self.max_cue_duration} shortens the cues that break_at_sentences makes: give that "
                "too."
            )

    @property
    def given(self) -> dict[str, bool | float]:
        """Name → value of the options that ask for something."""
        values = {definition.name: getattr(self, definition.name) for definition in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, False)}
