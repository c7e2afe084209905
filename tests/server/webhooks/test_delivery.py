"""Deliveries to real receivers on this machine that are slow, broken, hostile, or not where they seem to be."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpcore2
import pytest
from standardwebhooks import Webhook

import whisperlite
from tests.server.webhooks.receiver import Receiver, running_receiver
from whisperlite.server.logs import JsonFormatter
from whisperlite.server.webhooks import delivery
from whisperlite.server.webhooks.addresses import Addresses
from whisperlite.server.webhooks.delivery import Deliveries
from whisperlite.server.webhooks.signing import new_secret, parse_secret, signed_headers
from whisperlite.server.webhooks.store import StorageFullError, Store, StoredRequest

SECRET = new_secret()
ANSWER = {"request_id": "one", "text": "Grüße", "segments": [{"id": 0, "start": 0.5}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def finish(store: Store, id: str, webhook: str, owner: str = "anna") -> None:
    store.add(StoredRequest(id, owner, time.time(), "queued", f"{id}.mp3", {}, webhook))
    store.finish(id, ANSWER, "done")


def found(store: Store, id: str = "one") -> StoredRequest:
    request = store.find(id)
    assert request is not None
    return request


def allowing(*receivers: Receiver) -> Addresses:
    return Addresses(frozenset(receiver.host for receiver in receivers))


def deliver(store: Store, addresses: Addresses, until: Callable[[], object], **options: Any) -> list[str]:
    """Run deliveries until `until` holds. Returns the outcomes of the attempts."""
    return asyncio.run(_deliver(store, addresses, until, **options))


async def _deliver(store: Store, addresses: Addresses, until: Callable[[], object], **options: Any) -> list[str]:
    outcomes: list[str] = []
    options = {"first_retry_s": 0.02, "on_attempt": outcomes.append, **options}
    running = asyncio.create_task(Deliveries(store, addresses, parse_secret(SECRET), **options).run())
    try:
        with anyio.fail_after(5.0):
            while not until() and not running.done():
                await anyio.sleep(0.005)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return outcomes


def test_a_receiver_gets_the_answer_signed(store: Store, receiver: Receiver) -> None:
    finish(store, "one", receiver.url + ";a=b?c=d%20e")
    outcomes = deliver(store, allowing(receiver), lambda: found(store).delivered)
    (message,) = receiver.messages
    assert Webhook(SECRET).verify(message.body, message.headers) == ANSWER
    assert message.path == "/hook;a=b?c=d%20e"
    assert message.headers["host"] == receiver.host
    assert message.headers["webhook-id"] == "one"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"] == f"whisperlite/{whisperlite.__version__}"
    assert outcomes == ["delivered"]


def test_a_receiver_that_fails_twice_gets_the_same_message_until_it_has_it(store: Store, receiver: Receiver) -> None:
    receiver.statuses = [500, 503, 204]
    finish(store, "one", receiver.url)
    outcomes = deliver(store, allowing(receiver), lambda: found(store).delivered)
    assert [message.headers["webhook-id"] for message in receiver.messages] == ["one"] * 3
    for message in receiver.messages:
        assert Webhook(SECRET).verify(message.body, message.headers) == ANSWER
    assert outcomes == ["failed", "failed", "delivered"]
    assert found(store).attempts == 3


def test_a_receiver_that_is_gone_is_given_up_at_once(store: Store, receiver: Receiver) -> None:
    receiver.statuses = [410]
    finish(store, "one", receiver.url)
    outcomes = deliver(store, allowing(receiver), lambda: found(store).gave_up)
    assert outcomes == ["gave_up"]
    assert found(store).last_error == "The receiver answered 410."


def test_after_the_last_time_a_failure_is_given_up(store: Store, receiver: Receiver) -> None:
    receiver.statuses = [500]
    finish(store, "one", receiver.url)
    outcomes = deliver(store, allowing(receiver), lambda: found(store).gave_up, give_up_s=1.0, longest_retry_s=0.05)
    assert outcomes == ["failed"] * (len(outcomes) - 1) + ["gave_up"]
    assert len(receiver.messages) == len(outcomes) > 1


def test_a_clock_that_was_ahead_holds_up_no_delivery(store: Store, receiver: Receiver) -> None:
    """By the clock of that time, the first attempt was made a day from now."""
    finish(store, "one", receiver.url)
    ahead = time.time() + 86400
    store.record_attempt("one", "The receiver answered 500.", ahead, ahead + 3)
    deliver(store, allowing(receiver), lambda: found(store).delivered)
    assert len(receiver.messages) == 1


def test_pauses_are_a_random_part_of_what_doubles_up_to_the_longest(store: Store, receiver: Receiver) -> None:
    pauses = []

    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            pauses.append((a, b))
            return b

    receiver.statuses = [500, 500, 500, 500, 200]
    finish(store, "one", receiver.url)
    options = {"first_retry_s": 0.01, "longest_retry_s": 0.03, "random": Longest()}
    deliver(store, allowing(receiver), lambda: found(store).delivered, **options)
    assert pauses == [(0.0, 0.01), (0.0, 0.02), (0.0, 0.03), (0.0, 0.03)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inward_is_a_failure_and_nobody_is_asked_there(
    store: Store, receiver: Receiver, status: int
) -> None:
    with running_receiver() as inner:
        receiver.statuses, receiver.headers = [status, 410], {"location": inner.url}
        finish(store, "one", receiver.url)
        deliver(store, allowing(receiver, inner), lambda: found(store).attempts, first_retry_s=60.0)
    assert inner.messages == []
    assert f"answered {status}, a redirect" in found(store).last_error
    assert str(inner.port) not in found(store).last_error
    assert found(store).delivered is None


def test_an_inner_receiver_is_not_asked(store: Store, receiver: Receiver) -> None:
    finish(store, "one", receiver.url)
    deliver(store, Addresses(), lambda: found(store).attempts, first_retry_s=60.0)
    assert receiver.messages == []
    assert "'127.0.0.1' is not on the public internet" in found(store).last_error
    assert found(store).next_attempt > time.time()


def test_a_name_that_means_an_inner_address_once_it_was_checked_is_not_asked_there(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = ["8.8.8.8", "127.0.0.1"], []

    def names(_: str, port: int, *__: object, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    async def connect(_: httpcore2.AnyIOBackend, host: str, *__: object) -> httpcore2.AsyncNetworkStream:
        asked.append(host)
        raise httpcore2.ConnectError("nothing leaves this machine")

    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    finish(store, "one", f"http://hooks.test:{receiver.port}/")
    deliver(store, Addresses(), lambda: found(store).attempts, first_retry_s=60.0)
    assert (asked, answers) == (["8.8.8.8"], ["127.0.0.1"])


def test_a_receiver_that_hangs_is_cut_off_and_holds_up_no_other(store: Store, receiver: Receiver) -> None:
    with running_receiver() as slow:
        slow.hangs = True
        finish(store, "slow", slow.url)
        finish(store, "one", receiver.url)
        addresses = allowing(receiver, slow)
        deliver(store, addresses, lambda: slow.messages and found(store).delivered, timeout_s=60.0)
        assert found(store, "slow").attempts == 0
        deliver(store, addresses, lambda: found(store, "slow").attempts, timeout_s=0.1, first_retry_s=60.0)
    assert found(store, "slow").last_error == "The receiver did not answer within 0.1 s."


def test_a_receiver_that_hangs_with_much_to_get_holds_up_no_other(store: Store, receiver: Receiver) -> None:
    with running_receiver() as slow:
        slow.hangs = True
        for place in range(20):
            finish(store, f"slow-{place}", f"{slow.url}?id={place}")
        finish(store, "one", receiver.url)
        addresses = allowing(receiver, slow)
        deliver(store, addresses, lambda: found(store).delivered, timeout_s=60.0, at_a_time=4)
        assert slow.most_at_once <= 2


def test_neither_do_many_of_one_owner(store: Store, receiver: Receiver) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(running_receiver()) for _ in range(5)]
        for each in slow:
            each.hangs = True
            for place in range(3):
                finish(store, f"{each.port}-{place}", each.url)
        finish(store, "one", receiver.url, owner="ben")
        deliver(store, allowing(receiver, *slow), lambda: found(store).delivered, timeout_s=60.0, at_a_time=4)
        assert sum(each.most_at_once for each in slow) == 3


def test_neither_does_a_receiver_that_hangs_for_many_owners(store: Store, receiver: Receiver) -> None:
    with running_receiver() as slow:
        slow.hangs = True
        for place in range(3):
            for number in range(6):
                finish(store, f"slow-{number}-{place}", slow.url, owner=f"owner {number}")
        finish(store, "one", receiver.url, owner="zoe")
        deliver(store, allowing(receiver, slow), lambda: found(store).delivered, timeout_s=60.0, at_a_time=4)
        assert slow.most_at_once == 2


@pytest.mark.parametrize(
    ("at_a_time", "receivers", "owners", "most"),
    [(4, 2, 2, 4), (4, 2, 1, 3), (2, 2, 1, 2), (4, 1, 2, 2), (1, 1, 1, 1), (8, 2, 1, 6)],
)
def test_no_more_attempts_run_at_once_than_asked_for_half_of_them_to_one_receiver_three_quarters_of_one_owner(
    store: Store, receiver: Receiver, at_a_time: int, receivers: int, owners: int, most: int
) -> None:
    receiver.delay_s = 0.03
    hosts = [f"{name}:{receiver.port}" for name in ("127.0.0.1", "localhost")][:receivers]
    for host in hosts:
        for place in range(6):
            finish(store, f"{host}-{place}".replace(".", "-"), f"http://{host}/", owner=f"owner {place % owners}")
    deliver(store, Addresses(frozenset(hosts)), lambda: store.pending() == 0, at_a_time=at_a_time)
    assert receiver.most_at_once == most
    assert len(receiver.messages) == 6 * receivers


def test_each_attempt_is_a_line_of_the_log(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lines.append(json.loads(JsonFormatter().format(record))))
    caplog.set_level("INFO", "whisperlite.server")
    receiver.statuses = [500, 200, 410]
    finish(store, "one", receiver.url)
    deliver(store, allowing(receiver), lambda: found(store).delivered)
    finish(store, "two", receiver.url)
    deliver(store, allowing(receiver), lambda: found(store, "two").gave_up)
    names = ("message", "level", "request_id", "outcome", "attempt", "receiver", "error")
    assert [tuple(line.get(name) for name in names) for line in lines] == [
        ("webhook attempt", "warning", "one", "failed", 1, receiver.host, "The receiver answered 500."),
        ("webhook attempt", "info", "one", "delivered", 2, receiver.host, None),
        ("webhook attempt", "warning", "two", "gave_up", 1, receiver.host, "The receiver answered 410."),
    ]


def test_what_a_receiver_says_goes_nowhere(store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "whisperlite")
    receiver.statuses, receiver.body, receiver.headers = [500, 410], b"internal", {"x-internal": "internal"}
    finish(store, "one", receiver.url)
    deliver(store, allowing(receiver), lambda: found(store).gave_up)
    assert "internal" not in repr(found(store))
    assert "internal" not in caplog.text


def test_an_answer_without_end_is_not_read_to_the_end(store: Store, receiver: Receiver) -> None:
    receiver.is_endless = True
    finish(store, "one", receiver.url)
    began = time.monotonic()
    deliver(store, allowing(receiver), lambda: found(store).delivered)
    assert time.monotonic() - began < 0.9  # less than the time limit for reading
    assert 0 < receiver.sent_bytes < 1 << 25  # no more than the buffers of two sockets hold


def test_a_closed_port_is_a_failure_without_an_address(store: Store) -> None:
    with running_receiver() as closed:
        pass
    finish(store, "one", closed.url)
    deliver(store, allowing(closed), lambda: found(store).attempts, first_retry_s=60.0)
    assert found(store).last_error == "The receiver refused the connection or did not answer."


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "The receiver did not answer in HTTP/1.1."),
        (b"", "The receiver did not answer in HTTP/1.1."),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, "The receiver did not answer in HTTP/1.1."),
    ],
    ids=["another protocol", "nothing", "headers without end"],
)
def test_what_is_not_http_is_a_failure(store: Store, reply: bytes, error: str) -> None:
    with raw_server(reply) as port:
        finish(store, "one", f"http://127.0.0.1:{port}/")
        deliver(store, Addresses(frozenset({"127.0.0.1"})), lambda: found(store).attempts, first_retry_s=60.0)
    assert found(store).last_error == error


@contextmanager
def raw_server(reply: bytes) -> Iterator[int]:
    """A server that answers one connection with these bytes and closes it."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):  # the client may close it first
            connection.sendall(reply)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):  # closing with unread data would reset the connection
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(("name", "error"), [("hooks.test", ""), ("other.test", "certificate is not valid")])
def test_tls_checks_the_name_in_the_url(store: Store, monkeypatch: pytest.MonkeyPatch, name: str, error: str) -> None:
    certificate = Path(__file__).parent / "hooks_test.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with running_receiver(tls) as receiver:
        answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [answer])
        finish(store, "one", f"https://{name}:{receiver.port}/")
        deliver(store, Addresses(frozenset({name})), lambda: found(store).attempts, first_retry_s=60.0)
    assert error in found(store).last_error
    assert (found(store).delivered is None) == bool(error)
    assert len(receiver.messages) == (0 if error else 1)


def test_no_proxy_of_the_environment_is_used(store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        finish(store, "one", receiver.url)
        deliver(store, allowing(receiver, proxy), lambda: found(store).delivered)
    assert (len(receiver.messages), proxy.messages) == (1, [])


def test_wake_delivers_at_once_what_was_finished_meanwhile(store: Store, receiver: Receiver) -> None:
    async def run() -> None:
        deliveries = Deliveries(store, allowing(receiver), parse_secret(SECRET))
        running = asyncio.create_task(deliveries.run())
        await anyio.sleep(0.1)  # by now it sleeps, as nothing is due
        finish(store, "one", receiver.url)
        deliveries.wake()
        with anyio.fail_after(5.0):
            while found(store).delivered is None:
                await anyio.sleep(0.005)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(run())
    assert len(receiver.messages) == 1


def test_an_attempt_that_is_cut_off_is_made_again(store: Store, receiver: Receiver) -> None:
    receiver.hangs = True
    finish(store, "one", receiver.url)
    assert deliver(store, allowing(receiver), lambda: receiver.messages) == []
    assert found(store).attempts == 0
    receiver.release.set()
    assert deliver(store, allowing(receiver), lambda: found(store).delivered) == ["delivered"]
    assert [message.headers["webhook-id"] for message in receiver.messages] == ["one", "one"]


def test_a_process_that_is_killed_in_an_attempt_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    receiver.hangs = True
    code = f"""
import asyncio
from pathlib import Path
from whisperlite.server.webhooks.addresses import Addresses
from whisperlite.server.webhooks.delivery import Deliveries
from whisperlite.server.webhooks.store import Store, StoredRequest
store = Store(Path({str(tmp_path)!r}))
store.add(StoredRequest("one", "anna", 1.0, "queued", "one.mp3", {{}}, {receiver.url!r}))
store.finish("one", {json.dumps(ANSWER)}, "done")
asyncio.run(Deliveries(store, Addresses(frozenset({{{receiver.host!r}}})), bytes(32)).run())
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        try:
            while not receiver.messages and process.poll() is None:
                time.sleep(0.005)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
    assert receiver.messages, errors
    receiver.release.set()
    store = Store(tmp_path)
    assert [one.id for one in store.due(time.time(), 10)] == ["one"]
    deliver(store, allowing(receiver), lambda: found(store).delivered)
    store.close()
    assert [message.headers["webhook-id"] for message in receiver.messages] == ["one", "one"]
    assert receiver.messages[0].body == receiver.messages[1].body


class FullStore(Store):
    """A store on a disk that is full for the first few calls."""

    full = 2

    def _use(self) -> None:
        if self.full:
            self.full -= 1
            raise StorageFullError("requests.sqlite3 cannot be written.")


class FullForNotes(FullStore):
    def record_attempt(self, id: str, error: str | None, now: float, next_attempt: float | None) -> None:
        self._use()
        super().record_attempt(id, error, now, next_attempt)


class FullForDue(FullStore):
    def due(
        self,
        now: float,
        limit: int,
        takes: Callable[[str, str, str], bool] = lambda *_: True,
        longest_s: float = math.inf,
    ) -> list[StoredRequest]:
        self._use()
        return super().due(now, limit, takes, longest_s)


@pytest.mark.parametrize("kind", [FullForNotes, FullForDue])
def test_on_a_full_disk_deliveries_go_on_later_and_repeat_nothing(
    tmp_path: Path, receiver: Receiver, kind: type[FullStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = kind(tmp_path)
    finish(store, "one", receiver.url)
    outcomes = deliver(store, allowing(receiver), lambda: found(store).delivered)
    store.close()
    assert outcomes == ["delivered"]
    assert len(receiver.messages) == 1
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["whisperlite.server"] * 2


def test_an_error_of_our_own_in_one_attempt_is_logged_and_holds_up_no_other(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def sign(secret: bytes, id: str, body: bytes, now: float) -> dict[str, str]:
        if id == "bad":
            raise RuntimeError("a mistake")
        return signed_headers(secret, id, body, now)

    monkeypatch.setattr(delivery, "signed_headers", sign)
    finish(store, "bad", receiver.url)
    finish(store, "one", receiver.url)
    deliver(store, allowing(receiver), lambda: found(store, "bad").attempts and found(store).delivered)
    assert found(store, "bad").last_error == "The delivery attempt failed."
    assert "a mistake" in caplog.text
