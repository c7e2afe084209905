"""Names that other libraries give to options, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# The name in openai-whisper, faster-whisper or transformers → the name here.
FOREIGN_NAMES = {
    "chunk_length_s": "chunk_length",
    "condition_on_prev_tokens": "condition_on_previous_text",
    "fp16": "compute_type",
    "log_progress": "on_progress",
    "num_beams": "beam_size",
    "prompt": "initial_prompt",
    "sample_len": "max_new_tokens",
    "torch_dtype": "compute_type",
    "vad_parameters": "vad_options",
    "verbose": "on_segment",
}
LOAD_MODEL_ARGUMENTS = (
    "compute_type",
    "revision",
    "token",
    "cache_dir",
    "local_files_only",
    "cpu_threads",
    "cuda_graphs",
)


def hint(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name, followed by a space; "" if no name is close."""
    here = FOREIGN_NAMES.get(name, name)
    if here in LOAD_MODEL_ARGUMENTS:
        return f"Here {here!r} is given to load_model. " if here != name else f"{here!r} is given to load_model. "
    if here != name:
        return f"Here it is {here!r}. "
    near = nearest(name, names)
    return f"Did you mean {near!r}? " if near else ""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that a foreign name stands for or, for any other name, that it resembles most; else None."""
    known = list(names)
    here = FOREIGN_NAMES.get(name)
    return here if here in known else next(iter(difflib.get_close_matches(name, known, n=1)), None)
