"""Which language is spoken in a window (reference: `detect_language`)."""

from __future__ import annotations

import torch

from whisperlite.decoding.encoding import Encoding
from whisperlite.nn.cache import Cache, CrossKeysValues
from whisperlite.nn.network import Network
from whisperlite.text.tokenizer import Tokenizer


def detect_language(
    network: Network, tokenizer: Tokenizer, encoding: Encoding, span: tuple[int, int] | None = None
) -> tuple[dict[str, float], float]:
    """What the model says after <|startoftranscript|> alone.

    Args:
        span: (first, end) of the positions that are looked at; None: all.

    Returns:
        Code → probability among the model's languages, in the order of the tokens; and the probability that nobody
        speaks, 0 to 1.
    """
    cross = encoding.cross
    if span is not None:
        cross = CrossKeysValues(*(x[:, :, :, slice(*span)] for x in (cross.keys, cross.values)))
    cache = Cache.empty(cross, rows=1, capacity=1, dtype=network.dtype)
    logits = network.decoder(torch.tensor([[tokenizer.sot]], device=network.device), cache)[0][0, 0]
    ids = [tokenizer.language_token(code) for code in tokenizer.languages]
    probabilities = dict(zip(tokenizer.languages, logits[ids].softmax(-1).tolist(), strict=True))
    return probabilities, logits.softmax(-1)[tokenizer.no_speech].item()
