"""How one linear layer runs on a device and in a precision.

`linear` picks the implementation once, when the network is built. The operators that are fast on a CPU (oneDNN's for
reordered weights, fbgemm's for float16 weights, and both for 8-bit integers) are private to torch: they are probed, and
checked against `F.linear`, before they are used. If one is missing, the next best takes its place.

A decoder step waits for weights to arrive from memory. The weights in OpenAI's checkpoints are float16 numbers: kept as
such and widened inside the product, they are the same numbers in half the bytes.

Integers have one scale for each output of a layer and one for each row of its input, so a row's result does not depend
on the rows that it is computed with. They are symmetric, except after a GELU.
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

_ROWS_AT_A_TIME = 4096  # rows of a weight to check at once: a copy of a whole output head would take 150 MB
_LEAST_SCALE = 1e-12  # so that a row of zeros can be divided
# Up to this size of a weight and this number of rows, one core is done in the time it takes to call two.
_SMALL = 1 << 19
_FEW_ROWS = 24


def linear(
    weight: Tensor,
    bias: Tensor | None,
    *,
    few_rows: bool,
    int8: bool = False,
    follows_gelu: bool = False,
    output: torch.dtype | None = None,
) -> Linear:
    """The layer x ↦ x·weightᵀ + bias.

    Args:
        weight: (out, in), on its device and in its precision. It is not kept if it is packed or rounded.
        bias: (out,) or None.
        few_rows: the layer sees a few tokens at a time, not a window of audio. With many rows in float32, packing gains
            little, and `F.linear` gives exactly the reference's bits.
        int8: round the weight to 8 bits.
        follows_gelu: its input comes from a GELU, which is never below -0.17; used for `int8`.
        output: type of the result, for `int8`; None: that of `weight`.
    """
    if int8:
        rounding = _AFTER_GELU if follows_gelu else _SYMMETRIC
        return _int8_linear(weight, bias, few_rows=few_rows, output=output or weight.dtype, rounding=rounding)
    in_float32 = weight.dtype == torch.float32 and few_rows
    if weight.device.type == "cpu" and (in_float32 or weight.dtype == torch.bfloat16):
        if in_float32 and _works(_HalvesLinear, weight.dtype) and _are_halves(weight):
            is_small = weight.numel() <= _SMALL and _works(_SmallHalvesLinear, weight.dtype)
            return (_SmallHalvesLinear if is_small else _HalvesLinear).of(weight, bias)
        if _works(_PackedLinear, weight.dtype):
            return _PackedLinear.of(weight, bias)
    return _PlainLinear(weight, bias)


def rows_at_once(layers: Iterable[Linear]) -> int:
    """The row count that lists are padded to a multiple of, so that no layer pads on its own."""
    return max((getattr(layer, "rows_at_once", 1) for layer in layers), default=1)


def _are_halves(weight: Tensor) -> bool:
    """Whether all weights are finite float16 numbers; the packing does not keep infinities."""
    parts = ((part, part.half()) for part in torch.split(weight, _ROWS_AT_A_TIME))
    return all(torch.equal(half.float(), part) and bool(half.isfinite().all()) for part, half in parts)


def _int8_linear(
    weight: Tensor, bias: Tensor | None, *, few_rows: bool, output: torch.dtype, rounding: _Rounding
) -> Linear:
    """The fastest layer of 8-bit integers: fbgemm up to some hundred rows, then oneDNN (measured with VNNI)."""
    kinds = (_FbgemmLinear, _OnednnLinear) if few_rows else (_OnednnLinear, _FbgemmLinear)
    if weight.device.type == "cpu":
        for kind in kinds:
            if _works(kind, torch.float32):
                return kind.of(weight, bias, output, rounding)
    return _WeightOnlyLinear.of(weight, bias, output)


class _Kind(Protocol):
    """A class of layers whose operators are probed before they are used.

    Attributes:
        is_exact: whether it computes in float32, given float32 weights that are float16 numbers.
    """

    is_exact: ClassVar[bool]

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
    """oneDNN's product, with the weight reordered."""

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
    """fbgemm's product: the weight in float16, everything else in float32.

    Each row is summed on its own, in an order that depends on the number of rows unless that is a multiple of
    `rows_at_once`.
    """

    is_exact: ClassVar = True
    weight: Any  # opaque
    rows_at_once: int

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> _HalvesLinear:
        return _HalvesLinear(_packed_halves(weight, bias), _rows_at_once())

    def product(self, rows: Tensor) -> Tensor:
        """The product with the bias: (R, in) → (R, out)."""
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
    """`_HalvesLinear`, but for few rows by an older operator: the same sums on one core, called in a tenth of the time.

    torch has deprecated it; without it, small layers run like the others. Its weight can be neither copied nor pickled.
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
    """Ignore torch's warnings about deprecated operators in this module; users cannot do anything about them.

    The filter stays. `catch_warnings` would restore the filters of the whole process, and so undo what other threads
    set in the meantime.
    """
    warnings.filterwarnings("ignore", module=re.escape(__name__) + "$")


@cache
def _rows_at_once() -> int:
    """The multiple of rows for which the order of a row's sums does not depend on the number of rows.

    With AVX-512 the order is always the same; with AVX2 alone one and two rows are summed in another order than three.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    weight, x = (torch.randn((96, 64), generator=generator, dtype=torch.float32, device="cpu") for _ in range(2))
    packed = _packed_halves(weight.half().float(), None)
    for step in (1, 2, 3, 4, 6, 8, 12):
        found = [torch.ops.quantized.linear_dynamic_fp16(x[:count], packed) for count in range(step, len(x) + 1, step)]
        if all(torch.equal(each, found[-1][: len(each)]) for each in found):
            return step
    raise NotImplementedError("rows depend on how many there are")


_LEVELS = 127  # of each sign, in 8 bits


@dataclass(frozen=True, slots=True)
class _Rounding:
    """How the rows of a layer's input become bytes.

    Attributes:
        zero: the byte that 0 becomes.
        levels: how far from it the byte of the row's largest number is.
        least: a row's largest number counts as no less than this.
        has_signs: a row's largest number may be negative.
    """

    zero: int
    levels: int
    least: float
    has_signs: bool

    def largest(self, rows: Tensor) -> Tensor:
        """The largest number of each row, without its sign: (R, C) → (R, 1)."""
        return (rows.abs() if self.has_signs else rows).amax(-1, keepdim=True).clamp_(min=self.least)


_SYMMETRIC = _Rounding(zero=128, levels=_LEVELS, least=_LEAST_SCALE, has_signs=True)
# A GELU gives nothing below -0.17, which becomes a byte here whatever the largest number is. With most bytes for
# positive numbers, rounding errors are little more than half of what they would be, in rows that reach 1.2; most do.
_AFTER_GELU = _Rounding(zero=32, levels=223, least=0.17 * 223 / 32, has_signs=False)


def _rounded(weight: Tensor, levels: int = _LEVELS) -> tuple[Tensor, Tensor]:
    """Round a weight (out, in) to integers in [-levels, levels]; returns them and the scale of each output, (out,)."""
    weight = weight.float().contiguous()  # the operators take nothing else
    scale = weight.abs().amax(-1).clamp(min=_LEAST_SCALE) / levels
    return (weight / scale[:, None]).round_().to(torch.int8), scale


@cache
def _weight_levels() -> int:
    """The number of levels that weights are rounded to, so that nothing overflows.

    Without 8-bit dot products (VNNI), two products of bytes are added in 16 bits, which hold 2 · 255 · 64. Weights
    rather than inputs get fewer levels, because inputs are harder to round: the encoder's error is two thirds of what
    it would be the other way round.
    """
    return _LEVELS if torch.cpu._is_vnni_supported() else 64


@dataclass(frozen=True, slots=True)
class _Int8Linear:
    """The parts that both products of 8-bit integers share.

    Attributes:
        weight: opaque.
        bias: (out,) in float32.
        output: type of the result.
        rounding: of the input.
    """

    is_exact: ClassVar = False
    weight: Any
    bias: Tensor
    output: torch.dtype
    rounding: _Rounding

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 2 and x.dtype == self.output == torch.float32:
            return self.rows(x)
        return self.rows(x.reshape(-1, x.shape[-1]).float()).view(*x.shape[:-1], -1).to(self.output)

    def rows(self, x: Tensor) -> Tensor:
        """The layer in float32: (R, in) → (R, out)."""
        largest = self.rounding.largest(x)
        result = self.product(x, largest)
        # In place: fresh memory for the sum would cost more than the sum itself.
        return torch.addcmul(self.bias, result, largest, out=result)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        """Multiply rows (R, in) over their largest values (R, 1), rounded; returns (R, out), without scale and bias."""
        raise NotImplementedError


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros(len(weight), dtype=torch.float32, device=weight.device) if bias is None else bias.float()


@dataclass(frozen=True, slots=True)
class _FbgemmLinear(_Int8Linear):
    @staticmethod
    def of(
        weight: Tensor, bias: Tensor | None, output: torch.dtype = torch.float32, rounding: _Rounding = _SYMMETRIC
    ) -> _FbgemmLinear:
        rounded, scale = _rounded(weight, _weight_levels())
        zeros = torch.zeros(len(scale), dtype=torch.int32, device="cpu")
        quantised = torch._make_per_channel_quantized_tensor(rounded, scale, zeros, 0)
        packed = torch.ops.quantized.linear_prepack(quantised, None)
        return _FbgemmLinear(packed, _bias(bias, weight), output, rounding)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        result: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / self.rounding.levels, self.rounding.zero, self.weight
        )
        return result


@dataclass(frozen=True, slots=True)
class _OnednnLinear(_Int8Linear):
    scale: Tensor  # of each output
    zeros: Tensor

    @staticmethod
    def of(
        weight: Tensor, bias: Tensor | None, output: torch.dtype = torch.float32, rounding: _Rounding = _SYMMETRIC
    ) -> _OnednnLinear:
        rounded, scale = _rounded(weight, _weight_levels())
        packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        zeros = torch.zeros(len(scale), dtype=torch.int32, device="cpu")
        return _OnednnLinear(packed, _bias(bias, weight), output, rounding, scale, zeros)

    def product(self, rows: Tensor, largest: Tensor) -> Tensor:
        # The conversion truncates, so the half makes it round. Directly to bytes, torch converts number by number.
        zero, levels = self.rounding.zero, self.rounding.levels
        rounded = (rows * (levels / largest)).add_(zero + 0.5).to(torch.int16).to(torch.uint8)
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(rounded, 1 / levels, zero, self.weight, self.scale, self.zeros),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        return result


@dataclass(frozen=True, slots=True)
class _WeightOnlyLinear:
    """Integers in memory, floats in the product: for other devices and other versions of torch."""

    weight: Tensor  # int8
    scale: Tensor
    bias: Tensor | None
    output: torch.dtype

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None, output: torch.dtype) -> _WeightOnlyLinear:
        rounded, scale = _rounded(weight)
        return _WeightOnlyLinear(rounded, scale.to(weight.dtype), bias, output)

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None]  # scaled first: sums of integers would overflow float16
        return F.linear(x.to(weight.dtype), weight, self.bias).to(self.output)

    def in_float32(self) -> _WeightOnlyLinear:
        bias = None if self.bias is None else self.bias.float()
        # Keys and values in bfloat16 stay so: it has the range of float32.
        output = torch.bfloat16 if self.output == torch.bfloat16 else torch.float32
        return _WeightOnlyLinear(self.weight, self.scale.float(), bias, output)


def has_fast_product(dtype: torch.dtype) -> bool:
    """Whether torch has a fast product in this half precision on this processor.

    Without one, products take thirty times as long as in float32 in bfloat16 (x86 without AVX-512), and three times as
    long in float16.
    """
    return _works(_PackedLinear, dtype)


def _works(kind: type[_Kind], dtype: torch.dtype) -> bool:
    """Whether torch has the private operators of this kind of layer here, and they compute what `F.linear` does."""
    return _probed(kind, dtype, torch.backends.quantized.engine)  # which a program may change


@cache
def _probed(kind: type[_Kind], dtype: torch.dtype, engine: str) -> bool:  # noqa: ARG001 - another engine is probed anew
    generator = torch.Generator("cpu").manual_seed(0)
    shapes = ((96, 64), (96,), (3, 5, 64))
    weight, bias, x = (torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu") for shape in shapes)
    weight = weight.half().float()
    weight[0] = x[0, 0] = 1.0  # the largest sum, to see whether it overflows
    _silence_deprecations()
    try:
        # The user's autocast would round the expected values, and the answer is kept for the whole process.
        with torch.autocast("cpu", enabled=False):
            expected = F.linear(x, weight, bias)
            found = kind.of(weight.to(dtype), bias.to(dtype))(x.to(dtype))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False  # another torch or processor: the operators are missing, or take other arguments
    near = 1e-4 if kind.is_exact and dtype == torch.float32 else 0.05 * expected.abs().amax(-1, keepdim=True)
    return bool(((found.float() - expected).abs() <= near).all())
