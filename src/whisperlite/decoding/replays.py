"""Calls that are recorded once they are worth it, and then replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from whisperlite.nn.graphs import Recorder, recorder_for

# A recorded step is for a multiple of so many positions of the text, and for numbers of slots of so many significant
# bits: what is too much is computed with weights of 0, or for nobody, and there are few different ones. Recording takes
# as long as some steps.
_POSITIONS, _BITS, _CALLS_TO_RECORD = 128, 3, 3


Key = tuple[str | int, ...]
"""What a call is for and how large it is."""


class Replays:
    """Recorded calls, by what they are and how large."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._calls: Counter[Key] = Counter()  # how often before
        self._recorded: dict[Key, Callable[[], Tensor]] = {}

    @staticmethod
    def where_possible(device: torch.device, dtype: torch.dtype) -> Replays | None:
        recorder = recorder_for(device, dtype)
        return None if recorder is None else Replays(recorder)

    def replay(self, key: Key, call: Callable[[], Tensor]) -> Tensor | None:
        """What a call gives, made once, by replaying it or to record it; None: it was not made.

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
    """The size of a recorded step that is large enough, within what the lane has."""
    steps = 1 << max((slots - 1).bit_length() - _BITS, 0), _POSITIONS
    first, second = (-(-count // step) * step for count, step in zip((slots, positions), steps, strict=True))
    return min(first, most_slots), min(second, most_positions)
