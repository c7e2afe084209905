"""`whisperlite convert`: writes a model of any format as safetensors."""

from __future__ import annotations

import whisperlite
from whisperlite.commands.terminal import print_line, say
from whisperlite.errors import WhisperliteError
from whisperlite.exit_status import FAILED
from whisperlite.flags import Parser
from whisperlite.model_flags import add_download_flags, download_arguments


def convert(arguments: list[str]) -> int:
    """Convert a model, print the path of its folder, and return the exit status."""
    parser = Parser(
        prog="whisperlite convert",
        description="Write a model of any format as a folder of safetensors that the Hub's tools can read too.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="Model: a name, organisation/repository on the Hugging Face Hub, or a path."
    )
    parser.add_argument("destination", metavar="DESTINATION", help="Folder to write: a new one, or an empty one.")
    add_download_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace a model at DESTINATION.")
    values = vars(parser.parse_args(arguments))
    try:
        folder = whisperlite.convert_model(
            values["source"], values["destination"], overwrite=values["overwrite"], **download_arguments(values)
        )
    except (WhisperliteError, OSError) as error:
        say(f"{parser.prog}: {error}")
        return FAILED
    print_line(str(folder))
    return 0
