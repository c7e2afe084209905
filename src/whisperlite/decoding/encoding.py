"""The encoder's view of one window, to be handed from ask to ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from whisperlite.nn.cache import CrossKeysValues
from whisperlite.nn.network import Decoder


class Encoding:
    """A window, encoded once; later asks about the same window (a further temperature) start from it.

    It holds its memory while somebody refers to it: `hidden`, and after the first decoding the cross-attention's keys
    and values, 2 x layers x 1500 x width numbers (37 MB for `base` in float32).

    Attributes:
        hidden: (S, C), the encoder's output.
        window: computes the log-mel features that it was made from, (n_mels, 3000), once more.
    """

    def __init__(self, hidden: Tensor, decoder: Decoder, window: Callable[[], Tensor]) -> None:
        self.hidden = hidden
        self.window = window
        self._decoder = decoder

    def belongs_to(self, decoder: Decoder) -> bool:
        """Whether it was made for this decoder; no other can read it."""
        return self._decoder is decoder

    @cached_property
    def cross(self) -> CrossKeysValues:
        """Keys and values for every decoder layer, (L, 1, H, S, D)."""
        return self._decoder.cross(self.hidden[None])

    def forget_cross(self) -> None:
        """Let go of the keys and values; they are computed once more where somebody asks for them."""
        self.__dict__.pop("cross", None)
