"""Features, encoder output and logits against the reference's: `python -m benchmarks.parity.numerics`, on its side.

Both run in one process, in the reference's environment, on the same tensors: the features of every recording, with 80
and 128 bands; the network on the real weights; and networks of random weights in every published structure, at a small
width. Exit status 1 where a difference is larger than its limit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.model import ModelDimensions as ReferenceDimensions
from whisper.model import Whisper
from whisper.tokenizer import get_tokenizer

from benchmarks.parity.matrix import MODELS, find_clips
from benchmarks.provenance import provenance
from whisperlite.audio.mel import Features, log_mel_spectrogram
from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.cache import Cache
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.network import Network

LIMITS = {"features": 1e-4, "encoder": 1e-3, "logits": 1e-3}

_TINY = ModelDimensions(80, 1500, 64, 4, 4, 51865, 448, 64, 4, 4)

# Mel bands, vocabulary and layers as published; width and heads are reduced.
STRUCTURES = {
    "tiny": _TINY,
    "tiny.en": replace(_TINY, n_vocab=51864),
    "base": replace(_TINY, n_audio_layer=6, n_text_layer=6),
    "small": replace(_TINY, n_audio_layer=12, n_text_layer=12),
    "medium": replace(_TINY, n_audio_layer=24, n_text_layer=24),
    "large-v2": replace(_TINY, n_audio_layer=32, n_text_layer=32),
    "large-v3": replace(_TINY, n_mels=128, n_vocab=51866, n_audio_layer=32, n_text_layer=32),
    "turbo": replace(_TINY, n_mels=128, n_vocab=51866, n_audio_layer=32, n_text_layer=4),
    "distil-large-v3": replace(_TINY, n_mels=128, n_vocab=51866, n_audio_layer=32, n_text_layer=2),
    "distil-small.en": replace(_TINY, n_vocab=51864, n_audio_layer=12, n_text_layer=4),
}


def random_tensors(dims: ModelDimensions) -> dict[str, Tensor]:
    """Return random weights, scaled so that activations stay near 1, as in trained networks."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in expected_shapes(dims).items():
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100.0
        offset = 1.0 if name.endswith(("ln.weight", "ln_post.weight")) else 0.0
        tensors[name] = offset + torch.randn(shape, generator=generator) / float(np.sqrt(fan_in))
    return tensors


def read_weights(path: Path) -> tuple[ModelDimensions, dict[str, Tensor]]:
    dims = ModelDimensions(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["dims"])
    with np.load(path) as file:
        return dims, {name: torch.from_numpy(file[name]).float() for name in file.files}


Tensors = dict[str, Tensor]


def compare_networks(dims: ModelDimensions, tensors: Tensors, mel: Tensor, tokens: Tensor) -> dict[str, float]:
    """Return the largest differences of encoder output and logits; tokens are read at once and one by one."""
    reference = Whisper(ReferenceDimensions(**asdict(dims))).eval()
    reference.load_state_dict(tensors)
    network = build_network(dims, dict(tensors), device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode():
        their_audio, our_audio = reference.encoder(mel[None]), network.encoder(mel[None])
        theirs = reference.decoder(tokens[None], their_audio)[0]
        ours = max(_difference(theirs, logits) for logits in _both_ways(network, our_audio, tokens))
    return {"encoder": _difference(their_audio, our_audio), "logits": ours}


def spoken_tokens(dims: ModelDimensions) -> Tensor:
    """Return tokens in the order in which the model writes them: start, timestamp, text, timestamp."""
    tokenizer = get_tokenizer(dims.is_multilingual, num_languages=dims.num_languages, language="en", task="transcribe")
    text = tokenizer.encode(" He was not an ill-disposed young man, unless to be rather selfish is to be ill-disposed.")
    begin = tokenizer.timestamp_begin
    return torch.tensor([*tokenizer.sot_sequence, begin, *text, begin + 320])


def _both_ways(network: Network, audio: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    empty = Cache.empty(network.decoder.cross(audio), rows=1, capacity=len(tokens))
    yield network.decoder(tokens[None], empty)[0][0]
    steps, cache = [], empty
    for token in tokens:
        logits, cache = network.decoder(token[None, None], cache)
        steps.append(logits[0, 0])
    yield torch.stack(steps)


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def compare_features(samples: np.ndarray, n_mels: int) -> float:
    """Return the largest difference of the features, of a whole recording and of a window in its middle."""
    theirs = whisper.log_mel_spectrogram(samples, n_mels, padding=whisper.audio.N_SAMPLES)
    features = Features(samples, n_mels)
    start = features.content_frames // 2
    count = min(3000, features.content_frames - start)
    window = features.window(start, count)()[:, :count]
    return max(
        _difference(theirs, log_mel_spectrogram(samples, n_mels=n_mels)),
        _difference(theirs[:, start : start + count], window) if count else 0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare features, encoder output and logits with openai-whisper's.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--eval", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the project's own recordings")
    parser.add_argument("--out", type=Path, help="folder to write numerics.json into")
    arguments = parser.parse_args()

    recordings = {clip.path: whisper.load_audio(clip.path) for clip in find_clips(arguments.eval, arguments.data)}
    features = [max(compare_features(samples, bands) for samples in recordings.values()) for bands in (80, 128)]
    rows: dict[str, dict[str, Any]] = {
        f"features, {bands} bands, {len(recordings)} recordings": {"features": worst}
        for bands, worst in zip((80, 128), features, strict=True)
    }
    print({name: f"{row['features']:.1e}" for name, row in rows.items()}, flush=True)
    spoken = max(recordings.values(), key=len)
    networks = {name: read_weights(arguments.cache / "weights" / f"{name}.npz") for name in MODELS}
    random = {f"{name} (random, width 64)": (dims, random_tensors(dims)) for name, dims in STRUCTURES.items()}
    for name, (dims, tensors) in {**networks, **random}.items():
        window = Features(spoken, dims.n_mels).window(0, min(3000, len(spoken) // 160))
        rows[name] = compare_networks(dims, tensors, window(), spoken_tokens(dims))
        print(name, {kind: f"{value:.1e}" for kind, value in rows[name].items()}, flush=True)
    exceeded = [name for name, row in rows.items() if any(row[kind] >= LIMITS[kind] for kind in row)]
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        about = provenance(threads=torch.get_num_threads())
        text = json.dumps({"limits": LIMITS, **about, "largest_difference": rows}, indent=1)
        (arguments.out / "numerics.json").write_text(text + "\n", encoding="utf-8")
    raise SystemExit(f"Outside of the limits: {', '.join(exceeded)}" if exceeded else 0)


if __name__ == "__main__":
    main()
