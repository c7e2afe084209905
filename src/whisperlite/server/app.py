"""The ASGI application: paths, and the door that every request goes through."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisperlite import Whisper
from whisperlite.errors import OptionError
from whisperlite.server import inference, openai
from whisperlite.server.auth import ENVIRONMENT, Gatekeeper, hash_of, read_hashes
from whisperlite.server.background import Background
from whisperlite.server.logs import REQUEST_ID, log
from whisperlite.server.metrics import CONTENT_TYPE
from whisperlite.server.openapi import document
from whisperlite.server.problems import Problem, busy, problem_of
from whisperlite.server.service import Service, new_request_id
from whisperlite.server.settings import Settings
from whisperlite.server.webhooks.addresses import Addresses
from whisperlite.server.webhooks.delivery import Deliveries
from whisperlite.server.webhooks.signing import new_secret, parse_secret
from whisperlite.server.webhooks.store import Store, StoreError

OPEN = ("/healthz", "/readyz", "/openapi.json")  # to everyone
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")  # that are logged
_LONGEST_ADDRESS = 64  # a proxy may say what it likes
_GONE = 499  # what proxies log for a client that did not wait; nobody receives it


def create_app(model: Whisper, settings: Settings | None = None) -> Starlette:
    """The service as an ASGI application, for any ASGI server; `serve` runs it on uvicorn.

    One process serves one folder of data. What it holds begins and ends with the application's lifespan, which the
    server has to support.

    Args:
        model: from `load_model`.
        settings: the defaults where they are not given.

    Raises:
        OptionError: if the settings, the environment or the file of tokens are wrong, or there is no token, so that
            every request would be refused.
        OSError: if the file of tokens cannot be read.
    """
    settings = settings or Settings()
    gatekeeper, addresses, secret = check_startable(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as held:  # let go in the reverse order, also if the start fails
            try:
                store = Store(settings.folder)  # first: it makes the folder, and refuses one that is in use
                held.callback(store.close)
                key = secret or kept_secret(settings.folder)
            except (StoreError, OSError, ValueError) as error:
                app.state.why_not = f"The service cannot start: {error}"
                raise
            held.callback(addresses.close)
            service = Service(model, settings, gatekeeper)
            held.push_async_callback(asyncio.to_thread, service.close)
            service.remove_uploads()
            deliveries = Deliveries(
                store,
                addresses,
                key,
                first_retry_s=settings.webhook_first_retry_s,
                give_up_s=settings.webhook_give_up_s,
                timeout_s=settings.webhook_timeout_s,
                on_attempt=lambda outcome: service.metrics.deliveries.labels(outcome).inc(),
            )
            background = Background(service, store, addresses, deliveries, gatekeeper)
            background.remove_strays()
            app.state.service, app.state.background = service, background
            working = asyncio.ensure_future(background.run())
            working.add_done_callback(_ended)
            try:
                yield
            finally:
                service.is_stopping = True
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    app = Starlette(
        routes=[
            Route("/v1/inference/{organisation}/{model}", inference.infer, methods=["POST"]),
            Route("/v1/requests/{id}", inference.find_or_remove, methods=["GET", "DELETE"]),
            Route("/v1/audio/transcriptions", openai.transcribe, methods=["POST"]),
            Route("/v1/audio/translations", openai.translate, methods=["POST"]),
            Route("/v1/models", openai.list_models, methods=["GET"]),
            Route("/v1/models/{model:path}", openai.find_model, methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/readyz", _readyz, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
        ],
        middleware=[Middleware(Door, gatekeeper=gatekeeper, patience_s=settings.upload_timeout_s)],
        exception_handlers={HTTPException: _refused_by_router},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def check_startable(settings: Settings) -> tuple[Gatekeeper, Addresses, bytes | None]:
    """Find out what is wrong with the settings and the environment, before a model is loaded.

    Returns:
        Who is let in, where webhooks may go, and the key of their signatures where the environment has it.

    Raises:
        OptionError: if something is, or there is no token, so that every request would be refused.
        OSError: if the file of tokens cannot be read.
    """
    try:
        addresses = Addresses(frozenset(settings.webhook_allow_hosts), lambda: gatekeeper.has_many)
    except ValueError as error:
        raise OptionError(str(error), option="webhook_allow_hosts") from error
    try:
        given = os.environ.get("WHISPERLITE_WEBHOOK_SECRET")
        secret = parse_secret(given) if given else None
    except ValueError as error:
        raise OptionError(f"WHISPERLITE_WEBHOOK_SECRET: {error}") from error
    gatekeeper = _gatekeeper(settings)
    return gatekeeper, addresses, secret


def _gatekeeper(settings: Settings) -> Gatekeeper:
    if settings.no_auth:
        return Gatekeeper(None)
    token = os.environ.get("WHISPERLITE_TOKEN", "").strip()
    if not token.isascii():
        raise OptionError("WHISPERLITE_TOKEN has letters other than ASCII's, which no header can carry.")
    if settings.token_file.exists():
        read_hashes(settings.token_file)
    gatekeeper = Gatekeeper(settings.token_file, {hash_of(token): ENVIRONMENT} if token else None)
    if not gatekeeper.hashes():
        raise OptionError(
            f"There is no token in {settings.token_file}, so every request would be refused: create one with "
            "`whisperlite token`, set WHISPERLITE_TOKEN, or accept requests without a token with --no-auth.",
            option="tokens",
        )
    return gatekeeper


def kept_secret(folder: Path) -> bytes:
    """The key that webhooks are signed with, made at the first start.

    Args:
        folder: which no other process uses; its `Store` sees to that.

    Raises:
        ValueError: if the file in which it is kept holds something else.
        OSError: if the file cannot be read or written.
    """
    file = folder / "webhook-secret"
    if not file.exists():
        whole = folder / "webhook-secret.new"  # renamed when all of it is on the disk
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as new:
            new.write(new_secret() + "\n")
            new.flush()
            os.fsync(new.fileno())
        whole.replace(file)
    try:
        return parse_secret(file.read_text(encoding="utf-8").strip())
    except ValueError as error:
        raise ValueError(
            f"{file} does not hold the secret of the webhooks. {error} Restore the file, or remove it: the next start "
            "makes a new secret, which receivers have to be given."
        ) from error


def _ended(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log("the processing of webhook requests has failed", logging.CRITICAL, error=repr(error))


class Door:
    """Around the paths: each request gets an id, its token is looked at, what happens is answered and logged."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper, patience_s: float) -> None:
        self.app, self.gatekeeper, self.patience_s = app, gatekeeper, patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, _without_traceback(scope, send))
            return
        request = Request(scope)
        request_id = new_request_id()
        REQUEST_ID.set(request_id)
        request.state.request_id = request_id
        status, began = _GONE, time.monotonic()
        has_unread = _has_body(request)

        async def receiving() -> Message:
            nonlocal has_unread
            message = await receive()
            has_unread = has_unread and bool(message.get("more_body", False))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(b"x-request-id", request_id.encode()), *([(b"connection", b"close")] if has_unread else [])]
                message["headers"] = [*message.get("headers", ()), *added]
            try:
                await asyncio.wait_for(send(message), self.patience_s)
            except asyncio.TimeoutError:  # nobody takes the answer
                raise ClientDisconnect from None

        try:
            await self._pass(request, receiving, sending)
        except asyncio.CancelledError:  # it was told to stop, and the time for that is over
            self._count(request, "stopped")
            if status == _GONE:
                await busy("The service is stopping: try again.").response(request_id, openai=_is_openai(request))(
                    scope, receive, sending
                )
                return  # raised again, it would be logged as an error of ours
            raise
        except ClientDisconnect:
            self._count(request, "client gone")
            status = _GONE
        except Exception as error:
            problem = problem_of(error)
            self._count(request, problem.kind)
            if problem.status >= 500 and problem.kind not in ("busy", "timeout"):
                log("a request failed", logging.ERROR, error=error)
            if status != _GONE:  # the answer had begun: it can only be broken off
                raise
            await problem.response(request_id, openai=_is_openai(request))(scope, receive, sending)
        finally:
            seconds = time.monotonic() - began
            path = _template(scope)
            request.app.state.service.metrics.answered(path, status, seconds)
            log(
                "request",
                method=request.method if request.method in _METHODS else "other",
                path=path,
                status=status,
                seconds=round(seconds, 3),
                token=getattr(request.state, "token", None),
                client=None if request.client is None else request.client.host[:_LONGEST_ADDRESS],
            )

    async def _pass(self, request: Request, receive: Receive, send: Send) -> None:
        if _path(request.scope) not in OPEN:
            owner = self.gatekeeper.owner(request.headers.get("authorization"))
            if owner is None:
                raise Problem(
                    401,
                    "Missing or unknown token: send it as `Authorization: Bearer TOKEN`.",
                    headers={"WWW-Authenticate": "Bearer"},
                    kind="token",
                )
            if self.gatekeeper.is_open and _is_of_another_page(request):
                detail = "The service needs no token, so requests for pages of other origins are refused."
                raise Problem(403, detail, kind="origin")
            request.state.owner, request.state.token = owner, self.gatekeeper.name_of(owner)
        await self.app(request.scope, receive, send)

    def _count(self, request: Request, kind: str) -> None:
        request.app.state.service.metrics.failures.labels(kind).inc()


def _without_traceback(scope: Scope, send: Send) -> Send:
    """What the server logs of a start that is refused: why. Starlette says where in the code that was."""

    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and hasattr(scope["app"].state, "why_not"):
            message["message"] = scope["app"].state.why_not
        await send(message)

    return sending


def _is_of_another_page(request: Request) -> bool:
    """Whether a browser sends it for a page that is not ours; for some requests it asks nobody before."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _template(scope: Scope) -> str:
    """The path as it is declared, so that the metrics have few."""
    # The router is asked here: a request that was refused at the door has not been there.
    return next((route.path for route in scope["app"].routes if route.matches(scope)[0] is not Match.NONE), "other")


def _path(scope: Scope) -> str:
    """The path as it is routed, without what the ASGI server says the application is mounted at."""
    # Not that of `Request.url`, in which the client's Host header has a say.
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _is_openai(request: Request) -> bool:
    return _path(request.scope).startswith(("/v1/audio/", "/v1/models"))


async def _refused_by_router(request: Request, error: Exception) -> Response:
    """There is no such path, or it is not for this method."""
    assert isinstance(error, HTTPException), "it is registered for these"
    details = {404: "There is nothing at this path.", 405: f"{request.method[:20]} is not allowed for this path."}
    request.app.state.service.metrics.failures.labels("request").inc()
    problem = Problem(error.status_code, details.get(error.status_code, error.detail), headers=error.headers)
    return problem.response(request.state.request_id, openai=_is_openai(request))


async def _healthz(_: Request) -> Response:
    """The process runs."""
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> Response:
    """It takes requests."""
    if request.app.state.service.is_stopping:
        return JSONResponse({"status": "stopping"}, 503)
    if request.app.state.service.is_broken:
        return JSONResponse({"status": "nothing can be transcribed any more: restart the service"}, 503)
    if request.app.state.background.has_ended:
        return JSONResponse({"status": "webhook requests are not processed any more: restart the service"}, 503)
    return JSONResponse({"status": "ready"})


async def _metrics(request: Request) -> Response:
    text = await asyncio.to_thread(request.app.state.service.metrics.text)
    return Response(text, media_type=CONTENT_TYPE)


async def _openapi(request: Request) -> Response:
    return JSONResponse(_document(request))


def _document(request: Request) -> dict[str, Any]:
    service: Service = request.app.state.service
    return document(service.names, service.settings)
