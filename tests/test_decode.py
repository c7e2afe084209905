"""`decode` and `detect_language`, for one window and for a language: their options and what they keep."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.pooled import QUICK, SHORT, noise
from tests.test_cancel import Countdown
from whisperlite import (
    AudioFormatError,
    AudioTooLongError,
    CancelledError,
    CancelToken,
    DecodingError,
    LanguageError,
    OptionError,
    Options,
    TimeoutExceededError,
    Whisper,
)
from whisperlite.decoding.encoding import Encoding

WINDOWS = torch.zeros(2, 80, 3000)


def keeps_cross(encoding: Encoding) -> bool:
    return encoding._cross is not None


def test_an_answer_keeps_no_more_than_what_the_encoder_gave(model: Whisper) -> None:
    options = Options(language="en", beam_size=1, max_new_tokens=4)
    answers = model.decode(WINDOWS, options)
    assert [keeps_cross(answer.encoding) for answer in answers] == [False, False]
    assert model.decode([answers[0].encoding], options)[0].tokens == answers[0].tokens


def test_an_answer_says_its_language(model: Whisper) -> None:
    given, detected = model.decode(WINDOWS, [Options(language="german"), Options(allowed_languages=["fr"])])
    assert (given.language, detected.language) == ("de", "fr")


def test_the_language_of_an_english_model_is_english(tiny_en: Whisper) -> None:
    [answer] = tiny_en.decode(WINDOWS[:1], Options(beam_size=1, max_new_tokens=4))
    assert answer.language == "en"


@pytest.mark.parametrize("language", ["en", None])
def test_a_window_that_is_not_finite_is_an_error_that_names_it(model: Whisper, language: str | None) -> None:
    windows = torch.stack([WINDOWS[0], torch.full_like(WINDOWS[0], torch.nan)])
    with pytest.raises(DecodingError, match="not finite"):
        model.decode(windows, Options(language=language, beam_size=1, max_new_tokens=4))


def test_an_encoding_that_was_given_keeps_what_the_next_call_needs(model: Whisper) -> None:
    encoding, other = model.encode(WINDOWS)
    mine, fresh = model.decode([encoding, WINDOWS[0]], Options(language="en", beam_size=1, max_new_tokens=4))
    assert mine.encoding is encoding
    assert [keeps_cross(each) for each in (encoding, other, fresh.encoding)] == [True, False, False]


@pytest.mark.parametrize(
    "options",
    [
        {"prompt_reset_on_temperature": 0.7},
        {"temperature_increment_on_fallback": 0.3},
        {"compression_ratio_threshold": 2.0},
        {"logprob_threshold": -0.5},
        {"no_speech_threshold": 0.5},
        {"temperature": (0.0, 0.5)},
        {"clip_timestamps": [0, 5]},
        {"chunk_length": 20},
        {"max_duration_s": 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_decode_refuses_an_option_that_cannot_apply(model: Whisper, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}=") as caught:
        model.decode(WINDOWS, Options(**options))
    assert caught.value.option == name


def test_decode_takes_options_that_say_what_it_does(model: Whisper) -> None:
    plain = Options(language="en", beam_size=1, max_new_tokens=4, initial_prompt="So")
    said = Options(
        language="en",
        beam_size=1,
        max_new_tokens=4,
        initial_prompt="So",
        carry_initial_prompt=True,
        temperature=(0.0,),
        temperature_increment_on_fallback=None,
        condition_on_previous_text=False,
        compression_ratio_threshold=None,
        logprob_threshold=None,
        no_speech_threshold=None,
    )
    assert [each.tokens for each in model.decode(WINDOWS, said)] == [
        each.tokens for each in model.decode(WINDOWS, plain)
    ]


WINDOW = WINDOWS[0]


def windows(*given: Any) -> Iterator[Any]:
    yield from given


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        None,
        "abc",
        b"abc",
        torch.zeros(()),
        [5],
        ["abc"],
        [WINDOW.to_sparse()],
        [WINDOW.to("meta")],
        [WINDOW.to(torch.complex64)],
        [WINDOW.to(torch.int64)],
        [WINDOW.numpy().astype(int)],
        [WINDOW[:, :9]],
    ],
    ids=lambda wrong: str(wrong)[:20],
)
def test_what_is_no_window_is_refused(model: Whisper, wrong: Any) -> None:
    for call in (model.encode, model.decode):
        with pytest.raises(AudioFormatError, match=r"window"):
            call(wrong)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda again: again.__name__)
def test_an_encoding_says_that_it_cannot_be_copied(model: Whisper, again: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="An Encoding belongs to one loaded model"):
        again(model.encode([WINDOW])[0])


def test_a_clone_of_an_encoding_can_be_trained_on(model: Whisper) -> None:
    probe = torch.nn.Linear(model.dims.n_audio_state, 1)
    probe(model.encode([WINDOW])[0].hidden.clone()).sum().backward()
    assert probe.weight.grad is not None


def test_an_encoding_is_not_encoded_again(model: Whisper) -> None:
    with pytest.raises(AudioFormatError, match="got Encoding"):
        model.encode(model.encode([WINDOW]))  # type: ignore[arg-type]


def test_windows_may_be_arrays_and_come_one_by_one(model: Whisper) -> None:
    options = Options(language="en", beam_size=1, max_new_tokens=4)
    (expected,) = model.decode([WINDOW], options)
    encoding = model.encode(windows(WINDOW))[0]
    array: Any = WINDOW.numpy()
    for given in ([array], array[None], windows(WINDOW), windows(encoding)):
        assert [each.tokens for each in model.decode(given, options)] == [expected.tokens]


@pytest.mark.parametrize("wrong", [{"beam_size": 1}, {}, [{}], "a", 5])
def test_what_is_no_options_is_refused(model: Whisper, wrong: Any) -> None:
    with pytest.raises(OptionError, match="is no Options"):
        model.decode([WINDOW], wrong)


def test_options_are_checked_only_if_they_are_some(model: Whisper) -> None:
    with pytest.raises(OptionError, match="is no Options"):
        model.check_options({})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["on_segment", "on_progress"])
def test_what_cannot_be_called_back_is_refused_before_anything_is_read(model: Whisper, name: str) -> None:
    wrong: Any = {name: 5}
    with pytest.raises(OptionError, match=f"{name}=5 cannot be called"):
        model.transcribe("no such file.wav", **wrong)
    with model.pool() as pool, pytest.raises(OptionError, match="callback=5 cannot be called"):
        pool.submit(SHORT, **QUICK).add_callback(5)  # type: ignore[arg-type]


# The language of a recording


def test_a_language_is_detected_among_those_that_are_allowed(model: Whisper) -> None:
    free = model.detect_language(SHORT)
    first, second, third = sorted(free.probabilities, key=lambda code: -free.probabilities[code])[:3]
    found = model.detect_language(SHORT, allowed_languages=[third, second])
    assert (free.language, found.language) == (first, second)
    assert found.probability == free.probabilities[second]
    assert found.probabilities == free.probabilities


def test_a_detection_hears_as_much_as_a_transcription_does(model: Whisper) -> None:
    time = np.arange(30 * 16000, dtype=np.float32) / 16000
    sounds = np.concatenate([np.sin(2764.6 * time), noise(30), time * 50 % 1 - 0.5]).astype(np.float32)
    first = model.detect_language(sounds)
    probabilities = set()
    for options in (
        {"language_detection_segments": 3, "language_detection_threshold": 1.0},
        {"language_detection_segments": 2, "language_detection_threshold": 1.0},
        {"language_detection_segments": 3, "language_detection_threshold": first.probability},
        {"language_detection_segments": 9, "allowed_languages": ["de", "en"]},
    ):
        chosen: dict[str, Any] = {**QUICK, "language": None, **options}
        found = model.detect_language(sounds, **options)
        result = model.transcribe(sounds, **chosen)
        assert (found.language, found.probability) == (result.language, result.language_probability)
        assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        probabilities.add(found.probability)
    assert len(probabilities) == 4
    assert first.probability in probabilities
    with pytest.raises(OptionError, match="language_detection_threshold"):
        model.detect_language(sounds, language_detection_threshold=0.9)


def test_a_detection_can_be_stopped_and_has_limits(model: Whisper) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        model.detect_language("no such file.wav", cancel=token)
    with pytest.raises(CancelledError):
        model.detect_language(SHORT, cancel=Countdown(1))  # while its loudest moment is looked for
    with pytest.raises(TimeoutExceededError):
        model.detect_language(SHORT, timeout_s=0)
    with pytest.raises(AudioTooLongError):
        model.detect_language(SHORT, max_duration_s=2)
    with pytest.raises(OptionError, match="max_duration_s"):
        model.detect_language(SHORT, max_duration_s=-1)


def test_a_language_that_the_model_does_not_have_is_refused_by_the_name_of_its_option(model: Whisper) -> None:
    for call in (
        lambda: model.transcribe(SHORT, allowed_languages=["en", "yue"]),
        lambda: model.detect_language(SHORT, allowed_languages=["en", "yue"]),
        lambda: model.decode(WINDOWS, Options(allowed_languages=["en", "yue"])),
    ):
        with pytest.raises(LanguageError, match="allowed_languages holds 'yue'") as caught:
            call()
        assert caught.value.option == "allowed_languages"


# What was wrong with a recording is said in the partial result too


def test_a_recording_that_is_stopped_before_it_is_listened_to_keeps_its_warnings(model: Whisper) -> None:
    too_loud = np.asarray(noise(3) * 100, np.float32)
    with pytest.raises(CancelledError) as caught:
        model.transcribe(too_loud, language="en", cancel=Countdown(1))
    assert caught.value.partial is not None
    assert caught.value.partial.duration == 3.0
    assert [text.partition(" ")[0] for text in caught.value.partial.warnings] == ["samples", "This"]
