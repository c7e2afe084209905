"""A transcription → the cues of its subtitles: which text to show, and when.

Reference: `SubtitlesWriter.iterate_result`; the output is the same except where noted. Differs: each segment decides
for itself whether it has words, while in the reference the first one decides for all (correction 7); a segment without
text makes no cue, with or without words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from whisperlite.formats.sentences import fitting, is_pause, sentences
from whisperlite.formats.subtitle_options import SubtitleOptions
from whisperlite.formats.timestamps import to_milliseconds
from whisperlite.results import Segment, Transcription, Word

# The reference's values for "no limit".
_MAX_LINE_WIDTH = 1000
_MAX_WORDS_PER_LINE = 1000


@dataclass(frozen=True, slots=True)
class Cue:
    """A text, and when to show it.

    Attributes:
        start, end: seconds from the beginning of the recording.
        text: one or more lines, none of them blank, without "-->".
    """

    start: float
    end: float
    text: str


Escape = Callable[[str], str]
"""Text → the same text as the file format writes it, with special characters escaped."""


def cues(transcription: Transcription, options: SubtitleOptions, escape: Escape = str) -> Iterator[Cue]:
    """Yield the cues in order, made from the words of a segment, or from the whole segment if it has no words."""
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
    """Yield what is laid out independently: a run of words, or a segment without word timestamps.

    A segment with text but with `words=()` is not shown: its text is the rest of a word that belongs, whole, to the
    segment before (correction 26).
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
    """Divide a run into cues and lines: the first word of a line is stripped, and "\\n" precedes a further line."""
    width, max_lines = options.max_line_width or _MAX_LINE_WIDTH, options.max_line_count
    cue: list[Word] = []
    lines, length = 1, 0  # the number of lines in the cue; the length of the last one
    for word in words:
        is_after_pause = max_lines is not None and bool(cue) and is_pause(cue[-1], word)
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
    """Yield a cue for each word, with that word underlined, and one for each pause between two words."""
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
    """Replace every "-->", which separates the times of a cue, with "->", even if it spans several of the texts.

    Differs: with words, the reference leaves it unchanged (correction 17), and it turns "--->" into "-->".
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
    """The text without blank lines, which would end the cue. Differs: the reference keeps them."""
    return "\n".join(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
