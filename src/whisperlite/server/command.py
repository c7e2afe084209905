"""`whisperlite serve` and `whisperlite token`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from types import FrameType
from typing import Any

import whisperlite
from whisperlite.errors import WhisperliteError
from whisperlite.kinds import FLAG, argument_of
from whisperlite.server.auth import add_token
from whisperlite.server.settings import Settings

_FAILED = 1
_WRONG_ARGUMENTS = 2
_INTERRUPTED = 130


def serve(arguments: list[str]) -> int:
    """Load a model and serve it until the process is told to stop.

    Returns:
        The exit status: 0 where it was stopped; 130 by Ctrl-C; 1 where it could not start; 2 where the arguments are
        wrong. By another signal the process ends as that has it.
    """
    parser = _serve_parser()
    values = vars(parser.parse_args(arguments))
    try:
        settings = Settings(**{each.name: values[each.name] for each in fields(Settings)})
        return _run(settings, values)
    except (WhisperliteError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return _WRONG_ARGUMENTS


def _run(settings: Settings, values: dict[str, Any]) -> int:
    # What the extra brings is imported late, so that its absence can be told.
    try:
        import uvicorn

        from whisperlite.server.app import check_startable, create_app
        from whisperlite.server.connections import protocol_with
        from whisperlite.server.logs import log, log_to_stderr
    except ImportError as error:
        raise whisperlite.MissingPackageError(
            f"The service needs packages that are not installed ({error.name}): pip install 'whisperlite[server]'"
        ) from error
    check_startable(settings)  # nobody is to wait for a model that no one could use
    log_to_stderr(settings.log_level)
    model = whisperlite.load_model(
        values["model"],
        device=values["device"],
        compute_type=values["compute_type"],
        cpu_threads=values["threads"],
        cache_dir=values["model_dir"],
        local_files_only=values["local_files_only"],
    )
    log("model loaded", model=model.name, device=str(model.device), compute_type=values["compute_type"])
    app = create_app(model, settings)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.service.is_stopping = True  # what comes on connections that are open is told to go elsewhere
            super().handle_exit(sig, frame)

    server = Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            http=protocol_with(settings.headers_timeout_s, settings.upload_timeout_s),
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises it when all is closed
        return _INTERRUPTED
    except SystemExit:  # and this where it could not start
        return _FAILED
    return 0 if server.started else _FAILED


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisperlite serve",
        description="Serve a model over HTTP: the inference API, OpenAI's API, webhooks, metrics.",
    )
    parser.add_argument("--model", default="base", help="as for transcribing (default: base)")
    parser.add_argument("--device", default=None, help="cpu, cuda, … (default: cuda where there is one, else cpu)")
    parser.add_argument("--compute-type", "--compute_type", default="auto", help="as for transcribing (default: auto)")
    parser.add_argument("--threads", type=int, default=None, help="on a CPU (default: what suits the machine)")
    parser.add_argument("--model-dir", "--model_dir", default=None, metavar="DIR", help="folder of downloads")
    parser.add_argument("--local-files-only", "--local_files_only", action="store_true", help="download nothing")
    group = parser.add_argument_group("service")
    for definition in fields(Settings):
        flags = dict.fromkeys([f"--{definition.name.replace('_', '-')}", f"--{definition.name}"])
        given = argument_of(definition)
        if definition.metadata["kind"] is FLAG:  # said, or not
            given = {"action": "store_true", "help": given["help"]}
        group.add_argument(*flags, dest=definition.name, **given)
    return parser


def token(arguments: list[str]) -> int:
    """Make a token, print it, and keep its hash."""
    parser = argparse.ArgumentParser(
        prog="whisperlite token",
        description="Make a token for the service. It is printed once; the file holds a hash of it. To withdraw it, "
        "remove its line from the file: a running service follows.",
    )
    parser.add_argument("name", nargs="?", default="default", metavar="NAME", help="whose it is (default: default)")
    parser.add_argument("--tokens", default=None, metavar="FILE", help="as for `whisperlite serve`")
    parser.add_argument("--data-dir", "--data_dir", default=None, metavar="DIR", help="as for `whisperlite serve`")
    values = vars(parser.parse_args(arguments))
    try:
        settings = Settings(tokens=values["tokens"], data_dir=values["data_dir"])
        print(add_token(settings.token_file, values["name"]))
    except (WhisperliteError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return _FAILED
    return 0
