"""Writes the tables of `options.md` from the fields of `Options` and `VadOptions`: `python docs/options_table.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from whisperlite.kinds import Kind
from whisperlite.options import Options
from whisperlite.vad_options import VadOptions

PAGE = Path(__file__).with_name("options.md")

# Title of a table → the options in it.
GROUPS: Mapping[str, Sequence[str]] = {
    "Task and language": (
        *("task", "language", "multilingual"),
        *("allowed_languages", "language_detection_segments", "language_detection_threshold"),
    ),
    "Decoding": (
        *("beam_size", "patience", "best_of", "length_penalty", "seed"),
        *("suppress_tokens", "suppress_blank", "suppress_regex", "suppress_numerals"),
        *("repetition_penalty", "no_repeat_ngram_size", "max_new_tokens"),
    ),
    "Prompts": (
        *("initial_prompt", "carry_initial_prompt", "hotwords", "prefix"),
        *("condition_on_previous_text", "prompt_reset_on_temperature"),
    ),
    "Fallback and thresholds": (
        *("temperature", "temperature_increment_on_fallback"),
        *("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"),
    ),
    "Timestamps and words": (
        *("word_timestamps", "prepend_punctuations", "append_punctuations", "hallucination_silence_threshold"),
        *("without_timestamps", "max_initial_timestamp"),
    ),
    "Silence and chunks": ("vad_filter", "vad_options", "chunking", "chunk_length", "clip_timestamps"),
    "Limits": ("timeout_s", "max_duration_s"),
}
SPEECH = "What counts as speech"


def with_table(page: str) -> str:
    """The page with the tables as they have to be."""
    tables = {title: table(definitions) for title, definitions in grouped().items()}
    for title, text in {**tables, SPEECH: table(fields(VadOptions))}.items():
        begin, end = f"<!-- {title} begins -->\n", f"<!-- {title} ends -->\n"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def grouped() -> dict[str, list[Field[Any]]]:
    """Title of a table → the fields of `Options` in it.

    Raises:
        ValueError: a field is in no group or in two, or a group names one that there is not.
    """
    definitions = {definition.name: definition for definition in fields(Options)}
    named = [name for names in GROUPS.values() for name in names]
    if wrong := sorted(set(named) ^ set(definitions)) or sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"each option belongs to one group of GROUPS; these do not: {', '.join(wrong)}")
    return {title: [definitions[name] for name in names] for title, names in GROUPS.items()}


def table(definitions: Iterable[Field[Any]]) -> str:
    rows = ["| option | default | values | meaning |", "|---|---|---|---|"]
    for definition in definitions:
        kind: Kind = definition.metadata["kind"]
        cells = (f"`{definition.name}`", f"`{definition.default!r}`", kind.label, definition.metadata["help"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
