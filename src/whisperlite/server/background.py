"""Requests with a webhook: accepted once they are on disk, transcribed beside other requests, answered by a POST."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from whisperlite.errors import MemoryExceededError
from whisperlite.options import Options
from whisperlite.server.answers import failed_answer, waiting_answer
from whisperlite.server.auth import TokenRegistry
from whisperlite.server.fields import Fields, checked_options
from whisperlite.server.logs import REQUEST_ID, log
from whisperlite.server.problems import FULL, Problem, busy, is_shortage, problem_of, storage_full
from whisperlite.server.service import Service, files_of_requests, identity_of
from whisperlite.server.webhooks.addresses import Addresses, LookUpError, WebhookRefusedError, parse_url
from whisperlite.server.webhooks.delivery import Deliveries
from whisperlite.server.webhooks.store import NoSuchRequestError, StorageFullError, Store, StoredRequest

_STARTS_TOGETHER = 2  # unfinished starts of a request, after which it runs alone
_MOST_STARTS = 10  # starts of a request, after which it is assumed to be what kills the service
_FORGET_EVERY_S = 600.0
_AGAIN_S = 5.0  # pause before retrying what the disk or the memory had no room for


class Background:
    """Runs stored requests, as many at a time as the pool has slots. Owners take turns; the oldest request is first.

    If there are several tokens, a few more requests may run, so that an owner with no running request need not wait for
    another whose recordings occupy all the slots.

    A request that was running each time the service was killed may be the reason. Such requests run first, and one at a
    time with no other webhook request, so that further kills count against that one only.
    """

    def __init__(
        self,
        service: Service,
        store: Store,
        addresses: Addresses,
        deliveries: Deliveries,
        tokens: TokenRegistry,
    ) -> None:
        self._service, self._store, self._addresses, self._deliveries = service, store, addresses, deliveries
        self._tokens = tokens
        self._folder = service.settings.folder / "stored"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._wake = asyncio.Event()
        self._accepting = asyncio.Lock()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._alone: str | None = None  # the last request that was started to run alone
        self.has_ended = False
        service.metrics.watch("whisperlite_webhooks_pending", "Webhook requests not delivered yet.", store.pending)

    async def accept(self, request_id: str, owner: str, upload: Path, fields: Fields) -> dict[str, Any]:
        """Accept and store a request: when this returns, it survives the end of the service.

        Raises:
            Problem: 422: webhooks may not go to this address; 429: too many requests of this owner are waiting;
                503, 507: there is no room.
        """
        assert fields.webhook is not None, "the caller checks this"
        if self.has_ended:
            raise busy("Webhook requests are not processed any more: the service has to be restarted.")
        try:
            self._addresses.check_url(fields.webhook)
            target = parse_url(fields.webhook)
            await self._addresses.resolve(target.host, target.port, owner)  # resolved again for the delivery
        except LookUpError as error:
            raise busy(f"{error} Try again.") from error
        except WebhookRefusedError as error:
            raise Problem(422, str(error), "webhook", kind="webhook") from error
        async with self._accepting:  # one at a time, so that each counts those before it
            await self._take(request_id, owner, upload, fields, fields.webhook)
        self._wake.set()
        return waiting_answer(request_id, "queued")

    async def _take(self, request_id: str, owner: str, upload: Path, fields: Fields, webhook: str) -> None:
        settings = self._service.settings
        if await asyncio.to_thread(self._store.pending) >= settings.max_stored:
            raise busy(f"{settings.max_stored} requests wait for their webhooks, and no more are taken: try again.")
        # If there are several owners, one whose receiver is dead leaves the others some room.
        most = self._tokens.share(settings.max_stored)
        if await asyncio.to_thread(self._store.pending, owner) >= most:
            raise busy(f"{most} requests of yours wait for their webhooks, and no more are taken: try again.", 429)
        stored, own = await asyncio.to_thread(self._stored_bytes, owner)
        size, most = upload.stat().st_size, round(settings.max_stored_mb * 1e6)
        if stored + size > most:
            raise busy(f"{settings.max_stored_mb:g} MB of recordings wait, and no more are taken: try again.")
        most = self._tokens.share(most)
        if own + size > most:
            raise busy(f"{most / 1e6:g} MB of recordings of yours wait, and no more are taken: try again.", 429)
        request = StoredRequest(
            id=request_id,
            owner=owner,
            created=time.time(),
            status="queued",
            audio=request_id,
            fields=fields.given,
            webhook=webhook,
            model=identity_of(self._service.model),
        )
        # A stored request will be run, and the answer has to say so. Therefore this continues even if it is cancelled.
        keeping = asyncio.get_running_loop().run_in_executor(None, self._keep, request, upload)
        while not keeping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([keeping])
        keeping.result()

    def _keep(self, request: StoredRequest, upload: Path) -> None:
        """Store the recording, then the row, which could not be run without one."""
        kept = self._folder / request.audio
        try:
            with upload.open("rb") as file:
                os.fsync(file.fileno())
            upload.rename(kept)
            _sync_folder(self._folder)
            self._store.add(request)
        except BaseException as error:
            kept.unlink(missing_ok=True)
            if isinstance(error, StorageFullError) or (isinstance(error, OSError) and error.errno in FULL):
                raise storage_full() from error
            if self._service.is_stopping:  # the store is closed already
                raise busy("The service is stopping: try again.") from error
            raise

    def _stored_bytes(self, owner: str) -> tuple[int, int]:
        """The size of all waiting recordings, and of one owner's."""
        owners, sizes = self._store.queued_owners(), Counter[str | None]()
        with os.scandir(self._folder) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # its request has just finished
                    sizes[owners.get(file.name)] += file.stat().st_size  # a recording has the id of its request
        return sizes.total(), sizes[owner]

    async def find(self, request_id: str, owner: str) -> dict[str, Any] | None:
        """The answer so far, for the token that made the request; None if this token has no such request."""
        request = await asyncio.to_thread(self._store.find, request_id)
        if request is None or request.owner != owner:
            return None
        over = request.delivered or request.gave_up
        if over is not None and over < time.time() - self._service.settings.keep_s:  # deleted at the next clean-up
            return None
        answer = request.answer or waiting_answer(request_id, "running" if request_id in self._running else "queued")
        return {
            **answer,
            "webhook": {
                "attempts": request.attempts,
                "delivered": request.delivered is not None,
                "gave_up": request.gave_up is not None,
                "last_error": request.last_error or None,
            },
        }

    async def remove(self, request_id: str, owner: str) -> bool:
        """End a request, whatever its state, and delete it. Returns False if this token has no such request.

        A delivery attempt that has begun is not stopped.

        Raises:
            Problem: 507: the disk is full.
        """
        if await self.find(request_id, owner) is None:
            return False
        try:
            await asyncio.to_thread(self._store.remove, request_id)  # first, so that it is not started after this
        except StorageFullError as error:
            raise storage_full() from error
        if (running := self._running.get(request_id)) is not None:
            running.cancel()
            await asyncio.wait([running])
        await asyncio.to_thread((self._folder / request_id).unlink, missing_ok=True)
        return True

    async def run(self) -> None:
        """Work until cancelled; what is unfinished by then is done after the next start."""
        works = [asyncio.ensure_future(work) for work in (self._deliveries.run(), self._forget(), self._start_all())]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_EXCEPTION)  # none of them ends without an error
            for work in works:
                if work.done():
                    work.result()
        finally:
            tasks = [*works, *self._running.values()]
            for task in tasks:
                task.cancel()
            self.has_ended = True
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_all(self) -> None:
        while True:
            self._wake.clear()
            await self._start_what_fits()
            await self._wake.wait()

    async def _start_what_fits(self) -> None:
        places = self._service.settings.batch_size
        most = 2 * places - self._tokens.share(places)  # beyond `places`: for owners with no running request
        if len(self._running) >= most or self._service.is_stopping or self._service.is_broken:
            return
        if self._alone in self._running:
            return
        suspects = await asyncio.to_thread(self._store.queued_after_starts, _STARTS_TOGETHER)
        if waiting := [each for each in suspects if each not in self._running]:
            if not self._running:
                self._alone = waiting[0]
                self._start(self._alone)
            return
        owners = await asyncio.to_thread(self._store.queued_owners)
        busy_owners = {owners[each] for each in self._running if each in owners}
        for request_id, owner in owners.items():
            if request_id not in self._running and len(self._running) < (places if owner in busy_owners else most):
                self._start(request_id)
                busy_owners.add(owner)

    def _start(self, request_id: str) -> None:
        def end(_: asyncio.Task[None]) -> None:
            del self._running[request_id]
            self._wake.set()

        self._running[request_id] = asyncio.ensure_future(self._run_one(request_id))
        self._running[request_id].add_done_callback(end)  # also if it is cancelled before it has begun

    async def _run_one(self, request_id: str) -> None:
        REQUEST_ID.set(request_id)
        try:
            request = await asyncio.to_thread(self._store.begin, request_id)
            answer, status = await self._answer(request)
            if status == "failed" and self._service.is_broken:  # the likely reason; otherwise it fails once more
                log("a request with a webhook waits for the next start", logging.ERROR)
                return
            await self._finish(request, answer, status)
        except asyncio.CancelledError:
            self._store.end_start(request_id)  # an orderly stop counts against no request
            raise
        except NoSuchRequestError:
            log("a request with a webhook was removed meanwhile")
        except StorageFullError as error:
            log("there is no room to begin a request", logging.ERROR, error=error)
            await asyncio.sleep(_AGAIN_S)
        except Exception as error:
            if is_shortage(error):
                self._store.end_start(request_id)
            elif not isinstance(error, MemoryExceededError):
                raise
            log("a request with a webhook is tried again", logging.ERROR, error=error)
            await asyncio.sleep(_AGAIN_S)

    async def _answer(self, request: StoredRequest) -> tuple[dict[str, Any], Literal["done", "failed"]]:
        """Transcribe a request. Returns the body of its answer, and whether it is "done" or "failed".

        Raises:
            MemoryExceededError: if memory ran out, perhaps because of another request, since it ends all that are
                being decoded; not raised at the last start.
            WhisperliteError, OSError, RuntimeError: if `is_shortage` holds for the error.
        """
        file = self._folder / request.audio
        options: Options | None = None
        try:
            if request.starts > _MOST_STARTS:
                raise Problem(
                    500, f"The service broke down {_MOST_STARTS} times while this was transcribed.", kind="internal"
                )
            self._service.check_model(request.model)  # the service may have been restarted with another model
            options = checked_options(request.fields, self._service.settings)
            result = await self._service.transcribe(file, options)
        except Exception as error:
            if is_shortage(error) or (isinstance(error, MemoryExceededError) and request.starts < _MOST_STARTS):
                raise
            problem = problem_of(error) if options is None else self._service.problem(error, file, options)
            self._service.metrics.failures.labels(problem.kind).inc()
            if problem.status == 500:
                log("a request with a webhook failed", logging.ERROR, error=error)
            return failed_answer(request.id, problem.body(request.id)), "failed"
        return self._service.answer(result, request.id, options), "done"

    async def _finish(self, request: StoredRequest, answer: dict[str, Any], status: Literal["done", "failed"]) -> None:
        """Store the answer, retrying while the disk is full, then delete the recording."""
        while True:
            try:
                await asyncio.to_thread(self._store.finish, request.id, answer, status)
                break
            except StorageFullError:
                log("there is no room to store a result", logging.ERROR)
                await asyncio.sleep(_AGAIN_S)
        # If the process ends here, the next start deletes the recording.
        await asyncio.to_thread((self._folder / request.audio).unlink, missing_ok=True)
        log("a request with a webhook is done", status=status, token=self._tokens.name_of(request.owner))
        self._deliveries.wake()

    async def _forget(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._store.forget, time.time() - self._service.settings.keep_s)
            except StorageFullError:
                log("there is no room to forget old requests", logging.ERROR)
            await asyncio.sleep(_FORGET_EVERY_S)

    def remove_strays(self) -> None:
        """Delete recordings that a killed service left and that no request needs, before requests are accepted."""
        needed = set(self._store.queued())  # a recording is named by the id of its request
        for file in files_of_requests(self._folder):
            if file.name not in needed:
                file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make renames into the folder survive a power cut, where the system supports it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
