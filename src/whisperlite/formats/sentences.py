"""Cuts words into sentences, and long sentences into parts, for cues that follow sentences.

The reference has no such option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from whisperlite.results import Word

_PAUSE_S = 3.0  # a longer time between the beginnings of two words is a pause
_SHORTEST_S = 1.0  # a shorter sentence could not be read in time, so it shares a cue with the next one
_CLOSING = "\"')\\]}»”’」』】"
_SENTENCE_END = re.compile(f"[.!?…。．！？؟।۔][{_CLOSING}]*$")
_CLAUSE_END = re.compile(f"[,;:，、；：،—–][{_CLOSING}]*$")
# A dot after one of these, or after single letters (J., p.m., U.S.), does not end a sentence.
_ABBREVIATIONS = frozenset({"dr", "jr", "mr", "mrs", "ms", "prof", "sr", "st", "vs"})
_ABBREVIATED = re.compile(r"\W*(?P<name>\w+)\.$")
_LETTERS = re.compile(r"\W*(?:[^\W\d_]\.)+$")


def sentences(words: Iterable[Word]) -> Iterator[list[Word]]:
    """Cut words after the end of a sentence and before a long pause."""
    sentence: list[Word] = []
    for word in words:
        if sentence and (is_pause(sentence[-1], word) or _is_complete(sentence)):
            yield sentence
            sentence = []
        sentence.append(word)
    if sentence:
        yield sentence


def is_pause(before: Word, after: Word) -> bool:
    """Whether there is a pause between two words, by the reference's measure: from the beginning of each."""
    return after.start - before.start > _PAUSE_S


def fitting(words: Sequence[Word], fits: Callable[[Sequence[Word]], bool]) -> Iterator[Sequence[Word]]:
    """Halve a run of words until each part fits, or is one word."""
    if len(words) < 2 or fits(words):
        yield words
        return
    cut = _best_cut(words)
    yield from fitting(words[:cut], fits)
    yield from fitting(words[cut:], fits)


def _is_complete(words: Sequence[Word]) -> bool:
    last = words[-1].word.rstrip()
    abbreviated = _ABBREVIATED.match(last)
    if _LETTERS.match(last) or (abbreviated is not None and abbreviated["name"].lower() in _ABBREVIATIONS):
        return False
    return _SENTENCE_END.search(last) is not None and words[-1].end - words[0].start >= _SHORTEST_S


def _best_cut(words: Sequence[Word]) -> int:
    """The index of the word that begins the second half.

    It is the one nearest the middle that follows a clause or, if no clause ends near the middle, the nearest of all.
    """
    start, end = words[0].start, words[-1].end
    middle, quarter = (start + end) / 2, (end - start) / 4

    def distance(index: int) -> tuple[float, float]:
        return abs(words[index].start - middle), abs(index - len(words) / 2)

    cuts = range(1, len(words))
    clauses = [
        index for index in cuts if _CLAUSE_END.search(words[index - 1].word.rstrip()) and distance(index)[0] <= quarter
    ]
    return min(clauses or cuts, key=distance)
