"""Was a difference decided by rounding? Runs in the reference's environment: `python -m benchmarks.parity.judge`.

In: disputes, each a run, one of its windows, our tokens there and, of a beam search, the steps of ours. Both sides are
followed to the first decision that differs; there the *reference's* network and rules score both candidates, given the
tokens that both sides had in common. Out, for each dispute: what differed, at which step, and by how much (`gap`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import whisper
import whisper.decoding as reference_decoding
from torch import Tensor
from whisper.decoding import BeamSearchDecoder, DecodingOptions, DecodingTask
from whisper.model import Whisper

from benchmarks.parity.matrix import Run
from benchmarks.parity.reference import Watched, answer_run
from benchmarks.parity.store import Store, read_lines, write_lines

Tokens = tuple[int, ...]
Verdict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scores:
    """The reference's scores in one step.

    Attributes:
        logprobs: (V,) after all rules.
        timestamp_margin: log probability of all timestamps together minus that of the most probable text token. Above
            0 the rules leave only timestamps. NaN without timestamps.
        unruled: (V,) before that last rule; `logprobs` where there is none.
    """

    logprobs: Tensor
    timestamp_margin: float
    unruled: Tensor

    def gap(self, chosen: int, other: int) -> float:
        """Return how far the reference was from preferring `other` to its own `chosen`."""
        if self.logprobs[other] > -math.inf:
            return float(self.logprobs[chosen] - self.logprobs[other])
        # `other` was ruled out; if by the last rule, that rule is the decision that differed.
        branch = self.unruled[other] > -math.inf and not math.isnan(self.timestamp_margin)
        return abs(self.timestamp_margin) if branch else math.inf


class Teacher:
    """The reference's network and rules for one window, applied to any tokens."""

    def __init__(self, model: Whisper, mel: Tensor, options: DecodingOptions) -> None:
        self.model = model
        self.task = DecodingTask(model, options)
        self.features = model.encoder(mel[None])

    def scores(self, chosen: Tokens) -> Scores:
        """Return the scores of the token that follows these tokens."""
        tokens = torch.tensor([[*self.task.initial_tokens, *chosen]])
        logits = self.model.logits(tokens, self.features)[:, -1]
        with _watch_log_softmax() as watched:
            for rule in self.task.logit_filters:
                rule.apply(logits, tokens)
        logprobs = logits[0].log_softmax(-1)
        if not watched:
            return Scores(logprobs, math.nan, logprobs)
        unruled = watched[-1][0]
        begin = self.task.tokenizer.timestamp_begin
        margin = unruled[begin:].logsumexp(-1) - unruled[:begin].max()
        return Scores(logprobs, float(margin), unruled)


@contextmanager
def _watch_log_softmax() -> Iterator[list[Tensor]]:
    """Collect what the timestamp rules compute internally: log probabilities before their last rule."""
    seen: list[Tensor] = []
    original = reference_decoding.F.log_softmax

    def watched(*arguments: Any, **named: Any) -> Tensor:
        result: Tensor = original(*arguments, **named)
        seen.append(result.clone())
        return result

    reference_decoding.F.log_softmax = watched
    try:
        yield seen
    finally:
        reference_decoding.F.log_softmax = original


def judge_greedy(teacher: Teacher, theirs: Tokens, ours: Tokens) -> Verdict:
    """Judge the first token that differs; an answer that ends is followed by the end token."""
    eot = teacher.task.tokenizer.eot
    step = next(i for i, (a, b) in enumerate(zip((*theirs, eot), (*ours, eot), strict=False)) if a != b)
    chosen, other = (*theirs, eot)[step], (*ours, eot)[step]
    gap = teacher.scores(theirs[:step]).gap(chosen, other)
    return {"what": "token", "step": step, "theirs": chosen, "ours": other, "gap": gap}


@dataclass(frozen=True, slots=True)
class BeamState:
    """The hypotheses that go on after a step, and all that have ended, with their sums of log probabilities."""

    kept: dict[Tokens, float]
    finished: dict[Tokens, float]


def trace_beams(teacher: Teacher) -> list[BeamState]:
    """Run the reference's own beam search, and return its state after each step."""
    states: list[BeamState] = []
    original = BeamSearchDecoder.update
    begin = len(teacher.task.initial_tokens)

    def watched(self: BeamSearchDecoder, tokens: Tensor, logits: Tensor, sums: Tensor) -> tuple[Tensor, bool]:
        tokens, completed = original(self, tokens, logits, sums)
        kept = {tuple(row[begin:]): total for row, total in zip(tokens.tolist(), sums.tolist(), strict=True)}
        finished = {tuple(row[begin:-1]): total for row, total in self.finished_sequences[0].items()}
        states.append(BeamState(kept, finished))
        return tokens, completed

    BeamSearchDecoder.update = watched
    try:
        teacher.task._main_loop(
            teacher.features, torch.tensor([teacher.task.initial_tokens]).repeat(teacher.task.n_group, 1)
        )
    finally:
        BeamSearchDecoder.update = original
    return states


def judge_beam(teacher: Teacher, theirs: Tokens, ours: Tokens, our_steps: list[BeamState]) -> Verdict:
    """Judge the first step after which hypotheses differ, or else the final choice among the same ones."""
    their_steps = trace_beams(teacher)
    before = BeamState({(): 0.0}, {})
    for step, (their, our) in enumerate(zip(their_steps, our_steps, strict=False)):
        if set(their.kept) != set(our.kept):
            gap = _gap_of_kept(teacher, before, their, our)
            return {"what": "hypotheses", "step": step, "gap": gap}
        if set(their.finished) != set(our.finished):
            gap = _gap_of_finished(teacher, before, their, our)
            return {"what": "ended hypotheses", "step": step, "gap": gap}
        before = their
    if len(their_steps) != len(our_steps):
        return {"what": "number of steps", "step": min(len(their_steps), len(our_steps)), "gap": math.inf}
    pool = {**before.kept, **before.finished}
    if ours not in pool or theirs not in pool:
        return {"what": "final choice", "step": len(their_steps), "gap": math.inf}
    gap = abs(pool[theirs] / max(len(theirs), 1) - pool[ours] / max(len(ours), 1))
    return {"what": "final choice", "step": len(their_steps), "gap": gap}


def _gap_of_kept(teacher: Teacher, before: BeamState, their: BeamState, our: BeamState) -> float:
    """Compare the worst hypothesis that only the reference kept with each that only we kept; return the largest gap."""
    lost = min(their.kept[tokens] for tokens in set(their.kept) - set(our.kept))
    return max(_gap_of_candidate(teacher, before, lost, tokens) for tokens in set(our.kept) - set(their.kept))


def _gap_of_candidate(teacher: Teacher, before: BeamState, lost: float, tokens: Tokens) -> float:
    scores = teacher.scores(tokens[:-1])
    if scores.logprobs[tokens[-1]] > -math.inf:
        return abs(lost - before.kept[tokens[:-1]] - float(scores.logprobs[tokens[-1]]))
    return scores.gap(int(scores.logprobs.argmax()), tokens[-1])


def _gap_of_finished(teacher: Teacher, before: BeamState, their: BeamState, our: BeamState) -> float:
    """Return how near each hypothesis that ended on one side only is to the borders that decide whether it counts.

    An end counts if it ranks before the last hypothesis that goes on, while there is room.
    """
    eot = teacher.task.tokenizer.eot
    newly_finished = set(their.finished) - set(before.finished)
    borders = [min(their.kept.values()), *(their.finished[tokens] for tokens in newly_finished)]
    gaps = []
    for tokens in set(their.finished) ^ set(our.finished):
        total = before.kept[tokens] + float(teacher.scores(tokens).logprobs[eot])
        rivals = [border for border in borders if border != their.finished.get(tokens)]
        gaps.append(min(abs(total - border) for border in rivals))
    return max(gaps)


def judge(model: Watched, dispute: dict[str, Any]) -> Verdict:
    """Settle one dispute.

    Args:
        dispute: `run`, `window` (its number in the run), `ours` (tokens), and of a beam search `steps`: for each step
            `kept` and `finished`, lists of tokens.
    """
    run = Run.from_dict(dispute["run"])
    answer = answer_run(model, run, whisper.load_audio(run.clip.path), ladder="stop")
    mel, options = model.asked[dispute["window"]]
    theirs, ours = (tuple(tokens) for tokens in (answer["windows"][dispute["window"]]["tokens"], dispute["ours"]))
    with torch.no_grad():
        teacher = Teacher(model.model, mel, options)
        if options.beam_size is None:
            return judge_greedy(teacher, theirs, ours)
        steps = [
            BeamState(*(dict.fromkeys(map(tuple, step[name]), math.nan) for name in ("kept", "finished")))
            for step in dispute["steps"]
        ]
        return judge_beam(teacher, theirs, ours, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description="Settle differences between whisperlite and openai-whisper.")
    parser.add_argument("disputes", type=Path, help="JSON lines")
    parser.add_argument("verdicts", type=Path, help="written, one line for each dispute")
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    models: dict[str, Watched] = {}
    verdicts = []
    for dispute in read_lines(arguments.disputes):
        name = dispute["run"]["model"]
        if name not in models:
            models[name] = Watched(arguments.cache / "weights" / f"{name}.npz", Store(arguments.cache / "answers"))
        verdicts.append(judge(models[name], dispute))
    write_lines(arguments.verdicts, verdicts)


if __name__ == "__main__":
    main()
