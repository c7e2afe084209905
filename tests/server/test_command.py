"""`whisperlite serve` and `whisperlite token`, called in this process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import whisperlite
from tests.small_whisper import small_whisper
from whisperlite.server import command
from whisperlite.server.auth import hash_of, read_hashes
from whisperlite.server.webhooks.store import Store


@pytest.fixture(autouse=True)
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a small model instead, and leave logging to pytest."""
    model = small_whisper()
    monkeypatch.setattr(whisperlite, "load_model", lambda *_, **__: model)
    monkeypatch.setattr("whisperlite.server.logs.log_to_stderr", lambda _: None)


@pytest.fixture
def survived() -> Iterator[list[int]]:
    """The SIGTERM signals received, which do not end this process."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def configurations(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Config]:
    """The configurations of servers, none of which runs."""
    found: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server: found.append(server.config))
    return found


def serve(folder: Path, *flags: str) -> int:
    return command.serve(["--no-auth", "--port", "0", "--data-dir", str(folder), *flags])


def test_a_signal_during_the_start_ends_the_service_in_good_order(
    tmp_path: Path, survived: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_amid_a_signal(folder: Path) -> Store:
        signal.raise_signal(signal.SIGTERM)
        return Store(folder)

    monkeypatch.setattr("whisperlite.server.app.Store", open_amid_a_signal)
    assert serve(tmp_path) == 0
    assert survived == [signal.SIGTERM]  # raised again by uvicorn after an orderly stop
    Store(tmp_path).close()


def test_no_connection_becomes_a_web_socket(tmp_path: Path, configurations: list[uvicorn.Config]) -> None:
    """Which would bypass the middleware, whatever packages for them are installed."""
    serve(tmp_path)
    assert [each.ws for each in configurations] == ["none"]


@pytest.mark.parametrize(
    ("host", "is_told"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.0.2", True),
        ("gpu.example.com", True),
    ],
)
def test_who_lets_everyone_in_from_elsewhere_is_told(
    tmp_path: Path, configurations: list[Any], caplog: pytest.LogCaptureFixture, host: str, is_told: bool
) -> None:
    serve(tmp_path, "--host", host)
    assert len(configurations) == 1
    assert ("without a token" in caplog.text) == is_told


def test_zero_threads_are_the_default_as_for_transcribing(
    tmp_path: Path, configurations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = small_whisper(), list[Any]()

    def load(*_: object, cpu_threads: int | None, **__: object) -> whisperlite.Whisper:
        given.append(cpu_threads)
        return model

    monkeypatch.setattr(whisperlite, "load_model", load)
    for threads in ("0", "2"):
        serve(tmp_path, "--threads", threads)
    assert (given, len(configurations)) == ([None, 2], 2)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(whisperlite, "load_model", load)


@pytest.mark.usefixtures("no_model")
def test_a_folder_in_use_is_told_before_a_model_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = Store(tmp_path)
    assert serve(tmp_path) == 1
    other.close()
    assert "The service cannot start" in caplog.text
    assert "is in use by another process" in caplog.text


@pytest.mark.usefixtures("no_model")
def test_what_to_do_about_a_folder_that_cannot_be_written_is_told_before_a_model_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert serve(tmp_path / "file" / "state") == 1
    assert "choose another folder with --data-dir" in caplog.text


@pytest.mark.usefixtures("configurations")
def test_every_flag_of_a_model_is_given_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = small_whisper(), dict[str, Any]()

    def load(name: str, **arguments: Any) -> whisperlite.Whisper:
        given.update(arguments, name=name)
        return model

    monkeypatch.setattr(whisperlite, "load_model", load)
    flags = ["--model", "tiny", "--revision", "v2", "--model-dir", "models", "--local_files_only"]
    serve(tmp_path, *flags, "--device", "cpu", "--compute-type", "int8", "--threads", "3", "--no-cuda-graphs")
    assert given == {
        "name": "tiny",
        "revision": "v2",
        "cache_dir": "models",
        "local_files_only": True,
        "device": "cpu",
        "compute_type": "int8",
        "cpu_threads": 3,
        "cuda_graphs": False,
    }


def test_without_the_extra_the_application_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['starlette'] = None; from whisperlite.server import create_app"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = "The service needs packages that are not installed (starlette): pip install 'whisperlite[server]'"
    assert done.stderr.splitlines()[-1] == f"whisperlite.errors.MissingPackageError: {message}"


def test_a_token_is_made_as_often_as_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert command.token(["--data-dir", str(tmp_path)]) == 0
    tokens = capsys.readouterr().out.split()
    assert read_hashes(tmp_path / "tokens") == {hash_of(tokens[0]): "default", hash_of(tokens[1]): "default-2"}


def test_a_name_that_was_given_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.token(["anna", "--data-dir", str(tmp_path)]) == 0
    assert command.token(["anna", "--data-dir", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert len(output.out.split()) == 1
    assert "named 'anna' already" in output.err
