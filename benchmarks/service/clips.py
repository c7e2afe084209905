"""What is sent: short clips of several languages and some long ones, in one order for all sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.parity.matrix import read_manifest
from benchmarks.parity.store import file_sha256
from benchmarks.silence.clips import LANGUAGES

SHORT_S = 15.0
BEAM_SIZE = 5
SEED = 0

_PER_LANGUAGE = 5
_SHORTEST_S = 1.0
_LONG_S = (30.0, 195.0)
_MADE = ("variants", "pauses", "short")  # folders of clips that were made from other recordings


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, and what it is transcribed with."""

    path: str
    sha256: str
    language: str
    seconds: float

    @property
    def is_short(self) -> bool:
        return self.seconds < SHORT_S

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose(evaluation: Path) -> list[Clip]:
    """Choose the same number of short clips of each language, spread over the list, and all long ones.

    Only languages that `base` is good at: in others it falls back often, and how often differs by chance between
    libraries.
    """
    evaluation = evaluation.resolve()
    lines = [
        line
        for line in read_manifest(evaluation)
        if line["kind"] in ("short", "long", "multilingual") and line["lang"] in LANGUAGES
        if Path(line["file"]).relative_to(evaluation).parts[1] not in _MADE
    ]
    chosen = []
    for language in LANGUAGES:
        short = [line for line in lines if line["lang"] == language and _SHORTEST_S <= line["seconds"] < SHORT_S]
        count = min(_PER_LANGUAGE, len(short))
        chosen += [short[index * len(short) // count] for index in range(count)]
    chosen += [line for line in lines if _LONG_S[0] <= line["seconds"] <= _LONG_S[1]]
    if not chosen:
        raise SystemExit(f"{evaluation} has no clips of the lengths and languages that are sent.")
    return [Clip(line["file"], file_sha256(Path(line["file"])), line["lang"], line["seconds"]) for line in chosen]


def in_order(clips: Sequence[Clip], seed: int = SEED) -> Iterator[Clip]:
    """Yield the clips without end, shuffled anew in each pass.

    Long clips are spread evenly, so that a slower side gets the same mixture.
    """
    generator = Random(seed)
    short, long = [each for each in clips if each.is_short], [each for each in clips if not each.is_short]
    while True:
        generator.shuffle(short)
        generator.shuffle(long)
        stretches = max(1, len(long))
        for index in range(stretches):
            stretch = short[index * len(short) // stretches : (index + 1) * len(short) // stretches]
            if long:
                stretch.insert(generator.randint(0, len(stretch)), long[index])
            yield from stretch
