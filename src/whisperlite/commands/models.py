"""`whisperlite models`: lists the models that can be loaded by name."""

from __future__ import annotations

import json
from dataclasses import asdict

import whisperlite
from whisperlite.commands.terminal import print_line, say
from whisperlite.errors import WhisperliteError
from whisperlite.exit_status import FAILED
from whisperlite.flags import Parser
from whisperlite.model_flags import add_model_dir
from whisperlite.results import ModelInfo


def models(arguments: list[str]) -> int:
    """Print the models and return the exit status."""
    parser = Parser(
        prog="whisperlite models",
        description="List the models that can be loaded by name: those in installed packages, those in the cache, and "
        "those that would be downloaded.",
    )
    parser.add_argument("--json", action="store_true", help="Print everything that is known, as JSON.")
    add_model_dir(parser)
    values = parser.parse_args(arguments)
    try:
        found = whisperlite.available_models(cache_dir=values.model_dir)
    except (WhisperliteError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return FAILED
    if values.json:
        print_line(json.dumps([asdict(info) for info in found], indent=2))
        return 0
    width = max(len(info.name) for info in found)
    print_line(f"{'name':<{width}}  parameters  where     {'size':>8}")
    for info in found:
        parameters = "-" if info.parameters is None else f"{info.parameters} M"
        print_line(f"{info.name:<{width}}  {parameters:>10}  {_where(info):<8}  {_size(info.size_bytes):>8}")
    return 0


def _where(info: ModelInfo) -> str:
    if info.is_embedded:
        return "embedded"
    return "-" if info.path is None else "cached"


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "-"
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
