"""The shape of a Whisper checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

FRAMES_PER_POSITION = 2  # log-mel frames, of 10 ms, for each position of the encoder's output
POSITIONS_PER_SECOND = 50

Heads = tuple[tuple[int, int], ...]
"""Cross-attention heads of the decoder, as (layer, head)."""


@dataclass(frozen=True, slots=True)
class ModelDimensions:
    """The ten numbers that fix every tensor's shape (Radford et al. 2022, table 1, and the published checkpoints).

    Attributes:
        n_mels: mel bands of the input: 80, or 128 for large-v3 and turbo.
        n_audio_ctx: encoder positions of a window: 1500, of 20 ms each.
        n_audio_state, n_audio_head, n_audio_layer: width, heads and layers of the encoder.
        n_vocab: 51864 for English-only checkpoints, 51865 for 99 languages, 51866 for 100.
        n_text_ctx: decoder positions: 448, for prompt and output together.
        n_text_state, n_text_head, n_text_layer: width, heads and layers of the decoder.
    """

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def is_multilingual(self) -> bool:
        """Whether a published checkpoint of this size is multilingual; for a fine-tune, ask its own tokenizer."""
        return self.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        """The number of language tokens in a published checkpoint of this size: 99, or 100 if n_vocab is 51866."""
        return self.n_vocab - 51765 - int(self.is_multilingual)
