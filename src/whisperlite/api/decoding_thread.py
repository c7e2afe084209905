"""The thread of a pool that decodes what its readers have read."""

from __future__ import annotations

import atexit
import logging
import queue
import time
import warnings
from weakref import WeakSet

from whisperlite.api.failures import as_typed_error, copy_error
from whisperlite.api.frames import clear_frames
from whisperlite.api.heap import Heap, trim
from whisperlite.api.job_state import JobState
from whisperlite.api.readers import TURN_S, Readers
from whisperlite.api.runtime import Runtime
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import release_workers
from whisperlite.errors import DeviceError, MemoryExceededError
from whisperlite.own_threads import OwnThread
from whisperlite.transcription.driver import Driver, Events
from whisperlite.transcription.recording import Recording
from whisperlite.transcription.session import Accepted

_LOG = logging.getLogger("whisperlite")
_CALM_STEPS = 1000  # steps without an error after which slots that were given up for lack of memory are tried again
_MOST_CALM_STEPS = 1_000_000  # the number doubles whenever memory is short, up to this
_IDLE_TURN_S = 0.5  # as TURN_S, while no recording waits
_STEP_S = 30.0  # how long the end of the program waits for a step of the model: torch must not be interrupted in one
_READING_S = 2.0  # how long it waits for a recording that is being read, whose source may block for ever


class DecodingThread:
    """Decodes the recordings that readers have read, and starts and ends together with them.

    It does not know its pool: when the pool is gone, it finishes its work and ends.

    Attributes:
        slots: windows that are decoded together; fewer after memory was short.
    """

    def __init__(self, runtime: Runtime, engine: Engine, readers: Readers) -> None:
        self.slots = engine.slots
        self._runtime = runtime
        self._readers, self._inbox = readers, readers.inbox
        self._most_slots = engine.slots
        self._n_calm, self._calm_steps = 0, _CALM_STEPS // 2
        self._engine: Engine | None = engine
        self._decoding: dict[Recording, JobState] = {}
        self._more_comes = True
        self._thread = OwnThread("pool", self._decode_all)
        release_workers()  # the thread has workers of its own
        try:
            for thread in (*readers.threads, self._thread):
                thread.start()
        except BaseException:  # the system has no more threads: end those that were started
            readers.finish()
            raise
        _RUNNING.add(self)

    @property
    def is_of_this_process(self) -> bool:
        """Whether this is the process that the thread runs in, and not one forked from it."""
        return self._readers.is_of_this_process

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is accepted."""
        return self._readers.is_closed

    @property
    def active_slots(self) -> int:
        """Windows that are being decoded."""
        engine = self._engine
        return 0 if engine is None else engine.active_slots

    def join(self) -> None:
        """Wait until the readers and this thread have ended."""
        for thread in (*self._readers.threads, self._thread):
            thread.join()

    def end_with_program(self) -> None:
        """Cancel all jobs, and wait a limited time for the threads to end."""
        self._readers.finish(cancel=True)
        self._inbox.put(None)  # do not wait for recordings that are still being read
        self._thread.join(_STEP_S)
        deadline_s = time.monotonic() + _READING_S
        for reader in self._readers.threads:
            reader.join(max(deadline_s - time.monotonic(), 0.0))

    # On the thread

    def _decode_all(self) -> None:
        while self._more_comes:
            try:
                if self._engine is None:
                    self._refuse_next()
                else:
                    self._decode(Driver(self._engine))
            except BaseException as error:
                self._recover(error)
        self._engine = None
        self._readers.drop_model()
        del self._runtime  # an error of a recording keeps this thread's frames, and so this object
        trim()

    def _decode(self, driver: Driver) -> None:
        heap = Heap()
        while self._more_comes or not driver.is_idle:
            self._readers.end_stopped()
            while self._more_comes and (driver.is_idle or not self._inbox.empty()):
                self._take_in(driver)
                heap.give_back()
            self._n_calm += not driver.is_idle
            for events in (driver.stop(), driver.move()):
                self._publish(events)
            self._grow(driver.engine)
            heap.freed()

    def _grow(self, engine: Engine) -> None:
        """Double the slots again once memory that was short has sufficed for a while."""
        if self.slots == self._most_slots or self._n_calm < self._calm_steps:
            return
        slots, self.slots = self.slots, min(self.slots * 2, self._most_slots)
        engine.slots, self._n_calm = self.slots, 0
        _LOG.info("The pool goes on with %d in place of %d slots: memory may suffice again.", self.slots, slots)

    def _recover(self, error: BaseException) -> None:
        """End all recordings that were being decoded, and continue with a new engine: the old one's state is unknown.

        If memory was short, the new engine has half of the slots; if the device has failed, there is none.
        """
        clear_frames(error)  # keeping the error must not keep the tensors of all recordings
        failure = as_typed_error(error, self._runtime.device)
        self._n_calm = 0
        if isinstance(failure, MemoryExceededError):
            self._calm_steps = min(self._calm_steps * 2, _MOST_CALM_STEPS)
            self._runtime.spare_engine.drop()
            slots, self.slots = self.slots, max(self.slots // 2, 1)
            _LOG.warning("%s The pool goes on with %d in place of %d slots.", failure, self.slots, slots)
        if isinstance(failure, DeviceError):
            _LOG.error("%s", failure)
            self._readers.failure, self._engine = failure, None
        elif self._engine is not None:
            self._engine = self._runtime.engine(slots=self.slots, cpu_threads=self._engine.cpu_threads)
        broken, self._decoding = self._decoding, {}
        for recording, job in broken.items():
            recording.release()
            self._readers.make_room()
            self._readers.end(job, error if failure is None else copy_error(failure))

    def _refuse_next(self) -> None:
        arrived = self._inbox.get()
        if arrived is None:
            self._more_comes = False
            return
        failure = self._readers.failure
        assert failure is not None, "without one there is an engine"
        self._readers.make_room()
        self._readers.end(arrived[0], DeviceError(*failure.args))

    def _take_in(self, driver: Driver) -> None:
        """Start the next recording, waiting for it a turn at most."""
        try:
            arrived = self._inbox.get(timeout=TURN_S if self._readers.n_waiting else _IDLE_TURN_S)
        except queue.Empty:
            self._readers.end_stopped()
            return
        if arrived is None:
            self._more_comes = False
            return
        job, recording = arrived
        self._decoding[recording] = job
        self._publish(driver.start(recording))

    def _publish(self, events: Events) -> None:
        failed: list[tuple[Recording, BaseException]] = []
        try:
            for recording, event in events:
                if isinstance(event, Accepted):
                    self._decoding[recording].publish(event)
                elif isinstance(event, BaseException):
                    failed.append((recording, event))
                else:
                    self._readers.make_room()
                    self._readers.end(self._decoding.pop(recording), event)
        finally:
            for recording, error in failed:
                # Keeping the error must not keep the recording and its encodings. The generator of the events is among
                # the error's frames, which can be cleared only once it has ended.
                clear_frames(error)
                self._readers.make_room()
                self._readers.end(self._decoding.pop(recording), error)


NOT_CLOSED = "A pool was not closed: use it as a context manager, or call its close()."
_RUNNING: WeakSet[DecodingThread] = WeakSet()


@atexit.register
def _end_all() -> None:
    """End all pools: a thread that returns from torch's code after the interpreter is gone may crash the process."""
    pools = [thread for thread in list(_RUNNING) if thread.is_of_this_process]
    are_closed = all(thread.is_closed for thread in pools)
    for thread in pools:
        thread.end_with_program()
    if not are_closed:  # warned last, since warnings may be errors
        warnings.warn(f"{NOT_CLOSED} What it had not done is cancelled.", ResourceWarning, stacklevel=1)
