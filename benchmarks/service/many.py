"""The process of `transcribe_many`: `python -m benchmarks.service.many`, a JSON object in, a line for each text out.

Differs: `transcribe_many` takes one language for all its recordings. Here each has its own, so its loop over a pool is
written out.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from itertools import islice
from typing import Any

import whisperlite
from benchmarks.service.clips import BEAM_SIZE, Clip, in_order

BATCH_SIZE = 8
_AHEAD = 4  # recordings submitted beyond the batch, as in `transcribe_many`


def main() -> None:
    question: dict[str, Any] = json.loads(sys.stdin.read())
    clips = [Clip(**clip) for clip in question["clips"]]
    seconds: float = question["seconds"]
    model = whisperlite.load_model(
        "base", device="cpu", compute_type=question["compute_type"], cpu_threads=question["threads"]
    )
    model.transcribe(clips[0].path, language=clips[0].language, beam_size=BEAM_SIZE)
    _print({"event": "began"})
    start = time.perf_counter()
    endless = in_order(clips)
    waiting: deque[tuple[Clip, float, whisperlite.Job]] = deque()
    with model.pool(BATCH_SIZE) as pool:
        while True:
            began_s = time.perf_counter() - start
            room = BATCH_SIZE + _AHEAD - len(waiting) if began_s < seconds else 0
            for clip in islice(endless, room):
                job = pool.submit(clip.path, language=clip.language, beam_size=BEAM_SIZE)
                waiting.append((clip, began_s, job))
            if not waiting:
                return
            clip, began_s, job = waiting.popleft()
            text = job.result().text
            ended_s = time.perf_counter() - start
            _print({"clip": clip.to_dict(), "began_s": began_s, "ended_s": ended_s, "text": text})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
