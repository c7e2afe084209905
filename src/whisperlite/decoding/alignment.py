"""When each token was said. Cross-attention follows the audio: a path through its weights gives every token a time.

Reference: `find_alignment`. Axes: N heads, T tokens, S frames of 20 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.nn.cache import Cache
from whisperlite.nn.config import FRAMES_PER_POSITION, POSITIONS_PER_SECOND, Heads
from whisperlite.nn.network import Network
from whisperlite.text.tokenizer import Tokenizer


def align(network: Network, tokenizer: Tokenizer, encoding: Encoding, ask: Align, heads: Heads) -> Aligned:
    """Read the text once more, and find its path through the audio that some attention heads follow."""
    # Tokens past the context cannot be read; they get the time at which the last readable one ends.
    room = network.dims.n_text_ctx - len(ask.prompt) - 1
    text, rest = list(ask.tokens[:room]), len(ask.tokens) - room
    tokens = torch.tensor([[*ask.prompt, *text, tokenizer.eot]], device=network.device)
    cross = encoding.cross if ask.part is None else encoding.cross.span(*ask.part)
    cache = Cache.empty(cross, rows=1, capacity=tokens.shape[1], dtype=network.dtype)
    hidden, scores = network.decoder.aligned(tokens, cache, heads)
    # The position of <|notimestamps|>, the last of the prompt, predicts the first token of the text.
    before = slice(len(ask.prompt) - 1, len(ask.prompt) - 1 + len(text))
    matrix = attention_matrix(scores.float(), n_frames=max(ask.n_frames // FRAMES_PER_POSITION, 1))[before.start : -1]
    frames = first_frames(-matrix.nan_to_num().cpu().numpy().astype(np.float64))
    probabilities = _probabilities(network.decoder.logits(hidden[0, before]), text, tokenizer)
    if not scores.isfinite().all():  # in half precision: the engine tries again in float32
        probabilities = (math.nan,) * len(text)
    times = tuple(float(frame) / POSITIONS_PER_SECOND for frame in frames)
    padding = max(rest, 0)
    return Aligned((*times, *times[-1:] * padding), (*probabilities, *[0.0] * padding), encoding)


def _probabilities(logits: Tensor, text: Sequence[int], tokenizer: Tokenizer) -> tuple[float, ...]:
    """The probability of each token of a text among all text tokens, given those before it: (T, V) → T numbers."""
    # Ids of tokens that a fine-tune added come after the special ones: such a token is added to the text tokens.
    ids = torch.tensor(text, device=logits.device)
    chosen = logits.gather(-1, ids[:, None])[:, 0]
    total = logits[:, : tokenizer.eot].logsumexp(-1)
    total = torch.where(ids < tokenizer.eot, total, torch.logaddexp(total, chosen))
    return tuple((chosen - total).exp().tolist())


def attention_matrix(scores: Tensor, *, n_frames: int) -> Tensor:
    """How much each token attends to each frame of the content: scores of heads (N, T, S) → (T, n_frames).

    After a softmax over the content, each frame is normalised over the tokens and smoothed along time, and the heads
    are averaged.
    """
    weights = scores[..., :n_frames].softmax(-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    # Differs: a frame that all tokens attend to equally counts 0, where the reference divides by 0 (correction 12).
    weights = torch.where(std > 0, (weights - mean) / std, 0.0)
    return median_of_seven(weights).mean(0)


# Exchanges that move the median of seven values to the fourth position: a pruned sorting network.
_EXCHANGES = (
    *((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6)),
    *((2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4)),
)


def median_of_seven(x: Tensor) -> Tensor:
    """Filter the last axis by the median of 7, mirrored at its ends; an axis of 3 values or fewer stays unchanged."""
    if x.shape[-1] <= 3:
        return x
    length = x.shape[-1]
    padded = F.pad(x, (3, 3), mode="reflect")
    values = [padded[..., offset : offset + length] for offset in range(7)]
    for low, high in _EXCHANGES:
        values[low], values[high] = torch.minimum(values[low], values[high]), torch.maximum(values[low], values[high])
    return values[3]


def first_frames(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Dynamic time warping (reference: `dtw`): the first column of each row on the cheapest path through a matrix.

    The path goes from the upper left to the lower right corner, by steps to the right, down, or both at once.
    Differs: sums are in float64, where the reference rounds them to float32; and of equally cheap steps it takes the
    first of both, down, right, where the reference goes right, cheapest or not (correction 27).

    Args:
        cost: (T, S), both at least 1.

    Returns:
        (T,), ascending, from 0 on.
    """
    totals = _cheapest_totals(cost)
    column = cost.shape[1] - 1
    first = np.zeros(len(cost), dtype=np.int64)
    for row in range(len(cost) - 1, 0, -1):
        diagonal, above = totals[row, : column + 1], totals[row, 1 : column + 2]
        left = totals[row + 1, : column + 1]
        column = int(np.flatnonzero(np.minimum(diagonal, above) <= left)[-1])  # where the path leaves the row, upwards
        first[row] = column
        column -= int(diagonal[column] <= above[column])
    return first


def _cheapest_totals(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cost of the cheapest path to each cell, (T+1, S+1), with a border from which only the first cell is reached.

    A row at a time: after subtracting the row's running sums, moving to the right is a running minimum.
    """
    totals = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    totals[0, 0] = 0.0
    for row, along in enumerate(cost.cumsum(1), start=1):
        entered = np.minimum(totals[row - 1, :-1], totals[row - 1, 1:])
        entered[1:] -= along[:-1]
        totals[row, 1:] = np.minimum.accumulate(entered) + along
    return totals
