"""The options of the subtitle formats: name, type, default, check and help, from which flags are made."""

from __future__ import annotations

from dataclasses import dataclass, fields

from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, check_fields, integer, number, option, optional

_COUNT = optional(integer(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleOptions:
    """Options for laying out words as subtitles. All of them need word timestamps.

    The first four have the names and meanings that openai-whisper gives them; it does not have the others.

    Attributes:
        highlight_words: mark each word while it is spoken: underlined in srt and vtt, with its own time in lrc.
        max_line_width: the maximum length of a line, in characters; a longer word gets its own line.
        max_line_count: the maximum number of lines in a cue. If it is set, cues can span segments, and more than 3 s
            between the starts of two words begin a new cue; if not, each segment is one cue of any number of lines.
        max_words_per_line: the maximum number of words in a cue.
        break_at_sentences: cues follow sentences instead of segments. A sentence that is too long for the other options
            is halved, after a clause if one ends near the middle; a sentence of less than 1 s shares a cue with the
            next one.
        max_cue_duration: the maximum duration of a cue, in seconds; a longer word gets its own cue.

    Raises:
        OptionError: a value has a wrong type or is out of range; max_line_count is given without max_line_width;
            max_words_per_line is given together with both; or max_cue_duration is given without break_at_sentences.
            The reference accepts such combinations of its own options and ignores the one that cannot apply.
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
        """Name → value of the options that differ from their defaults."""
        values = {definition.name: getattr(self, definition.name) for definition in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, False)}
