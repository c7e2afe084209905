"""The command line: `whisperlite FILE...`, and the commands `align`, `models`, `convert`, `serve` and `token`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

from whisperlite.commands.align import align
from whisperlite.commands.convert import convert
from whisperlite.commands.models import models
from whisperlite.commands.terminal import say
from whisperlite.commands.transcribe import transcribe
from whisperlite.exit_status import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0; 1 if a file could not be transcribed or written, or a command could not do its work; 2 if
        the arguments are wrong, or the model to transcribe with cannot be loaded; 130 after Ctrl-C, 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows "?" for what it cannot
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in _COMMANDS:
            return _COMMANDS[given[0]](given[1:])
        return transcribe(given)
    except KeyboardInterrupt:  # while a model is loaded; during a transcription the first one cancels its token
        say("whisperlite: interrupted.")
        return INTERRUPTED


def _serve(arguments: list[str]) -> int:
    """`whisperlite serve`"""
    from whisperlite.server.command import serve

    return serve(arguments)


def _token(arguments: list[str]) -> int:
    """`whisperlite token`"""
    from whisperlite.server.command import token

    return token(arguments)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "align": align,
    "models": models,
    "convert": convert,
    "serve": _serve,
    "token": _token,
}


if __name__ == "__main__":
    sys.exit(main())
