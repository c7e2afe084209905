"""Attention as functions of tensors: queries over keys and values, without weights or state.

Axes: B windows, H heads, T tokens, S audio frames, D head width, C model width, N = B·H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Up to this many queries, two products are as fast on a CPU as the fused kernel, and in bfloat16 several times as fast.
# The sums of the fused kernel also depend, in their last bit, on which thread computes a row, and so on the number of
# rows. On MPS the kernel for few queries has read some layouts wrongly (pytorch issues 163597, 181133). On CUDA the
# fused kernel for half precision is twice as fast even with one query, but it may be cuDNN's, which takes 50 ms to plan
# for a shape.
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
        mask: (B, H, T, S) or (1, 1, T, S), added to the scores: minus infinity where a query must not attend.
        shapes_repeat: the same shapes come again and again, so that planning a kernel for them pays off.
        tokens: number of queries of one row, if those of several rows are joined; None: all are of one row.
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
    # One batch of products, without copies: in memory, head follows head.
    scores = dot_products(query.flatten(0, 1), keys.flatten(0, 1), None if mask is None else mask.flatten(0, 1))
    return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(query.shape)


def dot_products(query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot products, (N, T, D) over (N, S, D) → (N, T, S); the same operator adds the mask, (N or 1, T, S)."""
    added = query.new_zeros(()) if mask is None else mask  # not `empty`: on MPS, a NaN in it would come through
    return torch.baddbmm(added, query, keys.transpose(1, 2), beta=int(mask is not None), alpha=query.shape[-1] ** -0.5)


def _attend_head_by_head(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention, (B, H, T, D) over (B, H, S, D), one head at a time: its scores fit into the processor's caches."""
    result = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for window in range(len(query)):
        for head in range(query.shape[1]):
            one = slice(head, head + 1)
            weights = dot_products(query[window, one], keys[window, one])[0].softmax(-1)
            torch.mm(weights, values[window, head], out=result[window, head])
    return result


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split the width into heads: (B, T, C) → (B, H, T, D)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Join heads: (B, H, T, D) → (B, T, C)."""
    return x.transpose(1, 2).flatten(2)
