"""A recording of hours takes no more memory than one of minutes, its decoded samples aside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RECORDING = Path(__file__).parents[1] / "data" / "librivox.wav"
MEGABYTE = 1024 * 1024

# In a process of its own: the peak of a process never falls. The last half minute alone is transcribed, which
# needs the features' maximum over all of it.
PROGRAM = """
import json, resource, sys, wave
import numpy as np
import whisperlite

minutes = int(sys.argv[1])
with wave.open(sys.argv[2]) as file:
    spoken = np.frombuffer(file.readframes(file.getnframes()), np.int16)
samples = np.resize(spoken, minutes * 60 * 16_000)
result = whisperlite.transcribe(
    samples, language="en", beam_size=1, clip_timestamps=(0, 20, minutes * 60 - 30, minutes * 60)
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peak": peak, "samples": samples.nbytes, "end": result.segments[-1].end}))
"""


def measure(minutes: int) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, str(minutes), str(RECORDING)]
    result: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return result


def test_three_hours_peak_within_200_megabytes_of_three_minutes() -> None:
    short, long = measure(3), measure(180)
    assert long["end"] > 179 * 60
    # np.resize holds its result twice for a moment, before the model is loaded.
    growth = (long["peak"] - long["samples"]) - (short["peak"] - short["samples"])
    print(f"peak beyond the samples: {growth / MEGABYTE:+.0f} MB from 3 minutes to 3 hours")
    assert growth < 200 * MEGABYTE
