"""A transcription → the cues of its subtitles: when to show which text.

Reference: `SubtitlesWriter.iterate_result`, whose output this gives where it is not said otherwise. Differs: each
segment decides by itself whether it has words, where there the first one decides for all (correction 7); what has no
text makes no cue, with words and without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from whisperlite.formats.sentences import fitting, sentences
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import to_milliseconds
from whisperlite.results import Segment, Transcription, Word

# A longer time between the beginnings of two words is a pause, where cues are made without regard to segments.
_PAUSE_S = 3.0
# The reference's stand-ins for "no limit".
_MAX_LINE_WIDTH = 1000
_MAX_WORDS_PER_LINE = 1000


@dataclass(frozen=True, slots=True)
class Cue:
    """A text and when to show it.

    Attributes:
        start, end: seconds from the beginning of the recording.
        text: one or more lines, none of them blank, without "-->".
    """

    start: float
    end: float
    text: str


Escape = Callable[[str], str]
"""What is written for a text that stands in a file."""


def cues(transcription: Transcription, options: SubtitleOptions, escape: Escape = str) -> Iterator[Cue]:
    """The cues in order: of a segment's words, or of the whole segment if its words were not looked for."""
    for run in _runs(transcription.segments, options):
        if isinstance(run, Segment):
            [text] = _texts([run.text], escape)
            yield Cue(run.start, run.end, _one_block(text.strip()))
            continue
        for words in (laid_out for part in _parts(run, options) for laid_out in _laid_out(part, options)):
            if any(word.word.strip() for word in words):
                texts = _texts([word.word for word in words], escape)
                yield from _highlighted(words, texts) if options.highlight_words else (_cue(words, texts),)


def _runs(segments: Sequence[Segment], options: SubtitleOptions) -> Iterator[Sequence[Word] | Segment]:
    """What is laid out by itself: words that belong together, or a segment whose words were not looked for.

    A segment whose words were looked for and that has none, though it has a text, is not shown: a word across two
    segments belongs to one of them (correction 26), with the whole of its text.
    """
    flows = options.max_line_count is not None or options.break_at_sentences
    over_segments: list[Word] = []
    for segment in segments:
        if segment.words and flows:
            over_segments += segment.words
        elif segment.words:
            count = options.max_words_per_line or _MAX_WORDS_PER_LINE
            yield from (segment.words[first : first + count] for first in range(0, len(segment.words), count))
        elif segment.words is None and segment.text.strip():
            if over_segments:
                yield over_segments
            over_segments = []
            yield segment
    if over_segments:
        yield over_segments


def _parts(words: Sequence[Word], options: SubtitleOptions) -> Iterator[Sequence[Word]]:
    """Cut a run into sentences, and those into parts that fit a cue, if cues are to follow sentences."""
    if not options.break_at_sentences:
        yield words
        return
    for sentence in sentences(words):
        yield from fitting(sentence, lambda part: _fits(part, options))


def _fits(words: Sequence[Word], options: SubtitleOptions) -> bool:
    """Whether words can be shown as one cue."""
    duration_s = words[-1].end - words[0].start
    return (
        (options.max_cue_duration is None or duration_s <= options.max_cue_duration)
        and (options.max_words_per_line is None or len(words) <= options.max_words_per_line)
        and (options.max_line_count is None or len(list(_laid_out(words, options))) == 1)
    )


def _laid_out(words: Sequence[Word], options: SubtitleOptions) -> Iterator[list[Word]]:
    """Cut a run into cues and lines: a word that begins one loses the space around it, "\\n" goes before a new line."""
    width, max_lines = options.max_line_width or _MAX_LINE_WIDTH, options.max_line_count
    cue: list[Word] = []
    lines, length = 1, 0  # of the cue; of its last line
    for word in words:
        is_after_pause = max_lines is not None and bool(cue) and word.start - cue[-1].start > _PAUSE_S
        if 0 < length <= width - len(word.word) and not is_after_pause:
            length += len(word.word)
            cue.append(word)
            continue
        text = word.word.strip()
        line_break = ""
        if cue and max_lines is not None and (is_after_pause or lines >= max_lines):
            yield cue
            cue, lines = [], 1
        elif length > 0:
            line_break = "\n"
            lines += 1
        length = len(text)
        cue.append(replace(word, word=line_break + text))
    yield cue


def _highlighted(words: Sequence[Word], texts: Sequence[str]) -> Iterator[Cue]:
    """A cue for each word, which it underlines, and one for each pause between two of them."""
    shown_until = words[0].start
    for index, word in enumerate(words):
        # Differs: where words overlap, the reference writes a cue that ends before it begins.
        if to_milliseconds(shown_until) < to_milliseconds(word.start):
            yield Cue(shown_until, word.start, _one_block("".join(texts)))
        yield _cue([word], [*texts[:index], _underlined(texts[index]), *texts[index + 1 :]])
        shown_until = word.end


def _underlined(text: str) -> str:
    bare = text.lstrip()
    return f"{text[: len(text) - len(bare)]}<u>{bare}</u>"


def _cue(words: Sequence[Word], texts: Sequence[str]) -> Cue:
    return Cue(words[0].start, words[-1].end, _one_block("".join(texts)))


def _texts(texts: Sequence[str], escape: Escape) -> list[str]:
    return [escape(text) for text in _without_arrows(texts)]


def _without_arrows(texts: Sequence[str]) -> list[str]:
    """Make every "-->", which divides the times of a cue, an "->", also where it runs over several of the texts.

    Differs: with words the reference leaves it as it is (correction 17), and "--->" becomes "-->" there.
    """
    joined = "".join(texts)
    dropped = {place for match in re.finditer("-+(?=->)", joined) for place in range(*match.span())}
    kept: list[str] = []
    place = 0
    for text in texts:
        kept.append("".join(letter for at, letter in enumerate(text, place) if at not in dropped))
        place += len(text)
    return kept


def _one_block(text: str) -> str:
    """Without blank lines, which end a cue. Differs: the reference leaves them in."""
    return "\n".join(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
