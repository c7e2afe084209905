"""Many recordings at a time, with one model: their windows are decoded together."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from traceback import clear_frames
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from whisperlite.api.heap import Heap
from whisperlite.audio.ffmpeg import THREADS
from whisperlite.audio.load import AudioSource
from whisperlite.cancel import CancelToken, Stop
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import ending_workers, release_workers
from whisperlite.errors import WhisperliteError
from whisperlite.kinds import checked, integer, optional
from whisperlite.options import Options, OptionsDict, make_options
from whisperlite.results import Segment, Transcription
from whisperlite.transcription.pool import Driver, Events
from whisperlite.transcription.recording import Event, Recording
from whisperlite.transcription.session import Accepted

if TYPE_CHECKING:
    from whisperlite.api.whisper import Whisper

_LOG = logging.getLogger("whisperlite")
_READERS = 2  # recordings that are read at a time, while others are decoded
_MOST_READERS = 8  # of a pool that takes more recordings than slots: long ones are not to hold up short ones
_AHEAD = 2  # recordings that wait, read, beyond those that are being decoded
_TURN_S = 0.05  # how often one that waits looks whether it has to stop
_IDLE_TURN_S = 0.5  # the same, where nothing waits

_MOST_RECORDINGS = 10_000


class Job:
    """A recording on its way through a pool; made by `Pool.submit`. Any thread may use it."""

    def __init__(self, options: Options) -> None:
        self._token = CancelToken()
        self._options = options
        self._future: Future[Transcription] = Future()
        self._changed = threading.Condition()
        self._segments: list[Segment] = []
        self._progress = (0.0, 0.0)
        self._callbacks: list[Callable[[Job], object]] = []

    def result(self, timeout: float | None = None) -> Transcription:
        """The transcription, as soon as it is there.

        Args:
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            TimeoutError: it is not there yet.
            CancelledError: it was cancelled; `partial` is what there was by then.
            WhisperliteError: what `Whisper.transcribe` raises.
        """
        done, _ = wait([self._future], timeout)
        if not done:  # a future would raise an error of its own, in Python 3.10 of another kind
            raise TimeoutError(f"The transcription is not there after timeout={timeout:g} s. It goes on.")
        return self._future.result()

    def segments(self) -> Iterator[Segment]:
        """Each segment as soon as it is accepted, from the first on; at the end it raises what `result` does."""
        taken = 0
        while True:
            with self._changed:
                while len(self._segments) == taken and not self._future.done():
                    self._changed.wait()
                fresh = self._segments[taken:]
            yield from fresh
            taken += len(fresh)
            if not fresh:
                self._future.result()
                return

    def add_callback(self, callback: Callable[[Job], object]) -> None:
        """Have something called, with this job, each time that segments are accepted, and when it is done.

        For programs that wait for many jobs at once, such as those that run an event loop. It is called on a thread of
        the pool, which does nothing else meanwhile: it should return at once, and what it raises is logged. If the job
        is done already, or has segments, it is called here and now.
        """
        with self._changed:
            self._callbacks.append(callback)
            happened = bool(self._segments) or self._future.done()
        if happened:
            callback(self)

    def cancel(self) -> None:
        """Stop it, within one step of the model; `result` raises `CancelledError`."""
        self._token.cancel()

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._future.done()

    @property
    def accepted(self) -> tuple[Segment, ...]:
        """The segments that there are by now."""
        with self._changed:
            return tuple(self._segments)

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds done, and seconds in all; both are 0 until the recording has been read."""
        return self._progress

    def _happened(self, event: Event) -> None:
        with self._changed:
            if isinstance(event, Accepted):
                self._segments += event.segments
                self._progress = (event.done_s, event.total_s)
            elif isinstance(event, Transcription):
                self._progress = (event.duration, event.duration)
                self._future.set_result(event)
            else:
                self._future.set_exception(event)
            self._changed.notify_all()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # of the caller's code; the other jobs are not to suffer from it
                _LOG.exception("A callback of a job failed.")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """What was submitted and has not been read."""

    job: Job
    audio: AudioSource
    sampling_rate: int | None
    stop: Stop


class Pool:
    """Decodes the windows of many recordings together, each as if it were alone; made by `Whisper.pool`.

    A window that is done makes room for the next one, of whichever recording, in the middle of the others' decoding;
    a long recording does not keep short ones waiting. Recordings are read in the background, two at a time, and no more
    than fit into the pool and two beyond; or up to eight at a time, and as many as it was made for: these take turns,
    window by window.

    It is its own context manager. Leaving it waits for what was submitted.
    """

    def __init__(self, model: Whisper, engine: Engine, recordings: int | None = None) -> None:
        recordings = checked("recordings", recordings, optional(integer(engine.slots, _MOST_RECORDINGS)))
        self._model, self._engine = model, engine
        self._room = threading.Semaphore(recordings or engine.slots + _AHEAD)
        readers = _READERS if recordings is None else max(_READERS, min(recordings // 2, _MOST_READERS))
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix=f"{THREADS}-reader")
        self._inbox: queue.SimpleQueue[tuple[Job, Recording] | None] = queue.SimpleQueue()
        self._queue: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._jobs: set[Job] = set()
        release_workers()  # a pool has workers of its own
        self._thread = threading.Thread(target=self._work, name=f"{THREADS}-pool", daemon=True)
        self._thread.start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(cancel=kind is not None)

    @property
    def slots(self) -> int:
        """Windows that can be decoded together."""
        return self._engine.slots

    @property
    def active_slots(self) -> int:
        """Windows that are being decoded now."""
        return self._engine.active_slots

    @property
    def queued(self) -> int:
        """Recordings that have not been read."""
        return len(self._queue)

    @property
    def jobs(self) -> int:
        """What was submitted and is not done."""
        return len(self._jobs)

    def submit(self, audio: AudioSource, *, sampling_rate: int | None = None, **options: Unpack[OptionsDict]) -> Job:
        """Hand in a recording; this returns at once.

        Args:
            audio, sampling_rate, **options: as in `Whisper.transcribe`. `timeout_s` counts from now on.

        Raises:
            OptionError, LanguageError, MissingPackageError: of the options; what is wrong with the audio is raised by
                the job.
            ValueError: the pool is closed.
        """
        chosen = make_options(options)
        self._model.check_options(chosen)
        job = Job(chosen)
        stop = Stop.after(chosen.timeout_s, job._token)
        with self._lock:
            if self._is_closed:
                raise ValueError("The pool is closed: nothing can be submitted to it.")
            self._jobs.add(job)
            self._queue.append(_Waiting(job, audio, sampling_rate, stop))
            self._readers.submit(self._read_next)
        return job

    def transcribe_many(
        self,
        audios: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Iterator[Transcription | WhisperliteError]:
        """Transcribe recordings, in their order, each when it is asked for; see `Whisper.transcribe_many`.

        What is wrong with the options is raised when the first is asked for.
        """
        waiting: deque[Job] = deque()
        sources = iter(audios)
        try:
            while True:
                for audio in islice(sources, self._engine.slots + 2 * _AHEAD - len(waiting)):
                    waiting.append(self.submit(audio, sampling_rate=sampling_rate, **options))
                if not waiting:
                    return
                try:
                    yield waiting.popleft().result()
                except WhisperliteError as error:
                    yield error
        finally:
            for job in waiting:
                job.cancel()

    def close(self, *, cancel: bool = False) -> None:
        """Take nothing more, and wait for what was submitted.

        Args:
            cancel: stop it instead; its jobs raise `CancelledError`.
        """
        if threading.current_thread().name.startswith(THREADS):
            # An iterator was left to the garbage collector, which runs on any thread. None can wait for its own end.
            threading.Thread(target=self.close, kwargs={"cancel": cancel}).start()
            return
        with self._lock:
            self._is_closed = True
            jobs = list(self._jobs)
        if cancel:
            for job in jobs:
                job.cancel()
        self._readers.shutdown(wait=True)
        self._inbox.put(None)
        self._thread.join()

    # On the readers' threads

    def _read_next(self) -> None:
        while not self._room.acquire(timeout=_TURN_S):
            self._end_stopped()
        with self._lock:
            first = self._queue.popleft() if self._queue else None
        recording = None if first is None else self._read(first)
        if first is None or recording is None:
            self._room.release()
        else:
            self._inbox.put((first.job, recording))

    def _end_stopped(self) -> None:
        """Of what waits for room, end what has to stop."""
        with self._lock:
            stopped = [each for each in self._queue if each.stop.is_over]
            self._queue = deque(each for each in self._queue if each not in stopped)
        for each in stopped:
            self._read(each)  # which `stop` ends before anything is read

    def _read(self, one: _Waiting) -> Recording | None:
        """A recording that can be driven; None: the job has ended."""
        try:
            with ending_workers():
                recording, duration = self._model._recording(one.audio, one.job._options, one.sampling_rate, one.stop)
        except BaseException as error:  # the job's caller is to see whatever it was
            self._end(one.job, error)
            return None
        one.job._progress = (0.0, duration)
        return recording

    # On the pool's thread

    def _work(self) -> None:
        driver, jobs, is_open = Driver(self._engine), dict[Recording, Job](), True
        heap = Heap()
        while is_open or not driver.is_idle:
            try:
                self._end_stopped()
                while is_open and (driver.is_idle or not self._inbox.empty()):
                    is_open = self._take_in(driver, jobs)
                self._tell(driver.step(), jobs)
                heap.give_back()
            except BaseException as error:  # the engine is in an unknown state: its jobs end, a new one goes on
                for job in jobs.values():
                    self._room.release()
                    self._end(job, error)
                jobs.clear()
                self._engine = self._model._engine(slots=self._engine.slots, cpu_threads=self._engine.cpu_threads)
                driver = Driver(self._engine)

    def _take_in(self, driver: Driver, jobs: dict[Recording, Job]) -> bool:
        """Let the next recording begin, as soon as there is one; False: the pool is closed."""
        try:
            arrived = self._inbox.get(timeout=_TURN_S if self._queue else _IDLE_TURN_S)
        except queue.Empty:
            self._end_stopped()
            return True
        if arrived is None:
            return False
        job, recording = arrived
        jobs[recording] = job
        self._tell(driver.start(recording), jobs)
        return True

    def _tell(self, events: Events, jobs: dict[Recording, Job]) -> None:
        for recording, event in events:
            if isinstance(event, Accepted):
                jobs[recording]._happened(event)
            else:
                self._room.release()
                self._end(jobs.pop(recording), event)

    def _end(self, job: Job, event: Transcription | BaseException) -> None:
        with self._lock:
            self._jobs.discard(job)
        if isinstance(event, BaseException):
            clear_frames(event.__traceback__)  # whoever keeps the error is not to keep the recording and its encodings
        job._happened(event)
