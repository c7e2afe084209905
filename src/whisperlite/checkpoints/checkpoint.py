"""The result of every reader: the tensors of a Whisper under one set of names.

The names are those of OpenAI's own checkpoints (`encoder.conv1.weight`, `decoder.blocks.0.cross_attn.query.bias`, …);
each reader maps its format to them in one table, and `nn.build` knows no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """What a checkpoint says about its intended use; a value that it does not state is None.

    For information only: parity with the reference comes first, so nothing here changes a default. The option
    `suppress_tokens="-1"` is the tokenizer's non-speech set, whatever `suppress_tokens` is here.

    Attributes:
        alignment_heads: (layer, head) of the cross-attention heads that follow the audio.
        suppress_tokens: ids that should never be produced.
        begin_suppress_tokens: ids that should not be produced first.
        language_ids: (code, token id) of each language.
        forced_tokens: (position, id) of the first tokens; the id is None if it was left open.
        language: the language that it was tuned for, as its author wrote it: "hi", "hindi" or "<|hi|>".
        task: the task that it was tuned for, "transcribe" or "translate".
    """

    alignment_heads: tuple[tuple[int, int], ...] | None = None
    suppress_tokens: tuple[int, ...] | None = None
    begin_suppress_tokens: tuple[int, ...] | None = None
    language_ids: tuple[tuple[str, int], ...] | None = None
    forced_tokens: tuple[tuple[int, int | None], ...] | None = None
    language: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint read from disk, its tensors still in their storage type and, where possible, mapped from the file.

    Attributes:
        path: the folder or file that was read.
        dims: the shape of the network.
        tensors: OpenAI's name → tensor. The output head is `decoder.token_embedding.weight`, tied to the embedding,
            unless there is a separate `decoder.head.weight`.
        tokenizer: the tokenizer of the checkpoint's own vocabulary if it has one, else the bundled one.
        generation_config: what the checkpoint says about its intended use.
        raw_config: its whole `generation_config.json`, for conversion; empty if there is none.
    """

    path: Path
    dims: ModelDimensions
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    generation_config: GenerationConfig
    raw_config: Mapping[str, Any] = field(default_factory=dict)
