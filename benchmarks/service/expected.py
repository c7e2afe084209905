"""The texts that answers are to have: those of `transcribe`, kept as long as our source and the clips stay the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import whisperlite
from benchmarks.parity.store import Store
from benchmarks.service.clips import BEAM_SIZE, Clip
from benchmarks.source import source_sha256


def expected_texts(clips: Sequence[Clip], cache: Path, threads: int, compute_type: str) -> dict[str, str]:
    """Return the SHA-256 of each clip → its text, each transcribed alone."""
    store = Store(cache / "service")
    questions = {
        clip: {
            "recording": clip.sha256,
            "options": {"language": clip.language, "beam_size": BEAM_SIZE},
            "model": f"base, {compute_type}",
            "version": source_sha256(),
        }
        for clip in clips
    }
    missing = [clip for clip, question in questions.items() if store.get(question) is None]
    if missing:
        print(f"{len(missing)} clips are transcribed, to know their texts.", file=sys.stderr)
        model = whisperlite.load_model("base", device="cpu", compute_type=compute_type, cpu_threads=threads)
        for clip in missing:
            result = model.transcribe(clip.path, language=clip.language, beam_size=BEAM_SIZE)
            store.put(questions[clip], {"text": result.text})
    found = {clip.sha256: store.get(question) for clip, question in questions.items()}
    return {sha256: answer["text"] for sha256, answer in found.items() if answer is not None}
