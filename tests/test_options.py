"""Options: what they default to, what they refuse and how they say so, and what is derived from them."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.errors import LanguageError, OptionError
from whisperlite.kinds import Kind
from whisperlite.options import Options, OptionsDict, make_options

DEFAULTS: dict[str, Any] = {
    "task": "transcribe",
    "language": None,
    "multilingual": False,
    "allowed_languages": None,
    "language_detection_segments": 1,
    "language_detection_threshold": 0.5,
    "temperature": 0.0,
    "temperature_increment_on_fallback": 0.2,
    "beam_size": 5,
    "best_of": 5,
    "patience": 1.0,
    "length_penalty": None,
    "suppress_tokens": (-1,),
    "suppress_blank": True,
    "suppress_regex": None,
    "suppress_numerals": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "initial_prompt": None,
    "carry_initial_prompt": False,
    "hotwords": None,
    "prefix": None,
    "condition_on_previous_text": True,
    "prompt_reset_on_temperature": 0.5,
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
    "without_timestamps": False,
    "max_initial_timestamp": 1.0,
    "max_new_tokens": None,
    "chunk_length": 30.0,
    "clip_timestamps": (),
    "vad_filter": False,
    "vad_options": None,
    "word_timestamps": False,
    "prepend_punctuations": "\"'“¿([{-",
    "append_punctuations": "\"'.。,，!！?？:：”)]}、",
    "hallucination_silence_threshold": None,
    "seed": 0,
    "timeout_s": None,
}


def test_the_defaults_are_those_documented() -> None:
    assert asdict(Options()) == DEFAULTS


def test_the_typed_keyword_arguments_are_the_options() -> None:
    assert get_type_hints(OptionsDict) == get_type_hints(Options)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_has_help_and_says_what_it_takes(name: str) -> None:
    (definition,) = (each for each in fields(Options) if each.name == name)
    kind: Kind = definition.metadata["kind"]
    assert definition.metadata["help"].endswith(".")
    assert kind.label


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("task", "summarise", "'transcribe' or 'translate'"),
        ("task", None, "'transcribe' or 'translate'"),
        ("task", ["transcribe"], "'transcribe' or 'translate'"),
        ("language", 7, "a language's code or English name, or None"),
        ("temperature", -0.1, "a number of at least 0, or a sequence of such numbers"),
        ("temperature", math.nan, "a number of at least 0, or a sequence of such numbers"),
        ("temperature", math.inf, "a number of at least 0, or a sequence of such numbers"),
        ("temperature", "0.5", "a number of at least 0, or a sequence of such numbers"),
        ("temperature", (), "a number of at least 0, or a sequence of such numbers"),
        ("temperature", (0.0, -1.0), "a number of at least 0, or a sequence of such numbers"),
        ("temperature", True, "a number of at least 0, or a sequence of such numbers"),
        ("temperature", None, "a number of at least 0, or a sequence of such numbers"),
        ("temperature_increment_on_fallback", 0, "a number of at least 0.01, or None"),
        ("beam_size", 0, "a whole number from 1 to 100, or None"),
        ("beam_size", 2.5, "a whole number from 1 to 100, or None"),
        ("beam_size", True, "a whole number from 1 to 100, or None"),
        ("best_of", -1, "a whole number from 1 to 100, or None"),
        ("patience", 0.0, "a number from 0.01 to 100, or None"),
        ("patience", math.inf, "a number from 0.01 to 100, or None"),
        ("length_penalty", 1.5, "a number from 0 to 1, or None"),
        ("suppress_tokens", "1,x", "token ids"),
        ("suppress_tokens", (-2,), "token ids"),
        ("suppress_tokens", 5, "token ids"),
        ("suppress_tokens", None, "token ids"),
        ("suppress_tokens", (1.5,), "token ids"),
        ("suppress_blank", 1, "True or False"),
        ("suppress_blank", "True", "True or False"),
        ("initial_prompt", b"text", "a text, or a sequence of token ids, or None"),
        ("carry_initial_prompt", None, "True or False"),
        ("prefix", 3, "a text, or None"),
        ("condition_on_previous_text", "no", "True or False"),
        ("prompt_reset_on_temperature", None, "a number of at least 0"),
        ("compression_ratio_threshold", -1, "a number of at least 0, or None"),
        ("compression_ratio_threshold", 10**400, "a number of at least 0, or None"),
        ("logprob_threshold", "low", "a number, or None"),
        ("logprob_threshold", math.nan, "a number, or None"),
        ("no_speech_threshold", 60, "a number from 0 to 1, or None"),
        ("without_timestamps", 0, "True or False"),
        ("max_initial_timestamp", 31, "a number from 0 to 30, or None"),
        ("max_new_tokens", 0, "a whole number from 1 to 448, or None"),
        ("max_new_tokens", 449, "a whole number from 1 to 448, or None"),
        ("clip_timestamps", "1,b", "ascending times in seconds"),
        ("clip_timestamps", (5.0, 2.0), "ascending times in seconds"),
        ("clip_timestamps", (-1.0,), "ascending times in seconds"),
        ("clip_timestamps", math.nan, "ascending times in seconds"),
        ("clip_timestamps", (0.0, math.nan), "ascending times in seconds"),
        ("clip_timestamps", (0.0, math.inf), "ascending times in seconds"),
        ("clip_timestamps", None, "ascending times in seconds"),
        ("seed", -1, "a whole number from 0 up"),
        ("seed", 0.5, "a whole number from 0 up"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_itself_and_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_options({name: value})
    assert str(caught.value).startswith(f"{name}={value!r} ")
    assert allowed in str(caught.value)


def test_a_language_that_whisper_does_not_have_is_a_language_error() -> None:
    with pytest.raises(LanguageError, match=r"'klingon'.*'French'"):
        Options(language="klingon")


@pytest.mark.parametrize("language", ["fr", "FR", "French", " french "])
def test_a_language_is_kept_as_its_code(language: str) -> None:
    assert Options(language=language).language == "fr"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"no option 'beam_sise'\. Did you mean 'beam_size'\?"):
        make_options({"beam_sise": 5})


def test_an_unknown_name_unlike_any_is_refused_with_all_names() -> None:
    with pytest.raises(OptionError, match=r"no option 'zzz'\. Options: task, language, .*, timeout_s\.$"):
        make_options({"zzz": 5})


@pytest.mark.parametrize("beam_size", [1, None])
def test_patience_without_beams_is_a_contradiction(beam_size: int | None) -> None:
    with pytest.raises(OptionError, match="patience=2"):
        Options(beam_size=beam_size, patience=2.0)


@pytest.mark.parametrize("patience", [1.0, None])
def test_greedy_takes_the_patience_that_changes_nothing(patience: float | None) -> None:
    assert Options(beam_size=None, patience=patience).beams == 1


def test_a_patience_that_keeps_no_hypothesis_is_a_contradiction() -> None:
    with pytest.raises(OptionError, match=r"patience=0\.05"):
        Options(beam_size=5, patience=0.05)


@pytest.mark.parametrize(("beam_size", "patience", "expected"), [(5, 1.0, 5), (5, None, 5), (5, 2.0, 10), (3, 0.5, 2)])
def test_a_beam_search_ends_with_beams_times_patience(beam_size: int, patience: float | None, expected: int) -> None:
    assert Options(beam_size=beam_size, patience=patience).max_candidates == expected


@pytest.mark.parametrize(
    ("temperature", "increment", "ladder"),
    [
        (0.0, 0.2, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0, 0.5, (0.0, 0.5, 1.0)),
        (0.3, 0.3, (0.3, 0.6, 0.9)),
        (1.0, 0.2, (1.0,)),
        (1.5, 0.2, (1.5,)),
        (0.0, None, (0.0,)),
        (0.7, None, (0.7,)),
        (0.0, 5.0, (0.0,)),
        ((0.0, 0.5, 0.1), 0.2, (0.0, 0.5, 0.1)),
        ([0.4], 0.2, (0.4,)),
        (np.array([0.0, 0.5]), 0.2, (0.0, 0.5)),
        (np.float32(0.5), None, (0.5,)),
    ],
)
def test_the_ladder(temperature: Any, increment: float | None, ladder: tuple[float, ...]) -> None:
    assert Options(temperature=temperature, temperature_increment_on_fallback=increment).temperatures == ladder


@settings(deadline=None)
@given(st.floats(0.0, 3.0), st.floats(0.01, 2.0))
def test_a_ladder_starts_where_asked_rises_by_the_increment_and_ends_by_one(first: float, increment: float) -> None:
    ladder = Options(temperature=first, temperature_increment_on_fallback=increment).temperatures
    assert ladder[0] == pytest.approx(first, abs=1e-8)
    assert all(later - earlier == pytest.approx(increment) for earlier, later in itertools.pairwise(ladder))
    assert len(ladder) == 1 or ladder[-1] <= 1.0 + 1e-6
    assert ladder[-1] + increment > 1.0 - 1e-5


@pytest.mark.parametrize(
    ("clip_timestamps", "clips"),
    [
        ((), ((0.0, None),)),
        ("", ((0.0, None),)),
        ("0", ((0.0, None),)),
        ("5", ((5.0, None),)),
        ("1,2.5", ((1.0, 2.5),)),
        ("1, 2.5 ,4", ((1.0, 2.5), (4.0, None))),
        ([0, 3, 3, 8], ((0.0, 3.0), (3.0, 8.0))),
        (np.array([1.0, 2.0]), ((1.0, 2.0),)),
    ],
)
def test_clips(clip_timestamps: Any, clips: tuple[tuple[float, float | None], ...]) -> None:
    assert Options(clip_timestamps=clip_timestamps).clips == clips


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("-1", (-1,)),
        ("-1,50257", (-1, 50257)),
        (" 1 , 2 ", (1, 2)),
        ("", ()),
        ([], ()),
        ([1, 2], (1, 2)),
        ((1, -1), (1, -1)),
        (range(3), (0, 1, 2)),
        (np.array([4, 5]), (4, 5)),
    ],
)
def test_suppressed_tokens_in_every_form(value: Any, ids: tuple[int, ...]) -> None:
    assert Options(suppress_tokens=value).suppress_tokens == ids


def test_the_lists_of_the_caller_are_copied_and_left_alone() -> None:
    tokens, temperatures, clips = [-1, 5], [0.0, 0.5], [1.0, 2.0]
    options = Options(suppress_tokens=tokens, temperature=temperatures, clip_timestamps=clips)
    assert (tokens, temperatures, clips) == ([-1, 5], [0.0, 0.5], [1.0, 2.0])
    tokens.append(6)
    temperatures.append(1.0)
    clips.append(3.0)
    assert options == Options(suppress_tokens=(-1, 5), temperature=(0.0, 0.5), clip_timestamps=(1.0, 2.0))


def test_options_are_frozen_hashable_and_picklable() -> None:
    options = Options(temperature=[0.0, 0.5], suppress_tokens=[1], language="French")
    with pytest.raises(FrozenInstanceError):
        options.seed = 1  # type: ignore[misc]
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("beam_size", "None", None),
        ("beam_size", "3", 3),
        ("suppress_blank", "False", False),
        ("temperature", "0.4", 0.4),
        ("language", "French", "fr"),
        ("language", "None", None),
        ("logprob_threshold", "-0.5", -0.5),
        ("suppress_tokens", "-1,7", (-1, 7)),
        ("clip_timestamps", "0,5,9", (0.0, 5.0, 9.0)),
        ("task", "translate", "translate"),
    ],
)
def test_every_option_is_read_from_the_text_of_a_command_line(name: str, text: str, value: object) -> None:
    (definition,) = (each for each in fields(Options) if each.name == name)
    kind: Kind = definition.metadata["kind"]
    assert getattr(make_options({name: kind.parse(text)}), name) == value


def test_a_flag_is_not_read_from_any_other_text() -> None:
    (definition,) = (each for each in fields(Options) if each.name == "suppress_blank")
    kind: Kind = definition.metadata["kind"]
    with pytest.raises(ValueError, match="not True or False"):
        kind.parse("yes")
