"""How one linear layer runs on this device and in this precision.

`linear` picks the implementation once, when the network is built. What is fast on a CPU, oneDNN's product of reordered
weights, fbgemm's of halves and the two products of 8-bit integers, are operators that are private to torch: they are
probed for and checked against `F.linear` before they are used, and where one is missing the next best takes its place.

A step of decoding waits for the weights to come from memory. The numbers of OpenAI's checkpoints are float16's: kept as
such and widened inside the product they are the same numbers, in half the bytes.

Integers are symmetric, with one scale for each output of a layer and one for each row of its input: a row's result does
not depend on the rows that it is computed with.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""(…, in) → (…, out)"""

_ROWS_AT_A_TIME = 4096  # of a weight that is looked through: of an output head that would be another 150 MB
_LEAST_SCALE = 1e-12  # a row of zeros is divided by it
_SMALL = 1 << 19  # numbers of a weight: one core is as fast as it takes to call two, for so many rows
_FEW_ROWS = 24


def linear(
    weight: Tensor,
    bias: Tensor | None,
    *,
    few_rows: bool,
    int8: bool = False,
    output: torch.dtype | None = None,
) -> Linear:
    """The layer x ↦ x·weightᵀ + bias.

    Args:
        weight: (out, in), on its device and in its precision. It is not kept where it is packed or rounded.
        bias: (out,) or None.
        few_rows: it sees a few tokens at a time, not a window of audio. In float32 with many rows packing gains little,
            and `F.linear` gives the reference's very bits.
        int8: round the weight to 8 bits.
        output: type of the result; None: that of `weight`.
    """
    if int8:
        return _int8_linear(weight, bias, few_rows=few_rows, output=output or weight.dtype)
    in_float32 = weight.dtype == torch.float32 and few_rows
    if weight.device.type == "cpu" and (in_float32 or weight.dtype == torch.bfloat16):
        if in_float32 and _works(_HalvesLinear, weight.dtype) and _are_halves(weight):
            is_small = weight.numel() <= _SMALL and _works(_SmallHalvesLinear, weight.dtype)
            return (_SmallHalvesLinear if is_small else _HalvesLinear).of(weight, bias)
        if _works(_PackedLinear, weight.dtype):
            return _PackedLinear.of(weight, bias)
    return _PlainLinear(weight, bias)


def rows_at_once(layers: Iterable[Linear]) -> int:
    """Of how many rows a list had better be a multiple: a layer that computes so many at once then fills up none."""
    return max((getattr(layer, "rows_at_once", 1) for layer in layers), default=1)


def _are_halves(weight: Tensor) -> bool:
    """Whether nothing is lost in float16; its infinities would be, in the packing."""
    parts = ((part, part.half()) for part in torch.split(weight, _ROWS_AT_A_TIME))
    return all(torch.equal(half.float(), part) and bool(half.isfinite().all()) for part, half in parts)


def _int8_linear(weight: Tensor, bias: Tensor | None, *, few_rows: bool, output: torch.dtype) -> Linear:
    """Measured on a processor with 8-bit dot products: for up to some hundred rows fbgemm is faster, then oneDNN."""
    kinds = (_FbgemmLinear, _OnednnLinear) if few_rows else (_OnednnLinear, _FbgemmLinear)
    if weight.device.type == "cpu":
        for kind in kinds:
            if _works(kind, torch.float32):
                return kind.of(weight, bias, output)
    return _WeightOnlyLinear.of(weight, bias, output)


class _Kind(Protocol):
    """A class of layers whose operators may be missing here, or give something else."""

    is_exact: ClassVar[bool]
    """Whether nothing but float32's own rounding is lost, given weights in float32 that are float16 numbers."""

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> Linear: ...


@dataclass(frozen=True, slots=True)
class _PlainLinear:
    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def in_float32(self) -> _PlainLinear:
        return _PlainLinear(self.weight.float(), None if self.bias is None else self.bias.float())


@dataclass(frozen=True, slots=True)
class _PackedLinear:
    """oneDNN, with the weight in its own order."""

    is_exact: ClassVar = True
    weight: Tensor  # opaque
    bias: Tensor | None

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> _PackedLinear:
        return _PackedLinear(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None), bias)

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return result

    def in_float32(self) -> _PackedLinear:
        return _PackedLinear.of(self.weight.to_dense().float(), None if self.bias is None else self.bias.float())


@dataclass(frozen=True, slots=True)
class _HalvesLinear:
    """fbgemm: a weight of halves, everything else in float32.

    It adds up each row on its own. The order depends on how many rows there are, but not where those are a multiple of
    `rows_at_once`.
    """

    is_exact: ClassVar = True
    weight: Any  # opaque
    rows_at_once: int

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> _HalvesLinear:
        return _HalvesLinear(_packed_halves(weight, bias), _rows_at_once())

    def product(self, rows: Tensor) -> Tensor:
        """(R, in) → (R, out), the bias added."""
        result: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self.weight)
        return result

    def __call__(self, x: Tensor) -> Tensor:
        missing = -(x.numel() // x.shape[-1]) % self.rows_at_once
        if not missing and x.ndim == 2:
            return self.product(x)
        rows = x.reshape(-1, x.shape[-1])
        if missing:
            rows = F.pad(rows, (0, 0, 0, missing))
        return self.product(rows)[: len(rows) - missing].view(*x.shape[:-1], -1)


def _packed_halves(weight: Tensor, bias: Tensor | None) -> Any:
    return torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)


@dataclass(frozen=True, slots=True)
class _SmallHalvesLinear(_HalvesLinear):
    """The same, and for few rows the same sums from an older operator: on one core, but called in a tenth of the time.

    torch announces its end; then what is small runs as the rest does. Its weight can be neither copied nor pickled.
    """

    few_rows: Tensor  # opaque
    bias: Tensor

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> _SmallHalvesLinear:
        packed = torch.fbgemm_pack_gemm_matrix_fp16(weight.contiguous())
        return _SmallHalvesLinear(_packed_halves(weight, bias), _rows_at_once(), packed, _bias(bias, weight))

    def product(self, rows: Tensor) -> Tensor:
        if len(rows) > _FEW_ROWS:
            return _HalvesLinear.product(self, rows)
        return torch.fbgemm_linear_fp16_weight(rows, self.few_rows, self.bias)


def _silence_deprecations() -> None:
    """torch warns, once each, about the operators here that it means to remove; users cannot do anything about it.

    So there is a filter for what is said of this module, and it stays. `catch_warnings` would put back the filters of
    the whole process, and so undo what other threads set in the meantime.
    """
    warnings.filterwarnings("ignore", module=re.escape(__name__) + "$")


@cache
def _rows_at_once() -> int:
    """With AVX-512 every row is added up in one order; with AVX2 alone one and two rows are in another than three."""
    generator = torch.Generator("cpu").manual_seed(0)
    weight, x = (torch.randn((96, 64), generator=generator, dtype=torch.float32, device="cpu") for _ in range(2))
    packed = _packed_halves(weight.half().float(), None)
    for step in (1, 2, 3, 4, 6, 8, 12):
        found = [torch.ops.quantized.linear_dynamic_fp16(x[:count], packed) for count in range(step, len(x) + 1, step)]
        if all(torch.equal(each, found[-1][: len(each)]) for each in found):
            return step
    raise NotImplementedError("rows depend on how many there are")


_LEVELS = 127  # of each sign, in a byte
_ZERO = 128  # the byte that stands for an input of 0


def _rounded(weight: Tensor, levels: int = _LEVELS) -> tuple[Tensor, Tensor]:
    """A weight (out, in) as integers in [-levels, levels], and the scale (out,) of each output."""
    weight = weight.float().contiguous()  # the operators take no other
    scale = weight.abs().amax(-1).clamp(min=_LEAST_SCALE) / levels
    return (weight / scale[:, None]).round_().to(torch.int8), scale


@cache
def _weight_levels() -> int:
    """That a weight is rounded to, so that nothing overflows.

    Without 8-bit dot products two products with bytes are added up in 16 bits: 2 · 255 · 64 is within them. Inputs keep
    their levels, since they are harder to round: the encoder's error is two thirds of what it is the other way round.
    """
    return _LEVELS if torch.cpu._is_vnni_supported() else 64


@dataclass(frozen=True, slots=True)
class _Int8Linear:
    """What the products of integers share.

    Attributes:
        weight: opaque.
        bias: (out,) in float32.
        output: type of the result.
    """

    is_exact: ClassVar = False
    weight: Any
    bias: Tensor
    output: torch.dtype

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 2 and x.dtype == self.output == torch.float32:
            return self.rows(x)
        return self.rows(x.reshape(-1, x.shape[-1]).float()).view(*x.shape[:-1], -1).to(self.output)

    def rows(self, x: Tensor) -> Tensor:
        """(R, in) → (R, out), in float32."""
        largest = x.abs().amax(-1, keepdim=True).clamp_(min=_LEAST_SCALE)
        result = self.product(x, largest)
        # In place: fresh memory for the sum would cost more than the sum.
        return torch.addcmul(self.bias, result, largest, out=result)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        """(R, in), to be rounded by each row's largest (R, 1) → (R, out), divided by it, without the bias."""
        raise NotImplementedError


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros(len(weight), dtype=torch.float32, device=weight.device) if bias is None else bias.float()


@dataclass(frozen=True, slots=True)
class _FbgemmLinear(_Int8Linear):
    @staticmethod
    def of(weight: Tensor, bias: Tensor | None, output: torch.dtype = torch.float32) -> _FbgemmLinear:
        rounded, scale = _rounded(weight, _weight_levels())
        zeros = torch.zeros(len(scale), dtype=torch.int32, device="cpu")
        quantised = torch._make_per_channel_quantized_tensor(rounded, scale, zeros, 0)
        packed = torch.ops.quantized.linear_prepack(quantised, None)
        return _FbgemmLinear(packed, _bias(bias, weight), output)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        result: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / _LEVELS, _ZERO, self.weight
        )
        return result


@dataclass(frozen=True, slots=True)
class _OnednnLinear(_Int8Linear):
    scale: Tensor  # of each output
    zeros: Tensor

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None, output: torch.dtype = torch.float32) -> _OnednnLinear:
        rounded, scale = _rounded(weight, _weight_levels())
        packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        zeros = torch.zeros(len(scale), dtype=torch.int32, device="cpu")
        return _OnednnLinear(packed, _bias(bias, weight), output, scale, zeros)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        # The conversion cuts off: the half rounds. In one go to bytes, torch converts number by number.
        rounded = (rows * (_LEVELS / largest)).add_(_ZERO + 0.5).to(torch.int16).to(torch.uint8)
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(rounded, 1 / _LEVELS, _ZERO, self.weight, self.scale, self.zeros),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        return result


@dataclass(frozen=True, slots=True)
class _WeightOnlyLinear:
    """Integers in memory, floats in the product: for other devices, and other versions of torch."""

    weight: Tensor  # int8
    scale: Tensor
    bias: Tensor | None
    output: torch.dtype

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None, output: torch.dtype) -> _WeightOnlyLinear:
        rounded, scale = _rounded(weight)
        return _WeightOnlyLinear(rounded, scale.to(weight.dtype), bias, output)

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None]  # at once: float16 has no room for the sums of integers
        return F.linear(x.to(weight.dtype), weight, self.bias).to(self.output)

    def in_float32(self) -> _WeightOnlyLinear:
        bias = None if self.bias is None else self.bias.float()
        # bfloat16, which attention looks at, has the range of float32.
        output = torch.bfloat16 if self.output == torch.bfloat16 else torch.float32
        return _WeightOnlyLinear(self.weight, self.scale.float(), bias, output)


def has_fast_product(dtype: torch.dtype) -> bool:
    """Whether torch has a fast product of halves on this processor.

    Elsewhere one of bfloat16 takes thirty times as long as of float32 (x86 without AVX-512), of float16 three times.
    """
    return _works(_PackedLinear, dtype)


def _works(kind: type[_Kind], dtype: torch.dtype) -> bool:
    """Whether this torch has the private operators of a kind and they compute what `F.linear` does."""
    return _probed(kind, dtype, torch.backends.quantized.engine)  # which a program may change


@cache
def _probed(kind: type[_Kind], dtype: torch.dtype, engine: str) -> bool:  # noqa: ARG001 - a reason to look again
    generator = torch.Generator("cpu").manual_seed(0)
    shapes = ((96, 64), (96,), (3, 5, 64))
    weight, bias, x = (torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu") for shape in shapes)
    weight = weight.half().float()
    weight[0] = x[0, 0] = 1.0  # what adds up to most
    _silence_deprecations()
    try:
        # The user's autocast would round what is expected, and one answer counts for the whole process.
        with torch.autocast("cpu", enabled=False):
            expected = F.linear(x, weight, bias)
            found = kind.of(weight.to(dtype), bias.to(dtype))(x.to(dtype))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False  # another torch, or another processor: the operators are gone or take other arguments
    near = 1e-4 if kind.is_exact and dtype == torch.float32 else 0.05 * expected.abs().amax(-1, keepdim=True)
    return bool(((found.float() - expected).abs() <= near).all())
