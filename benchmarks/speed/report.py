"""The summary as a page of the documentation, with its numbers and its plot beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.provenance import when
from benchmarks.speed import neighbour
from benchmarks.speed.compare import Row, ratio
from benchmarks.speed.plot import draw
from benchmarks.speed.settings import SETTINGS
from benchmarks.speed.summary import Summary, verdicts

_VERDICTS = {"goal": "goal reached", "pass": "pass", "miss": "**miss**"}
_WAYS = {"sequential": "sequential", "chunks": '`chunking="vad"`', "folder": "`transcribe_many`"}
_TITLES = {setting.name: setting.title for setting in SETTINGS} | {"memory": "peak memory above a bare `import torch`"}


def publish(summary: Summary, folder: Path | None) -> str:
    """Return the page; with a folder, write the page, the numbers and the plot there."""
    plot = draw(summary)
    page = as_markdown(summary, has_plot=plot is not None)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = {**summary, "verdicts": verdicts(summary)}
        (folder / "speed.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        (folder / "speed.md").write_text(page, encoding="utf-8")
        if plot is not None:
            (folder / "speed.svg").write_text(plot, encoding="utf-8")
    return page


def as_markdown(summary: Summary, *, has_plot: bool) -> str:
    parts = [
        _introduction(summary),
        _claims(verdicts(summary)),
        ["![Speed against errors, and memory](speed.svg)", ""] if has_plot else [],
        _settings(summary["settings"]),
        _memory(summary["memory"]) if "memory" in summary else [],
        _lengths(summary["lengths"]) if "lengths" in summary else [],
        _batch_sizes(summary["batch_sizes"]) if "batch_sizes" in summary else [],
        _roofline(summary["roofline"]) if "roofline" in summary else [],
        _neighbour(summary["neighbour"]) if "neighbour" in summary else [],
        _versions(summary),
    ]
    return "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"


def _introduction(summary: Summary) -> list[str]:
    return [
        "# Speed",
        "",
        "This page compares the time and the memory that whisperlite and other libraries need for the same recordings. "
        "A ratio above 1 means that whisperlite is faster or needs less. Made by `make bench`; "
        "[all numbers](speed.json).",
        "",
        f"Every library has the weights of `base` and {summary['threads']} threads, and is given the language. Times "
        "are from the file to the text, at temperature 0 unless a title says *fallback on*. Each library has a "
        f"process of its own; after a warm-up they take turns. The machine: {summary['machine']}.",
        "",
    ]


def _claims(rows: Sequence[Row]) -> list[str]:
    """Return the table of targets and ratios."""
    if not rows:
        return []
    lines = [
        "The ratio is the other library's median time for a recording divided by whisperlite's; of several "
        "recordings, the median ratio is shown. For memory, it is the ratio of the peaks. *required* is the target, "
        "*goal* a more ambitious one. Where a library has several types or ways, the fastest counts. Against "
        "openai-whisper, only recordings count for which both libraries write exactly the same tokens. whisper.cpp "
        "has no float32 on a CPU; its f16 has the same weights. faster-whisper's batched pipeline does not fall back.",
        "",
        *_head("setting", "compared with", "required:", "goal:", "ratio:", "result"),
    ]
    for row in rows:
        found = "tokens differ" if row["ratio"] is None else f"{row['ratio']:.2f}"
        # "a library, its fastest type", and the side that this is.
        chosen = row["peer"].rpartition(", ")[2]
        against = row["peer"] if row["side"].startswith(row["peer"]) else f"{row['side']} ({chosen})"
        lines.append(
            _row(
                _TITLES[row["setting"]],
                against,
                f"{row['required']:g}",
                f"{row['goal']:g}",
                found,
                _VERDICTS[row["verdict"]],
            )
        )
    return [*lines, ""]


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    """Yield a table for each setting, with every peer on every recording."""
    yield from (
        "In the following tables, times are medians, with the range over all rounds in brackets. *words* counts those "
        "of the true text, *wrong* the errors of any kind compared with it, after Whisper's normaliser, and "
        "*differences* those between the other library's text and whisperlite's, unless even the tokens are the same. "
        "transformers and whisper.cpp do not tell their tokens.",
        "",
    )
    for setting in SETTINGS:
        if setting.name not in settings:
            continue
        measured = settings[setting.name]
        yield from (f"## {setting.title[0].upper()}{setting.title[1:]}", "")
        yield from _head(
            *("compared with", "recording", "audio, s:", "whisperlite, s:", "other, s:", "ratio:", "words:"),
            *("whisperlite wrong:", "other wrong:", "differences:"),
        )
        for name, part in measured.items():
            for row in part["rows"]:
                same = {True: "same tokens", False: f"{row['different']}", None: f"{row['different']}"}
                yield _row(
                    *(name, row["subject"], f"{row['audio_s']:.0f}", _times(row["ours_s"]), _times(row["peer_s"])),
                    *(f"{ratio(row):.2f}", row["words"], row["ours_wrong"], row["peer_wrong"]),
                    same[row["same_tokens"]],
                )
        yield from ("", f"Measured {when(measured.values())}.", "")


def _memory(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Memory, loading and the first segment",
        "",
        f"In a new process each time, greedy, with a recording of {part['audio_s']:.0f} s. Memory is also shown "
        "without what a process that only imports torch takes, which is subtracted for faster-whisper too, although "
        "it does not use torch. *loading* includes the import; the times of the first segment and of the whole begin "
        "after it. openai-whisper and transformers return nothing before they have finished.",
        "",
        *_head(
            *("library", "peak, MB:", "peak above `import torch`, MB:", "the same after loading, MB:"),
            *("loading, s:", "first segment, s:", "whole, s:"),
        ),
    ]
    for name, row in part["sides"].items():
        times = [f"{median(row[key]):.2f}" for key in ("load_s", "first_s", "seconds")]
        megabytes = [f"{row[key]:.0f}" for key in ("peak_mb", "above_torch_mb", "loaded_above_torch_mb")]
        lines.append(_row(name, *megabytes, *times))
    return [*lines, "", f"Measured {when([part])}.", ""]


def _lengths(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Cost against length",
        "",
        "One recording, cut or repeated to these lengths, greedy, in int8, in a new process each time: window after "
        'window at temperature 0, and with `chunking="vad"` and fallback.',
        "",
        *_head("audio, s:", "way", "time, s:", "times real time:", "first segment, s:", "peak memory, MB:"),
    ]
    for row in part["rows"]:
        speed = row["audio_s"] / row["seconds"]
        way = _WAYS[row["way"]]
        times = (f"{row['seconds']:.2f}", f"{speed:.1f}", f"{row['first_s']:.2f}", f"{row['peak_mb']:.0f}")
        lines.append(_row(f"{row['audio_s']:g}", way, *times))
    return [*lines, "", f"Measured {when([part])}.", ""]


def _batch_sizes(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Cost against batch size",
        "",
        f"{part['rows'][0]['files']} files with `transcribe_many`, greedy, at temperature 0. If the folder has fewer, "
        "its clips are repeated.",
        "",
        *_head("compute type", "`batch_size`:", "time, s:", "times real time:"),
    ]
    for row in part["rows"]:
        lines.append(_row(row["compute_type"], row["batch_size"], _times(row["seconds"]), row["times_real_time"]))
    return [*lines, "", f"Measured {when([part])}.", ""]


def _roofline(part: dict[str, Any]) -> list[str]:
    lines = [
        "## A decoder step and the limit of the machine",
        "",
        f"Memory can be read at {part['bandwidth_gb_per_s']:g} GB/s. A greedy step has to read the decoder's weights "
        "once and, for each slot (a window of the batch), the keys and values of its audio and text. *bound* is the "
        "least time that this takes, and *reached* its share of the time of a step. Layers, including all attention, "
        "and the output head were timed separately; *rest* is the choice of a token and what lies between steps.",
        "",
        *_head(
            *("compute type", "slots:", "to read, MB:", "layers + head + audio + text, MB:", "GFLOP:"),
            *("bound, ms:", "step, ms:", "reached:", "layers, ms:", "head, ms:", "rest, ms:"),
        ),
    ]
    for row in part["rows"]:
        moved = " + ".join(f"{row['moved'][name]:.0f}" for name in ("layers", "head", "audio", "text"))
        times = [f"{row[name]:.1f}" for name in ("layers_ms", "head_ms", "rest_ms")]
        lines.append(
            _row(
                *(row["compute_type"], row["slots"], f"{row['moved_mb']:.0f}", moved, f"{row['gflop']:.2f}"),
                *(f"{row['bound_ms']:.1f}", f"{row['step_ms']:.1f}", f"{row['reached']:.0%}", *times),
            )
        )
    return [*lines, "", f"Measured {when([part])}.", ""]


def _neighbour(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Beside a busy process",
        "",
        "Another process computes all the time on one core. Times alone and beside it take turns; *ratio* is how many "
        f"times as long it takes, where at most {neighbour.MOST:g} is the target.",
        "",
        *_head("compute type", "way", "beams:", "alone, s:", "beside, s:", "ratio:"),
    ]
    for row in part["rows"]:
        times = _times(row["alone"]), _times(row["beside"])
        lines.append(_row(row["compute_type"], _WAYS[row["way"]], row["beam_size"], *times, f"{row['ratio']:.2f}"))
    return [*lines, "", f"Measured {when([part])}.", ""]


def _versions(summary: Summary) -> list[str]:
    lines = ["## Versions", "", *_head("library", "version", "details")]
    for library, known in summary["versions"].items():
        facts = ", ".join(f"{name} {value}" for name, value in known["facts"].items())
        lines.append(_row(library, known["version"], facts))
    if summary["left_out"]:
        lines += ["", f"Not measured, since they could not be loaded: {', '.join(summary['left_out'])}."]
    return lines


def _times(seconds: Sequence[float]) -> str:
    """Format the median and the range."""
    low, high = min(seconds), max(seconds)
    return f"{median(seconds):.2f}" + (f" ({low:.2f} to {high:.2f})" if len(seconds) > 1 else "")


def _head(*columns: str) -> tuple[str, str]:
    """Return the first two lines of a table; names of numeric columns end in a colon."""
    rule = "|".join("---:" if column.endswith(":") else "---" for column in columns)
    return _row(*(column.rstrip(":") for column in columns)), f"|{rule}|"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
