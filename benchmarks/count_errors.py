"""Texts → errors. Runs in the reference's environment, where Whisper's normaliser and jiwer are installed.

In: JSON lines with `lang`, `truth` and `text`. Out: for each `[errors, length of the truth]`, in words, or in
characters for languages that are written without spaces.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from benchmarks.parity.store import read_lines, write_lines

UNSPACED = {"ja", "zh"}


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    write_lines(target, [count(line["lang"], line["truth"], line["text"]) for line in read_lines(source)])


def count(lang: str, truth: str, text: str) -> tuple[int, int]:
    """Return the number of substitutions, deletions and insertions, and the length of the truth."""
    truth, text = _normalise(lang, truth), _normalise(lang, text)
    if not truth:
        return len(text.split()), 0
    words = jiwer.process_words(truth, text)
    return words.substitutions + words.deletions + words.insertions, len(truth.split())


def _normalise(lang: str, text: str) -> str:
    return " ".join(_normaliser(lang)(text).split())


@cache
def _normaliser(lang: str) -> EnglishTextNormalizer | BasicTextNormalizer:
    return EnglishTextNormalizer() if lang == "en" else BasicTextNormalizer(split_letters=lang in UNSPACED)


if __name__ == "__main__":
    main()
