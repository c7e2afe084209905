"""Outcomes → a table for people and a JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.matrix import REFERENCE_VERSION
from benchmarks.provenance import describe_provenance, provenance
from benchmarks.words.compare import ALLOWED_PROBABILITY, ALLOWED_S, Compared, Outcome
from benchmarks.words.matrix import LONG_S

REQUIRED = 0.99  # of the words that no reason explains

REASONS = {
    "9": "the reference's time is impossible: after the end of the recording, outside its segment, out of order, or "
    "cutting off words of its segment; whisperlite has the nearest possible time",
    "12": "attention weights that are not finite numbers count as 0",
    "13": "after a pause, a long second word is shortened to half of its duration, not of its end time",
    "24": "the reference's next window begins where the current one did, so that it would never end; whisperlite's "
    "moves on",
    "float32-dtw": "the reference adds up the costs of its paths in float32; in float64 its path is whisperlite's",
}


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count words and segments, in all and by model and setting, and list every defect."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(f"{outcome.run.model} {outcome.run.setting}", []).append(outcome)
    return {
        "reference": f"openai-whisper {REFERENCE_VERSION}",
        **provenance(threads=1),
        "recordings": len({outcome.run.clip.sha256 for outcome in outcomes}),
        "settings": {name: _counts(group) for name, group in sorted(groups.items())},
        "all": _counts(outcomes),
        "tokens_by_code": [
            {"run": outcome.run.name, "code": outcome.tokens_code} for outcome in outcomes if outcome.tokens_code
        ],
        "defects": [defect for outcome in outcomes for defect in _defects(outcome)],
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    words = [word for outcome in outcomes for word in outcome.words]
    segments = [segment for outcome in outcomes for segment in outcome.segments]
    return {
        "runs": len(outcomes),
        "same_tokens": sum(not outcome.tokens_code and not outcome.tokens_defect for outcome in outcomes),
        "tokens_explained": sum(bool(outcome.tokens_code) for outcome in outcomes),
        "tokens_defects": sum(bool(outcome.tokens_defect) for outcome in outcomes),
        "words": _counts_of(words),
        "words_left_out": sum(outcome.left_out for outcome in outcomes),
        "segments": _counts_of(segments),
        "probability_error": max((outcome.probability_error for outcome in outcomes), default=0.0),
    }


def _counts_of(spans: Sequence[Compared]) -> dict[str, Any]:
    codes = [span.code for span in spans]
    times = [time for span in spans for time in (span.start, span.end)]
    return {
        "count": len(spans),
        "starts_within": sum(span.start.difference <= ALLOWED_S + 1e-6 for span in spans),
        "ends_within": sum(span.end.difference <= ALLOWED_S + 1e-6 for span in spans),
        "same": sum(max(span.start.difference, span.end.difference) < 0.001 for span in spans),
        "equal": codes.count(""),
        "explained": dict(sorted(Counter(code for code in codes if code).items())),
        "defects": codes.count(None),
        "worst_s": round(max((time.difference for time in times), default=0.0), 3),
        "worst_defect_s": round(max((time.difference for time in times if time.code is None), default=0.0), 3),
    }


def _defects(outcome: Outcome) -> Iterator[dict[str, Any]]:
    if outcome.tokens_defect:
        yield {"run": outcome.run.name, "what": "tokens", "detail": outcome.tokens_defect}
    for what, spans in (("word", outcome.words), ("segment", outcome.segments)):
        for index, span in enumerate(spans):
            if span.code is None:
                ours, theirs = (
                    f"{span.start.ours:.2f} to {span.end.ours:.2f}",
                    f"{span.start.theirs:.2f} to {span.end.theirs:.2f}",
                )
                detail = f"{index}, “{span.text.strip()}”: {ours} s, reference {theirs} s"
                yield {"run": outcome.run.name, "what": what, "detail": detail}
    if outcome.probability_error > ALLOWED_PROBABILITY:
        detail = f"a word's is off by {outcome.probability_error:.1e}"
        yield {"run": outcome.run.name, "what": "probability", "detail": detail}


def passes(summary: dict[str, Any]) -> bool:
    """Whether every setting has tokens, probabilities and enough times that agree, except where a reason is known."""
    return bool(summary["settings"]) and all(
        not each["tokens_defects"]
        and each["probability_error"] <= ALLOWED_PROBABILITY
        and all(_share(each[what]) >= REQUIRED for what in ("words", "segments"))
        for each in summary["settings"].values()
    )


def _share(counts: dict[str, Any]) -> float:
    """Return the share of equal spans among those that no reason explains."""
    judged = counts["equal"] + counts["defects"]
    return counts["equal"] / judged if judged else 1.0


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    total = summary["all"]
    words = total["words"]
    verdict = "met" if passes(summary) else "**not met**"
    lines = [
        "# Word timestamps against openai-whisper",
        "",
        "This page shows how many words have the same times as in openai-whisper, and why the others differ. Made by "
        "`make words`; [all numbers](words.json).",
        "",
        f"{total['runs']} runs over {summary['recordings']} recordings, with and without speech, are compared with "
        f"{summary['reference']}, with `word_timestamps=True`, in float32 on the same weights, samples and alignment "
        "heads: greedy, with the language given, at temperature 0 only.",
        "",
        f"- In {total['same_tokens']} runs the tokens are the same. In {total['tokens_explained']} they differ for one "
        f"of the reasons below, and in {total['tokens_defects']} for no known reason.",
        f"- Of {words['count']} words, {words['same']} have the same start and end, and {words['equal']} the same "
        f"within {ALLOWED_S} s. {sum(words['explained'].values())} differ for one of the reasons below, and "
        f"{words['defects']} for no known reason.",
        f"- Apart from words with a reason, **{100 * _share(words):.2f} %** are equal within {ALLOWED_S} s.",
        f"- Probabilities of words differ by {total['probability_error']:.1e} at most.",
        "",
        "Target, in every setting: no run has other tokens without a reason; apart from those with a reason, at least "
        f"{REQUIRED:.0%} of the words and of the segments are equal; probabilities differ by "
        f"{ALLOWED_PROBABILITY:g} at most. The target is {verdict}.",
        "",
        "*silence-threshold* is with `hallucination_silence_threshold=2.0`, on recordings longer than "
        f"{LONG_S:.0f} s and on those without speech. Which segments are kept is part of the comparison of tokens.",
        "",
        "| model and setting | runs | same tokens | other tokens, with a reason | other tokens, without |",
        "|---|---:|---:|---:|---:|",
    ]
    rows = [*summary["settings"].items(), ("**all**", total)]
    for name, each in rows:
        counts = " | ".join(str(each[key]) for key in ("runs", "same_tokens", "tokens_explained", "tokens_defects"))
        lines.append(f"| {name} | {counts} |")
    for what in ("words", "segments"):
        lines += [
            "",
            f"| {what} of | compared | starts within {ALLOWED_S} s | ends within {ALLOWED_S} s | "
            "differ, with a reason | differ, without | largest of these |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *(f"| {name} | {_as_cells(each[what])} |" for name, each in rows),
        ]
    lines += ["", *_as_reasons(summary)]
    if summary["tokens_by_code"]:
        lines += ["", "| run with other tokens | reason |", "|---|---|"]
        lines += [f"| {each['run']} | {each['code']} |" for each in summary["tokens_by_code"]]
    if summary["defects"]:
        lines += ["", "| differs without a reason | what | where |", "|---|---|---|"]
        lines += [f"| {each['run']} | {each['what']} | {each['detail']} |" for each in summary["defects"]]
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


def _as_cells(counts: dict[str, Any]) -> str:
    shares = [f"{100 * counts[key] / max(counts['count'], 1):.2f} %" for key in ("starts_within", "ends_within")]
    worst = f"{counts['worst_defect_s']:.2f} s" if counts["defects"] else ""
    cells = [counts["count"], *shares, sum(counts["explained"].values()), counts["defects"], worst]
    return " | ".join(map(str, cells))


def _as_reasons(summary: dict[str, Any]) -> Iterator[str]:
    yield (
        "Reasons are computed, not judged by hand. The reference runs again with some of its errors corrected; if "
        "that gives whisperlite's times or tokens, those errors are the reason. Where a time of the reference is "
        "impossible, such as one after the end of the recording, that is the reason if whisperlite has the nearest "
        "possible time. Numbers are those of the [list of "
        "corrections](../design.md#the-reference-and-where-we-differ)."
    )
    explained = [summary["all"][what]["explained"] for what in ("words", "segments")]
    runs = Counter(each["code"] for each in summary["tokens_by_code"])
    yield ""
    yield "| reason | words | segments | runs with other tokens | meaning |"
    yield "|---|---:|---:|---:|---|"
    for code in sorted({*explained[0], *explained[1], *runs}):
        meaning = "; ".join(REASONS[name] for name in code.split("+"))
        counts = " | ".join(str(each.get(code, 0)) for each in (*explained, runs))
        yield f"| {code} | {counts} | {meaning} |"


def write(summary: dict[str, Any], folder: Path) -> None:
    """Write `words.md` and `words.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.md").write_text(as_markdown(summary), encoding="utf-8")
    (folder / "words.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
