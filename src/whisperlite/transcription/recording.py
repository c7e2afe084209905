"""A recording as it is driven: one session, or one session per chunk, driven concurrently."""

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
    """A session that is being driven.

    Attributes:
        session: the session, not yet started when the run is made.
        recording: the recording that it belongs to.
        ticket: the engine's ticket for its current request.
        is_dropped: whether its result is no longer needed.
    """

    session: Session
    recording: Recording
    ticket: int = 0
    is_dropped: bool = False


Event = Accepted | Transcription | BaseException
"""An accepted window, or the end: a transcription or an error."""

PARTIAL = "This is not the whole: the transcription was ended before the recording was."
# At most this many chunks of a recording are driven at once: each may keep a window's encoding in memory, and other
# recordings should get their turn.
_AT_A_TIME = 16


class Recording(Protocol):
    """A recording, as the driver sees it."""

    stop: Stop

    def begin(self) -> Sequence[Run]:
        """Return the sessions to start with."""

    def next_in_order(self, run: Run) -> Run:
        """Return the session whose windows come next in the result, while `run` is being driven."""

    def on_event(self, run: Run, event: Event) -> Sequence[Run | Event]:
        """Handle an event of one of its sessions; returns sessions to start and events of the recording."""

    def release(self) -> None:
        """Drop references to its runs, which refer back to it. Called when it is no longer driven, ended or not."""


@dataclass(slots=True, eq=False)
class Sequential:
    """A recording that is transcribed window after window, as in the reference.

    Attributes:
        session: its only session, not yet started.
        stop: is checked before every step of the engine.
        began: the time at which its runtime begins, from `perf_counter`.
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
    """A recording whose chunks are transcribed concurrently; their segments are delivered in order, chunk by chunk.

    Attributes:
        head: a session that detects the language; its result holds what is known about the whole recording.
        chunks_in: the head's result → for each chunk a session and the chunk's end in seconds. It is an iterable, from
            which a session is taken when it is started.
        stop: is checked before every step of the engine.
        began: the time at which its runtime begins, from `perf_counter`.
        head_result: the result of `head`.
        upcoming: the chunks that have not been started.
        runs, ends: the sessions of the chunks that have been started, and the chunks' ends in seconds.
        results: the transcriptions of the chunks that are done.
        n_delivered, n_segments: the number of chunks that have been delivered, and of their segments.
        has_failed: whether it has failed.
    """

    head: Session
    chunks_in: Callable[[Transcription], Iterable[tuple[Session, float]]]
    stop: Stop = NEVER
    began: float = field(default_factory=time.perf_counter)
    head_result: Transcription | None = None
    upcoming: Iterator[tuple[Session, float]] = field(default_factory=lambda: iter(()))
    runs: list[Run] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    results: dict[Run, Transcription] = field(default_factory=dict)
    n_delivered: int = 0
    n_segments: int = 0
    has_failed: bool = False

    def begin(self) -> Sequence[Run]:
        return [Run(self.head, self)]

    def next_in_order(self, run: Run) -> Run:
        return self.runs[self.n_delivered] if self.n_delivered < len(self.runs) else run

    def on_event(self, run: Run, event: Event) -> Sequence[Run | Event]:
        if self.has_failed or isinstance(event, Accepted):  # a chunk is delivered when it is done
            return []
        if isinstance(event, BaseException):
            return [self._failed(run, event)]
        if self.head_result is None:
            self.head_result, self.upcoming = event, iter(self.chunks_in(event))
            return self._begin(_AT_A_TIME) or [self._joined()]
        self.results[run] = event
        begun = self._begin(1)
        return [*self._in_order(), *begun]

    def _begin(self, count: int) -> list[Run]:
        """Take up to `count` further chunks and return their runs."""
        begun = []
        for session, end_s in islice(self.upcoming, count):
            begun.append(Run(session, self))
            self.ends.append(end_s)
        self.runs += begun
        return begun

    def _in_order(self) -> list[Run | Event]:
        """Deliver the chunks that are done and whose predecessors have been delivered."""
        events: list[Run | Event] = []
        assert self.head_result is not None, "the head comes first"
        while self.n_delivered < len(self.runs) and self.runs[self.n_delivered] in self.results:
            result = self.results[self.runs[self.n_delivered]]
            fresh = tuple(
                replace(segment, id=number) for number, segment in enumerate(result.segments, self.n_segments)
            )
            self.n_segments += len(fresh)
            events.append(Accepted(fresh, self.ends[self.n_delivered], self.head_result.duration))
            self.n_delivered += 1
        if self.n_delivered == len(self.runs):
            events.append(self._joined())
        return events

    def _joined(self) -> Transcription:
        """Return the transcription of the recording, from the chunks that have been delivered."""
        assert self.head_result is not None, "the head comes first"
        done = [self.results[run] for run in self.runs[: self.n_delivered]]
        result = _with_runtime(join(self.head_result, done), self.began)
        self.release()
        return result

    def _failed(self, run: Run, error: BaseException) -> BaseException:
        """End the recording without waiting for its other chunks; the error's `partial` has the delivered ones."""
        self.has_failed = True
        for each in self.runs:
            each.is_dropped = True
        if self.head_result is None:
            _timed(error, self.began)
        elif isinstance(error, (CancelledError, DecodingError)):
            error.partial = self._partial(error.partial if self._is_next(run) else None)
        self.release()
        return error

    def release(self) -> None:
        # Runs refer to their recording. In a cycle of references, only the garbage collector would free its samples.
        self.runs, self.results, self.upcoming = [], {}, iter(())

    def _is_next(self, run: Run) -> bool:
        return self.n_delivered < len(self.runs) and self.runs[self.n_delivered] is run

    def _partial(self, rest: Transcription | None) -> Transcription:
        """The partial result: the chunks that have been delivered, and `rest`, the partial result of the next one."""
        assert self.head_result is not None, "the head comes first"
        if self.n_delivered < len(self.runs) and rest is not None:
            self.results[self.runs[self.n_delivered]] = rest
            self.n_delivered += 1
        end_s = self.ends[self.n_delivered - 1] if self.n_delivered else 0.0
        known = replace(self.head_result, skipped=tuple(span for span in self.head_result.skipped if span.end <= end_s))
        done = [self.results[run] for run in self.runs[: self.n_delivered]]
        return _as_partial(_with_runtime(join(known, done), self.began))


def _timed(event: Event, began: float) -> Event:
    """The event; if it is the end, with the runtime in its result, and a partial result marked as such."""
    if isinstance(event, (CancelledError, DecodingError)) and event.partial is not None:
        event.partial = _as_partial(_with_runtime(event.partial, began))
    return _with_runtime(event, began) if isinstance(event, Transcription) else event


def _as_partial(result: Transcription) -> Transcription:
    """Mark a result as partial, for readers who find it in a file."""
    return replace(result, warnings=(*result.warnings, PARTIAL))


def _with_runtime(result: Transcription, began: float) -> Transcription:
    usage = replace(result.usage, runtime_ms=round((time.perf_counter() - began) * 1000))
    return replace(result, usage=usage)
