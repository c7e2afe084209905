"""The cross-attention heads that follow the audio, by official name, and a rule for checkpoints without any.

Source: openai-whisper 20250625, `whisper/__init__.py`, `_ALIGNMENT_HEADS` (MIT licence, copyright OpenAI), decoded to
(layer, head). None are published for the Distil-Whisper models: those in their `generation_config.json` are their
teachers', some in layers that these models lack.
"""

from __future__ import annotations

from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.nn.config import Heads, ModelDimensions


def _heads(text: str) -> Heads:
    """Parse text of the form `layer: head head …; layer: head …`."""
    layers = (part.split(":") for part in text.split(";"))
    return tuple((int(layer), int(head)) for layer, heads in layers for head in heads.split())


_PUBLISHED: dict[str, Heads] = {
    "tiny.en": _heads("1: 0; 2: 0 5; 3: 0 1 2 3 4"),
    "tiny": _heads("2: 2; 3: 0 2 3 4 5"),
    "base.en": _heads("3: 3; 4: 7; 5: 1 5 7"),
    "base": _heads("3: 1; 4: 2 3 7; 5: 1 2 4 6"),
    "small.en": _heads("6: 6; 7: 0 3 8; 8: 2 5 7; 9: 0 4 8 10; 10: 0 1 2 3 6 11; 11: 2 4"),
    "small": _heads("5: 3 9; 8: 0 4 7 8; 9: 0 7 9; 10: 5"),
    "medium.en": _heads(
        "11: 4; 14: 1 12 14; 15: 4; 16: 0 4 9; 17: 12 14; 18: 7 10 15; 20: 0 3 9 14; 21: 12",
    ),
    "medium": _heads("13: 15; 15: 4 15; 16: 1; 20: 0; 23: 4"),
    "large-v1": _heads("9: 19; 11: 2 4 17; 22: 7 11 17; 23: 2 15"),
    "large-v2": _heads(
        "10: 12; 13: 17; 16: 11 12 13; 17: 15 16; 18: 4 11 19; 19: 11; 21: 2 3; 22: 3 9 12; 23: 5 7 13; 25: 5; "
        "26: 1 12; 27: 15"
    ),
    "large-v3": _heads("7: 0; 10: 17; 12: 18; 13: 12; 16: 1; 17: 14; 19: 11; 21: 4; 24: 1; 25: 6"),
    "large-v3-turbo": _heads("2: 4 11; 3: 3 6 11 14"),
}


def published_heads(name: str, dims: ModelDimensions) -> Heads | None:
    """The published heads of a model with an official name; None if there are none or the network has another shape.

    Differs: the name of a file counts too; the reference knows no heads for a file (correction 28).
    """
    published = PUBLISHED.get(name)
    if published is None or published.dims != dims:
        return None
    return _PUBLISHED.get(published.name)  # `turbo` is a second name


def choose_heads(own: Heads | None, name: str, dims: ModelDimensions) -> Heads:
    """The heads that word timestamps are read from.

    Args:
        own: the heads that the checkpoint states; used if all of them exist in this network.
        name: the name of the model, official or not.
        dims: the shape of the network; published heads are used only for a network of the published shape.

    Returns:
        (layer, head) pairs, ascending. If nothing is known about the checkpoint, all heads of the upper half of the
        layers, as in the reference.
    """
    if own and all(0 <= layer < dims.n_text_layer and 0 <= head < dims.n_text_head for layer, head in own):
        return tuple(sorted(set(own)))
    if (published := published_heads(name, dims)) is not None:
        return published
    upper = range(dims.n_text_layer // 2, dims.n_text_layer)
    return tuple((layer, head) for layer in upper for head in range(dims.n_text_head))
