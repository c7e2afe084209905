"""Word error rate of the compute types on the same recordings: `python -m benchmarks.precision`.

`base`, greedy, language given, with the ladder of temperatures, without which one loop outweighs all that is rounded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import whisperlite
from benchmarks.parity.environment import ROOT, Workplace, evaluation_folder
from benchmarks.parity.matrix import read_manifest
from benchmarks.wer import count_errors
from whisperlite import Transcription

COMPUTE_TYPES = ("float32", "bfloat16", "int8")
BEAMS = (1,)
ALLOWED = 0.5  # percentage points over float32

Line = dict[str, str]


def main() -> None:
    arguments = _parse()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    place = Workplace(arguments.cache, workers=1)
    place.prepare()
    recordings = [line for line in read_manifest(arguments.eval) if line["text"]]
    rows = []
    for compute_type in COMPUTE_TYPES:
        model = whisperlite.load_model("base", device="cpu", compute_type=compute_type)
        for beam_size in BEAMS:
            lines = _transcribed(model, recordings, beam_size)
            errors = count_errors(place, f"{compute_type}-{beam_size}", lines)
            wrong, length = (sum(getattr(each, name) for each in errors) for name in ("errors", "length"))
            rows.append({"compute_type": compute_type, "beam_size": beam_size, "wrong": wrong, "length": length})
            print(rows[-1])
    summary = summarise(rows, clips=len(recordings))
    page = as_markdown(summary)
    print(page)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "precision.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "precision.md").write_text(page, encoding="utf-8")
    raise SystemExit(0 if summary["passes"] else 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--out", type=Path, help="folder to write precision.md and precision.json into")
    return parser.parse_args()


def _transcribed(model: whisperlite.Whisper, recordings: Sequence[Line], beam_size: int) -> list[Line]:
    """A `lang`, a `truth` and a `text` for each recording, language by language."""
    found = []
    for lang in sorted({line["lang"] for line in recordings}):
        spoken = [line for line in recordings if line["lang"] == lang]
        results = model.transcribe_many([line["file"] for line in spoken], language=lang, beam_size=beam_size)
        for line, result in zip(spoken, results, strict=True):
            assert isinstance(result, Transcription), f"{line['file']}: {result!r}"
            found.append({"lang": lang, "truth": line["text"], "text": result.text})
    return found


def summarise(rows: Sequence[dict[str, Any]], *, clips: int) -> dict[str, Any]:
    """Rates in percent, and what each is above float32's."""
    rates = {(row["compute_type"], row["beam_size"]): 100 * row["wrong"] / row["length"] for row in rows}
    found = [
        row
        | {
            "rate": round(rates[row["compute_type"], row["beam_size"]], 4),
            "above_float32": round(
                rates[row["compute_type"], row["beam_size"]] - rates["float32", row["beam_size"]], 4
            ),
        }
        for row in rows
    ]
    return {
        "model": "base",
        "clips": clips,
        "allowed": ALLOWED,
        "passes": all(row["above_float32"] <= ALLOWED for row in found),
        "rows": found,
    }


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    lines = [
        "# Word error rate by compute type",
        "",
        "This page shows how many more words are wrong in coarser compute types than in float32, on the same "
        "recordings. Made by `make bench`; [all numbers](precision.json).",
        "",
        f"`{summary['model']}` transcribes {summary['clips']} recordings in all languages of the evaluation folder on "
        "a CPU, in batches of eight windows, with the language given and fallback to higher temperatures. Words are "
        "compared after Whisper's normaliser; in Japanese and Chinese, characters are. *above float32* is in "
        f"percentage points, of which at most {summary['allowed']:g} are allowed.",
        "",
        "| decoding | compute type | wrong words | words | rate, % | above float32 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        decoding = "greedy" if row["beam_size"] == 1 else f"beam {row['beam_size']}"
        lines.append(
            f"| {decoding} | {row['compute_type']} | {row['wrong']} | {row['length']} | {row['rate']:.2f} | "
            f"{row['above_float32']:+.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
