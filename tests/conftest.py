"""What many tests take: the real models and the real recording, each read once; a small model; a watched engine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import whisperlite
from tests.pooled import Steps, pool_threads, wait_until, watch_steps
from tests.small_whisper import small_whisper
from whisperlite.audio.load import read_audio
from whisperlite.audio.mel import Samples
from whisperlite.nn.linear import has_fast_product

DATA = Path(__file__).parent / "data"
# A background job of a script ignores interrupts, and what it starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

in_bfloat16 = pytest.mark.skipif(not has_fast_product(torch.bfloat16), reason="this processor is slow in bfloat16")


@pytest.fixture(scope="session")
def base() -> whisperlite.Whisper:
    return whisperlite.load_model("base", device="cpu")


@pytest.fixture(scope="session")
def tiny_en() -> whisperlite.Whisper:
    return whisperlite.load_model("tiny.en", device="cpu")


@pytest.fixture(scope="session")
def librivox() -> Samples:
    """24.73 s of English speech, 16 kHz."""
    return read_audio(DATA / "librivox.wav").samples


@pytest.fixture(scope="session")
def model() -> whisperlite.Whisper:
    """A small one with random weights."""
    return small_whisper()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    yield from watch_steps(monkeypatch)


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Pools that were left have no threads any more."""
    yield
    assert pool_threads() == []


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Those of pools end, though not at once: one may wait for what somebody else gives."""
    yield
    wait_until(lambda: pool_threads() == [])
