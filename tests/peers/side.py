"""The other libraries' side, run by their Python: `side.py run BLOCK` or `side.py options LIBRARY`; prints JSON.

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


def run(block: str) -> str:
    """Execute a page's block; what it leaves as `text`."""
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(Path(block).read_text(encoding="utf-8"), block, "exec"), namespace)
    return str(namespace["text"])


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
        "`pipe`": [*_names(pipe.__call__), *_names(pipe._sanitize_parameters), "generate_kwargs"],
        "`model.generate`": _names(library.WhisperForConditionalGeneration.generate),
        "generic": sorted(library.GenerationConfig().to_dict()),
    }


def _names(function: Callable[..., Any], *without: str) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    named = (each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD)
    return [name for name in named if name not in ("self", *without)]


if __name__ == "__main__":
    print("\n" + json.dumps({"run": run, "options": options}[sys.argv[1]](sys.argv[2])))
