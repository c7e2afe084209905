"""Compares transcripts as texts, whatever their case, spaces and punctuation. Strings only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_APOSTROPHES = "'’ʼ＇"
_ONE_APOSTROPHE = dict.fromkeys(map(ord, _APOSTROPHES), "'")


def occurrences(phrase: str, pieces: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where a phrase occurs in the text that pieces form together, in order and without overlaps.

    Args:
        phrase: the text to look for. Punctuation and symbols in `pieces` count only if it contains some.
        pieces: the words or segments of a transcript.

    Yields:
        The indices of the first and the last piece that an occurrence touches.
    """
    with_signs = any(_is_sign(letter) and letter not in _APOSTROPHES for letter in phrase)
    wanted = " ".join(_folded(phrase, with_signs).split())
    if not wanted:
        return
    letters, owners = _letters(pieces, with_signs)
    for found in re.finditer(re.escape(wanted), letters):
        yield owners[found.start()], owners[found.end() - 1]


def compared_words(pieces: Sequence[str], *, by_letter: bool) -> list[tuple[str, int, int]]:
    """The words of the text that pieces form together, as they are compared: without case and punctuation.

    Args:
        pieces: the words or lines of a transcript.
        by_letter: whether each letter is a word, for languages that are written without spaces.

    Returns:
        For each word, the word and the indices of the first and the last piece that it touches.
    """
    letters, owners = _letters(pieces, with_signs=False)
    pattern = r"\S" if by_letter else r"\S+"
    return [(found.group(), owners[found.start()], owners[found.end() - 1]) for found in re.finditer(pattern, letters)]


def _letters(pieces: Sequence[str], with_signs: bool) -> tuple[str, list[int]]:
    """The text that pieces form together, as it is compared, and for each letter the index of its piece."""
    letters: list[str] = []
    owners: list[int] = []
    for index, piece in enumerate(pieces):
        for letter in _folded(piece, with_signs):
            if letter != " " or letters[-1:] != [" "]:
                letters.append(letter)
                owners.append(index)
    return "".join(letters), owners


def _folded(text: str, with_signs: bool) -> str:
    """The text as it is compared: any whitespace is " ", so is a dash unless signs count, and what is unseen is not."""
    return "".join(
        " " if letter.isspace() or (_is_dash(letter) and not with_signs) else letter
        for letter in unicodedata.normalize("NFC", text).casefold().translate(_ONE_APOSTROPHE)
        if unicodedata.category(letter) != "Cf" and (with_signs or _is_dash(letter) or not _is_sign(letter))
    )


def _is_dash(letter: str) -> bool:
    """Whether it separates two words: "ill-disposed", "yes—no", "and/or"."""
    return unicodedata.category(letter) == "Pd" or letter in "/…"


def _is_sign(letter: str) -> bool:
    """Whether it is punctuation or a symbol; accents and vowel signs are neither."""
    return unicodedata.category(letter)[0] in "PS"
