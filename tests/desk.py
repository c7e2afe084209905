"""The files that the pages speak of: recordings, and the real `base` in every format that they name."""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np

import whisperlite
from tests.writers import write_openai
from whisperlite.audio.ffmpeg import find_binary
from whisperlite.checkpoints.embedded import installed_weights
from whisperlite.checkpoints.resolve import load_checkpoint

RECORDING = Path(__file__).parent / "data" / "librivox.wav"
SENTENCE_S = (7.1, 10.09)  # He was not an ill-disposed young man.
REVISION = "0123456789abcdef0123456789abcdef01234567"


def write_recordings(folder: Path, span_s: tuple[float, float]) -> None:
    """`interview.wav` and `talk.mp3`, a span of the test recording; `call.wav`, where it is one of two channels."""
    with wave.open(str(RECORDING)) as whole, wave.open(str(folder / "interview.wav"), "wb") as part:
        part.setparams(whole.getparams())
        start, end = (round(time * whole.getframerate()) for time in span_s)
        whole.setpos(start)
        part.writeframes(whole.readframes(end - start))
    command = [find_binary(), "-v", "error", "-i", str(folder / "interview.wav"), str(folder / "talk.mp3")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    write_call(folder / "call.wav", span_s)


def write_call(file: Path, span_s: tuple[float, float]) -> None:
    """Two speakers, each on a channel of their own: what comes before a span of the test recording, and the span."""
    with wave.open(str(RECORDING)) as whole:
        start, end = (round(time * whole.getframerate()) for time in span_s)
        rate, samples = whole.getframerate(), np.frombuffer(whole.readframes(end), dtype="<i2")
    channels = np.zeros((len(samples), 2), dtype="<i2")
    channels[:start, 0] = samples[:start]
    channels[start:, 1] = samples[start:]
    with wave.open(str(file), "wb") as call:
        call.setnchannels(2)
        call.setsampwidth(2)
        call.setframerate(rate)
        call.writeframes(channels.tobytes())


def write_models(folder: Path) -> None:
    """`my-whisper` (safetensors), `models` (a Hub's cache of it), `base.pt`, `my-whisper.pt` and `base-ct2`."""
    own = whisperlite.convert_model("base", folder / "my-whisper")
    cached = folder / "models" / "models--acme--whisper-clinic"
    shutil.copytree(own, cached / "snapshots" / REVISION, copy_function=os.link)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(REVISION, encoding="utf-8")

    checkpoint = load_checkpoint("base")
    write_openai(folder / "base.pt", checkpoint.dims, checkpoint.tensors)
    os.link(folder / "base.pt", folder / "my-whisper.pt")

    installed = installed_weights("base")
    assert installed is not None, "the tests need the extra `base`"
    shutil.copytree(installed.folder, folder / "base-ct2", ignore=shutil.ignore_patterns("*.part*", "__pycache__"))
    (folder / "base-ct2" / "model.bin").write_bytes(b"".join(part.read_bytes() for part in installed.parts))
