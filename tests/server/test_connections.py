"""Connections that ask for nothing, or never to the end, are closed; others are not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

import whisperlite
from tests.pooled import PATIENCE_S, wait_until
from tests.server.serving import Running, running
from whisperlite import MissingPackageError, Whisper
from whisperlite.server import connections

LIMIT_S = 0.5
PATH = "/v1/inference/openai/whisper-tiny.en"


@pytest.fixture(scope="module")
def model() -> Whisper:
    return whisperlite.load_model("tiny.en", device="cpu")


@pytest.fixture(scope="module")
def service(model: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("service")
    with running(model, folder, headers_timeout_s=LIMIT_S) as service:
        yield service


@pytest.fixture
def connection(service: Running) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    connection.connect()
    yield connection
    connection.close()


def status_of(connection: HTTPConnection) -> int:
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return response.status


def seconds_to_its_end(connection: HTTPConnection) -> float:
    began = time.monotonic()
    assert connection.sock.recv(1) == b""
    return time.monotonic() - began


def test_a_version_of_uvicorn_that_the_limits_cannot_be_built_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed:
        def __init__(self) -> None:
            self.exchange = None

        def connection_made(self, transport: object) -> None: ...

    monkeypatch.setattr(connections, "_ATTRIBUTES", {Renamed: ("connection_made", "exchange")})
    connections.protocol_with(1.0, 1.0)
    monkeypatch.setattr(connections, "_ATTRIBUTES", {Renamed: ("connection_made", "exchange", "cycle")})
    with pytest.raises(MissingPackageError, match=r"uvicorn [\d.]+ cannot be used: its Renamed has no cycle\."):
        connections.protocol_with(1.0, 1.0)


def test_one_that_sends_nothing_is_closed(connection: HTTPConnection) -> None:
    assert LIMIT_S / 2 < seconds_to_its_end(connection) < LIMIT_S + 3


def test_headers_that_never_end_do_not_keep_it_open(connection: HTTPConnection) -> None:
    def send_headers_without_end() -> None:
        connection.putrequest("GET", "/healthz")
        while time.monotonic() - began < PATIENCE_S:
            connection.send(b"A")
            time.sleep(LIMIT_S / 10)

    began = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_headers_without_end()
    assert time.monotonic() - began < LIMIT_S + 3


def test_neither_do_those_of_a_second_request(connection: HTTPConnection) -> None:
    assert status_of(connection) == HTTPStatus.OK
    connection.send(b"GET /heal")
    assert LIMIT_S / 2 < seconds_to_its_end(connection) < LIMIT_S + 3


def test_one_that_is_idle_after_an_answer_is_closed(connection: HTTPConnection) -> None:
    assert status_of(connection) == HTTPStatus.OK
    assert LIMIT_S / 2 < seconds_to_its_end(connection) < LIMIT_S + 3


def test_one_that_asks_again_and_again_stays_open(connection: HTTPConnection) -> None:
    connection.auto_open = 0
    began = time.monotonic()
    while time.monotonic() - began < 3 * LIMIT_S:
        assert status_of(connection) == HTTPStatus.OK
        time.sleep(LIMIT_S / 5)


def test_one_that_takes_nothing_of_its_answers_is_broken_off(model: Whisper, tmp_path: Path) -> None:
    """More answers than the system's buffers hold, of which none is read."""

    async def served(protocol: str = "RequestResponseCycle") -> int:
        return sum(protocol in str(task.get_coro()) for task in asyncio.all_tasks())

    def now_served(service: Running) -> int:
        return asyncio.run_coroutine_threadsafe(served(), service.loop).result(PATIENCE_S)

    with running(model, tmp_path, upload_timeout_s=LIMIT_S) as service, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 300)
        wait_until(lambda: now_served(service) == 1)
        wait_until(lambda: now_served(service) == 0)
        client.settimeout(PATIENCE_S)
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
        assert received.count(b"HTTP/1.1 200") < 300


def test_one_that_uploads_slowly_stays_open_once_its_headers_are_there(connection: HTTPConnection) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
        for _ in range(4):
            time.sleep(LIMIT_S / 2)
            yield b"no sound"
        yield b"\r\n--x--\r\n"

    connection.request("POST", PATH, parts(), {"Content-Type": "multipart/form-data; boundary=x"}, encode_chunked=True)
    assert connection.getresponse().status == HTTPStatus.UNPROCESSABLE_ENTITY
