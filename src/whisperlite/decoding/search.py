"""How the next tokens are chosen, for a batch at once, and how the best of several sequences is picked.

Axes: B windows, K queries of one window, R rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def choose_likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(R, V) → the most probable tokens (R,) and their log probabilities (R,)."""
    # On a CPU `argmax` goes number by number.
    tokens = largest(logits, 1)[1][:, 0] if logits.device.type == "cpu" else logits.argmax(-1)
    return tokens, _logprobs_of(logits, tokens)


def choose_sampled(logits: Tensor, temperatures: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens drawn by the inverse of the distribution function at given uniforms, row by row.

    Args:
        logits: (R, V).
        temperatures: (R,), above 0.
        uniforms: (R,) in [0, 1).

    Returns:
        Tokens (R,) and their log probabilities (R,) *at temperature 1*, which is what the thresholds are about.
    """
    probabilities = (logits / temperatures[:, None]).softmax(-1)
    distribution = probabilities.cumsum(-1)
    # The last entry is 1 but for rounding. The first entry above u·total has a probability above 0.
    targets = uniforms[:, None] * distribution[:, -1:]
    tokens = torch.searchsorted(distribution, targets, right=True)[:, 0]
    # Rounding can put u·total on the total itself: then it is the last token that has a probability.
    ids = torch.arange(logits.shape[1], device=logits.device)
    last = torch.where(probabilities > 0, ids, 0).amax(-1)
    tokens = torch.minimum(tokens, last)
    return tokens, _logprobs_of(logits, tokens)


def draw_uniforms(seed: tuple[int, ...], steps: int, queries: int) -> Tensor:
    """(steps, K) uniforms of one request: from its seed alone, whatever else is being decoded."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    return torch.from_numpy(generator.random((steps, queries), dtype=np.float32))


def _logprobs_of(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class BeamOutcome:
    """Of one window.

    Attributes:
        sources: (K,) the query that each of the chosen continues.
        ended: the query and the sum of each hypothesis that ended, best first.
        is_finite: False where a sum is not a number, so that nothing sensible can follow.
    """

    sources: list[int]
    ended: list[tuple[int, float]]
    is_finite: bool


@dataclass(frozen=True, slots=True)
class BeamStep:
    """One step of a beam search, for B windows.

    Attributes:
        tokens: (B, K) chosen to continue with.
        sources: (B, K) the query that each continues.
        sums: (B, K) summed log probabilities, best first.
        ended: (B, N) whether the n-th best candidate ends its hypothesis and counts.
        ended_sources, ended_sums: (B, N) the query that it ended, and its sum.
    """

    tokens: Tensor
    sources: Tensor
    sums: Tensor
    ended: Tensor
    ended_sources: Tensor
    ended_sums: Tensor

    @staticmethod
    def empty(windows: int, queries: int, device: torch.device) -> BeamStep:
        """To be written into."""
        candidates = queries * (queries + 1)

        def empty(width: int, dtype: torch.dtype) -> Tensor:
            return torch.empty((windows, width), dtype=dtype, device=device)

        return BeamStep(
            tokens=empty(queries, torch.long),
            sources=empty(queries, torch.long),
            sums=empty(queries, torch.float32),
            ended=empty(candidates, torch.bool),
            ended_sources=empty(candidates, torch.long),
            ended_sums=empty(candidates, torch.float32),
        )

    @property
    def fields(self) -> tuple[Tensor, ...]:
        return self.tokens, self.sources, self.sums, self.ended, self.ended_sources, self.ended_sums

    def of(self, windows: int) -> BeamStep:
        """Of the first windows, as views."""
        return BeamStep(*(each[:windows] for each in self.fields))

    def copy_(self, other: BeamStep) -> None:
        for mine, new in zip(self.fields, other.fields, strict=True):
            mine.copy_(new)

    def to_host(self) -> list[BeamOutcome]:
        """What the host has to know of each window, in one transfer: other devices stop working for each."""
        queries, candidates = self.sources.shape[1], self.ended.shape[1]
        # As float32, which holds such small integers exactly.
        rows = torch.cat([self.sources, self.ended_sources, self.ended, self.ended_sums], dim=1).tolist()
        news = []
        for row in rows:
            of, flags, sums = (row[queries + part * candidates :][:candidates] for part in range(3))
            news.append(
                BeamOutcome(
                    sources=[int(source) for source in row[:queries]],
                    ended=[(int(query), total) for query, flag, total in zip(of, flags, sums, strict=True) if flag],
                    is_finite=not any(map(math.isnan, sums)),
                )
            )
        return news


def beam_step(logits: Tensor, sums: Tensor, first: Tensor, eot: int) -> BeamStep:
    """Extend every hypothesis by its K+1 best tokens and keep the K best that go on.

    Reference: `BeamSearchDecoder.update`. A hypothesis that ends counts if it is among the candidates before the K-th
    that goes on.

    Args:
        logits: (B, K, V).
        sums: (B, K) summed log probabilities of the hypotheses.
        first: (B,) True where the K queries are still one and the same, so that only the first may be extended.
        eot: the token that ends a hypothesis.
    """
    queries = logits.shape[1]
    top, ids = largest(logits.log_softmax(-1), queries + 1)
    scores = sums[..., None] + top
    scores[:, 1:].masked_fill_(first[:, None, None], float("-inf"))

    scores, order = scores.flatten(1).sort(dim=-1, descending=True, stable=True)
    ids = ids.flatten(1).gather(1, order)
    sources = order // (queries + 1)
    ends = ids == eot
    going_before = (~ends).cumsum(-1)  # at an end: how many better candidates go on
    kept = ~ends & (going_before <= queries)
    places = (~kept).int().sort(dim=-1, stable=True).indices[:, :queries]
    return BeamStep(
        tokens=ids.gather(1, places),
        sources=sources.gather(1, places),
        sums=scores.gather(1, places),
        ended=ends & (going_before < queries) & (scores > float("-inf")),
        ended_sources=sources,
        ended_sums=scores,
    )


_CLASS_SIZE = 32  # entries


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of each row and where they are, both (…, count), best first: what `topk` gives, of equals perhaps
    others.

    `topk` goes through a row several times. Here a pass finds the largest of each 32 entries, which lie far from each
    other so that it reads in order; what is largest of all is in those whose largest are.

    Args:
        values: (…, V).
        count: 1 to V.
    """
    n_classes = values.shape[-1] // _CLASS_SIZE
    if values.device.type != "cpu" or n_classes < _CLASS_SIZE * count:
        found = values.topk(count, dim=-1)
        return found.values, found.indices
    end = n_classes * _CLASS_SIZE
    of_classes = values[..., :end].view(*values.shape[:-1], _CLASS_SIZE, n_classes).amax(-2)
    best = of_classes.topk(count, sorted=False).indices
    places_of = (best[..., None] + torch.arange(0, end, n_classes, device="cpu")).flatten(-2)
    left = torch.arange(end, values.shape[-1], device="cpu").expand(*values.shape[:-1], -1)
    candidates = torch.cat([places_of, left], dim=-1)
    top, chosen = values.gather(-1, candidates).topk(count)
    return top, candidates.gather(-1, chosen)


def arrange(sources: Sequence[int]) -> list[int]:
    """Which of the chosen goes into each of the K queries of a window, so that as few as possible have to move.

    Args:
        sources: (K,) the query that each of the chosen continues.

    Returns:
        (K,) at q one of those that continue query q, if there is one, else one of those that are left.
    """
    found: list[int | None] = [None] * len(sources)
    left = []
    for chosen, source in enumerate(sources):
        if found[source] is None:
            found[source] = chosen
        else:
            left.append(chosen)
    rest = iter(left)
    return [next(rest) if chosen is None else chosen for chosen in found]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A sequence and its score.

    Attributes:
        tokens: chosen, without the end.
        sum_logprob: of the tokens, and of the end where it was reached.
        truncated: the token limit came before the end. (With patience below 1 a beam search may settle on a hypothesis
            that has not ended, without having come to the limit.)
    """

    tokens: tuple[int, ...]
    sum_logprob: float
    truncated: bool = False

    @property
    def avg_logprob(self) -> float:
        """Per token, the end counted as one (reference: `DecodingTask.run`)."""
        return self.sum_logprob / (len(self.tokens) + 1)


def best_hypothesis(hypotheses: Sequence[Hypothesis], length_penalty: float | None) -> Hypothesis:
    """The hypothesis with the highest score per length; the first of equals (reference: `MaximumLikelihoodRanker`).

    Differs: one without tokens ranks last, instead of dividing by zero (correction 23).

    Args:
        length_penalty: None: the plain length; else α of ((5 + length) / 6)^α (Wu et al. 2016, equation 14).
    """

    def score(hypothesis: Hypothesis) -> float:
        length = len(hypothesis.tokens)
        if length_penalty is not None:
            return float(hypothesis.sum_logprob / ((5 + length) / 6) ** length_penalty)
        return hypothesis.sum_logprob / length if length else -math.inf

    return max(hypotheses, key=score)
