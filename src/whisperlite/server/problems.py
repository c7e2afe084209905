"""Errors → answers: problem details of RFC 9457, or errors as OpenAI's API has them on its paths."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from whisperlite.errors import (
    AudioError,
    CancelledError,
    DecodingError,
    DeviceError,
    FFmpegError,
    LanguageError,
    MemoryExceededError,
    MissingPackageError,
    OptionError,
    TimeoutExceededError,
    WhisperliteError,
)

RETRY_AFTER_S = 5
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # of open files, memory or processes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on a disk


class Problem(Exception):
    """An error that is answered to the client.

    Attributes:
        status: the HTTP status.
        detail: what was received, what is allowed, what to do next; nothing about this machine.
        field: the name of the wrong field; None if the error is not about one field.
        headers: additional headers of the answer.
        kind: the kind of failure, for the metrics.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        kind: str = "request",
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field, self.kind = status, detail, field, kind
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """The body in the form of RFC 9457."""
        errors = [] if self.field is None else [{"field": self.field, "detail": self.detail}]
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": errors,
            "request_id": request_id,
        }

    def openai_body(self) -> dict[str, Any]:
        """The body as OpenAI's clients expect it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.detail, "type": kind, "param": self.field, "code": None}}

    def response(self, request_id: str, *, openai: bool = False) -> JSONResponse:
        if openai:
            return JSONResponse(self.openai_body(), self.status, self.headers)
        return JSONResponse(self.body(request_id), self.status, self.headers, media_type="application/problem+json")


def busy(detail: str, status: int = 503) -> Problem:
    """The problem that there is no room now; with status 429: for this client."""
    return Problem(status, detail, headers={"Retry-After": str(RETRY_AFTER_S)}, kind="busy")


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a temporary shortage of a system resource.

    A shortage of memory for decoding, which depends on the request, is a `MemoryExceededError` and does not count.
    """
    while error is not None and not isinstance(error, MemoryExceededError):
        if isinstance(error, OSError) and error.errno in _SHORT:
            return True
        if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
            return True
        error = error.__cause__
    return False


def broken() -> Problem:
    """The problem that nothing can be transcribed before the service is restarted."""
    return busy("The service cannot transcribe any more and has to be restarted: try again later.")


def storage_full() -> Problem:
    return Problem(
        507,
        "There is no room left on the disk for this request: try again later.",
        headers={"Retry-After": str(12 * RETRY_AFTER_S)},
        kind="storage",
    )


def problem_of(
    error: BaseException, *, hidden: str = "", audio: str = "audio", own_timeout_s: float | None = None
) -> Problem:
    """Convert an error to the problem that the client is told.

    Args:
        hidden: the path of the upload, which is removed from the message.
        audio: the name of the field with the recording.
        own_timeout_s: the request's own time limit, if it is below the limit of the service.
    """
    if isinstance(error, Problem):
        return error
    detail = str(error)
    for text in (repr(hidden), hidden, hidden.rpartition("/")[2]) if hidden else ():
        detail = detail.replace(text, "the upload")
    if isinstance(error, OptionError):
        return Problem(422, detail, error.option, kind="option")
    if isinstance(error, LanguageError):
        return Problem(422, detail, error.option or "language", kind="option")
    if isinstance(error, MissingPackageError):
        return Problem(422, f"This service was installed without that feature. {detail}", kind="option")
    if is_shortage(error):
        return busy("The service has too much to do: try again.")
    if isinstance(error, AudioError) and not isinstance(error, FFmpegError):
        return Problem(422, detail, audio, kind="audio")
    if isinstance(error, TimeoutExceededError) and own_timeout_s is not None:
        return Problem(422, f"It was not finished within timeout_s={own_timeout_s:g}.", "timeout_s", kind="timeout")
    if isinstance(error, TimeoutExceededError):
        return Problem(504, "The request took longer than this service allows.", kind="timeout")
    if isinstance(error, CancelledError):
        return busy("The service is stopping: try again.")
    if isinstance(error, DeviceError):
        return broken()
    if isinstance(error, MemoryExceededError):
        return busy("There was not enough memory for this request: try again, with a smaller beam_size and best_of.")
    if isinstance(error, DecodingError):  # the weights are sound, so the samples are far beyond full scale
        return Problem(422, "The model gave no usable answer for this recording with these options.", kind="decoding")
    if isinstance(error, WhisperliteError):
        return Problem(500, "The recording could not be transcribed.", kind="decoding")
    return Problem(500, "The service failed; its log says why.", kind="internal")
