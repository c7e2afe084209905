"""Every setting of the service, once: the flags of `whisperlite serve` and the table in the docs are made from it."""

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
    """How the service runs, checked when it is made.

    Raises:
        OptionError: a value of a wrong type or range, or two that contradict each other.
    """

    host: str = option("127.0.0.1", TEXT, "Address to listen on; 0.0.0.0: all.")
    port: int = option(8000, integer(0, 65535), "Port to listen on; 0: any that is free.")
    no_auth: bool = option(False, FLAG, "Let everyone in, without a token.")
    tokens: str | None = option(
        None, optional(TEXT), "File of the hashes of tokens, which `whisperlite token` writes; None: in data_dir."
    )
    data_dir: str | None = option(
        None,
        optional(TEXT),
        "Folder of uploads, of requests that wait for their webhook, of tokens; None: that of the user's state.",
    )
    served_names: tuple[str, ...] = option((), _TEXTS, "Further names by which requests may ask for the model.")
    batch_size: int = option(8, integer(1, 128), "Windows of all requests that are decoded together.")
    max_requests: int = option(
        32, integer(1, 5_000), "Requests that are served at a time; more are told to come again (503)."
    )
    max_stored: int = option(
        1000,
        integer(1),
        "Requests with a webhook that may wait, to be run or to be delivered; more are refused (503). Where there are "
        "several tokens, three quarters of them may be of one (429).",
    )
    max_stored_mb: float = option(
        10_000.0, number(0.001, finite=True), "Most that their recordings may take of the disk, in MB (503)."
    )
    max_upload_mb: float = option(200.0, number(0.001, finite=True), "Largest upload, in MB (413).")
    max_duration_s: float = option(
        7200.0, number(1.0, finite=True), "Longest recording, in seconds; refused before it is transcribed (422)."
    )
    max_beams: int = option(
        10,
        integer(1, 100),
        "Largest beam_size and best_of that a request may ask for, since each takes memory (422); the default too, "
        "where it is less than that.",
    )
    timeout_s: float = option(
        1800.0, number(0.1, finite=True), "Longest time that a request may take, once it has been uploaded (504)."
    )
    headers_timeout_s: float = option(
        10.0,
        number(0.1, finite=True),
        "How long a connection may take to ask for something, to the end of the headers; it is closed then.",
    )
    upload_timeout_s: float = option(
        20.0,
        number(0.1, finite=True),
        "Longest time, in seconds, in which nothing of an upload arrives (408), or nothing of an answer is taken.",
    )
    upload_kb_per_s: float = option(
        10.0, number(0.001, finite=True), "Lowest rate of an upload, in kB a second, after upload_timeout_s (408)."
    )
    stop_timeout_s: int = option(
        30, integer(1, 86_400), "When it is told to stop, how long requests may go on, in seconds."
    )
    price_per_second: float = option(0.0, number(0.0, finite=True), "What a second of run time costs, for `cost`.")
    webhook_allow_hosts: tuple[str, ...] = option(
        (), _TEXTS, "Hosts, or host:port, to which webhooks may go though their addresses are not public."
    )
    webhook_timeout_s: float = option(10.0, number(0.1, finite=True), "How long a webhook may take to answer.")
    webhook_first_retry_s: float = option(
        5.0, number(0.01, finite=True), "Wait before the second delivery of a webhook; doubled each time, with jitter."
    )
    webhook_give_up_s: float = option(
        86_400.0, number(0.0, finite=True), "How long a webhook is tried; its answer stays to be asked for."
    )
    keep_s: float = option(
        86_400.0, number(0.0, finite=True), "How long the answer to a request with a webhook is kept when it is over."
    )
    log_level: str = option("info", choice("debug", "info", "warning", "error"), "Least level that is logged.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.no_auth and self.tokens is not None:
            raise OptionError("no_auth lets everyone in: leave tokens out, or no_auth.", option="no_auth")

    @property
    def folder(self) -> Path:
        """Of everything that it writes."""
        return Path(self.data_dir) if self.data_dir is not None else default_folder()

    @property
    def token_file(self) -> Path:
        """Of the hashes of tokens."""
        return Path(self.tokens) if self.tokens is not None else self.folder / "tokens"

    @property
    def max_upload_bytes(self) -> int:
        """Of the whole body."""
        return round(self.max_upload_mb * 1e6)


def default_folder() -> Path:
    """`$XDG_STATE_HOME/whisperlite`, or where that is not set `~/.local/state/whisperlite`."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "whisperlite"
