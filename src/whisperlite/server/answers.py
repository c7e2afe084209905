"""A `Transcription` → the body of an answer."""

from __future__ import annotations

from typing import Any

from whisperlite.results import Transcription, Word


def inference_answer(
    result: Transcription, request_id: str, *, price_per_second: float, with_words: bool
) -> dict[str, Any]:
    """The body of an answer of the inference API.

    `cost` is computed from the run time; `output_length` is the length of the text in characters.
    """
    answer: dict[str, Any] = {
        "text": result.text,
        "segments": [
            {"id": segment.id, "text": segment.text, "start": segment.start, "end": segment.end}
            for segment in result.segments
        ],
        "language": result.language,
        "duration": result.duration,
        "input_length_ms": result.usage.audio_ms,
        "warnings": list(result.warnings),
        "request_id": request_id,
        "inference_status": {
            "status": "succeeded",
            "runtime_ms": result.usage.runtime_ms,
            "cost": round(result.usage.runtime_ms / 1000 * price_per_second, 9),
            "tokens_generated": result.usage.tokens_generated,
            "tokens_input": result.usage.tokens_input,
            "output_length": len(result.text),
        },
    }
    if with_words:
        answer["words"] = [_word(word) for word in result.words]
    return answer


def _word(word: Word) -> dict[str, Any]:
    return {"text": word.word, "start": word.start, "end": word.end, "probability": word.probability}


def waiting_answer(request_id: str, status: str) -> dict[str, Any]:
    """The body of the answer to a request whose result goes to its webhook."""
    return {
        "text": None,
        "segments": None,
        "language": None,
        "duration": None,
        "input_length_ms": None,
        "request_id": request_id,
        "inference_status": _no_status(status),
    }


def failed_answer(request_id: str, problem: dict[str, Any]) -> dict[str, Any]:
    """The body for a request with a webhook that failed; `problem` says why."""
    return {**waiting_answer(request_id, "failed"), "problem": problem}


def _no_status(status: str) -> dict[str, Any]:
    numbers = ("runtime_ms", "cost", "tokens_generated", "tokens_input", "output_length")
    return {"status": status, **dict.fromkeys(numbers)}
