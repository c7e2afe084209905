"""How tests say that a checkpoint must not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.errors import CheckpointError


def refused(path: Path, *parts: str) -> None:
    """Reading raises `CheckpointError`, whose message names the path and has all `parts`."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
