"""When each token was said: the path through attention, against the same written down a cell at a time."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from tests.models import STRUCTURES, random_mel, random_network, random_tensors
from whisperlite.checkpoints.alignment_heads import choose_heads
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.decoding.alignment import (
    _EXCHANGES,
    align,
    attention_matrix,
    first_frames,
    median_of_seven,
)
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.nn.cache import Cache
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer

Matrix = npt.NDArray[np.float64]


# Dynamic time warping


def literal_path(cost: Matrix) -> tuple[list[tuple[int, int]], float]:
    """The cheapest path from the upper left to the lower right corner, and what it costs."""
    rows, columns = cost.shape
    totals: dict[tuple[int, int], float] = {}
    origins: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in itertools.product(range(rows), range(columns)):
        # In the order of preference: both, down, right.
        before = [cell for cell in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if cell in totals]
        if before:
            origins[i, j] = min(before, key=totals.__getitem__)  # the first of equals
        totals[i, j] = float(cost[i, j]) + (totals[origins[i, j]] if before else 0.0)
    path = [(rows - 1, columns - 1)]
    while path[-1] in origins:
        path.append(origins[path[-1]])
    return path[::-1], totals[rows - 1, columns - 1]


def literal_first_frames(cost: Matrix) -> list[int]:
    path, _ = literal_path(cost)
    return [min(column for at, column in path if at == row) for row in range(len(cost))]


def cheapest_through(cost: Matrix, first: Sequence[int]) -> float:
    """The cost of the cheapest path whose rows begin in these columns."""
    total = 0.0
    for row, (begin, after) in enumerate(zip(first, [*first[1:], cost.shape[1]], strict=True)):
        if begin == after:
            total += cost[row, begin]
        else:
            total += cost[row, begin:after].sum()
            if row < len(cost) - 1:
                total += min(cost[row, after], 0.0)  # it may go down in that column instead of in both at once
    return total


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
whole = arrays.arrays(np.float64, shapes, elements=st.integers(-3, 3).map(float))
fractions = arrays.arrays(np.float64, shapes, elements=st.floats(-100, 100))


@settings(deadline=None, max_examples=300)
@given(whole)
def test_the_path_is_the_literal_one_also_where_steps_are_equally_cheap(cost: Matrix) -> None:
    assert first_frames(cost).tolist() == literal_first_frames(cost)


@settings(deadline=None, max_examples=200)
@given(fractions)
def test_no_path_is_cheaper(cost: Matrix) -> None:
    first = first_frames(cost).tolist()
    assert cheapest_through(cost, first) == pytest.approx(literal_path(cost)[1], abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(whole | fractions)
def test_rows_begin_at_the_first_column_and_never_before_the_row_above(cost: Matrix) -> None:
    first = first_frames(cost).tolist()
    assert len(first) == len(cost)
    assert first[0] == 0
    assert first == sorted(first)
    assert first[-1] < cost.shape[1]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ([[5.0]], [0]),
        ([[1.0, 1.0, 1.0]], [0]),
        ([[1.0], [2.0], [3.0]], [0, 0, 0]),
        ([[0, 0], [0, 0]], [0, 1]),  # both at once before down and right
        ([[0, 1], [0, 0], [0, 0]], [0, 0, 1]),
        ([[-1, -1, 0, 0, 0], [0, 0, -1, 0, 0], [0, 0, 0, -1, -1]], [0, 2, 3]),
        ([[0, 9, 9], [9, 0, 9], [9, 9, 0]], [0, 1, 2]),
    ],
)
def test_paths_by_hand(cost: list[list[float]], expected: list[int]) -> None:
    assert first_frames(np.array(cost, dtype=np.float64)).tolist() == expected


@pytest.mark.parametrize("shape", [(100, 1500), (3, 200), (200, 3), (60, 60)])
def test_the_path_of_a_large_matrix_is_as_cheap_as_the_literal_one(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(sum(shape)).standard_normal(shape)
    assert cheapest_through(cost, first_frames(cost).tolist()) == pytest.approx(literal_path(cost)[1], abs=1e-8)


def test_the_path_of_a_full_window_takes_less_than_ten_milliseconds() -> None:
    """A hundred tokens over thirty seconds; a cell at a time it is a tenth of a second or more."""
    cost = np.random.default_rng(0).standard_normal((100, 1500))
    took = []
    for _ in range(30):
        began = time.perf_counter()
        first_frames(cost)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.01


# The median filter


def literal_median(row: Sequence[float]) -> list[float]:
    """Width 7, mirrored at the ends (the last value itself is not repeated)."""
    if len(row) <= 3:
        return list(row)
    padded = [*row[3:0:-1], *row, *row[-2:-5:-1]]
    return [sorted(padded[i : i + 7])[3] for i in range(len(row))]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_the_median_is_that_of_the_sorted_seven(row: list[float], copies: int) -> None:
    x = torch.tensor(row, dtype=torch.float32).repeat(2, copies, 1)
    expected = literal_median([float(np.float32(value)) for value in row])
    assert torch.equal(median_of_seven(x), torch.tensor(expected).repeat(2, copies, 1))


def test_the_exchanges_bring_the_median_to_the_fourth_place() -> None:
    """If they do so for all values of 0 and 1 they do for all values (Knuth, the zero-one principle)."""
    for values in itertools.product((0, 1), repeat=7):
        found = list(values)
        for low, high in _EXCHANGES:
            found[low], found[high] = min(found[low], found[high]), max(found[low], found[high])
        assert found[3] == sorted(values)[3], values


def test_the_median_leaves_its_argument_alone() -> None:
    x = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    median_of_seven(x)
    assert torch.equal(x, before)


# The matrix


def literal_matrix(scores: Matrix, n_frames: int) -> Matrix:
    """(N, T, S) → (T, n_frames), a head, a frame, a token at a time."""
    heads, tokens, _ = scores.shape
    total: Matrix = np.zeros((tokens, n_frames))
    for head in range(heads):
        weights = np.exp(scores[head, :, :n_frames])
        weights /= weights.sum(1, keepdims=True)
        for frame in range(n_frames):
            column = weights[:, frame]
            mean = column.sum() / tokens
            deviation = math.sqrt(((column - mean) ** 2).sum() / tokens)
            weights[:, frame] = (column - mean) / deviation if deviation > 0 else 0.0
        total += np.array([literal_median(row.tolist()) for row in weights])
    averaged: Matrix = total / heads
    return averaged


@pytest.mark.parametrize(("tokens", "n_frames"), [(1, 20), (6, 20), (6, 11), (4, 3), (5, 1)])
def test_the_matrix_is_the_literal_one(tokens: int, n_frames: int) -> None:
    scores = torch.randn(3, tokens, 20, generator=torch.Generator().manual_seed(tokens + n_frames))
    found = attention_matrix(scores, n_frames=n_frames).numpy()
    np.testing.assert_allclose(found, literal_matrix(scores.double().numpy(), n_frames), atol=2e-4)


def test_a_frame_that_all_tokens_look_at_alike_says_nothing__correction_12() -> None:
    scores = torch.zeros(2, 5, 9)
    scores[1, :, 4] = 3.0  # the same in every row: all columns have one value
    assert attention_matrix(scores, n_frames=9).eq(0).all()


def test_one_such_frame_leaves_the_others_finite__correction_12() -> None:
    scores = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(0))
    scores[:, :, 3] = -torch.inf  # a weight of exactly 0 under all tokens
    matrix = attention_matrix(scores, n_frames=9)
    assert matrix.isfinite().all()
    assert matrix.abs().sum() > 0


def test_frames_behind_the_content_have_no_part() -> None:
    scores = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    changed = scores.clone()
    changed[..., 8:] = 50.0
    assert torch.equal(attention_matrix(scores, n_frames=8), attention_matrix(changed, n_frames=8))


# Scores, from the network


def literal_scores(
    dims: ModelDimensions, tensors: dict[str, Tensor], encoded: Tensor, tokens: Sequence[int]
) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
    """A decoder written down in float64: the hidden states (T, C), and (layer, head) → scores (T, S)."""
    weights = {name: tensor.double() for name, tensor in tensors.items() if name.startswith("decoder.")}
    width = dims.n_text_state // dims.n_text_head

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def project(name: str, x: Tensor) -> Tensor:
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def attention(name: str, x: Tensor, source: Tensor, *, causal: bool) -> tuple[Tensor, list[Tensor]]:
        query, key, value = (
            project(f"{name}.query", x),
            project(f"{name}.key", source),
            project(f"{name}.value", source),
        )
        found, attended = [], []
        for head in range(dims.n_text_head):
            own = slice(head * width, (head + 1) * width)
            scores = query[:, own] @ key[:, own].T / math.sqrt(width)
            found.append(scores)
            if causal:
                scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            attended.append(scores.softmax(-1) @ value[:, own])
        return project(f"{name}.out", torch.cat(attended, -1)), found

    x = weights["decoder.token_embedding.weight"][list(tokens)]
    x = x + weights["decoder.positional_embedding"][: len(tokens)]
    source = encoded.double()
    scores: dict[tuple[int, int], Tensor] = {}
    for layer in range(dims.n_text_layer):
        block = f"decoder.blocks.{layer}"
        own = norm(f"{block}.attn_ln", x)
        x = x + attention(f"{block}.attn", own, own, causal=True)[0]
        attended, found = attention(f"{block}.cross_attn", norm(f"{block}.cross_attn_ln", x), source, causal=False)
        scores |= {(layer, head): each for head, each in enumerate(found)}
        x = x + attended
        x = x + project(f"{block}.mlp.2", F.gelu(project(f"{block}.mlp.0", norm(f"{block}.mlp_ln", x))))
    return norm("decoder.ln", x), scores


TOKENS = (50258, 50259, 50359, 50363, 300, 17, 4000, 4001, 9, 300, 50257)
ALL_HEADS = [(1, 1), (0, 0), (1, 0), (0, 1)]


def fresh_cache(structure: str, seed: int, capacity: int) -> tuple[Tensor, Cache]:
    network = random_network(structure)
    encoded = network.encoder(random_mel(network.dims, seed)[None])
    return encoded[0], Cache.empty(network.decoder.cross(encoded), rows=1, capacity=capacity)


@pytest.mark.parametrize("rows_at_once", [1, 4])
@pytest.mark.parametrize("structure", ["base", "large-v3", "turbo"])
def test_reading_with_scores_gives_the_hidden_states_of_reading_without(structure: str, rows_at_once: int) -> None:
    network = random_network(structure)
    tokens = torch.tensor([TOKENS])
    expected, _ = network.decoder.hidden(tokens, fresh_cache(structure, 0, len(TOKENS))[1])
    decoder = replace(network.decoder, rows_at_once=rows_at_once)
    hidden, _ = decoder.aligned(tokens, fresh_cache(structure, 0, len(TOKENS))[1], [(0, 1)])
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [*itertools.permutations(ALL_HEADS, 2), tuple(ALL_HEADS), ((1, 0),)])
def test_scores_are_those_of_attention_by_hand_for_heads_in_any_order(heads: Sequence[tuple[int, int]]) -> None:
    network, dims = random_network("base"), STRUCTURES["base"]
    encoded, cache = fresh_cache("base", 3, len(TOKENS))
    hidden, scores = network.decoder.aligned(torch.tensor([TOKENS]), cache, heads)
    expected_hidden, expected = literal_scores(dims, random_tensors(dims), encoded, TOKENS)
    torch.testing.assert_close(hidden[0].double(), expected_hidden, rtol=1e-3, atol=1e-3)
    assert scores.shape == (len(heads), len(TOKENS), dims.n_audio_ctx)
    wanted = torch.stack([expected[head] for head in heads])
    torch.testing.assert_close(scores.double().softmax(-1), wanted.softmax(-1), rtol=1e-3, atol=1e-4)


# From an ask to its answer

MULTILINGUAL = Tokenizer.bundled(multilingual=True)
PROMPT = TOKENS[:4]
HEADS = ((1, 0), (0, 1), (1, 1))


def encoding_of(seed: int) -> Encoding:
    network = random_network("base")
    window = random_mel(network.dims, seed)
    return Encoding(network.encoder(window[None])[0], network.decoder, as_window(window))


def aligned(seed: int, text: Sequence[int], n_frames: int = 40) -> Aligned:
    encoding = encoding_of(seed)
    ask = Align(encoding.window, PROMPT, tuple(text), n_frames, encoding)
    return align(random_network("base"), MULTILINGUAL, encoding, ask, HEADS)


@pytest.mark.parametrize(("seed", "n_frames"), [(0, 40), (1, 40), (2, 31), (3, 18), (4, 7)])
def test_times_and_probabilities_are_the_literal_ones(seed: int, n_frames: int) -> None:
    dims = STRUCTURES["base"]
    tensors = random_tensors(dims)
    text = [300, 17, 4000, 4001, 9]
    answer = aligned(seed, text, n_frames)

    tokens = (*PROMPT, *text, MULTILINGUAL.eot)
    hidden, scores = literal_scores(dims, tensors, encoding_of(seed).hidden, tokens)
    matrix = literal_matrix(torch.stack([scores[head] for head in HEADS]).numpy(), n_frames // 2)
    first = literal_first_frames(-matrix[3:-1])
    assert answer.times == pytest.approx([frame * 0.02 for frame in first])

    logits = hidden @ tensors["decoder.token_embedding.weight"].double().T
    expected = []
    for position, token in enumerate(text, start=3):
        among_text = logits[position, : MULTILINGUAL.eot].softmax(-1)
        expected.append(float(among_text[token]))
    assert answer.probabilities == pytest.approx(expected, rel=1e-3)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 20),
    text=st.lists(st.integers(0, 50256), min_size=1, max_size=30),
    n_frames=st.integers(1, 40),
)
def test_times_ascend_inside_the_content_and_are_one_more_than_the_tokens(
    seed: int, text: list[int], n_frames: int
) -> None:
    answer = aligned(seed, text, n_frames)
    assert len(answer.times) == len(text) + 1
    assert answer.times[0] == 0.0
    assert list(answer.times) == sorted(answer.times)
    assert answer.times[-1] <= max(n_frames // 2, 1) * 0.02
    assert len(answer.probabilities) == len(text)
    assert all(0 <= probability <= 1 for probability in answer.probabilities)


def test_text_longer_than_the_context_is_said_to_end_where_the_last_token_read_begins() -> None:
    answer = aligned(0, [300, 17] * 250)
    room = 448 - len(PROMPT) - 1
    assert (len(answer.times), len(answer.probabilities)) == (501, 500)
    assert list(answer.times) == sorted(answer.times)
    assert set(answer.times[room:]) == {answer.times[room]}
    assert set(answer.probabilities[room:]) == {0.0}
    assert min(answer.probabilities[:room]) > 0


def test_what_is_read_of_a_text_that_just_fits_is_all_of_it() -> None:
    room = 448 - len(PROMPT) - 1
    assert min(aligned(0, [300] * room).probabilities) > 0


def test_an_engine_answers_with_its_own_heads_and_keeps_the_encoding() -> None:
    encoding = encoding_of(1)
    ask = Align(encoding.window, PROMPT, (300, 17, 9), 40, encoding)
    engine = Engine(random_network("base"), MULTILINGUAL, heads=HEADS)
    (answer,) = engine.run([ask])
    assert isinstance(answer, Aligned)
    assert answer.encoding is encoding
    expected = aligned(1, (300, 17, 9))
    assert (answer.times, answer.probabilities) == (expected.times, expected.probabilities)


def test_without_an_encoding_the_window_is_encoded() -> None:
    window = random_mel(STRUCTURES["base"], 1)
    engine = Engine(random_network("base"), MULTILINGUAL, heads=HEADS)
    (answer,) = engine.run([Align(as_window(window), PROMPT, (300, 17, 9), 40)])
    assert isinstance(answer, Aligned)
    assert answer.times == aligned(1, (300, 17, 9)).times


# Which heads

SHAPE = PUBLISHED["base"].dims


def test_a_checkpoints_own_heads_come_first_in_ascending_order() -> None:
    assert choose_heads(((5, 1), (0, 7), (5, 1)), "base", SHAPE) == ((0, 7), (5, 1))


@pytest.mark.parametrize("foreign", [(6, 0), (0, 8), (-1, 0), (0, -1)])
def test_own_heads_of_another_network_are_not_used(foreign: tuple[int, int]) -> None:
    assert choose_heads(((3, 1), foreign), "base", SHAPE) == choose_heads(None, "base", SHAPE)


@pytest.mark.parametrize("own", [None, ()])
def test_a_published_name_with_its_shape_has_the_published_heads(own: tuple[tuple[int, int], ...] | None) -> None:
    expected = ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6))  # openai-whisper, _ALIGNMENT_HEADS
    assert choose_heads(own, "base", SHAPE) == expected


def test_a_second_name_has_the_heads_of_the_first() -> None:
    turbo = PUBLISHED["turbo"].dims
    assert choose_heads(None, "turbo", turbo) == ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))


UPPER_HALF = tuple((layer, head) for layer in (3, 4, 5) for head in range(8))


@pytest.mark.parametrize("name", ["small", "tiny.en", "a fine-tune", "", "distil-large-v3"])
def test_without_published_heads_of_this_shape_all_of_the_upper_half_are_used(name: str) -> None:
    assert choose_heads(None, name, SHAPE) == UPPER_HALF


def test_of_an_odd_number_of_layers_the_middle_one_belongs_to_the_upper_half() -> None:
    dims = STRUCTURES["large-v3"]
    assert choose_heads(None, "", dims) == ((1, 0), (1, 1), (2, 0), (2, 1))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_has_heads_of_its_own(name: str) -> None:
    dims = PUBLISHED[name].dims
    heads = choose_heads(None, name, dims)
    assert heads
    assert list(heads) == sorted(set(heads))
    assert all(0 <= layer < dims.n_text_layer and 0 <= head < dims.n_text_head for layer, head in heads)
