"""How fast another device than a CPU is, and how near to its limits: `python -m benchmarks.device`.

Random weights in the shape of a published model serve for speed, since it does not depend on them. Encoding is compared
with the rate of large products of matrices, a decode step with the bytes that it must move over the bandwidth, both
measured on the spot; and whole windows with transformers, where it is installed, in the same run and taking turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import whisperlite
from benchmarks.provenance import about_now, when
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy, LazyMel
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.graphs import recorder_for
from whisperlite.nn.network import Network
from whisperlite.text.prompt import build_prompt
from whisperlite.text.tokenizer import Tokenizer

# Fields: n_mels, the four of the audio encoder, n_vocab, the four of the text decoder.
SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "base": ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
    "small": ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "medium": ModelDimensions(80, 1500, 1024, 16, 24, 51865, 448, 1024, 16, 24),
    "turbo": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
    "large-v3": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
}
TOKENS = 100  # decoded for every window
BEAMS = 5
_REPEATS = 5

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=other_device(), help="as for the tests: the first of cuda, xpu and mps")
    parser.add_argument("--dtype", default="float16", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--shape", action="append", choices=tuple(SHAPES), help="may be repeated (default: large ones)")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 32], help="windows at a time")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each window, 8 or more")
    parser.add_argument("--repeats", type=int, default=_REPEATS, help="of what is timed as a whole")
    parser.add_argument("--out", type=Path, help="folder to write device.md and device.json into")
    values = parser.parse_args(arguments)
    if values.device is None:
        print("There is no device but the CPU, so nothing is timed; --device cpu times that.")
        return 0
    device, dtype = torch.device(values.device), getattr(torch, values.dtype)
    limits = measure_limits(device, dtype)
    rows: list[Row] = []
    for shape in values.shape or ["turbo", "large-v3"]:
        tensors = random_tensors(SHAPES[shape], device, dtype)
        peer = transformers_model(SHAPES[shape], tensors, device, dtype)
        network = build_network(SHAPES[shape], tensors, device=device, dtype=dtype)
        for slots in values.slots:
            kinds = [False, True] if recorder_for(device, dtype) is not None else [False]  # with graphs or without
            times = compare(network, peer, slots, values, kinds)
            for graphs in kinds:
                row = {"shape": shape, "dtype": values.dtype, "slots": slots, "graphs": graphs}
                rows.append(row | measure(network, slots, values.tokens, limits, graphs=graphs) | times[graphs])
                print(rows[-1], file=sys.stderr, flush=True)
        del network, peer, tensors
    report = {
        "device": name_of(device),
        **at_commit(),
        "torch": torch.__version__,
        "whisperlite": whisperlite.__version__,
        "transformers": version_of("transformers"),
        "tokens": values.tokens,
        "repeats": values.repeats,
        "limits": limits,
        "rows": rows,
    }
    if values.out is not None:
        values.out.mkdir(parents=True, exist_ok=True)
        (values.out / "device.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (values.out / "device.md").write_text(page(report), encoding="utf-8")
    print(page(report))
    return 0


def other_device() -> str | None:
    """Return the device to measure: $WHISPERLITE_DEVICE, or the first that torch finds; None if there is none."""
    if named := os.environ.get("WHISPERLITE_DEVICE"):
        return named
    there = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    return next((name for name, module in there.items() if module.is_available()), None)


def at_commit() -> dict[str, str]:
    """Return the commit and the date, or nothing where git is not installed."""
    with suppress(OSError):
        return about_now()
    return {}


def version_of(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {platform.machine()}"


# The machine's limits


def measure_limits(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Measure bytes per second in a copy (reads and writes), and operations per second in a large matrix product."""
    is_small = device.type == "cpu"
    source = torch.ones(1 << (26 if is_small else 29), dtype=torch.float16, device=device)
    target = torch.empty_like(source)
    copying = best_of(lambda: target.copy_(source), device)
    width = 1024 if is_small else 8192
    square = torch.randn((width, width), device=device).to(dtype)
    multiplying = best_of(lambda: square @ square, device)
    return {"bytes_per_s": 2 * source.nbytes / copying, "flop_per_s": 2 * width**3 / multiplying}


def best_of(call: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    return min(timed(call, device) for _ in range(repeats + 2))


def timed(call: Callable[[], object], device: torch.device) -> float:
    settle(device)
    began = time.perf_counter()
    call()
    settle(device)
    return time.perf_counter() - began


def settle(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "mps":
        torch.mps.synchronize()
    elif device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


# Ours


def random_tensors(dims: ModelDimensions, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    tensors = {}
    for name, shape in expected_shapes(dims).items():
        noise = torch.randn(shape, generator=generator, device=device, dtype=torch.float32)
        fan_in = shape[1] * (shape[2] if len(shape) > 2 else 1) if len(shape) > 1 else 1
        is_scale = "ln" in name and name.endswith("weight")
        tensors[name] = (noise * (fan_in**-0.5 if len(shape) > 1 else 0.1) + float(is_scale)).to(dtype)
    return tensors


def measure(network: Network, slots: int, tokens: int, limits: dict[str, float], *, graphs: bool) -> Row:
    """Time encoding and a decode step, and compare each with the limits of the device."""
    dims = network.dims
    work = asks(network, slots, tokens)
    windows = [ask.window for ask in work]
    beams = [replace(ask, strategy=Beam(BEAMS, max_candidates=BEAMS)) for ask in work]
    encoding_s = measure_encoding(network, windows, graphs=graphs)
    step_s, beams_s = (measure_step(network, each, graphs=graphs) for each in (work, beams))
    flop = slots * encoder_flop(dims)
    moved = step_bytes(network, slots, tokens // 2)
    return {
        "encoding_ms": round(encoding_s * 1e3, 2),
        "encoding_reached": round(flop / limits["flop_per_s"] / encoding_s, 3),
        "step_ms": round(step_s * 1e3, 3),
        "step_reached": round(moved / limits["bytes_per_s"] / step_s, 3),
        "beam_step_ms": round(beams_s * 1e3, 3),
    }


def measure_encoding(network: Network, windows: list[LazyMel], *, graphs: bool) -> float:
    """Return the seconds that encoding takes, without the first calls, which record the graph."""
    engine = new_engine(network, len(windows), graphs=graphs)
    return median([timed(lambda: engine.encode(windows), network.device) for _ in range(_REPEATS + 3)][3:])


def measure_step(network: Network, work: list[Decode], *, graphs: bool) -> float:
    """Return the seconds that one step for all windows takes."""
    engine = new_engine(network, len(work), graphs=graphs)
    for ask in work:
        engine.submit(ask)
    engine.step()  # admits them all
    times = []
    while engine.active_slots == len(work):
        times.append(timed(engine.step, network.device))
    return median(times[len(times) // 4 : -1])


def new_engine(network: Network, slots: int, *, graphs: bool) -> Engine:
    return Engine(network, tokenizer_of(network), slots=slots, graphs=graphs)


def tokenizer_of(network: Network) -> Tokenizer:
    tokenizer = Tokenizer.of_published_size(network.dims.n_vocab)
    assert tokenizer is not None, "the shapes are published ones"
    return tokenizer


def asks(network: Network, count: int, tokens: int) -> list[Decode]:
    """Return requests that decode up to their token limit: the end token is suppressed."""
    tokenizer = tokenizer_of(network)
    prompt = build_prompt(tokenizer, language="en", task="transcribe", without_timestamps=True)
    mel = torch.rand((network.dims.n_mels, 2 * network.dims.n_audio_ctx), generator=torch.Generator().manual_seed(0))
    special = frozenset(range(tokenizer.eot, network.dims.n_vocab))
    ask = Decode(as_window(mel), prompt, Greedy(), tokens, suppressed=special, timestamps=False)
    return [ask] * count


def encoder_flop(dims: ModelDimensions) -> int:
    """Count the operations to encode one window: convolutions, projections, MLP, and the two products of attention."""
    frames, width = dims.n_audio_ctx, dims.n_audio_state
    convolutions = 2 * 3 * width * (2 * frames * dims.n_mels + frames * width)
    return convolutions + dims.n_audio_layer * (2 * 12 * width**2 * frames + 4 * frames**2 * width)


def step_bytes(network: Network, slots: int, length: int) -> int:
    """Count the bytes that a step reads: the decoder's weights once, and the keys and values of each slot."""
    dims, size = network.dims, network.encoder.positions.element_size()
    weights = dims.n_text_layer * 14 * dims.n_text_state**2 + dims.n_vocab * dims.n_text_state
    return size * (weights + slots * 2 * dims.n_text_layer * dims.n_text_state * (dims.n_audio_ctx + length))


# transformers


def transformers_model(
    dims: ModelDimensions, tensors: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Any:
    """Return transformers' model with the same weights; None where transformers is not installed."""
    try:
        from transformers import WhisperConfig, WhisperForConditionalGeneration
    except ImportError:
        return None
    config = WhisperConfig(
        vocab_size=dims.n_vocab,
        num_mel_bins=dims.n_mels,
        d_model=dims.n_text_state,
        encoder_layers=dims.n_audio_layer,
        encoder_attention_heads=dims.n_audio_head,
        encoder_ffn_dim=4 * dims.n_audio_state,
        decoder_layers=dims.n_text_layer,
        decoder_attention_heads=dims.n_text_head,
        decoder_ffn_dim=4 * dims.n_text_state,
    )
    with torch.device(device):
        model: Any = WhisperForConditionalGeneration(config)
    named = {huggingface_name(name): tensor for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(named, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"proj_out.weight"}, missing  # which is the embedding
    return model.to(dtype).eval()


def compare(network: Network, peer: Any, slots: int, values: argparse.Namespace, kinds: list[bool]) -> dict[bool, Row]:
    """Time both libraries from features to tokens, and count the tokens on which they agree.

    Ours with each of some kinds, and those of transformers in the same run, taking turns.

    Args:
        kinds: whether graphs are used.
    """
    work = asks(network, slots, values.tokens)
    sides: dict[bool | None, Callable[[], list[tuple[int, ...]]]] = {}
    for graphs in kinds:
        engine = new_engine(network, slots, graphs=graphs)

        def ours(engine: Engine = engine) -> list[tuple[int, ...]]:
            return [answer.tokens for answer in engine.run(work) if isinstance(answer, Decoded)]

        sides[graphs] = ours
    if peer is not None:
        sides[None] = transformers_side(peer, work, values.tokens, network.device, network.dtype)
    answers = {kind: side() for kind, side in sides.items()}
    for graphs in kinds:
        for _ in range(2):  # a graph is recorded at the third call
            sides[graphs]()
    times: dict[bool | None, list[float]] = {kind: [] for kind in sides}
    for _ in range(values.repeats):
        for kind, side in sides.items():
            times[kind].append(timed(side, network.device))
    rows = {}
    for graphs in kinds:
        rows[graphs] = spread("ours_s", times[graphs])
        if peer is not None:
            pairs = zip(sum(answers[graphs], ()), sum(answers[None], ()), strict=True)
            same = [one == two for one, two in pairs]
            rows[graphs] |= spread("transformers_s", times[None])
            rows[graphs] |= {"ratio": round(median(times[None]) / median(times[graphs]), 2)}
            rows[graphs] |= {"same_tokens": round(sum(same) / len(same), 3)}
    return rows


def transformers_side(
    peer: Any, work: list[Decode], tokens: int, device: torch.device, dtype: torch.dtype
) -> Callable[[], list[tuple[int, ...]]]:
    from transformers import GenerationMixin

    features = torch.stack([ask.window() for ask in work]).to(device, dtype)
    start = torch.tensor([work[0].prompt.tokens] * len(work), device=device)
    options = {
        "min_new_tokens": tokens,
        "max_new_tokens": tokens,
        "do_sample": False,
        "num_beams": 1,
        "suppress_tokens": sorted(work[0].suppressed),
    }

    @torch.inference_mode()
    def theirs() -> list[tuple[int, ...]]:
        # The generation loop itself, without transformers' long-form code around it.
        found = GenerationMixin.generate(peer, features, decoder_input_ids=start, **options)
        return [tuple(row[-tokens:]) for row in found.tolist()]

    return theirs


def spread(name: str, times: list[float]) -> Row:
    return {name: round(median(times), 4), f"{name}_from_to": [round(min(times), 4), round(max(times), 4)]}


# The page

_COLUMNS = (
    *("shape", "precision", "windows", "graphs", "encoding, ms", "of the limit", "step, ms", "of the limit"),
    *(f"step with {BEAMS} beams, ms", "whisperlite, s", "transformers, s", "ratio", "same tokens"),
)


def page(report: Row) -> str:
    limits = report["limits"]
    copying, multiplying = limits["bytes_per_s"] / 1e9, limits["flop_per_s"] / 1e12
    versions = [f"torch {report['torch']}", f"whisperlite {report['whisperlite']}"]
    versions += [f"transformers {report['transformers']}"] if report["transformers"] else []
    lines = [
        "# Speed on a GPU",
        "",
        f"This page shows how fast whisperlite is on {report['device']}, how near it comes to the limits of that "
        "device, and how it compares with transformers. A ratio above 1 means that whisperlite is faster. Made by "
        "`make device`.",
        "",
        f"{', '.join(versions)}. Limits, measured in the same run: {copying:.0f} GB/s in a copy, {multiplying:.1f} "
        "TFLOP/s in a large product of matrices. The networks have the shape of published models and random weights, "
        f"on which speed does not depend. They decode greedily, {report['tokens']} tokens for each window.",
        *(["", report["note"]] if "note" in report else []),
        "",
        "- *windows*: how many are decoded together.",
        "- *graphs*: whether the operators are replayed as [CUDA graphs](../how-to/gpu.md#cuda-graphs) or called one "
        "by one.",
        "- *encoding*: the time to encode all of them; *step*: the time of one decoder step for all of them. *of the "
        "limit* compares these with the least time that the limits allow: for encoding, that of the operations; for a "
        "step, that of the bytes that it must read.",
        "- *whisperlite* and *transformers*: the time from features to tokens of all windows, taking turns; median of "
        f"{report['repeats']} repeats (from the fastest to the slowest).",
        "- *same tokens*: those on which both agree.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|---|" + "---:|" * (len(_COLUMNS) - 2),
    ]
    for row in report["rows"]:
        theirs = ("—", "—", "—")
        if "ratio" in row:
            theirs = (ranged(row, "transformers_s"), f"{row['ratio']:.2f}", f"{row['same_tokens']:.0%}")
        cells = (
            *(row["shape"], row["dtype"], f"{row['slots']}", "yes" if row["graphs"] else "no"),
            *(f"{row['encoding_ms']:.1f}", f"{row['encoding_reached']:.0%}"),
            *(f"{row['step_ms']:.2f}", f"{row['step_reached']:.0%}"),
            "—" if "beam_step_ms" not in row else f"{row['beam_step_ms']:.2f}",
            *(ranged(row, "ours_s"), *theirs),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if "commit" in report:
        lines += ["", f"Measured {when([report])}."]
    return "\n".join(lines) + "\n"


def ranged(row: Row, name: str) -> str:
    low, high = row[f"{name}_from_to"]
    return f"{row[name]:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
