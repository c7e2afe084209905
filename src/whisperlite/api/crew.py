"""The threads of a pool: some read what was submitted, and one decodes it."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import warnings
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakSet

from whisperlite.api.failures import again, forget_frames, named
from whisperlite.api.heap import Heap, trim
from whisperlite.api.job import Job, check_process
from whisperlite.audio.load import AudioSource
from whisperlite.cancel import Stop
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import ending_workers, release_workers
from whisperlite.errors import DeviceError, MemoryExceededError
from whisperlite.options import Options
from whisperlite.own_threads import OwnThread
from whisperlite.results import Transcription
from whisperlite.transcription.driver import Driver, Events
from whisperlite.transcription.recording import Recording
from whisperlite.transcription.session import Accepted

if TYPE_CHECKING:
    from whisperlite.api.whisper import Whisper

_LOG = logging.getLogger("whisperlite")
_READERS = 2  # recordings that are read at a time, while others are decoded
_MOST_READERS = 8  # of a pool that takes more recordings than slots: long ones are not to hold up short ones
AHEAD = 2  # recordings that wait, read, beyond those that are being decoded
_CALM_STEPS = 1000  # without an error, after which slots that memory was short for are tried again
_MOST_CALM_STEPS = 1_000_000  # each time that memory is short it takes twice as many, up to this
_TURN_S = 0.05  # how often one that waits looks whether it has to stop
_IDLE_TURN_S = 0.5  # the same, where nothing waits
_STEP_S = 30.0  # how long the end of the program waits for a step of the model: torch must not be interrupted in one
_READING_S = 2.0  # the same for a recording that is being read, which its source may block for ever


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """What was submitted and has not been read."""

    job: Job
    audio: AudioSource
    sampling_rate: int | None
    options: Options
    stop: Stop


class Crew:
    """Does the work of a pool, and knows nothing of the pool: when that is gone, it finishes and ends.

    Attributes:
        slots: windows that are decoded together, fewer after memory was short.
        process: whose threads they are.
        is_closed: it takes nothing more.
        failure: of the device; nothing is decoded any more.
    """

    def __init__(self, model: Whisper, engine: Engine, recordings: int | None) -> None:
        self.slots, self.process = engine.slots, os.getpid()
        self.is_closed = False
        self.failure: DeviceError | None = None
        self._model = model
        self._most_slots = engine.slots
        self._n_calm, self._calm_steps = 0, _CALM_STEPS // 2
        self._engine: Engine | None = engine
        self._changed = threading.Condition()  # whoever holds it may be interrupted by a collection that takes it too
        self._waiting: deque[_Waiting] = deque()
        self._room = recordings or engine.slots + AHEAD
        self._jobs: set[Job] = set()
        self._inbox: queue.SimpleQueue[tuple[Job, Recording] | None] = queue.SimpleQueue()
        self._decoding: dict[Recording, Job] = {}
        self._more_comes = True
        self._next_look_s = 0.0
        self._n_reading = _READERS if recordings is None else max(_READERS, min(recordings // 2, _MOST_READERS))
        self._readers = [OwnThread("reader", self._read_all) for _ in range(self._n_reading)]
        self._decoder = OwnThread("pool", self._decode_all)
        release_workers()  # it has workers of its own
        try:
            for thread in (*self._readers, self._decoder):
                thread.start()
        except BaseException:  # the system has no more threads: those that there are end
            self.finish()
            raise
        _CREWS.add(self)

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process was not forked: then its threads are there."""
        return os.getpid() == self.process

    @property
    def active_slots(self) -> int:
        """Windows that are being decoded."""
        engine = self._engine
        return 0 if engine is None else engine.active_slots

    @property
    def n_waiting(self) -> int:
        """Recordings that have not been read."""
        return len(self._waiting)

    @property
    def n_jobs(self) -> int:
        """Jobs that are not done."""
        return len(self._jobs)

    def check_open(self) -> None:
        """Refuse what nobody would do.

        Raises:
            ValueError: it is closed, or this process was forked.
            DeviceError: the device has failed.
        """
        check_process(self.process)
        if self.is_closed:
            raise ValueError("The pool is closed: nothing can be submitted to it.")
        if self.failure is not None:
            raise DeviceError(*self.failure.args)

    def submit(self, audio: AudioSource, sampling_rate: int | None, options: Options) -> Job:
        """Put a recording into the queue."""
        job = Job()
        stop = Stop.after(options.timeout_s, job._token)
        with self._changed:
            self.check_open()
            self._jobs.add(job)
            self._waiting.append(_Waiting(job, audio, sampling_rate, options, stop))
            self._changed.notify()
        return job

    def finish(self, *, cancel: bool = False) -> None:
        """Take nothing more, and end when what was submitted is done, or at once; this waits for nothing."""
        with self._changed:
            self.is_closed = True
            for job in list(self._jobs) if cancel else ():
                job.cancel()
            self._next_look_s = 0.0
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until it has ended."""
        for thread in (*self._readers, self._decoder):
            thread.join()

    def end_with_program(self) -> None:
        """Cancel everything, and wait for that, though not for ever."""
        self.finish(cancel=True)
        self._inbox.put(None)  # what is still being read does not come any more
        self._decoder.join(_STEP_S)
        deadline_s = time.monotonic() + _READING_S
        for reader in self._readers:
            reader.join(max(deadline_s - time.monotonic(), 0.0))

    # On the readers' threads

    def _read_all(self) -> None:
        try:
            while self._read_next():
                pass
        finally:  # however it ends, the decoder is not to wait for it
            with self._changed:
                self._n_reading -= 1
                is_last = self._n_reading == 0
            if is_last:
                self._inbox.put(None)

    def _read_next(self) -> bool:
        """Read the first that waits, as soon as there is room for it; False: nothing more comes."""
        first = self._take()
        if first is None:
            return False
        recording = self._read(first)
        if recording is None:
            self._make_room()
        else:
            self._inbox.put((first.job, recording))
        del first  # an error keeps this frame
        return True

    def _take(self) -> _Waiting | None:
        while True:
            self._end_stopped()
            with self._changed:
                if self._waiting and self._room > 0:
                    self._room -= 1
                    return self._waiting.popleft()
                if self.is_closed and not self._waiting:
                    self._changed.notify_all()  # the others are waiting for the same
                    return None
                self._changed.wait(_TURN_S if self._waiting else None)

    def _make_room(self) -> None:
        with self._changed:
            self._room += 1
            self._changed.notify()

    def _end_stopped(self) -> None:
        """Of what waits, end what has to stop."""
        stopped: deque[_Waiting] = deque()
        with self._changed:
            now_s = time.monotonic()
            if not self._waiting or now_s < self._next_look_s:
                return
            self._next_look_s = now_s + _TURN_S
            kept: deque[_Waiting] = deque()
            for each in self._waiting:
                (stopped if each.stop.is_over else kept).append(each)
            self._waiting = kept
        while stopped:
            self._read(stopped.popleft())  # which `stop` ends before anything is read

    def _read(self, one: _Waiting) -> Recording | None:
        """A recording that can be driven; None: the job has ended."""
        try:
            if self.failure is not None:
                raise DeviceError(*self.failure.args)
            with ending_workers():
                recording, duration = self._model._recording(one.audio, one.options, one.sampling_rate, one.stop)
        except BaseException as error:  # the job's caller is to see whatever it was
            forget_frames(error)
            self._end(one.job, error)
            return None
        else:
            one.job._begun(duration)
            return recording
        finally:
            del one  # an error keeps this frame

    # On the decoder's thread

    def _decode_all(self) -> None:
        while self._more_comes:
            try:
                if self._engine is None:
                    self._refuse_next()
                else:
                    self._decode(Driver(self._engine))
            except BaseException as error:
                self._broke(error)
        self._engine = None
        if self._n_reading == 0:
            del self._model  # an error of a recording keeps the frames of the threads, and so the crew
        trim()

    def _decode(self, driver: Driver) -> None:
        heap = Heap()
        while self._more_comes or not driver.is_idle:
            self._end_stopped()
            while self._more_comes and (driver.is_idle or not self._inbox.empty()):
                self._take_in(driver)
                heap.give_back()
            self._n_calm += not driver.is_idle
            for events in (driver.stop(), driver.move()):
                self._tell(events)
            self._grow(driver.engine)
            heap.freed()

    def _grow(self, engine: Engine) -> None:
        """Try more slots, after memory was short and then sufficed for a while."""
        if self.slots == self._most_slots or self._n_calm < self._calm_steps:
            return
        slots, self.slots = self.slots, min(self.slots * 2, self._most_slots)
        engine.slots, self._n_calm = self.slots, 0
        _LOG.info("The pool goes on with %d in place of %d slots: memory may suffice again.", self.slots, slots)

    def _broke(self, error: BaseException) -> None:
        """The engine is in an unknown state: what it had ends with the error, and a new one goes on.

        Where memory was short the new one is smaller; where the device has failed there is none.
        """
        forget_frames(error)  # whoever keeps the error is not to keep the tensors of all
        failure = named(error, self._model.device)
        self._n_calm = 0
        if isinstance(failure, MemoryExceededError):
            self._calm_steps = min(self._calm_steps * 2, _MOST_CALM_STEPS)
            self._model._spare_engine.drop()
            slots, self.slots = self.slots, max(self.slots // 2, 1)
            _LOG.warning("%s The pool goes on with %d in place of %d slots.", failure, self.slots, slots)
        if isinstance(failure, DeviceError):
            _LOG.error("%s", failure)
            self.failure, self._engine = failure, None
        elif self._engine is not None:
            self._engine = self._model._engine(slots=self.slots, cpu_threads=self._engine.cpu_threads)
        broken, self._decoding = self._decoding, {}
        for recording, job in broken.items():
            recording.let_go()
            self._make_room()
            self._end(job, error if failure is None else again(failure))

    def _refuse_next(self) -> None:
        arrived = self._inbox.get()
        if arrived is None:
            self._more_comes = False
            return
        assert self.failure is not None, "without one there is an engine"
        self._make_room()
        self._end(arrived[0], DeviceError(*self.failure.args))

    def _take_in(self, driver: Driver) -> None:
        """Let the next recording begin, as soon as there is one."""
        try:
            arrived = self._inbox.get(timeout=_TURN_S if self._waiting else _IDLE_TURN_S)
        except queue.Empty:
            self._end_stopped()
            return
        if arrived is None:
            self._more_comes = False
            return
        job, recording = arrived
        self._decoding[recording] = job
        self._tell(driver.start(recording))

    def _tell(self, events: Events) -> None:
        failed: list[tuple[Recording, BaseException]] = []
        try:
            for recording, event in events:
                if isinstance(event, Accepted):
                    self._decoding[recording]._happened(event)
                elif isinstance(event, BaseException):
                    failed.append((recording, event))
                else:
                    self._make_room()
                    self._end(self._decoding.pop(recording), event)
        finally:
            for recording, error in failed:
                # Whoever keeps the error is not to keep the recording and its encodings. The generator that gives the
                # events is among its frames, and can be cleared when it has ended.
                forget_frames(error)
                self._make_room()
                self._end(self._decoding.pop(recording), error)

    def _end(self, job: Job, event: Transcription | BaseException) -> None:
        with self._changed:
            self._jobs.discard(job)
        job._happened(event)


NOT_CLOSED = "A pool was not closed: use it as a context manager, or call its close()."
_CREWS: WeakSet[Crew] = WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that comes out of torch's code when the interpreter is gone may take the process down."""
    crews = [crew for crew in list(_CREWS) if crew.is_of_this_process]
    are_closed = all(crew.is_closed for crew in crews)
    for crew in crews:
        crew.end_with_program()
    if not are_closed:  # said last: it may be an error
        warnings.warn(f"{NOT_CLOSED} What it had not done is cancelled.", ResourceWarning, stacklevel=1)
