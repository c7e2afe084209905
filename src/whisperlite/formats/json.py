"""A transcription as JSON: `Transcription.to_dict`, in UTF-8 with every character as it is."""

from __future__ import annotations

import json

from whisperlite.results import Transcription


def to_json(transcription: Transcription) -> str:
    """One JSON object and a line end; `json.loads` and `Transcription.from_dict` give the transcription back."""
    return json.dumps(transcription.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
