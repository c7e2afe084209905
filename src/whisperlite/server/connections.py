"""Connections that ask for nothing, or take nothing, are closed; uvicorn leaves them open as long as they like."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def protocol_with(headers_timeout_s: float, taking_timeout_s: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, with limits.

    Args:
        headers_timeout_s: within which the first request must have come, to the end of its headers, once there is a
            connection; and each further one, once it has begun. Between them uvicorn has a limit of its own.
        taking_timeout_s: the longest time in which nothing is taken of what was sent. To close such a connection would
            wait for that as well; it is broken off.
    """

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _taking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # whatever is not taken at once pauses
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()
            self._stop_taking()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_taking(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_taking()

        def _watch_taking(self, left: int) -> None:
            self._stop_taking()
            self._taking = self.loop.call_later(taking_timeout_s, self._look_at_taking, left)

        def _look_at_taking(self, left: int) -> None:
            now_left = self.transport.get_write_buffer_size()
            if now_left < left:
                self._watch_taking(now_left)
            else:
                self.transport.abort()

        def _stop_taking(self) -> None:
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

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
