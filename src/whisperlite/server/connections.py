"""uvicorn's protocol with limits: idle and stalled connections are closed, and their number is limited.

uvicorn keeps such connections open without limit, and does not notice that a client has disconnected if it sent more
data before. If uvicorn answers before it has the whole request, it closes at once, so that a client which is still
sending sees an error instead of the answer; here its data is read for a while longer (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from whisperlite.errors import MissingPackageError

# The undocumented attributes of uvicorn's classes that are used here.
_ATTRIBUTES = {
    H11Protocol: (
        *("connection_made", "data_received", "pause_writing", "resume_writing", "connection_lost"),
        *("on_response_complete", "connections", "loop", "transport", "cycle", "timeout_keep_alive", "conn", "flow"),
    ),
    RequestResponseCycle: ("response_complete", "more_body"),
}
_MOST_AHEAD = 1 << 16  # bytes of further requests that are read before the answer to the current one is complete
_LINGERING_S = 30.0  # how long a client may still send after the answer
_SENDING = (h11.SEND_BODY, h11.ERROR)  # states of a client that may still send; in ERROR what it sends is not a request


class _LingeringTransport:
    """A transport that, if closed while the client is sending, reads on for a while.

    It does so until the client closes its side, `close` is called again, or 30 s have passed.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_sending: Callable[[], bool]
    ) -> None:
        self._transport, self._loop, self._is_sending = transport, loop, is_sending
        self.is_on = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_on or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self._is_sending() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self.is_on = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(_LINGERING_S, self._transport.abort)


def protocol_with(headers_timeout_s: float, taking_timeout_s: float, most_connections: int) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, with limits.

    Args:
        headers_timeout_s: the time limit for the headers of a request, from the connection or, for further requests,
            from their first byte; also the longest time that a connection may be idle between requests.
        taking_timeout_s: the longest time in which a client may read nothing of what was sent. The connection is then
            aborted, since closing it would also wait for the client.
        most_connections: the largest number of connections; further ones are aborted at once.

    Raises:
        MissingPackageError: if this version of uvicorn lacks an attribute that the limits need.
    """
    for kind, names in _ATTRIBUTES.items():
        given = vars(kind)["__init__"].__code__.co_names  # attributes that the constructor sets
        known = {*dir(kind), *given}
        if missing := [name for name in names if name not in known]:
            raise MissingPackageError(
                f"uvicorn {uvicorn.__version__} cannot be used: its {kind.__name__} has no {', '.join(missing)}. "
                "Install another version of uvicorn, for example an older one."
            )
    limits = {
        "headers_timeout_s": headers_timeout_s,
        "taking_timeout_s": taking_timeout_s,
        "most_connections": most_connections,
    }
    return type("Connection", (_Connection,), limits)


class _Connection(H11Protocol):
    headers_timeout_s: float
    taking_timeout_s: float
    most_connections: int
    _ahead = b""
    _asking: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        self._lingering = _LingeringTransport(transport, self.loop, lambda: self.conn.their_state in _SENDING)
        super().connection_made(self._lingering)  # type: ignore[arg-type] # it has what uvicorn calls
        self.timeout_keep_alive = self.headers_timeout_s  # type: ignore[assignment] # only passed to `call_later`, which takes floats
        transport.set_write_buffer_limits(high=0)  # pause writing as soon as the client does not read
        if len(self.connections) > self.most_connections:
            transport.abort()
        else:
            self._watch_asking()

    def data_received(self, data: bytes) -> None:
        if self._lingering.is_on:
            return
        if self._is_served and not self.cycle.more_body:
            # uvicorn would stop reading here, and so would not notice that the client disconnects.
            self._ahead += data
            if len(self._ahead) > _MOST_AHEAD:
                self.flow.pause_reading()  # uvicorn resumes it after the answer
            return
        super().data_received(data)
        self._watch_asking()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        ahead, self._ahead = self._ahead, b""
        if ahead and not self.transport.is_closing():
            self.data_received(ahead)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_taking()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_asking()
        self._stop_taking()

    @property
    def _is_served(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_asking(self) -> None:
        if self._is_served:
            self._stop_asking()
        elif self._asking is None:
            self._asking = self.loop.call_later(self.headers_timeout_s, self._look_at_asking)

    def _look_at_asking(self) -> None:
        self._asking = None
        if not self._is_served:
            self.transport.close()

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _watch_taking(self) -> None:
        self._stop_taking()
        left = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(self.taking_timeout_s, self._look_at_taking, left)

    def _look_at_taking(self, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:
            self._watch_taking()
        else:
            self.transport.abort()

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
