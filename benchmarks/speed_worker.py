"""One library, loaded once, timed on request: a line of JSON in, a line of JSON out.

Request: `audio` (a path), `language`, `beam_size`. Reply: `seconds`, from the file to the text, and the `tokens`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Transcribe = Callable[[dict[str, Any]], list[int]]


def load_ours() -> Transcribe:
    import whisperlite

    model = whisperlite.load_model("base", device="cpu", compute_type="float32")

    def run(request: dict[str, Any]) -> list[int]:
        options = {"language": request["language"], "beam_size": request["beam_size"]}
        result = model.transcribe(request["audio"], temperature=(0.0,), **options)
        return [token for segment in result.segments for token in segment.tokens]

    return run


def load_reference(weights: Path) -> Transcribe:
    import whisper

    from benchmarks.parity.reference import load_model

    model, _ = load_model(weights)

    def run(request: dict[str, Any]) -> list[int]:
        options = {"language": request["language"], "beam_size": request["beam_size"]}
        result = whisper.transcribe(model, request["audio"], temperature=0.0, fp16=False, **options)
        return [token for segment in result["segments"] for token in segment["tokens"]]

    return run


def main() -> None:
    side, threads, weights = sys.argv[1:]
    torch.set_num_threads(int(threads))
    transcribe = load_ours() if side == "ours" else load_reference(Path(weights))
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        tokens = transcribe(json.loads(line))
        print(json.dumps({"seconds": time.perf_counter() - begin, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    main()
