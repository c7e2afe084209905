"""Word error rate of the compute types on the same recordings: `python -m benchmarks.precision`.

`base`, greedy, language given, with the ladder of temperatures, without which one loop outweighs all that is rounded.
In a few recordings next to nothing decides whether the model repeats itself, in any precision. So that chance decides
little, each recording is transcribed several times, after more or less silence; and where text is sampled, with several
seeds. Errors are averages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import numpy as np

import whisperlite
from benchmarks.parity.environment import ROOT, Workplace, evaluation_folder
from benchmarks.parity.matrix import read_manifest
from benchmarks.peers.requests import SAMPLING_RATE
from benchmarks.provenance import describe_provenance, provenance
from benchmarks.wer import count_errors
from whisperlite import Transcription

SEVEN_BITS = "int8, 7 bits"  # int8 as on processors with neither AVX512-VNNI nor fast bfloat16
COMPUTE_TYPES = ("float32", "bfloat16", "int8", SEVEN_BITS)
BEAMS = (1,)
SEEDS = range(3)
DELAYS_S = (0.0, 0.05, 0.1, 0.15)  # of silence in front of a recording
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
        with load_base(compute_type, arguments.threads) as model:
            rows += [measure(model, compute_type, beam_size, recordings, place) for beam_size in BEAMS]
        print(rows[-1], flush=True)
    summary = summarise(rows, clips=len(recordings)) | provenance(threads=arguments.threads)
    page = as_markdown(summary)
    print(page)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "precision.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "precision.md").write_text(page, encoding="utf-8")
    raise SystemExit(0 if summary["passes"] else 1)


@contextmanager
def load_base(compute_type: str, threads: int) -> Iterator[whisperlite.Whisper]:
    """`base` in a compute type, for the length of the block."""
    if compute_type != SEVEN_BITS:
        yield whisperlite.load_model("base", device="cpu", compute_type=compute_type, cpu_threads=threads)
        return
    levels, has_fast_product = "whisperlite.nn.linear._weight_levels", "whisperlite.nn.build.has_fast_product"
    with patch(levels, lambda: 64), patch(has_fast_product, lambda dtype: False):  # noqa: ARG005 - bfloat16 is asked about
        yield whisperlite.load_model("base", device="cpu", compute_type="int8", cpu_threads=threads)


def measure(
    model: whisperlite.Whisper, compute_type: str, beam_size: int, recordings: Sequence[Line], place: Workplace
) -> dict[str, Any]:
    """Count wrong words in all recordings, each time (`wrong`), and in each recording on average (`each`)."""
    results = []
    sampled = set()
    for delay_s in DELAYS_S:
        first = transcribe(model, recordings, beam_size, delay_s, seed=0)
        drawn = [line for line in recordings if any(part.temperature > 0 for part in first[line["file"]].segments)]
        sampled |= {line["file"] for line in drawn}
        results += [first, *(first | transcribe(model, drawn, beam_size, delay_s, seed) for seed in SEEDS if seed)]
    lines = [
        {"lang": line["lang"], "truth": line["text"], "text": result[line["file"]].text}
        for result in results
        for line in recordings
    ]
    counted = count_errors(place, f"precision-{COMPUTE_TYPES.index(compute_type)}-{beam_size}", lines)
    each_time = [counted[start : start + len(recordings)] for start in range(0, len(counted), len(recordings))]
    return {
        "compute_type": compute_type,
        "beam_size": beam_size,
        "sampled": len(sampled),
        "wrong": [sum(each.errors for each in errors) for errors in each_time],
        "each": [mean(one.errors for one in of_recording) for of_recording in zip(*each_time, strict=True)],
        "length": sum(each.length for each in each_time[0]),
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write precision.md and precision.json into")
    return parser.parse_args()


def transcribe(
    model: whisperlite.Whisper, recordings: Sequence[Line], beam_size: int, delay_s: float, seed: int
) -> dict[str, Transcription]:
    """The file of each recording → its transcription after some silence, made language by language."""
    found = {}
    for lang in sorted({line["lang"] for line in recordings}):
        files = [line["file"] for line in recordings if line["lang"] == lang]
        delayed = (_delayed(file, delay_s) for file in files)
        results = model.transcribe_many(delayed, language=lang, beam_size=beam_size, seed=seed)
        for file, result in zip(files, results, strict=True):
            assert isinstance(result, Transcription), f"{file}: {result!r}"
            found[file] = result
    return found


def _delayed(file: str, delay_s: float) -> np.ndarray:
    samples = whisperlite.load_audio(file)
    return np.concatenate([np.zeros(round(delay_s * SAMPLING_RATE), samples.dtype), samples])


def summarise(rows: Sequence[dict[str, Any]], *, clips: int) -> dict[str, Any]:
    """Rates in percent, and what each is above float32's.

    Args:
        rows: as `measure` returns them, float32's among them.
    """
    rates = {(row["compute_type"], row["beam_size"]): 100 * mean(row["wrong"]) / row["length"] for row in rows}
    found = []
    for row in rows:
        rate = rates[row["compute_type"], row["beam_size"]]
        above = rate - rates["float32", row["beam_size"]]
        exact = next(one for one in rows if (one["compute_type"], one["beam_size"]) == ("float32", row["beam_size"]))
        largest = max(one - other for one, other in zip(row["each"], exact["each"], strict=True))
        more = {"rate": round(rate, 4), "above_float32": round(above, 4), "largest_in_one": round(largest, 1)}
        found.append({name: value for name, value in row.items() if name != "each"} | more)
    return {
        "model": "base",
        "clips": clips,
        "seeds": len(SEEDS),
        "delays_s": DELAYS_S,
        "allowed": ALLOWED,
        "passes": all(row["above_float32"] <= ALLOWED for row in found),
        "rows": found,
    }


def _listed(delays_s: Sequence[float]) -> str:
    *others, last = (f"{1000 * delay_s:g}" for delay_s in delays_s)
    return f"{', '.join(others)} and {last}"


_SEVEN_BITS_MEANS = (
    f"*{SEVEN_BITS}* is int8 as it is on processors without AVX512-VNNI, where weights have 7 bits, and without fast "
    "bfloat16, where attention is in float32. It was computed on the same machine as the other types.",
    "",
)


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
        f"percentage points, with a target of at most {summary['allowed']:g}.",
        "",
        f"Each recording is transcribed {len(summary['delays_s'])} times, with {_listed(summary['delays_s'])} ms of "
        "silence in front. Which words are wrong depends on it in every compute type, most of all where a model nearly "
        "repeats itself. *sampled* is the number of recordings with text from a temperature above 0; such text is "
        f"drawn at random, with {summary['seeds']} seeds. *wrong words* and *rate* are averages over all of this; in "
        "brackets are the fewest and the most wrong words.",
        "",
        *(_SEVEN_BITS_MEANS if any(row["compute_type"] == SEVEN_BITS for row in summary["rows"]) else ()),
        "*most in one* is how many more words than in float32 are wrong in the recording that differs most: where a "
        "model begins to repeat itself, one recording can outweigh all others.",
        "",
        "| decoding | compute type | sampled | wrong words | words | rate, % | above float32 | most in one |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        decoding = "greedy" if row["beam_size"] == 1 else f"beam {row['beam_size']}"
        wrong = f"{mean(row['wrong']):.1f} ({min(row['wrong'])} to {max(row['wrong'])})"
        lines.append(
            f"| {decoding} | {row['compute_type']} | {row['sampled']} | {wrong} | {row['length']} | "
            f"{row['rate']:.2f} | {row['above_float32']:+.2f} | {row['largest_in_one']:g} |"
        )
    missed = [row["compute_type"] for row in summary["rows"] if row["above_float32"] > summary["allowed"]]
    lines += ["", f"The target is missed by {' and '.join(missed)}." if missed else "The target is met."]
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
