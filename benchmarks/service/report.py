"""Runs → a row for each side, what was required and what came out, and the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.provenance import when
from benchmarks.service.clients import Answer
from benchmarks.service.clips import SHORT_S

Row = dict[str, Any]

SERVICE = "whisperlite"
PEER, SPREAD, PASSIVE = (
    "faster-whisper",
    "faster-whisper, a request on each thread",
    "faster-whisper, passive",
)
PEER_WAYS = (PEER, SPREAD, PASSIVE)
SIDES = (SERVICE, "transcribe_many", *PEER_WAYS)
COMPUTE_TYPES = ("float32", "int8")
REQUIRED = {"transcribe_many": 0.85, PEER: 2.0}  # our throughput over theirs (the peer's fastest way)
ALLOWED_GROWTH = 0.10  # of memory, after the warm-up

_SAME_TEXTS = ("whisperlite", "transcribe_many")  # their texts must be those of `transcribe`
_WARM, _WIDTH = 0.3, 0.05  # shares of the time: when all is warm, and half the width of the interval around it
# Equal for all runs in one table.
_SAME_CONDITIONS = ("model", "machine", "threads", "clients", "seconds", "clips")
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one side.

    Attributes:
        seconds: how long new requests were begun.
        answers: the answers to all of them, including those that came after that time.
        memory: (seconds since the first request, bytes).
    """

    seconds: float
    answers: Sequence[Answer]
    memory: Sequence[tuple[float, int]]

    @property
    def wall_s(self) -> float:
        """Seconds from the first request to the last answer."""
        return max((answer.ended_s for answer in self.answers), default=0.0)

    @property
    def audio_s(self) -> float:
        """Seconds of audio that were transcribed."""
        return sum(answer.clip.seconds for answer in self.answers if answer.text is not None)

    @property
    def throughput(self) -> float:
        """Seconds of audio transcribed per second, until the last answer."""
        return self.audio_s / self.wall_s if self.answers else 0.0

    @property
    def throughput_in_time(self) -> float:
        """Seconds of audio answered per second while new requests are begun; later answers do not count."""
        answered = (each for each in self.answers if each.text is not None and each.ended_s <= self.seconds)
        return sum(each.clip.seconds for each in answered) / self.seconds


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as this share of all values (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def memory_around(run: Run, share: float) -> float | None:
    """Return the median memory around this share of the time, in bytes; None if nothing was measured then."""
    low, high = (run.seconds * (share + sign * _WIDTH) for sign in (-1, 1))
    found = [held for moment_s, held in run.memory if low <= moment_s <= high]
    return median(found) if found else None


def summarise(
    runs: Mapping[str, Sequence[Run]],
    expected: Mapping[str, str],
    *,
    about: Mapping[str, str] | None = None,
    kept: Mapping[str, Row] | None = None,
) -> dict[str, Any]:
    """Return the rows, verdicts and missed targets of one precision.

    Args:
        runs: side → its runs, one for each repeat.
        expected: SHA-256 of each clip → its text.
        about: the commit and the date of the runs.
        kept: rows from an earlier summary, for sides without runs here.
    """
    found = {**(kept or {}), **{side: {**(about or {}), **_row(side, runs[side], expected)} for side in runs}}
    rows = {side: found[side] for side in SIDES if side in found}
    verdicts = judge(rows)
    failures = find_failures(rows, verdicts)
    return {"passes": not failures, "failures": failures, "verdicts": verdicts, "sides": rows}


def rows_to_keep(earlier: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, dict[str, Row]]:
    """Return the rows of an earlier summary by precision and side, each with its commit and date.

    Raises:
        SystemExit: the earlier runs were made on another machine, or with other clips, clients or options.
    """
    changed = [name for name in _SAME_CONDITIONS if earlier[name] != about[name]]
    if changed:
        raise SystemExit(f"The earlier runs had another {', '.join(changed)}; leave --merge out.")
    when_made = {name: earlier[name] for name in ("commit", "date")}
    return {
        compute_type: {side: {**when_made, **row} for side, row in each["sides"].items()}
        for compute_type, each in earlier["compute_types"].items()
    }


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
        "throughput_in_time": [round(run.throughput_in_time, 3) for run in runs],
        "latency_s": _latency(done) if has_requests else None,
        "short_latency_s": _latency([each for each in done if each.clip.is_short]) if has_requests else None,
        "memory": [memory for run in runs if (memory := _memory_row(run)) is not None],
    }


def _latency(answers: Sequence[Answer]) -> dict[str, float] | None:
    seconds = [answer.ended_s - answer.began_s for answer in answers]
    return {name: round(percentile(seconds, share), 2) for name, share in _SHARES.items()} if seconds else None


def _memory_row(run: Run) -> Row | None:
    """Compare memory when all was warm with the end of the time; None if the run was too short."""
    warm, end = memory_around(run, _WARM), memory_around(run, 1.0)
    if not warm or end is None:
        return None
    return {"warm_mb": round(warm / 1e6, 1), "end_mb": round(end / 1e6, 1), "growth": round(end / warm - 1, 4)}


def judge(rows: Mapping[str, Row]) -> list[Row]:
    """Divide our throughput by that of each other side that was measured.

    Of the ways to run the peer, only the fastest that was measured has a target.
    """
    if SERVICE not in rows:
        return []
    throughputs = {side: speed for side, row in rows.items() if (speed := median(row["throughput"]))}
    ours = throughputs.pop(SERVICE, 0.0)
    ways = [side for side in PEER_WAYS if side in throughputs]
    fastest = max(ways, key=lambda side: throughputs[side], default=None)
    found = []
    for side, theirs in throughputs.items():
        required = REQUIRED[PEER] if side == fastest else REQUIRED.get(side) if side not in ways else None
        ratio = ours / theirs
        verdict = "not asked" if required is None else "pass" if ratio >= required else "miss"
        found.append({"against": side, "required": required, "ratio": round(ratio, 3), "verdict": verdict})
    return found


def find_failures(rows: Mapping[str, Row], verdicts: Sequence[Row]) -> list[str]:
    """Return a line for each missed target and each error."""
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
    """Join the conditions of a measurement and its results in each precision to the summary."""
    return {**about, "passes": all(each["passes"] for each in of_types.values()), "compute_types": dict(of_types)}


# The page


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    clips = summary["clips"]
    short = sum(clip["seconds"] < SHORT_S for clip in clips)
    languages = ", ".join(sorted({clip["language"] for clip in clips}))
    sides = {side: row for each in summary["compute_types"].values() for side, row in each["sides"].items()}
    systems = _systems(summary)
    lines = [
        "# The service under load",
        "",
        "This page shows how much audio `whisperlite serve` transcribes per second for many clients at a time, and "
        "how long they wait, compared with `transcribe_many` and with a service around faster-whisper. Made by `make "
        "load`; [all numbers](service.json).",
        "",
        *(f"- *{side}*: {systems[side]}" for side in SIDES if side in sides),
        "",
        f"All have the same weights and options (`{summary['model']}`) and {summary['threads']} threads, and are "
        f"measured one after the other. {_repeats(sides.values())} The machine: {summary['machine']}.",
        "",
        *_left_out({side: text for side, text in systems.items() if side not in sides}),
        f"{short} clips are shorter than {SHORT_S:g} s, in {languages}; {len(clips) - short} are longer, up to "
        f"{max(clip['seconds'] for clip in clips):.0f} s. They are shuffled again and again. Requests that have begun "
        "when the time is over are completed, and the time that this takes counts.",
        "",
        *_verdicts(summary["compute_types"]),
        *(
            line
            for name, each in summary["compute_types"].items()
            for line in _of_one(name, each, seconds=summary["seconds"])
        ),
        *_versions(summary["versions"]),
        _measured(summary),
    ]
    return "\n".join(lines) + "\n"


def _repeats(rows: Iterable[Row]) -> str:
    counts = {len(row["throughput"]) for row in rows}
    if counts == {1}:
        return "Each was measured once, so nothing is known about the spread between runs."
    times = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    return f"Each was measured {times} times: throughputs are medians, with the range over all runs in brackets."


def _measured(summary: Mapping[str, Any]) -> str:
    """Say when each side was measured, in short if all were measured at the same commit."""
    found: dict[str, list[str]] = {}
    for name, each in summary["compute_types"].items():
        for side, row in each["sides"].items():
            found.setdefault(when([{**summary, **row}]), []).append(f"{side} in {name}")
    parts = [moment if len(found) == 1 else f"{moment} ({', '.join(sides)})" for moment, sides in found.items()]
    return f"Measured {'; '.join(parts)}."


def _systems(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return a description of each side."""
    return {
        SERVICE: f"`whisperlite serve` with {summary['clients']} clients over loopback, each of which sends one clip "
        f"after the other for {summary['seconds']:g} s.",
        "transcribe_many": "the loop of `transcribe_many` with `batch_size=8`, over the same clips in the same order, "
        "each in its own language.",
        PEER: "a plain FastAPI service around it, with the same clients: one model, whose endpoint runs on "
        "FastAPI's threads.",
        SPREAD: f"the plain service with `num_workers={summary['threads']}` and `cpu_threads=1`, so that each thread "
        "transcribes a request of its own. With a folder of clips this is faster-whisper's fastest way, *a file on "
        "each thread* in [Speed](speed.md).",
        PASSIVE: "the plain service with `OMP_WAIT_POLICY=PASSIVE`, so that its threads sleep while they wait for each "
        "other.",
    }


def _left_out(systems: Mapping[str, str]) -> list[str]:
    """Return the lines about sides that were not measured, and what that means for the ratios."""
    if not systems:
        return []
    means = "If one of these ways is faster than those that were measured, the ratio to faster-whisper is too high."
    return [
        "Not measured here:",
        "",
        *(f"- *{side}*: {text}" for side, text in systems.items()),
        "",
        *([means, ""] if any(side in PEER_WAYS for side in systems) else []),
    ]


def _of_one(compute_type: str, summary: Mapping[str, Any], *, seconds: float) -> list[str]:
    """Return the section about one precision."""
    return [
        f"## In {compute_type}",
        "",
        *_throughput(summary["sides"], seconds),
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
        "The ratio is the throughput of whisperlite's service divided by that of the other, in the same precision (of "
        "several runs, the medians). What is required against faster-whisper is asked of its fastest way among those "
        "measured:",
        "",
        *("| precision | compared with | required | ratio | result |", "|---|---|---:|---:|---|", *table, ""),
    ]


def _or_none(required: float | None) -> str:
    return "" if required is None else f"{required:g}"


def _throughput(sides: Mapping[str, Row], seconds: float) -> list[str]:
    has_both = any("throughput_in_time" in row for row in sides.values())
    lines = [
        "### Throughput",
        "",
        "*refused*: answers 429 and 503, after which the client sent the request again. *lost*: requests without an "
        "answer. *other texts*: answers whose text is not that of whisperlite's `transcribe` with the clip alone. "
        "*time* ends with the last answer."
        + (f" *in time*: only what was answered within the {seconds:g} s counts." if has_both else ""),
        "",
        "| system | runs | requests | errors | refused | lost | other texts | audio, s | time, s | audio per second |"
        + (" in time |" if has_both else ""),
        f"|---|{'---:|' * (10 if has_both else 9)}",
    ]
    for side, row in sides.items():
        cells = [len(row["throughput"]), row["requests"], sum(row["errors"].values()), row["refused"]]
        cells += [sum(row["lost"].values()), row["different_texts"]]
        cells += [f"{sum(row['audio_s']):.0f}", f"{sum(row['wall_s']):.0f}", _spread(row["throughput"])]
        if has_both:
            cells.append(_spread(row["throughput_in_time"]) if "throughput_in_time" in row else "—")
        lines.append(f"| {side} | {' | '.join(map(str, cells))} |")
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
