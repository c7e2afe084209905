"""Runs → a row for each side, what was required and what came out, and the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.service.clients import Answer
from benchmarks.service.clips import SHORT_S

Row = dict[str, Any]

PASSIVE = "faster-whisper, passive"
SIDES = ("whisperlite", "transcribe_many", "faster-whisper", PASSIVE)
SERVICE = "whisperlite"
COMPUTE_TYPES = ("float32", "int8")
REQUIRED = {"transcribe_many": 0.85, "faster-whisper": 2.0, PASSIVE: None}  # our throughput over theirs
ALLOWED_GROWTH = 0.10  # of memory, after the warm-up

_SAME_TEXTS = ("whisperlite", "transcribe_many")  # theirs are to be those of `transcribe`
_WARM, _WIDTH = 0.3, 0.05  # shares of the time: when all is warm, and how long memory is looked at on both sides of it
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Run:
    """What one side did.

    Attributes:
        seconds: how long requests were begun.
        answers: to all that had begun, also those that came later.
        memory: seconds since the first request, bytes.
    """

    seconds: float
    answers: Sequence[Answer]
    memory: Sequence[tuple[float, int]]

    @property
    def wall_s(self) -> float:
        """From the first request to the last answer."""
        return max((answer.ended_s for answer in self.answers), default=0.0)

    @property
    def audio_s(self) -> float:
        """That was transcribed."""
        return sum(answer.clip.seconds for answer in self.answers if answer.text is not None)

    @property
    def throughput(self) -> float:
        """Seconds of audio in a second."""
        return self.audio_s / self.wall_s if self.answers else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def memory_around(run: Run, share: float) -> float | None:
    """Median of what was held about this share of the time, in bytes; None: nothing was measured then."""
    low, high = (run.seconds * (share + sign * _WIDTH) for sign in (-1, 1))
    found = [held for moment_s, held in run.memory if low <= moment_s <= high]
    return median(found) if found else None


def summarise(runs: Mapping[str, Sequence[Run]], expected: Mapping[str, str]) -> dict[str, Any]:
    """Rows, verdicts, and what fails, of one precision.

    Args:
        runs: of each side, one for each repeat.
        expected: SHA-256 of each clip → its text.
    """
    rows = {side: _row(side, of_side, expected) for side, of_side in runs.items()}
    verdicts = judge(rows)
    failures = find_failures(rows, verdicts)
    return {"passes": not failures, "failures": failures, "verdicts": verdicts, "sides": rows}


def _row(side: str, runs: Sequence[Run], expected: Mapping[str, str]) -> Row:
    answers = [answer for run in runs for answer in run.answers]
    done = [answer for answer in answers if answer.text is not None]
    different = {
        answer.clip.sha256: answer.clip.path.rpartition("/")[2]
        for answer in done
        if (answer.text or "").strip() != expected[answer.clip.sha256].strip()
    }
    has_requests = side != "transcribe_many"
    return {
        "requests": len(answers),
        "errors": dict(Counter(each.error for each in answers if each.error is not None and not each.is_lost)),
        "refused": sum(each.refused for each in answers),
        "lost": dict(Counter(each.error for each in answers if each.is_lost)),
        "different_texts": sum(each.clip.sha256 in different for each in done),
        "different_clips": sorted(different.values()),
        "audio_s": [round(run.audio_s, 1) for run in runs],
        "wall_s": [round(run.wall_s, 2) for run in runs],
        "throughput": [round(run.throughput, 3) for run in runs],
        "latency_s": _latency(done) if has_requests else None,
        "short_latency_s": _latency([each for each in done if each.clip.is_short]) if has_requests else None,
        "memory": [memory for run in runs if (memory := _memory_row(run)) is not None],
    }


def _latency(answers: Sequence[Answer]) -> dict[str, float] | None:
    seconds = [answer.ended_s - answer.began_s for answer in answers]
    return {name: round(percentile(seconds, share), 2) for name, share in _SHARES.items()} if seconds else None


def _memory_row(run: Run) -> Row | None:
    """From when all was warm to the end of the time; None: it was too short to say."""
    warm, end = memory_around(run, _WARM), memory_around(run, 1.0)
    if not warm or end is None:
        return None
    return {"warm_mb": round(warm / 1e6, 1), "end_mb": round(end / 1e6, 1), "growth": round(end / warm - 1, 4)}


def judge(rows: Mapping[str, Row]) -> list[Row]:
    """Our throughput over that of each other side that was measured with ours."""
    if SERVICE not in rows:
        return []
    ours = median(rows[SERVICE]["throughput"])
    found = []
    for side, required in REQUIRED.items():
        if side in rows and (theirs := median(rows[side]["throughput"])):
            ratio = ours / theirs
            verdict = "not asked" if required is None else "pass" if ratio >= required else "miss"
            found.append({"against": side, "required": required, "ratio": round(ratio, 3), "verdict": verdict})
    return found


def find_failures(rows: Mapping[str, Row], verdicts: Sequence[Row]) -> list[str]:
    """What is not as it should be, a line each."""
    failures = [
        f"throughput: {row['ratio']:.2f} × {row['against']}, required {row['required']:g}"
        for row in verdicts
        if row["verdict"] == "miss"
    ]
    for side, row in rows.items():
        failures += [f"{side}: {count} × {kind}" for kind, count in row["errors"].items()]
        failures += [f"{side}: {count} lost, {kind}" for kind, count in row["lost"].items()]
        if not any(row["audio_s"]):
            failures.append(f"{side}: nothing was transcribed")
        if side in _SAME_TEXTS and row["different_texts"]:
            clips = ", ".join(row["different_clips"])
            failures.append(f"{side}: {row['different_texts']} texts are not those of transcribe: {clips}")
    for memory in rows[SERVICE]["memory"] if SERVICE in rows else []:
        if memory["growth"] > ALLOWED_GROWTH:
            failures.append(f"{SERVICE}: memory grew by {memory['growth']:.1%}, allowed {ALLOWED_GROWTH:.0%}")
    return failures


def conclude(about: Mapping[str, Any], of_types: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of a run: what it was of, and what came out in each precision."""
    return {**about, "passes": all(each["passes"] for each in of_types.values()), "compute_types": dict(of_types)}


# The page


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    clips = summary["clips"]
    short = sum(clip["seconds"] < SHORT_S for clip in clips)
    languages = ", ".join(sorted({clip["language"] for clip in clips}))
    commit = summary["commit"]
    measured = {side for each in summary["compute_types"].values() for side in each["sides"]}
    lines = [
        "# The service under load",
        "",
        "This page shows how much audio `whisperlite serve` transcribes per second for many clients at a time, and "
        "how long they wait, compared with `transcribe_many` and with a service around faster-whisper. Made by `make "
        "load`; [all numbers](service.json).",
        "",
        *(f"- *{side}*: {text}" for side, text in _systems(summary).items() if side in measured),
        "",
        f"All have the same weights and options (`{summary['model']}`) and {summary['threads']} threads, and are "
        f"measured one after the other{'' if summary['repeats'] == 1 else ', ' + str(summary['repeats']) + ' times'}. "
        f"The machine: {summary['machine']}.",
        "",
        f"{short} clips are shorter than {SHORT_S:g} s, in {languages}; {len(clips) - short} are longer, up to "
        f"{max(clip['seconds'] for clip in clips):.0f} s. They are shuffled again and again. Requests that have begun "
        "when the time is over are completed, and the time that this takes counts.",
        "",
        *_verdicts(summary["compute_types"]),
        *(line for name, each in summary["compute_types"].items() for line in _of_one(name, each)),
        *_versions(summary["versions"]),
        f"Measured {summary['date']}, commit {commit[:10]}{commit[40:]}.",
    ]
    return "\n".join(lines) + "\n"


def _systems(summary: Mapping[str, Any]) -> dict[str, str]:
    """What each side is."""
    return {
        SERVICE: f"`whisperlite serve` with {summary['clients']} clients over loopback, each of which sends one clip "
        f"after the other for {summary['seconds']:g} s.",
        "transcribe_many": "the loop of `transcribe_many` with `batch_size=8`, over the same clips in the same order, "
        "each in its own language.",
        "faster-whisper": "a plain FastAPI service around it, with the same clients: one model, whose endpoint runs on "
        "FastAPI's threads.",
        PASSIVE: "the same with `OMP_WAIT_POLICY=PASSIVE`, so that its threads sleep while they wait for each other.",
    }


def _of_one(compute_type: str, summary: Mapping[str, Any]) -> list[str]:
    """What was measured in one precision."""
    return [
        f"## In {compute_type}",
        "",
        *_throughput(summary["sides"]),
        *_latencies(summary["sides"]),
        *_memory(summary["sides"]),
        *_failures(summary["failures"]),
    ]


def _verdicts(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    said = {"pass": "pass", "miss": "**miss**", "not asked": ""}
    table = [
        f"| {name} | {row['against']} | {_or_none(row['required'])} | {row['ratio']:.2f} | {said[row['verdict']]} |"
        for name, summary in summaries.items()
        for row in summary["verdicts"]
    ]
    if not table:
        return []
    return [
        "The ratio is the median throughput of whisperlite's service divided by that of the other, in the same "
        "precision:",
        "",
        *("| precision | compared with | required | ratio | result |", "|---|---|---:|---:|---|", *table, ""),
    ]


def _or_none(required: float | None) -> str:
    return "" if required is None else f"{required:g}"


def _throughput(sides: Mapping[str, Row]) -> list[str]:
    lines = [
        "### Throughput",
        "",
        "*refused*: answers 429 and 503, after which the client sent the request again. *lost*: requests without an "
        "answer. *other texts*: answers whose text is not that of whisperlite's `transcribe` with the clip alone. "
        "*time* ends with the last answer.",
        "",
        "| system | requests | errors | refused | lost | other texts | audio, s | time, s | audio per second |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for side, row in sides.items():
        cells = [row["requests"], sum(row["errors"].values()), row["refused"], sum(row["lost"].values())]
        cells += [row["different_texts"], f"{sum(row['audio_s']):.0f}", f"{sum(row['wall_s']):.0f}"]
        lines.append(f"| {side} | {' | '.join(map(str, cells))} | {_spread(row['throughput'])} |")
    return [*lines, ""]


def _latencies(sides: Mapping[str, Row]) -> list[str]:
    asked = {side: row for side, row in sides.items() if row["latency_s"]}
    if not asked:
        return []
    lines = [
        "### Latency",
        "",
        "Seconds from the beginning of a request to the end of its answer, including repetitions after a refusal.",
        "",
        f"| system | clips | {' | '.join(_SHARES)} |",
        "|---|---|---:|---:|---:|",
    ]
    for side, row in asked.items():
        for clips, name in (("all", "latency_s"), (f"under {SHORT_S:g} s", "short_latency_s")):
            if row[name]:
                lines.append(f"| {side} | {clips} | {' | '.join(f'{row[name][share]:.1f}' for share in _SHARES)} |")
    return [*lines, ""]


def _memory(sides: Mapping[str, Row]) -> list[str]:
    lines = [
        "### Memory",
        "",
        "In MB, of the process and its child processes; a page that several share is counted in parts (PSS). The "
        f"values are medians around two moments: {_WARM:.0%} of the time, when everything is warm, and its end, still "
        f"under load. whisperlite's service may grow by {ALLOWED_GROWTH:.0%}.",
        "",
        f"| system | MB at {_WARM:.0%} | MB at the end | growth |",
        "|---|---:|---:|---:|",
    ]
    for side, row in sides.items():
        lines += [
            f"| {side} | {each['warm_mb']:.0f} | {each['end_mb']:.0f} | {each['growth']:+.1%} |"
            for each in row["memory"]
        ]
    return [*lines, ""]


def _failures(failures: Sequence[str]) -> list[str]:
    return ["### Targets missed", "", *(f"- {failure}" for failure in failures), ""] if failures else []


def _versions(versions: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = ["## Versions", "", "| system | versions |", "|---|---|"]
    for side, packages in versions.items():
        lines.append(f"| {side} | {', '.join(f'{name} {version}' for name, version in packages.items())} |")
    return [*lines, ""]


def _spread(values: Sequence[float]) -> str:
    """Median and range."""
    range_ = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{median(values):.2f}{range_}"
