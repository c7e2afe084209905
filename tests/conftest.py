"""The real models and the real recording, each read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import whisperlite
from whisperlite.audio.load import read_audio
from whisperlite.audio.mel import Samples
from whisperlite.nn.linear import multiplies

DATA = Path(__file__).parent / "data"
in_bfloat16 = pytest.mark.skipif(not multiplies(torch.bfloat16), reason="this processor does not multiply bfloat16")


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
