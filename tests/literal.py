"""Decoding, written down literally: a row at a time, a token at a time, in float64, with plain lists and dicts.

What `whisperlite.decoding` does for a batch with tensors is compared with this. Semantics: Radford et al. 2022,
section 4.5, and openai-whisper's `decoding.py`, with the corrections of ours that the tests name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisperlite.text.tokenizer import Tokenizer

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """What may come next in one row."""

    tokenizer: Tokenizer
    suppressed: frozenset[int] = frozenset()
    suppress_blank: bool = True
    timestamps: bool = True
    max_initial_index: int | None = None
    forced: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    text_until_index: int = 0

    def apply(self, logits: npt.NDArray[np.float32], chosen: Sequence[int]) -> Logits:
        """The logits that are left after `chosen` (the forced beginning not among them)."""
        left = logits.astype(np.float64)
        answer = [*self.forced, *chosen]
        repeated(left, answer, self.repetition_penalty, self.no_repeat_ngram_size, self.tokenizer.eot)
        is_first = len(chosen) == 0
        for token in (*self.suppressed, *self.tokenizer.control_tokens):
            left[token] = -math.inf
        if self.suppress_blank and is_first:
            for token in (*self.tokenizer.encode(" "), self.tokenizer.eot):
                left[token] = -math.inf
        if self.timestamps:
            left[self.tokenizer.no_timestamps] = -math.inf
            self._apply_timestamps(left, answer)
        return left

    def _apply_timestamps(self, left: Logits, answer: Sequence[int]) -> None:
        begin, eot = self.tokenizer.timestamp_begin, self.tokenizer.eot

        def is_time(token: int) -> bool:
            return token >= begin

        if answer and is_time(answer[-1]):
            if len(answer) < 2 or is_time(answer[-2]):  # a segment has just begun: text
                left[begin:] = -math.inf
                is_early = len(answer) > 1 and answer[-1] - begin < self.text_until_index
                if is_early and left[:eot].max() > -math.inf:
                    left[eot] = -math.inf
            else:  # a segment has just ended: the next one's begin, or the end
                left[:eot] = -math.inf
        times = [token for token in answer if is_time(token)]
        if times:
            may_repeat = is_time(answer[-1]) and len(answer) >= 2 and not is_time(answer[-2])
            left[begin : times[-1] + (0 if may_repeat else 1)] = -math.inf
        if not answer:
            left[:begin] = -math.inf
            if self.max_initial_index is not None:
                left[begin + self.max_initial_index + 1 :] = -math.inf
        if log_sum_exp(left[begin:]) > left[:begin].max():
            left[:begin] = -math.inf


def repeated(left: Logits, answer: Sequence[int], penalty: float, size: int, n_text: int) -> None:
    """Text of an answer is less probable a second time; no sequence of `size` tokens of its text comes twice."""
    text = [token for token in answer if token < n_text]
    for token in set(text):
        left[token] = left[token] / penalty if left[token] > 0 else left[token] * penalty
    for begin in range(len(text) - size + 1) if size else ():
        *before, last = text[begin : begin + size]
        if before == text[len(text) - size + 1 :]:
            left[last] = -math.inf


def log_sum_exp(values: Logits) -> float:
    highest = float(values.max()) if len(values) else -math.inf
    if highest == -math.inf:
        return -math.inf
    return highest + math.log(sum(math.exp(value - highest) for value in values.tolist()))


def log_softmax(logits: Logits) -> Logits:
    return logits - log_sum_exp(logits)


@dataclass(frozen=True)
class Outcome:
    tokens: tuple[int, ...]
    total: float
    truncated: bool

    @property
    def avg_logprob(self) -> float:
        return self.total / (len(self.tokens) + 1)


LogitsAfter = Callable[[tuple[int, ...]], Logits]
"""The tokens chosen so far → the logits that the rules have left."""


def greedy(logits_after: LogitsAfter, *, limit: int, eot: int) -> Outcome:
    chosen: tuple[int, ...] = ()
    total = 0.0
    while len(chosen) < limit:
        logprobs = log_softmax(logits_after(chosen))
        token = int(logprobs.argmax())
        total += float(logprobs[token])
        if token == eot:
            return Outcome(chosen, total, truncated=False)
        chosen += (token,)
    return Outcome(chosen, total, truncated=True)


def sample(
    logits_after: LogitsAfter, uniforms: Sequence[float], *, temperature: float, limit: int, eot: int
) -> Outcome:
    """One draw by the inverse of the distribution function; the score is that at temperature 1."""
    chosen: tuple[int, ...] = ()
    total = 0.0
    while len(chosen) < limit:
        logits = logits_after(chosen)
        probabilities = np.exp(log_softmax(logits / temperature))
        token = inverse_distribution(probabilities, uniforms[len(chosen)])
        total += float(log_softmax(logits)[token])
        if token == eot:
            return Outcome(chosen, total, truncated=False)
        chosen += (token,)
    return Outcome(chosen, total, truncated=True)


def inverse_distribution(probabilities: Logits, uniform: float) -> int:
    below = 0.0
    for token, probability in enumerate(probabilities.tolist()):
        below += probability
        if uniform < below:
            return token
    return int(np.flatnonzero(probabilities)[-1])


def beam_search(logits_after: LogitsAfter, *, beams: int, max_candidates: int, limit: int, eot: int) -> list[Outcome]:
    """The hypotheses that a beam search ends with: those that ended, then unfinished ones while fewer than `beams`."""
    going: dict[tuple[int, ...], float] = {(): 0.0}
    finished: dict[tuple[int, ...], float] = {}
    for _ in range(limit):
        candidates: dict[tuple[int, ...], float] = {}
        for tokens, total in going.items():
            logprobs = log_softmax(logits_after(tokens))
            for token in np.argsort(-logprobs, kind="stable")[: beams + 1].tolist():
                if logprobs[token] > -math.inf:
                    candidates[(*tokens, token)] = total + float(logprobs[token])
        going = {}
        for tokens in sorted(candidates, key=candidates.__getitem__, reverse=True):
            if tokens[-1] != eot:
                going[tokens] = candidates[tokens]
            elif len(finished) < max_candidates:
                finished[tokens[:-1]] = candidates[tokens]
            if len(going) == beams:
                break
        if len(finished) >= max_candidates:
            break
    outcomes = [Outcome(tokens, total, truncated=False) for tokens, total in finished.items()]
    for tokens in sorted(going, key=going.__getitem__, reverse=True):
        if len(outcomes) < beams:
            outcomes.append(Outcome(tokens, going[tokens], truncated=len(tokens) == limit))
    return outcomes


def best(outcomes: Sequence[Outcome], length_penalty: float | None) -> Outcome:
    """The highest score per length, the first of equals; without a length there is no score."""

    def score(outcome: Outcome) -> float:
        length = len(outcome.tokens)
        if length_penalty is not None:
            return outcome.total / math.pow((5 + length) / 6, length_penalty)
        return outcome.total / length if length else -math.inf

    winner = outcomes[0]
    for outcome in outcomes[1:]:
        if score(outcome) > score(winner):
            winner = outcome
    return winner
