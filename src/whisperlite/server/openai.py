"""OpenAI's API: `POST /v1/audio/transcriptions` and `/translations`, and `GET /v1/models`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from whisperlite.errors import WhisperliteError
from whisperlite.formats import render
from whisperlite.languages import LANGUAGES
from whisperlite.options import Options
from whisperlite.results import Transcription
from whisperlite.server.body import Body, read_body
from whisperlite.server.fields import (
    OPTIONS,
    checked_options,
    drop_empty,
    join_parts,
    parse_flag,
    parse_values,
    refuse_unknown,
    set_alias,
    unique,
)
from whisperlite.server.problems import Problem
from whisperlite.server.service import OPENAI_NAME, Service
from whisperlite.server.waiting import unless_gone, with_pauses

AUDIO = "file"
QUIET_S = 15.0  # proxies close a connection that is silent for a minute or so
_STILL_HERE = ":\n\n"  # a comment, which clients ignore
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_GRANULARITIES = ("segment", "word")
_GRANULARITY_NAMES = ("timestamp_granularities[]", "timestamp_granularities")
_CHOSEN_BY = {"task": "the path", "word_timestamps": _GRANULARITY_NAMES[0]}
_FIELDS = {*OPTIONS, "model", "prompt", "response_format", "stream", _GRANULARITY_NAMES[0]}.difference(_CHOSEN_BY)


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """The parsed fields of a request to OpenAI's API."""

    options: Options
    response_format: str
    granularities: tuple[str, ...]
    stream: bool


async def transcribe(request: Request) -> Response:
    """Answer `POST /v1/audio/transcriptions`."""
    return await _answer(request, "transcribe")


async def translate(request: Request) -> Response:
    """Answer `POST /v1/audio/translations`, which translates into English."""
    return await _answer(request, "translate")


async def list_models(request: Request) -> Response:
    """Answer `GET /v1/models`."""
    service: Service = request.app.state.service
    return JSONResponse({"object": "list", "data": [service.describe()]})


async def find_model(request: Request) -> Response:
    """Answer `GET /v1/models/{model}`."""
    service: Service = request.app.state.service
    service.check_name(request.path_params["model"], OPENAI_NAME)
    return JSONResponse(service.describe())


async def _answer(request: Request, task: str) -> Response:
    service: Service = request.app.state.service
    with ExitStack() as held:
        held.enter_context(service.request_slot(request.state.owner))
        file = held.enter_context(service.upload(request.state.request_id))
        body = await read_body(request, file, AUDIO, service.settings, service.json_turn)
        asked = await asyncio.to_thread(read_openai_request, body, task, service)
        if not body.has_audio:
            raise Problem(400, "file is missing: send the recording in this field.", AUDIO)
        service.model.check_options(asked.options)
        if asked.stream:
            events = _events(service, file, asked.options)
            # Errors of the recording appear before the first event, while the status can still be set.
            first = await unless_gone(request, anext(events))
            return _Stream(first, events, held.pop_all())
        try:
            result = await unless_gone(request, service.transcribe(file, asked.options))
        except WhisperliteError as error:
            raise service.problem(error, file, asked.options, AUDIO) from error
    return as_response(result, asked)


def read_openai_request(body: Body, task: str, service: Service) -> OpenAIRequest:
    """Parse and check the fields of OpenAI's API, and all options of `transcribe`.

    Raises:
        Problem: 400, 404 or 422, with the field that is wrong.
    """
    pairs = drop_empty(body.fields) if body.is_form else body.fields
    plain = [(name, value) for name, value in pairs if name not in _GRANULARITY_NAMES]
    values = unique(join_parts(plain) if body.is_form else plain)
    granularities: list[Any] = []
    for name, value in pairs:
        if name in _GRANULARITY_NAMES:
            granularities += value if isinstance(value, list) else [value]
    if "model" not in values:
        raise Problem(400, f"model is missing: this service serves {service.names[0]!r}.", "model")
    service.check_name(str(values.pop("model")), OPENAI_NAME)
    format = values.pop("response_format", None) or "json"
    if format not in FORMATS:
        raise Problem(400, f"response_format={format!r} is not one of {', '.join(FORMATS)}.", "response_format")
    stream = parse_flag("stream", values.pop("stream", None))
    _refuse_combinations(granularities, format, stream)
    for name, place in _CHOSEN_BY.items():
        if name in values:
            raise Problem(400, f"{name} cannot be given here: it is chosen by {place}.", name)
    if "prompt" in values:
        set_alias(values, "prompt", "initial_prompt", values.pop("prompt"))
    refuse_unknown(values, _FIELDS)
    given = parse_values(values) if body.is_form else values
    given = {**given, "task": task, "word_timestamps": "word" in granularities}
    chosen = tuple(granularities) or ("segment",)
    return OpenAIRequest(checked_options(given, service.settings), format, chosen, stream)


def _refuse_combinations(granularities: list[Any], format: str, stream: bool) -> None:
    name = "timestamp_granularities[]"
    for each in granularities:
        if each not in _GRANULARITIES:
            raise Problem(400, f"{name}={each!r} is neither 'segment' nor 'word'.", name)
    if granularities and format != "verbose_json":
        raise Problem(400, f"{name} needs response_format='verbose_json', which has times.", name)
    if stream and format not in ("json", "text"):
        raise Problem(400, f"stream=true needs response_format='json' or 'text', not {format!r}.", "stream")


def as_response(result: Transcription, asked: OpenAIRequest) -> Response:
    """Return a transcription in the requested format."""
    if asked.response_format == "text":
        return PlainTextResponse(result.text.strip() + "\n")
    if asked.response_format in ("srt", "vtt"):
        return PlainTextResponse(
            render(result, asked.response_format),
            media_type="text/vtt" if asked.response_format == "vtt" else "application/x-subrip",
        )
    if asked.response_format == "verbose_json":
        return JSONResponse(_verbose(result, asked.granularities))
    return JSONResponse({"text": result.text.strip(), "usage": _usage(result)})


def _verbose(result: Transcription, granularities: tuple[str, ...]) -> dict[str, Any]:
    verbose: dict[str, Any] = {
        "task": result.task,
        "language": LANGUAGES.get(result.language, result.language),
        "duration": result.duration,
        "text": result.text.strip(),
        "usage": _usage(result),
    }
    if "segment" in granularities:
        names = (
            *("id", "seek", "start", "end", "text", "temperature"),
            *("avg_logprob", "compression_ratio", "no_speech_prob"),
        )
        verbose["segments"] = [
            {**{name: getattr(segment, name) for name in names}, "tokens": list(segment.tokens)}
            for segment in result.segments
        ]
    if "word" in granularities:
        verbose["words"] = [{"word": word.word.strip(), "start": word.start, "end": word.end} for word in result.words]
    return verbose


def _usage(result: Transcription) -> dict[str, Any]:
    return {"type": "duration", "seconds": result.duration}


class _Stream(StreamingResponse):
    """Server-sent events. The request's slot and upload are released at their end, even if they never began."""

    def __init__(self, first: str, events: AsyncGenerator[str, None], held: ExitStack) -> None:
        super().__init__(self._chained(first), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._events, self._held, self._is_whole = events, held, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._events.aclose()
        if not self._is_whole:  # Starlette ends without an error
            raise ClientDisconnect

    async def _chained(self, first: str) -> AsyncIterator[str]:
        yield first
        async for event in self._events:
            yield event
        self._is_whole = True


async def _events(service: Service, file: Path, options: Options) -> AsyncGenerator[str, None]:
    """Yield an event with the text of each segment, then one with the whole text; comments in long pauses.

    An error becomes an event too, unless it would be the first, which is raised.
    """
    text, has_begun = "", False
    try:
        job = service.submit(file, options)
        async with aclosing(with_pauses(service.segments(job), QUIET_S)) as segments:
            async for segment in segments:
                if segment is None:
                    if job.progress[1] > 0:  # else the recording has to be read, which may fail with its own status
                        has_begun = True
                        yield _STILL_HERE
                    continue
                has_begun = True
                piece = segment.text if text else segment.text.lstrip()
                text += piece
                yield _event({"type": "transcript.text.delta", "delta": piece})
        result = service.result(job)
    except WhisperliteError as error:
        problem = service.problem(error, file, options, AUDIO)
        if not has_begun:
            raise problem from error
        service.metrics.failures.labels(problem.kind).inc()
        yield _event({"type": "error", **problem.openai_body()})
        return
    yield _event({"type": "transcript.text.done", "text": result.text.strip()})


def _event(data: dict[str, Any]) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
