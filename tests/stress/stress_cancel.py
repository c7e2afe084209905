"""Cancelling real transcriptions at random moments: at once, with a prefix of the whole, and nothing left behind."""

from __future__ import annotations

import gc
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

import whisperlite
from tests.conftest import DATA
from whisperlite.api.heap import trim
from whisperlite.audio.ffmpeg import find_binary
from whisperlite.audio.load import read_audio
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine

MOMENTS = 50
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half of speech, in a file that ffmpeg has to decode."""
    path = tmp_path_factory.mktemp("audio") / "long.flac"
    samples = read_audio(DATA / "librivox.wav").samples
    command = [find_binary(), "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0", str(path)]
    subprocess.run(command, input=samples.tobytes() * 4, check=True)
    return path


def transcribe(
    model: whisperlite.Whisper, recording: Path, cancel: whisperlite.CancelToken | None = None
) -> whisperlite.Transcription:
    return model.transcribe(recording, language="en", beam_size=1, word_timestamps=True, cancel=cancel)


def run(
    model: whisperlite.Whisper,
    recording: Path,
    token: whisperlite.CancelToken,
    outcome: list[whisperlite.CancelledError | None],
) -> None:
    try:
        transcribe(model, recording, token)
        outcome.append(None)
    except whisperlite.CancelledError as error:
        outcome.append(error)


def check_prefix(partial: whisperlite.Transcription | None, whole: whisperlite.Transcription) -> None:
    assert partial is not None
    assert partial.segments == whole.segments[: len(partial.segments)]
    assert whole.text.startswith(partial.text)
    assert partial.skipped == whole.skipped[: len(partial.skipped)]


def resident_bytes() -> int:
    """What is in use: without what the C library keeps of freed memory for the next one who asks."""
    trim()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux says how much memory a process has")


def children() -> list[str]:
    found = subprocess.run(["ps", "-o", "comm=", "--ppid", str(_pid())], capture_output=True, text=True, check=False)
    return [name for name in found.stdout.split() if name != "ps"]


def _pid() -> int:
    return int(Path("/proc/self").resolve().name)


def test_fifty_cancellations_each_end_within_one_engine_call(
    base: whisperlite.Whisper, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []
    step = Engine.step

    def watched(self: Engine) -> object:
        calls.append(time.monotonic())
        return step(self)

    began = time.monotonic()
    whole = transcribe(base, recording)
    whole_s = time.monotonic() - began
    monkeypatch.setattr(Engine, "step", watched)
    moments = random.Random(0)
    level, late, latencies, cut = 0, [], [], 0
    for attempt in range(MOMENTS):
        token = whisperlite.CancelToken()
        outcome: list[whisperlite.CancelledError | None] = []

        calls.clear()
        thread = threading.Thread(target=run, args=(base, recording, token, outcome))
        thread.start()
        time.sleep(moments.uniform(0.0, whole_s * 0.9))
        cancelled = time.monotonic()
        token.cancel()
        thread.join()
        latencies.append(time.monotonic() - cancelled)
        late.append(sum(call > cancelled for call in calls))
        if outcome[0] is not None:
            cut += 1
            check_prefix(outcome[0].partial, whole)
        outcome.clear()
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is Encoding]
        assert children() == []
        if attempt == 4:  # what is made once is made
            level = resident_bytes()
    growth = resident_bytes() - level
    print(
        f"{cut} of {MOMENTS} were cut; calls begun after the cancellation: {max(late)} at most; "
        f"latency {sorted(latencies)[MOMENTS // 2]:.2f} s (median), {max(latencies):.2f} s (most); "
        f"memory {growth / MEGABYTE:+.0f} MB"
    )
    assert cut > MOMENTS // 2
    assert max(late) <= 1  # it may begin between the look at the token and the cancellation
    assert growth < 20 * MEGABYTE  # half of what one window's encoding and its keys and values take
