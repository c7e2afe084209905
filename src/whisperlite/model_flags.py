"""The flags that commands which load a model share."""

from __future__ import annotations

import argparse
from typing import Any


def add_model_flags(parser: argparse.ArgumentParser, *, dashes: bool = False) -> None:
    """Add the flags that choose a model and how it is loaded.

    Args:
        dashes: whether names can also be spelled with - instead of _.
    """
    parser.add_argument(
        "--model",
        default="base",
        help="Model: a name, organisation/repository on the Hugging Face Hub, or a path. (default: base)",
    )
    add_download_flags(parser, dashes=dashes)
    parser.add_argument("--device", default=None, help="Device: cpu, cuda, … (default: cuda if available, else cpu)")
    parser.add_argument(
        *_spelled("compute_type", dashes=dashes),
        default="auto",
        help="Precision: float32, float16, bfloat16 or int8; auto is float16 on cuda, float32 elsewhere. "
        "(default: auto)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=None,
        help="CPU threads. (default: those that torch would use, but no more than the cores available)",
    )
    parser.add_argument(
        *_spelled("no_cuda_graphs", dashes=dashes),
        action="store_true",
        help="Do not replay CUDA graphs, which make an NVIDIA GPU several times as fast with torch 2.11 or later.",
    )


def add_download_flags(parser: argparse.ArgumentParser, *, dashes: bool = False) -> None:
    """Add the flags that say where a model comes from and where downloads go."""
    parser.add_argument("--revision", default=None, help="Branch, tag or commit on the Hub. (default: main)")
    add_model_dir(parser, dashes=dashes)
    parser.add_argument(
        *_spelled("local_files_only", dashes=dashes), action="store_true", help="Never download anything."
    )


def add_model_dir(parser: argparse.ArgumentParser, *, dashes: bool = False) -> None:
    parser.add_argument(
        *_spelled("model_dir", dashes=dashes),
        default=None,
        metavar="DIR",
        help="Folder for downloads. (default: the Hugging Face cache)",
    )


def load_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `load_model`, except the model, from the values of the flags of `add_model_flags`."""
    return {
        "device": values["device"],
        "compute_type": values["compute_type"],
        "cpu_threads": values["threads"] or None,  # 0 is openai-whisper's default: torch's own number
        "cuda_graphs": not values["no_cuda_graphs"],  # no other thread of a command uses the GPU
        **download_arguments(values),
    }


def download_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `load_model` that concern downloads, from the values of the flags of `add_download_flags`."""
    names = {"revision": "revision", "cache_dir": "model_dir", "local_files_only": "local_files_only"}
    return {name: values[flag] for name, flag in names.items()}


def _spelled(name: str, *, dashes: bool) -> list[str]:
    return [f"--{name.replace('_', '-')}", f"--{name}"] if dashes else [f"--{name}"]
