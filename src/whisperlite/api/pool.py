"""Many recordings at a time, with one model: their windows are decoded together."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import NoReturn

from typing_extensions import Unpack

from whisperlite.api.crew import AHEAD, NOT_CLOSED, Crew
from whisperlite.api.feed import Feed
from whisperlite.api.job import Job, check_process
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
# What `transcribe` takes beside options, and what a pool has in its place.
_ELSEWHERE = {
    "batch_size": "give it to pool(batch_size=…)",
    "cancel": "call cancel() of the job that it returns",
    "on_progress": "call add_callback of the job that it returns, and look at its progress",
    "on_segment": "call add_callback of the job that it returns, or iterate over its segments()",
}


class Pool:
    """Decodes the windows of many recordings together, each as if it were alone; made by `Whisper.pool`.

    A window that is done makes room for the next one, of whichever recording, while the others are being decoded. By
    default two recordings are read at a time, in the background, and at most `batch_size + 2` are in memory, besides
    the samples that were submitted. With `recordings=N`, up to eight are read at a time, N are in memory, and they take
    turns, window by window.

    A pool is a context manager. Leaving it waits for everything that was submitted; leaving it with an exception, or
    interrupting that wait, cancels everything. A pool that is not closed finishes its work once nothing refers to it,
    and is cancelled when the program ends; both give a `ResourceWarning`. A pool belongs to the process that made it:
    in a forked one it raises `ValueError`.

    An error during a step of the model ends the recordings that are being decoded, and the pool continues. If memory
    was short (`MemoryExceededError`), it continues with half of its slots, and doubles them again, up to `batch_size`,
    after a thousand steps without an error, or more if memory has been short before. If the device failed
    (`DeviceError`), the pool is broken, and everything submitted to it fails.
    """

    def __init__(self, runtime: Runtime, engine: Engine, recordings: int | None = None) -> None:
        recordings = checked("recordings", recordings, optional(integer(engine.slots, _MOST_RECORDINGS)))
        self._runtime = runtime
        self._crew = Crew(runtime, engine, recordings)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or self._crew.is_of_this_process:  # else the error says more than `close` would
            try:
                self.close(cancel=kind is not None)
            except BaseException:  # an interrupt while it waits: what is left is not to go on
                self._crew.finish(cancel=True)
                raise

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Pool has threads of this process: it cannot be copied or pickled. Share it, or make another."
        )

    def __del__(self) -> None:
        crew: Crew | None = getattr(self, "_crew", None)
        if crew is not None and crew.is_of_this_process and not crew.is_closed:
            crew.finish()
            warnings.warn(NOT_CLOSED, ResourceWarning, stacklevel=1, source=self)

    @property
    def slots(self) -> int:
        """How many windows can be decoded together; fewer than the pool was made with if memory was short."""
        return self._crew.slots

    @property
    def active_slots(self) -> int:
        """How many windows are being decoded now."""
        return self._crew.active_slots

    @property
    def queued(self) -> int:
        """How many recordings have not been read yet."""
        return self._crew.n_waiting

    @property
    def jobs(self) -> int:
        """How many jobs were submitted and are not done."""
        return self._crew.n_jobs

    @property
    def is_broken(self) -> bool:
        """Whether the device has failed: nothing more can be decoded in this process, and `submit` refuses it."""
        return self._crew.failure is not None

    def submit(self, audio: AudioSource, *, sampling_rate: int | None = None, **options: Unpack[OptionsDict]) -> Job:
        """Submit a recording; this returns at once.

        Args:
            audio, sampling_rate, **options: as in `Whisper.transcribe`. `timeout_s` counts from this call.
                Samples and mutable buffers are copied, and relative paths are of the current directory. A file object
                is read later, on another thread: keep it open, and do not read from it, until the job is done.

        Raises:
            OptionError, LanguageError, MissingPackageError: an option is wrong. What is wrong with the audio is raised
                by the job.
            ValueError: the pool is closed, or belongs to another process.
            DeviceError: the pool is broken.
        """
        for name in options:
            if name in _ELSEWHERE:
                raise OptionError(f"submit takes no {name}: {_ELSEWHERE[name]}.", option=name)
        chosen = make_options(options)
        self._runtime.check_options(chosen)
        return self._submit(audio, sampling_rate=sampling_rate, options=chosen)

    def transcribe_many(
        self,
        audios: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Iterator[Transcription | WhisperliteError]:
        """Transcribe recordings, in their order, each when it is asked for; see `Whisper.transcribe_many`.

        Raises:
            ValueError: the pool is closed, or of another process.
            DeviceError: the pool is broken, now or later.
        """
        chosen = make_options(options)
        self._runtime.check_options(chosen)
        refuse_one(audios)
        self._crew.check_open()
        return self._results(audios, sampling_rate, chosen)

    def close(self, *, cancel: bool = False) -> None:
        """Take nothing more, and wait for what was submitted.

        It does not wait in a job's callback, or in the `read` of a file object, which run on a pool's own threads. It
        does in an iterable that was given to `transcribe_many`.

        Args:
            cancel: stop it instead; its jobs raise `CancelledError`.

        Raises:
            ValueError: the pool is of another process.
        """
        check_process(self._crew.process)
        if not may_wait():
            threading.Thread(target=self.close, kwargs={"cancel": cancel}).start()
            return
        self._crew.finish(cancel=cancel)
        self._crew.join()

    def _submit(self, audio: AudioSource, *, sampling_rate: int | None, options: Options) -> Job:
        self._crew.check_open()
        return self._crew.submit(as_submitted(audio), sampling_rate, options)

    def _results(
        self, audios: Iterable[AudioSource], sampling_rate: int | None, options: Options
    ) -> Iterator[Transcription | WhisperliteError]:
        submit = partial(self._submit, sampling_rate=sampling_rate, options=options)
        feed = Feed(audios, submit, room=self.slots + 2 * AHEAD)
        job: Job | None = None
        try:
            while (job := feed.next()) is not None:
                yield _result_or_error(job)
                feed.make_room()
        finally:
            if job is not None:
                job.cancel()
            feed.end()


def _result_or_error(job: Job) -> Transcription | WhisperliteError:
    """What a job ended with, not raised: an error would keep the frames that it came through, and what is in them."""
    end = job._awaited()
    if isinstance(end, WhisperliteError) and not isinstance(end, DeviceError):  # which is of all that is to come, too
        return end
    return job.result()
