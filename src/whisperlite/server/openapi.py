"""The OpenAPI document, made from the same definitions that requests are checked against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import whisperlite
from whisperlite.server import openai
from whisperlite.server.fields import in_form, inference_schemas, option_schemas
from whisperlite.server.inference import AUDIO
from whisperlite.server.service import OPENAI_NAME
from whisperlite.server.settings import Settings

Json = dict[str, Any]

_STRING: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_INTEGER: Json = {"type": "integer"}


def document(names: Sequence[str], settings: Settings) -> Json:
    """Return the OpenAPI 3.1 document.

    Args:
        names: the names that address the model.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "whisperlite",
            "version": whisperlite.__version__,
            "description": "Speech recognition and translation with OpenAI's Whisper.",
        },
        "security": [] if settings.no_auth else [{"token": []}],
        "paths": {
            "/v1/inference/{organisation}/{model}": {"post": _infer(names, settings)},
            "/v1/requests/{id}": {"get": _find_request(), "delete": _remove_request()},
            "/v1/audio/transcriptions": {
                "post": _openai(names, settings, "createTranscription", "Transcribe a recording.")
            },
            "/v1/audio/translations": {
                "post": _openai(names, settings, "createTranslation", "Translate a recording into English.")
            },
            "/v1/models": {
                "get": _operation(
                    "listModels", "The model that is served.", _json(_MODELS), 401, 403, openai_errors=True
                )
            },
            "/v1/models/{model}": {"get": _find_model(names)},
            "/healthz": {"get": _open("getHealth", "Whether the process runs.", {200: _json(_STATE)})},
            "/readyz": {
                "get": _open("getReadiness", "Whether requests are taken.", {200: _json(_STATE), 503: _json(_STATE)})
            },
            "/metrics": {
                "get": _operation(
                    "getMetrics", "Metrics for Prometheus.", {"description": "Metrics", "content": _TEXT}, 401, 403
                )
            },
            "/openapi.json": {"get": _open("getOpenAPI", "This document.", {200: _json({"type": "object"})})},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _PROBLEM,
                "OpenAIError": _OPENAI_ERROR,
                "Answer": _ANSWER,
                "OpenAIAnswer": _OPENAI_ANSWER,
            },
        },
    }


def _infer(names: Sequence[str], settings: Settings) -> Json:
    schemas = inference_schemas(settings)
    recording = {**_STRING, "description": "The recording, in base64 or as a data URL."}
    operation = _operation(
        "infer",
        "Transcribe a recording, or translate it into English.",
        _json({"$ref": "#/components/schemas/Answer"}),
        *(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    )
    known = next((name for name in names if name.count("/") == 1), None)
    return {
        **operation,
        "parameters": [
            _path_parameter("organisation", known and known.split("/")[0]),
            _path_parameter("model", known and known.split("/")[1]),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _object({AUDIO: _FILE, **in_form(schemas)}, AUDIO)},
                "application/json": {"schema": _object({AUDIO: recording, **schemas}, AUDIO)},
            },
        },
        "responses": {
            **operation["responses"],
            "202": {
                **_json({"$ref": "#/components/schemas/Answer"}),
                "description": "With a webhook: it is queued; the result is posted to the webhook.",
                "headers": {**_HEADERS, "Location": {"schema": _STRING}},
            },
        },
        "callbacks": {
            "done": {
                "{$request.body#/webhook}": {
                    "post": {
                        "summary": "The result, signed as standardwebhooks.com says.",
                        "requestBody": _json({"$ref": "#/components/schemas/Answer"}),
                        "responses": {"2XX": {"description": "Delivered; anything else is tried again."}},
                    }
                }
            }
        },
    }


def _find_request() -> Json:
    operation = _operation(
        "getRequest",
        "The state of a request with a webhook, and its result when it is done.",
        _json({"$ref": "#/components/schemas/Answer"}),
        *(401, 403, 404),
    )
    return {**operation, "parameters": [_path_parameter("id")]}


def _remove_request() -> Json:
    operation = _operation("deleteRequest", "End a request with a webhook, and forget it.", {}, 401, 403, 404, 507)
    removed = {
        "description": "It is not transcribed or delivered any more, and nothing of it is kept.",
        "headers": _HEADERS,
    }
    problems = {status: answer for status, answer in operation["responses"].items() if status != "200"}
    return {**operation, "parameters": [_path_parameter("id")], "responses": {"204": removed, **problems}}


def _openai(names: Sequence[str], settings: Settings, id: str, summary: str) -> Json:
    left_out = ("task", "word_timestamps")
    options = {name: schema for name, schema in inference_schemas(settings).items() if name in option_schemas()}
    properties: Json = {
        openai.AUDIO: _FILE,
        "model": {**_STRING, "enum": [*names, OPENAI_NAME]},
        "prompt": {**_STRING, "description": "OpenAI's name of initial_prompt."},
        "response_format": {**_STRING, "enum": list(openai.FORMATS), "default": "json"},
        "timestamp_granularities[]": {"type": "array", "items": {**_STRING, "enum": ["segment", "word"]}},
        "stream": {"type": "boolean", "default": False},
        **in_form({name: schema for name, schema in options.items() if name not in left_out}),
    }
    operation = _operation(
        id, summary, {}, *(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504, 507), openai_errors=True
    )
    content = {
        "application/json": {"schema": {"$ref": "#/components/schemas/OpenAIAnswer"}},
        "text/event-stream": {"schema": {"type": "object", "properties": {"event": _STRING, "data": _STRING}}},
        "application/x-subrip": {"schema": _STRING},
        "text/vtt": {"schema": _STRING},
        **_TEXT,
    }
    return {
        **operation,
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": _object(properties, openai.AUDIO, "model")}},
        },
        "responses": {
            **operation["responses"],
            "200": {"description": "In the format asked for.", "headers": _HEADERS, "content": content},
        },
    }


def _find_model(names: Sequence[str]) -> Json:
    operation = _operation("getModel", "The model of this name.", _json(_MODEL), 401, 403, 404, openai_errors=True)
    return {**operation, "parameters": [_path_parameter("model", names[0])]}


# Parts


def _operation(id: str, summary: str, answer: Json, *problems: int, openai_errors: bool = False) -> Json:
    name, kind = ("OpenAIError", "application/json") if openai_errors else ("Problem", "application/problem+json")
    error = {"content": {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
    return {
        "operationId": id,
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "headers": _HEADERS, **answer},
            **{
                str(status): {"description": _REASONS[status], "headers": _headers(status), **error}
                for status in problems
            },
        },
    }


def _open(id: str, summary: str, answers: dict[int, Json]) -> Json:
    return {
        "operationId": id,
        "summary": summary,
        "security": [],
        "responses": {
            str(status): {**answer, "description": _REASONS.get(status, "Yes."), "headers": _HEADERS}
            for status, answer in answers.items()
        },
    }


def _headers(status: int) -> Json:
    return {**_HEADERS, **_RETRY_AFTER} if status in (429, 503, 507) else _HEADERS


def _path_parameter(name: str, example: str | None = None) -> Json:
    parameter: Json = {"name": name, "in": "path", "required": True, "schema": _STRING}
    return parameter if example is None else {**parameter, "example": example}


def _json(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_REASONS = {
    400: "The body is not what its content type says, or lacks something.",
    401: "Missing or unknown token.",
    403: "A browser sends it for a page of another origin, and the service needs no token.",
    404: "There is nothing with this name.",
    408: "The upload was too slow.",
    413: "The upload is too large.",
    415: "The content type is not supported.",
    422: "A field is wrong, or the recording cannot be read.",
    429: "Too many requests of this token are served, or wait for webhooks; Retry-After says when to try again.",
    500: "The recording could not be transcribed.",
    503: "The service is full, or stopping; Retry-After says when to try again.",
    504: "The request took longer than this service allows.",
    507: "There is no room on the disk.",
}
_HEADERS: Json = {"x-request-id": {"schema": _STRING, "description": "The request's id, as in the log."}}
_RETRY_AFTER: Json = {"Retry-After": {"schema": _INTEGER, "description": "Seconds after which to try again."}}
_FILE: Json = {**_STRING, "format": "binary", "description": "The recording, in any format that ffmpeg reads."}
_TEXT: Json = {"text/plain": {"schema": _STRING}}
_STATE: Json = {"type": "object", "properties": {"status": _STRING}, "required": ["status"]}
_MODEL: Json = {
    "type": "object",
    "properties": {
        "id": _STRING,
        "object": {"const": "model"},
        "created": _INTEGER,
        "owned_by": _STRING,
        "names": {"type": "array", "items": _STRING, "description": "All names that requests can use."},
    },
    "required": ["id", "object", "created", "owned_by"],
}
_MODELS: Json = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
    "required": ["object", "data"],
}
_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457.",
    "properties": {
        "type": _STRING,
        "title": _STRING,
        "status": _INTEGER,
        "detail": _STRING,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": _STRING, "detail": _STRING},
                "required": ["field", "detail"],
            },
        },
        "request_id": _STRING,
    },
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
}
_OPENAI_ERROR: Json = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": _STRING, "type": _STRING, "param": _or_null(_STRING), "code": _or_null(_STRING)},
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_SEGMENT: Json = {
    "type": "object",
    "properties": {"id": _INTEGER, "text": _STRING, "start": _NUMBER, "end": _NUMBER},
    "required": ["id", "text", "start", "end"],
}
_WORD: Json = {
    "type": "object",
    "properties": {"text": _STRING, "start": _NUMBER, "end": _NUMBER, "probability": _NUMBER},
    "required": ["text", "start", "end", "probability"],
}
_OPENAI_SEGMENT: Json = {
    "type": "object",
    "properties": {
        "id": _INTEGER,
        "seek": {**_INTEGER, "description": "Start of its window, in frames of 10 ms."},
        "start": _NUMBER,
        "end": _NUMBER,
        "text": _STRING,
        "tokens": {"type": "array", "items": _INTEGER},
        "temperature": _NUMBER,
        "avg_logprob": _NUMBER,
        "compression_ratio": _NUMBER,
        "no_speech_prob": _NUMBER,
    },
}
_OPENAI_SEGMENT["required"] = list(_OPENAI_SEGMENT["properties"])
_OPENAI_WORD: Json = {
    "type": "object",
    "properties": {"word": _STRING, "start": _NUMBER, "end": _NUMBER},
    "required": ["word", "start", "end"],
}
_OPENAI_ANSWER: Json = {
    "type": "object",
    "description": "`json` has text and usage; `verbose_json` also the others, with segments and words as asked for.",
    "properties": {
        "text": _STRING,
        "usage": {
            "type": "object",
            "properties": {"type": {"const": "duration"}, "seconds": _NUMBER},
            "required": ["type", "seconds"],
        },
        "task": {**_STRING, "enum": ["transcribe", "translate"]},
        "language": {**_STRING, "description": "Its English name."},
        "duration": {**_NUMBER, "description": "Seconds."},
        "segments": {"type": "array", "items": _OPENAI_SEGMENT},
        "words": {"type": "array", "items": _OPENAI_WORD},
    },
    "required": ["text", "usage"],
}
_STATUS: Json = {
    "type": "object",
    "properties": {
        "status": {**_STRING, "enum": ["queued", "running", "succeeded", "failed"]},
        "runtime_ms": {
            **_or_null(_INTEGER),
            "description": "From the decoded audio to the result, including the time of what is decoded beside it.",
        },
        "cost": {**_or_null(_NUMBER), "description": "runtime_ms / 1000 times the service's price per second."},
        "tokens_generated": _or_null(_INTEGER),
        "tokens_input": _or_null(_INTEGER),
        "output_length": {**_or_null(_INTEGER), "description": "Characters of the text."},
    },
    "required": ["status", "runtime_ms", "cost", "tokens_generated", "tokens_input", "output_length"],
}
_ANSWER: Json = {
    "type": "object",
    "properties": {
        "text": _or_null(_STRING),
        "segments": _or_null({"type": "array", "items": _SEGMENT}),
        "words": {"type": "array", "items": _WORD, "description": "Only where they were asked for."},
        "language": _or_null(_STRING),
        "duration": {**_or_null(_NUMBER), "description": "Seconds."},
        "input_length_ms": _or_null(_INTEGER),
        "warnings": {"type": "array", "items": _STRING},
        "request_id": _STRING,
        "inference_status": _STATUS,
        "problem": {"$ref": "#/components/schemas/Problem"},
        "webhook": {
            "type": "object",
            "properties": {
                "attempts": _INTEGER,
                "delivered": {"type": "boolean"},
                "gave_up": {"type": "boolean"},
                "last_error": _or_null(_STRING),
            },
        },
    },
    "required": ["text", "segments", "language", "duration", "input_length_ms", "request_id", "inference_status"],
}
