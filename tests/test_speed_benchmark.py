"""What `benchmarks.speed` concludes from times, and the files that it converts weights into for whisper.cpp."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.speed.compare import Row, fastest, judge, ratio_of, verdict
from benchmarks.speed.ggml import FORMATS, pack_q5_1, pack_q8_0, write_ggml
from benchmarks.speed.settings import Claim, Side
from tests.small_whisper import DIMS, small_tensors
from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.text.tokenizer import Tokenizer

# Conclusions


def row(ours: list[float], peer: list[float], *, same: bool | None = True) -> Row:
    return {"ours_s": ours, "peer_s": peer, "same_tokens": same}


ONE, OTHER = Side("faster-whisper", "float32"), Side("faster-whisper", "int8")


def claim(*sides: Side, required: float = 1.5, same_tokens: bool = False) -> Claim:
    return Claim("greedy", "a peer", sides, required, 3.0, same_tokens=same_tokens)


def test_a_ratio_is_that_of_the_medians_and_then_the_median_over_the_recordings() -> None:
    rows = [row([1.0, 9.0, 2.0], [4.0, 4.0, 100.0]), row([1.0], [1.0]), row([2.0], [20.0])]
    assert ratio_of(rows, same_tokens=False) == 2.0
    assert ratio_of(rows[2:], same_tokens=False) == 10.0


def test_only_recordings_with_the_same_tokens_count_where_that_is_claimed() -> None:
    rows = [row([1.0], [9.0], same=False), row([1.0], [2.0]), row([1.0], [7.0], same=None)]
    assert ratio_of(rows, same_tokens=True) == 2.0
    assert ratio_of(rows[:1], same_tokens=True) is None


def test_it_is_the_fastest_kind_of_a_peer_that_is_compared_with() -> None:
    peers = {ONE.name: [row([1.0], [4.0]), row([1.0], [1.0])], OTHER.name: [row([1.0], [2.0]), row([1.0], [2.0])]}
    assert fastest(peers, [ONE, OTHER]) == OTHER.name
    found = judge(claim(ONE, OTHER), peers)
    assert found is not None
    assert (found["side"], found["ratio"], found["verdict"]) == (OTHER.name, 2.0, "pass")
    assert judge(claim(Side("transformers", "float32")), peers) is None


@pytest.mark.parametrize(
    ("ratio", "said"), [(None, "miss"), (1.49, "miss"), (1.5, "pass"), (2.99, "pass"), (3.0, "goal"), (9.0, "goal")]
)
def test_a_claim_is_missed_below_what_is_required(ratio: float | None, said: str) -> None:
    assert verdict(claim(ONE), ONE.name, ratio)["verdict"] == said


# whisper.cpp's files

Floats = npt.NDArray[np.float32]


def read_q8_0(data: bytes) -> Floats:
    blocks = np.frombuffer(data, dtype=[("scale", "<f2"), ("levels", "i1", 32)])
    numbers: Floats = (blocks["scale"].astype(np.float32)[:, None] * blocks["levels"]).ravel()
    return numbers


def read_q5_1(data: bytes) -> Floats:
    """One number after the other, as the format is described."""
    numbers = []
    for start in range(0, len(data), 24):
        scale, lowest, fifth = struct.unpack_from("<eeI", data, start)
        pairs = data[start + 8 : start + 24]
        for index in range(32):
            nibble = pairs[index] & 15 if index < 16 else pairs[index - 16] >> 4
            numbers.append(scale * (nibble | ((fifth >> index & 1) << 4)) + lowest)
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(("pack", "read", "levels"), [(pack_q8_0, read_q8_0, 254), (pack_q5_1, read_q5_1, 31)])
def test_blocks_hold_what_was_rounded_into_them(pack: Any, read: Any, levels: int) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((6, 64)).astype(np.float32) * 10.0 ** generator.integers(-3, 3, (6, 1))
    matrix[0] = 0.0
    matrix[1, :32] = 1.25  # a block without a range
    blocks = matrix.astype(np.float32).reshape(-1, 32)
    found = read(pack(blocks)).reshape(blocks.shape)
    room = 2 * np.abs(blocks).max(1) if levels == 254 else np.ptp(blocks, 1)
    # Half a level, and what float16 does to the scale.
    allowed = room / levels / 2 + np.abs(blocks).max(1) * 2e-3
    assert (np.abs(found - blocks) <= allowed[:, None]).all()
    assert not found[:2].any()


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_has_every_tensor_as_its_header_says(name: str, tmp_path: Path) -> None:
    tensors, form = small_tensors(overflows=False), FORMATS[name]
    checkpoint = Checkpoint(tmp_path, DIMS, tensors, Tokenizer.bundled(multilingual=True), GenerationConfig())
    write_ggml(checkpoint, tmp_path / "model.bin", form)
    data = (tmp_path / "model.bin").read_bytes()
    header = struct.unpack_from("<12i", data)
    assert header[0] == 0x67676D6C
    assert (header[1], header[10], header[11]) == (DIMS.n_vocab, DIMS.n_mels, form.file_code)
    place = 48
    n_mels, n_frequencies = struct.unpack_from("<2i", data, place)
    place += 8 + 4 * n_mels * n_frequencies
    (n_tokens,) = struct.unpack_from("<i", data, place)
    place += 4
    for _ in range(n_tokens):
        place += 4 + int(struct.unpack_from("<i", data, place)[0])
    sizes = {0: 4.0, 1: 2.0, 8: 34 / 32, 7: 24 / 32}
    found: dict[str, tuple[tuple[int, ...], int, bytes]] = {}
    while place < len(data):
        n_dims, length, code = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{n_dims}i", data, place + 12)[::-1]
        label = data[place + 12 + 4 * n_dims :][:length].decode()
        place += 12 + 4 * n_dims + length
        size = round(np.prod(shape) * sizes[code])
        found[label] = (shape, code, data[place : place + size])
        place += size
    assert place == len(data)
    assert found.keys() == tensors.keys()
    for label, (shape, _, _) in found.items():
        is_column = label in {"encoder.conv1.bias", "encoder.conv2.bias"}
        assert shape == ((*tensors[label].shape, 1) if is_column else tuple(tensors[label].shape))
    assert found["encoder.conv2.weight"][1:] == (1, tensors["encoder.conv2.weight"].half().numpy().tobytes())
    assert found["encoder.conv2.bias"][1:] == (0, tensors["encoder.conv2.bias"].numpy().tobytes())
    matrix = "decoder.blocks.0.mlp.0.weight"
    assert found[matrix][1:] == (form.tensor_code, form.pack(tensors[matrix].numpy()))
    assert not list(tmp_path.glob("*.part"))
