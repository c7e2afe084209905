"""The tensors that whisperlite reads, written out for the reference: both sides compute with the same numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from whisperlite.checkpoints.checkpoint import Checkpoint


def export(checkpoint: Checkpoint, target: Path) -> None:
    """Write `target` (.npz, OpenAI's names) and beside it a .json with the dimensions and the tensors' SHA-256."""
    digest = hashlib.sha256()
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in sorted(checkpoint.tensors.items()):
        arrays[name] = tensor.contiguous().numpy()
        digest.update(name.encode() + arrays[name].tobytes())
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part.npz")
    np.savez(part, allow_pickle=False, **arrays)
    part.replace(target)
    facts = {"dims": asdict(checkpoint.dims), "sha256": digest.hexdigest()}
    target.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
