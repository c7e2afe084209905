"""All settings of the service. The flags of `whisperlite serve` and the table in the docs are made from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperlite.errors import OptionError
from whisperlite.kinds import FLAG, TEXT, Kind, check_fields, choice, integer, number, option, optional


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_texts(value: Any) -> tuple[str, ...]:
    texts = _split(value) if isinstance(value, str) else tuple(value)
    return tuple(str(TEXT.check(text)) for text in texts)


_TEXTS = Kind("texts, separated by commas", _check_texts, _split, {"type": "array", "items": {"type": "string"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the service runs. The values are checked on construction.

    Raises:
        OptionError: if a value has a wrong type or range, or two contradict each other.
    """

    host: str = option("127.0.0.1", TEXT, "Address to listen on; 0.0.0.0: all IPv4 addresses of the machine.")
    port: int = option(8000, integer(0, 65535), "Port to listen on; 0: any free port.")
    no_auth: bool = option(False, FLAG, "Accept requests without a token.")
    tokens: str | None = option(
        None,
        optional(TEXT),
        "File of token hashes, written by `whisperlite token`; None: the file `tokens` in data_dir.",
    )
    data_dir: str | None = option(
        None,
        optional(TEXT),
        "Folder for uploads, webhook requests and tokens; None: $XDG_STATE_HOME/whisperlite, or "
        "~/.local/state/whisperlite.",
    )
    served_names: tuple[str, ...] = option((), _TEXTS, "Further names under which requests can address the model.")
    batch_size: int = option(
        8, integer(1, 128), "Number of windows, of all requests together, that are decoded at a time."
    )
    max_requests: int = option(
        32,
        integer(1, 5_000),
        "Number of requests that are served at a time; further ones are refused (503). If there are several tokens, "
        "each can have three quarters of these places (429).",
    )
    max_stored: int = option(
        1000,
        integer(1),
        "Number of webhook requests that can wait to be transcribed or delivered; further ones are refused (503). If "
        "there are several tokens, each can have three quarters of these places (429).",
    )
    max_stored_mb: float = option(
        10_000.0,
        number(0.001, finite=True),
        "Disk space for the recordings of waiting webhook requests, in MB (503). If there are several tokens, each can "
        "have three quarters of it (429).",
    )
    max_upload_mb: float = option(200.0, number(0.001, finite=True), "Largest request, in MB (413).")
    max_duration_s: float = option(
        7200.0,
        number(1.0, finite=True),
        "Longest recording, in seconds; a longer one is refused before it is transcribed (422).",
    )
    max_beams: int = option(
        10,
        integer(1, 100),
        "Largest beam_size and best_of that a request can ask for (422), and an upper bound for their defaults; beams "
        "take memory.",
    )
    timeout_s: float = option(
        1800.0, number(0.1, finite=True), "Longest time that a request can take after its upload, in seconds (504)."
    )
    headers_timeout_s: float = option(
        10.0,
        number(0.1, finite=True),
        "Close a connection on which no complete request headers arrive for this many seconds.",
    )
    upload_timeout_s: float = option(
        20.0,
        number(0.1, finite=True),
        "Abort an upload of which nothing arrives for this many seconds (408), and a connection whose client reads "
        "nothing of its answer for so long.",
    )
    upload_kb_per_s: float = option(
        10.0,
        number(0.001, finite=True),
        "Minimum average rate of an upload, in kB/s, with upload_timeout_s as leeway (408).",
    )
    stop_timeout_s: int = option(
        30, integer(1, 86_400), "Seconds that running requests have to finish when the service is told to stop."
    )
    price_per_second: float = option(
        0.0, number(0.0, finite=True), "Price of a second of run time, for `cost` in answers."
    )
    webhook_allow_hosts: tuple[str, ...] = option(
        (), _TEXTS, "Hosts, or host:port, that webhooks can be sent to although their addresses are not public."
    )
    webhook_timeout_s: float = option(
        10.0, number(0.1, finite=True), "Time limit of one attempt to deliver a webhook, in seconds."
    )
    webhook_first_retry_s: float = option(
        5.0,
        number(0.01, finite=True),
        "Longest pause before the second attempt to deliver a webhook, in seconds; doubled after each attempt, up to "
        "an hour. The actual pause is random, between 0 and this.",
    )
    webhook_give_up_s: float = option(
        86_400.0, number(0.0, finite=True), "Seconds, from the result on, in which its delivery is attempted."
    )
    keep_s: float = option(
        86_400.0,
        number(0.0, finite=True),
        "Seconds for which the result of a webhook request can be fetched after it was delivered or given up.",
    )
    log_level: str = option("info", choice("debug", "info", "warning", "error"), "Minimum log level.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.no_auth and self.tokens is not None:
            raise OptionError(
                "no_auth accepts requests without a token: leave out either tokens or no_auth.", option="no_auth"
            )

    @property
    def folder(self) -> Path:
        """The folder for everything that the service writes, as an absolute path."""
        return (Path(self.data_dir) if self.data_dir is not None else default_folder()).absolute()

    @property
    def token_file(self) -> Path:
        """The file of token hashes."""
        return Path(self.tokens) if self.tokens is not None else self.folder / "tokens"

    @property
    def max_upload_bytes(self) -> int:
        """The largest request body, in bytes."""
        return round(self.max_upload_mb * 1e6)


def default_folder() -> Path:
    """`$XDG_STATE_HOME/whisperlite`, or `~/.local/state/whisperlite` if the variable is not set."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "whisperlite"
