"""The other libraries' side, run by their Python; prints JSON.

side.py run FILE          what the file leaves as `text`
side.py page FILE         of a JSON list of blocks, each `text` that one of them leaves
side.py options LIBRARY   the options of its calls

It imports nothing of whisperlite, which is not installed there.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(file: str) -> str:
    """Execute a file; what it leaves as `text`."""
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(Path(file).read_text(encoding="utf-8"), file, "exec"), namespace)
    return str(namespace["text"])


def page(file: str) -> list[str]:
    """Execute a page's blocks, one after the other; each `text` that they leave."""
    namespace: dict[str, Any] = {"__name__": "page"}
    found: list[str] = []
    for number, block in enumerate(json.loads(Path(file).read_text(encoding="utf-8"))):
        exec(compile(block, f"{file} {number}", "exec"), namespace)
        found += [str(namespace.pop("text"))] if "text" in namespace else []
    return found


def options(library: str) -> dict[str, list[str]]:
    """Heading of the page → every option of that call."""
    return {"openai-whisper": _openai_whisper, "faster-whisper": _faster_whisper, "transformers": _transformers}[
        library
    ]()


def _openai_whisper() -> dict[str, list[str]]:
    whisper = importlib.import_module("whisper")
    call = importlib.import_module("whisper.transcribe").transcribe
    decoding = [field.name for field in dataclasses.fields(whisper.DecodingOptions)]
    shown = subprocess.run([sys.executable, "-m", "whisper", "--help"], check=True, capture_output=True, text=True)
    flags = re.findall(r"^  (--\w+)", shown.stdout, re.MULTILINE)
    return {
        "`whisper.load_model`": _names(whisper.load_model),
        "`model.transcribe`": [*_names(call, "model"), *(name for name in decoding if name not in _names(call))],
        "The command line": flags,
    }


def _faster_whisper() -> dict[str, list[str]]:
    library = importlib.import_module("faster_whisper")
    alone = _names(library.WhisperModel.transcribe)
    batched = _names(library.BatchedInferencePipeline.transcribe)
    return {
        "`WhisperModel`": [*_names(library.WhisperModel.__init__), "model_kwargs"],
        "`model.transcribe`": alone,
        "`BatchedInferencePipeline.transcribe`": [name for name in batched if name not in alone],
    }


def _transformers() -> dict[str, list[str]]:
    library = importlib.import_module("transformers")
    pipe = library.AutomaticSpeechRecognitionPipeline
    return {
        "`pipeline`": _names(library.pipeline),
        "`pipe`": [*_names(library.Pipeline.__call__), *_names(pipe._sanitize_parameters), "generate_kwargs"],
        "`model.generate`": _names(library.WhisperForConditionalGeneration.generate),
        "generic": sorted(library.GenerationConfig().to_dict()),
    }


def _names(function: Callable[..., Any], *without: str) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    collecting = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = (each.name for each in parameters if each.kind not in collecting)
    return [name for name in named if name not in ("self", *without)]


if __name__ == "__main__":
    print("\n" + json.dumps({"run": run, "page": page, "options": options}[sys.argv[1]](sys.argv[2])))
