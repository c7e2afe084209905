"""Delivery of webhooks: at least once, signed, retried with growing pauses, and only to allowed addresses."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from random import Random

import anyio
import anyio.abc
import anyio.to_thread
import httpcore2

import whisperlite
from whisperlite.server.logs import REQUEST_ID, log
from whisperlite.server.webhooks.addresses import Addresses, CheckedBackend, WebhookRefusedError, parse_url
from whisperlite.server.webhooks.signing import signed_headers
from whisperlite.server.webhooks.store import NoSuchRequestError, StorageFullError, Store, StoredRequest

_MOST_READ_BYTES = 64 * 1024  # read from the body of a receiver's answer
_READ_S = 1.0  # time limit for reading it
_LONGEST_SLEEP_S = 60.0  # the clock may be set forward or back meanwhile
_MOST_DOUBLINGS = 32
_GONE = 410

_NETWORK_ERRORS = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError)


class _AttemptLimits:
    """Limits attempts per receiver and owner, so that receivers that hang leave room for the others.

    Args:
        at_a_time: the largest number of attempts; at most half of them to one receiver, three quarters for one owner.
        in_flight: the requests whose attempts run now, by id; they are not taken again.
    """

    def __init__(self, at_a_time: int, in_flight: Mapping[str, StoredRequest]) -> None:
        self._at_a_time = at_a_time
        self._running = {one.id: (one.owner, one.receiver) for one in in_flight.values()}

    def takes(self, id: str, owner: str, receiver: str) -> bool:
        """Whether there is room for this attempt; if so, it is counted from now on."""
        running = self._running.values()
        has_room = (
            id not in self._running
            and len(running) < self._at_a_time
            and sum(to == receiver for _, to in running) < max(1, self._at_a_time // 2)
            and sum(of == owner for of, _ in running) < self._at_a_time - self._at_a_time // 4
        )
        if has_room:
            self._running[id] = (owner, receiver)
        return has_room


class Deliveries:
    """Sends due answers from a store to their webhooks.

    A 2xx answer confirms delivery, and 410 stops it. After anything else the delivery is retried, after a random part
    of a pause that doubles each time. At every attempt, the message's id is the request's.

    Args:
        store: the requests to deliver.
        addresses: the addresses that webhooks may go to.
        secret: the key of the signatures, from `parse_secret`.
        first_retry_s, longest_retry_s: the longest pause after the first attempt, and after any.
        give_up_s: how long after the answer was stored an attempt may begin.
        timeout_s: the time limit of an attempt, from the look-up of the host to the status.
        at_a_time: the largest number of concurrent attempts; see `_AttemptLimits`.
        on_attempt: called after each attempt with "delivered", "failed" or "gave_up".
        random: the source of the random pauses.
    """

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        secret: bytes,
        *,
        first_retry_s: float = 5.0,
        longest_retry_s: float = 3600.0,
        give_up_s: float = 86400.0,
        timeout_s: float = 10.0,
        at_a_time: int = 8,
        on_attempt: Callable[[str], None] = lambda outcome: None,  # noqa: ARG005
        random: Random | None = None,
    ) -> None:
        self._store, self._secret = store, secret
        self._first_retry_s, self._longest_retry_s, self._give_up_s = first_retry_s, longest_retry_s, give_up_s
        self._timeout_s, self._at_a_time, self._on_attempt = timeout_s, at_a_time, on_attempt
        self._random = random or Random()
        self._addresses = addresses
        self._tls = httpcore2.default_ssl_context()
        self._in_flight: dict[str, StoredRequest] = {}  # by id
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled; attempts that are running then are cut off, and repeated by the next `run`."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed.clear()
                sleep_s = await self._start_due(tasks)
                with anyio.move_on_after(sleep_s):
                    await self._changed.wait()

    def wake(self) -> None:
        """Look for due deliveries at once. Call it in the event loop's thread."""
        self._changed.set()

    async def _start_due(self, tasks: anyio.abc.TaskGroup) -> float:
        """Start the due attempts that there is room for. Returns the seconds until the next one is due."""
        now, room = time.time(), _AttemptLimits(self._at_a_time, self._in_flight)
        try:
            due = await anyio.to_thread.run_sync(
                self._store.due, now, self._at_a_time, room.takes, self._longest_retry_s
            )
            next_due = await anyio.to_thread.run_sync(self._store.next_due, now)
        except StorageFullError as error:
            log("webhooks are waiting", logging.ERROR, error=str(error))
            return self._first_retry_s
        for request in due:
            self._in_flight[request.id] = request
            tasks.start_soon(self._deliver, request)
        if len(self._in_flight) == self._at_a_time or next_due is None:
            return _LONGEST_SLEEP_S
        return min(max(next_due - now, 0.0), _LONGEST_SLEEP_S)

    async def _deliver(self, request: StoredRequest) -> None:
        REQUEST_ID.set(request.id)  # each delivery is a task, with a context of its own
        try:
            error, is_final = await self._attempt(request)
            now = time.time()
            next_attempt = None if error is None or is_final else self._next_attempt(request, now)
            await self._record(request.id, error, now, next_attempt)
        except NoSuchRequestError:
            return  # the request was removed meanwhile
        finally:
            del self._in_flight[request.id]
            self.wake()
        outcome = "delivered" if error is None else "gave_up" if next_attempt is None else "failed"
        log(
            "webhook attempt",
            logging.INFO if error is None else logging.WARNING,
            outcome=outcome,
            attempt=request.attempts + 1,
            receiver=request.receiver,
            error=error,
        )
        self._on_attempt(outcome)

    def _next_attempt(self, request: StoredRequest, now: float) -> float | None:
        """The time of the next attempt: exponential back-off with full jitter. None if it would be too late."""
        pause_s = min(self._longest_retry_s, self._first_retry_s * 2 ** min(request.attempts, _MOST_DOUBLINGS))
        begin = now + self._random.uniform(0.0, pause_s)
        assert request.finished is not None, "only what is finished is due"
        return begin if begin <= request.finished + self._give_up_s else None

    async def _record(self, id: str, error: str | None, now: float, next_attempt: float | None) -> None:
        """Store the outcome, retrying while the disk is full, so that the attempt is not repeated."""
        while True:
            try:
                return await anyio.to_thread.run_sync(self._store.record_attempt, id, error, now, next_attempt)
            except StorageFullError as full:
                log("a webhook attempt cannot be recorded", logging.ERROR, error=str(full))
                await anyio.sleep(self._first_retry_s)

    async def _attempt(self, request: StoredRequest) -> tuple[str | None, bool]:
        """Make one attempt. Returns the error, if any, without the receiver's own words, and whether it is final."""
        try:
            status = await self._post(request)
        except WebhookRefusedError as error:
            return str(error), False
        except TimeoutError:
            return f"The receiver did not answer within {self._timeout_s:g} s.", False
        except _NETWORK_ERRORS as error:
            return _network_error(error), False
        except Exception as error:  # no receiver may stop the deliveries to others
            log("a webhook attempt failed", logging.ERROR, error=error)
            return "The delivery attempt failed.", False
        if 200 <= status < 300:
            return None, False
        if 300 <= status < 400:
            return f"The receiver answered {status}, a redirect, which is not followed: use the final URL.", False
        return f"The receiver answered {status}.", status == _GONE

    async def _post(self, request: StoredRequest) -> int:
        """Post the answer. Returns the status of the receiver's answer."""
        target = parse_url(request.webhook)
        body = json.dumps(request.answer, allow_nan=False).encode()
        headers = {
            "host": target.host_header,
            "user-agent": f"whisperlite/{whisperlite.__version__}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **signed_headers(self._secret, request.id, body, time.time()),
        }
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        timeouts = {"timeout": {"connect": self._timeout_s}}
        post = httpcore2.Request("POST", url, headers=list(headers.items()), content=body, extensions=timeouts)
        backend = CheckedBackend(self._addresses, request.owner)
        connection = httpcore2.AsyncHTTPConnection(url.origin, ssl_context=self._tls, network_backend=backend)
        try:
            with anyio.fail_after(self._timeout_s):
                response = await connection.handle_async_request(post)
            # Some receivers treat it as a failure if the connection ends before their whole answer was read.
            with anyio.move_on_after(_READ_S), suppress(*_NETWORK_ERRORS):
                await _read_away(response)
            return response.status
        finally:
            await connection.aclose()


async def _read_away(response: httpcore2.Response) -> None:
    size = 0
    async with aclosing(response.aiter_stream()) as parts:
        async for part in parts:
            size += len(part)
            if size >= _MOST_READ_BYTES:
                return


def _network_error(error: Exception) -> str:
    """Describe an error without the addresses that its own message contains."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The receiver's certificate is not valid: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError) or isinstance(error, ssl.SSLError):
        return "The TLS handshake with the receiver failed."
    if isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout)):
        return "The receiver refused the connection or did not answer."
    if isinstance(error, httpcore2.ProtocolError):
        return "The receiver did not answer in HTTP/1.1."
    return "The connection to the receiver was lost."
