"""Many clients of one service: each sends a clip, waits for the answer, and sends the next one."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path

from benchmarks.service.clips import BEAM_SIZE, Clip

_REFUSED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_TIMEOUT_S = 1800.0  # for one answer, after which it counts as lost
_PATIENCE_S = 600.0  # after the end of the measurement, for a request that is refused
_BOUNDARY = "part-of-a-form-5d1c0a"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address to which clips are posted as a form.

    Attributes:
        audio: name of the field with the recording.
    """

    port: int
    path: str
    audio: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request.

    Attributes:
        began_s, ended_s: seconds since the first request of all began.
        text: None if there is none.
        error: the kind of error; None if there was none.
        is_lost: whether no answer came at all.
        refused: how many times it was answered 429 or 503 before.
    """

    clip: Clip
    began_s: float
    ended_s: float
    text: str | None
    error: str | None = None
    is_lost: bool = False
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    retry_after_s: float
    body: bytes


def send(clips: Iterator[Clip], endpoint: Endpoint, clients: int, seconds: float) -> list[Answer]:
    """Have clients send clips for a time, and wait for the requests that have begun by then."""
    lock, answers = threading.Lock(), list[Answer]()
    start = time.perf_counter()

    def client() -> None:
        while time.perf_counter() - start < seconds:
            with lock:
                clip = next(clips)
            answer = ask(clip, endpoint, start, give_up_s=seconds + _PATIENCE_S)
            with lock:
                answers.append(answer)

    with ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(client) for _ in range(clients)]:
            done.result()
    return answers


def ask(clip: Clip, endpoint: Endpoint, start: float, give_up_s: float = _PATIENCE_S) -> Answer:
    """Send one clip, and again after each 429 or 503, until there is an answer.

    Args:
        start: the `perf_counter` time from which the times of the answer are counted.
        give_up_s: the time after which it is not sent again, by the same clock.
    """
    began_s, refused = time.perf_counter() - start, 0
    text, error, is_lost = None, None, False
    while True:
        try:
            reply = _post(clip, endpoint)
        except (OSError, http.client.HTTPException) as problem:
            error, is_lost = type(problem).__name__, True
            break
        if reply.status in _REFUSED and time.perf_counter() - start < give_up_s:
            refused += 1
            time.sleep(reply.retry_after_s)
            continue
        if reply.status == HTTPStatus.OK:
            text = json.loads(reply.body)["text"]
        else:
            error = f"{reply.status}: {reply.body[:200].decode(errors='replace')}"
        break
    return Answer(clip, began_s, time.perf_counter() - start, text, error, is_lost, refused)


def _post(clip: Clip, endpoint: Endpoint) -> _Reply:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=_TIMEOUT_S)
    try:
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        connection.request("POST", endpoint.path, _form(clip, endpoint.audio), headers)
        response = connection.getresponse()
        return _Reply(response.status, float(response.headers.get("Retry-After", 1)), response.read())
    finally:
        connection.close()


@cache
def _form(clip: Clip, audio: str) -> bytes:
    """Return the form of a clip; cached, so that the clients take little time from the service."""
    lines = []
    for name, value in (("language", clip.language), ("beam_size", BEAM_SIZE)):
        lines += [f"--{_BOUNDARY}", f'Content-Disposition: form-data; name="{name}"', "", f"{value}"]
    name = Path(clip.path).name
    lines += [f"--{_BOUNDARY}", f'Content-Disposition: form-data; name="{audio}"; filename="{name}"']
    lines += ["Content-Type: application/octet-stream", "", ""]
    return "\r\n".join(lines).encode() + Path(clip.path).read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()
