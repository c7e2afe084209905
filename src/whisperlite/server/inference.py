"""`POST /v1/inference/{organisation}/{model}`, and `GET` and `DELETE /v1/requests/{id}`: the inference service."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whisperlite.errors import WhisperliteError
from whisperlite.server.background import Background
from whisperlite.server.body import read_body
from whisperlite.server.fields import read_fields
from whisperlite.server.problems import Problem
from whisperlite.server.service import Service
from whisperlite.server.waiting import unless_gone

AUDIO = "audio"


async def infer(request: Request) -> Response:
    """Transcribe the recording of a request: now or, if it has a webhook, later."""
    service: Service = request.app.state.service
    background: Background = request.app.state.background
    request_id: str = request.state.request_id
    service.check_name("{organisation}/{model}".format(**request.path_params))
    with service.request_slot(request.state.owner), service.upload(request_id) as file:
        body = await read_body(request, file, AUDIO, service.settings, service.json_turn)
        fields = await asyncio.to_thread(read_fields, body.fields, service.settings, is_form=body.is_form)
        if not body.has_audio:
            raise Problem(422, "audio is missing: send the recording in this field.", AUDIO)
        service.model.check_options(fields.options)
        if fields.webhook is not None:
            answer = await background.accept(request_id, request.state.owner, file, fields)
            return JSONResponse(answer, 202, {"Location": f"/v1/requests/{request_id}"})
        try:
            result = await unless_gone(request, service.transcribe(file, fields.options))
        except WhisperliteError as error:
            raise service.problem(error, file, fields.options) from error
        return JSONResponse(service.answer(result, request_id, fields.options))


async def find_or_remove(request: Request) -> Response:
    """Return the state of a request with a webhook, and its result when it is done; with DELETE, end and delete it."""
    background: Background = request.app.state.background
    id, owner = request.path_params["id"], request.state.owner
    if request.method == "DELETE" and await background.remove(id, owner):
        return Response(status_code=204)
    if request.method != "DELETE" and (found := await background.find(id, owner)) is not None:
        return JSONResponse(found)
    raise Problem(404, "There is no webhook request with this id; answers are kept for a limited time.")
