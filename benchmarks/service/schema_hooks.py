"""What schemathesis is made to do differently; it loads this itself.

Random text is no recording and no model, so that alone would hardly get beyond the first checks: half of the requests
are given a real recording, and half of the paths the name of the model.
"""

from __future__ import annotations

import base64
import io
import wave
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemathesis

ORGANISATION, MODEL = "served", "here"
WEBHOOK_HOST = "127.0.0.1:9"  # nothing listens there
_AUDIO = ("audio", "file")  # fields with a recording
_SPEECH = Path(__file__).resolve().parents[2] / "tests/data/librivox.wav"
_SPEECH_S = 2


@schemathesis.hook
def map_path_parameters(_: schemathesis.HookContext, path_parameters: Any) -> Any:
    if isinstance(path_parameters, dict) and "organisation" in path_parameters and _is_chosen(path_parameters):
        return {**path_parameters, "organisation": ORGANISATION, "model": MODEL}
    return path_parameters


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    changed = {**body}
    if "webhook" in body:
        changed["webhook"] = _harmless(body["webhook"])
    if _is_chosen(body):
        changed |= {name: _speech_as(body[name]) for name in _AUDIO if isinstance(body.get(name), str | bytes)}
    return changed


def _speech_as(value: str | bytes) -> str | bytes:
    """Return speech in the form of the value that it replaces: base64 for text, else the value's own type of bytes."""
    speech = _speech()
    return base64.b64encode(speech).decode() if type(value) is str else type(value)(speech)


@cache
def _speech() -> bytes:
    with wave.open(str(_SPEECH), "rb") as source:
        parameters = source.getparams()
        frames = source.readframes(_SPEECH_S * parameters.framerate)
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams(parameters)
        file.writeframes(frames)
    return target.getvalue()


def _is_chosen(value: Mapping[str, Any]) -> bool:
    """Choose half of all values, the same ones each time."""
    return zlib.crc32(repr(value).encode()) % 2 == 0


def _harmless(webhook: Any) -> Any:
    """Replace the host of a web address by one on this machine: a generated address may belong to somebody."""
    try:
        url = urlsplit(webhook)
        if url.scheme.lower() in ("http", "https"):
            return url._replace(scheme="http", netloc=WEBHOOK_HOST).geturl()
    except (TypeError, ValueError, AttributeError):
        pass  # not an address
    return webhook
