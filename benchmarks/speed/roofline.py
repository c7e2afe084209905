"""How near a decode step is to the machine's limit: bytes that it must move over the bandwidth measured on the spot.

A greedy step must read the decoder's weights once, and for each slot the keys and values of its window and of its text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

import whisperlite
from benchmarks.speed.compare import LANGUAGE
from whisperlite.audio.mel import WINDOW_FRAMES, Features
from whisperlite.decoding.asks import Decode, Greedy
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.lane import Lane
from whisperlite.nn.linear import _HalvesLinear
from whisperlite.text.prompt import MAX_NEW_TOKENS, build_prompt

COMPUTE_TYPES = ("float32", "int8")
SLOTS = (1, 8)
_WARM_STEPS, _STEPS = 20, 80


def measure(path: str, threads: int) -> dict[str, Any]:
    """Make a row for each compute type and number of slots.

    Args:
        path: a recording of at least one window of speech.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        bytes_per_s = bandwidth()
        rows = [_measure(path, compute_type, slots, threads) for compute_type in COMPUTE_TYPES for slots in SLOTS]
    finally:
        torch.set_num_threads(before)
    for row in rows:
        row["bound_ms"] = round(row["moved_mb"] * 1e9 / bytes_per_s, 3)
        row["reached"] = round(row["bound_ms"] / row["step_ms"], 3)
        print(f"roofline  {row}", file=sys.stderr)
    return {"bandwidth_gb_per_s": round(bytes_per_s / 1e9, 2), "rows": rows}


def bandwidth() -> float:
    """Measure how many bytes per second can be read from memory: the best of several sums over half a gibibyte."""
    data = torch.ones(1 << 27)
    ways: list[Callable[[], object]] = [data.sum, data.amax, lambda: torch.dot(data, data)]
    return data.nbytes / min(_time(way) for way in ways for _ in range(6))


def _time(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _measure(path: str, compute_type: str, slots: int, threads: int) -> dict[str, Any]:
    model = whisperlite.load_model("base", device="cpu", compute_type=compute_type, cpu_threads=threads)
    engine = Engine(model.network, model.tokenizer, slots=slots, cpu_threads=threads)
    ask = _endless(model, path)
    for _ in range(slots):
        engine.submit(ask)
    while engine._waiting:  # one is admitted in each step
        engine.step()
    (lane,) = engine._lanes.values()
    for _ in range(_WARM_STEPS):
        engine.step()
    steps = [_time(engine.step) for _ in range(_STEPS)]
    assert len(lane.slots) == slots, "none of them has ended"
    layers, head = _parts(lane)
    moved, operations = _must(lane, 1 if compute_type == "int8" else _bytes_in_float32(model))
    step = median(steps)
    return {
        "compute_type": compute_type,
        "slots": slots,
        "moved_mb": round(sum(moved.values()) / 1e6, 1),
        "moved": {name: round(value / 1e6, 1) for name, value in moved.items()},
        "gflop": round(operations / 1e9, 3),
        "step_ms": round(step * 1e3, 3),
        "layers_ms": round(layers * 1e3, 3),
        "head_ms": round(head * 1e3, 3),
        "rest_ms": round((step - layers - head) * 1e3, 3),
    }


def _bytes_in_float32(model: whisperlite.Whisper) -> int:
    """Return the bytes of a weight: 2 if float16 numbers are kept as such, which all layers do or none."""
    return 2 if isinstance(model.network.decoder.head, _HalvesLinear) else 4


def _endless(model: whisperlite.Whisper, path: str) -> Decode:
    """Return a request that decodes up to its token limit: the end token is suppressed."""
    window = Features(whisperlite.load_audio(path), model.dims.n_mels).window(0, WINDOW_FRAMES)
    prompt = build_prompt(model.tokenizer, language=LANGUAGE, task="transcribe", without_timestamps=False)
    return Decode(window, prompt, Greedy(), MAX_NEW_TOKENS, suppressed=frozenset({model.tokenizer.eot}))


@torch.inference_mode()
def _parts(lane: Lane) -> tuple[float, float]:
    """Time the layers and the output head of a step, one after the other as in a step."""
    decoder, tokens, cache = lane.network.decoder, lane.rows.last[: len(lane.slots), None], lane.active_cache()
    layers: list[float] = []
    head: list[float] = []
    for _ in range(_STEPS):
        with _timed(layers):
            hidden, _ = decoder.hidden(tokens, cache)
        with _timed(head):
            decoder.logits(hidden[:, 0])
    return median(layers), median(head)


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


def _must(lane: Lane, bytes_of_weight: int) -> tuple[dict[str, int], int]:
    """Count the bytes that a step has to read, by kind, and its floating-point operations."""
    dims, rows = lane.network.dims, len(lane.slots)
    width, n_layers = dims.n_text_state, dims.n_text_layer
    # Of a layer: 4 projections of the text's attention, 2 of the audio's (keys and values are there already), the MLP.
    in_layers, in_head = n_layers * (4 + 2 + 8) * width**2, dims.n_vocab * width
    # The length of the text halfway through the steps that were timed.
    length = lane.slots[0].length - _STEPS // 2
    text = 2 * lane.cache.keys[:, :rows, :, :length].nbytes
    audio = 2 * lane.cache.cross.keys[:, :rows].nbytes
    moved = {"layers": in_layers * bytes_of_weight, "head": in_head * bytes_of_weight, "audio": audio, "text": text}
    attention = 2 * 2 * n_layers * width * (dims.n_audio_ctx + length)
    return moved, rows * (2 * (in_layers + in_head) + attention)
