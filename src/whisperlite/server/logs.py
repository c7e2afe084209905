"""Logging as lines of JSON, each with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar

LOG = logging.getLogger("whisperlite.server")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_ABOUT_UPGRADES = ("Unsupported upgrade request.", "No supported WebSocket library detected.")
_FIELDS = "fields"  # the attribute of a record with the fields logged beside the message


def log(message: str, level: int = logging.INFO, *, error: object = None, **fields: object) -> None:
    """Log a message with fields; if `error` is an exception, with its traceback."""
    if error is not None:
        fields["error"] = repr(error) if isinstance(error, BaseException) else str(error)
    LOG.log(level, message, exc_info=error if isinstance(error, BaseException) else None, extra={_FIELDS: fields})


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            entry["request_id"] = request_id
        entry |= getattr(record, _FIELDS, {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def log_to_stderr(level: str) -> None:
    """Send all log records and warnings to standard error, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    # A request that asks for an upgrade is served without it, and logged like any other.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_ABOUT_UPGRADES))
    for noisy in ("httpcore2", "python_multipart"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
