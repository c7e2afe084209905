"""A receiver of webhooks: a real HTTP server on this machine that keeps the messages it gets."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Message:
    """A received message."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A receiver, whose behaviour tests can change at any time.

    Attributes:
        statuses: the statuses of the answers, in turn; the last one is repeated.
        headers: additional headers of every answer.
        body: the body of every answer.
        hangs: whether answers wait for `release` to be set.
        delay_s: the pause before every answer.
        most_at_once: the largest number of requests that waited for an answer at a time.
        is_endless: whether the answer's body has no end; `sent_bytes` counts it.
    """

    statuses: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False
    delay_s: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_endless: bool = False
    sent_bytes: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    messages: list[Message] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"


@contextmanager
def running_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on a free port of this machine."""
    receiver = Receiver()
    server = _Server(("127.0.0.1", 0), _handler(receiver))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections, which tests cause on purpose."""


def _handler(state: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        receiver = state

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def log_message(self, *_: object) -> None:
        """Write nothing to standard error."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        receiver.messages.append(Message(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        with receiver.lock:
            receiver.at_once += 1
            receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
        if receiver.hangs:
            receiver.release.wait()
        time.sleep(receiver.delay_s)
        with receiver.lock:
            receiver.at_once -= 1
        statuses = receiver.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        length = 1 << 60 if receiver.is_endless else len(receiver.body)
        for name, value in {**receiver.headers, "content-length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(receiver.body)
        while receiver.is_endless and not receiver.release.is_set():
            receiver.sent_bytes += self.wfile.write(bytes(1 << 16))
