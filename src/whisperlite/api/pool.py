"""A pool: many recordings with one model, whose windows are decoded together."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import NoReturn

from typing_extensions import Unpack

from whisperlite.api.decoding_thread import NOT_CLOSED, DecodingThread
from whisperlite.api.feed import Feed
from whisperlite.api.job import Job
from whisperlite.api.job_state import JobState, check_process
from whisperlite.api.readers import AHEAD, Readers
from whisperlite.api.runtime import Runtime
from whisperlite.api.sources import as_submitted, refuse_one
from whisperlite.api.waiting import may_wait
from whisperlite.audio.load import AudioSource
from whisperlite.decoding.engine import Engine
from whisperlite.errors import DeviceError, OptionError, WhisperliteError
from whisperlite.kinds import checked, integer, optional
from whisperlite.options import Options, OptionsDict, make_options
from whisperlite.results import Transcription

_MOST_RECORDINGS = 10_000
# Arguments of `transcribe` that are not options, and what a pool offers instead.
_ELSEWHERE = {
    "batch_size": "give it to pool(batch_size=…)",
    "cancel": "call cancel() of the job that it returns",
    "on_progress": "call add_callback of the job that it returns, and look at its progress",
    "on_segment": "call add_callback of the job that it returns, or iterate over its segments()",
}


class Pool:
    """Decodes the windows of many recordings together, each as if it were alone; made by `Whisper.pool`.

    When a window is done, the next one of any recording takes its slot, while the others are being decoded. By default
    two recordings are read at a time, in the background, and at most `batch_size + 2` are in memory, besides the
    samples that were submitted. With `recordings=N`, up to eight are read at a time, N are in memory, and they take
    turns, window by window.

    A pool is a context manager. Leaving it waits for everything that was submitted; leaving it with an exception, or
    interrupting that wait, cancels everything. A pool that is not closed finishes its work once nothing refers to it,
    and is cancelled when the program ends; both give a `ResourceWarning`. A pool belongs to the process that made it:
    in a forked process its methods raise `ValueError`.

    An error during a step of the model ends the recordings that are being decoded, and the pool continues. If memory
    was short (`MemoryExceededError`), it continues with half of its slots, and doubles them again, up to `batch_size`,
    after a thousand steps without an error, or more if memory has been short before. If the device failed
    (`DeviceError`), the pool is broken, and everything submitted to it fails.
    """

    def __init__(self, runtime: Runtime, engine: Engine, recordings: int | None = None) -> None:
        recordings = checked("recordings", recordings, optional(integer(engine.slots, _MOST_RECORDINGS)))
        self._runtime = runtime
        readers = Readers(runtime, engine.slots, recordings)
        self._thread = DecodingThread(runtime, engine, readers)
        self._readers = readers  # only now: `__del__` has nothing to finish before

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or self._readers.is_of_this_process:  # else `error` says more than `close` would
            try:
                self.close(cancel=kind is not None)
            except BaseException:  # the wait was interrupted: cancel what is left
                self._readers.finish(cancel=True)
                raise

    def __repr__(self) -> str:
        return f"<Pool of {self.slots} slots, {self.active_slots} active, {self.jobs} jobs not done>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Pool has threads of this process: it cannot be copied or pickled. Share it, or make another."
        )

    def __del__(self) -> None:
        readers: Readers | None = getattr(self, "_readers", None)
        if readers is not None and readers.is_of_this_process and not readers.is_closed:
            readers.finish()
            warnings.warn(NOT_CLOSED, ResourceWarning, stacklevel=1, source=self)

    @property
    def slots(self) -> int:
        """How many windows can be decoded together; fewer than the pool was made with if memory was short."""
        return self._thread.slots

    @property
    def active_slots(self) -> int:
        """How many windows are being decoded now."""
        return self._thread.active_slots

    @property
    def queued(self) -> int:
        """How many recordings have not been read yet."""
        return self._readers.n_waiting

    @property
    def jobs(self) -> int:
        """How many of the jobs that were submitted are not done."""
        return self._readers.n_jobs

    @property
    def is_broken(self) -> bool:
        """Whether the device has failed: nothing more can be decoded in this process, and `submit` refuses it."""
        return self._readers.failure is not None

    def submit(self, audio: AudioSource, *, sampling_rate: int | None = None, **options: Unpack[OptionsDict]) -> Job:
        """Submit a recording, and return its job at once.

        Args:
            audio, sampling_rate, **options: as in `Whisper.transcribe`. `timeout_s` counts from this call. Samples and
                mutable buffers are copied, and relative paths are resolved now. A file object is read later, on another
                thread: keep it open, and do not read from it, until the job is done.

        Raises:
            OptionError, LanguageError, MissingPackageError: an option is wrong. Errors of the audio are raised by the
                job.
            ValueError: the pool is closed, or belongs to another process.
            DeviceError: the pool is broken.
        """
        for name in options:
            if name in _ELSEWHERE:
                raise OptionError(f"submit takes no {name}: {_ELSEWHERE[name]}.", option=name)
        chosen = make_options(options)
        self._runtime.check_options(chosen)
        return Job(self._submit(audio, sampling_rate=sampling_rate, options=chosen))

    def transcribe_many(
        self,
        audios: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Iterator[Transcription | WhisperliteError]:
        """Transcribe many recordings, and yield their results in order; see `Whisper.transcribe_many`.

        Raises:
            ValueError: the pool is closed, or belongs to another process.
            DeviceError: the pool is broken, or breaks while it works.
        """
        chosen = make_options(options)
        self._runtime.check_options(chosen)
        refuse_one(audios)
        self._readers.check_open()
        return self._results(audios, sampling_rate, chosen)

    def close(self, *, cancel: bool = False) -> None:
        """Accept nothing more, and wait until all jobs are done.

        It does not wait if it is called in a job's callback or in the `read` of a file object, since these run on the
        pool's own threads. It does wait in an iterable that was given to `transcribe_many`.

        Args:
            cancel: cancel all jobs, which then raise `CancelledError`.

        Raises:
            ValueError: the pool belongs to another process.
        """
        check_process(self._readers.process)
        if not may_wait():
            threading.Thread(target=self.close, kwargs={"cancel": cancel}).start()
            return
        self._readers.finish(cancel=cancel)
        self._thread.join()

    def _submit(self, audio: AudioSource, *, sampling_rate: int | None, options: Options) -> JobState:
        self._readers.check_open()
        return self._readers.submit(as_submitted(audio), sampling_rate, options)

    def _results(
        self, audios: Iterable[AudioSource], sampling_rate: int | None, options: Options
    ) -> Iterator[Transcription | WhisperliteError]:
        submit = partial(self._submit, sampling_rate=sampling_rate, options=options)
        feed = Feed(audios, submit, room=self.slots + 2 * AHEAD)
        job: JobState | None = None
        try:
            while (job := feed.next()) is not None:
                yield _result_or_error(job)
                feed.make_room()
        finally:
            if job is not None:
                job.token.cancel()
            feed.end()


def _result_or_error(job: JobState) -> Transcription | WhisperliteError:
    """Wait for the result or the error of a recording. An error is not raised, so that it does not keep more frames."""
    end = job.awaited()
    if isinstance(end, WhisperliteError) and not isinstance(end, DeviceError):  # a device fails all later jobs too
        return end
    return job.outcome()
