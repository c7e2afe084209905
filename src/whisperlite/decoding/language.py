"""Which language is spoken in a window (reference: `detect_language`)."""

from __future__ import annotations

import torch

from whisperlite.decoding.encoding import Encoding
from whisperlite.nn.cache import Cache, CrossKeysValues
from whisperlite.nn.network import Network
from whisperlite.text.tokenizer import Tokenizer


def language_probabilities(
    network: Network, tokenizer: Tokenizer, encoding: Encoding, span: tuple[int, int] | None = None
) -> dict[str, float]:
    """Code → probability among the model's languages, after <|startoftranscript|> alone, in the order of the tokens.

    Args:
        span: (first, end) of the positions that are looked at; None: all.
    """
    cross = encoding.cross
    if span is not None:
        cross = CrossKeysValues(*(x[:, :, :, slice(*span)] for x in (cross.keys, cross.values)))
    cache = Cache.empty(cross, rows=1, capacity=1)
    logits, _ = network.decoder(torch.tensor([[tokenizer.sot]], device=network.device), cache)
    ids = [tokenizer.language_token(code) for code in tokenizer.languages]
    return dict(zip(tokenizer.languages, logits[0, 0, ids].softmax(-1).tolist(), strict=True))
