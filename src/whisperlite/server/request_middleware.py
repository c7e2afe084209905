"""The middleware around all paths: request ids, tokens, errors, the log and metrics."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisperlite.server.auth import TokenRegistry
from whisperlite.server.logs import REQUEST_ID, log
from whisperlite.server.problems import Problem, busy, problem_of
from whisperlite.server.service import new_request_id

OPEN = ("/healthz", "/readyz", "/openapi.json")  # paths that need no token
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")  # logged by name
_LONGEST_ADDRESS = 64  # in the log; a proxy can claim anything
_GONE = 499  # as proxies log it for a client that disconnected; it is never sent


class RequestMiddleware:
    """Gives each request an id, checks its token, turns errors into answers, and logs and counts the request."""

    def __init__(self, app: ASGIApp, tokens: TokenRegistry, patience_s: float) -> None:
        self.app, self.tokens, self.patience_s = app, tokens, patience_s

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
            except asyncio.TimeoutError:  # the client does not read the answer
                raise ClientDisconnect from None

        try:
            await self._pass(request, receiving, sending)
        except asyncio.CancelledError:  # the service was told to stop, and the time for that is over
            self._count(request, "stopped")
            if status == _GONE:
                await busy("The service is stopping: try again.").response(request_id, openai=is_openai(request))(
                    scope, receive, sending
                )
                return  # if raised again, it would be logged as an error of the service
            raise
        except ClientDisconnect:
            self._count(request, "client gone")
            status = _GONE
        except Exception as error:
            problem = problem_of(error)
            self._count(request, problem.kind)
            if problem.status >= 500 and problem.kind not in ("busy", "timeout"):
                log("a request failed", logging.ERROR, error=error)
            if status != _GONE:  # the answer has begun, so it can only be cut off
                raise
            await problem.response(request_id, openai=is_openai(request))(scope, receive, sending)
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
            owner = self.tokens.owner(request.headers.get("authorization"))
            if owner is None:
                raise Problem(
                    401,
                    "Missing or unknown token: send it as `Authorization: Bearer TOKEN`.",
                    headers={"WWW-Authenticate": "Bearer"},
                    kind="token",
                )
            if self.tokens.is_open and _is_of_another_page(request):
                detail = "The service needs no token, so requests for pages of other origins are refused."
                raise Problem(403, detail, kind="origin")
            request.state.owner, request.state.token = owner, self.tokens.name_of(owner)
        await self.app(request.scope, receive, send)

    def _count(self, request: Request, kind: str) -> None:
        request.app.state.service.metrics.failures.labels(kind).inc()


def _without_traceback(scope: Scope, send: Send) -> Send:
    """Replace Starlette's traceback of a failed start by the reason, which the server logs."""

    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed" and hasattr(scope["app"].state, "why_not"):
            message["message"] = scope["app"].state.why_not
        await send(message)

    return sending


def _is_of_another_page(request: Request) -> bool:
    """Whether a browser sent the request for a page from another origin; it sends some of them without a preflight."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _template(scope: Scope) -> str:
    """The route's path with its parameters unfilled, so that the metrics have few paths."""
    # Match the routes here: a request that the middleware refuses does not reach the router.
    return next((route.path for route in scope["app"].routes if route.matches(scope)[0] is not Match.NONE), "other")


def _path(scope: Scope) -> str:
    """The path as it is routed, without the `root_path` at which the application is mounted."""
    # Not the path of `Request.url`, which the client's Host header influences.
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def is_openai(request: Request) -> bool:
    return _path(request.scope).startswith(("/v1/audio/", "/v1/models"))
