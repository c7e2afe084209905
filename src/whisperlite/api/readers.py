"""The threads of a pool that read what is submitted: audio → recordings that are ready to be driven."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

from whisperlite.api.frames import clear_frames
from whisperlite.api.job_state import JobState, check_process
from whisperlite.api.runtime import Runtime
from whisperlite.audio.load import AudioSource
from whisperlite.cancel import Stop
from whisperlite.decoding.threads import ending_workers
from whisperlite.errors import DeviceError
from whisperlite.options import Options
from whisperlite.own_threads import OwnThread
from whisperlite.results import Transcription
from whisperlite.transcription.recording import Recording

_READERS = 2  # recordings that are read at a time, while others are decoded
_MOST_READERS = 8  # the most of them if there are more recordings than slots: long ones must not delay short ones
AHEAD = 2  # recordings that have been read and wait, beyond those that are being decoded
TURN_S = 0.05  # how often waiting recordings are checked for having to stop


@dataclass(frozen=True, slots=True, eq=False)
class _Submission:
    """A recording that was submitted and has not been read."""

    job: JobState
    audio: AudioSource
    sampling_rate: int | None
    options: Options
    stop: Stop


class Readers:
    """Accept recordings for a pool, and read them in their order as there is room.

    The pool's queue and its jobs are protected by one lock, which is here.

    Args:
        runtime: the model that recordings are read for.
        slots: windows that are decoded together.
        recordings: recordings in memory; None: two more than `slots`.

    Attributes:
        threads: not started.
        inbox: recordings that have been read, with their jobs; None: no more will come.
        process: the id of the process that the threads belong to.
        is_closed: whether nothing more is accepted.
        failure: of the device; once it is set, every job fails with it.
    """

    def __init__(self, runtime: Runtime, slots: int, recordings: int | None) -> None:
        self.inbox: queue.SimpleQueue[tuple[JobState, Recording] | None] = queue.SimpleQueue()
        self.process = os.getpid()
        self.is_closed = False
        self.failure: DeviceError | None = None
        self._runtime = runtime
        self._changed = threading.Condition()  # reentrant: a garbage collection that takes it may interrupt its holder
        self._waiting: deque[_Submission] = deque()
        self._room = recordings or slots + AHEAD
        self._jobs: set[JobState] = set()
        self._next_look_s = 0.0
        self._n_reading = _READERS if recordings is None else max(_READERS, min(recordings // 2, _MOST_READERS))
        self.threads = [OwnThread("reader", self._read_all) for _ in range(self._n_reading)]

    @property
    def is_of_this_process(self) -> bool:
        """Whether this is the process that the threads run in, and not one forked from it."""
        return os.getpid() == self.process

    @property
    def n_waiting(self) -> int:
        """Recordings that have not been read."""
        return len(self._waiting)

    @property
    def n_jobs(self) -> int:
        """Jobs that are not done."""
        return len(self._jobs)

    def check_open(self) -> None:
        """Raise an error if the pool takes no more recordings.

        Raises:
            ValueError: the pool is closed, or this process was forked.
            DeviceError: the device has failed.
        """
        check_process(self.process)
        if self.is_closed:
            raise ValueError("The pool is closed: nothing can be submitted to it.")
        if self.failure is not None:
            raise DeviceError(*self.failure.args)

    def submit(self, audio: AudioSource, sampling_rate: int | None, options: Options) -> JobState:
        """Put a recording into the queue."""
        job = JobState()
        stop = Stop.after(options.timeout_s, job.token)
        with self._changed:
            self.check_open()
            self._jobs.add(job)
            self._waiting.append(_Submission(job, audio, sampling_rate, options, stop))
            self._changed.notify()
        return job

    def finish(self, *, cancel: bool = False) -> None:
        """Accept nothing more, and end when all jobs are done; returns without waiting.

        Args:
            cancel: cancel all jobs.
        """
        with self._changed:
            self.is_closed = True
            for job in list(self._jobs) if cancel else ():
                job.token.cancel()
            self._next_look_s = 0.0
            self._changed.notify_all()

    def make_room(self) -> None:
        """Let one more recording be read."""
        with self._changed:
            self._room += 1
            self._changed.notify()

    def end(self, job: JobState, event: Transcription | BaseException) -> None:
        """End a job with its transcription or its error."""
        with self._changed:
            self._jobs.discard(job)
        job.publish(event)

    def end_stopped(self) -> None:
        """End the waiting jobs that have to stop."""
        stopped: deque[_Submission] = deque()
        with self._changed:
            now_s = time.monotonic()
            if not self._waiting or now_s < self._next_look_s:
                return
            self._next_look_s = now_s + TURN_S
            kept: deque[_Submission] = deque()
            for each in self._waiting:
                (stopped if each.stop.is_over else kept).append(each)
            self._waiting = kept
        while stopped:
            self._read(stopped.popleft())  # its `stop` raises before anything is read

    def drop_model(self) -> None:
        """Drop the model if all threads have ended: an error of a recording keeps their frames, and so this object."""
        if self._n_reading == 0:
            del self._runtime

    # On the threads

    def _read_all(self) -> None:
        try:
            while self._read_next():
                pass
        finally:  # whatever ended it, the inbox must end too
            with self._changed:
                self._n_reading -= 1
                is_last = self._n_reading == 0
            if is_last:
                self.inbox.put(None)

    def _read_next(self) -> bool:
        """Read the first waiting recording as soon as there is room; False if no more will come."""
        first = self._take()
        if first is None:
            return False
        recording = self._read(first)
        if recording is None:
            self.make_room()
        else:
            self.inbox.put((first.job, recording))
        del first  # an error keeps this frame
        return True

    def _take(self) -> _Submission | None:
        while True:
            self.end_stopped()
            with self._changed:
                if self._waiting and self._room > 0:
                    self._room -= 1
                    return self._waiting.popleft()
                if self.is_closed and not self._waiting:
                    self._changed.notify_all()  # the other threads wait for the same
                    return None
                self._changed.wait(TURN_S if self._waiting else None)

    def _read(self, one: _Submission) -> Recording | None:
        """Return a recording that is ready to be driven, or end its job and return None."""
        try:
            if self.failure is not None:
                raise DeviceError(*self.failure.args)
            with ending_workers():
                recording, duration = self._runtime.recording(one.audio, one.options, one.sampling_rate, one.stop)
        except BaseException as error:  # whatever it is, the job raises it
            clear_frames(error)
            self.end(one.job, error)
            return None
        else:
            one.job.begin(duration)
            return recording
        finally:
            del one  # an error keeps this frame
