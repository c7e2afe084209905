"""A whole `Whisper` on a small random network: all of the public interface, in milliseconds a window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tests.models import STRUCTURES, random_tensors
from whisperlite import Whisper
from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.nn.build import build_network
from whisperlite.text.tokenizer import Tokenizer

DIMS = replace(STRUCTURES["base"], n_audio_ctx=1500, n_audio_layer=1, n_text_layer=1)
TOKENIZER = Tokenizer.bundled(multilingual=True)
HEADS = ((0, 0), (0, 1))


@dataclass(frozen=True)
class _Recipe:
    name: str
    dtype: torch.dtype
    overflows: bool
    cuda_graphs: bool

    def load(self) -> Whisper:
        return small_whisper(self.dtype, overflows=self.overflows, cuda_graphs=self.cuda_graphs)


def small_whisper(dtype: torch.dtype = torch.float32, *, overflows: bool = False, cuda_graphs: bool = False) -> Whisper:
    """Its answers are arbitrary, end at times, and are always the same.

    Args:
        overflows: some sum passes 65504, the largest float16.
    """
    network = build_network(DIMS, small_tensors(overflows=overflows), device=torch.device("cpu"), dtype=dtype)
    recipe = _Recipe("small", dtype, overflows, cuda_graphs)
    return Whisper(network, TOKENIZER, recipe, GenerationConfig(), HEADS, cuda_graphs=cuda_graphs)


def small_tensors(*, overflows: bool) -> dict[str, Tensor]:
    tensors = random_tensors(DIMS)
    tensors["decoder.token_embedding.weight"][TOKENIZER.eot] *= 8.0
    if overflows:
        tensors["encoder.blocks.0.mlp.0.weight"] *= 3e4
        tensors["encoder.blocks.0.mlp.2.weight"] *= 1e-4
    # The very numbers that float16 has, so that float32 has nothing to round.
    return {name: tensor.half().float() for name, tensor in tensors.items()}
