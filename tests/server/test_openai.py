"""OpenAI's API, called with OpenAI's client in a real process with the real `base`; and its refusals."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import whisperlite
from tests.pooled import PATIENCE_S, WAV, Steps, wait_until, wav_of
from tests.server.serving import Process, Running, in_threads, new_token, running, serving
from tests.server.test_inference import WAVS
from whisperlite.audio.mel import Samples
from whisperlite.formats import render
from whisperlite.server import openai as openai_paths
from whisperlite.text.tokenizer import Tokenizer

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def token_and_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Process]]:
    folder = tmp_path_factory.mktemp("base")
    token = new_token(folder)
    with serving(folder, "--model", "base") as process:
        yield token, process
        assert process.stop() == -signal.SIGTERM  # after an orderly stop, uvicorn ends by the signal
        assert all(entry["level"] == "info" for entry in process.entries())


@pytest.fixture(scope="module")
def client(token_and_service: tuple[str, Process]) -> Iterator[openai.OpenAI]:
    token, process = token_and_service
    with openai.OpenAI(base_url=process.url + "/v1", api_key=token, max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def recording(librivox: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two sentences."""
    file = tmp_path_factory.mktemp("recording") / "my_voice.wav"
    file.write_bytes(wav_of(librivox[: 8 * 16000]))
    return file


@pytest.fixture(scope="module")
def expected(base: whisperlite.Whisper, recording: Path) -> whisperlite.Transcription:
    return base.transcribe(recording, word_timestamps=True)


@pytest.fixture(scope="module")
def plain(base: whisperlite.Whisper, recording: Path) -> whisperlite.Transcription:
    return base.transcribe(recording)


def test_the_command_of_the_readme(
    token_and_service: tuple[str, Process], recording: Path, plain: whisperlite.Transcription
) -> None:
    """curl -X POST -H "Authorization: bearer $TOKEN" -F audio=@my_voice.mp3 …/v1/inference/openai/whisper-base"""
    token, process = token_and_service
    answer = httpx2.post(
        process.url + "/v1/inference/openai/whisper-base",
        headers={"Authorization": f"bearer {token}"},
        files={"audio": (recording.name, recording.read_bytes())},
        timeout=60,
    )
    assert answer.json()["text"] == plain.text
    assert [(each["start"], each["end"]) for each in answer.json()["segments"]] == [
        (each.start, each.end) for each in plain.segments
    ]


def test_json(client: openai.OpenAI, recording: Path, expected: whisperlite.Transcription) -> None:
    answer = client.audio.transcriptions.create(file=recording, model="whisper-1")
    assert answer.text == expected.text.strip()


def test_verbose_json_has_the_true_probabilities(
    client: openai.OpenAI, recording: Path, expected: whisperlite.Transcription
) -> None:
    answer = client.audio.transcriptions.create(
        file=recording,
        model="openai/whisper-base",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (answer.language, answer.duration) == ("english", expected.duration)
    assert answer.segments is not None
    assert answer.words is not None
    for mine, theirs in zip(answer.segments, expected.segments, strict=True):
        assert (mine.text, mine.start, mine.end, mine.id) == (theirs.text, theirs.start, theirs.end, theirs.id)
        assert tuple(mine.tokens) == theirs.tokens
        assert mine.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
        assert mine.compression_ratio == pytest.approx(theirs.compression_ratio)
        assert mine.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)
    assert [(each.word, each.start, each.end) for each in answer.words] == [
        (each.word.strip(), each.start, each.end) for each in expected.words
    ]


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles(client: openai.OpenAI, recording: Path, plain: whisperlite.Transcription, format: Any) -> None:
    answer: Any = client.audio.transcriptions.create(file=recording, model="base", response_format=format)
    assert answer == render(plain, format)


def test_text(client: openai.OpenAI, recording: Path, expected: whisperlite.Transcription) -> None:
    answer: Any = client.audio.transcriptions.create(file=recording, model="base", response_format="text")
    assert answer == expected.text.strip() + "\n"


def test_a_stream_of_pieces_adds_up_to_the_text(
    client: openai.OpenAI, recording: Path, expected: whisperlite.Transcription
) -> None:
    events = list(client.audio.transcriptions.create(file=recording, model="whisper-1", stream=True))
    pieces = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(pieces) == len(expected.segments)
    last = events[-1]
    assert last.type == "transcript.text.done"
    assert last.text == "".join(pieces) == expected.text.strip()


def test_translations(client: openai.OpenAI, recording: Path, base: whisperlite.Whisper) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some versions of the client deprecate this method
        answer = client.audio.translations.create(file=recording, model="whisper-1")
    assert answer.text == base.transcribe(recording, task="translate").text.strip()


def test_options_of_ours_go_along(client: openai.OpenAI, recording: Path, base: whisperlite.Whisper) -> None:
    answer = client.audio.transcriptions.create(
        file=recording,
        model="whisper-1",
        prompt="Dashwood",
        language="en",
        extra_body={"beam_size": 1, "chunk_length": 12},
    )
    alone = base.transcribe(recording, initial_prompt="Dashwood", language="en", beam_size=1, chunk_length=12)
    assert answer.text == alone.text.strip()


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "base"
    assert client.models.retrieve("openai/whisper-base").id == "base"
    with pytest.raises(openai.NotFoundError, match="openai/whisper-base"):
        client.models.retrieve("gpt-4o-transcribe")


def test_who_has_no_token_is_told_so(token_and_service: tuple[str, Process], recording: Path) -> None:
    _, process = token_and_service
    with (
        openai.OpenAI(base_url=process.url + "/v1", api_key="wl_other", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="token"),
    ):
        stranger.audio.transcriptions.create(file=recording, model="whisper-1")


# With a small model


@pytest.fixture(scope="module")
def service(model: whisperlite.Whisper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(model, tmp_path_factory.mktemp("small")) as found:
        yield found


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no model": ({}, 400, "model"),
    "another model": ({"model": "tiny"}, 404, "model"),
    "an unknown format": ({"model": "whisper-1", "response_format": "docx"}, 400, "response_format"),
    "an unknown granularity": (
        {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "letter"},
        400,
        "timestamp_granularities[]",
    ),
    "times without a place for them": (
        {"model": "whisper-1", "timestamp_granularities[]": "word"},
        400,
        "timestamp_granularities[]",
    ),
    "a stream of subtitles": ({"model": "whisper-1", "response_format": "srt", "stream": "true"}, 400, "stream"),
    "no flag": ({"model": "whisper-1", "stream": "maybe"}, 422, "stream"),
    "a task": ({"model": "whisper-1", "task": "translate"}, 400, "task"),
    "an unknown field": ({"model": "whisper-1", "include[]": "logprobs"}, 422, "include[]"),
    "a wrong temperature": ({"model": "whisper-1", "temperature": "-1"}, 422, "temperature"),
}


@pytest.mark.parametrize(("fields", "status", "field"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_gets_an_error_in_openai_s_form(
    service: Running, fields: dict[str, str], status: int, field: str
) -> None:
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", WAV)}, data=fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (field, "invalid_request_error")
    assert error["message"]


def test_a_missing_recording_is_an_error_of_its_own(service: Running) -> None:
    answer = service.client.post(TRANSCRIPTIONS, files={"model": (None, b"whisper-1")})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


def test_a_recording_that_cannot_be_read_is_an_answer_not_an_event(service: Running) -> None:
    fields = {"model": "whisper-1", "stream": "true"}
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", b"no sound")}, data=fields)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "file"
    assert service.service.pool.jobs == 0


# A stream of windows of a few steps each: the sixth step is in the second window.
SHORT_WINDOWS = {
    "model": "whisper-1",
    "stream": "true",
    "language": "en",
    "max_new_tokens": "4",
    "beam_size": "1",
    "logprob_threshold": "null",
    "without_timestamps": "true",
}


def test_an_error_in_the_middle_of_a_stream_is_an_event(service: Running, steps: Steps) -> None:
    fields = {**SHORT_WINDOWS, "timeout_s": "2"}
    steps.before = lambda count: time.sleep(2.0 if count == 6 else 0.0)  # in the second window
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", WAVS[0])}, data=fields)
    assert answer.status_code == 200
    last = answer.text.strip().split("\n\n")[-1]
    assert last.startswith('event: error\ndata: {"type": "error", "error": {"message": "It was not finished within')
    assert service.service.pool.jobs == 0


def test_a_piece_without_text_is_the_beginning_of_a_stream_too(
    service: Running, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after it comes too late for a status."""
    fields = {**SHORT_WINDOWS, "timeout_s": "2"}
    monkeypatch.setattr(Tokenizer, "decode", lambda *_: "")
    steps.before = lambda count: time.sleep(2.0 if count == 6 else 0.0)  # in the second window
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", WAVS[0])}, data=fields)
    assert answer.text.startswith('event: transcript.text.delta\ndata: {"type": "transcript.text.delta", "delta": ""}')
    assert "event: error" in answer.text


def test_a_stream_with_nothing_to_say_shows_that_it_is_there(
    service: Running, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_paths, "QUIET_S", 0.01)
    steps.may_go.clear()
    files = {"file": ("a.wav", WAVS[0])}
    with service.client.stream("POST", TRANSCRIPTIONS, files=files, data=SHORT_WINDOWS) as answer:
        lines = answer.iter_lines()
        said = [next(lines) for _ in range(4)]
        steps.may_go.set()
        rest = list(lines)
    assert (answer.status_code, said) == (200, [":", ""] * 2)
    assert "event: transcript.text.done" in rest


def test_a_stream_says_nothing_before_its_recording_could_be_read(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_paths, "QUIET_S", 0.0)
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", b"no sound")}, data=SHORT_WINDOWS)
    assert answer.status_code == 422


def test_who_leaves_a_stream_is_counted(service: Running, steps: Steps) -> None:
    has_left = threading.Event()
    steps.before = lambda count: count < 6 or has_left.wait(PATIENCE_S)  # the second window waits for it

    def gone() -> float:
        found = re.search(r'failures_total\{kind="client gone"\} ([\d.]+)', service.client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = gone()
    files = {"file": ("a.wav", WAVS[0])}
    with service.client.stream("POST", TRANSCRIPTIONS, files=files, data=SHORT_WINDOWS) as answer:
        assert answer.status_code == 200
    has_left.set()
    wait_until(lambda: gone() == before + 1)


def test_a_stream_that_nobody_reads_on_leaves_nothing_behind(service: Running) -> None:
    """Again and again: a slot that was not released would be missing."""
    fields = {"model": "whisper-1", "stream": "true", "max_new_tokens": "4", "language": "en"}

    def leave() -> None:
        files = {"file": ("a.wav", WAV)}
        with service.client.stream("POST", TRANSCRIPTIONS, files=files, data=fields) as answer:
            assert answer.status_code == 200

    for _ in range(5):
        in_threads([leave] * 8)
    fields["stream"] = "false"
    answers = in_threads(
        [lambda: service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", WAV)}, data=fields)]
        * service.settings.max_requests
    )
    assert {answer.status_code for answer in answers} == {200}
    assert list(service.service.uploads.iterdir()) == []


def test_words_alone_come_without_segments(service: Running) -> None:
    fields = {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    answer = service.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", WAV)}, data=fields).json()
    assert "words" in answer
    assert "segments" not in answer
    assert all(math.isfinite(word["start"]) for word in answer["words"])
