"""Single windows, decoded once each, without the policy of a whole recording: the parts of `encode` and `decode`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from whisperlite.audio.mel import WINDOW_FRAMES
from whisperlite.decoding.asks import Decode, Decoded, Detect, Detected, LazyMel
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.errors import AudioFormatError, DecodingError, OptionError
from whisperlite.nn.config import ModelDimensions
from whisperlite.options import Options
from whisperlite.transcription.fallback import NOT_FINITE_ADVICE, attempt
from whisperlite.transcription.history import History, Prompts
from whisperlite.transcription.languages import among, likeliest
from whisperlite.transcription.listening import finite
from whisperlite.transcription.suppression import suppressed_tokens

Window = TypeVar("Window")

# Options for whole recordings, which `decode` refuses.
_RECORDING_OPTIONS = (
    *("word_timestamps", "vad_filter", "multilingual", "language_detection_segments", "prompt_reset_on_temperature"),
    *("chunk_length", "chunking", "clip_timestamps", "timeout_s", "max_duration_s"),
)
# Options for whole recordings, and their one value that describes what `decode` does anyway.
_ALLOWED_VALUES = {
    "condition_on_previous_text": False,
    "temperature_increment_on_fallback": None,
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}


def refuse_options_of_recordings(options: Options) -> None:
    """Refuse options that cannot apply to single windows, rather than ignore them.

    Raises:
        OptionError: one of them was given.
    """
    defaults = Options()
    for name in (*_RECORDING_OPTIONS, *_ALLOWED_VALUES):
        value, default = getattr(options, name), getattr(defaults, name)
        if value not in (default, _ALLOWED_VALUES.get(name, default)):
            raise OptionError(f"{name}={value!r} is for whole recordings: leave it out, or transcribe.", option=name)
    if isinstance(options.temperature, tuple) and len(options.temperature) > 1:
        message = f"temperature={options.temperature!r} is several attempts, and decode makes one: give one number."
        raise OptionError(message, option="temperature")


def each_window(windows: Iterable[Window]) -> list[Window]:
    """The windows given to `encode` or `decode`, as a list.

    Raises:
        AudioFormatError: `windows` cannot be iterated.
    """
    if isinstance(windows, (str, bytes, Mapping)) or not hasattr(windows, "__iter__"):
        raise AudioFormatError(f"{type(windows).__name__} is no sequence of windows: give (n_mels, 3000) tensors.")
    if isinstance(windows, (Tensor, np.ndarray)) and windows.ndim == 0:
        raise AudioFormatError("A window has the shape (); give (n_mels, 3000) tensors.")
    return list(windows)


def as_windows(windows: Iterable[Tensor], dims: ModelDimensions) -> list[LazyMel]:
    """Check features of shape (n_mels, 3000) each, and return them in the form that an engine takes.

    Raises:
        AudioFormatError: a window has a wrong shape or type.
    """
    expected = (dims.n_mels, WINDOW_FRAMES)
    found: list[LazyMel] = []
    for window in windows:
        features = _dense(window)
        if tuple(features.shape) != expected:
            raise AudioFormatError(f"A window has the shape {tuple(features.shape)}; this model takes {expected}.")
        found.append(as_window(features))
    return found


def _dense(window: Any) -> Tensor:
    if isinstance(window, np.ndarray) and window.dtype.name in ("float16", "float32", "float64"):
        return torch.tensor(window)  # a copy: torch warns about read-only arrays
    if not isinstance(window, Tensor):
        raise AudioFormatError(f"A window is a tensor of floats, (n_mels, 3000), and got {type(window).__name__}.")
    if not window.is_floating_point() or window.layout != torch.strided or window.is_meta:
        raise AudioFormatError(
            f"A window of {window.dtype}, {window.layout}, on {window.device}: give a dense tensor of floats."
        )
    return window


def decode_each(encodings: Sequence[Encoding], options: Sequence[Options], engine: Engine) -> list[Decoded]:
    """Decode windows together, with one attempt at each, and options for each.

    Raises:
        DecodingError: the probabilities of a window are not finite.
    """
    languages = [_language(*each, engine) for each in zip(encodings, options, strict=True)]
    answers = engine.run([_ask(*each, engine) for each in zip(encodings, options, languages, strict=True)])
    decoded: list[Decoded] = []
    for index, (answer, language) in enumerate(zip(answers, languages, strict=True)):
        assert isinstance(answer, Decoded), "a Decode is answered by a Decoded"
        if not math.isfinite(answer.avg_logprob):
            raise DecodingError(
                f"The probabilities of window {index} are not finite. Features belong in about [-1, 1]. "
                f"{NOT_FINITE_ADVICE}"
            )
        decoded.append(replace(answer, language=language))
    return decoded


def _language(encoding: Encoding, options: Options, engine: Engine) -> str:
    """The language to decode a window in: the one given, or the most probable one."""
    if not engine.tokenizer.is_multilingual:
        return "en"
    if options.language is not None:
        return options.language
    (answer,) = engine.run([Detect(encoding.window, encoding)])
    assert isinstance(answer, Detected), "a Detect is answered by a Detected"
    return likeliest(among(finite(answer.probabilities), options.detectable_languages))[0]


def _ask(encoding: Encoding, options: Options, language: str, engine: Engine) -> Decode:
    tokenizer = engine.tokenizer
    history = History(options, tokenizer, Prompts.of(options, tokenizer))
    prompt = history.prompt(language, options.prefix)
    return attempt(
        encoding.window,
        prompt,
        options.temperatures[0],
        options,
        suppressed=suppressed_tokens(options, tokenizer),
        seed=(options.seed,),
        encoding=encoding,
    )
