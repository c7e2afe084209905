"""A recording on its way: one session, or one for each of its chunks, which are driven side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from whisperlite.cancel import NEVER, Stop
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.results import Transcription
from whisperlite.transcription.chunks import join
from whisperlite.transcription.session import Accepted, Session


@dataclass(slots=True, eq=False)
class Run:
    """A session under way.

    Attributes:
        session: not yet started.
        recording: that it belongs to.
        ticket: of what it asks for at the moment.
        is_dropped: nobody waits for it any more.
    """

    session: Session
    recording: Recording
    ticket: int = 0
    is_dropped: bool = False


# A window was accepted; the end, which is a transcription or what went wrong.
Event = Accepted | Transcription | BaseException


PARTIAL = "This is not the whole: the transcription was ended before the recording was."
_AT_A_TIME = 16  # chunks of one recording: each may hold a window's encoding, and others want to come in between


class Recording(Protocol):
    """What a driver has to know of one."""

    stop: Stop

    def begin(self) -> Sequence[Run]:
        """The sessions to start with."""

    def next_in_order(self, run: Run) -> Run:
        """The session whose windows come next in the recording, while this one is under way."""

    def on_event(self, run: Run, event: Event) -> Sequence[Run | Event]:
        """What follows from an event of one of its sessions: further sessions, and events of the recording."""

    def release(self) -> None:
        """It is not driven any more, whether it has ended or not: what refers to it is not to be referred to by it."""


@dataclass(slots=True, eq=False)
class Sequential:
    """Window after window, as the reference goes.

    Attributes:
        session: not yet started.
        stop: is asked before every step of the engine.
    """

    session: Session
    stop: Stop = NEVER
    began: float = field(default_factory=time.perf_counter)

    def begin(self) -> Sequence[Run]:
        return [Run(self.session, self)]

    def next_in_order(self, run: Run) -> Run:
        return run

    def on_event(self, run: Run, event: Event) -> Sequence[Run | Event]:  # noqa: ARG002 - there is one
        return [_timed(event, self.began)]

    def release(self) -> None:
        pass


@dataclass(slots=True, eq=False)
class Chunked:
    """Chunks side by side; their segments are handed out in their order, a chunk at a time.

    Attributes:
        head: finds out the language; its result has what is known of the whole recording.
        chunks_in: the head's result → a session for each chunk, taken when it begins, and where it ends, in seconds.
        stop: is asked before every step of the engine.
    """

    head: Session
    chunks_in: Callable[[Transcription], Iterable[tuple[Session, float]]]
    stop: Stop = NEVER
    began: float = field(default_factory=time.perf_counter)
    known: Transcription | None = None
    coming: Iterator[tuple[Session, float]] = field(default_factory=lambda: iter(()))
    runs: list[Run] = field(default_factory=list)  # of the chunks that have begun
    ends: list[float] = field(default_factory=list)
    results: dict[Run, Transcription] = field(default_factory=dict)
    count: int = 0  # of the chunks that were handed out
    n_segments: int = 0  # in them
    is_over: bool = False

    def begin(self) -> Sequence[Run]:
        return [Run(self.head, self)]

    def next_in_order(self, run: Run) -> Run:
        return self.runs[self.count] if self.count < len(self.runs) else run

    def on_event(self, run: Run, event: Event) -> Sequence[Run | Event]:
        if self.is_over or isinstance(event, Accepted):  # a chunk is handed out when it is done
            return []
        if isinstance(event, BaseException):
            return [self._failed(run, event)]
        if self.known is None:
            self.known, self.coming = event, iter(self.chunks_in(event))
            return self._begin(_AT_A_TIME) or [self._joined()]
        self.results[run] = event
        begun = self._begin(1)
        return [*self._in_order(), *begun]

    def _begin(self, count: int) -> list[Run]:
        """As many further chunks, if there are."""
        begun = []
        for session, end_s in islice(self.coming, count):
            begun.append(Run(session, self))
            self.ends.append(end_s)
        self.runs += begun
        return begun

    def _in_order(self) -> list[Run | Event]:
        events: list[Run | Event] = []
        assert self.known is not None, "the head comes first"
        while self.count < len(self.runs) and (result := self.results.get(self.runs[self.count])) is not None:
            fresh = tuple(
                replace(segment, id=number) for number, segment in enumerate(result.segments, self.n_segments)
            )
            self.n_segments += len(fresh)
            events.append(Accepted(fresh, self.ends[self.count], self.known.duration))
            self.count += 1
        if self.count == len(self.runs):
            events.append(self._joined())
        return events

    def _joined(self) -> Transcription:
        """Of the chunks that were handed out."""
        assert self.known is not None, "the head comes first"
        result = _with_runtime(join(self.known, [self.results[run] for run in self.runs[: self.count]]), self.began)
        self.release()
        return result

    def _failed(self, run: Run, error: BaseException) -> BaseException:
        """The others are not waited for; the error carries the chunks that were handed out."""
        self.is_over = True
        for each in self.runs:
            each.is_dropped = True
        if self.known is None:
            _timed(error, self.began)
        elif isinstance(error, (CancelledError, DecodingError)):
            error.partial = self._begun(error.partial if self._is_next(run) else None)
        self.release()
        return error

    def release(self) -> None:
        """Runs refer to their recording: while it refers to them too, only the garbage collector frees its samples."""
        self.runs, self.results, self.coming = [], {}, iter(())

    def _is_next(self, run: Run) -> bool:
        return self.count < len(self.runs) and self.runs[self.count] is run

    def _begun(self, rest: Transcription | None) -> Transcription:
        """The beginning of the whole: the chunks that were handed out, and what there is of the next one."""
        assert self.known is not None, "the head comes first"
        if self.count < len(self.runs) and rest is not None:
            self.results[self.runs[self.count]] = rest
            self.count += 1
        end_s = self.ends[self.count - 1] if self.count else 0.0
        known = replace(self.known, skipped=tuple(span for span in self.known.skipped if span.end <= end_s))
        done = [self.results[run] for run in self.runs[: self.count]]
        return _as_partial(_with_runtime(join(known, done), self.began))


def _timed(event: Event, began: float) -> Event:
    """With the time that it took, where it is the end."""
    if isinstance(event, (CancelledError, DecodingError)) and event.partial is not None:
        event.partial = _as_partial(_with_runtime(event.partial, began))
    return _with_runtime(event, began) if isinstance(event, Transcription) else event


def _as_partial(result: Transcription) -> Transcription:
    """Who finds it in a file is to know."""
    return replace(result, warnings=(*result.warnings, PARTIAL))


def _with_runtime(result: Transcription, began: float) -> Transcription:
    usage = replace(result.usage, runtime_ms=round((time.perf_counter() - began) * 1000))
    return replace(result, usage=usage)
