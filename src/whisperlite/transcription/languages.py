"""Which language is spoken: in a recording, and where it changes. No tensors: probabilities only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from whisperlite.results import Segment

SPAN_S = 3.0  # of audio that one opinion is formed on
HOP_S = 1.0

# A change of language has to be worth it: two spans of clear evidence against the other. A single one, of a name, may
# give any language at all; and one without a clear language brings none in.
_CHANGE = math.log(1e-3)
_LEAST = 1e-2
_CLEAR = 0.5
_SILENT = 0.6  # the reference's no-speech threshold

Probabilities = Mapping[str, float]


def average(found: Sequence[Probabilities]) -> dict[str, float]:
    """The mean of several windows' probabilities."""
    return {code: sum(each[code] for each in found) / len(found) for code in found[0]}


def among(probabilities: Probabilities, allowed: Sequence[str] | None) -> dict[str, float]:
    """Those of the languages that may be detected, as the model gave them."""
    return {code: value for code, value in probabilities.items() if allowed is None or code in allowed}


def likeliest(probabilities: Probabilities) -> tuple[str, float]:
    """The most probable language and its probability; the first of equals."""
    return max(probabilities.items(), key=lambda item: item[1])


def longest_spoken(codes: Iterable[str], segments: Iterable[Segment]) -> str:
    """The language with the most time in segments; among equals, the first one in `codes`."""
    spoken = dict.fromkeys(codes, 0.0)
    for segment in segments:
        spoken[segment.language] = spoken.get(segment.language, 0.0) + (segment.end - segment.start)
    return max(spoken, key=lambda code: spoken[code])


@dataclass(slots=True)
class Detection:
    """The languages of a whole recording, from one window after the other.

    Attributes:
        allowed: those that may be detected; None: all.
        threshold: a language that is as probable needs no further window.
        heard: the probabilities of each window that counts.
    """

    allowed: Sequence[str] | None
    threshold: float
    heard: list[Probabilities] = field(default_factory=list)

    def add(self, probabilities: Probabilities) -> bool:
        """Take one more window; whether it is enough: then it alone counts."""
        self.heard.append(probabilities)
        is_clear = likeliest(among(probabilities, self.allowed))[1] >= self.threshold
        if is_clear:
            self.heard = self.heard[-1:]
        return is_clear

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every language, the mean over the windows that count."""
        return average(self.heard)

    @property
    def decision(self) -> tuple[str, float]:
        """The most probable language of those that may be detected, and its probability."""
        return likeliest(among(self.probabilities, self.allowed))


def spans_of(length_s: float) -> tuple[tuple[float, float], ...]:
    """(start, end) of the spans that a window's content is heard in; one at least."""
    count = max(math.ceil((length_s - SPAN_S) / HOP_S), 0) + 1
    return tuple((index * HOP_S, min(index * HOP_S + SPAN_S, length_s)) for index in range(count))


@dataclass(frozen=True, slots=True)
class LanguageEvidence:
    """What the model says of a part of a recording.

    Attributes:
        probabilities: of each language that may be detected.
        no_speech: the probability that nobody speaks. What is said of a language there is said of noise.
    """

    probabilities: Probabilities
    no_speech: float = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether rather nobody speaks."""
        return self.no_speech > _SILENT

    @property
    def clear_language(self) -> str | None:
        """That which is as probable as all others together, where somebody speaks; None: there is none."""
        code, probability = likeliest(_normalised(self.probabilities))
        return code if probability >= _CLEAR and not self.is_silent else None

    def log_likelihoods(self, codes: Sequence[str]) -> dict[str, float]:
        """Log likelihoods of some languages. A span without speech may come from any of them."""
        shares = _normalised(self.probabilities)
        spoken = 1 - self.no_speech
        return {code: math.log(max(spoken * shares[code] + self.no_speech / len(codes), _LEAST)) for code in codes}


@dataclass(frozen=True, slots=True)
class Beginning:
    """The language that a window begins in.

    Attributes:
        language: its code.
        probability: the mean over the spans in which it is spoken, weighed by how probable it is that somebody speaks.
        end_s: where another language begins, seconds into the window; None: it does not change.
    """

    language: str
    probability: float
    end_s: float | None

    @property
    def is_clear(self) -> bool:
        """Whether it is as probable as all others together."""
        return self.probability >= _CLEAR


def beginning_of(
    found: Sequence[LanguageEvidence], *, whole: LanguageEvidence | None = None, before: str | None = None
) -> Beginning:
    """The first of the languages that explain the spans of a window best, where each change has its price.

    Args:
        found: of each span of `spans_of`.
        whole: of all of the window. Spans are short: they tell where the language changes, and where it does not, the
            whole window knows better which it is. None: it was not heard.
        before: the language of the window before, to begin in another than which is a change too; None: there is none.
    """
    labels = _best_labels(found, before)
    length = next((index for index, label in enumerate(labels) if label != labels[0]), len(labels))
    spoken = [1 - each.no_speech for each in found[:length]]
    weights = spoken if any(spoken) else [1.0] * length
    weighed = (weight * each.probabilities[labels[0]] for weight, each in zip(weights, found, strict=False))
    probability = sum(weighed) / sum(weights)
    if length == len(labels) and whole is not None and whole.clear_language is not None:
        return Beginning(*likeliest(whole.probabilities), None)
    # Between the middles of the last span in one language and the first in the other.
    end_s = None if length == len(labels) else (length - 0.5) * HOP_S + SPAN_S / 2
    return Beginning(labels[0], probability, end_s)


def _normalised(probabilities: Probabilities) -> dict[str, float]:
    """To a sum of 1 among the languages that are allowed."""
    total = sum(probabilities.values())
    return {code: value / total if total else 1 / len(probabilities) for code, value in probabilities.items()}


def _best_labels(found: Sequence[LanguageEvidence], before: str | None) -> list[str]:
    """A language for each span, by dynamic programming (Viterbi 1967)."""
    clear = {code for each in found if (code := each.clear_language) is not None}
    codes = sorted(clear | ({before} if before is not None else set()))
    codes = codes or [likeliest(average([_normalised(each.probabilities) for each in found]))[0]]
    scores = {code: 0.0 if before in (None, code) else _CHANGE for code in codes}
    origins: list[dict[str, str]] = []
    for evidence in (each.log_likelihoods(codes) for each in found):
        best = max(codes, key=lambda code: scores[code])
        # Of equal ways the one that changed earlier: what is said after a silence is not cut at its beginning.
        origin = {code: code if scores[code] >= scores[best] + _CHANGE else best for code in codes}
        scores = {code: scores[origin[code]] + _CHANGE * (origin[code] != code) + evidence[code] for code in codes}
        origins.append(origin)
    labels = [max(codes, key=lambda code: scores[code])]
    for origin in reversed(origins[1:]):
        labels.append(origin[labels[-1]])
    return labels[::-1]
