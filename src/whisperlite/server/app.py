"""The ASGI application: its paths, what it checks before it starts, and what runs while it is up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whisperlite import Whisper
from whisperlite.errors import OptionError
from whisperlite.server import inference, openai
from whisperlite.server.auth import ENVIRONMENT, TokenRegistry, hash_of, read_hashes
from whisperlite.server.background import Background
from whisperlite.server.logs import log
from whisperlite.server.metrics import CONTENT_TYPE
from whisperlite.server.openapi import document
from whisperlite.server.problems import Problem
from whisperlite.server.request_middleware import RequestMiddleware, is_openai
from whisperlite.server.service import Service
from whisperlite.server.settings import Settings
from whisperlite.server.webhooks.addresses import Addresses
from whisperlite.server.webhooks.delivery import Deliveries
from whisperlite.server.webhooks.signing import new_secret, parse_secret
from whisperlite.server.webhooks.store import Store, StoreError


def create_app(model: Whisper, settings: Settings | None = None) -> Starlette:
    """The service as an ASGI application, for any ASGI server; `serve` runs it on uvicorn.

    One process serves one data folder. Resources are acquired and released in the application's lifespan, which the
    server has to support.

    Args:
        model: from `load_model`.
        settings: None: the defaults.

    Raises:
        OptionError: if the settings, the environment or the file of tokens are wrong, or there is no token, so that
            every request would be refused.
        OSError: if the file of tokens cannot be read.
    """
    settings = settings or Settings()
    tokens, addresses, secret = check_startable(settings)

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
        middleware=[Middleware(RequestMiddleware, tokens=tokens, patience_s=settings.upload_timeout_s)],
        exception_handlers={HTTPException: _refused_by_router},
        lifespan=lambda app: _lifespan(app, model, settings, tokens, addresses, secret),
    )
    app.router.redirect_slashes = False
    return app


@contextlib.asynccontextmanager
async def _lifespan(
    app: Starlette,
    model: Whisper,
    settings: Settings,
    tokens: TokenRegistry,
    addresses: Addresses,
    secret: bytes | None,
) -> AsyncIterator[None]:
    """Start what serves requests, and stop it at the end."""
    async with contextlib.AsyncExitStack() as held:  # released in reverse order, also if the start fails
        try:
            store = Store(settings.folder)  # first: it makes the folder, and refuses one that is in use
            held.callback(store.close)
            key = secret or kept_secret(settings.folder)
        except (StoreError, OSError, ValueError) as error:
            app.state.why_not = f"The service cannot start: {error}"
            raise
        held.callback(addresses.close)
        service = Service(model, settings, tokens)
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
        background = Background(service, store, addresses, deliveries, tokens)
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


def check_startable(settings: Settings) -> tuple[TokenRegistry, Addresses, bytes | None]:
    """Check the settings and the environment, before a model is loaded.

    Returns:
        The tokens, the addresses that webhooks may go to, and the key of their signatures if the environment has one.

    Raises:
        OptionError: if a setting or variable is wrong, or there is no token, so that every request would be refused.
        OSError: if the file of tokens cannot be read.
    """
    try:
        addresses = Addresses(frozenset(settings.webhook_allow_hosts), lambda: tokens.has_many)
    except ValueError as error:
        raise OptionError(str(error), option="webhook_allow_hosts") from error
    try:
        given = os.environ.get("WHISPERLITE_WEBHOOK_SECRET")
        secret = parse_secret(given) if given else None
    except ValueError as error:
        raise OptionError(f"WHISPERLITE_WEBHOOK_SECRET: {error}") from error
    tokens = _token_registry(settings)
    return tokens, addresses, secret


def _token_registry(settings: Settings) -> TokenRegistry:
    if settings.no_auth:
        return TokenRegistry(None)
    token = os.environ.get("WHISPERLITE_TOKEN", "").strip()
    if not token.isascii():
        raise OptionError("WHISPERLITE_TOKEN has letters other than ASCII's, which no header can carry.")
    if settings.token_file.exists():
        read_hashes(settings.token_file)
    tokens = TokenRegistry(settings.token_file, {hash_of(token): ENVIRONMENT} if token else None)
    if not tokens.hashes():
        raise OptionError(
            f"There is no token in {settings.token_file}, so every request would be refused: create one with "
            "`whisperlite token`, set WHISPERLITE_TOKEN, or accept requests without a token with --no-auth.",
            option="tokens",
        )
    return tokens


def kept_secret(folder: Path) -> bytes:
    """Return the key that webhooks are signed with, which is created at the first start.

    Args:
        folder: the data folder, which no other process uses, as its `Store` ensures.

    Raises:
        ValueError: if the secret's file contains something else.
        OSError: if the file cannot be read or written.
    """
    file = folder / "webhook-secret"
    if not file.exists():
        whole = folder / "webhook-secret.new"  # renamed once it is completely on the disk
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


async def _refused_by_router(request: Request, error: Exception) -> Response:
    """Answer a request whose path does not exist, or not for its method."""
    assert isinstance(error, HTTPException), "it is registered for these"
    details = {404: "There is nothing at this path.", 405: f"{request.method[:20]} is not allowed for this path."}
    request.app.state.service.metrics.failures.labels("request").inc()
    problem = Problem(error.status_code, details.get(error.status_code, error.detail), headers=error.headers)
    return problem.response(request.state.request_id, openai=is_openai(request))


async def _healthz(_: Request) -> Response:
    """Answer that the process runs."""
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> Response:
    """Answer whether requests are accepted."""
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
