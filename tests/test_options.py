"""Options: what they default to, what they refuse and how they say so, and what is derived from them."""

from __future__ import annotations

import inspect
import itertools
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import whisperlite
from whisperlite.errors import LanguageError, OptionError
from whisperlite.kinds import Kind
from whisperlite.options import Options, OptionsDict, make_options
from whisperlite.other_names import FOREIGN_NAMES, LOAD_MODEL_ARGUMENTS
from whisperlite.vad_options import VadOptions

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
    "chunking": "sequential",
    "clip_timestamps": (),
    "vad_filter": False,
    "vad_options": None,
    "word_timestamps": False,
    "prepend_punctuations": "\"'“¿([{-",
    "append_punctuations": "\"'.。,，!！?？:：”)]}、",
    "hallucination_silence_threshold": None,
    "seed": 0,
    "timeout_s": None,
    "max_duration_s": None,
}


def kind_of(name: str) -> Kind:
    (definition,) = (each for each in fields(Options) if each.name == name)
    kind: Kind = definition.metadata["kind"]
    return kind


def test_the_defaults_are_those_documented() -> None:
    assert asdict(Options()) == DEFAULTS


def test_the_typed_keyword_arguments_are_the_options() -> None:
    assert get_type_hints(OptionsDict) == get_type_hints(Options)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_has_help_and_says_what_it_takes(name: str) -> None:
    (definition,) = (each for each in fields(Options) if each.name == name)
    assert definition.metadata["help"].endswith(".")
    assert kind_of(name).label


def test_a_pattern_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(OptionError, match="regular expression"):
        Options(suppress_regex="(" * 3000 + ")" * 3000)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("task", "summarise", "'transcribe' or 'translate'"),
        ("task", None, "'transcribe' or 'translate'"),
        ("task", ["transcribe"], "'transcribe' or 'translate'"),
        ("language", 7, "a language's code or English name, or None"),
        ("temperature", -0.1, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", 100.5, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", (0.0, 1e39), "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", math.nan, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", math.inf, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", "0.5", "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", (), "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", (0.0, -1.0), "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", True, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature", None, "a number from 0 to 100, or a sequence of such numbers"),
        ("temperature_increment_on_fallback", 0, "a number of at least 0.01, or None"),
        ("beam_size", 0, "an integer from 1 to 100, or None"),
        ("beam_size", 2.5, "an integer from 1 to 100, or None"),
        ("beam_size", True, "an integer from 1 to 100, or None"),
        ("best_of", -1, "an integer from 1 to 100, or None"),
        ("patience", 0.0, "a number from 0.01 to 100, or None"),
        ("patience", math.inf, "a number from 0.01 to 100, or None"),
        ("length_penalty", 1.5, "a number from 0 to 1, or None"),
        ("suppress_tokens", "1,x", "token ids"),
        ("suppress_tokens", (-2,), "token ids"),
        ("suppress_tokens", 5, "token ids"),
        ("suppress_tokens", (1.5,), "token ids"),
        ("suppress_blank", 1, "True or False"),
        ("suppress_blank", "True", "True or False"),
        ("initial_prompt", b"text", "a string, or a sequence of token ids, or None"),
        ("carry_initial_prompt", None, "True or False"),
        ("prefix", 3, "a string, or None"),
        ("condition_on_previous_text", "no", "True or False"),
        ("prompt_reset_on_temperature", None, "a number of at least 0"),
        ("compression_ratio_threshold", -1, "a number of at least 0, or None"),
        ("compression_ratio_threshold", 10**400, "a number of at least 0, or None"),
        ("logprob_threshold", "low", "a number, or None"),
        ("logprob_threshold", math.nan, "a number, or None"),
        ("no_speech_threshold", 60, "a number from 0 to 1, or None"),
        ("without_timestamps", 0, "True or False"),
        ("max_initial_timestamp", 31, "a number from 0 to 30, or None"),
        ("max_new_tokens", 0, "an integer from 1 to 448, or None"),
        ("max_new_tokens", 449, "an integer from 1 to 448, or None"),
        ("clip_timestamps", "1,b", "ascending times in seconds"),
        ("clip_timestamps", (5.0, 2.0), "ascending times in seconds"),
        ("clip_timestamps", (-1.0,), "ascending times in seconds"),
        ("clip_timestamps", math.nan, "ascending times in seconds"),
        ("clip_timestamps", (0.0, math.nan), "ascending times in seconds"),
        ("clip_timestamps", (0.0, math.inf), "ascending times in seconds"),
        ("clip_timestamps", None, "ascending times in seconds"),
        ("clip_timestamps", ",30", "ascending times in seconds"),  # is not from 30 on
        ("clip_timestamps", "5,,9", "ascending times in seconds"),
        ("clip_timestamps", "1_0,2_0", "ascending times in seconds"),
        ("clip_timestamps", ",", "ascending times in seconds"),
        ("seed", -1, "an integer of at least 0"),
        ("seed", 0.5, "an integer of at least 0"),
        ("multilingual", 1, "True or False"),
        ("allowed_languages", (), "codes or English names of languages"),
        ("allowed_languages", 5, "codes or English names of languages"),
        ("allowed_languages", ["en", 5], "codes or English names of languages"),
        ("language_detection_segments", 0, "an integer of at least 1"),
        ("language_detection_segments", None, "an integer of at least 1"),
        ("language_detection_segments", 1.0, "an integer of at least 1"),
        ("language_detection_threshold", 1.1, "a number from 0 to 1"),
        ("language_detection_threshold", None, "a number from 0 to 1"),
        ("suppress_regex", "(", "a regular expression, or None"),
        ("suppress_regex", 5, "a regular expression, or None"),
        ("suppress_numerals", "yes", "True or False"),
        ("repetition_penalty", 0, "a number from 0.01 to 100"),
        ("repetition_penalty", 101, "a number from 0.01 to 100"),
        ("repetition_penalty", None, "a number from 0.01 to 100"),
        ("repetition_penalty", math.nan, "a number from 0.01 to 100"),
        ("no_repeat_ngram_size", -1, "an integer from 0 to 448"),
        ("no_repeat_ngram_size", 449, "an integer from 0 to 448"),
        ("no_repeat_ngram_size", None, "an integer from 0 to 448"),
        ("initial_prompt", 5, "a string, or a sequence of token ids, or None"),
        ("initial_prompt", [1, -1], "a string, or a sequence of token ids, or None"),
        ("initial_prompt", [1.5], "a string, or a sequence of token ids, or None"),
        ("initial_prompt", ["names"], "a string, or a sequence of token ids, or None"),
        ("initial_prompt", memoryview(b"12"), "a string, or a sequence of token ids, or None"),
        ("suppress_tokens", b"12", "token ids, as a sequence or separated by commas"),
        ("temperature", b"\x01", "a number from 0 to"),
        ("temperature", {0.0, 0.2}, "a number from 0 to"),
        ("clip_timestamps", b"ab", "ascending times in seconds"),
        ("hotwords", ["names"], "a string, or None"),
        ("chunk_length", 0.5, "a number from 1 to 30"),
        ("chunk_length", 31, "a number from 1 to 30"),
        ("chunk_length", None, "a number from 1 to 30"),
        ("clip_timestamps", [(0, 1), 2], "ascending times in seconds: start, end, start, end, …, or pairs of them"),
        ("clip_timestamps", [2, (3, 4)], "ascending times in seconds"),
        ("clip_timestamps", [(0, 1), (2,)], "ascending times in seconds"),
        ("clip_timestamps", [(0, 1, 2)], "ascending times in seconds"),
        ("clip_timestamps", [(3, 4), (1, 2)], "ascending times in seconds"),
        ("clip_timestamps", [(0, None)], "ascending times in seconds"),
        ("vad_filter", 0, "True or False"),
        ("vad_options", 0.5, "a VadOptions, a dict of its fields, or text such as 'threshold=0.6,speech_pad_ms=100'"),
        ("vad_options", "threshold=high", "a VadOptions, a dict of its fields, or text such as"),
        ("word_timestamps", None, "True or False"),
        ("prepend_punctuations", None, "a string"),
        ("append_punctuations", [","], "a string"),
        ("hallucination_silence_threshold", -1, "a number of at least 0, or None"),
        ("hallucination_silence_threshold", math.inf, "a number of at least 0, or None"),
        ("timeout_s", -0.1, "a number of at least 0, or None"),
        ("max_duration_s", -1, "a number of at least 0, or None"),
        ("timeout_s", math.inf, "a number of at least 0, or None"),
        ("timeout_s", "60", "a number of at least 0, or None"),
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


def test_an_allowed_language_that_whisper_does_not_have_is_a_language_error() -> None:
    with pytest.raises(LanguageError, match="'klingon'"):
        Options(allowed_languages=["en", "klingon"])


@pytest.mark.parametrize(
    "value", ["de,fr", "German, French", ["de", "French"], ("DE", "fr", "german"), iter(["de", "fr"])]
)
def test_allowed_languages_are_kept_as_their_codes_each_once(value: Any) -> None:
    assert Options(allowed_languages=value).allowed_languages == ("de", "fr")


@pytest.mark.parametrize("options", [Options, VadOptions])
def test_help_says_what_each_option_means(options: type[Any]) -> None:
    text = inspect.getdoc(options) or ""
    told = [f"    {each.name}: {each.metadata['help']} (default: {each.default!r})" for each in fields(options)]
    assert text.split("Attributes:\n")[1].splitlines() == told


@pytest.mark.parametrize("language", ["fr", "FR", "French", " french "])
def test_a_language_is_kept_as_its_code(language: str) -> None:
    assert Options(language=language).language == "fr"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"no option 'beam_sise'\. Did you mean 'beam_size'\?"):
        make_options({"beam_sise": 5})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fp16", "Here 'compute_type' is given to load_model."),
        ("cpu_threads", "'cpu_threads' is given to load_model."),
        ("vad_parameters", "Here it is 'vad_options'."),
        ("verbose", "Here it is 'on_segment'."),
    ],
)
def test_names_of_other_libraries_are_known(name: str, hint: str) -> None:
    with pytest.raises(OptionError, match=re.escape(f"no option {name!r}. {hint} Options: task, ")):
        make_options({name: 1})


def test_every_name_of_another_library_has_one_here() -> None:
    taken = {
        *inspect.signature(whisperlite.load_model).parameters,
        *inspect.signature(whisperlite.transcribe).parameters,
    }
    options = {definition.name for definition in fields(Options)}
    assert not FOREIGN_NAMES.keys() & (taken | options)
    assert {*FOREIGN_NAMES.values()} <= taken | options
    assert {*LOAD_MODEL_ARGUMENTS} < taken - options


def test_an_unknown_name_unlike_any_is_refused_with_all_names() -> None:
    with pytest.raises(OptionError, match=r"no option 'zzz'\. Options: task, language, .*, max_duration_s\.$"):
        make_options({"zzz": 5})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hallucination_silence_threshold": 2.0}, r"hallucination_silence_threshold .* give word_timestamps=True"),
        ({"hallucination_silence_threshold": 0.0}, r"hallucination_silence_threshold .* give word_timestamps=True"),
        ({"prepend_punctuations": "«"}, r"prepend_punctuations .* give word_timestamps=True"),
        ({"append_punctuations": ""}, r"append_punctuations .* give word_timestamps=True"),
        ({"carry_initial_prompt": True}, r"carry_initial_prompt=True .* give an initial_prompt"),
        ({"vad_options": {"threshold": 0.4}}, r"vad_options .* give vad_filter=True"),
        ({"chunking": "vad", "prefix": "And"}, r"prefix .* many that are first"),
        ({"chunking": "vad", "vad_filter": True}, r"leave vad_filter out"),
        ({"vad_options": VadOptions()}, r"vad_options .* give vad_filter=True"),
        ({"language": "de", "multilingual": True}, r"language='de' leaves nothing to detect: .* multilingual=True"),
        ({"language": "de", "allowed_languages": ["de"]}, r"language='de' leaves nothing .* allowed_languages"),
        ({"language": "de", "language_detection_segments": 2}, r"language='de' .* language_detection_segments"),
        ({"multilingual": True, "language_detection_segments": 2}, r"multilingual=True .* language_detection_segments"),
        (
            {"multilingual": True, "language_detection_threshold": 0.9},
            r"multilingual=True .* leave language_detection_t",
        ),
        ({"language_detection_threshold": 0.9}, r"give more than one of them"),
        ({"without_timestamps": True, "max_initial_timestamp": None}, r"max_initial_timestamp is about timestamps"),
    ],
)
def test_an_option_that_cannot_apply_is_a_contradiction(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_options(values)


@pytest.mark.parametrize(
    "values",
    [
        {"hallucination_silence_threshold": 2.0, "word_timestamps": True},
        {"vad_options": {}, "vad_filter": True},
        {"vad_options": {}, "chunking": "vad"},
        {"vad_options": "threshold=0.5", "vad_filter": True},
        {"append_punctuations": "", "word_timestamps": True},
        {"carry_initial_prompt": True, "initial_prompt": "Names"},
        {"multilingual": True, "allowed_languages": ["de", "en"]},
        {"language_detection_segments": 4, "allowed_languages": ["de", "en"]},
        {"language_detection_segments": 2, "language_detection_threshold": 0.9},
        {"without_timestamps": True, "max_initial_timestamp": 1.0},
        {"language": "de", "language_detection_segments": 1, "multilingual": False},
    ],
)
def test_options_that_go_together_are_no_contradiction(values: dict[str, Any]) -> None:
    make_options(values)


# Voice activity


def test_how_speech_is_found_is_only_told_where_it_is_looked_for() -> None:
    assert Options().vad is None
    assert Options(vad_filter=True).vad == VadOptions()


@pytest.mark.parametrize(
    "value", [{"threshold": 0.6, "speech_pad_ms": 100}, VadOptions(threshold=0.6, speech_pad_ms=100)]
)
def test_options_of_voice_activity_may_be_a_dict_or_an_object(value: Any) -> None:
    options = Options(vad_filter=True, vad_options=value)
    assert options.vad == options.vad_options == VadOptions(threshold=0.6, speech_pad_ms=100)
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))


def test_the_dict_of_the_caller_is_copied() -> None:
    mine = {"threshold": 0.6}
    options = Options(vad_filter=True, vad_options=mine)
    mine["threshold"] = 0.1
    assert options.vad == VadOptions(threshold=0.6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threshold=0.6,speech_pad_ms=100", VadOptions(threshold=0.6, speech_pad_ms=100)),
        (" threshold = 0.6 , speech_pad_ms=100, ", VadOptions(threshold=0.6, speech_pad_ms=100)),
        ("neg_threshold=None,max_speech_duration_s=30", VadOptions(max_speech_duration_s=30.0)),
        ("max_speech_duration_s=inf", VadOptions()),
        ("", VadOptions()),
    ],
)
def test_options_of_voice_activity_are_read_from_text(text: str, expected: VadOptions) -> None:
    assert make_options({"vad_filter": True, "vad_options": kind_of("vad_options").parse(text)}).vad == expected


@pytest.mark.parametrize(
    "read",
    [
        lambda: kind_of("vad_options").parse("treshold=0.6"),
        lambda: Options(vad_filter=True, vad_options={"treshold": 0.6}),
    ],
)
def test_an_unknown_option_of_voice_activity_is_refused_with_the_nearest(read: Callable[[], object]) -> None:
    with pytest.raises(OptionError, match=r"no option 'treshold'\. Did you mean 'threshold'\?"):
        read()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("threshold", 1.5, "a number from 0 to 1"),
        ("threshold", None, "a number from 0 to 1"),
        ("neg_threshold", -0.1, "a number from 0 to 1, or None"),
        ("min_speech_duration_ms", -1, "an integer from 0 to 86400000"),
        ("min_speech_duration_ms", 2.5, "an integer from 0 to 86400000"),
        ("min_silence_duration_ms", "100", "an integer from 0 to 86400000, or None"),
        ("speech_pad_ms", True, "an integer from 0 to 86400000"),
        ("speech_pad_ms", 10**400, "an integer from 0 to 86400000"),
        ("max_speech_duration_s", 0.5, "a number of at least 1"),
    ],
)
def test_a_wrong_value_of_voice_activity_is_refused(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options(vad_filter=True, vad_options={name: value})
    assert str(caught.value) == f"{name}={value!r} is not allowed: it takes {allowed}."


def test_speech_that_would_end_at_once_is_a_contradiction() -> None:
    with pytest.raises(OptionError, match=r"neg_threshold=0\.6 is above threshold=0\.5"):
        VadOptions(neg_threshold=0.6)
    assert VadOptions(neg_threshold=0.5).neg_threshold == 0.5


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
        (np.array(0.5), None, (0.5,)),
        (torch.tensor(0.5), None, (0.5,)),
        (torch.tensor([0.0, 0.5]), None, (0.0, 0.5)),
    ],
)
def test_the_ladder(temperature: Any, increment: float | None, ladder: tuple[float, ...]) -> None:
    assert Options(temperature=temperature, temperature_increment_on_fallback=increment).temperatures == ladder


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_times_may_be_arrays(array: Callable[[Any], Any]) -> None:
    assert Options(clip_timestamps=array([0.0, 2.0])).clips == ((0.0, 2.0),)
    assert Options(clip_timestamps=array([[0.0, 2.0], [3.0, 4.0]])).clips == ((0.0, 2.0), (3.0, 4.0))


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
        ("1,2.5,", ((1.0, 2.5),)),
        ("1, 2.5 ,4", ((1.0, 2.5), (4.0, None))),
        ([0, 3, 3, 8], ((0.0, 3.0), (3.0, 8.0))),
        (np.array([1.0, 2.0]), ((1.0, 2.0),)),
        ([(0, 3), (3, 8)], ((0.0, 3.0), (3.0, 8.0))),
        ([[1.5, 2]], ((1.5, 2.0),)),
        (((0, 3), [4, 8]), ((0.0, 3.0), (4.0, 8.0))),
        (np.array([[0.0, 3.0], [4.0, 8.0]]), ((0.0, 3.0), (4.0, 8.0))),
        ([1, 2, 3], ((1.0, 2.0), (3.0, None))),
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
        (None, ()),
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
        ("suppress_tokens", "None", ()),
        ("clip_timestamps", "0,5,9", (0.0, 5.0, 9.0)),
        ("task", "translate", "translate"),
        ("temperature", "0,0.5,1", (0.0, 0.5, 1.0)),
        ("temperature", "0.0", 0.0),
        ("allowed_languages", "de,French", ("de", "fr")),
        ("allowed_languages", "None", None),
        ("multilingual", "True", True),
        ("suppress_regex", r"^\d+$", r"^\d+$"),
        ("suppress_regex", "None", None),
        ("repetition_penalty", "1.2", 1.2),
        ("no_repeat_ngram_size", "3", 3),
        ("initial_prompt", "Names", "Names"),
        ("hotwords", "Dashwood", "Dashwood"),
        ("chunk_length", "15", 15.0),
        ("word_timestamps", "True", True),
        ("timeout_s", "2.5", 2.5),
        ("timeout_s", "None", None),
    ],
)
def test_every_option_is_read_from_the_text_of_a_command_line(name: str, text: str, value: object) -> None:
    assert getattr(make_options({name: kind_of(name).parse(text)}), name) == value


def test_punctuation_is_read_from_text_as_it_is() -> None:
    read = {"prepend_punctuations": kind_of("prepend_punctuations").parse("« ")}
    assert make_options({"word_timestamps": True, **read}).prepend_punctuations == "« "


@pytest.mark.parametrize("text", ["0,", "", "0;1", "zero"])
def test_a_temperature_is_not_read_from_any_other_text(text: str) -> None:
    with pytest.raises(ValueError):
        kind_of("temperature").parse(text)


def test_a_flag_is_not_read_from_any_other_text() -> None:
    with pytest.raises(ValueError, match="not True or False"):
        kind_of("suppress_blank").parse("yes")


@pytest.mark.parametrize(
    ("value", "kept"),
    [("Names", "Names"), ([1, 2], (1, 2)), ((), ()), (np.array([3, 4]), (3, 4)), (range(2), (0, 1)), (None, None)],
)
def test_an_initial_prompt_may_be_text_or_ids(value: Any, kept: object) -> None:
    options = Options(initial_prompt=value)
    assert options.initial_prompt == kept
    assert hash(options) == hash(Options(initial_prompt=options.initial_prompt))
