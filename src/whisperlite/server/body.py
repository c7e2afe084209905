"""The body of a request → its fields, and its recording on disk.

In: multipart/form-data, or JSON with the recording in base64. The recording of a form is written to disk as it arrives,
so its size does not matter for memory. JSON is read as a whole, so it has a size limit, and bodies are parsed one at a
time. A body that is too large or too slow is refused as soon as that is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from whisperlite.server.json_body import read_json
from whisperlite.server.problems import FULL, Problem, storage_full
from whisperlite.server.settings import Settings

_MOST_FIELDS = 200
_MOST_TEXT = 1 << 17  # bytes of all fields other than the recording
_MOST_JSON = 64_000_000  # bytes of a body that has to be in memory as a whole
_T = TypeVar("_T")


@dataclass(slots=True)
class Body:
    """The content of a body.

    Attributes:
        fields: names and values, in their order; the values of a form are strings, those of JSON anything.
        is_form: whether it is a form.
        has_audio: whether there is a recording, which is in its file.
    """

    fields: list[tuple[str, Any]] = field(default_factory=list)
    is_form: bool = True
    has_audio: bool = False


async def read_body(request: Request, file: Path, name: str, settings: Settings, turn: asyncio.Lock) -> Body:
    """Read a request to its end.

    Args:
        file: where the recording is written; the caller deletes it, whatever happens.
        name: the name of the field with the recording.
        turn: the lock that makes JSON bodies be parsed one at a time.

    Raises:
        Problem: 400, 408, 413, 415, 422 or 507, if the body is wrong or cannot be stored.
        ClientDisconnect: if the client has disconnected.
    """
    header = request.headers.get("content-type", "")
    kind, parameters = parse_options_header(header)
    is_json = kind == b"application/json"
    most = min(settings.max_upload_bytes, _MOST_JSON) if is_json else settings.max_upload_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    chunks = _chunks(request, most, settings)
    if is_json:
        return await _read_json(chunks, file, name, turn)
    if kind == b"multipart/form-data" and b"boundary" in parameters:
        return await _read_form(chunks, parameters[b"boundary"], file, name)
    raise Problem(
        415,
        f"The content type {header[:100]!r} is not supported: send multipart/form-data or application/json.",
        headers={"Accept-Post": "multipart/form-data, application/json"},
    )


async def _chunks(request: Request, most: int, settings: Settings) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, while it keeps to the limits of size and time."""
    received = 0
    began = time.monotonic()
    stream = request.stream()
    while True:
        due_s = received / (1000 * settings.upload_kb_per_s)  # when this much must have arrived
        patience = began + due_s + settings.upload_timeout_s - time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(stream), min(max(patience, 0.0), settings.upload_timeout_s))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:  # in Python 3.10 not the built-in one
            raise Problem(408, "The upload was too slow.", kind="slow upload") from None
        received += len(chunk)
        if received > most:
            raise _too_large(most)
        yield chunk


def _too_large(most: int) -> Problem:
    return Problem(413, f"The request is larger than the {most / 1e6:g} MB that are allowed.")


@contextlib.asynccontextmanager
async def _writing(file: Path) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """A function that appends to a new file. At the end the file is closed; without an error, it is complete.

    Raises:
        Problem: 507: the disk is full.
    """
    target = await _on_disk(lambda: file.open("wb"))
    try:
        yield lambda data: _on_disk(partial(target.write, data))
        await _on_disk(target.flush)
    finally:
        with contextlib.suppress(OSError):  # a failed write has been reported by `write` or `flush`
            await asyncio.to_thread(target.close)


async def _on_disk(action: Callable[[], _T]) -> _T:
    """Run a file operation on another thread.

    Raises:
        Problem: 507: the disk is full.
    """
    try:
        return await asyncio.to_thread(action)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise storage_full() from error


# JSON


async def _read_json(chunks: AsyncIterator[bytes], file: Path, name: str, turn: asyncio.Lock) -> Body:
    async with _writing(file) as write:
        async for chunk in chunks:
            await write(chunk)

    def split() -> Body:
        values, recording = read_json(file.read_bytes(), name, _MOST_TEXT)
        file.write_bytes(recording or b"")
        return Body(list(values.items()), is_form=False, has_audio=recording is not None)

    async with turn:  # parsing takes memory
        return await _on_disk(split)


# Forms


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, file: Path, name: str) -> Body:
    form = _Form(name)
    try:
        parser = MultipartParser(boundary, form.callbacks())
    except FormParserError as error:
        raise Problem(400, "The boundary of the form is not valid.") from error
    async with _writing(file) as write:
        async for chunk in chunks:
            try:
                parser.write(chunk)
            except FormParserError as error:
                raise Problem(400, "The body is not a form, although its content type says so.") from error
            if form.arrived:
                data = b"".join(form.arrived)
                form.arrived.clear()
                await write(data)
        if not form.is_complete:
            raise Problem(400, "The form is incomplete: its last boundary is missing.")
    return Body(form.fields, has_audio=form.has_audio)


class _Form:
    """The callbacks of the parser, which collect the text fields and the arrived parts of the recording."""

    def __init__(self, audio: str) -> None:
        self.audio = audio
        self.fields: list[tuple[str, Any]] = []
        self.arrived: list[bytes] = []
        self.has_audio = False
        self.is_complete = False
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name = ""
        self._text = bytearray()
        self._texts = 0  # bytes of all text fields

    def callbacks(self) -> Any:
        return {
            name: getattr(self, name)
            for name in (
                *("on_part_begin", "on_header_field", "on_header_value", "on_header_end", "on_headers_finished"),
                *("on_part_data", "on_part_end", "on_end"),
            )
        }

    def on_part_begin(self) -> None:
        self._disposition = b""
        self._text = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Problem(400, "A part of the form has no name.")
        self._name = options[b"name"].decode(errors="replace")
        if self._name == self.audio:
            if self.has_audio:
                raise Problem(422, f"{self.audio} was given twice: send one recording per request.", self.audio)
            self.has_audio = True
        elif len(self.fields) >= _MOST_FIELDS:
            raise Problem(422, f"The form has more than {_MOST_FIELDS} fields.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self.audio:
            self.arrived.append(data[start:end])
            return
        self._texts += end - start
        if self._texts > _MOST_TEXT:
            raise Problem(
                422, f"{self._name[:100]!r}: all fields together are longer than {_MOST_TEXT} bytes.", self._name[:100]
            )
        self._text += data[start:end]

    def on_part_end(self) -> None:
        if self._name == self.audio:
            return
        try:
            self.fields.append((self._name, self._text.decode()))
        except UnicodeDecodeError as error:
            raise Problem(422, f"{self._name[:100]!r} is not valid UTF-8.", self._name[:100]) from error

    def on_end(self) -> None:
        self.is_complete = True
