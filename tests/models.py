"""Small networks for tests: random weights in the published structures, and one that reads its logits from a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whisperlite.decoding.asks import LazyMel
from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.cache import Cache, CrossKeysValues, FixedCache
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.network import Decoder, Encoder, Network
from whisperlite.text import vocabulary as names
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.text.vocabulary import Vocabulary

S = 20  # encoder positions of the small networks
_SMALL = ModelDimensions(
    n_mels=80,
    n_audio_ctx=S,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=2,
)

# Every combination of mel bands, vocabulary and layer counts that was published, 32 layers being 4 here.
STRUCTURES = {
    "tiny.en": replace(_SMALL, n_vocab=51864),
    "base": _SMALL,
    "large-v3": replace(_SMALL, n_mels=128, n_vocab=51866, n_audio_layer=3, n_text_layer=3),
    "turbo": replace(_SMALL, n_mels=128, n_vocab=51866, n_audio_layer=4, n_text_layer=1),
    "distil-large-v3": replace(_SMALL, n_mels=128, n_vocab=51866, n_audio_layer=4, n_text_layer=2),
    "distil-small.en": replace(_SMALL, n_vocab=51864, n_audio_layer=3, n_text_layer=1),
}


def random_tensors(dims: ModelDimensions, seed: int = 0) -> dict[str, Tensor]:
    """Seeded weights under which activations neither vanish nor explode and attention is neither flat nor one-hot."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in expected_shapes(dims).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("positional_embedding", "token_embedding.weight")):
            tensors[name] = 0.4 * noise
        elif len(shape) > 1:
            tensors[name] = noise * float(np.prod(shape[1:])) ** -0.5
        else:
            tensors[name] = 0.1 * noise + float("ln" in name and name.endswith("weight"))
    return tensors


@cache
def random_network(structure: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Network:
    dims = STRUCTURES[structure]
    return build_network(dims, random_tensors(dims, seed), device=torch.device("cpu"), dtype=dtype)


def talkative_network(structure: str, seed: int = 0) -> tuple[Network, Tokenizer]:
    """A random network that ends its answers at times, since the end's logit varies most; and its tokenizer."""
    dims = STRUCTURES[structure]
    tokenizer = Tokenizer.bundled(multilingual=dims.is_multilingual, num_languages=dims.num_languages)
    tensors = random_tensors(dims, seed)
    tensors["decoder.token_embedding.weight"][tokenizer.eot] *= 8.0
    return build_network(dims, tensors, device=torch.device("cpu"), dtype=torch.float32), tokenizer


def random_mel(dims: ModelDimensions, seed: int) -> Tensor:
    """(n_mels, 2·S)"""
    return torch.randn((dims.n_mels, 2 * dims.n_audio_ctx), generator=torch.Generator().manual_seed(1000 + seed))


# A network made of a table


def small_tokenizer(n_text: int, n_times: int) -> Tokenizer:
    """Text tokens 0 … n_text - 1, of which the first is the space; then the eight control tokens; then timestamps."""
    text = (b" ", *(f"w{i}".encode() for i in range(1, n_text)))
    special = (*names.REQUIRED, *names.TIMESTAMPS[:n_times])
    return Tokenizer(Vocabulary(tokens=(*text, *(name.encode() for name in special)), n_text=n_text))


@dataclass(frozen=True)
class Table:
    """The logits (V,) that follow a history, the prompt included, in a window: anything, but always the same."""

    n_vocab: int
    seed: int
    scale: float = 2.0
    known: dict[tuple[int, ...], npt.NDArray[np.float32]] = field(default_factory=dict)

    def logits(self, window: int, history: tuple[int, ...]) -> npt.NDArray[np.float32]:
        key = (window, *history)
        if key not in self.known:
            noise = np.random.default_rng((self.seed, *key)).standard_normal(self.n_vocab, dtype=np.float32)
            self.known[key] = noise * np.float32(self.scale)
        return self.known[key]


@dataclass(frozen=True)
class TableDecoder:
    """A `Decoder` that knows a row's history only by the token ids that it left in the cache's keys.

    So it gives wrong logits as soon as rows of a cache are moved, copied or cut wrongly. Its `hidden` are the logits.
    """

    table: Table

    def __call__(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        return self.hidden(tokens, cache)

    def hidden(self, tokens: Tensor, cache: Cache, *, shapes_repeat: bool = False) -> tuple[Tensor, Cache]:  # noqa: ARG002
        queries = len(tokens) // cache.cross.keys.shape[1]
        rows = []
        for row, (new, length) in enumerate(zip(tokens, cache.lengths, strict=True)):
            memory = cache.keys[0, row, 0, :, 0]
            memory[length : length + len(new)] = new.to(memory.dtype)
            history = tuple(memory[: length + len(new)].long().tolist())
            window = int(cache.cross.keys[0, row // queries, 0, 0, 0])
            ends = range(length + 1, length + len(new) + 1)
            rows.append(np.stack([self.table.logits(window, history[:end]) for end in ends]))
        return torch.from_numpy(np.stack(rows)), cache.advanced(tokens.shape[1])

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden.clone()

    def next_logits(self, tokens: Tensor, cache: FixedCache) -> Tensor:
        """Nothing is known of rows that hold nothing yet: nobody is to look at theirs."""
        assert int(cache.lengths.max()) < cache.keys.shape[3], "a GPU would write behind the end"
        logits = torch.full((len(tokens), self.table.n_vocab), torch.nan)
        queries = len(tokens) // cache.cross.keys.shape[1]
        for row, length in enumerate(cache.lengths.tolist()):
            if length:
                windows = (x[:, row // queries :][:, :1] for x in (cache.cross.keys, cache.cross.values))
                keys, values = (x[:, row : row + 1] for x in (cache.keys, cache.values))
                one = Cache(keys, values, CrossKeysValues(*windows), (length,))
                logits[row] = self.hidden(tokens[row, None, None], one)[0][0, 0]
        return logits

    def cross(self, encoded: Tensor) -> CrossKeysValues:
        number = encoded[None, :, None]  # (1, B, 1, S, D)
        return CrossKeysValues(number, number)


@dataclass(frozen=True)
class TableEncoder:
    """Hands the number of a window on."""

    positions: Tensor = field(default_factory=lambda: torch.zeros(1, 1))

    def __call__(self, mel: Tensor) -> Tensor:
        return mel[:, :1, :1]


def table_network(table: Table, *, n_text_ctx: int = 64) -> Network:
    dims = ModelDimensions(
        n_mels=1,
        n_audio_ctx=1,
        n_audio_state=1,
        n_audio_head=1,
        n_audio_layer=1,
        n_vocab=table.n_vocab,
        n_text_ctx=n_text_ctx,
        n_text_state=1,
        n_text_head=1,
        n_text_layer=1,
    )
    return Network(dims, cast(Encoder, TableEncoder()), cast(Decoder, TableDecoder(table)))


def numbered_window(number: int) -> LazyMel:
    """The features of a window of a `table_network`."""
    return lambda: torch.full((1, 2), float(number))
