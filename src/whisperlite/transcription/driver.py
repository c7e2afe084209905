"""Connects sessions, which ask, to an engine, which answers."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from whisperlite.decoding.asks import Answer
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import release_workers
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.results import Transcription
from whisperlite.transcription.recording import Event, Recording, Run
from whisperlite.transcription.session import Accepted

Events = Iterator[tuple[Recording, Event]]


class Driver:
    """Drives any number of recordings at once; their windows share the engine's slots.

    The result of a recording does not depend on the others. Like its engine, a driver belongs to one thread.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._asking: dict[int, Run] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no recording is being driven."""
        return not self._asking

    def start(self, recording: Recording) -> Events:
        """Start a recording."""
        for run in recording.begin():
            yield from self._send(run, None)

    def step(self) -> Events:
        """Stop the recordings that have to stop, and advance all others by one token."""
        yield from self.stop()
        yield from self.move()

    def stop(self) -> Events:
        """The first half of a step: end the recordings whose `Stop` says so."""
        for run in list(self._asking.values()):
            try:
                if not run.is_dropped:
                    run.recording.stop.check()
            except CancelledError as error:
                yield from self._failed(run, error)
        for run in [run for run in self._asking.values() if run.is_dropped]:
            self._end(run)

    def move(self) -> Events:
        """The second half of a step: advance the remaining recordings by one token."""
        if self._asking:
            for ticket, answer in self.engine.step():
                if ticket in self._asking:  # else its recording has failed with an answer before this one
                    yield from self._send(self._asking.pop(ticket), answer)

    def _send(self, run: Run, answer: Answer | None) -> Events:
        """Continue a session until it asks something or ends."""
        try:
            event = run.session.send(answer)
            while isinstance(event, Accepted):
                yield from self._on_event(run, event)
                event = run.session.send(None)
            run.ticket = self.engine.submit(event)
            self._asking[run.ticket] = run
        except StopIteration as end:
            yield from self._on_event(run, end.value)
        except Exception as error:  # ends only this recording
            yield from self._failed(run, error)

    def _on_event(self, run: Run, event: Event) -> Events:
        """Pass an event on to the recording, start the sessions and yield the events that it returns."""
        for next_one in run.recording.on_event(run, event):
            if isinstance(next_one, Run):
                yield from self._send(next_one, None)
            else:
                yield run.recording, next_one

    def _failed(self, run: Run, error: Exception) -> Events:
        """End a recording early.

        The error gets the partial result of the session that is next in order: later ones would leave a gap.
        """
        first = run.recording.next_in_order(run)
        if isinstance(error, (CancelledError, DecodingError)) and self._asking.get(first.ticket) is first:
            error.partial = self._end(first)
            run = first
        yield from self._on_event(run, error)

    def _end(self, run: Run) -> Transcription:
        """End a session early and return its partial result."""
        del self._asking[run.ticket]
        self.engine.cancel(run.ticket)
        try:
            run.session.throw(CancelledError())
        except StopIteration as end:
            result: Transcription = end.value
            return result
        raise AssertionError("a session that is stopped returns")


def drive(recording: Recording, engine: Engine) -> Generator[Accepted, None, Transcription]:
    """Drive one recording to its end.

    Args:
        recording: the recording.
        engine: an engine of the calling thread.

    Yields:
        Each accepted window.

    Returns:
        The transcription.

    Raises:
        CancelledError: raised by `recording.stop`; its `partial` is the partial result.
    """
    driver = Driver(engine)
    try:  # not `with`: before Python 3.11 it would keep the recording where the iteration is left
        events = driver.start(recording)
        while True:
            for _, event in events:
                if isinstance(event, Accepted):
                    yield event
                elif isinstance(event, BaseException):
                    raise event
                else:
                    return event
            events = driver.step()
    finally:
        recording.release()
        release_workers()
