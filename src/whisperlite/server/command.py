"""`whisperlite serve` and `whisperlite token`."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields
from ipaddress import ip_address
from types import FrameType
from typing import Any

import whisperlite
from whisperlite.errors import WhisperliteError
from whisperlite.exit_status import FAILED, INTERRUPTED, WRONG_ARGUMENTS
from whisperlite.flags import Parser, argument_of
from whisperlite.kinds import FLAG
from whisperlite.model_flags import add_model_flags, load_arguments
from whisperlite.server import missing_extra
from whisperlite.server.auth import add_token
from whisperlite.server.settings import Settings

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_BACKLOG = 128  # connections waiting to be accepted, and attempts to accept one while the system refuses
_MANY_FILES = 1 << 16  # where the system states no limit


def serve(arguments: list[str]) -> int:
    """Load a model and serve it until the process is told to stop.

    Returns:
        The exit status: 0 if it was stopped, 130 by Ctrl-C; 1 if the service could not start, for example because its
        port or its folder is in use; 2 if an argument, the environment or the token file is wrong, a package is
        missing, or the model cannot be loaded. After SIGTERM the process finishes running requests, then ends by that
        signal.

    Raises:
        SystemExit: with status 2 if argparse refuses an argument, with 0 after `--help`.
    """
    parser = _serve_parser()
    values = vars(parser.parse_args(arguments))
    try:
        settings = Settings(**{each.name: values[each.name] for each in fields(Settings)})
        return _run(settings, values)
    except (WhisperliteError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return WRONG_ARGUMENTS


def _run(settings: Settings, values: dict[str, Any]) -> int:
    # The packages of the extra are imported here, so that a missing one can be reported.
    try:
        import uvicorn

        from whisperlite.server.app import check_startable, create_app
        from whisperlite.server.connections import protocol_with
        from whisperlite.server.logs import log, log_to_stderr
        from whisperlite.server.webhooks.store import Store, StoreError
    except ImportError as error:
        raise missing_extra(error) from error
    # Before the model is loaded, which takes a while.
    check_startable(settings)
    protocol = protocol_with(settings.headers_timeout_s, settings.upload_timeout_s, _open_files() // 2)
    log_to_stderr(settings.log_level)
    try:
        Store(settings.folder).close()
    except StoreError as error:
        log(f"The service cannot start: {error}", logging.ERROR)
        return FAILED
    if settings.no_auth and not _is_loopback(settings.host):
        log("everyone who can reach this address is let in, without a token", logging.WARNING, host=settings.host)
    model = whisperlite.load_model(values["model"], **load_arguments(values))
    log("model loaded", model=model.name, device=str(model.device), compute_type=values["compute_type"])
    app = create_app(model, settings)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            service = getattr(app.state, "service", None)  # there is none while the service starts
            if service is not None:
                service.is_stopping = True  # refuses new requests on open connections

    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            http=protocol,
            backlog=_BACKLOG,
            ws="none",  # no path is for WebSockets; a request for an upgrade is served like any other, with a token
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:  # raised by uvicorn after an orderly stop
        return INTERRUPTED
    except SystemExit:  # raised by uvicorn if it could not start
        return FAILED
    return 0 if server.started else FAILED


def _open_files() -> int:
    """Raise the limit of open files, connections included, as far as the system allows, and return it."""
    if resource is None or not hasattr(resource, "RLIMIT_NOFILE"):
        return _MANY_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # macOS has a lower limit that it does not state
        return soft
    return most


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # it is a name
        return host == "localhost"


def _serve_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="whisperlite serve",
        description="Serve a model over HTTP: an inference API with webhooks, OpenAI's API, and metrics.",
    )
    add_model_flags(parser, dashes=True)
    group = parser.add_argument_group("service")
    for definition in fields(Settings):
        flags = dict.fromkeys([f"--{definition.name.replace('_', '-')}", f"--{definition.name}"])
        given = argument_of(definition)
        if definition.metadata["kind"] is FLAG:  # a flag without a value
            given = {"action": "store_true", "help": given["help"]}
        group.add_argument(*flags, dest=definition.name, **given)
    return parser


def token(arguments: list[str]) -> int:
    """Create a token, print it, and store its hash.

    Returns:
        The exit status: 0; 1 if the name is not valid or is taken, or the file cannot be read or written.

    Raises:
        SystemExit: with status 2 if argparse refuses an argument, with 0 after `--help`.
    """
    parser = Parser(
        prog="whisperlite token",
        description="Create a token for the service and print it once; only its hash is stored. To revoke a token, "
        "remove its line from the file of tokens; a running service notices.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="Who or what the token is for. (default: default, default-2, …)"
    )
    parser.add_argument(
        "--tokens",
        default=None,
        metavar="FILE",
        help="File of token hashes. (default: the file `tokens` in --data-dir)",
    )
    parser.add_argument(
        "--data-dir",
        "--data_dir",
        default=None,
        metavar="DIR",
        help="Data folder of the service. (default: the one that `serve` uses)",
    )
    values = vars(parser.parse_args(arguments))
    try:
        settings = Settings(tokens=values["tokens"], data_dir=values["data_dir"])
        print(add_token(settings.token_file, values["name"]))
    except (WhisperliteError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED
    return 0
