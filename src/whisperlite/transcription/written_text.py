"""A text without times, and what was heard → segments and passages, timed by the words that are heard as written."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from typing import Literal

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.errors import OptionError
from whisperlite.formats.sentences import fitting, sentences
from whisperlite.kinds import is_unicode
from whisperlite.languages import UNSPACED_LANGUAGES
from whisperlite.results import Segment, Transcription, Word
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcript_search import compared_words
from whisperlite.transcription.matching import matched
from whisperlite.transcription.passages import LONGEST_S, MARGIN_S, MOST_TOKENS, Passage
from whisperlite.transcription.record import Record

_USUAL_S = 25.0  # longest passage, so that a window has room around it for words that were not heard
_MOST_LETTERS = 100  # of a word
_SHORTEST_WORD_S = 0.1  # where there is less time for each of the words, they were not said
_UNHEARD_WORD_S = 0.3
_LONGEST_WORD_S = 1.0  # words that were not heard are looked for this far around where they are supposed, for each


def checked_text(text: str) -> str:
    """Check what can be checked before the recording is read, and return the text without a byte order mark.

    Raises:
        OptionError: there is no text, or it is not Unicode.
    """
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise OptionError("There is no text to align: give what is said in the recording.", option="transcript")
    if not is_unicode(text):
        raise OptionError("The text has half a surrogate pair, which is no character.", option="transcript")
    return text


def place_text(
    text: str, heard: Transcription, tokenizer: Tokenizer, record: Record, check: Callable[[], None] = lambda: None
) -> tuple[Transcription, list[Passage]]:
    """Return a text as a transcript without words, and its passages.

    Each line is a segment; one that does not fit into a window is cut into its sentences, and a long sentence at its
    clauses. Segments are joined into one passage where it is not known where the one ends and the other begins.

    Args:
        text: as `checked_text` returns it.
        heard: the transcription of the recording, with words.
        record: gets a warning if segments were not heard.
        check: is called now and then, and may raise an error to stop.
    """
    lines = _lines(text, heard, record.bounds.duration, check)
    parts = [part for line in lines for part in _divided(line, tokenizer)]
    segments = [_segment(number, part, heard) for number, part in enumerate(parts)]
    unheard = [part for part in parts if not _is_mark(part) and all(each.place.kind != "heard" for each in part)]
    if unheard:
        first = "".join(each.text for each in unheard[0]).strip()
        record.warn(
            f"Nothing of {len(unheard)} of {len(segments)} segments was heard as it is written, so their times may be "
            f"wrong. The first of them is {first[:40]!r}, at about {unheard[0][0].place.start:.0f} s."
        )
    passages: list[Passage] = []
    waiting, earliest = iter(segments), 0.0
    for group in _groups(parts, tokenizer):
        start, end = _span(list(chain.from_iterable(group)))
        earliest = max(start, earliest)  # passages are in order
        passages.append(Passage.between(list(islice(waiting, len(group))), earliest, end, record.bounds))
    return replace(heard, segments=tuple(segments), skipped=(), attempts=()), passages


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a word was said or may have been said, in seconds.

    Attributes:
        start, end: its time, or a guess.
        earliest, latest: it was not said before or after these.
        kind: "heard": it was heard as it is written. "guessed": it was not, but there is room for it, where something
            else was heard or nothing. "unsaid": there is no room for it.
    """

    start: float
    end: float
    earliest: float
    latest: float
    kind: Literal["heard", "guessed", "unsaid"]


@dataclass(frozen=True, slots=True)
class _Written:
    """A written word, with the space before it, and its place; or a letter, in a language without spaces."""

    text: str
    place: _Place

    @property
    def word(self) -> Word:
        return Word(self.text, self.place.start, self.place.end, 0.0)


_Part = Sequence[_Written]
"""Words that become a segment."""


@dataclass(frozen=True, slots=True)
class _Time:
    """When a word was heard, or a stretch between words, in seconds."""

    start: float
    end: float


# Segments and passages


def _divided(line: _Part, tokenizer: Tokenizer) -> Iterator[_Part]:
    """Cut a line into parts that fit into a window."""

    def fits(words: Sequence[Word]) -> bool:
        text = "".join(each.word for each in words)
        return words[-1].end - words[0].start <= _USUAL_S and _n_tokens(text, tokenizer) <= MOST_TOKENS

    words = [each.word for each in line]
    rest = iter(line)
    cut = [words] if fits(words) else chain.from_iterable(fitting(each, fits) for each in sentences(words))
    for part in cut:
        yield list(islice(rest, len(part)))


def _groups(parts: Sequence[_Part], tokenizer: Tokenizer) -> Iterator[list[_Part]]:
    """Join parts where one ends or the next begins with a word of uncertain time, or one has no words, if they fit."""
    group: list[_Part] = []
    n_tokens = 0
    for part in parts:
        own = _n_tokens("".join(each.text for each in part), tokenizer)
        if group:
            is_guess = "guessed" in (group[-1][-1].place.kind, part[0].place.kind)
            has_marks = _is_mark(part) or all(map(_is_mark, group))
            is_long = part[-1].place.end - group[0][0].place.start > _USUAL_S or n_tokens + own > MOST_TOKENS
            if is_long or not (is_guess or has_marks):
                yield group
                group, n_tokens = [], 0
        group.append(part)
        n_tokens += own
    yield group


def _n_tokens(text: str, tokenizer: Tokenizer) -> int:
    return len(tokenizer.encode(text))


def _span(words: _Part) -> tuple[float, float]:
    """Where the words of a passage are looked for, in seconds: around those heard, as far as a window reaches."""
    known = [each.place for each in words if each.place.kind == "heard"] or [each.place for each in words]
    start, end = known[0].start, known[-1].end
    before, after = start - words[0].place.earliest, words[-1].place.latest - end
    room = max(LONGEST_S - (end - start), 0.0)
    before = min(before, max(room / 2, room - after))
    return start - before, end + min(after, room - before)


def _segment(number: int, part: _Part, heard: Transcription) -> Segment:
    """A segment without words; its uncertain times are as early or late as they can be, so that words decide."""
    first, last = part[0].place, part[-1].place
    start = first.start if first.kind == "heard" else first.earliest
    end = last.end if last.kind == "heard" else last.latest
    seek = round(start * FRAMES_PER_SECOND)
    attempts = [each for each in heard.attempts if each.accepted and each.seek <= seek]
    return Segment(
        id=number,
        seek=seek,
        start=start,
        end=max(end, start),
        text="".join(each.text for each in part),
        tokens=(),
        temperature=0.0,
        avg_logprob=0.0,
        compression_ratio=1.0,
        no_speech_prob=(attempts[-1].no_speech_prob or 0.0) if attempts else 0.0,
        language=heard.language,
    )


def _is_mark(part: _Part) -> bool:
    """Whether it is only punctuation, such as *** or ♪."""
    return not compared_words([each.text for each in part], by_letter=True)


# Times


def _lines(text: str, heard: Transcription, duration: float, check: Callable[[], None]) -> list[_Part]:
    """The words of each line, with their places."""
    by_letter = heard.language in UNSPACED_LANGUAGES
    lines = [_split(line, by_letter) for line in text.splitlines() if line.strip()]
    words = [word for line in lines for word in line]
    lines_of = [number for number, line in enumerate(lines) for _ in line]
    written = compared_words(words, by_letter=by_letter)
    spoken = compared_words([each.word for each in heard.words], by_letter=by_letter)
    pairs = matched([each for each, _, _ in written], [each for each, _, _ in spoken], check)
    times = [_Time(heard.words[first].start, heard.words[last].end) for _, first, last in spoken]
    owned: list[list[_Place]] = [[] for _ in words]
    places = _places([lines_of[first] for _, first, _ in written], pairs, times, duration)
    for (_, index, _), each in zip(written, places, strict=True):
        owned[index].append(each)
    known = [_joint(own) if own else None for own in owned]
    anywhere = _Place(0.0, 0.0, 0.0, duration, "guessed")
    beginning = next((place for place in known if place is not None), anywhere)
    rest = iter(zip(words, known, strict=True))
    found: list[_Part] = []
    place = replace(beginning, end=beginning.start)
    for line in lines:
        found.append(_with_marks(list(islice(rest, len(line))), place))
        place = found[-1][-1].place
    return found


def _with_marks(line: Sequence[tuple[str, _Place | None]], before: _Place) -> _Part:
    """A line in which words without a place, which are only punctuation, are with the word before or after them.

    Args:
        before: the place of the word before the line, for a line without any other words.
    """
    first = next((place for _, place in line if place is not None), None)
    place = before if first is None else replace(first, end=first.start)
    found = []
    for text, own in line:
        place = own or replace(place, start=place.end)
        found.append(_Written(text, place))
    return found


def _split(line: str, by_letter: bool) -> list[str]:
    """A line as words, each with the space before it, or as letters."""
    words = _letters(" ".join(line.split())) if by_letter else [f" {word}" for word in line.split()]
    return [word[at : at + _MOST_LETTERS] for word in words for at in range(0, len(word), _MOST_LETTERS)]


def _letters(line: str) -> list[str]:
    """The letters of a line, each with the space before it and its marks; a word of Latin letters or digits is one."""
    found: list[str] = []
    for letter in line:
        before = found[-1][-1] if found else ""
        is_word = letter.isascii() and letter.isalnum() and before.isascii() and before.isalnum()
        if before == " " or is_word or (before and unicodedata.category(letter)[0] == "M"):
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _joint(places: Sequence[_Place]) -> _Place:
    """The place of a word as it is written, from those that it is compared as: "ill-disposed" is two of them."""
    first, last = places[0], places[-1]
    kind = first.kind if first.kind == last.kind else "guessed"
    return _Place(first.start, last.end, first.earliest, last.latest, kind)


def _places(
    lines: Sequence[int], pairs: Sequence[tuple[int, int]], times: Sequence[_Time], duration: float
) -> Iterator[_Place]:
    """Yield the place of each written word.

    Args:
        lines: the line of each word.
        pairs: the index of a word, and in `times` that of the word that was heard; see `matched`.
        times: of the words that were heard.
    """
    ends = [0.0, *(each.end for each in times)]  # of the beginning of the recording, and of each
    starts = [*(each.start for each in times), duration]
    for (i, j), (later_i, later_j) in pairwise([(-1, -1), *pairs, (len(lines), len(times))]):
        if i >= 0:
            start, end = times[j].start, times[j].end
            # The path through the frames gives a passage's first word all that lies before it, so there is no margin.
            yield _Place(start, end, start, max(min(starts[j + 1], end + MARGIN_S), end), "heard")
        between = _Time(ends[j + 1], max(starts[later_j], ends[j + 1]))
        own, said = lines[i + 1 : later_i], times[j + 1 : later_j]
        before = lines[i] if i >= 0 else None
        after = lines[later_i] if later_i < len(lines) else None
        has_room = said or between.end - between.start >= _SHORTEST_WORD_S * len(own)
        reach = _LONGEST_WORD_S * len(own)
        for guess in _guesses(own, said, between, before, after):
            earliest, latest = max(between.start, guess.start - reach), min(between.end, guess.end + reach)
            yield _Place(guess.start, guess.end, earliest, latest, "guessed" if has_room else "unsaid")


def _guesses(
    lines: Sequence[int], said: Sequence[_Time], between: _Time, before: int | None, after: int | None
) -> list[_Time]:
    """Guess when words were said that were not heard, between two that were.

    Args:
        lines: the line of each word.
        said: the times of other words that were heard there.
        between: the end of the word before, and the start of the word after.
        before, after: the lines of these two; None where the text begins or ends.
    """
    count = len(lines)
    is_beginning = before is None and after is not None  # and so close to what comes after it
    if not said:
        length = min(_UNHEARD_WORD_S, (between.end - between.start) / max(count, 1))
        start = between.end - count * length if is_beginning else between.start
        return [_Time(start + k * length, start + (k + 1) * length) for k in range(count)]
    # What belongs to the line before follows it at once, and what belongs to the line after comes right before it.
    leading = lines.count(before) if before is not None else 0
    trailing = lines.count(after) if after is not None and after != before else 0
    middle, others = count - leading - trailing, len(said) - leading - trailing
    if others < 0 or (middle and not others):
        return _spread(count, said, from_end=is_beginning)
    behind = len(said) - trailing
    return [*said[:leading], *_spread(middle, said[leading:behind], from_end=is_beginning), *said[behind:]]


def _spread(count: int, said: Sequence[_Time], *, from_end: bool) -> list[_Time]:
    """Give each of `count` words the time of one that was said, of which at most every second is used."""
    if from_end:
        return _spread(count, said[::-1], from_end=False)[::-1]
    step = min(len(said) / count, 2.0) if count else 0.0
    return [said[int(index * step)] for index in range(count)]
