"""Parses JSON bodies. The recording, which is most of the body, is cut out before the rest is parsed."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import string
from typing import Any

from whisperlite.kinds import is_unicode
from whisperlite.server.fields import unique
from whisperlite.server.problems import Problem

_MOST_DEPTH = 8
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PLACEHOLDER = "the recording was here"


def read_json(content: bytes, name: str, most_text: int) -> tuple[dict[str, Any], bytes | None]:
    """Return the fields of a body, and the recording; None if there is none.

    Args:
        name: the name of the field with the recording, in base64 or as a data URL.
        most_text: the largest number of bytes other than the recording.

    Raises:
        Problem: 400 or 422, if the body is wrong.
    """
    found = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*"([^"]*)"', content)
    rest = content
    if found is not None:
        rest = content[: found.start(1)] + _PLACEHOLDER.encode() + content[found.end(1) :]
    if len(rest) > most_text:
        raise Problem(422, f"The fields other than {name} are longer than {most_text} bytes.")
    values = _parse(rest)
    audio = values.pop(name, None)
    if audio == _PLACEHOLDER and found is not None:
        audio = _parse_text(found[1])
    return values, None if audio is None else _from_base64(audio, name)


def _parse_text(content: bytes) -> str:
    """Decode the content of a JSON string. Any character may be escaped, but usually none is."""
    if b"\\" not in content:
        return content.decode("ascii", errors="replace")
    try:
        return str(json.loads(b'"' + content + b'"', strict=False))
    except ValueError as error:
        raise Problem(400, "The body is not JSON, although its content type says so.") from error


def _parse(content: bytes) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    def finite(text: str) -> float:
        if math.isinf(number := float(text)):
            refuse(text)
        return number

    try:
        values = json.loads(content, parse_constant=refuse, parse_float=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "The body is not JSON, although its content type says so.") from error
    if not isinstance(values, dict):
        raise Problem(422, "The body is JSON, but not an object.")
    for name, value in values.items():
        if not is_unicode(name) or not _is_flat(value, _MOST_DEPTH):
            shown = name.encode(errors="replace").decode()[:100]
            raise Problem(422, f"{shown!r} is nested too deeply, or has a string that is not valid Unicode.", shown)
    return values


def _is_flat(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return is_unicode(value)
    if not isinstance(value, (list, dict)):
        return True
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(part, depth - 1) for part in parts)


def _from_base64(text: Any, name: str) -> bytes:
    """The bytes of base64, or of a data URL (RFC 2397) that holds base64.

    Line breaks, the URL-safe alphabet and missing padding are accepted (RFC 4648, sections 3 and 5).
    """
    hint = "send the recording itself, in base64 or as a data URL (data:audio/mpeg;base64,…)"
    if not isinstance(text, str):
        raise Problem(422, f"{name} is not a string: {hint}.", name)
    if text.startswith(("http://", "https://")):
        raise Problem(422, f"{name} is a URL, and this service fetches nothing: {hint}.", name)
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise Problem(422, f"{name} is a data URL without base64: {hint}.", name)
    try:
        encoded = text.encode("ascii").translate(_URL_SAFE, string.whitespace.encode())
        if not encoded.endswith(b"="):
            encoded += b"=" * (-len(encoded) % 4)
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, f"{name} is not base64: {hint}.", name) from error
