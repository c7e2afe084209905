"""`base` in the formats of all libraries, the same numbers in each, and ffmpeg under the name that they call it by."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

import whisperlite
from benchmarks.peers.desk import Desk
from benchmarks.speed.ggml import FORMATS, write_ggml
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.resolve import load_checkpoint


def prepare(desk: Desk) -> None:
    """Write what is not there yet: CTranslate2's folder, OpenAI's file, Hugging Face's folder, whisper.cpp's files."""
    desk.prepare()
    folder = desk.cache / "speed"
    folder.mkdir(exist_ok=True)
    checkpoint = load_checkpoint("base")
    if not (folder / "base.pt").exists():
        _write_openai(checkpoint, folder / "base.pt")
    if not (folder / "base-hf").exists():
        whisperlite.convert_model("base", folder / "base-hf")
    for name, form in FORMATS.items():
        if not (folder / f"base-{name}.bin").exists():
            write_ggml(checkpoint, folder / f"base-{name}.bin", form)


def _write_openai(checkpoint: Checkpoint, target: Path) -> None:
    # Cloned, since each tensor that is a view of a file would be saved with the whole file.
    tensors = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    part = target.with_suffix(".part")
    torch.save({"dims": asdict(checkpoint.dims), "model_state_dict": tensors}, part)
    part.rename(target)
