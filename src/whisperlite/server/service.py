"""The model, its pool, and what all requests share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import whisperlite
from whisperlite import Job, Segment, Transcription, Whisper
from whisperlite.errors import AudioTooLongError
from whisperlite.options import Options, as_arguments
from whisperlite.server.answers import inference_answer
from whisperlite.server.auth import TokenRegistry, three_quarters
from whisperlite.server.metrics import Metrics
from whisperlite.server.problems import Problem, broken, busy, problem_of
from whisperlite.server.settings import Settings

OPENAI_NAME = "whisper-1"  # the name of Whisper in OpenAI's API
_REQUEST = "req_"


def new_request_id() -> str:
    return _REQUEST + secrets.token_hex(16)


def files_of_requests(folder: Path) -> Iterator[Path]:
    """The files in a folder that are named after a request; the service leaves others alone."""
    return folder.glob(f"{_REQUEST}*")


def names_of(model: Whisper, settings: Settings) -> tuple[str, ...]:
    """All names that address the model. The first is its own name, or "local/FOLDER" for a model from the disk."""
    path = Path(model.name)
    if path.is_absolute():
        return tuple(dict.fromkeys([f"local/{path.name}", *settings.served_names]))
    given = model.name.partition("@")[0]  # without the revision
    names = [given]
    for info in whisperlite.available_models():
        if given in (info.name, info.repository):
            names += [info.name, info.repository]
    short = [name.rpartition("/")[2] for name in names]
    return tuple(dict.fromkeys([model.name, *settings.served_names, *names, *short]))


def identity_of(model: Whisper) -> str:
    """What identifies a model, also after a restart: its name, or its path if it comes from the disk."""
    return model.name.removesuffix("@main")


class Service:
    """What the application's paths share: the model's pool, the slots for requests, uploads and metrics.

    Attributes:
        names: the names that address the model.
        uploads: the folder of the recordings that are being served.
        is_stopping: whether new requests are refused.
    """

    def __init__(self, model: Whisper, settings: Settings, tokens: TokenRegistry) -> None:
        self.model, self.settings, self._tokens = model, settings, tokens
        self.names = names_of(model, settings)
        self.metrics = Metrics()
        self.uploads = settings.folder / "uploads"
        self.uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.is_stopping = False
        self.json_turn = asyncio.Lock()
        self._served, self._served_of = 0, Counter[str]()  # slots in use: in total, and by owner
        # Room for all served requests and for the webhook requests that run at a time. Last, since it starts threads.
        in_background = 2 * settings.batch_size - three_quarters(settings.batch_size)
        self.pool = model.pool(settings.batch_size, recordings=settings.max_requests + in_background)
        watch = self.metrics.watch
        watch("whisperlite_requests_served", "Requests that are being served.", lambda: self._served)
        watch("whisperlite_jobs", "Recordings submitted and not done.", lambda: self.pool.jobs)
        watch("whisperlite_jobs_queued", "Recordings that have not been read.", lambda: self.pool.queued)
        watch("whisperlite_slots", "Windows that can be decoded together.", lambda: self.pool.slots)
        watch("whisperlite_slots_active", "Windows that are being decoded.", lambda: self.pool.active_slots)

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be transcribed any more because the device has failed."""
        return self.pool.is_broken

    @contextlib.contextmanager
    def request_slot(self, owner: str) -> Iterator[None]:
        """Hold one of the slots for requests that are being served.

        Raises:
            Problem: 429: this owner has no slot left; 503: there is none left at all.
        """
        if self.is_stopping:
            raise busy("The service is stopping: try again.")
        if self.is_broken:
            raise broken()
        if self._served >= self.settings.max_requests:
            raise busy(f"{self.settings.max_requests} requests are being served, and no more are taken: try again.")
        # If there are several owners, one with many requests leaves the others some room.
        most = self._tokens.share(self.settings.max_requests)
        if self._served_of[owner] >= most:
            raise busy(f"{most} requests of yours are being served, and no more are taken: try again.", 429)
        self._served += 1
        self._served_of[owner] += 1
        try:
            yield
        finally:
            self._served -= 1
            self._served_of[owner] -= 1

    def check_model(self, identity: str) -> None:
        """Refuse a request that was made for a model with another identity; "" matches any.

        Raises:
            Problem: 404, with the names that are served.
        """
        if identity not in ("", identity_of(self.model), *self.names):
            raise self._not_served("The model that this was sent to is not served any more")

    def check_name(self, name: str, *others: str) -> None:
        """Refuse a request that names another model.

        Raises:
            Problem: 404, with the names that are served.
        """
        if name not in (*self.names, *others):
            raise self._not_served(f"The model {name[:200]!r} is not served here")

    def _not_served(self, what: str) -> Problem:
        return Problem(404, f"{what}; available: {', '.join(self.names)}.", "model")

    def remove_uploads(self) -> None:
        """Delete the uploads that a killed service left."""
        for file in files_of_requests(self.uploads):
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def upload(self, request_id: str) -> Iterator[Path]:
        """Yield the path for a recording; a file there is deleted at the end."""
        file = self.uploads / request_id
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    def submit(self, file: Path, options: Options) -> Job:
        return self.pool.submit(file, **as_arguments(options))

    async def transcribe(self, file: Path, options: Options) -> Transcription:
        """Transcribe a recording; if the caller is cancelled, so is the work.

        Raises:
            WhisperliteError: what `Whisper.transcribe` raises.
        """
        job = self.submit(file, options)
        async with contextlib.aclosing(self.segments(job)) as segments:
            async for _ in segments:
                pass
        return self.result(job)

    async def segments(self, job: Job) -> AsyncGenerator[Segment, None]:
        """Yield the segments of a job as they are accepted; if the generator is closed early, the job is cancelled."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake(_: Job) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody is waiting
                loop.call_soon_threadsafe(changed.set)

        job.add_callback(wake)
        taken = 0
        try:
            while True:
                changed.clear()
                is_done, accepted = job.done, job.accepted
                for segment in accepted[taken:]:
                    yield segment
                taken = len(accepted)
                if is_done:
                    return
                await changed.wait()
        finally:
            job.cancel()

    def problem(self, error: Exception, file: Path, options: Options, audio: str = "audio") -> Problem:
        """Convert an error of a job to a problem; `audio` is the name of the field with the recording."""
        if isinstance(error, AudioTooLongError):
            return Problem(
                422, f"The recording is longer than {self.settings.max_duration_s:g} s.", audio, kind="audio"
            )
        limit = options.timeout_s
        own = limit if limit is not None and limit < self.settings.timeout_s else None
        return problem_of(error, hidden=str(file), audio=audio, own_timeout_s=own)

    def result(self, job: Job) -> Transcription:
        """The result of a finished job, which is counted in the metrics."""
        result = job.result(0)
        self.metrics.transcribed(result.usage)
        return result

    def answer(self, result: Transcription, request_id: str, options: Options) -> dict[str, Any]:
        """The body of the inference API's answer."""
        return inference_answer(
            result,
            request_id,
            price_per_second=self.settings.price_per_second,
            with_words=options.word_timestamps,
        )

    def close(self) -> None:
        """Cancel what is still running, and wait for it to end."""
        self.is_stopping = True
        self.pool.close(cancel=True)

    def describe(self) -> dict[str, Any]:
        """The description of the model for `/v1/models`."""
        return {"id": self.names[0], "object": "model", "created": 0, "owned_by": "whisperlite", "names": [*self.names]}
