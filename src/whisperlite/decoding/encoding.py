"""Encoded windows, and the encoder's runs that make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from whisperlite.decoding.replays import Replays
from whisperlite.nn.cache import CrossKeysValues
from whisperlite.nn.network import Decoder, Network


class Encoding:
    """An encoded window. Pass it on, and later requests (such as another temperature) need not run the encoder again.

    As long as something refers to it, it holds memory: `hidden`, and after the first decoding the cross-attention's
    keys and values, 2 x layers x 1500 x width numbers (37 MB for `base` in float32). It cannot be pickled, and neither
    can a `Decoded`, which has one.

    Attributes:
        hidden: (S, C), the encoder's output.
        window: computes again the log-mel features that it was made from, (n_mels, 3000).
    """

    def __init__(self, hidden: Tensor, decoder: Decoder, window: Callable[[], Tensor]) -> None:
        self.hidden = hidden
        self.window = window
        self._decoder = decoder
        self._cross: CrossKeysValues | None = None

    def __repr__(self) -> str:
        shape, kind = tuple(self.hidden.shape), str(self.hidden.dtype).removeprefix("torch.")
        return f"<Encoding {shape}, {kind} on {self.hidden.device}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An Encoding belongs to one loaded model: it cannot be copied or pickled. Keep its `hidden`.")

    def belongs_to(self, decoder: Decoder) -> bool:
        """Whether it was made for this decoder; no other decoder can read it."""
        return self._decoder is decoder

    @property
    def cross(self) -> CrossKeysValues:
        """The keys and values for every decoder layer, (L, 1, H, S, D), computed at first use and kept."""
        # Not a cached_property, which before Python 3.12 has one lock for all encodings of the process.
        cross = self._cross  # another thread may drop it at any time
        if cross is None:
            cross = self._cross = self._decoder.cross(self.hidden[None])
        return cross

    def forget_cross(self) -> None:
        """Drop the keys and values; they are computed again if needed."""
        self._cross = None


# At most this many windows are encoded at once. While a GPU encodes some, the host prepares the next; and MPS limits a
# tensor to 4 GB, which the attention scores of all heads may exceed.
_MOST_AT_ONCE = 8
_FEW = 4  # up to this many windows a GPU may encode faster than the host can call the operators


class WindowEncoder:
    """Runs the encoder on windows. It belongs to one engine.

    Args:
        replays: records and replays the encoding of few windows; None: operators are called.
    """

    def __init__(self, network: Network, replays: Replays | None) -> None:
        self._network, self._replays = network, replays
        few = 0 if replays is None else _FEW
        dims, device, dtype = network.dims, network.device, network.dtype
        self._mel = torch.empty((few, dims.n_mels, 2 * dims.n_audio_ctx), device=device, dtype=dtype)
        self._hidden = torch.empty((few, dims.n_audio_ctx, dims.n_audio_state), device=device, dtype=dtype)

    def encode(self, windows: Sequence[Callable[[], Tensor]]) -> list[Encoding]:
        """Encode windows, each a function that computes its features, (n_mels, 3000)."""
        encodings: list[Encoding] = []
        while len(encodings) < len(windows):
            left = windows[len(encodings) :]
            part = left[: at_once(len(left), self._network.device.type)]
            hidden = self._encode([window() for window in part])
            encodings += [
                Encoding(each, self._network.decoder, window) for each, window in zip(hidden, part, strict=True)
            ]
        return encodings

    @property
    def is_one_by_one(self) -> bool:
        """Whether several windows take as long together as one after the other."""
        return at_once(_MOST_AT_ONCE, self._network.device.type) == 1

    def _encode(self, windows: Sequence[Tensor]) -> list[Tensor]:
        mel = torch.stack([_to_device(window, self._network.device) for window in windows]).to(self._network.dtype)
        hidden = self._replayed(mel)
        if hidden is None:
            hidden = self._network.encoder(mel)
            if len(windows) == 1:
                return list(hidden)
        # Copies: keeping one window must not keep the whole batch in memory.
        return [each.clone() for each in hidden]

    def _replayed(self, mel: Tensor) -> Tensor | None:
        """The encoder's output, valid until the next encoding; None if the encoder has to be called."""
        count = len(mel)
        if self._replays is None or count > _FEW:
            return None
        self._mel[:count] = mel
        return self._replays.replay(("encoding", count), lambda: self._encode_held(count))

    def _encode_held(self, count: int) -> Tensor:
        return self._hidden[:count].copy_(self._network.encoder(self._mel[:count]))


def at_once(count: int, kind: str) -> int:
    """How many of the waiting windows to encode next, on a type of device."""
    if kind == "cpu":  # one occupies a processor fully, and its intermediate results stay in the caches
        return 1
    most = min(count, _MOST_AT_ONCE)
    return 1 << (most.bit_length() - 1) if kind == "cuda" else most  # cuDNN makes a plan for every batch size


def _to_device(mel: Tensor, device: torch.device) -> Tensor:
    """The features on the device; the host does not wait for the copy if possible."""
    # A tensor that is already pinned is the caller's, who may overwrite it during the copy.
    if device.type == "cuda" and mel.device.type == "cpu" and not mel.is_pinned():
        return mel.contiguous().pin_memory().to(device, non_blocking=True)
    return mel.to(device)
