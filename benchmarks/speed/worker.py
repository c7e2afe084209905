"""One library, loaded once, timed on request: a line of JSON in, a line of JSON out, in that library's environment.

In: a `Request`. Out: first the facts of what was loaded, then for each request `seconds`, from the files to the texts,
`first_s`, to the first text that was handed out, `texts` and `tokens` of each file, and `peak_bytes`, of memory so far.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.speed.libraries import LOADERS, PACKAGES, Transcribe
from benchmarks.speed.settings import Request, Side


def main() -> None:
    began = time.perf_counter()
    side, threads, cache = Side(**json.loads(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    # Whatever the libraries print goes to standard error.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    load, (package, *beneath) = LOADERS[side.library], PACKAGES[side.library]
    transcribe, facts = load(side, cache, threads)
    loaded = {"load_s": time.perf_counter() - began, "peak_bytes": peak_bytes(), "version": version(package)}
    facts |= {name: version(name) for name in beneath}
    print(json.dumps({**loaded, "facts": facts}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(transcribe, Request.from_dict(json.loads(line)))), file=replies, flush=True)


def answer(transcribe: Transcribe, request: Request) -> dict[str, Any]:
    texts: list[list[str]] = [[] for _ in request.files]
    tokens: list[list[int]] = [[] for _ in request.files]
    first_s = 0.0
    began = time.perf_counter()
    for index, text, ids in transcribe(request):
        first_s = first_s or time.perf_counter() - began
        texts[index].append(text)
        tokens[index] += ids
    seconds = time.perf_counter() - began
    joined = [" ".join(parts) for parts in texts]
    return {"seconds": seconds, "first_s": first_s, "texts": joined, "tokens": tokens, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """Return the peak memory of this process.

    Not `getrusage`: on Linux its number begins with that of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status names no VmHWM: memory is measured on Linux only.")


if __name__ == "__main__":
    main()
