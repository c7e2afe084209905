"""Waiting for work on behalf of a client that may disconnect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

_T = TypeVar("_T")


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """Return the result of the work, which is cancelled as soon as the client disconnects.

    Args:
        request: a request whose body has been read.

    Raises:
        ClientDisconnect: if the client has disconnected.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def with_pauses(items: AsyncGenerator[_T, None], every_s: float) -> AsyncGenerator[_T | None, None]:
    """Yield the items of a generator, and None whenever none has come for `every_s` seconds. Closes it at the end."""
    coming = asyncio.ensure_future(anext(items))
    try:
        while True:
            await asyncio.wait([coming], timeout=every_s)
            if not coming.done():
                yield None
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item
            coming = asyncio.ensure_future(anext(items))
    finally:
        if not coming.done():
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await coming
        elif not coming.cancelled():
            coming.exception()  # else asyncio logs that nobody has looked at it
        await items.aclose()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
