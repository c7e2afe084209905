"""Joins sessions, which ask, and an engine, which answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from whisperlite.decoding.asks import Answer
from whisperlite.decoding.engine import Engine
from whisperlite.results import Transcription
from whisperlite.transcription.session import Accepted, Session


def run_sessions(
    sessions: Sequence[Session], engine: Engine, *, on_accepted: Callable[[int, Accepted], None] | None = None
) -> list[Transcription]:
    """Drive sessions to their ends, all at once, their windows sharing the engine's slots.

    Args:
        sessions: not yet started.
        engine: of the calling thread.
        on_accepted: called with a session's index and each window that it accepts.

    Returns:
        The transcriptions, in the order of the sessions. Each is what the session gives alone.
    """
    began = time.perf_counter()
    owners: dict[int, int] = {}
    results: dict[int, Transcription] = {}

    def send(index: int, answer: Answer | None) -> None:
        """Let a session go on until it asks or ends."""
        try:
            event = sessions[index].send(answer)
            while isinstance(event, Accepted):
                if on_accepted is not None:
                    on_accepted(index, event)
                event = sessions[index].send(None)
            owners[engine.submit(event)] = index
        except StopIteration as end:
            result: Transcription = end.value
            usage = replace(result.usage, runtime_ms=round((time.perf_counter() - began) * 1000))
            results[index] = replace(result, usage=usage)

    for index in range(len(sessions)):
        send(index, None)
    while owners:
        for ticket, answer in engine.step():
            send(owners.pop(ticket), answer)
    return [results[index] for index in range(len(sessions))]
