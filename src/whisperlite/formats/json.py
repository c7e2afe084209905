"""A transcription as JSON: `Transcription.to_dict`, without escaping characters beyond ASCII."""

from __future__ import annotations

import json

from whisperlite.results import Transcription


def to_json(transcription: Transcription) -> str:
    """Return a JSON object and a newline; `json.loads` and `Transcription.from_dict` restore the transcription."""
    return json.dumps(transcription.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
