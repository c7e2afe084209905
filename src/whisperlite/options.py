"""The options of a transcription, each defined once: name, type, default, check and help.

`Options` is the definition; the command line, the reference documentation and the server are made from its fields.
`OptionsDict` repeats the names and types for editors and mypy (a dataclass cannot type `**options`);
`tests/test_options.py` checks that the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict, cast

from whisperlite.errors import OptionError
from whisperlite.kinds import (
    FLAG,
    LANGUAGE,
    LANGUAGES,
    PATTERN,
    TASK,
    TEMPERATURE,
    TEXT,
    TEXT_OR_IDS,
    TIMES,
    TOKEN_IDS,
    check_fields,
    choice,
    from_names,
    integer,
    number,
    option,
    optional,
    with_fields_documented,
)
from whisperlite.vad_options import VAD_OPTIONS, VadOptions

Task = Literal["transcribe", "translate"]
Chunking = Literal["sequential", "vad"]


# The defaults of openai-whisper's `transcribe`, so that words are the same.
PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


@with_fields_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one transcription, checked when they are made.

    Raises:
        OptionError: a value has a wrong type or range, or two values contradict each other.
        LanguageError: Whisper does not have the language.
    """

    task: Task = option(
        "transcribe", TASK, "Transcribe what is said in its own language, or translate it into English."
    )
    language: str | None = option(
        None,
        optional(LANGUAGE),
        "The spoken language; None: detected, by default from the first 30 seconds.",
    )
    multilingual: bool = option(
        False, FLAG, "Detect the language of every window and of its segments, for recordings that change language."
    )
    allowed_languages: str | Sequence[str] | None = option(
        None, optional(LANGUAGES), "Languages that detection can choose from; None: all languages of the model."
    )
    language_detection_segments: int = option(
        1, integer(1), "Maximum number of 30-second windows used to detect the language."
    )
    language_detection_threshold: float = option(
        0.5,
        number(0.0, 1.0),
        "Detection stops at the first window in which a language reaches this probability; if none does, the language "
        "with the highest average probability wins.",
    )
    temperature: float | Sequence[float] = option(
        0.0,
        TEMPERATURE,
        "Temperature of the first attempt at a window; 0: no sampling. A sequence: the temperatures of all attempts.",
    )
    temperature_increment_on_fallback: float | None = option(
        0.2,
        optional(number(0.01, finite=True)),
        "Added to the temperature, up to 1, after each attempt that fails a threshold; None: one attempt only.",
    )
    beam_size: int | None = option(
        5, optional(integer(1, 100)), "Number of beams of the search at temperature 0; 1 or None: greedy decoding."
    )
    best_of: int | None = option(
        5,
        optional(integer(1, 100)),
        "Number of samples drawn at temperatures above 0, of which the best is kept; None: 1.",
    )
    patience: float | None = option(
        1.0,
        optional(number(0.01, 100.0)),
        "Beam search stops after beam_size x patience finished hypotheses (Kasai et al. 2022); None: 1.",
    )
    length_penalty: float | None = option(
        None,
        optional(number(0.0, 1.0)),
        "Exponent alpha of the length penalty that ranks hypotheses (Wu et al. 2016); None: rank by average log "
        "probability per token.",
    )
    suppress_tokens: str | Sequence[int] | None = option(
        "-1", TOKEN_IDS, "Token ids that are never produced; -1 stands for all non-speech symbols."
    )
    suppress_blank: bool = option(True, FLAG, "Forbid a blank and the end as the first token of a window.")
    suppress_regex: str | None = option(
        None, optional(PATTERN), "Never produce tokens whose text matches this pattern (searched, not anchored)."
    )
    suppress_numerals: bool = option(
        False, FLAG, "Never produce digits or signs such as % and $, so that numbers are written as words."
    )
    repetition_penalty: float = option(
        1.0,
        number(0.01, 100.0),
        "Values above 1 make tokens already in the window's text less likely (Keskar et al. 2019); timestamps are "
        "exempt.",
    )
    no_repeat_ngram_size: int = option(
        0, integer(0, 448), "Never repeat a sequence of this many text tokens within a window; 0: off."
    )
    initial_prompt: str | Sequence[int] | None = option(
        None,
        optional(TEXT_OR_IDS),
        "Text given to the first window as if it had been said before it: names, terms, style.",
    )
    carry_initial_prompt: bool = option(False, FLAG, "Give initial_prompt to every window, not only to the first one.")
    hotwords: str | None = option(
        None, optional(TEXT), "Words that are likely to occur, given to every window ahead of the previous text."
    )
    prefix: str | None = option(
        None, optional(TEXT), "Text the first window must start with; it is part of the result."
    )
    condition_on_previous_text: bool = option(
        True,
        FLAG,
        "Give each window the text of the windows before it; False: less consistent, but repetition cannot carry over.",
    )
    prompt_reset_on_temperature: float = option(
        0.5, number(0.0), "Drop the previous text after a window that needed a temperature above this."
    )
    compression_ratio_threshold: float | None = option(
        2.4,
        optional(number(0.0)),
        "An attempt fails if its text's zlib compression ratio is above this: it repeats itself.",
    )
    logprob_threshold: float | None = option(
        -1.0, optional(number()), "An attempt fails if its average log probability per token is below this."
    )
    no_speech_threshold: float | None = option(
        0.6,
        optional(number(0.0, 1.0)),
        "A window is skipped as silent if its no-speech probability is above this and its average log probability does "
        "not exceed logprob_threshold; if that is None, the no-speech probability decides alone.",
    )
    without_timestamps: bool = option(False, FLAG, "Decode text without timestamps; every window becomes one segment.")
    max_initial_timestamp: float | None = option(
        1.0,
        optional(number(0.0, 30.0)),
        "Latest start of a window's first segment, in seconds after the window's start; None: no limit.",
    )
    max_new_tokens: int | None = option(
        None,
        optional(integer(1, 448)),
        "Maximum number of tokens generated per window; None: 224, half of the model's context.",
    )
    chunk_length: float = option(
        30.0, number(1.0, 30.0), "Maximum length of a window, in seconds; the models were trained on 30."
    )
    clip_timestamps: str | Sequence[float] | Sequence[Sequence[float]] = option(
        (),
        TIMES,
        "Parts to transcribe, in seconds: start, end, start, end, …. Without a last end, to the end of the recording.",
    )
    vad_filter: bool = option(False, FLAG, "Transcribe only where Silero VAD detects speech; needs the extra `vad`.")
    vad_options: VadOptions | Mapping[str, Any] | None = option(
        None,
        optional(VAD_OPTIONS),
        "What counts as speech for vad_filter and chunking='vad'. Defaults: "
        + ", ".join(f"{each.name}={each.default}" for each in fields(VadOptions))
        + ".",
    )
    chunking: Chunking = option(
        "sequential",
        choice("sequential", "vad"),
        "'sequential': window after window, as openai-whisper does. 'vad': cut the recording at pauses found by Silero "
        "VAD and transcribe the chunks side by side, each without the text before it; needs the extra `vad`.",
    )
    word_timestamps: bool = option(False, FLAG, "Find the start, the end and the probability of every word.")
    prepend_punctuations: str = option(
        PREPENDED, TEXT, "Punctuation joined to the word after it, with word_timestamps."
    )
    append_punctuations: str = option(APPENDED, TEXT, "Punctuation joined to the word before it, with word_timestamps.")
    hallucination_silence_threshold: float | None = option(
        None,
        optional(number(0.0, finite=True)),
        "Drop improbable words surrounded by more than this many seconds of silence, and skip that silence; needs "
        "word_timestamps.",
    )
    seed: int = option(0, integer(0), "Random seed for sampling at temperatures above 0.")
    timeout_s: float | None = option(
        None,
        optional(number(0.0, finite=True)),
        "Stop this many seconds after the call; the error carries the partial result. None: no limit.",
    )
    max_duration_s: float | None = option(
        None,
        optional(number(0.0, finite=True)),
        "Refuse a recording longer than this many seconds before transcribing any of it; None: no limit.",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        # An option that could have no effect is refused, never ignored.
        _refuse_unused_words(self)
        _refuse_unused_prompt(self)
        _refuse_vad(self)
        _refuse_detection(self)
        _refuse_timestamps(self)
        _refuse_empty_search(self)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures that are tried in turn until an attempt succeeds."""
        given: float | tuple[float, ...] = self._kept("temperature")
        if isinstance(given, tuple):
            return given
        first, increment = given, self.temperature_increment_on_fallback
        if increment is None or first > 1.0:  # above 1 the reference's list is empty (correction 15)
            return (first,)
        count = math.floor((1.0 - first) / increment + 1e-6) + 1
        return tuple(round(first + rung * increment, 9) for rung in range(count))

    @property
    def suppressed_ids(self) -> tuple[int, ...]:
        """The ids of `suppress_tokens`; -1 stands for the non-speech set."""
        ids: tuple[int, ...] = self._kept("suppress_tokens")
        return ids

    @property
    def detectable_languages(self) -> tuple[str, ...] | None:
        """The codes that detection can choose from; None: all languages of the model."""
        codes: tuple[str, ...] | None = self._kept("allowed_languages")
        return codes

    def _kept(self, name: str) -> Any:
        """A field's value after normalisation by `check_fields`; the field's own type is what callers may give."""
        return getattr(self, name)

    @property
    def beams(self) -> int:
        """The number of beams of the search at temperature 0; 1: greedy."""
        return self.beam_size or 1

    @property
    def max_candidates(self) -> int:
        """The number of finished hypotheses that ends a beam search."""
        return round(self.beams * (self.patience or 1.0))

    @property
    def vad(self) -> VadOptions | None:
        """How to detect speech; None: speech is not detected."""
        given: VadOptions | None = self._kept("vad_options")
        if self.is_chunked:
            # Short pauses are enough to cut at; a chunk should be one window if possible.
            chosen = given or VadOptions()
            pause_ms = 500 if chosen.min_silence_duration_ms is None else chosen.min_silence_duration_ms
            # A frame of the features is 10 ms long, and speech may begin within one.
            longest_s = min(chosen.max_speech_duration_s, max(self.chunk_length - 0.01, 1.0))
            return replace(chosen, min_silence_duration_ms=pause_ms, max_speech_duration_s=longest_s)
        return (given or VadOptions()) if self.vad_filter else None

    @property
    def is_chunked(self) -> bool:
        """Whether the recording is cut at pauses and its parts are transcribed side by side."""
        return self.chunking == "vad"

    @property
    def clips(self) -> tuple[tuple[float, float | None], ...]:
        """The parts to transcribe, as (start, end) in seconds; an end of None is the end of the recording."""
        times: tuple[float, ...] = self._kept("clip_timestamps") or (0.0,)
        ends = (*times[1::2], *(None,) * (len(times) % 2))
        return tuple(zip(times[::2], ends, strict=True))


class OptionsDict(TypedDict, total=False):
    """The keyword arguments of `transcribe`: the fields of `Options`, which documents them."""

    task: Task
    language: str | None
    multilingual: bool
    allowed_languages: str | Sequence[str] | None
    language_detection_segments: int
    language_detection_threshold: float
    temperature: float | Sequence[float]
    temperature_increment_on_fallback: float | None
    beam_size: int | None
    best_of: int | None
    patience: float | None
    length_penalty: float | None
    suppress_tokens: str | Sequence[int] | None
    suppress_blank: bool
    suppress_regex: str | None
    suppress_numerals: bool
    repetition_penalty: float
    no_repeat_ngram_size: int
    initial_prompt: str | Sequence[int] | None
    carry_initial_prompt: bool
    hotwords: str | None
    prefix: str | None
    condition_on_previous_text: bool
    prompt_reset_on_temperature: float
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None
    without_timestamps: bool
    max_initial_timestamp: float | None
    max_new_tokens: int | None
    chunk_length: float
    clip_timestamps: str | Sequence[float] | Sequence[Sequence[float]]
    vad_filter: bool
    vad_options: VadOptions | Mapping[str, Any] | None
    chunking: Chunking
    word_timestamps: bool
    prepend_punctuations: str
    append_punctuations: str
    hallucination_silence_threshold: float | None
    seed: int
    timeout_s: float | None
    max_duration_s: float | None


def make_options(values: Mapping[str, Any]) -> Options:
    """Make options from keyword arguments.

    Raises:
        OptionError: a value is wrong, or no option has this name; the message suggests the nearest one.
        LanguageError: Whisper does not have the language.
    """
    return from_names(Options, values)


def as_arguments(options: Options) -> OptionsDict:
    """The options as keyword arguments. Values are normalised: an iterator that was given can be used again."""
    return cast(OptionsDict, {each.name: getattr(options, each.name) for each in fields(options)})


def _refuse_unused_words(options: Options) -> None:
    if options.word_timestamps:
        return
    if options.hallucination_silence_threshold is not None:
        raise OptionError(
            "hallucination_silence_threshold looks at the times of words: give word_timestamps=True with it.",
            option="hallucination_silence_threshold",
        )
    for name in ("append_punctuations", "prepend_punctuations"):
        if _is_changed(options, name):
            message = f"{name} is about the words of word_timestamps: give word_timestamps=True with it."
            raise OptionError(message, option=name)


def _refuse_unused_prompt(options: Options) -> None:
    if options.carry_initial_prompt and options.initial_prompt is None:
        raise OptionError(
            "carry_initial_prompt=True carries initial_prompt on: give an initial_prompt with it.",
            option="carry_initial_prompt",
        )


def _refuse_vad(options: Options) -> None:
    if options.vad_options is not None and options.vad is None:
        raise OptionError(
            "vad_options say how speech is found: give vad_filter=True or chunking='vad' with them.",
            option="vad_options",
        )
    if options.is_chunked and options.vad_filter:
        raise OptionError(
            "chunking='vad' listens for speech itself: leave vad_filter out; vad_options say how.", option="vad_filter"
        )
    if options.is_chunked and options.prefix is not None:
        raise OptionError(
            "prefix is how the first window begins; with chunking='vad' there are many that are first.", option="prefix"
        )


def _refuse_detection(options: Options) -> None:
    has_threshold = _is_changed(options, "language_detection_threshold")
    of_several = {
        "language_detection_segments": options.language_detection_segments > 1,
        "language_detection_threshold": has_threshold,
    }
    if options.language is not None:
        detecting = {
            "multilingual": options.multilingual,
            "allowed_languages": options.allowed_languages is not None,
            **of_several,
        }
        for name in (name for name, is_given in detecting.items() if is_given):
            given = "multilingual=True" if name == "multilingual" else name
            message = f"language={options.language!r} leaves nothing to detect: leave it out, or {given}."
            raise OptionError(message, option=name)
    if options.multilingual:
        for name in (name for name, is_given in of_several.items() if is_given):
            message = f"multilingual=True detects the language of every window: leave {name} out."
            raise OptionError(message, option=name)
    if has_threshold and options.language_detection_segments == 1:
        raise OptionError(
            "language_detection_threshold ends the listening before language_detection_segments have been heard: give "
            "more than one of them with it.",
            option="language_detection_threshold",
        )


def _refuse_timestamps(options: Options) -> None:
    if options.without_timestamps and _is_changed(options, "max_initial_timestamp"):
        raise OptionError(
            "max_initial_timestamp is about timestamps, and without_timestamps=True has none: leave one of them out.",
            option="max_initial_timestamp",
        )


def _refuse_empty_search(options: Options) -> None:
    if options.patience not in (None, 1.0) and options.beams == 1:
        raise OptionError(
            f"patience={options.patience} needs a beam search: give beam_size of 2 or more.", option="patience"
        )
    if options.beams > 1 and options.max_candidates < 1:
        raise OptionError(
            f"beam_size={options.beam_size} with patience={options.patience} leaves no hypothesis to keep.",
            option="patience",
        )


def _is_changed(options: Options, name: str) -> bool:
    (definition,) = (each for each in fields(options) if each.name == name)
    return bool(getattr(options, name) != definition.default)
