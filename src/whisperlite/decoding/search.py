"""Chooses the next tokens, for a batch at once, and picks the best of several sequences.

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
    """The most probable tokens (R,) and their log probabilities (R,), given logits (R, V)."""
    # On a CPU, `argmax` is not vectorised.
    tokens = largest(logits, 1)[1][:, 0] if logits.device.type == "cpu" else logits.argmax(-1)
    return tokens, _logprobs_of(logits, tokens)


def choose_sampled(logits: Tensor, temperatures: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a token for each row by the inverse of the distribution function at a given uniform.

    Args:
        logits: (R, V).
        temperatures: (R,), above 0.
        uniforms: (R,) in [0, 1).

    Returns:
        Tokens (R,) and their log probabilities (R,) *at temperature 1*, which the thresholds refer to.
    """
    probabilities = (logits / temperatures[:, None]).softmax(-1)
    distribution = probabilities.cumsum(-1)
    # The last entry, the total, is 1 except for rounding. The first entry above u·total has a probability above 0.
    targets = uniforms[:, None] * distribution[:, -1:]
    tokens = torch.searchsorted(distribution, targets, right=True)[:, 0]
    # Rounding can make u·total the total itself: then take the last token with a probability above 0.
    ids = torch.arange(logits.shape[1], device=logits.device)
    last = torch.where(probabilities > 0, ids, 0).amax(-1)
    tokens = torch.minimum(tokens, last)
    return tokens, _logprobs_of(logits, tokens)


def draw_uniforms(seed: tuple[int, ...], steps: int, queries: int) -> Tensor:
    """The uniforms of one request, (steps, K): from its seed alone, whatever else is decoded."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    return torch.from_numpy(generator.random((steps, queries), dtype=np.float32))


def _logprobs_of(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class BeamOutcome:
    """What the host needs to know about one window's beam step.

    Attributes:
        sources: (K,) the query that each chosen token continues.
        ended: the query and the sum of each hypothesis that ended, best first.
        is_finite: False if a sum is NaN, so that nothing sensible can follow.
    """

    sources: list[int]
    ended: list[tuple[int, float]]
    is_finite: bool


@dataclass(frozen=True, slots=True)
class BeamStep:
    """One step of a beam search, for B windows.

    Attributes:
        tokens: (B, K) the chosen tokens.
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
        """A step without values, to copy another into."""
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
        """The step of the first windows, as views."""
        return BeamStep(*(each[:windows] for each in self.fields))

    def copy_(self, other: BeamStep) -> None:
        """Copy the values of another step of the same size."""
        for mine, new in zip(self.fields, other.fields, strict=True):
            mine.copy_(new)

    def to_host(self) -> list[BeamOutcome]:
        """The outcome of each window, in a single transfer, since a device stops working for each."""
        queries, candidates = self.sources.shape[1], self.ended.shape[1]
        # All as float32, in which such small integers are exact.
        rows = torch.cat([self.sources, self.ended_sources, self.ended, self.ended_sums], dim=1).tolist()
        outcomes = []
        for row in rows:
            of, flags, sums = (row[queries + part * candidates :][:candidates] for part in range(3))
            outcomes.append(
                BeamOutcome(
                    sources=[int(source) for source in row[:queries]],
                    ended=[(int(query), total) for query, flag, total in zip(of, flags, sums, strict=True) if flag],
                    is_finite=not any(map(math.isnan, sums)),
                )
            )
        return outcomes


def beam_step(logits: Tensor, sums: Tensor, first: Tensor, eot: int) -> BeamStep:
    """Extend every hypothesis by its K+1 best tokens, and keep the K best that continue.

    Reference: `BeamSearchDecoder.update`. A hypothesis that ends counts if it ranks before the K-th candidate that
    continues.

    Args:
        logits: (B, K, V).
        sums: (B, K) summed log probabilities of the hypotheses.
        first: (B,) True if the K queries are still identical, so that only the first may be extended.
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
    going_before = (~ends).cumsum(-1)  # at an end: how many better candidates continue
    kept = ~ends & (going_before <= queries)
    order = (~kept).int().sort(dim=-1, stable=True).indices[:, :queries]
    return BeamStep(
        tokens=ids.gather(1, order),
        sources=sources.gather(1, order),
        sums=scores.gather(1, order),
        ended=ends & (going_before < queries) & (scores > float("-inf")),
        ended_sources=sources,
        ended_sums=scores,
    )


_CLASS_SIZE = 32


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values of each row and their indices, both (…, count), best first: as `topk`, except among equals.

    `topk` reads a row several times. Here one pass finds the largest of each class of 32 entries, which are far apart
    so that memory is read in order; the largest of all are in the classes with the largest maxima.

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
    members = (best[..., None] + torch.arange(0, end, n_classes, device="cpu")).flatten(-2)
    left = torch.arange(end, values.shape[-1], device="cpu").expand(*values.shape[:-1], -1)
    candidates = torch.cat([members, left], dim=-1)
    top, chosen = values.gather(-1, candidates).topk(count)
    return top, candidates.gather(-1, chosen)


def arrange(sources: Sequence[int]) -> list[int]:
    """Assign the chosen hypotheses to the K queries of a window so that as few as possible have to move.

    Args:
        sources: (K,) the query that each chosen hypothesis continues.

    Returns:
        (K,) at q a hypothesis that continues query q, if there is one, else one that is left.
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
        tokens: the chosen tokens, without the end.
        sum_logprob: summed log probabilities of the tokens, and of the end if it was reached.
        truncated: the token limit came before the end. (With a patience below 1, a beam search may choose a hypothesis
            that has not ended, without having reached the limit.)
    """

    tokens: tuple[int, ...]
    sum_logprob: float
    truncated: bool = False

    @property
    def avg_logprob(self) -> float:
        """The average log probability per token, counting the end (reference: `DecodingTask.run`)."""
        return self.sum_logprob / (len(self.tokens) + 1)


def best_hypothesis(hypotheses: Sequence[Hypothesis], length_penalty: float | None) -> Hypothesis:
    """The hypothesis with the highest score, the first of equals (reference: `MaximumLikelihoodRanker`).

    Differs: one without tokens ranks last, instead of dividing by zero (correction 23).

    Args:
        length_penalty: None: scores are divided by the length; else by ((5 + length) / 6)^α, of which this is α (Wu et
            al. 2016, equation 14).
    """

    def score(hypothesis: Hypothesis) -> float:
        length = len(hypothesis.tokens)
        if length_penalty is not None:
            return float(hypothesis.sum_logprob / ((5 + length) / 6) ** length_penalty)
        return hypothesis.sum_logprob / length if length else -math.inf

    return max(hypotheses, key=score)
