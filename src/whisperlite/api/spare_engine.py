"""An engine that is kept from one call to the next, since it knows what it can replay."""

from __future__ import annotations

import torch

from whisperlite.decoding.engine import Engine
from whisperlite.nn.graphs import stream_of


class SpareEngine:
    """Room for one engine of one slot; any thread may take it. One of more slots would keep too much memory."""

    def __init__(self) -> None:
        self._kept: list[tuple[Engine, int | None]] = []  # with the stream on which its memory is used

    def take(self, slots: int, device: torch.device) -> Engine | None:
        """The engine, if there is one that can be used now; who wants more slots needs its memory."""
        try:
            engine, stream = self._kept.pop()  # in one go: other threads may look for it too
        except IndexError:
            return None
        if slots != 1:
            return None
        if stream != stream_of(device):  # where its memory may be in use still
            self._kept[:] = [(engine, stream)]
            return None
        return engine

    def drop(self) -> None:
        """Let go of the engine."""
        self._kept.clear()

    def keep(self, engine: Engine, stream: int | None) -> None:
        """Keep an engine that has ended what it did, in place of another one, if that is of use.

        Args:
            stream: that was current when it was made.
        """
        if engine.slots == 1 and engine.rest():
            self._kept[:] = [(engine, stream)]
