"""The options of the subtitle formats, once: name, type, default, check and help; flags are made from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, check_fields, integer, option, optional

_COUNT = optional(integer(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleOptions:
    """How words become subtitles, with the names and meanings of openai-whisper; all of it needs the times of words.

    Attributes:
        highlight_words: mark each word while it is said: underlined in srt and vtt, with a time of its own in lrc.
        max_line_width: longest line, in characters; a longer word has a line of its own.
        max_line_count: most lines of a cue. With it words go on from one segment to the next, and a pause of more than
            3 s between the beginnings of two words begins a new cue; without it a segment is one cue of many lines.
        max_words_per_line: most words of a cue.

    Raises:
        OptionError: a value of a wrong type or range; max_line_count without max_line_width; max_words_per_line
            together with both of them. The reference accepts these and ignores the one that cannot apply.
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

    @property
    def given(self) -> dict[str, bool | int]:
        """Name → value of the options that ask for something."""
        values = {definition.name: getattr(self, definition.name) for definition in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, False)}
