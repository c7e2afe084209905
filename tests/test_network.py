"""The network on random weights: what a cached step computes, who influences whom, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.models import STRUCTURES, random_mel, random_network, random_tensors
from whisperlite.nn.attention import attend
from whisperlite.nn.build import HEAD, build_network, expected_shapes
from whisperlite.nn.cache import Cache
from whisperlite.nn.network import Convolution, Network

CPU = torch.device("cpu")
every_structure = pytest.mark.parametrize("structure", STRUCTURES)


def close(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def random_tokens(network: Network, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(network.dims.n_vocab, shape, generator=torch.Generator().manual_seed(seed))


def encoded(network: Network, *seeds: int) -> Tensor:
    """(B, S, C)"""
    return network.encoder(torch.stack([random_mel(network.dims, seed) for seed in seeds]))


def cache_of(network: Network, *windows: int, queries: int = 1, capacity: int = 32) -> Cache:
    cross = network.decoder.cross(encoded(network, *windows))
    return Cache.empty(cross, rows=len(windows) * queries, capacity=capacity)


def full_forward(network: Network, window: int, tokens: Tensor) -> Tensor:
    """Logits (T, V) of one row that is read at once, alone."""
    return network.decoder(tokens[None], cache_of(network, window, capacity=len(tokens)))[0][0]


@contextmanager
def memory_starts_as_nan() -> Iterator[None]:
    """What torch.empty returns is filled with NaN, instead of with whatever lay there."""
    torch.use_deterministic_algorithms(True)  # of which the filling is a part, on by default
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


# The cache


@every_structure
def test_token_by_token_gives_the_logits_of_the_full_forward(structure: str) -> None:
    network = random_network(structure)
    tokens = random_tokens(network, 9)
    cache = cache_of(network, 0)
    steps = []
    for token in tokens:
        logits, cache = network.decoder(token.view(1, 1), cache)
        steps.append(logits[0, 0])
    close(torch.stack(steps), full_forward(network, 0, tokens))


@settings(deadline=None, max_examples=40)
@given(
    structure=st.sampled_from(["base", "turbo"]),
    cuts=st.sets(st.integers(1, 23)),
    windows=st.integers(1, 3),
    queries=st.integers(1, 3),
    rows_at_once=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 1000),
)
def test_any_split_gives_the_logits_of_the_full_forward(
    structure: str, cuts: set[int], windows: int, queries: int, rows_at_once: int, seed: int
) -> None:
    network = random_network(structure)
    network = replace(network, decoder=replace(network.decoder, rows_at_once=rows_at_once))
    tokens = random_tokens(network, windows * queries, 24, seed=seed)
    cache = cache_of(network, *range(windows), queries=queries)
    parts = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 24], strict=True):
        logits, cache = network.decoder(tokens[:, begin:end], cache)
        parts.append(logits)
    assert cache.lengths == (24,) * windows * queries
    joined = torch.cat(parts, dim=1)
    for row in range(windows * queries):
        close(joined[row], full_forward(network, row // queries, tokens[row]))


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=2, max_size=6).filter(lambda lengths: len(lengths) % 2 == 0),
    steps=st.lists(st.integers(1, 18), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_rows_of_unequal_lengths_each_get_their_own_logits(lengths: list[int], steps: list[int], seed: int) -> None:
    network = random_network("base")
    windows, rows = range(len(lengths) // 2), len(lengths)
    start = random_tokens(network, rows, 12, seed=seed)
    cache = network.decoder(start, cache_of(network, *windows, queries=2, capacity=80))[1].truncated(tuple(lengths))
    histories = [start[row, :length] for row, length in enumerate(lengths)]
    for step, count in enumerate(steps):
        new = random_tokens(network, rows, count, seed=seed + step + 1)
        logits, cache = network.decoder(new, cache)
        histories = [torch.cat([history, added]) for history, added in zip(histories, new, strict=True)]
        for row in range(rows):
            close(logits[row], full_forward(network, row // 2, histories[row])[-count:])
    assert cache.lengths == tuple(map(len, histories))


def test_truncating_never_makes_a_row_longer() -> None:
    network = random_network("base")
    _, cache = network.decoder(random_tokens(network, 2, 5), cache_of(network, 0, 1))
    assert cache.truncated((3, 9)).lengths == (3, 5)


def test_moved_rows_continue_what_their_sources_hold() -> None:
    network = random_network("base")
    tokens, new = random_tokens(network, 3, 6), random_tokens(network, 3, 2, seed=1)
    tokens[:, :4] = tokens[0, :4]  # what they all begin with stays in place
    _, cache = network.decoder(tokens, cache_of(network, 0, queries=3))
    cache.move([0, 1], [2, 0], start=4)
    logits, _ = network.decoder(new, cache)
    for row, source in enumerate([2, 0, 2]):
        close(logits[row], full_forward(network, 0, torch.cat([tokens[source], new[row]]))[-2:])


def test_rows_of_other_devices_are_moved_as_those_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network("base")
    caches = [network.decoder(random_tokens(network, 4, 6), cache_of(network, 0, queries=4))[1] for _ in range(2)]
    caches[0].move([0, 3, 1], [3, 0, 0], start=2)
    with monkeypatch.context() as patch:
        patch.setattr("whisperlite.nn.cache.ONE_BY_ONE", ())
        caches[1].move([0, 3, 1], [3, 0, 0], start=2)
    assert torch.equal(caches[0].keys, caches[1].keys)
    assert torch.equal(caches[0].values, caches[1].values)


def test_what_lies_past_a_rows_length_has_no_influence() -> None:
    network = random_network("base")
    tokens, new = random_tokens(network, 2, 6), random_tokens(network, 2, 1, seed=1)
    with memory_starts_as_nan():
        _, cache = network.decoder(tokens, cache_of(network, 0, 1))
        logits, _ = network.decoder(new, cache.truncated((6, 2)))
    close(logits[1], full_forward(network, 1, torch.cat([tokens[1, :2], new[1]]))[-1:])


# Who influences whom


def test_a_rows_logits_do_not_depend_on_its_neighbours() -> None:
    network = random_network("base")
    tokens = random_tokens(network, 6, 8)
    others = random_tokens(network, 6, 8, seed=1)
    others[2] = tokens[2]
    first, _ = network.decoder(tokens, cache_of(network, 0, 1, 2, queries=2))
    second, _ = network.decoder(others, cache_of(network, 5, 1, 7, queries=2))
    assert torch.equal(first[2], second[2])
    assert not torch.allclose(first[3], second[3])


@every_structure
def test_a_window_is_encoded_alike_alone_and_among_others(structure: str) -> None:
    network = random_network(structure)
    together = encoded(network, 0, 1, 2)
    assert together.shape == (3, network.dims.n_audio_ctx, network.dims.n_audio_state)
    for window in range(3):
        close(together[window], encoded(network, window)[0])


def test_the_logits_depend_on_the_audio() -> None:
    network = random_network("base")
    tokens = random_tokens(network, 4)
    difference = full_forward(network, 0, tokens) - full_forward(network, 1, tokens)
    assert difference.abs().max() > 0.1


def test_threads_that_share_a_network_get_equal_results() -> None:
    network = random_network("large-v3")

    def decode(seed: int) -> Tensor:
        tokens, cache = random_tokens(network, 2, 6, seed=seed), cache_of(network, seed, queries=2)
        steps = []
        for t in range(6):
            logits, cache = network.decoder(tokens[:, t : t + 1], cache)
            steps.append(logits)
        return torch.cat(steps, dim=1)

    alone = [decode(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(decode, range(8)))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


# Precision and parts


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype) -> None:
    exact, half = random_network("base"), random_network("base", dtype=dtype)
    assert half.dtype == dtype
    tokens = random_tokens(exact, 12)
    mel = random_mel(exact.dims, 0)[None]
    cross = half.decoder.cross(half.encoder(mel.to(dtype)))
    assert cross.keys.dtype == dtype
    steps, cache = [], Cache.empty(cross, rows=1, capacity=12)
    for part in (tokens[:5], tokens[5:6], tokens[6:]):
        logits, cache = half.decoder(part[None], cache)
        steps.append(logits)
    logits = torch.cat(steps, dim=1)[0]
    assert logits.dtype == torch.float32
    assert F.cosine_similarity(logits, full_forward(exact, 0, tokens)).min() > 0.999


@pytest.mark.parametrize("queries", [1, 5, 16, 17, 40])
def test_attention_is_the_same_for_few_and_for_many_queries(queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(2, 3, n, 8, generator=generator) for n in (queries, 50, 50))
    seen = torch.arange(50) <= torch.arange(queries)[:, None] + 9
    for chosen in (None, seen):
        expected = F.scaled_dot_product_attention(query, keys, values, attn_mask=chosen)
        mask = None if chosen is None else torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[None, None]
        close(attend(query, keys, values, mask), expected)
        of_rows = None if mask is None else mask.expand(2, 3, -1, -1)
        close(attend(query, keys, values, of_rows), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_the_same_as_one_product(stride: int) -> None:
    """So it is computed where torch's own would round its inputs."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in ((6, 4, 3), (6,), (2, 4, 20)))
    convolution = Convolution(weight, bias, stride)
    close(convolution.as_product(x), convolution(x))
    assert convolution.as_product(x).shape == (2, 6, 20 // stride)


# What it is built from


@every_structure
def test_every_tensor_counts(structure: str) -> None:
    """Leaving out any tensor that a checkpoint has is noticed, by its name."""
    dims = STRUCTURES[structure]
    tensors = random_tensors(dims)
    for name in tensors:
        with pytest.raises(KeyError, match=name.replace(".", r"\.")):
            build_network(dims, {k: v for k, v in tensors.items() if k != name}, device=CPU, dtype=torch.float32)


def test_a_tensor_of_another_shape_is_refused_by_name() -> None:
    dims = STRUCTURES["base"]
    tensors = random_tensors(dims)
    for name, shape in expected_shapes(dims).items():
        wrong = tensors | {name: torch.zeros(*shape[:-1], shape[-1] + 1)}
        with pytest.raises(ValueError, match=rf"^{name} has the shape .*, expected \({shape[0]}"):
            build_network(dims, wrong, device=CPU, dtype=torch.float32)
        assert wrong.keys() == tensors.keys()


def test_what_has_found_its_place_is_let_go_of() -> None:
    tensors = random_tensors(STRUCTURES["base"]) | {"other": torch.zeros(1)}
    build_network(STRUCTURES["base"], tensors, device=CPU, dtype=torch.float32)
    assert tensors.keys() == {"other"}


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
@pytest.mark.parametrize("has_own_head", [False, True])
@pytest.mark.parametrize("kind", ["packed", "plain", "int8"])
def test_a_network_has_memory_of_its_own(
    stored: torch.dtype, has_own_head: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would change, or the process die, with the file that its tensors were mapped from."""
    if kind == "plain":
        monkeypatch.setattr("whisperlite.nn.linear._works", lambda *_: False)
    # Attention in float32, also of integers.
    monkeypatch.setattr("whisperlite.nn.build.has_fast_product", lambda _: False)
    dims = STRUCTURES["base"]
    tensors = {name: tensor.to(stored) for name, tensor in random_tensors(dims).items()}
    if has_own_head:
        tensors[HEAD] = tensors["decoder.token_embedding.weight"] * 0.5
    network = build_network(dims, dict(tensors), device=CPU, dtype=torch.float32, int8=kind == "int8")
    tokens = random_tokens(network, 3)
    before = full_forward(network, 0, tokens)
    for tensor in tensors.values():
        tensor.fill_(torch.nan)
    assert torch.equal(full_forward(network, 0, tokens), before)


@every_structure
@pytest.mark.parametrize("int8", [False, True])
def test_an_encoder_that_goes_part_by_part_gives_the_whole(
    structure: str, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 7 frames, and the last one shorter, of two windows."""
    dims = STRUCTURES[structure]
    network = build_network(dims, random_tensors(dims), device=CPU, dtype=torch.float32, int8=int8)
    mel = torch.stack([random_mel(dims, seed) for seed in (0, 1)])
    assert dims.n_audio_ctx % 7
    whole = network.encoder(mel)
    monkeypatch.setattr("whisperlite.nn.network._IN_CACHES", 4 * dims.n_audio_state * 7)
    close(network.encoder(mel), whole)


def test_weights_in_half_precision_are_computed_with_in_float32() -> None:
    dims = STRUCTURES["base"]
    halved = {name: tensor.half() for name, tensor in random_tensors(dims).items()}
    exact = {name: tensor.float() for name, tensor in halved.items()}
    one, other = (build_network(dims, tensors, device=CPU, dtype=torch.float32) for tensors in (halved, exact))
    tokens = random_tokens(one, 5)
    assert one.dtype == torch.float32
    assert torch.equal(full_forward(one, 0, tokens), full_forward(other, 0, tokens))


@pytest.mark.parametrize(
    ("n_vocab", "multilingual", "languages"), [(51864, False, 99), (51865, True, 99), (51866, True, 100)]
)
def test_the_vocabulary_tells_the_languages(n_vocab: int, multilingual: bool, languages: int) -> None:
    dims = replace(STRUCTURES["base"], n_vocab=n_vocab)
    assert (dims.is_multilingual, dims.num_languages) == (multilingual, languages)
