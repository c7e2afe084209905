"""Reads a window's prompt with recorded calls: one call from the encoded audio to the first logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.replays import Replays
from whisperlite.nn.cache import Cache, CrossKeysValues
from whisperlite.nn.network import Network
from whisperlite.text.prompt import Prompt

_SHORTEST = 4  # tokens of the shortest recorded call; others are for a power of two


@dataclass(frozen=True, slots=True)
class PromptRead:
    """The results of reading a prompt, valid until the next one is read.

    Attributes:
        logits: (2, V) in float32, after <|startoftranscript|> and after the last token.
        keys, values: (L, 1, H, T, D) of the prompt.
        cross: keys and values of the window's audio.
    """

    logits: Tensor
    keys: Tensor
    values: Tensor
    cross: CrossKeysValues


class Prefill:
    """Reads prompts of one row. It belongs to one engine.

    Recorded calls are for rounded-up numbers of tokens: nothing attends to the tokens that fill up.
    """

    def __init__(self, network: Network, replays: Replays) -> None:
        self._network, self._replays = network, replays
        dims, device = network.dims, network.device
        shape = (dims.n_text_layer, 1, dims.n_text_head, dims.n_text_ctx, dims.n_text_state // dims.n_text_head)
        self._keys, self._values = (torch.zeros(shape, dtype=network.dtype, device=device) for _ in range(2))
        self._tokens = torch.zeros((1, dims.n_text_ctx), dtype=torch.long, device=device)
        self._logit_positions = torch.zeros(2, dtype=torch.long, device=device)  # at which logits are computed
        self._logits = torch.empty((2, dims.n_vocab), dtype=torch.float32, device=device)
        encoded = (1, dims.n_audio_ctx, dims.n_audio_state)
        self._hidden = torch.empty(encoded, dtype=network.dtype, device=device)
        self._cross: CrossKeysValues | None = None  # made from the first window's, for its type

    def read(self, prompt: Prompt, encoding: Encoding) -> PromptRead | None:
        """Read a prompt; None if the call is not recorded, and the decoder has to be called."""
        count, device = len(prompt.tokens), self._network.device
        length = min(max(1 << (count - 1).bit_length(), _SHORTEST), self._tokens.shape[1])
        if self._cross is None:
            self._cross = CrossKeysValues(*(torch.empty_like(x) for x in (encoding.cross.keys, encoding.cross.values)))
        cross = self._cross
        self._hidden[0] = encoding.hidden
        self._tokens[0, :length] = torch.tensor(prompt.tokens + (0,) * (length - count), device=device)
        self._logit_positions.copy_(torch.tensor((prompt.sot_index, count - 1), device=device))
        logits = self._replays.replay(("prompt", length), lambda: self._read(cross, length))
        if logits is None:
            return None
        keys, values = (x[:, :, :, :count] for x in (self._keys, self._values))
        return PromptRead(logits, keys, values, cross)

    def _read(self, cross: CrossKeysValues, length: int) -> Tensor:
        decoder = self._network.decoder
        fresh = decoder.cross(self._hidden)
        cross.keys.copy_(fresh.keys)
        cross.values.copy_(fresh.values)
        cache = Cache(self._keys, self._values, cross, (0,))
        read, _ = decoder.hidden(self._tokens[:, :length], cache, shapes_repeat=True)
        return self._logits.copy_(decoder.logits(read[0].index_select(0, self._logit_positions)))
