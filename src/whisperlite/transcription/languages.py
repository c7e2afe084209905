"""Which language is spoken in a recording, and where it changes. No tensors, only probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from whisperlite.results import Segment

SPAN_S = 3.0  # the length of the spans whose languages are compared
HOP_S = 1.0  # the distance between their starts

# The cost of a change of language: it takes two spans of clear evidence. A single span, such as one with a name, may
# point to any language. A language that is not clear in any span is not considered.
_CHANGE = math.log(1e-3)
_LEAST = 1e-2  # the least likelihood of a language in a span
_CLEAR = 0.5  # the probability from which on a language is clear
_SILENT = 0.6  # the reference's no-speech threshold

Probabilities = Mapping[str, float]


def average(found: Sequence[Probabilities]) -> dict[str, float]:
    """Return the mean of several windows' probabilities."""
    return {code: sum(each[code] for each in found) / len(found) for code in found[0]}


def among(probabilities: Probabilities, allowed: Sequence[str] | None) -> dict[str, float]:
    """Return the probabilities of the languages that may be detected, unchanged; `allowed=None` allows all."""
    return {code: value for code, value in probabilities.items() if allowed is None or code in allowed}


def likeliest(probabilities: Probabilities) -> tuple[str, float]:
    """Return the most probable language, the first among equals, and its probability."""
    return max(probabilities.items(), key=lambda item: item[1])


def longest_spoken(codes: Iterable[str], segments: Iterable[Segment]) -> str:
    """The language with the most time in segments; among equals, the first one in `codes`."""
    spoken = dict.fromkeys(codes, 0.0)
    for segment in segments:
        spoken[segment.language] = spoken.get(segment.language, 0.0) + (segment.end - segment.start)
    return max(spoken, key=lambda code: spoken[code])


@dataclass(slots=True)
class Detection:
    """The detection of a recording's language, window by window.

    Attributes:
        allowed: the languages that may be detected; None for all.
        threshold: the probability of a language from which on no further window is needed.
        windows: the probabilities in each window that counts.
    """

    allowed: Sequence[str] | None
    threshold: float
    windows: list[Probabilities] = field(default_factory=list)

    def add(self, probabilities: Probabilities) -> bool:
        """Add a window; returns whether its language is clear enough, in which case only this window counts."""
        self.windows.append(probabilities)
        is_clear = likeliest(among(probabilities, self.allowed))[1] >= self.threshold
        if is_clear:
            self.windows = self.windows[-1:]
        return is_clear

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of every language: the mean over the windows that count."""
        return average(self.windows)

    @property
    def decision(self) -> tuple[str, float]:
        """The most probable of the languages that may be detected, and its probability."""
        return likeliest(among(self.probabilities, self.allowed))


def spans_of(length_s: float) -> tuple[tuple[float, float], ...]:
    """Divide a window's content into overlapping spans, at least one; returns their (start, end) in seconds."""
    count = max(math.ceil((length_s - SPAN_S) / HOP_S), 0) + 1
    return tuple((index * HOP_S, min(index * HOP_S + SPAN_S, length_s)) for index in range(count))


@dataclass(frozen=True, slots=True)
class LanguageEvidence:
    """What the model says about the language of a part of a recording.

    Attributes:
        probabilities: the probability of each language that may be detected.
        no_speech: the probability that nobody speaks, so that the languages were found in noise.
    """

    probabilities: Probabilities
    no_speech: float = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it is likely that nobody speaks."""
        return self.no_speech > _SILENT

    @property
    def clear_language(self) -> str | None:
        """The language at least as probable as all others together; None if there is none, or nobody speaks."""
        code, probability = likeliest(_normalised(self.probabilities))
        return code if probability >= _CLEAR and not self.is_silent else None

    def log_likelihoods(self, codes: Sequence[str]) -> dict[str, float]:
        """Return the log likelihood of each of some languages. A part without speech fits all of them equally."""
        shares = _normalised(self.probabilities)
        spoken = 1 - self.no_speech
        return {code: math.log(max(spoken * shares[code] + self.no_speech / len(codes), _LEAST)) for code in codes}


@dataclass(frozen=True, slots=True)
class Beginning:
    """The language that a window begins in.

    Attributes:
        language: its code.
        probability: its mean probability over the spans in which it is spoken, weighted by the probability of speech.
        end_s: the time in the window, in seconds, at which another language begins; None if none does.
    """

    language: str
    probability: float
    end_s: float | None

    @property
    def is_clear(self) -> bool:
        """Whether it is at least as probable as all others together."""
        return self.probability >= _CLEAR


def beginning_of(
    found: Sequence[LanguageEvidence], *, whole: LanguageEvidence | None = None, before: str | None = None
) -> Beginning:
    """Find the languages that explain the spans of a window best, with a cost for each change; returns the first.

    Args:
        found: the evidence of each span of `spans_of`.
        whole: the evidence of the whole window, if known. Spans are short. They show where the language changes; if it
            does not change, the whole window shows more reliably which one it is.
        before: the language of the window before, if known. To begin in another one counts as a change.
    """
    labels = _best_labels(found, before)
    length = next((index for index, label in enumerate(labels) if label != labels[0]), len(labels))
    spoken = [1 - each.no_speech for each in found[:length]]
    weights = spoken if any(spoken) else [1.0] * length
    weighed = (weight * each.probabilities[labels[0]] for weight, each in zip(weights, found, strict=False))
    probability = sum(weighed) / sum(weights)
    if length == len(labels) and whole is not None and whole.clear_language is not None:
        return Beginning(*likeliest(whole.probabilities), None)
    # Halfway between the middle of the last span in one language and that of the first in the other.
    end_s = None if length == len(labels) else (length - 0.5) * HOP_S + SPAN_S / 2
    return Beginning(labels[0], probability, end_s)


def _normalised(probabilities: Probabilities) -> dict[str, float]:
    """Scale the probabilities of the allowed languages to a sum of 1."""
    total = sum(probabilities.values())
    return {code: value / total if total else 1 / len(probabilities) for code, value in probabilities.items()}


def _best_labels(found: Sequence[LanguageEvidence], before: str | None) -> list[str]:
    """Find the best language for each span, by dynamic programming (Viterbi 1967)."""
    clear = {code for each in found if (code := each.clear_language) is not None}
    codes = sorted(clear | ({before} if before is not None else set()))
    codes = codes or [likeliest(average([_normalised(each.probabilities) for each in found]))[0]]
    scores = {code: 0.0 if before in (None, code) else _CHANGE for code in codes}
    origins: list[dict[str, str]] = []
    for evidence in (each.log_likelihoods(codes) for each in found):
        best = max(codes, key=lambda code: scores[code])
        # Among equal paths, prefer the one that changed earlier, so that speech after a silence keeps its beginning.
        origin = {code: code if scores[code] >= scores[best] + _CHANGE else best for code in codes}
        scores = {code: scores[origin[code]] + _CHANGE * (origin[code] != code) + evidence[code] for code in codes}
        origins.append(origin)
    labels = [max(codes, key=lambda code: scores[code])]
    for origin in reversed(origins[1:]):
        labels.append(origin[labels[-1]])
    return labels[::-1]
