"""Attention as functions of tensors: queries over keys and values. No weights, no state.

Axes: B windows, H heads, T tokens, S audio frames, D head width, C model width, N = B·H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# With few queries two products are on CPUs as fast as the fused kernel, and in bfloat16 several times as fast. That
# kernel's sums also depend, in their last bit, on the thread that comes to a row, and so on how many rows there are.
# On MPS the one for few queries has read some layouts wrongly (pytorch issues 163597, 181133). On CUDA the fused kernel
# for halves is twice as fast also with one query, but it may be cuDNN's, which takes 50 ms to make a plan for a shape.
_FEW_QUERIES = 16


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    shapes_repeat: bool = False,
    tokens: int | None = None,
) -> Tensor:
    """Dot-product attention: (B, H, T, D) over (B, H, S, D) → (B, H, T, D).

    Args:
        mask: (B, H, T, S) or (1, 1, T, S), added to the scores: minus infinity where a query may not look.
        shapes_repeat: what has these shapes comes again and again, so that a plan for it is worth the time.
        tokens: of each row, where queries of several rows are together; None: all are of one.
    """
    many = (tokens or query.shape[-2]) > _FEW_QUERIES
    kind, dtype = query.device.type, query.dtype
    if kind == "cuda" and torch.version.hip is None and dtype in (torch.float16, torch.bfloat16):
        is_fused = shapes_repeat
    else:
        is_fused = many and (kind != "cpu" or dtype != torch.bfloat16)
    if is_fused:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    if many and mask is None and kind == "cpu":
        return _attend_head_by_head(query, keys, values)
    # One batch of products; nothing is copied, since heads lie behind heads in memory.
    scores = dot_products(query.flatten(0, 1), keys.flatten(0, 1), None if mask is None else mask.flatten(0, 1))
    return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(query.shape)


def dot_products(query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """(N, T, D) over (N, S, D) → (N, T, S), scaled, and (N or 1, T, S) added, within the product."""
    added = query.new_zeros(()) if mask is None else mask  # not empty: on MPS a NaN in it comes through
    return torch.baddbmm(added, query, keys.transpose(1, 2), beta=int(mask is not None), alpha=query.shape[-1] ** -0.5)


def _attend_head_by_head(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(B, H, T, D) over (B, H, S, D): the scores of one head fit into the processor's caches, those of all do not."""
    result = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for window in range(len(query)):
        for head in range(query.shape[1]):
            one = slice(head, head + 1)
            weights = dot_products(query[window, one], keys[window, one])[0].softmax(-1)
            torch.mm(weights, values[window, head], out=result[window, head])
    return result


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) → (B, H, T, D)"""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) → (B, T, C)"""
    return x.transpose(1, 2).flatten(2)
