"""The models with official names: their repositories, sizes and shapes.

Sources: the checksums are those of OpenAI's own `.pt` files (openai-whisper, `whisper/__init__.py`, MIT licence,
copyright OpenAI). The shapes are Radford et al. 2022, table 1, and the `config.json` of each repository; those of the
Distil-Whisper models are Gandhi et al. 2023: the teacher's encoder under a decoder of a few of its layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from whisperlite.nn.config import ModelDimensions


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A checkpoint with an official name.

    Attributes:
        name: the official name; OpenAI's file has this name, with `.pt`.
        repository: its repository on the Hugging Face Hub.
        parameters: the number of parameters, in millions.
        dims: the shape of the network.
        sha256: the SHA-256 of OpenAI's `.pt` file; None if there is none.
    """

    name: str
    repository: str
    parameters: int
    dims: ModelDimensions
    sha256: str | None = None


def _shape(layers: int, width: int, *, n_vocab: int = 51865, n_mels: int = 80) -> ModelDimensions:
    """A shape with as many layers in the decoder as in the encoder, of equal width, and heads of width 64."""
    heads = width // 64
    return ModelDimensions(n_mels, 1500, width, heads, layers, n_vocab, 448, width, heads, layers)


_TINY, _BASE, _SMALL, _MEDIUM, _LARGE = (
    _shape(4, 384),
    _shape(6, 512),
    _shape(12, 768),
    _shape(24, 1024),
    _shape(32, 1280),
)
_LARGE_V3 = _shape(32, 1280, n_vocab=51866, n_mels=128)


def _english(dims: ModelDimensions) -> ModelDimensions:
    return replace(dims, n_vocab=51864)


def _openai(name: str, parameters: int, dims: ModelDimensions, sha256: str) -> PublishedModel:
    # On the Hub, large-v1 is `whisper-large`.
    return PublishedModel(name, f"openai/whisper-{name.removesuffix('-v1')}", parameters, dims, sha256)


def _distilled(name: str, parameters: int, teacher: ModelDimensions, *, layers: int = 2) -> PublishedModel:
    return PublishedModel(name, f"distil-whisper/{name}", parameters, replace(teacher, n_text_layer=layers))


_MODELS = (
    _openai("tiny", 39, _TINY, "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"),
    _openai("tiny.en", 39, _english(_TINY), "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03"),
    _openai("base", 74, _BASE, "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e"),
    _openai("base.en", 74, _english(_BASE), "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead"),
    _openai("small", 244, _SMALL, "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794"),
    _openai("small.en", 244, _english(_SMALL), "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872"),
    _openai("medium", 769, _MEDIUM, "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1"),
    _openai("medium.en", 769, _english(_MEDIUM), "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f"),
    _openai("large-v1", 1550, _LARGE, "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a"),
    _openai("large-v2", 1550, _LARGE, "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524"),
    _openai("large-v3", 1550, _LARGE_V3, "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb"),
    _openai(
        "large-v3-turbo",
        809,
        replace(_LARGE_V3, n_text_layer=4),
        "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
    ),
    _distilled("distil-small.en", 166, _english(_SMALL), layers=4),
    _distilled("distil-medium.en", 394, _english(_MEDIUM)),
    _distilled("distil-large-v2", 756, _LARGE),
    _distilled("distil-large-v3", 756, _LARGE_V3),
    _distilled("distil-large-v3.5", 756, _LARGE_V3),
)
_BY_NAME = {model.name: model for model in _MODELS}

# All official names; `large` and `turbo` are aliases.
PUBLISHED: dict[str, PublishedModel] = {
    **_BY_NAME,
    "large": _BY_NAME["large-v3"],
    "turbo": _BY_NAME["large-v3-turbo"],
}
