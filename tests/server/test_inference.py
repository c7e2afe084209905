"""The inference API, with a small model: answers, fields, refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import numpy as np
import pytest

from tests.pooled import QUICK, RECORDINGS, SHORT, WAV, Steps, noise, quick, wait_until, wav_of
from tests.server.serving import FORM, INFERENCE, Running, in_threads, running
from whisperlite import DecodingError, OptionError, Options, Transcription, Whisper
from whisperlite.audio import ffmpeg
from whisperlite.kinds import TEXT, Kind, optional
from whisperlite.server import fields as fields_module
from whisperlite.server.auth import add_token
from whisperlite.server.fields import OPTIONS, inference_schemas, read_fields
from whisperlite.server.json_body import read_json
from whisperlite.server.problems import Problem
from whisperlite.server.settings import Settings
from whisperlite.vad_options import VadOptions


@pytest.fixture(scope="module")
def service(model: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with running(model, folder, max_upload_mb=4, max_duration_s=100, upload_timeout_s=0.5, max_beams=5) as found:
        yield found


def wav(samples: Any) -> bytes:
    return wav_of(np.asarray(np.clip(samples, -1, 1) * 32767, np.int16))


WAVS = [wav(each) for each in RECORDINGS]


def assert_answers(answer: dict[str, Any], expected: Transcription) -> None:
    assert answer["text"] == expected.text
    assert answer["segments"] == [
        {"id": each.id, "text": each.text, "start": each.start, "end": each.end} for each in expected.segments
    ]
    assert (answer["language"], answer["duration"]) == (expected.language, expected.duration)
    assert answer["input_length_ms"] == expected.usage.audio_ms
    status = answer["inference_status"]
    assert status["status"] == "succeeded"
    assert status["tokens_generated"] == expected.usage.tokens_generated
    assert status["tokens_input"] == expected.usage.tokens_input
    assert status["output_length"] == len(expected.text)


def test_the_answer_is_the_transcription(model: Whisper, service: Running) -> None:
    answer = service.post(WAVS[0])
    assert answer.status_code == 200
    assert_answers(answer.json(), model.transcribe(WAVS[0], **QUICK))
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.json()["request_id"])
    assert "words" not in answer.json()


def test_nothing_of_an_upload_stays(service: Running) -> None:
    assert service.post(WAV).status_code == 200
    assert service.post(b"no sound").status_code == 422
    wait_until(lambda: list(service.service.uploads.iterdir()) == [])


@pytest.mark.parametrize(
    "audio", [base64.b64encode(WAV).decode(), "data:audio/wav;base64," + base64.b64encode(WAV).decode()]
)
def test_json_says_what_a_form_says(model: Whisper, service: Running, audio: str) -> None:
    answer = service.client.post(INFERENCE, json={"audio": audio, **QUICK})
    assert answer.status_code == 200
    assert_answers(answer.json(), model.transcribe(WAV, **QUICK))


def test_words_come_when_asked_for(model: Whisper, service: Running) -> None:
    expected = model.transcribe(WAV, **quick(word_timestamps=True))
    answer = service.post(WAV, chunk_level="word").json()
    assert answer["words"] == [
        {
            "text": each.word,
            "start": each.start,
            "end": each.end,
            "probability": pytest.approx(each.probability, abs=1e-4),
        }
        for each in expected.words
    ]
    assert answer["words"]


def test_a_chunk_length_is_the_longest_window(model: Whisper, service: Running) -> None:
    answer = service.post(WAVS[2], chunk_length_s="10").json()
    assert_answers(answer, model.transcribe(WAVS[2], **quick(chunk_length=10)))


def test_sixteen_at_once_get_what_each_gets_alone(model: Whisper, service: Running) -> None:
    chosen = [WAVS[index % len(WAVS)] for index in range(16)]
    alone = [model.transcribe(each, **QUICK) for each in WAVS]
    answers = in_threads([lambda each=each: service.post(each) for each in chosen])
    for index, answer in enumerate(answers):
        assert_answers(answer.json(), alone[index % len(WAVS)])


def test_it_costs_what_its_run_time_does(model: Whisper, tmp_path: Path) -> None:
    with running(model, tmp_path, price_per_second=0.5) as service:
        status = service.post(WAV).json()["inference_status"]
    assert status["cost"] == pytest.approx(status["runtime_ms"] / 2000)


# Refusals


GOOD = {"files": {"audio": ("a.wav", WAV)}, "data": FORM}
JSON = {"headers": {"content-type": "application/json"}}
REFUSED: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "no recording": ({"files": {"other": ("a.txt", b"x")}}, 422, "other"),
    "no recording in json": ({"json": {"language": "en"}}, 422, "audio"),
    "two recordings": ({"files": [("audio", ("a.wav", WAV)), ("audio", ("b.wav", WAV))]}, 422, "audio"),
    "no sound": ({"files": {"audio": ("a.wav", b"no sound")}}, 422, "audio"),
    "nothing": ({"files": {"audio": ("a.wav", b"")}}, 422, "audio"),
    "a text for a number": ({**GOOD, "data": {"temperature": "warm"}}, 422, "temperature"),
    "too hot a temperature": ({**GOOD, "data": {"temperature": "0,1e39"}}, 422, "temperature"),
    "a number out of range": ({**GOOD, "data": {"no_speech_threshold": "2"}}, 422, "no_speech_threshold"),
    "a word for a flag": ({**GOOD, "data": {"condition_on_previous_text": "maybe"}}, 422, "condition_on_previous_text"),
    "an unknown task": ({**GOOD, "data": {"task": "summarise"}}, 422, "task"),
    "an unknown language": ({**GOOD, "data": {"language": "klingon"}}, 422, "language"),
    "an unknown field": ({**GOOD, "data": {"temprature": "0"}}, 422, "temprature"),
    "a field twice": ({**GOOD, "data": {"task": ["transcribe", "translate"]}}, 422, "task"),
    "two names of one": ({**GOOD, "data": {"chunk_length": "9", "chunk_length_s": "9"}}, 422, "chunk_length_s"),
    "an unknown level": ({**GOOD, "data": {"chunk_level": "letter"}}, 422, "chunk_level"),
    "a contradiction": ({**GOOD, "data": {"patience": "2", "beam_size": "1"}}, 422, "patience"),
    "ids beyond the vocabulary": ({**GOOD, "data": {"suppress_tokens": "99999"}}, 422, "suppress_tokens"),
    "too many beams": ({**GOOD, "data": {"beam_size": "6"}}, 422, "beam_size"),
    "a pattern": ({**GOOD, "data": {"suppress_regex": "(a+)+$"}}, 422, "suppress_regex"),
    "a limit of the service": ({**GOOD, "data": {"max_duration_s": "1e9"}}, 422, "max_duration_s"),
    "too long a recording": ({"files": {"audio": ("a.wav", wav(noise(101)))}, "data": FORM}, 422, "audio"),
    "an address": ({"json": {"audio": "http://127.0.0.1/a.wav"}}, 422, "audio"),
    "no base64": ({"json": {"audio": "%%%"}}, 422, "audio"),
    "a number for a recording": ({"json": {"audio": 7}}, 422, "audio"),
    "a list": ({"json": [1]}, 422, None),
    "broken json": ({"content": b'{"audio":', "headers": {"content-type": "application/json"}}, 400, None),
    "a field of json twice": ({"content": b'{"audio":"","task":"x","task":"y"}', **JSON}, 422, "task"),
    "another type": ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, None),
    "no type": ({"content": b"x"}, 415, None),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 415, None),
    "no form": ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None),
    "half a form": (
        {
            "content": b'--b\r\ncontent-disposition: form-data; name="audio"\r\n\r\nabc',
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
        400,
        None,
    ),
    "no name": (
        {
            "content": b"--b\r\nx: y\r\n\r\nabc\r\n--b--\r\n",
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
        400,
        None,
    ),
    "no utf-8": ({"files": {"audio": ("a.wav", WAV), "initial_prompt": (None, b"\xff")}}, 422, "initial_prompt"),
    "a webhook that is none": ({**GOOD, "data": {"webhook": "ftp://example.com"}}, 422, "webhook"),
    "a webhook inward": ({**GOOD, "data": {"webhook": "http://169.254.169.254/"}}, 422, "webhook"),
    "json of many values": ({"json": {"audio": "", "suppress_tokens": [1] * 70_000}}, 422, None),
    "deep json": ({"content": b'{"beam_size":' + b"[" * 50 + b"]" * 50 + b"}", **JSON}, 422, "beam_size"),
    "json beyond depth": ({"content": b'{"beam_size":' + b"[" * 60_000 + b"]" * 60_000 + b"}", **JSON}, 400, None),
    "half a character": ({"content": rb'{"task": "\ud800"}', **JSON}, 422, "task"),
    "half a character for a name": ({"content": rb'{"\ud800": 1}', **JSON}, 422, "?"),
    "a number beyond all": ({"content": b'{"logprob_threshold": -1e999}', **JSON}, 400, None),
    "a long value": ({"json": {"language": "x" * 100_000}}, 422, "language"),
    "a language among others": ({**GOOD, "data": {"allowed_languages": "de,klingon"}}, 422, "allowed_languages"),
    "an option of an option": ({"json": {"vad_filter": True, "vad_options": {"threshold": 2}}}, 422, "vad_options"),
    "too large": ({"files": {"audio": ("a.wav", bytes(4_000_001))}}, 413, None),
}


@pytest.mark.parametrize(("request_", "status", "field"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(
    service: Running, request_: dict[str, Any], status: int, field: str | None
) -> None:
    answer = service.client.post(INFERENCE, **request_)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["request_id"]) == (status, answer.headers["x-request-id"])
    assert [each["field"] for each in problem["errors"]] == ([] if field is None else [field])
    assert problem["detail"]
    assert len(answer.content) < 10_000
    assert str(service.settings.folder) not in answer.text
    assert "Traceback" not in answer.text


def test_another_model_is_not_found_and_what_is_served_is_said(service: Running) -> None:
    answer = service.post(WAV, "/v1/inference/openai/whisper-large")
    assert answer.status_code == 404
    assert "openai/whisper-small" in answer.json()["detail"]


def test_paths_and_methods_that_are_not_there_are_problems_too(service: Running) -> None:
    assert service.client.get("/v1/nothing").json()["status"] == 404
    assert service.client.get(INFERENCE).json()["status"] == 405
    assert service.client.get("/v1/requests/req_0").json()["status"] == 404


def test_an_upload_that_grows_too_large_is_cut_off(service: Running) -> None:
    """The length of the body is not announced."""

    def parts() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="audio"\r\n\r\n'
        for _ in range(5):
            yield bytes(1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = service.client.post(INFERENCE, content=parts(), headers=headers)
    assert answer.status_code == 413


def test_an_upload_that_stands_still_is_cut_off(service: Running) -> None:

    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = f"POST {INFERENCE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"audio"')
        assert b" 408 " in connection.recv(1000)
    wait_until(lambda: list(service.service.uploads.iterdir()) == [])


# Fields


def test_every_option_of_the_library_is_a_field_but_those_that_are_refused() -> None:
    names = {definition.name for definition in fields(Options)}
    assert names - set(OPTIONS) == {"suppress_regex", "max_duration_s"}
    assert set(OPTIONS) < set(inference_schemas(Settings()))


# Name → value in JSON and text in a form, which differ from the default.
VALUES: dict[str, tuple[Any, str]] = {
    "task": ("translate", "translate"),
    "language": ("de", "German"),
    "multilingual": (True, "true"),
    "allowed_languages": (["de", "en"], "de,en"),
    "language_detection_segments": (2, "2"),
    "language_detection_threshold": (0.7, "0.7"),
    "temperature": ([0.0, 0.5], "0,0.5"),
    "temperature_increment_on_fallback": (None, "null"),
    "beam_size": (3, "3"),
    "best_of": (None, "none"),
    "patience": (2.0, "2"),
    "length_penalty": (0.5, "0.5"),
    "suppress_tokens": (None, "null"),
    "suppress_blank": (False, "FALSE"),
    "suppress_numerals": (True, "True"),
    "repetition_penalty": (1.5, "1.5"),
    "no_repeat_ngram_size": (3, "3"),
    "initial_prompt": ("null and true", "null and true"),
    "carry_initial_prompt": (True, "true"),
    "hotwords": ("None of that", "None of that"),
    "prefix": ("so", "so"),
    "condition_on_previous_text": (False, "false"),
    "prompt_reset_on_temperature": (0.3, "0.3"),
    "compression_ratio_threshold": (None, "None"),
    "logprob_threshold": (-0.5, "-0.5"),
    "no_speech_threshold": (0.5, " 0.5 "),
    "without_timestamps": (True, "true"),
    "max_initial_timestamp": (2.0, "2"),
    "max_new_tokens": (9, "9"),
    "chunk_length": (10.0, "10"),
    "clip_timestamps": ([1, 2, 5], "1,2,5"),
    "vad_filter": (True, "true"),
    "vad_options": ({"threshold": 0.4}, "threshold=0.4"),
    "chunking": ("vad", "vad"),
    "word_timestamps": (True, "true"),
    "prepend_punctuations": ("(", "("),
    "append_punctuations": (")", ")"),
    "hallucination_silence_threshold": (2.0, "2"),
    "seed": (7, "7"),
    "timeout_s": (5.0, "5"),
}
NEEDED: dict[str, dict[str, Any]] = {
    "language_detection_threshold": {"language_detection_segments": 2},
    "carry_initial_prompt": {"initial_prompt": "x"},
    "vad_options": {"vad_filter": True},
    "prepend_punctuations": {"word_timestamps": True},
    "append_punctuations": {"word_timestamps": True},
    "hallucination_silence_threshold": {"word_timestamps": True},
}


def test_all_fields_are_tried_below() -> None:
    assert set(VALUES) == set(OPTIONS)


@pytest.mark.parametrize("name", VALUES)
def test_a_field_means_the_option_of_its_name_in_json_and_in_a_form(name: str) -> None:
    value, text = VALUES[name]
    needed = NEEDED.get(name, {})
    expected = getattr(Options(**{name: value, **needed}), name)
    assert expected != getattr(Options(), name)
    for is_form, given in ((False, value), (True, text)):
        texts = {each: str(it) if is_form else it for each, it in needed.items()}
        read = read_fields([*texts.items(), (name, given)], Settings(), is_form=is_form)
        assert getattr(read.options, name) == expected


def test_whether_a_field_is_a_text_does_not_depend_on_how_it_is_described() -> None:
    texts = {"initial_prompt", "hotwords", "prefix", "suppress_regex", "prepend_punctuations", "append_punctuations"}
    assert texts == fields_module._FREE_TEXT
    assert optional(TEXT).is_text
    assert not optional(Kind(TEXT.label, TEXT.check, TEXT.parse, TEXT.schema)).is_text


def test_what_is_not_given_has_the_library_s_defaults() -> None:
    """As a browser sends an empty form."""
    names = [*OPTIONS, "chunk_level", "chunk_length_s", "webhook", "suppress_regex", "vad_options[threshold]"]
    names += ["allowed_languages[]", "clip_timestamps[]", "clip_timestamps[]"]
    read = read_fields([(name, " ") for name in names], Settings(), is_form=True).options
    default = Options()
    for definition in fields(Options):
        if definition.name not in ("timeout_s", "max_duration_s"):
            assert getattr(read, definition.name) == getattr(default, definition.name)
    assert (read.timeout_s, read.max_duration_s) == (Settings().timeout_s, Settings().max_duration_s)


def test_a_request_can_be_shorter_than_the_service_lets_it_be_and_not_longer() -> None:
    for given, kept in (("5", 5.0), ("9999", 1800.0)):
        assert read_fields([("timeout_s", given)], Settings(), is_form=True).options.timeout_s == kept


@pytest.mark.parametrize("null", ["null", "None", " NULL "])
def test_in_a_form_null_is_no_text(null: str) -> None:
    settings = Settings(no_auth=True)
    for name in ("initial_prompt", "prefix", "hotwords"):
        assert getattr(read_fields([(name, null)], settings, is_form=True).options, name) is None
        assert getattr(read_fields([(name, "null hypothesis")], settings, is_form=True).options, name)
        assert getattr(read_fields([(name, null)], settings, is_form=False).options, name) == null
    marks = [("word_timestamps", "true"), ("append_punctuations", null)]  # these cannot be None
    assert read_fields(marks, settings, is_form=True).options.append_punctuations == null


def test_fields_that_are_stored_can_be_read_again() -> None:
    """As webhook requests are, from JSON."""
    for name, (_, text) in VALUES.items():
        pairs = [*NEEDED.get(name, {}).items(), (name, text)]
        read = read_fields(pairs, Settings(), is_form=True)
        again = read_fields(list(json.loads(json.dumps(read.given)).items()), Settings(), is_form=False)
        assert again.options == read.options


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(OptionError, match="port"):
        Settings(port=70000)
    with pytest.raises(OptionError, match="no_auth"):
        Settings(no_auth=True, tokens="file")
    with pytest.raises(Problem, match="more than"):
        read_fields([("best_of", "11")], Settings(), is_form=True)


def test_fewer_beams_than_the_default_are_the_default() -> None:
    options = read_fields([], Settings(max_beams=2), is_form=True).options
    assert (options.beam_size, options.best_of) == (2, 2)
    with pytest.raises(Problem, match="beam_size=5 is more than"):
        read_fields([("beam_size", "5")], Settings(max_beams=2), is_form=True)
    assert inference_schemas(Settings(max_beams=2))["beam_size"]["default"] == 2


def test_a_form_may_have_lists_and_objects_in_parts() -> None:
    parts = [("allowed_languages[]", "en"), ("temperature[]", "0"), ("allowed_languages[]", "de")]
    parts += [("temperature[]", "0.2"), ("vad_filter", "true"), ("vad_options[threshold]", "0.6")]
    options = read_fields(parts, Settings(), is_form=True).options
    assert options.allowed_languages == ("en", "de")
    assert options.temperatures == (0.0, 0.2)
    assert options.vad == VadOptions(threshold=0.6)
    for again in (("allowed_languages", "fr"), ("vad_options[threshold]", "0.7"), ("vad_options", "threshold=0.7")):
        with pytest.raises(Problem, match="twice"):
            read_fields([again, *parts], Settings(), is_form=True)
    for name in ("initial_prompt[]", "allowed_languages[x]", "vad_options[]", "colour[]"):
        with pytest.raises(Problem, match="There is no field"):
            read_fields([(name, "1")], Settings(), is_form=True)


@pytest.mark.parametrize("escapes", [{"/": "\\/"}, {"+": "\\u002B", "=": "\\u003d", "A": "\\u0041"}])
def test_characters_of_base64_may_be_escaped(model: Whisper, service: Running, escapes: dict[str, str]) -> None:
    text = base64.b64encode(WAV).decode()
    for character, escaped in escapes.items():
        text = text.replace(character, escaped)
    content = '{"audio": "data:audio\\/wav;base64,' + text + '", "language": "en", "max_new_tokens": 4, "beam_size": 1}'
    answer = service.client.post(INFERENCE, content=content, headers=JSON["headers"])
    assert answer.status_code == 200
    assert answer.json()["text"] == model.transcribe(WAV, language="en", max_new_tokens=4, beam_size=1).text


def test_base64_may_be_url_safe_and_lack_its_padding() -> None:
    for content in (b"\xfb\xff\xfe", b"\xfb\xff\xfe\xfb", b"\xfb\xff\xfe\xfb\xff"):
        plain, url_safe = (encode(content).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode))
        assert "-" in url_safe or "_" in url_safe
        for text in (plain, plain.rstrip("="), url_safe, url_safe.rstrip("="), f"data:audio/wav;base64,{url_safe}"):
            assert read_json(json.dumps({"audio": text}).encode(), "audio", 100) == ({}, content)
    for wrong in ("A", "AAAAA", "AA=A", "AA.A"):
        with pytest.raises(Problem, match="audio is not base64"):
            read_json(json.dumps({"audio": wrong}).encode(), "audio", 100)


def test_base64_may_have_lines(model: Whisper, service: Running) -> None:
    fields = {"audio": base64.encodebytes(WAV).decode(), "language": "en", "max_new_tokens": 4, "beam_size": 1}
    answer = service.client.post(INFERENCE, json=fields)
    assert answer.json()["text"] == model.transcribe(WAV, language="en", max_new_tokens=4, beam_size=1).text


def test_a_recording_that_leaves_no_numbers_is_no_error_of_the_service(
    model: Whisper, tmp_path: Path, steps: Steps
) -> None:
    steps.fail_once(DecodingError("The network gave no usable answer."))
    with running(model, tmp_path) as service:
        answer = service.post(WAV)
    assert (answer.status_code, "no usable answer for this recording" in answer.text) == (422, True)


def test_the_hottest_temperature_is_a_temperature(service: Running) -> None:
    assert service.post(WAV, temperature="100").status_code == 200


def test_the_schema_of_a_temperature_has_its_bounds() -> None:
    schema = jsonschema_rs.validator_for(dict(inference_schemas(Settings())["temperature"]))
    assert all(schema.is_valid(value) for value in (0, 100, [0.0, 100.0]))
    assert not any(schema.is_valid(value) for value in (-0.1, 100.1, [0.0, 1e39]))


# Many at once


def test_a_service_that_is_full_says_when_to_come_again(model: Whisper, tmp_path: Path, steps: Steps) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, max_requests=2) as service:
        served: list[Any] = []

        threads = [threading.Thread(target=lambda: served.append(service.post(WAV))) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.service.pool.jobs == 2)
        refused = service.post(WAV)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        steps.may_go.set()
        for thread in threads:
            thread.join()
        assert [each.status_code for each in served] == [200, 200]
        assert service.post(WAV).status_code == 200


def test_one_token_leaves_the_others_some_places(model: Whisper, tmp_path: Path, steps: Steps) -> None:
    anna, berta = ({"Authorization": f"Bearer {add_token(tmp_path / 'tokens', name)}"} for name in ("anna", "berta"))
    steps.may_go.clear()
    with running(model, tmp_path, no_auth=False, max_requests=4) as service:
        served: list[int] = []

        def post(headers: dict[str, str]) -> httpx2.Response:
            return service.client.post(INFERENCE, files={"audio": ("a.wav", WAV)}, data=FORM, headers=headers)

        def be_served(headers: dict[str, str]) -> threading.Thread:
            thread = threading.Thread(target=lambda: served.append(post(headers).status_code))
            thread.start()
            return thread

        threads = [be_served(anna) for _ in range(3)]
        wait_until(lambda: service.service.pool.jobs == 3)
        refused = post(anna)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert "3 requests of yours are being served" in refused.json()["detail"]
        by_openai = service.client.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, headers=anna)
        assert by_openai.status_code == 429
        threads.append(be_served(berta))
        wait_until(lambda: service.service.pool.jobs == 4)
        assert post(berta).status_code == 503
        steps.may_go.set()
        for thread in threads:
            thread.join()
        assert served == [200] * 4
        assert post(anna).status_code == 200


def test_who_has_the_only_token_has_all_the_places(model: Whisper, tmp_path: Path, steps: Steps) -> None:
    headers = {"Authorization": f"Bearer {add_token(tmp_path / 'tokens')}"}
    steps.may_go.clear()
    with running(model, tmp_path, no_auth=False, max_requests=4) as service:
        service.client.headers.update(headers)
        threads = [threading.Thread(target=service.post, args=(WAV,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.service.pool.jobs == 4)
        assert service.post(WAV).status_code == 503
        steps.may_go.set()
        for thread in threads:
            thread.join()


def test_a_short_recording_does_not_wait_for_the_end_of_long_ones(model: Whisper, tmp_path: Path) -> None:
    """There are more long recordings than slots."""
    long = wav(np.resize(SHORT, 600 * 16000))
    order: list[str] = []
    with running(model, tmp_path, batch_size=1, max_requests=8) as service:

        def post(name: str, audio: bytes) -> None:
            assert service.post(audio).status_code == 200
            order.append(name)

        threads = [threading.Thread(target=post, args=("long", long)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.service.pool.jobs == 3 and service.service.pool.active_slots > 0)
        post("short", WAV)
        for thread in threads:
            thread.join()
    assert order[0] == "short"


def test_a_short_recording_does_not_wait_for_long_ones_to_be_read(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go = threading.Event()
    decode_file = ffmpeg.decode_file

    def slowly(path: Path, *arguments: Any) -> Any:
        if path.stat().st_size > len(WAV):
            assert may_go.wait(60)
        return decode_file(path, *arguments)

    monkeypatch.setattr(ffmpeg, "decode_file", slowly)
    with running(model, tmp_path, timeout_s=30) as service:
        threads = [threading.Thread(target=service.post, args=(WAVS[0],)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.service.pool.jobs == 3)
        assert service.post(WAV).status_code == 200
        may_go.set()
        for thread in threads:
            thread.join()


def test_time_in_the_queue_counts(model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All readers are blocked."""
    may_go = threading.Event()
    decode_file = ffmpeg.decode_file

    def slowly(*arguments: Any) -> Any:
        assert may_go.wait(60)
        return decode_file(*arguments)

    monkeypatch.setattr(ffmpeg, "decode_file", slowly)
    with running(model, tmp_path, max_requests=40) as service:
        threads = [threading.Thread(target=service.post, args=(WAV,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.service.pool.jobs == 12)
        began = time.monotonic()
        assert service.post(WAV, timeout_s="0.3").status_code == 422
        assert time.monotonic() - began < 10
        may_go.set()
        for thread in threads:
            thread.join()


def test_an_answer_that_nobody_takes_is_given_up(model: Whisper, tmp_path: Path) -> None:
    """As with a client that stops reading: sending to it blocks for ever."""

    async def ask(service: Running) -> None:
        body = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n' + WAV
        for name, value in {"model": "whisper-1", "stream": "true", "max_new_tokens": "4", "language": "en"}.items():
            body += f'\r\n--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        messages = [{"type": "http.request", "body": body + b"\r\n--b--\r\n", "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.get_running_loop().create_future()

        async def send(_: Any) -> None:
            await asyncio.get_running_loop().create_future()

        headers = [(b"content-type", b"multipart/form-data; boundary=b"), (b"content-length", b"%d" % len(body))]
        scope = {"type": "http", "method": "POST", "path": "/v1/audio/transcriptions", "headers": headers}
        await service.app({**scope, "query_string": b"", "server": ("x", 80)}, receive, send)

    with running(model, tmp_path, upload_timeout_s=0.3) as service:
        asyncio.run_coroutine_threadsafe(ask(service), service.loop).result(20)
        assert "whisperlite_requests_served 0.0" in service.client.get("/metrics").text
        assert list(service.service.uploads.iterdir()) == []


def test_a_client_that_goes_away_takes_its_work_along(model: Whisper, tmp_path: Path, steps: Steps) -> None:

    steps.may_go.clear()
    with running(model, tmp_path) as service:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(service.url + INFERENCE, files={"audio": ("a.wav", WAVS[0])}, data=FORM, timeout=0.5)
        assert service.service.pool.jobs == 1
        steps.may_go.set()
        wait_until(lambda: service.service.pool.jobs == 0)
        assert 'whisperlite_failures_total{kind="client gone"} 1.0' in service.client.get("/metrics").text
        assert service.post(WAV).status_code == 200


def test_a_request_that_takes_too_long_is_ended(model: Whisper, tmp_path: Path, steps: Steps) -> None:

    steps.before = lambda _: time.sleep(0.05)
    with running(model, tmp_path, timeout_s=0.3) as service:
        answer = service.post(WAVS[0])
        assert answer.status_code == 504
        own = service.post(WAVS[0], timeout_s="0.2")
        assert (own.status_code, own.json()["errors"][0]["field"]) == (422, "timeout_s")
        assert service.service.pool.jobs == 0


def test_where_memory_is_short_it_says_when_to_come_again(model: Whisper, tmp_path: Path, steps: Steps) -> None:
    steps.fail_once(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    with running(model, tmp_path) as service:
        refused = service.post(WAV)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "GiB" not in refused.text
        assert service.post(WAV).status_code == 200


def test_an_engine_that_breaks_is_an_error_of_the_service_that_says_nothing(
    model: Whisper, tmp_path: Path, steps: Steps
) -> None:
    steps.fail_once(RuntimeError("the allocator is empty"))
    with running(model, tmp_path) as service:
        answer = service.post(WAV)
        assert answer.status_code == 500
        assert "allocator" not in answer.text
        assert service.post(WAV).status_code == 200


@pytest.mark.parametrize(("given", "meant"), [("web_hook", "webhook"), ("chunk_lenght_s", "chunk_length_s")])
def test_a_misspelt_field_is_told_what_may_be_meant(service: Running, given: str, meant: str) -> None:
    answer = service.post(WAV, **{given: "1"})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert f"Did you mean {meant!r}?" in detail
    assert "suppress_regex" not in detail
