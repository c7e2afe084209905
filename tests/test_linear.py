"""Linear layers: every way to compute one against `F.linear`, row by row, and what takes over where one is missing."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.models import STRUCTURES, random_mel, random_network, random_tensors
from tests.small_whisper import DIMS, small_tensors
from whisperlite.nn import build as building
from whisperlite.nn import linear as module
from whisperlite.nn.build import _balanced, build_network, in_float32
from whisperlite.nn.cache import Cache
from whisperlite.nn.linear import (
    _AFTER_GELU,
    _SYMMETRIC,
    Linear,
    _FbgemmLinear,
    _HalvesLinear,
    _OnednnLinear,
    _PackedLinear,
    _PlainLinear,
    _probed,
    _rows_at_once,
    _SmallHalvesLinear,
    _weight_levels,
    _WeightOnlyLinear,
    _works,
    has_fast_product,
    linear,
    rows_at_once,
)
from whisperlite.nn.network import DecoderBlock, EncoderBlock, LayerNorm, Network

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def int8_layer(kind: Any) -> Callable[[Tensor, Tensor | None], Linear]:
    return lambda weight, bias: kind.of(weight, bias, torch.float32)


def needs(kind: Any, dtype: torch.dtype = torch.float32) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not _works(kind, dtype), reason="this torch or this processor does not have it")


def in_bfloat16(weight: Tensor, bias: Tensor | None) -> Linear:
    layer = _PackedLinear.of(weight.bfloat16(), None if bias is None else bias.bfloat16())
    return lambda x: layer(x.bfloat16())


INT8 = [pytest.param(int8_layer(kind), id=kind.__name__, marks=needs(kind)) for kind in (_FbgemmLinear, _OnednnLinear)]
HALVES = [pytest.param(kind.of, id=kind.__name__, marks=needs(kind)) for kind in (_HalvesLinear, _SmallHalvesLinear)]
EVERY_KIND = [
    pytest.param(_PlainLinear, id="_PlainLinear"),
    pytest.param(_PackedLinear.of, id="_PackedLinear", marks=needs(_PackedLinear)),
    pytest.param(in_bfloat16, id="bfloat16", marks=needs(_PackedLinear, torch.bfloat16)),
    *HALVES,
    *INT8,
    pytest.param(int8_layer(_WeightOnlyLinear), id="_WeightOnlyLinear"),
]
every_kind = pytest.mark.parametrize("make", EVERY_KIND)
every_int8 = pytest.mark.parametrize("make", INT8)
Make = Callable[[Tensor, Tensor | None], Linear]


def near(found: Tensor, expected: Tensor, *, levels: int = 127) -> None:
    """Within 2 % of the largest number, or 4 where weights are rounded to 64 levels of each sign."""
    assert found.shape == expected.shape
    assert_close(found.float(), expected, rtol=0.0, atol=0.02 * 127 / levels * float(expected.abs().max()))


def levels_of(make: Make) -> int:
    """That a weight is rounded to, if it is."""
    return _weight_levels() if any(make in parameter.values for parameter in INT8) else 127


# What it computes


@every_kind
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (2, 3, 5, 64), (64,)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_every_kind_computes_what_a_plain_one_does(make: Make, shape: tuple[int, ...], has_bias: bool) -> None:
    weight, x, bias = random(96, 64), random(*shape, seed=1), random(96, seed=2) if has_bias else None
    near(make(weight, bias)(x), F.linear(x, weight, bias), levels=levels_of(make))


@every_kind
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (3, 5), (17, 33), (80, 48), (1536, 512), (384, 1536)])
@pytest.mark.parametrize("rows", [1, 5, 130])
def test_every_kind_computes_any_size(make: Make, outputs: int, inputs: int, rows: int) -> None:
    weight, bias, x = random(outputs, inputs), random(outputs, seed=1), random(rows, inputs, seed=2)
    near(make(weight, bias)(x), F.linear(x, weight, bias), levels=levels_of(make))


@every_kind
def test_every_kind_takes_input_that_is_not_contiguous(make: Make) -> None:
    weight, x = random(80, 48), random(48, 9, 4, seed=1)
    layer = make(weight, None)
    for turned in (x.permute(2, 1, 0), x.permute(2, 1, 0)[:, ::2], x[:, 0].T, x[:, :, 0].T[3:7], x[:, 0, 0]):
        assert turned.ndim == 1 or not turned.is_contiguous()
        near(layer(turned), F.linear(turned, weight), levels=levels_of(make))


@every_kind
def test_input_and_weight_are_not_written_to(make: Make) -> None:
    weight, bias, x = random(32, 16), random(32), random(3, 16, seed=1)
    kept = [each.clone() for each in (weight, bias, x)]
    make(weight, bias)(x)
    assert all(torch.equal(one, other) for one, other in zip((weight, bias, x), kept, strict=True))


@every_kind
def test_the_weight_may_be_a_view(make: Make) -> None:
    whole, x = random(64, 96), random(4, 64, seed=1)
    near(make(whole.T, None)(x), F.linear(x, whole.T), levels=levels_of(make))
    near(make(whole[::2], None)(random(4, 96)), F.linear(random(4, 96), whole[::2]), levels=levels_of(make))


# Rows on their own

row_by_row = pytest.mark.parametrize("make", [*INT8, *HALVES])


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    scales=st.lists(st.sampled_from([0.0, 1e-6, 0.01, 1.0, 1e3, 1e8]), min_size=40, max_size=40),
    seed=st.integers(0, 1000),
)
@row_by_row
def test_a_row_is_the_same_to_the_bit_whatever_it_is_computed_with(
    make: Make, rows: int, scales: list[float], seed: int
) -> None:
    weight, bias = random(96, 64), random(96, seed=1)
    x = random(rows, 64, seed=seed + 2) * torch.tensor(scales[:rows])[:, None]
    layer = make(weight, bias)
    together = layer(x)
    for row in range(rows):
        assert torch.equal(together[row], layer(x[row : row + 1])[0])


@row_by_row
@pytest.mark.parametrize("rows", [300, 1500])
def test_a_row_of_a_window_is_the_same_as_alone(make: Make, rows: int) -> None:
    """So many rows are divided otherwise among registers and threads."""
    layer, x = make(random(512, 512), random(512)), random(rows, 512, seed=1)
    together = layer(x)
    for row in (0, 1, 7, 130, rows - 1):
        assert torch.equal(together[row], layer(x[row : row + 1])[0])
    assert torch.equal(together, layer(x.view(4, -1, 512)).view(rows, 512))


# 8 bits


@every_int8
def test_a_row_of_zeros_gives_the_bias(make: Make) -> None:
    bias, x = random(96, seed=1), random(3, 64, seed=2)
    x[1] = 0.0
    assert torch.equal(make(random(96, 64), bias)(x)[1], bias)
    assert torch.equal(make(random(96, 64), None)(x)[1], torch.zeros(96))


@every_int8
def test_a_row_is_rounded_by_its_own_largest_number(make: Make) -> None:
    weight, x = random(96, 64), random(4, 64, seed=1)
    scaled = x * torch.tensor([1e-8, 1.0, 1e4, 1e8])[:, None]
    found, expected = make(weight, None)(scaled), F.linear(scaled, weight)
    for row in range(4):
        near(found[row], expected[row], levels=levels_of(make))


@every_int8
def test_an_output_is_rounded_by_its_own_largest_weight(make: Make) -> None:
    weight, x = random(96, 64), random(4, 64, seed=1)
    weight[0] *= 1e5
    weight[1] *= 1e-5
    weight[2] = 0.0
    found, expected = make(weight, None)(x), F.linear(x, weight)
    for output in (0, 1, 3, slice(4, None)):
        near(found[:, output], expected[:, output], levels=levels_of(make))
    assert torch.equal(found[:, 2], torch.zeros(4))


@every_int8
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_row_that_is_not_finite_stays_so_and_alone(make: Make, wrong: float) -> None:
    x = random(3, 64)
    x[1, 5] = wrong
    layer = make(random(96, 64), random(96))
    found = layer(x)
    assert not found[1].isfinite().any()
    assert torch.equal(found[[0, 2]], layer(x[[0, 2]]))


@every_int8
def test_the_largest_products_do_not_overflow(make: Make) -> None:
    """Without 8-bit dot products two of them are added up in 16 bits; so weights have fewer levels there."""
    weight = random(16, 4096).sign()
    weight[0], weight[1] = 1.0, -1.0
    for x in (torch.ones(2, 4096), -torch.ones(2, 4096), weight):
        assert_close(make(weight, None)(x), F.linear(x, weight), rtol=1e-5, atol=1e-3)


@pytest.mark.usefixtures("probes")
@needs(_FbgemmLinear)
@needs(_OnednnLinear)
def test_without_8_bit_dot_products_no_two_products_can_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    for rounding in (_SYMMETRIC, _AFTER_GELU):
        assert 2 * (rounding.zero + rounding.levels) * _weight_levels() < 2**15
    weight, x = random(96, 64), random(5, 64, seed=1)
    for kind in (_FbgemmLinear, _OnednnLinear):
        near(kind.of(weight, None, torch.float32)(x), F.linear(x, weight), levels=_weight_levels())


every_product = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs(kind)) for kind in (_FbgemmLinear, _OnednnLinear)]
)


def error_after_gelu(kind: Any, rounding: Any, x: Tensor) -> Tensor:
    """The error of each row, as a share of the row's result; the weight is one that can be rounded without error."""
    weight = random(96, 256).sign()
    expected = F.linear(F.gelu(x), weight)
    found = kind.of(weight, None, torch.float32, rounding)(F.gelu(x))
    error: Tensor = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    return error


@every_product
@pytest.mark.parametrize(("size", "least"), [(1.0, 0.7), (3.0, 0.6), (1000.0, 0.6)])
def test_after_a_gelu_rounding_is_finer(kind: Any, size: float, least: float) -> None:
    x = random(50, 256, seed=1) * size
    finer, coarser = (error_after_gelu(kind, rounding, x).mean() for rounding in (_AFTER_GELU, _SYMMETRIC))
    assert 0 < finer < least * coarser


@every_product
def test_after_a_gelu_nothing_is_cut_off(kind: Any) -> None:
    """Its least value is -0.16997, at -0.7518."""
    lowest = torch.full((1, 256), -0.7518)
    one_positive = lowest.clone()
    one_positive[0, 0] = 0.01
    for x in (lowest, one_positive):
        assert error_after_gelu(kind, _AFTER_GELU, x).item() < 0.03


def test_only_the_layer_after_a_gelu_is_rounded_for_it() -> None:
    network = int8_network(random_tensors(STRUCTURES["base"]))
    blocks: tuple[EncoderBlock | DecoderBlock, ...] = network.encoder.blocks + network.decoder.blocks
    for block in blocks:
        layers = {"expand": block.mlp.expand, "contract": block.mlp.contract, "out": block.attention.out}
        rounded = {name for name, layer in layers.items() if getattr(layer, "rounding", None) is _AFTER_GELU}
        assert rounded <= {"contract"}
        assert rounded or isinstance(block.mlp.contract, _WeightOnlyLinear)


@pytest.mark.parametrize("kind", [_FbgemmLinear, _OnednnLinear, _WeightOnlyLinear])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("output", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_and_results_may_be_of_any_type(kind: Any, dtype: torch.dtype, output: torch.dtype) -> None:
    if kind is not _WeightOnlyLinear and not _works(kind, torch.float32):
        pytest.skip("this torch or this processor does not have it")
    weight, bias, x = random(96, 64).to(dtype), random(96).to(dtype), random(5, 64, seed=1).to(dtype)
    found = kind.of(weight, bias, output)(x)
    assert found.dtype == output
    levels = 127 if kind is _WeightOnlyLinear else _weight_levels()
    near(found, F.linear(x.float(), weight.float(), bias.float()), levels=levels)


# Halves


@pytest.mark.parametrize("make", HALVES)
@pytest.mark.parametrize("rows", [1, 5, 40, 300])
def test_a_weight_of_halves_loses_nothing_by_being_kept_as_such(make: Make, rows: int) -> None:
    """Of the smallest, which 11 bits cannot hold, to the largest."""
    weight = (random(96, 512) * torch.logspace(-7, 4, 96)[:, None]).half().float()
    bias, x = random(96, seed=1), random(rows, 512, seed=2)
    expected = F.linear(x.double(), weight.double(), bias.double())
    size = F.linear(x.double().abs(), weight.double().abs(), bias.double().abs())
    assert ((make(weight, bias)(x) - expected).abs() <= 1e-5 * size).all()


@needs(_SmallHalvesLinear)
@pytest.mark.parametrize("rows", [1, 2, 8, 40])
def test_what_is_small_is_computed_by_another_operator_to_the_same_bits(rows: int) -> None:
    weight, bias, x = random(512, 512).half().float(), random(512, seed=1), random(rows, 512, seed=2)
    small = linear(weight, bias, few_rows=True)
    assert type(small) is _SmallHalvesLinear
    assert chosen(random(2048, 512).half().float()) is _HalvesLinear
    assert torch.equal(small(x), _HalvesLinear.of(weight, bias)(x))


@needs(_HalvesLinear)
@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("name", ["fbgemm_pack_gemm_matrix_fp16", "fbgemm_linear_fp16_weight"])
def test_without_the_older_operator_what_is_small_runs_as_the_rest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, name, raising=False)
    assert chosen(random(4, 4).half().float()) is _HalvesLinear


def test_that_torch_means_to_take_operators_out_is_not_said_to_users() -> None:
    """It says so once in a process, so this is a new one."""
    code = (
        "import torch; from whisperlite.nn.linear import linear\n"
        "for int8 in (False, True):\n"
        "    linear(torch.ones(4, 4), torch.ones(4), few_rows=True, int8=int8)(torch.ones(1, 4))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_filter_that_another_thread_sets_while_operators_are_probed_stays() -> None:
    class Meanwhile:
        is_exact: ClassVar = False

        @staticmethod
        def of(*_: object) -> Linear:
            warnings.filterwarnings("ignore", "of another thread")
            raise NotImplementedError

    assert not _works(Meanwhile, torch.float32)
    warnings.warn("of another thread", stacklevel=1)  # an error in these tests, but for that filter


@needs(_HalvesLinear)
def test_a_list_is_as_long_as_its_layers_compute_at_once() -> None:
    layers: list[Linear] = [_HalvesLinear.of(random(8, 8), None), _PlainLinear(random(8, 8), None)]
    assert rows_at_once(layers) == _rows_at_once()
    assert rows_at_once(layers[1:]) == rows_at_once([]) == 1
    for halves, expected in ((True, _rows_at_once()), (False, 1)):
        tensors = random_tensors(STRUCTURES["base"])
        tensors = {name: tensor.half().float() if halves else tensor for name, tensor in tensors.items()}
        network = build_network(STRUCTURES["base"], tensors, device=CPU, dtype=torch.float32)
        assert network.decoder.rows_at_once == expected


@needs(_SmallHalvesLinear)
def test_many_rows_of_what_is_small_run_on_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear(random(64, 64).half().float(), None, few_rows=True)
    few, many = random(24, 64), random(48, 64)
    expected = layer(few), layer(many)
    monkeypatch.delattr(torch, "fbgemm_linear_fp16_weight")
    assert torch.equal(layer(many), expected[1])
    with pytest.raises(AttributeError):
        layer(few)


@needs(_HalvesLinear)
@pytest.mark.parametrize("number", [1 + 2**-11, 2.0**-25, 65520.0, -70000.0, float("inf"), float("nan")])
def test_a_weight_with_one_number_that_is_no_half_is_kept_in_float32(number: float) -> None:
    weight = random(5000, 8).half().float()
    assert issubclass(chosen(weight), _HalvesLinear)
    weight[-1, -1] = number
    assert not issubclass(chosen(weight), _HalvesLinear)


@needs(_HalvesLinear)
@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_where_the_order_of_a_sum_depends_on_how_many_rows_there_are_they_are_filled_up(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if of an odd product, of rows that are no multiple, every number were a little larger."""

    def product(x: Tensor, weight: Any) -> Tensor:
        counts.append(len(x))
        result: Tensor = packed(x, weight) * (1.0 if len(x) % step == 0 else 1.001)
        return result

    packed, counts = torch.ops.quantized.linear_dynamic_fp16, list[int]()
    least = _rows_at_once()
    monkeypatch.setattr(torch.ops.quantized, "linear_dynamic_fp16", product)
    _rows_at_once.cache_clear()
    weight, x = random(96, 64), random(7, 64, seed=1)
    layer = _HalvesLinear.of(weight, None)
    assert layer.rows_at_once == math.lcm(least, step)
    counts.clear()
    for rows in range(1, 8):
        assert_close(layer(x[:rows]), F.linear(x[:rows], weight.half().float()))
    assert all(count % step == 0 for count in counts)


@needs(_HalvesLinear)
@pytest.mark.usefixtures("probes")
def test_where_no_number_of_rows_will_do_halves_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = torch.ops.quantized.linear_dynamic_fp16
    monkeypatch.setattr(
        torch.ops.quantized, "linear_dynamic_fp16", lambda x, weight: packed(x, weight) * (1 + 1e-6 * len(x))
    )
    assert not _works(_HalvesLinear, torch.float32)


# Which one it is


@pytest.fixture
def probes() -> Iterator[None]:
    """What was found out about this torch is forgotten before and after."""
    caches = (_probed, _weight_levels, _rows_at_once)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


def chosen(weight: Tensor, *, few_rows: bool = True, int8: bool = False) -> type[Any]:
    return type(linear(weight, None, few_rows=few_rows, int8=int8))


ERRORS = [AttributeError, NotImplementedError, RuntimeError, TypeError]


def break_kind(kind: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise error("no such operator")

    monkeypatch.setattr(kind, "of", staticmethod(missing))


def test_what_is_packed_and_what_is_not() -> None:
    packed = _PackedLinear if torch._C._has_mkldnn else _PlainLinear
    assert chosen(random(4, 4)) is packed
    of_halves = chosen(random(4, 4).half().float())
    assert issubclass(of_halves, _HalvesLinear) if _works(_HalvesLinear, torch.float32) else of_halves is packed
    assert chosen(random(4, 4).half().float(), few_rows=False) is _PlainLinear
    assert chosen(random(4, 4), few_rows=False) is _PlainLinear
    assert chosen(random(4, 4).half()) is _PlainLinear
    in_half = _PackedLinear if _works(_PackedLinear, torch.bfloat16) else _PlainLinear
    assert chosen(random(4, 4).bfloat16()) is in_half
    assert chosen(random(4, 4).bfloat16(), few_rows=False) is in_half
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert chosen(torch.empty(4, 4, dtype=dtype, device="meta")) is _PlainLinear


@needs(_FbgemmLinear)
@needs(_OnednnLinear)
def test_8_bits_are_multiplied_by_what_is_faster_for_so_many_rows() -> None:
    assert chosen(random(4, 4), int8=True) is _FbgemmLinear
    assert chosen(random(4, 4), int8=True, few_rows=False) is _OnednnLinear
    assert chosen(torch.empty(4, 4, device="meta"), int8=True) is _WeightOnlyLinear


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.usefixtures("probes")
def test_without_its_operators_a_packed_layer_is_a_plain_one(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_kind(_HalvesLinear, error, monkeypatch)
    assert chosen(random(4, 4).half().float()) is chosen(random(4, 4))
    break_kind(_PackedLinear, error, monkeypatch)
    _probed.cache_clear()
    weights = (random(4, 4), random(4, 4).half().float(), random(4, 4).bfloat16())
    assert {chosen(weight) for weight in weights} == {_PlainLinear}


@pytest.mark.usefixtures("probes")
@needs(_HalvesLinear)
@pytest.mark.skipif("onednn" not in torch.backends.quantized.supported_engines, reason="there is no other engine")
def test_where_a_program_chooses_another_engine_another_kind_takes_over() -> None:
    before = torch.backends.quantized.engine
    halves = random(4, 4).half().float()
    assert issubclass(chosen(halves), _HalvesLinear)
    try:
        torch.backends.quantized.engine = "onednn"
        assert chosen(halves) is chosen(random(4, 4))
    finally:
        torch.backends.quantized.engine = before
    assert issubclass(chosen(halves), _HalvesLinear)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.usefixtures("probes")
@needs(_FbgemmLinear)
@needs(_OnednnLinear)
def test_without_its_operators_the_next_best_of_8_bits_takes_over(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        break_kind(_FbgemmLinear, error, patches)
        assert chosen(random(4, 4), int8=True) is _OnednnLinear
        break_kind(_OnednnLinear, error, patches)
        _probed.cache_clear()
        assert chosen(random(4, 4), int8=True) is _WeightOnlyLinear
        assert chosen(random(4, 4), int8=True, few_rows=False) is _WeightOnlyLinear
    _probed.cache_clear()
    break_kind(_OnednnLinear, error, monkeypatch)
    assert chosen(random(4, 4), int8=True, few_rows=False) is _FbgemmLinear


@pytest.mark.usefixtures("probes")
@needs(_FbgemmLinear)
@needs(_OnednnLinear)
def test_operators_that_compute_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def transposed(self: Any, rows: Tensor, step: Tensor) -> Tensor:
        return product(self, rows, step).flip(-1)

    product = _FbgemmLinear.product
    monkeypatch.setattr(_FbgemmLinear, "product", transposed)
    monkeypatch.setattr(_PackedLinear, "__call__", lambda self, x: F.linear(x, self.weight.to_dense()) + 1.0)
    assert chosen(random(4, 4), int8=True) is _OnednnLinear
    assert chosen(random(4, 4)) is chosen(random(4, 4).bfloat16()) is _PlainLinear


# In float32, for what overflows


@needs(_PackedLinear, torch.bfloat16)
def test_a_packed_layer_in_bfloat16_has_the_same_weights_in_float32() -> None:
    weight, bias, x = random(96, 64).bfloat16(), random(96).bfloat16(), random(5, 64, seed=1)
    layer = linear(weight, bias, few_rows=True)
    assert isinstance(layer, _PackedLinear)
    exact = layer.in_float32()
    assert torch.equal(exact.weight.to_dense(), weight.float())
    assert_close(exact(x), F.linear(x, weight.float(), bias.float()), rtol=1e-5, atol=1e-5)
    assert torch.equal(_PlainLinear(weight, None).in_float32().weight, weight.float())


def test_8_bits_for_other_devices_give_in_float32_what_float16_has_no_room_for() -> None:
    weight, bias, x = random(96, 64).half(), random(96).half(), random(5, 64, seed=1) * 1e4
    layer = _WeightOnlyLinear.of(weight, bias, torch.float16)
    assert layer(x.half()).isinf().any()
    found = layer.in_float32()(x)
    assert found.dtype == torch.float32
    near(found, F.linear(x, weight.float(), bias.float()))
    # What attention looks at is in bfloat16, which has the room.
    assert _WeightOnlyLinear.of(weight, bias, torch.bfloat16).in_float32()(x).dtype == torch.bfloat16


def test_8_bits_for_other_devices_fit_into_float16_where_the_result_does() -> None:
    """In Whisper the sums of integers, times their input, pass 65504 every day."""
    weight, x = random(96, 64).half() / 64, random(5, 64, seed=1).half() * 500
    near(_WeightOnlyLinear.of(weight, None, torch.float16)(x), F.linear(x.float(), weight.float()))


# A network of them


def int8_network(tensors: dict[str, Tensor], *, dtype: torch.dtype = torch.float32, structure: str = "base") -> Network:
    return build_network(STRUCTURES[structure], tensors, device=CPU, dtype=dtype, int8=True)


def logits_of(network: Network, mel: Tensor) -> Tensor:
    """(T, V) after some tokens that were read in parts."""
    tokens = torch.randint(network.dims.n_vocab, (1, 12), generator=torch.Generator().manual_seed(0))
    cross = network.decoder.cross(network.encoder(mel.to(network.dtype)))
    cache = Cache.empty(cross, rows=1, capacity=12, dtype=network.dtype)
    parts = []
    for part in (tokens[:, :5], tokens[:, 5:6], tokens[:, 6:]):
        logits, cache = network.decoder(part, cache)
        parts.append(logits[0])
    return torch.cat(parts)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_network_of_8_bits_stays_near_float32(structure: str) -> None:
    exact = random_network(structure)
    network = int8_network(random_tensors(STRUCTURES[structure]), structure=structure)
    mel = random_mel(exact.dims, 0)[None]
    logits = logits_of(network, mel)
    assert (network.dtype, logits.dtype) == (torch.float32, torch.float32)
    assert F.cosine_similarity(logits, logits_of(exact, mel)).min() > 0.99


def test_a_few_large_numbers_before_the_output_head_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `base`, whose last norm gives one number of 389 where most are near 5."""
    tensors = random_tensors(STRUCTURES["base"])
    scale = tensors["decoder.ln.weight"]
    scale[3], scale[5] = 100.0, -40.0
    tensors["decoder.token_embedding.weight"][:, [3, 5]] *= 0.02
    tensors["decoder.ln.bias"] += 0.5
    exact = build_network(STRUCTURES["base"], dict(tensors), device=CPU, dtype=torch.float32)
    mel = random_mel(exact.dims, 0)[None]
    expected = logits_of(exact, mel)

    def error() -> float:
        return float((logits_of(int8_network(dict(tensors)), mel) - expected).norm() / expected.norm())

    balanced = error()
    monkeypatch.setattr(building, "_balanced", lambda norm, weight: (norm, weight, None))
    assert balanced < 0.7 * error()


def test_a_norm_and_its_layer_give_the_same_when_they_are_balanced() -> None:
    scale, bias, weight, x = random(64), random(64, seed=1), random(96, 64, seed=2), random(5, 64, seed=3)
    scale[7] = 0.0
    norm = LayerNorm(scale, bias)
    balanced, heavier, moved = _balanced(norm, weight)
    assert not balanced.bias.any()
    assert_close(F.linear(balanced(x), heavier, moved), F.linear(norm(x), weight), rtol=1e-4, atol=1e-4)


def test_a_network_of_8_bits_holds_its_linear_weights_in_no_other_type() -> None:
    network = int8_network(random_tensors(STRUCTURES["base"]))
    blocks: tuple[EncoderBlock | DecoderBlock, ...] = network.encoder.blocks + network.decoder.blocks
    for block in blocks:
        for layer in (block.attention.query_key_value, block.attention.out, block.mlp.expand, block.mlp.contract):
            assert isinstance(layer, (_FbgemmLinear, _OnednnLinear, _WeightOnlyLinear))
    keys = network.decoder.cross(torch.zeros(1, 20, 64)).keys
    assert keys.dtype == (torch.bfloat16 if has_fast_product(torch.bfloat16) else torch.float32)


@pytest.mark.usefixtures("probes")
def test_where_bfloat16_is_slow_attention_looks_at_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    break_kind(_PackedLinear, RuntimeError, monkeypatch)
    assert not has_fast_product(torch.bfloat16)
    network = int8_network(random_tensors(STRUCTURES["base"]))
    assert network.decoder.cross(torch.zeros(1, 20, 64)).keys.dtype == torch.float32
    attention = network.encoder.blocks[0].attention
    assert attention.query_key_value(torch.zeros(1, 20, 64)).dtype == torch.float32


def test_where_8_bits_overflow_in_float16_float32_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other devices, where everything but the weights is in float16."""
    monkeypatch.setattr(module, "_works", lambda *_: False)
    tensors = small_tensors(overflows=True)
    network = build_network(DIMS, dict(tensors), device=CPU, dtype=torch.float16, int8=True)
    mel = random_mel(DIMS, 0)[None]
    assert not logits_of(network, mel).isfinite().all()
    exact = build_network(DIMS, tensors, device=CPU, dtype=torch.float32)
    found = logits_of(in_float32(network), mel)
    assert found.isfinite().all()
    assert F.cosine_similarity(found, logits_of(exact, mel)).min() > 0.98
