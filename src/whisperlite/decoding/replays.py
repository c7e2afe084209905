"""Calls that are recorded once they are worth it, and then replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from whisperlite.nn.graphs import Recorder, recorder_for

# Recorded steps have rounded sizes, so that there are few: a multiple of this many text positions, the excess having
# weights of 0, and a number of slots of this many significant bits, the excess being computed for nothing.
_POSITIONS, _BITS = 128, 3
_CALLS_TO_RECORD = 3  # a size is recorded at this call, since recording takes as long as several steps


Key = tuple[str | int, ...]
"""The purpose and the size of a call."""


class Replays:
    """Recorded calls, by purpose and size."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._calls: Counter[Key] = Counter()  # how often each was asked for
        self._recorded: dict[Key, Callable[[], Tensor]] = {}

    @staticmethod
    def where_possible(device: torch.device, dtype: torch.dtype) -> Replays | None:
        """Recorded calls on a device; None if nothing can be recorded there."""
        recorder = recorder_for(device, dtype)
        return None if recorder is None else Replays(recorder)

    def replay(self, key: Key, call: Callable[[], Tensor]) -> Tensor | None:
        """The result of a call, which is replayed, or made and recorded; None if it was not made.

        Args:
            key: calls with equal keys are the same.
            call: see `Recorder.record`.
        """
        if key in self._recorded:
            return self._recorded[key]()
        self._calls[key] += 1
        if self._calls[key] < _CALLS_TO_RECORD:
            return None
        results: list[Tensor] = []

        def watched() -> Tensor:
            results.append(call())
            return results[-1]

        made = self._recorder.record(watched)
        if made is not None:
            self._recorded[key] = made
        return results[0] if results else None


def rounded_up(slots: int, positions: int, *, most_slots: int, most_positions: int) -> tuple[int, int]:
    """The smallest size of a recorded step that is large enough, within the size of the lane."""
    steps = 1 << max((slots - 1).bit_length() - _BITS, 0), _POSITIONS
    first, second = (-(-count // step) * step for count, step in zip((slots, positions), steps, strict=True))
    return min(first, most_slots), min(second, most_positions)
