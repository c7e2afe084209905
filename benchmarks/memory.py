"""Memory of each model on a CPU, beyond what `import torch` takes: `python -m benchmarks.memory`.

Each model is loaded in each precision in a process of its own, which transcribes one recording with 5 beams. All but
`base` have random weights in the published shape, on which memory does not depend: float16 numbers in a folder of
safetensors, as on the Hub. `--out docs/benchmarks` writes memory.json, from which the table in docs/models.md is made.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.provenance import ROOT, describe_provenance, provenance

MODELS = ("base", "small", "medium", "turbo", "large-v3")
COMPUTE_TYPES = ("float32", "int8")
BEAMS = 5
RECORDING = ROOT / "tests/data/librivox.wav"
PAGE = ROOT / "docs/models.md"

Row = dict[str, Any]


def main() -> None:
    arguments = _parse()
    if arguments.child:
        print(json.dumps(measure_here(arguments.child, arguments.compute_type, arguments.threads)))
        return
    if arguments.write:
        make_weights(*arguments.write)
        return
    rows = []
    for model in arguments.model or MODELS:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            source = model
            if model != "base":
                source = str(Path(folder) / model)
                _run("--write", model, source)
            for compute_type in COMPUTE_TYPES:
                call = ("--child", source, "--compute-type", compute_type, "--threads", str(arguments.threads))
                rows.append({"model": model, "compute_type": compute_type, **json.loads(_run(*call))})
                print(rows[-1], file=sys.stderr, flush=True)
    summary = {**provenance(threads=arguments.threads), "recording": RECORDING.name, "beam_size": BEAMS, "rows": rows}
    print("\n".join(as_table(summary)))
    if arguments.out:
        (arguments.out / "memory.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), summary), encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--scratch", type=Path, help="folder for the random weights, up to 3 GB (default: the system's)"
    )
    parser.add_argument("--out", type=Path, help="folder to write memory.json into; also writes docs/models.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--compute-type", help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(*arguments: str) -> str:
    """Run this module in a new process, and return what it prints."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def make_weights(model: str, folder: str) -> None:
    """Write random float16 weights in the shape of a published model."""
    import torch

    from benchmarks.device import SHAPES, random_tensors
    from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
    from whisperlite.checkpoints.export import export_checkpoint
    from whisperlite.text.tokenizer import Tokenizer

    dims = SHAPES[model]
    tensors = random_tensors(dims, torch.device("cpu"), torch.float16)
    tokenizer = Tokenizer.bundled(multilingual=True, num_languages=dims.num_languages)
    export_checkpoint(Checkpoint(Path(folder), dims, tensors, tokenizer, GenerationConfig()), Path(folder))


def measure_here(source: str, compute_type: str, threads: int) -> Row:
    """Load a model in this process, which has done nothing else, and transcribe with it.

    Returns:
        In MB beyond what the process had after `import torch`: `loading`, the most while it was loaded; `loaded`, what
        remains; and `call`, the most that transcribing took beyond that.
    """
    import torch  # noqa: F401 - what it takes is not counted

    torch_bytes = memory_bytes("VmRSS")
    import whisperlite

    model = whisperlite.load_model(source, device="cpu", compute_type=compute_type, cpu_threads=threads)
    loading, loaded = memory_bytes("VmHWM"), memory_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    model.transcribe(RECORDING, language="en", beam_size=BEAMS, temperature=0)
    call = memory_bytes("VmHWM")
    sizes = {"loading": loading - torch_bytes, "loaded": loaded - torch_bytes, "call": call - loaded}
    return {f"{name}_mb": round(size / 1e6) for name, size in sizes.items()}


def memory_bytes(name: str) -> int:
    """Read memory of this process from /proc/self/status: "VmRSS" is what it has now, "VmHWM" the most it ever had."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status names no {name}: memory is measured on Linux only.")
    return int(found[1]) * 1024


def as_table(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of docs/models.md that are made from the numbers, in GB."""
    rows = {(row["model"], row["compute_type"]): row for row in summary["rows"]}
    lines = [
        "| model | float32, loaded | while loading | int8, loaded | while loading | one call, at most |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model in dict.fromkeys(row["model"] for row in summary["rows"]):
        types = [rows[model, compute_type] for compute_type in COMPUTE_TYPES]
        cells = [row[name] for row in types for name in ("loaded_mb", "loading_mb")]
        cells.append(max(row["call_mb"] for row in types))
        lines.append(f"| `{model}` | {' | '.join(f'{cell / 1e3:.1f}' for cell in cells)} |")
    return [*lines, *describe_provenance(summary)]


_BEGIN, _END = "<!-- memory begins -->", "<!-- memory ends -->"


def with_table(page: str, summary: Mapping[str, Any]) -> str:
    """Return the page with the table of the summary between its two marks."""
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}\n\n{_lines(as_table(summary))}\n{_END}{after}"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
