"""Word times of one run against the reference's: each is equal, or differs for a computed reason, or is a defect.

The reference has answered as published and with each combination of its known errors corrected (`reference`).
A time that differs from the published answer and equals a corrected one has the correction's name as its reason code;
the smallest combination counts. The code `9` is added where the reference's time lies behind the end of the recording,
outside of its own segment, short of its own words or out of order, and ours is that time, moved to the nearest place
that is none of these.
A run that leaves the reference's where its next window does not advance has the code `24`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from math import inf
from typing import Any

from benchmarks.parity.matrix import Run
from benchmarks.parity.store import Answer

ALLOWED_S = 0.02
ALLOWED_PROBABILITY = 1e-2
_ROUNDING = 1e-6  # of differences between times that have two decimals

_NOTHING = (inf, -inf)

Span = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Time:
    """A start or an end time on both sides.

    Attributes:
        ours, theirs: seconds; theirs as published, or with the corrections that give our tokens.
        code: the reason why they differ; "" if they are equal within the limit; None if no reason is known.
    """

    ours: float
    theirs: float
    code: str | None

    @property
    def difference(self) -> float:
        return abs(self.ours - self.theirs)


@dataclass(frozen=True, slots=True)
class Compared:
    """A word or a segment on both sides."""

    text: str
    start: Time
    end: Time

    @property
    def code(self) -> str | None:
        """The reason code of its times: "" if both are equal; None if one differs for no known reason."""
        if self.start.code is None or self.end.code is None:
            return None
        return "+".join(sorted({*_names(self.start.code), *_names(self.end.code)}))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        tokens_code: the corrections with which the reference has our tokens; "" if it has them as published.
        tokens_defect: where tokens, windows or words differ for no known reason; "" if nowhere.
        segments, words: all that were compared.
        probability_error: the largest difference of a word's probability.
        left_out: the number of our words after the place where tokens differ, which were not compared.
    """

    run: Run
    tokens_code: str = ""
    tokens_defect: str = ""
    segments: list[Compared] = field(default_factory=list)
    words: list[Compared] = field(default_factory=list)
    probability_error: float = 0.0
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.run.name, **asdict(self)}


def compare(run: Run, theirs: Answer, ours: Answer) -> Outcome:
    """Compare a run as far as the tokens are the same.

    Args:
        theirs: names of corrections, "" for none, → what `reference` says of that answer.
        ours: `segments` of the same form, `seeks` of the windows, and the recording's `duration`.
    """
    variants = dict(sorted(theirs.items(), key=lambda item: (len(_names(item[0])), item[0])))
    tokens_code, tokens_defect = _judge_tokens(variants, ours)
    our_spans = _Spans.of(ours["segments"], ours["duration"])
    shared = {name: _common_segments(each["segments"], ours["segments"]) for name, each in variants.items()}
    their_spans = {
        name: _Spans.of(each["segments"][: shared[name]], ours["duration"]) for name, each in variants.items()
    }
    segments: list[Compared] = []
    for index, segment in enumerate(ours["segments"][: max(shared.values())]):
        rows = {name: spans.segments for name, spans in their_spans.items() if index < shared[name]}
        segments.append(_compare_span(segment["text"], our_spans.segments, rows, index))
    words: list[Compared] = []
    probability_error = 0.0
    for at, (word, home) in enumerate(zip(our_spans.words.spans, our_spans.homes, strict=True)):
        rows = {name: spans.words for name, spans in their_spans.items() if home < shared[name]}
        if not rows:
            break
        words.append(_compare_span(word["word"], our_spans.words, rows, at))
        published = next(iter(rows.values())).spans[at]
        probability_error = max(probability_error, abs(word["probability"] - published["probability"]))
    left_out = len(our_spans.homes) - len(words)
    return Outcome(run, tokens_code, tokens_defect, segments, words, probability_error, left_out)


def _names(code: str) -> list[str]:
    return code.split("+") if code else []


def _identity(segment: Span) -> tuple[int, list[int], list[str]]:
    return segment["seek"], segment["tokens"], [word["word"] for word in segment["words"]]


def _common_segments(theirs: Sequence[Span], ours: Sequence[Span]) -> int:
    """Count the segments at the beginning that have the same windows, tokens and words on both sides."""
    pairs = enumerate(zip(theirs, ours, strict=False))
    return next((i for i, (a, b) in pairs if _identity(a) != _identity(b)), min(len(theirs), len(ours)))


def _judge_tokens(variants: dict[str, Answer], ours: Answer) -> tuple[str, str]:
    """Return the reason code of the tokens, and the defect if there is one."""
    for name, variant in variants.items():
        shared = _common_segments(variant["segments"], ours["segments"])
        if variant["seeks"] == ours["seeks"] and shared == len(variant["segments"]) == len(ours["segments"]):
            return name, ""
    for name, variant in variants.items():
        seeks, shared = variant["seeks"], _common_segments(variant["segments"], ours["segments"])
        if variant["stuck"] and seeks == ours["seeks"][: len(seeks)] and shared == len(variant["segments"]):
            return "+".join([*_names(name), "24"]), ""
    return "", _first_difference(next(iter(variants.values())), ours)


def _first_difference(theirs: Answer, ours: Answer) -> str:
    shared = _common_segments(theirs["segments"], ours["segments"])
    counts = f"{shared} segments are the same, of {len(ours['segments'])} (reference {len(theirs['segments'])})"
    for window, (our, their) in enumerate(zip_longest(ours["seeks"], theirs["seeks"])):
        if our != their:
            return f"{counts}; window {window} begins at frame {our}, reference {their}"
    return f"{counts}; the windows are the same"


@dataclass(frozen=True, slots=True)
class _Row:
    """Consecutive spans of time, and the limits between which each may lie."""

    spans: Sequence[Span]
    limits: Sequence[tuple[float, float]]
    holds: Sequence[tuple[float, float]]  # the time that each must cover

    def bounds(self, at: int, side: str) -> tuple[float, float]:
        """Return the times between which a start or an end stays in order and within its limits."""
        if side == "start":
            before, after = (self.spans[at - 1]["end"] if at else 0.0), min(self.spans[at]["end"], self.holds[at][0])
        else:
            before = max(self.spans[at]["start"], self.holds[at][1])
            after = self.spans[at + 1]["start"] if at + 1 < len(self.spans) else inf
        lowest, highest = self.limits[at]
        return max(before, lowest), min(after, highest)


@dataclass(frozen=True, slots=True)
class _Spans:
    """The segments of an answer within the recording, and its words within their segments (`homes`: which one)."""

    segments: _Row
    words: _Row
    homes: Sequence[int]

    @classmethod
    def of(cls, segments: Sequence[Span], duration: float) -> _Spans:
        pairs = [(index, word) for index, segment in enumerate(segments) for word in segment["words"]]
        homes = [index for index, _ in pairs]
        limits = [(segments[home]["start"], min(segments[home]["end"], duration)) for home in homes]
        edges = [
            (each["words"][0]["start"], each["words"][-1]["end"]) if each["words"] else _NOTHING for each in segments
        ]
        return cls(
            _Row(segments, [(0.0, duration)] * len(segments), edges),
            _Row([word for _, word in pairs], limits, [_NOTHING] * len(pairs)),
            homes,
        )


def _compare_span(text: str, ours: _Row, theirs: dict[str, _Row], at: int) -> Compared:
    return Compared(text, *(_compare_time(side, ours, theirs, at) for side in ("start", "end")))


def _compare_time(side: str, ours: _Row, theirs: dict[str, _Row], at: int) -> Time:
    """Compare a time with the reference's: as published, with corrections, and moved to where it should be.

    Args:
        theirs: corrections → the reference's row; the smaller combinations first.
    """
    our = float(ours.spans[at][side])
    ways: list[tuple[int, str]] = []
    for name, row in theirs.items():
        their = float(row.spans[at][side])
        if _is_within(our, their):
            ways.append((len(_names(name)), name))
        if _is_outside(their, row.bounds(at, side)):
            lower, upper = ours.bounds(at, side)
            if _is_within(our, min(max(their, lower), upper)):
                ways.append((len(_names(name)) + 1, "+".join([*_names(name), "9"])))
    published = float(next(iter(theirs.values())).spans[at][side])
    return Time(our, published, min(ways)[1] if ways else None)


def _is_outside(time: float, bounds: tuple[float, float]) -> bool:
    return time < bounds[0] - _ROUNDING or time > bounds[1] + _ROUNDING


def _is_within(a: float, b: float) -> bool:
    return abs(a - b) <= ALLOWED_S + _ROUNDING
