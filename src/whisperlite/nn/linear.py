"""How one linear layer runs on this device and precision.

`linear` picks the implementation once, when the network is built: on a CPU in float32, where few rows come at a time,
the weight is reordered for oneDNN, whose product is up to three times as fast there; elsewhere it is `F.linear`.
The oneDNN operators are private to torch, so they are probed for and checked against `F.linear` before they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""(…, in) → (…, out)"""


def linear(weight: Tensor, bias: Tensor | None, *, few_rows: bool) -> Linear:
    """The layer x ↦ x·weightᵀ + bias.

    Args:
        weight: (out, in), on its device and in its precision. It is not kept where it is packed.
        bias: (out,) or None.
        few_rows: it sees a few tokens at a time, not a window of audio. With many rows packing gains little, and
            `F.linear` gives the reference's very bits.
    """
    if few_rows and weight.device.type == "cpu" and weight.dtype == torch.float32 and _packed_works():
        return _PackedLinear(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None), bias)
    return _PlainLinear(weight, bias)


@dataclass(frozen=True, slots=True)
class _PlainLinear:
    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _PackedLinear:
    weight: Tensor  # in oneDNN's own order: opaque
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return result


@cache
def _packed_works() -> bool:
    """Whether this torch has the private operators and they compute what `F.linear` does."""
    if not torch._C._has_mkldnn:
        return False
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    x = torch.randn(3, 5, 64, generator=generator)
    try:
        packed = _PackedLinear(torch.ops.mkldnn._reorder_linear_weight(weight, None), bias)(x)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False  # another torch: the operators are gone or take other arguments
    return torch.allclose(packed, F.linear(x, weight, bias), rtol=1e-4, atol=1e-4)
