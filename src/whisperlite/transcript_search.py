"""Finds a phrase in a transcript, whatever its case, spaces and punctuation. Strings only."""

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
    letters: list[str] = []
    owners: list[int] = []  # for each letter, the index of its piece
    for index, piece in enumerate(pieces):
        for letter in _folded(piece, with_signs):
            if letter != " " or letters[-1:] != [" "]:
                letters.append(letter)
                owners.append(index)
    for found in re.finditer(re.escape(wanted), "".join(letters)):
        yield owners[found.start()], owners[found.end() - 1]


def _folded(text: str, with_signs: bool) -> str:
    """The text as it is compared: any whitespace is " ", and so is a dash unless signs count."""
    return "".join(
        " " if letter.isspace() or (_is_dash(letter) and not with_signs) else letter
        for letter in unicodedata.normalize("NFC", text).casefold().translate(_ONE_APOSTROPHE)
        if with_signs or _is_dash(letter) or not _is_sign(letter)
    )


def _is_dash(letter: str) -> bool:
    """Whether it separates two words: "ill-disposed", "yes—no", "and/or"."""
    return unicodedata.category(letter) == "Pd" or letter in "/…"


def _is_sign(letter: str) -> bool:
    """Whether it is punctuation or a symbol; accents and vowel signs are neither."""
    return unicodedata.category(letter)[0] in "PS"
