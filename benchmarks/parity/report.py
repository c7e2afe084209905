"""Outcomes → a table for people and a JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.compare import ROUNDING, Outcome
from benchmarks.parity.matrix import REFERENCE_VERSION
from benchmarks.provenance import describe_provenance, provenance

REQUIRED_IDENTICAL = 0.98


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count the outcomes of each kind, in all and by model and setting, and find the largest differences of scores."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(f"{outcome.run.model} {outcome.run.setting}", []).append(outcome)
    return {
        "reference": f"openai-whisper {REFERENCE_VERSION}",
        **provenance(threads=1),
        "clips": len({outcome.run.clip.sha256 for outcome in outcomes}),
        **_counts(outcomes),
        "largest_difference": {
            name: max((getattr(outcome, name) for outcome in outcomes), default=0.0)
            for name in ("logprob_error", "no_speech_error", "language_error")
        },
        "settings": {name: _counts(group) for name, group in sorted(groups.items())},
        "not_identical": [
            {"run": outcome.run.name, "kind": outcome.kind, "detail": outcome.detail}
            for outcome in outcomes
            if outcome.kind != "identical"
        ],
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    kinds = [outcome.kind for outcome in outcomes]
    return {
        "runs": len(kinds),
        "identical": kinds.count("identical"),
        "tie": kinds.count("tie"),
        "differs": kinds.count("differs"),
        "windows": sum(outcome.windows for outcome in outcomes),
        "fell_back": sum(outcome.fell_back for outcome in outcomes),
        "clamped_segments": sum(outcome.clamped for outcome in outcomes),
    }


def passes(summary: dict[str, Any]) -> bool:
    """Whether there are runs, none of them differs other than by a tie, and at least 98 % are identical."""
    runs = summary["runs"]
    return bool(runs and not summary["differs"] and summary["identical"] >= REQUIRED_IDENTICAL * runs)


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    share = 100 * summary["identical"] / max(summary["runs"], 1)
    largest = summary["largest_difference"]
    lines = [
        "# Parity with openai-whisper",
        "",
        "This page shows how many transcriptions have exactly the tokens of openai-whisper, on the same weights and "
        "samples, in float32. Made by `make parity ARGS=--all`; [all numbers](parity.json).",
        "",
        f"Of {summary['runs']} runs over {summary['clips']} recordings of speech ({summary['windows']} windows), "
        f"compared with {summary['reference']}, **{share:.2f} % are identical**; {summary['tie']} are ties and "
        f"{summary['differs']} differ otherwise.",
        "",
        "- *identical*: every token, segment, prompt and decision is the same.",
        "- *ties*: where the first decision differs, the reference's own scores of the two candidates are less than "
        f"{ROUNDING:g} apart, so that the order of summation in float32 can decide.",
        f"- *different*: all other runs. There must be none, and {100 * REQUIRED_IDENTICAL:g} % of all runs must be "
        "identical.",
        "",
        "A run in which a window falls back to a higher temperature is compared up to and including the first such "
        f"window ({summary['fell_back']} runs), since the two libraries draw different random numbers after that.",
        "",
        "In *plain* the language is given and everything else has its default. The other settings change one thing: in "
        "*detected* the language is detected, *prompt* has an `initial_prompt`, *no-timestamps* and *no-previous-text* "
        'switch these off, and *translate* is `task="translate"`, for recordings that are not in English.',
        "",
        "| model and setting | runs | identical | ties | different |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {each['runs']} | {each['identical']} | {each['tie']} | {each['differs']} |"
            for name, each in summary["settings"].items()
        ),
        f"| **all** | {summary['runs']} | {summary['identical']} | {summary['tie']} | {summary['differs']} |",
        "",
        f"The largest differences in windows with equal tokens are {largest['logprob_error']:.1e} for the average log "
        f"probability and {largest['no_speech_error']:.1e} for the no-speech probability; for the probability of a "
        f"detected language it is {largest['language_error']:.1e}. {summary['clamped_segments']} segments end at the "
        "end of the recording, where the reference's end after it ([correction "
        "9](../design.md#the-reference-and-where-we-differ)).",
    ]
    if note := summary.get("note"):  # written by hand, about how this run was made
        lines += ["", note]
    if summary["not_identical"]:
        lines += ["", "| not identical | kind | where |", "|---|---|---|"]
        lines += [f"| {each['run']} | {each['kind']} | {each['detail']} |" for each in summary["not_identical"]]
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


def write(summary: dict[str, Any], folder: Path) -> None:
    """Write `parity.md` and `parity.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity.md").write_text(as_markdown(summary), encoding="utf-8")
    (folder / "parity.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
