"""The whole path on real weights and a real recording, through the public API."""

from __future__ import annotations

import io
import json
import pickle
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import whisperlite
from tests.conftest import DATA, in_bfloat16
from tests.small_whisper import small_whisper
from whisperlite.audio.load import AudioSource
from whisperlite.audio.mel import Samples
from whisperlite.errors import (
    AudioFormatError,
    AudioNotFoundError,
    LanguageError,
    ModelNotFoundError,
    OptionError,
)
from whisperlite.nn import linear
from whisperlite.options import Options, OptionsDict

TRANSCRIPT = (DATA / "librivox.txt").read_text(encoding="utf-8")


LAST_CLIP = 343_040  # where the last sentence begins, in samples
SENTENCE = "He might even have been made amiable himself."


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("\n", " ")).split()


def word_errors(hypothesis: list[str], reference: list[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(reference) + 1))
    for i, word in enumerate(hypothesis, 1):
        previous, row[0] = row[0], i
        for j, expected in enumerate(reference, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != expected))
    return row[-1]


def write_wav(path: Path, samples: Samples) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def short(librivox: Samples) -> Samples:
    """The last sentence."""
    return librivox[LAST_CLIP:]


@pytest.fixture(scope="module")
def result(base: whisperlite.Whisper) -> whisperlite.Transcription:
    return base.transcribe(DATA / "librivox.wav", beam_size=1)


# The recording


def test_base_writes_down_what_is_read(result: whisperlite.Transcription) -> None:
    assert word_errors(words(result.text), words(TRANSCRIPT)) <= 1
    assert "Mr. John Dashwood" in result.text


def test_a_beam_search_writes_it_down_too(base: whisperlite.Whisper) -> None:
    """With the options as they are: beams of 5, previous text, thresholds."""
    result = base.transcribe(DATA / "librivox.wav", clip_timestamps=[0, 10.09])
    assert word_errors(words(result.text), words(TRANSCRIPT)[:30]) <= 1


def test_segments_are_in_order_and_make_up_the_text(result: whisperlite.Transcription) -> None:
    times = [time for segment in result.segments for time in (segment.start, segment.end)]
    assert len(result.segments) >= 4
    assert times == sorted(times)
    assert times[0] >= 0
    assert 23 < times[-1] <= result.duration == pytest.approx(24.73)
    assert "".join(segment.text for segment in result.segments) == result.text
    assert [segment.id for segment in result.segments] == list(range(len(result.segments)))


def test_a_result_says_how_it_came_about(result: whisperlite.Transcription) -> None:
    assert result.language == "en"
    assert result.language_probability is not None
    assert result.language_probability > 0.95
    assert (result.model, result.task, result.warnings, result.skipped) == ("base", "transcribe", (), ())
    assert all(attempt.temperature == 0.0 and attempt.failed == () for attempt in result.attempts)
    assert all(segment.avg_logprob > -0.5 and segment.no_speech_prob < 0.2 for segment in result.segments)
    assert 60 < result.usage.tokens_generated < 130
    assert result.usage.audio_ms == 24_730
    assert result.usage.runtime_ms > 0


def test_a_result_pickles_and_goes_to_json_and_back(result: whisperlite.Transcription) -> None:
    assert pickle.loads(pickle.dumps(result)) == result
    assert whisperlite.Transcription.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_segments_and_progress_are_handed_out_on_the_way(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    segments: list[whisperlite.Segment] = []
    progress: list[tuple[float, float]] = []
    result = tiny_en.transcribe(
        short, beam_size=1, on_segment=segments.append, on_progress=lambda done, total: progress.append((done, total))
    )
    assert tuple(segments) == result.segments
    assert progress == sorted(progress)
    assert progress[-1] == (result.duration, result.duration)


def test_a_clip_keeps_the_times_of_the_recording(tiny_en: whisperlite.Whisper, librivox: Samples) -> None:
    result = tiny_en.transcribe(librivox, beam_size=1, clip_timestamps=[LAST_CLIP / 16000])
    assert words(result.text) == words(SENTENCE)
    assert all(LAST_CLIP / 16000 <= segment.start < segment.end <= 24.73 for segment in result.segments)


def test_a_recording_of_two_windows_goes_on_where_the_first_ended(
    tiny_en: whisperlite.Whisper, librivox: Samples
) -> None:
    result = tiny_en.transcribe(np.concatenate([librivox, librivox[: 15 * 16000]]), beam_size=1)
    assert len({segment.seek for segment in result.segments}) >= 2
    times = [time for segment in result.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert result.text.count("John Dashwood") == 2


# Where the sound comes from


def test_every_kind_of_source_gives_the_same(tiny_en: whisperlite.Whisper, short: Samples, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", short)
    floats = short.astype(np.float32) / 32768
    sources: list[AudioSource] = [
        *(str(path), path.read_bytes(), io.BytesIO(path.read_bytes())),
        *(short, floats, torch.from_numpy(np.stack([floats, floats]))),
    ]
    results = [replace(tiny_en.transcribe(source, beam_size=1), usage=None) for source in sources]  # type: ignore[arg-type]
    assert words(results[0].text) == words(SENTENCE)
    assert all(result == results[0] for result in results)


def test_silence_is_passed_over(base: whisperlite.Whisper) -> None:
    result = base.transcribe(np.zeros(5 * 16000, dtype=np.float32), beam_size=1, language="en")
    assert result.duration == 5.0
    assert result.skipped or result.text.strip() in ("", "you")


# Language and task


def test_a_language_may_be_named_in_english(base: whisperlite.Whisper, short: Samples) -> None:
    result = base.transcribe(short, language="English", beam_size=1)
    assert (result.language, result.language_probability) == ("en", None)
    assert words(result.text) == words(SENTENCE)


def test_the_language_and_the_task_reach_the_model(base: whisperlite.Whisper, short: Samples) -> None:
    """Told that it hears German, it writes other words ("Er might even …"); told to translate, English again."""
    german = base.transcribe(short, language="de", beam_size=1)
    english = base.transcribe(short, language="de", task="translate", beam_size=1)
    assert german.language == english.language == "de"
    assert english.task == "translate"
    assert words(german.text) != words(SENTENCE)
    assert words(english.text) == words(SENTENCE)


def test_an_english_only_model_says_what_it_could_not_do__correction_25(
    tiny_en: whisperlite.Whisper, short: Samples
) -> None:
    result = tiny_en.transcribe(short, language="de", task="translate", beam_size=1)
    assert (result.language, len(result.warnings)) == ("en", 2)
    assert words(result.text) == words(SENTENCE)
    with pytest.raises(LanguageError, match="English-only"):
        tiny_en.detect_language(short)
    assert tiny_en.languages == ("en",)


@pytest.mark.parametrize(
    ("seconds", "options", "said"),
    [
        (31, {}, 1),
        (30, {}, 0),
        (31, {"without_timestamps": False}, 0),
        (60, {"clip_timestamps": [0, 10, 20, 50]}, 0),
        (60, {"clip_timestamps": [0, 10, 20, 51]}, 1),
        (31, {"word_timestamps": True}, 0),  # the next window begins behind the last word
        (15, {"chunk_length": 10}, 1),
    ],
)
def test_windows_without_timestamps_may_miss_their_end_and_say_so(
    seconds: int, options: OptionsDict, said: int
) -> None:
    model = small_whisper()
    silence = np.zeros(seconds * 16000, dtype=np.float32)
    chosen: dict[str, Any] = {"language": "en", "beam_size": 1, "without_timestamps": True, **options}
    result = model.transcribe(silence, **chosen)
    assert len([warning for warning in result.warnings if warning.startswith("without_timestamps")]) == said


def test_values_that_can_be_read_once_are_read_once() -> None:
    model = small_whisper()
    second = np.random.default_rng(0).standard_normal(3 * 16000).astype(np.float32) * 0.1

    def options() -> OptionsDict:
        once: Any = {"clip_timestamps": iter([1.0, 2.0]), "suppress_tokens": map(int, "5"), "initial_prompt": iter([7])}
        return cast(OptionsDict, {"language": "en", "beam_size": 1, "max_new_tokens": 4, **once})

    expected = model.transcribe(second, **options())
    assert expected.attempts[0].seek == 100
    assert whisperlite.transcribe(second, model=model, **options()).segments == expected.segments
    (many,) = model.transcribe_many([second], **options())
    assert isinstance(many, whisperlite.Transcription)
    assert many.segments == expected.segments


def test_the_language_is_detected(base: whisperlite.Whisper) -> None:
    found = base.detect_language(DATA / "librivox.wav")
    assert found.language == "en"
    assert found.probability == max(found.probabilities.values()) == found.probabilities["en"]
    assert len(found.probabilities) == 99
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-4)


# Sampling


def test_samples_depend_on_the_seed_alone__correction_18(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    def run(seed: int) -> tuple[int, ...]:
        options: OptionsDict = {"temperature": 1.4, "best_of": 1, "seed": seed, "logprob_threshold": None}
        options["temperature_increment_on_fallback"] = None
        result = tiny_en.transcribe(short, **options)
        return tuple(token for segment in result.segments for token in segment.tokens)

    state = torch.get_rng_state()
    first = run(0)
    torch.manual_seed(3)
    assert run(0) == first
    assert run(1) != first
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(2)
    assert torch.equal(torch.rand(3), expected)  # nor is the global generator drawn from
    torch.set_rng_state(state)


# Models


def test_a_model_pickles_as_its_recipe(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    data = pickle.dumps(tiny_en)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert repr(again) == repr(tiny_en) == "<Whisper 'tiny.en' on cpu in float32>"
    assert again.transcribe(short, beam_size=1).text == tiny_en.transcribe(short, beam_size=1).text


@in_bfloat16
def test_bfloat16_says_the_same(short: Samples) -> None:
    model = whisperlite.load_model("tiny.en", device="cpu", compute_type="bfloat16")
    result = model.transcribe(short, beam_size=2)
    assert word_errors(words(result.text), words(SENTENCE)) <= 1


@pytest.mark.parametrize("compute_type", ["bfloat16", "float16"])
def test_where_a_half_precision_is_slow_float32_takes_its_place_with_a_warning(
    compute_type: str, tiny_en: whisperlite.Whisper, short: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisperlite.api.load.has_fast_product", lambda _: False)
    with pytest.warns(UserWarning, match=f"no fast product of {compute_type} .* float32") as warned:
        model = whisperlite.load_model("tiny.en", device="cpu", compute_type=compute_type)
    assert [each.filename for each in warned] == [__file__]
    assert repr(model) == repr(tiny_en)
    assert model.transcribe(short, beam_size=1).text == tiny_en.transcribe(short, beam_size=1).text


def test_loading_and_decoding_leave_the_settings_of_torch_alone(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    tiny_en.transcribe(short, beam_size=1)
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()) == before


def test_the_user_s_autocast_default_type_and_device_change_nothing(
    tiny_en: whisperlite.Whisper, short: Samples
) -> None:
    expected = tiny_en.transcribe(short, word_timestamps=True)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = tiny_en.transcribe(short, word_timestamps=True)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found.segments == expected.segments


def test_what_is_fast_is_found_within_the_user_s_autocast_too() -> None:
    linear._probed.cache_clear()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [linear._works(kind, torch.float32) for kind in (linear._HalvesLinear, linear._PackedLinear)]
    finally:
        linear._probed.cache_clear()
    assert found == [linear._works(kind, torch.float32) for kind in (linear._HalvesLinear, linear._PackedLinear)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compute_type": "int7"}, "int7"),
        ({"compute_type": ["int8"]}, "int8"),
        ({"device": "abacus"}, "abacus"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": ["cuda"]}, r"device=\['cuda'\]"),
        ({"device": 1.5}, "device=1.5"),
    ],
)
def test_what_a_model_cannot_run_on_is_an_option_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        whisperlite.load_model("tiny.en", **arguments)
    assert [caught.value.option] == list(arguments)


# What is wrong fails early


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"beam_sizes": 3}, OptionError),
        ({"temperature": -1}, OptionError),
        ({"task": "translte"}, OptionError),
        ({"beam_size": 1, "patience": 2.0}, OptionError),
        ({"suppress_tokens": [51865]}, OptionError),
        ({"language": "klingon"}, LanguageError),
        ({"language": "yue"}, LanguageError),
    ],
)
def test_wrong_options_fail_before_the_audio_is_read__correction_6(
    base: whisperlite.Whisper, options: OptionsDict, error: type[Exception]
) -> None:
    with pytest.raises(error):
        base.transcribe("there is no such file.wav", **options)


def test_wrong_options_fail_before_the_model_is_loaded() -> None:
    with pytest.raises(OptionError, match="best_off"):
        whisperlite.transcribe("no such file.wav", model="no such model", best_off=3)  # type: ignore[call-arg]
    with pytest.raises(ModelNotFoundError, match="no such model"):
        whisperlite.transcribe("no such file.wav", model="no such model")


@pytest.mark.parametrize("wrong", [1, "yes", None])
def test_graphs_are_wanted_or_not(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"cuda_graphs=.* True or False"):
        whisperlite.load_model("no such model", cuda_graphs=wrong)


def test_whether_graphs_are_wanted_travels_with_a_model_and_on_a_cpu_changes_nothing(short: Samples) -> None:
    model = whisperlite.load_model("tiny.en", device="cpu", cuda_graphs=True)
    assert pickle.loads(pickle.dumps(model)).cuda_graphs is model.cuda_graphs is True
    expected = whisperlite.transcribe(short, model="tiny.en", device="cpu")
    assert model.transcribe(short).segments == expected.segments


def test_the_function_is_the_method_of_a_model_that_stays_loaded(short: Samples) -> None:
    result = whisperlite.transcribe(short, model="tiny.en", device="cpu", beam_size=1)
    assert words(result.text) == words(SENTENCE)
    with pytest.raises(AudioNotFoundError):
        whisperlite.transcribe("no such file.wav", model="tiny.en", device="cpu")


# The pieces


def windows_of(samples: Samples) -> torch.Tensor:
    """(1, 80, 3000)"""
    mel = whisperlite.log_mel_spectrogram(samples)
    return torch.nn.functional.pad(mel[:, : len(samples) // 160], (0, 3000 - len(samples) // 160))[None]


def test_encodings_are_decoded_like_their_windows(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    windows = windows_of(short)
    (encoding,) = tiny_en.encode(windows)
    assert encoding.hidden.shape == (1500, 384)
    options = Options(beam_size=1)
    (one,) = tiny_en.decode(windows, options)
    (other,) = tiny_en.decode([encoding], options)
    assert one.tokens == other.tokens
    assert one.text == SENTENCE
    assert other.encoding is encoding
    assert not one.truncated


def test_a_window_is_decoded_as_a_recording_of_one_window_is(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    (window,) = tiny_en.decode(windows_of(short), Options(beam_size=3))
    result = tiny_en.transcribe(short, beam_size=3)
    assert window.text == result.text.strip()
    assert window.avg_logprob == pytest.approx(result.segments[0].avg_logprob, abs=1e-4)


def test_the_beginning_and_the_limit_of_an_answer_can_be_given(tiny_en: whisperlite.Whisper, short: Samples) -> None:
    (encoding,) = tiny_en.encode(windows_of(short))
    prefixed, limited = tiny_en.decode(
        [encoding, encoding], [Options(beam_size=1, prefix="She might"), Options(beam_size=1, max_new_tokens=4)]
    )
    assert prefixed.text.startswith("She might even")
    assert (len(limited.tokens), limited.truncated) == (4, True)


def test_windows_and_options_that_do_not_fit_are_refused(tiny_en: whisperlite.Whisper) -> None:
    for wrong in (torch.zeros(1, 80, 2999), torch.zeros(1, 128, 3000), torch.zeros(80, 3000)):
        with pytest.raises(AudioFormatError, match=r"\(80, 3000\)"):
            tiny_en.encode(wrong)
        with pytest.raises(AudioFormatError, match=r"\(80, 3000\)"):
            tiny_en.decode(wrong)
    with pytest.raises(OptionError, match="1 windows were given with 2 options"):
        tiny_en.decode(torch.zeros(1, 80, 3000), [Options(), Options()])
    assert tiny_en.decode([]) == []
    assert tiny_en.encode([]) == []
