"""What fills the last window: 0 in log-mel space, or silence? `python -m benchmarks.padding` (correction 10).

The reference fills it with 0 in log-mel space, which is louder than silence; so do we, for its tokens. Here the same
recordings are transcribed with both (`base`, float32, greedy, language given, the ladder with seed 0), and the errors
are counted, and the words that are made up where nobody speaks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import whisperlite
from benchmarks.parity.environment import ROOT, Workplace, evaluation_folder
from benchmarks.parity.store import read_lines
from benchmarks.provenance import describe_provenance, provenance
from benchmarks.wer import FEWEST_CLIPS, Errors, count_errors
from whisperlite.api.iterator import SegmentIterator
from whisperlite.audio.load import read_audio
from whisperlite.audio.mel import WINDOW_FRAMES, Features, Window
from whisperlite.cancel import CancelToken
from whisperlite.decoding.engine import Engine
from whisperlite.options import make_options
from whisperlite.transcription.driver import drive
from whisperlite.transcription.recording import Sequential
from whisperlite.transcription.session import session


class SilentlyPadded(Features):
    """Features whose last window is filled up with the frames of zero samples, which is silence."""

    def window(self, start_frame: int, n_frames: int) -> Window:  # noqa: ARG002
        return Window(self, start_frame, WINDOW_FRAMES)


PADDINGS: dict[str, type[Features]] = {"zeros": Features, "silence": SilentlyPadded}


@dataclass(frozen=True, slots=True)
class Texts:
    """The true text of a recording, and its transcription with each padding."""

    lang: str
    truth: str
    texts: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.padding", description=__doc__)
    parser.add_argument("--eval", type=Path, default=evaluation_folder(), help="folder with a manifest.jsonl")
    parser.add_argument("--cache", type=Path, default=ROOT / ".parity")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write padding.md and padding.json into")
    arguments = parser.parse_args()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    torch.set_num_threads(arguments.threads)
    place = Workplace(arguments.cache, workers=1)
    place.prepare()
    rows = summarise(place, transcribe_all(arguments.eval))
    summary = {"model": "base, float32, greedy", **provenance(threads=arguments.threads), "rows": rows}
    page = as_markdown(summary)
    print(page)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "padding.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (arguments.out / "padding.md").write_text(page, encoding="utf-8")


def transcribe_all(folder: Path) -> list[Texts]:
    """Transcribe every recording of a folder, except songs, with each padding."""
    model = whisperlite.load_model("base", device="cpu", compute_type="float32")
    engine = Engine(model.network, model.tokenizer)
    found = []
    for line in read_lines(folder / "manifest.jsonl"):
        if line["kind"] == "song":
            continue
        audio = read_audio(folder / line["file"])
        options = make_options({"language": line["lang"] or "en", "beam_size": 1})
        texts = {}
        for name, features in PADDINGS.items():
            steps = session(
                features(audio.samples, model.dims.n_mels),
                options,
                model.tokenizer,
                duration=audio.duration,
                model=model.name,
            )
            windows = drive(Sequential(steps), engine)
            texts[name] = SegmentIterator(windows, audio.duration, CancelToken()).result.text
        print(f"{line['file']}{'' if texts['zeros'] == texts['silence'] else '  differs'}", flush=True)
        found.append(Texts(line["lang"], line["text"], texts))
    return found


def summarise(place: Workplace, found: Sequence[Texts]) -> list[dict[str, Any]]:
    """Make a row for each language with enough recordings, and one for the recordings without speech."""
    errors: dict[str, list[Errors]] = {
        name: count_errors(
            place, name, [{"lang": each.lang or "en", "truth": each.truth, "text": each.texts[name]} for each in found]
        )
        for name in PADDINGS
    }
    rows = []
    for lang in sorted({each.lang for each in found}):
        indices = [index for index, each in enumerate(found) if each.lang == lang]
        if len(indices) < FEWEST_CLIPS:
            continue
        row: dict[str, Any] = {"language": lang, "recordings": len(indices)}
        row["words"] = sum(errors["zeros"][index].length for index in indices)
        row["texts_that_differ"] = sum(found[i].texts["zeros"] != found[i].texts["silence"] for i in indices)
        for name in PADDINGS:
            row[name] = sum(errors[name][index].errors for index in indices)
        rows.append(row)
    return rows


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    lines = [
        "# Padding of the last window",
        "",
        "This page shows what would change if whisperlite filled the last window with silence instead of zeros. Made "
        "by `make bench`; [all numbers](padding.json).",
        "",
        "A recording rarely ends where a window of 30 s ends. openai-whisper fills the rest with 0 *in log-mel space*, "
        "which is louder than silence. whisperlite does the same, so that its tokens are the same ([correction "
        "10](../design.md#the-reference-and-where-we-differ)).",
        "",
        "The table counts wrong words (in Japanese and Chinese, characters) over all recordings of a language that has "
        f"{FEWEST_CLIPS} or more, and words hallucinated in recordings without speech (`{summary['model']}`, language "
        "given).",
        "",
        "| language | recordings | words | texts that differ | wrong with zeros | wrong with silence |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        lines.append(
            f"| {row['language'] or 'no speech'} | {row['recordings']} | {row['words']} | "
            f"{row['texts_that_differ']} | {row['zeros']} | {row['silence']} |"
        )
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
