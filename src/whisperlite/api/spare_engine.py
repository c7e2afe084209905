"""An engine that is kept from one call to the next, with the CUDA graphs that it has recorded."""

from __future__ import annotations

import torch

from whisperlite.decoding.engine import Engine
from whisperlite.nn.graphs import stream_of


class SpareEngine:
    """Keeps one engine with one slot, which any thread may take. More slots would keep too much memory."""

    def __init__(self) -> None:
        self._kept: list[tuple[Engine, int | None]] = []  # with the stream that its memory is used on

    def take(self, slots: int, device: torch.device) -> Engine | None:
        """Take the engine, if there is one that can be used now.

        If more slots are wanted, the engine is dropped, because its memory may be needed.
        """
        try:
            engine, stream = self._kept.pop()  # atomic: other threads may take it too
        except IndexError:
            return None
        if slots != 1:
            return None
        if stream != stream_of(device):  # its memory may still be in use on its own stream
            self._kept[:] = [(engine, stream)]
            return None
        return engine

    def drop(self) -> None:
        """Drop the engine."""
        self._kept.clear()

    def keep(self, engine: Engine, stream: int | None) -> None:
        """Keep an engine that has finished its work, in place of another one, if it can be of use.

        Args:
            stream: the stream that was current when the engine was made.
        """
        if engine.slots == 1 and engine.rest():
            self._kept[:] = [(engine, stream)]
