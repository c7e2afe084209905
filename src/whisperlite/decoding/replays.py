"""Steps of one lane that are recorded once they are worth it, and then replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from whisperlite.nn.graphs import Recorder, recorder_for

# A recorded step is for a multiple of so many positions of the text, and for numbers of slots of so many significant
# bits: what is too much is computed with weights of 0, or for nobody, and there are few different ones. Recording takes
# as long as some steps.
_POSITIONS, _BITS, _TIMES_MET = 128, 3, 3


class Replays:
    """Recorded steps, by how many slots and how many positions of the text they are for.

    Args:
        most_slots, most_positions: that the lane has.
    """

    def __init__(self, recorder: Recorder, *, most_slots: int, most_positions: int) -> None:
        self._recorder = recorder
        self._most = most_slots, most_positions
        self._met: Counter[tuple[int, int]] = Counter()  # how often before
        self._made: dict[tuple[int, int], Callable[[], Tensor]] = {}

    @staticmethod
    def where_possible(
        device: torch.device, dtype: torch.dtype, *, most_slots: int, most_positions: int
    ) -> Replays | None:
        recorder = recorder_for(device, dtype)
        return None if recorder is None else Replays(recorder, most_slots=most_slots, most_positions=most_positions)

    def replay(self, slots: int, positions: int, step: Callable[[int, int], Tensor]) -> Tensor | None:
        """What a step gives for at least so many slots and positions; None: it was not recorded, and is to be called.

        Args:
            step: makes the step for a number of slots and of positions, see `Recorder.record`.
        """
        size = self._rounded_up(slots, positions)
        if size not in self._made:
            self._met[size] += 1
            made = self._recorder.record(lambda: step(*size)) if self._met[size] >= _TIMES_MET else None
            if made is None:
                return None
            self._made[size] = made
        return self._made[size]()

    def _rounded_up(self, slots: int, positions: int) -> tuple[int, int]:
        steps = 1 << max((slots - 1).bit_length() - _BITS, 0), _POSITIONS
        first, second = (-(-count // step) * step for count, step in zip((slots, positions), steps, strict=True))
        return min(first, self._most[0]), min(second, self._most[1])
