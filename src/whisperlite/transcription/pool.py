"""Joins sessions, which ask, and an engine, which answers."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

from whisperlite.cancel import NEVER, Stop
from whisperlite.decoding.asks import Answer
from whisperlite.decoding.engine import Engine
from whisperlite.errors import CancelledError
from whisperlite.results import Transcription
from whisperlite.transcription.session import Accepted, Session


def drive(
    sessions: Sequence[Session], engine: Engine, *, stop: Stop = NEVER
) -> Generator[tuple[int, Accepted], None, list[Transcription]]:
    """Drive sessions to their ends, all at once, their windows sharing the engine's slots.

    Args:
        sessions: not yet started.
        engine: of the calling thread.
        stop: is asked before every step of the engine.

    Yields:
        A session's index and each window that it accepts.

    Returns:
        The transcriptions, in the order of the sessions. Each is what the session gives alone.

    Raises:
        CancelledError: `stop` said so; where there is one session its `partial` is what that had by then.
    """
    began = time.perf_counter()
    owners: dict[int, int] = {}
    results: dict[int, Transcription] = {}

    def finish(index: int, result: Transcription) -> None:
        usage = replace(result.usage, runtime_ms=round((time.perf_counter() - began) * 1000))
        results[index] = replace(result, usage=usage)

    def send(index: int, answer: Answer | None) -> Generator[tuple[int, Accepted], None, None]:
        """Let a session go on until it asks or ends."""
        try:
            event = sessions[index].send(answer)
            while isinstance(event, Accepted):
                yield index, event
                event = sessions[index].send(None)
            owners[engine.submit(event)] = index
        except StopIteration as end:
            finish(index, end.value)

    try:
        for index in range(len(sessions)):
            yield from send(index, None)
        while owners:
            stop.check()
            for ticket, answer in engine.step():
                yield from send(owners.pop(ticket), answer)
    except CancelledError as error:
        for index in sorted(owners.values()):
            try:
                sessions[index].throw(error)
            except StopIteration as end:
                finish(index, end.value)
        error.partial = results.get(0) if len(sessions) == 1 else None
        raise
    return [results[index] for index in range(len(sessions))]


def run_sessions(sessions: Sequence[Session], engine: Engine) -> list[Transcription]:
    """Drive sessions to their ends, without looking at their windows one by one."""
    steps = drive(sessions, engine)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        results: list[Transcription] = end.value
        return results
