"""Connections without a complete request are closed; others are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

import whisperlite
from tests.conftest import DATA
from tests.pooled import PATIENCE_S, Steps, wait_until
from tests.server.serving import MOST_CONNECTIONS, Running, running
from whisperlite import MissingPackageError, Whisper
from whisperlite.server import connections
from whisperlite.server.waiting import unless_gone

LIMIT_S = 0.5
RECORDING = (DATA / "librivox.wav").read_bytes()
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
    connections.protocol_with(1.0, 1.0, 9)
    monkeypatch.setattr(connections, "_ATTRIBUTES", {Renamed: ("connection_made", "exchange", "cycle")})
    with pytest.raises(MissingPackageError, match=r"uvicorn [\d.]+ cannot be used: its Renamed has no cycle\."):
        connections.protocol_with(1.0, 1.0, 9)


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
    """The answers are more than the system's buffers hold, and none is read."""

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


def test_of_too_many_the_last_are_broken_off_and_the_others_served(model: Whisper, tmp_path: Path) -> None:
    with running(model, tmp_path) as service, contextlib.ExitStack() as held:
        address = ("127.0.0.1", service.port)
        clients = [held.enter_context(socket.create_connection(address)) for _ in range(MOST_CONNECTIONS)]
        wait_until(lambda: is_broken_off(held.enter_context(socket.create_connection(address))))
        clients[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert clients[0].recv(12) == b"HTTP/1.1 200"
        clients.pop().close()
        wait_until(lambda: service.client.get("/healthz").status_code == 200)


def is_broken_off(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("ahead", [b"\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_a_client_that_goes_is_noticed_whatever_it_sent_after_its_request(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bytes
) -> None:
    asked, gone = threading.Event(), threading.Event()

    async def wait(request: Request, work: Any) -> None:
        work.close()
        asked.set()
        try:
            await unless_gone(request, asyncio.sleep(PATIENCE_S))
        finally:
            gone.set()

    monkeypatch.setattr("whisperlite.server.inference.unless_gone", wait)
    with running(model, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(upload(service))
        assert asked.wait(PATIENCE_S)
        client.sendall(ahead)
        assert not gone.wait(0.2)
        client.close()
        assert gone.wait(5)


def test_a_request_that_comes_before_the_last_answer_is_answered_after_it(model: Whisper, tmp_path: Path) -> None:
    with running(model, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(upload(service))
        wait_until(lambda: service.service.pool.jobs == 1)
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.endswith(b'{"status":"ok"}')


def test_one_that_sends_ever_more_before_it_has_its_answer_has_to_wait(
    model: Whisper, tmp_path: Path, steps: Steps
) -> None:
    steps.may_go.clear()
    with running(model, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(upload(service))
        wait_until(lambda: service.service.pool.jobs == 1)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.sendall(b"\r\n" * (1 << 25))
        steps.may_go.set()


def test_a_long_request_that_comes_before_the_last_answer_is_answered_after_it(
    model: Whisper, tmp_path: Path, steps: Steps
) -> None:
    steps.may_go.clear()
    with running(model, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(upload(service))
        wait_until(lambda: service.service.pool.jobs == 1)
        sending = threading.Thread(target=client.sendall, args=(upload(service),))
        sending.start()
        connection: Any = next(iter(service.server.server_state.connections))
        wait_until(lambda: connection.flow.read_paused)
        steps.may_go.set()
        received = b""
        while received.count(b"HTTP/1.1 200") < 2:
            received += client.recv(1 << 20)
        sending.join()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer unknown", "Content-Type": "application/json"}, HTTPStatus.UNAUTHORIZED),
        ({"Content-Type": "multipart/form-data; boundary=x"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ({"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "no number"}, HTTPStatus.BAD_REQUEST),
    ],
)
def test_one_that_sends_all_before_it_reads_learns_why_it_was_refused(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: HTTPStatus
) -> None:
    """The body is more than the system's buffers hold; http.client sends all of it, then reads the answer."""
    monkeypatch.setenv("WHISPERLITE_TOKEN", "known")
    headers = {"Authorization": "Bearer known", **headers}
    with running(model, tmp_path, tokens=str(tmp_path / "tokens"), max_upload_mb=1.0) as service:
        client = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
        client.request("POST", PATH, bytes(1 << 26), headers)
        response = client.getresponse()
        response.read()
        assert response.status == status
        assert response.headers["connection"] == "close"
        wait_until(lambda: service.connections == 0)


def test_one_that_never_stops_sending_is_broken_off(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGERING_S", LIMIT_S)

    def send_without_end(client: socket.socket) -> None:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 404"
        while time.monotonic() - began < PATIENCE_S:
            client.sendall(b"x")
            time.sleep(LIMIT_S / 10)

    began = time.monotonic()
    with running(model, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_without_end(client)
        assert LIMIT_S / 2 < time.monotonic() - began < LIMIT_S + 3


def test_a_stop_waits_for_none_that_only_sends(model: Whisper, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        with running(model, tmp_path) as service:
            client = held.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 404"
            began = time.monotonic()
        assert time.monotonic() - began < 5


def upload(service: Running) -> bytes:
    """The bytes of a whole request."""
    request = service.client.build_request("POST", PATH, files={"audio": ("a.wav", RECORDING)}, data={"language": "en"})
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", ""]).encode() + request.read()


def test_one_that_uploads_slowly_stays_open_once_its_headers_are_there(connection: HTTPConnection) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
        for _ in range(4):
            time.sleep(LIMIT_S / 2)
            yield b"no sound"
        yield b"\r\n--x--\r\n"

    connection.request("POST", PATH, parts(), {"Content-Type": "multipart/form-data; boundary=x"}, encode_chunked=True)
    assert connection.getresponse().status == HTTPStatus.UNPROCESSABLE_ENTITY
