"""What every reader returns: the tensors of a Whisper under one set of names.

The names are those of OpenAI's own checkpoints (`encoder.conv1.weight`, `decoder.blocks.0.cross_attn.query.bias`, …);
each reader maps its format to them in one table, and `nn.network` knows no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint read from disk, its tensors still in their storage type and, where possible, mapped from the file.

    Attributes:
        path: the folder or file that it was read from.
        dims: its shape.
        tensors: OpenAI's name → tensor. The output head is tied: `decoder.token_embedding.weight`.
        tokenizer: from the checkpoint's own vocabulary where it has one, else the bundled one.
        alignment_heads: (layer, head) of the cross-attention heads that follow the audio, or None where not stated.
    """

    path: Path
    dims: ModelDimensions
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    alignment_heads: tuple[tuple[int, int], ...] | None
