"""The steps of our own beam search in one window, for `judge`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from torch import Tensor

from benchmarks.parity.matrix import Run
from benchmarks.parity.ours import Model
from whisperlite.decoding import lane
from whisperlite.decoding.asks import Beam, Decode
from whisperlite.decoding.search import BeamStep, beam_step
from whisperlite.transcription.session import Accepted

Tokens = tuple[int, ...]


def trace_beams(model: Model, run: Run, window: int) -> list[dict[str, Any]]:
    """Trace which hypotheses our search keeps, and which have ended, after each of its steps.

    Args:
        window: its number in the run.

    Returns:
        For each step `kept` and `finished`, lists of tokens.
    """
    ask = _ask_of_window(model, run, window)
    assert isinstance(ask.strategy, Beam), "only a beam search has steps to tell apart"
    with _watch_beam_steps() as steps:
        model.engine.run([replace(ask, encoding=None)])
    kept: list[Tokens] = [()] * ask.strategy.queries
    finished: list[Tokens] = []
    states = []
    for step in steps:
        ended = step.ended_sources[0][step.ended[0]].tolist()
        finished = (finished + [kept[source] for source in ended])[: ask.strategy.max_candidates]
        chosen = zip(step.sources[0].tolist(), step.tokens[0].tolist(), strict=True)
        kept = [(*kept[source], token) for source, token in chosen]
        states.append({"kept": kept, "finished": finished})
    return states


def _ask_of_window(model: Model, run: Run, window: int) -> Decode:
    """Return what the session asks about a window, after all windows before it were accepted at temperature 0."""
    steps = model.session(run)
    event = next(steps)
    asked = 0
    while True:
        if isinstance(event, Accepted):
            event = steps.send(None)
            continue
        if isinstance(event, Decode):
            if asked == window:
                steps.close()
                return event
            asked += 1
        event = steps.send(model.answer(event))


@contextmanager
def _watch_beam_steps() -> Iterator[list[BeamStep]]:
    seen: list[BeamStep] = []

    def watched(logits: Tensor, sums: Tensor, first: Tensor, eot: int) -> BeamStep:
        step = beam_step(logits, sums, first, eot)
        seen.append(step)
        return step

    with patch.object(lane, "beam_step", watched):
        yield seen
