"""What two checkpoints of the same network have in common."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tests.models import random_mel
from whisperlite.nn.build import build_network
from whisperlite.nn.cache import Cache
from whisperlite.nn.config import ModelDimensions

TOKENS = torch.tensor([[300, 40, 17, 1, 256]])


def assert_same_tensors(read: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same names, types and bits."""
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype, name
        assert torch.equal(read[name], tensor), name


def logits_of(dims: ModelDimensions, tensors: Mapping[str, Tensor]) -> Tensor:
    """What the network answers in float32 to a random window and a few tokens: (1, T, V)."""
    network = build_network(dims, dict(tensors), device=torch.device("cpu"), dtype=torch.float32)
    cross = network.decoder.cross(network.encoder(random_mel(dims, seed=0)[None]))
    return network.decoder(TOKENS, Cache.empty(cross, rows=1, capacity=TOKENS.shape[1]))[0]
