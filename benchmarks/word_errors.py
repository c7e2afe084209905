"""Texts → which words are wrong, and how. Runs in the reference's environment, with Whisper's normaliser and jiwer.

In: JSON lines with `lang`, `truth` and `text`; a `lang` that is no language's takes the rules that suit all.
Out: for each the fields of `WordErrors`; in words, or in characters for languages that are written without spaces.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.parity.store import read_lines, write_lines

PHRASE = 3


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The differences between a text and the truth.

    Attributes:
        length: words of the truth.
        lost: words of the truth that are missing from the text (deletions).
        inserted: words of the text that are not in the truth.
        substituted: words of the truth with another word in their place.
        phrases: those of `inserted` that come three or more in a row, and so are more than a misheard word.
    """

    length: int
    lost: int
    inserted: int
    substituted: int
    phrases: int

    @property
    def found(self) -> int:
        return self.length - self.lost - self.substituted

    @property
    def errors(self) -> int:
        return self.lost + self.inserted + self.substituted


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    write_lines(target, [asdict(count(line["lang"], line["truth"], line["text"])) for line in read_lines(source)])


def count(lang: str, truth: str, text: str) -> WordErrors:
    # Here, because the project's own environment reads this module too, for its values.
    import jiwer

    from benchmarks.count_errors import _normalise

    truth, text = _normalise(lang, truth), _normalise(lang, text)
    if not truth:
        made_up = len(text.split())
        return WordErrors(0, 0, made_up, 0, made_up)
    words = jiwer.process_words(truth, text)
    runs = [chunk.hyp_end_idx - chunk.hyp_start_idx for chunk in words.alignments[0] if chunk.type == "insert"]
    phrases = sum(run for run in runs if run >= PHRASE)
    return WordErrors(len(truth.split()), words.deletions, words.insertions, words.substitutions, phrases)


if __name__ == "__main__":
    main()
