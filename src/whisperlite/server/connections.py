"""Connections that ask for nothing are closed; uvicorn leaves them open as long as they like."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def protocol_with(headers_timeout_s: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, with a limit.

    Args:
        headers_timeout_s: within which the first request must have come, to the end of its headers, once there is a
            connection; and each further one, once it has begun. Between them uvicorn has a limit of its own.
    """

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _watch(self) -> None:
            is_served = self.cycle is not None and not self.cycle.response_complete
            if is_served:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(headers_timeout_s, self._give_up)

        def _give_up(self) -> None:
            self._timer = None
            is_served = self.cycle is not None and not self.cycle.response_complete
            if not is_served:
                self.transport.close()

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Connection
