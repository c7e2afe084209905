"""A text without times, and what was heard → segments and passages, timed by the words that are heard as written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.errors import OptionError
from whisperlite.formats.sentences import fitting, sentences
from whisperlite.languages import UNSPACED_LANGUAGES
from whisperlite.results import Segment, Transcription, Word
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcript_search import compared_words
from whisperlite.transcription.matching import matched
from whisperlite.transcription.passages import MARGIN_S, MOST_TOKENS, Passage
from whisperlite.transcription.record import Record

_LONGEST_S = 25.0  # of a passage: a window has room for what is added at its edges
_LONGEST_WORD_S = 1.0  # words that were not heard are looked for this far around where they are supposed, for each
_MOST_LETTERS = 100  # of a word
_SHORTEST_WORD_S = 0.1  # where there is less time for each of the words, they were not said
_UNHEARD_WORD_S = 0.3


def check_text(text: str) -> None:
    """Check what can be checked before the recording is read.

    Raises:
        OptionError: there is no text.
    """
    if not text.strip():
        raise OptionError("There is no text to align: give what is said in the recording.", option="transcript")


def place_text(
    text: str, heard: Transcription, tokenizer: Tokenizer, record: Record
) -> tuple[Transcription, list[Passage]]:
    """Return a text as a transcript without words, and its passages.

    Each line is a segment; one that does not fit into a window is cut into its sentences, and a long sentence at its
    clauses. Segments are joined into one passage where it is not known where the one ends and the other begins.

    Args:
        text: one that `check_text` accepts.
        heard: the transcription of the recording, with words.
        record: gets a warning if segments were not heard.
    """
    lines = _lines(text, heard, record.bounds.duration)
    parts = [part for line in lines for part in _divided(line, tokenizer)]
    segments = [_segment(number, part, heard) for number, part in enumerate(parts)]
    unheard = [
        segment for segment, part in zip(segments, parts, strict=True) if not any(each.is_heard for each in part)
    ]
    if unheard:
        record.warn(
            f"Nothing of {len(unheard)} of {len(segments)} segments was heard as it is written, so their times may be "
            f"wrong. The first of them is {unheard[0].text.strip()[:40]!r}, at about {unheard[0].start:.0f} s."
        )
    passages, waiting = [], iter(segments)
    for group in _groups(parts, tokenizer):
        own = list(islice(waiting, len(group)))
        passages.append(Passage.between(own, group[0][0].earliest, group[-1][-1].latest, record.bounds))
    return replace(heard, segments=tuple(segments), skipped=(), attempts=()), passages


@dataclass(frozen=True, slots=True)
class _Written:
    """A written word, and where it was said or may have been said.

    Attributes:
        word: the word, with the space before it, or, in a language without spaces, a letter; and its time or a guess.
        earliest, latest: it was not said before or after these, in seconds.
        is_heard: whether it was heard as it is written.
        is_guess: whether it was not, but something was said there.
    """

    word: Word
    earliest: float
    latest: float
    is_heard: bool = False
    is_guess: bool = False


@dataclass(frozen=True, slots=True)
class _Time:
    """When a word was heard, or a stretch between words, in seconds."""

    start: float
    end: float


# Segments and passages


def _divided(line: Sequence[_Written], tokenizer: Tokenizer) -> Iterator[Sequence[_Written]]:
    """Cut a line into parts that fit into a window."""

    def fits(words: Sequence[Word]) -> bool:
        return _fit(words, tokenizer)

    timed = [each.word for each in line]
    rest = iter(line)
    for part in [timed] if fits(timed) else chain.from_iterable(fitting(each, fits) for each in sentences(timed)):
        yield list(islice(rest, len(part)))


def _groups(parts: Sequence[Sequence[_Written]], tokenizer: Tokenizer) -> Iterator[list[Sequence[_Written]]]:
    """Join parts of the text where one ends and the next begins with words of uncertain time, if they fit."""
    group: list[Sequence[_Written]] = []
    for part in parts:
        if group:
            is_certain = not (group[-1][-1].is_guess or part[0].is_guess)
            if is_certain or not _fit([each.word for one in (*group, part) for each in one], tokenizer):
                yield group
                group = []
        group.append(part)
    yield group


def _fit(words: Sequence[Word], tokenizer: Tokenizer) -> bool:
    """Whether words fit into a window, as sound and as text."""
    if words[-1].end - words[0].start > _LONGEST_S:
        return False
    return len(tokenizer.encode("".join(each.word for each in words))) <= MOST_TOKENS


def _segment(number: int, part: Sequence[_Written], heard: Transcription) -> Segment:
    """A segment without words; its uncertain times are as early or late as they can be, so that words decide."""
    first, last = part[0], part[-1]
    start = first.word.start if first.is_heard else first.earliest
    end = last.word.end if last.is_heard else last.latest
    seek = round(start * FRAMES_PER_SECOND)
    attempts = [each for each in heard.attempts if each.accepted and each.seek <= seek]
    return Segment(
        id=number,
        seek=seek,
        start=start,
        end=max(end, start),
        text="".join(each.word.word for each in part),
        tokens=(),
        temperature=0.0,
        avg_logprob=0.0,
        compression_ratio=1.0,
        no_speech_prob=(attempts[-1].no_speech_prob or 0.0) if attempts else 0.0,
        language=heard.language,
    )


# Times


def _lines(text: str, heard: Transcription, duration: float) -> list[list[_Written]]:
    """The words of each line, with their times."""
    by_letter = heard.language in UNSPACED_LANGUAGES
    lines = [_split(line, by_letter) for line in text.splitlines() if line.strip()]
    texts = [word for line in lines for word in line]
    lines_of = [number for number, line in enumerate(lines) for _ in line]
    written = compared_words(texts, by_letter=by_letter)
    spoken = compared_words([each.word for each in heard.words], by_letter=by_letter)
    times = [_Time(heard.words[first].start, heard.words[last].end) for _, first, last in spoken]
    pairs = matched([each for each, _, _ in written], [each for each, _, _ in spoken])
    places = _places([lines_of[first] for _, first, _ in written], pairs, times, duration)
    of_texts: list[list[_Written]] = [[] for _ in texts]
    for (_, first, _), place in zip(written, places, strict=True):
        of_texts[first].append(place)
    found: list[_Written] = []
    for text, own in zip(texts, of_texts, strict=True):
        found.append(_whole(text, own) if own else _unspoken(text, found))
    rest = iter(found)
    return [list(islice(rest, len(line))) for line in lines]


def _split(line: str, by_letter: bool) -> list[str]:
    """A line as words, each with the space before it, or as letters; also where one word is too long to be one."""
    if by_letter:
        return re.findall(r" ?\S", " ".join(line.split()))
    words = [f" {word}" for word in line.split()]
    return [part for word in words for part in ([word] if len(word) <= _MOST_LETTERS else re.findall(r" ?\S", word))]


def _whole(text: str, parts: Sequence[_Written]) -> _Written:
    """A word as it is written, from those that it is compared as: "ill-disposed" is two of them."""
    first, last = parts[0], parts[-1]
    return _Written(
        Word(text, first.word.start, last.word.end, 0.0),
        first.earliest,
        last.latest,
        is_heard=first.is_heard and last.is_heard,
        is_guess=first.is_guess or last.is_guess,
    )


def _unspoken(text: str, before: Sequence[_Written]) -> _Written:
    """Punctuation that stands alone: at the end of what comes before it."""
    at = before[-1].word.end if before else 0.0
    return _Written(Word(text, at, at, 0.0), at, before[-1].latest if before else 0.0, is_guess=True)


def _places(
    lines: Sequence[int], pairs: Sequence[tuple[int, int]], times: Sequence[_Time], duration: float
) -> Iterator[_Written]:
    """Yield each written word with its time.

    Args:
        lines: the line of each word.
        pairs: the index of a word, and in `times` that of the word that was heard; see `matched`.
        times: of the words that were heard.
    """
    ends = [0.0, *(each.end for each in times)]  # from the beginning to the end of each
    starts = [*(each.start for each in times), duration]
    for (i, j), (later_i, later_j) in pairwise([(-1, -1), *pairs, (len(lines), len(times))]):
        if i >= 0:
            start, end = times[j].start, times[j].end
            latest = max(min(starts[j + 1], end + MARGIN_S), end)
            # The path through the frames gives a passage's first word all that lies before it, so there is no margin.
            yield _Written(Word("", start, end, 0.0), start, latest, is_heard=True)
        between = _Time(ends[j + 1], max(starts[later_j], ends[j + 1]))
        own = lines[i + 1 : later_i]
        said = times[j + 1 : later_j]
        before = lines[i] if i >= 0 else -1
        after = lines[later_i] if later_i < len(lines) else -1
        is_guess = bool(said) or between.end - between.start >= _SHORTEST_WORD_S * len(own)
        reach = _LONGEST_WORD_S * len(own)
        for guess in _guesses(own, said, between, before=before, after=after):
            earliest = max(between.start, guess.start - reach)
            latest = min(between.end, guess.end + reach)
            yield _Written(Word("", guess.start, guess.end, 0.0), earliest, latest, is_guess=is_guess)


def _guesses(
    lines: Sequence[int], said: Sequence[_Time], between: _Time, *, before: int, after: int
) -> Sequence[_Time]:
    """Guess when words were said that were not heard, between two that were.

    Args:
        lines: the line of each word.
        said: the times of other words that were heard there.
        between: the end of the word before, and the start of the word after.
        before, after: the lines of these two; -1: there is none.
    """
    count = len(lines)
    if not said:
        length = min(_UNHEARD_WORD_S, (between.end - between.start) / max(count, 1))
        start = between.end - count * length if before < 0 <= after else between.start
        return [_Time(start + k * length, start + (k + 1) * length) for k in range(count)]
    # What belongs to the line before follows it at once, and what belongs to the line after comes right before it.
    leading = lines.count(before)
    trailing = lines.count(after) if after != before else 0
    middle, others = count - leading - trailing, len(said) - leading - trailing
    if others < 0 or (middle and not others):
        return _spread(count, said)
    behind = len(said) - trailing
    return [*said[:leading], *_spread(middle, said[leading:behind]), *said[behind:]]


def _spread(count: int, said: Sequence[_Time]) -> list[_Time]:
    """Give each of `count` words the time of one that was said; at most every second of these is used."""
    step = min(len(said) / count, 2.0) if count else 0.0
    return [said[int(index * step)] for index in range(count)]
