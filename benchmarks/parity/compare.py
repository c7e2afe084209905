"""The parity law: one run, both answers → an outcome, or a `Dispute`, which only a network can settle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.parity.matrix import Run
from benchmarks.parity.store import Answer

ROUNDING = 1e-3  # below this difference of scores, the order of summation in float32 decides
MAX_PREVIOUS = 223
LOGPROB_THRESHOLD, COMPRESSION_RATIO_THRESHOLD, NO_SPEECH_THRESHOLD = -1.0, 2.4, 0.6  # the defaults of both sides

Kind = Literal["identical", "tie", "differs"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        detail: where and why the answers differ, if they do.
        windows: how many were compared.
        fell_back: the comparison ended at a window that falls back on both sides.
        clamped: segments that end after the recording in the reference, and with it in ours (correction 9). This is the
            only numbered correction that can occur in these runs, and it changes no token.
        logprob_error, no_speech_error: the largest difference of a window's avg_logprob and no_speech_prob.
        language_error: difference of the detected language's probability.
    """

    run: Run
    kind: Kind
    detail: str
    windows: int = 0
    fell_back: bool = False
    clamped: int = 0
    logprob_error: float = 0.0
    no_speech_error: float = 0.0
    language_error: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.run.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Dispute:
    """A window whose tokens differ."""

    run: Run
    window: int
    theirs: tuple[int, ...]
    ours: tuple[int, ...]


def compare(run: Run, theirs: Answer, ours: Answer) -> Outcome | Dispute:
    """Follow both answers to the first decision that differs."""
    language_error = 0.0
    if ours["language"] != theirs["language"]:
        return Outcome(run, "differs", f"language {ours['language']}, reference {theirs['language']}")
    if theirs["detected"] is not None:
        language_error = abs(ours["detected"]["probability"] - theirs["detected"]["probability"])
        if language_error >= ROUNDING:
            detail = f"language probability off by {language_error:.1e}"
            return Outcome(run, "differs", detail, language_error=language_error)
    for index, (their, our) in enumerate(zip(theirs["windows"], ours["windows"], strict=False)):
        if (our["seek"], our["prompt"]) != (their["seek"], their["prompt"][-MAX_PREVIOUS:]):
            return Outcome(run, "differs", f"window {index}: another place or prompt", index)
        if our["tokens"] != their["tokens"]:
            return Dispute(run, index, tuple(their["tokens"]), tuple(our["tokens"]))
        if our["decision"] != their["decision"]:
            kind: Kind = "tie" if _is_near_threshold(their) else "differs"
            return Outcome(run, kind, f"window {index}: {our['decision']}, reference {their['decision']}", index)
    detail = _compare_ends(theirs, ours)
    windows = list(zip(theirs["windows"], ours["windows"], strict=False))
    return Outcome(
        run,
        "differs" if detail else "identical",
        detail,
        len(windows),
        theirs["fell_back"],
        sum(segment["end"] > ours["duration"] + 0.001 for segment in theirs["segments"]),
        max((abs(a["avg_logprob"] - b["avg_logprob"]) for a, b in windows), default=0.0),
        max((abs(a["no_speech_prob"] - b["no_speech_prob"]) for a, b in windows), default=0.0),
        language_error,
    )


def settle(dispute: Dispute, verdict: dict[str, Any]) -> Outcome:
    """The outcome of a dispute that the reference's network has judged."""
    gap = abs(float(verdict["gap"]))
    detail = f"window {dispute.window}, step {verdict['step']}: {verdict['what']}, apart by {gap:.1e}"
    return Outcome(dispute.run, "tie" if gap < ROUNDING else "differs", detail, dispute.window)


def _is_near_threshold(window: dict[str, Any]) -> bool:
    """Whether one of the reference's own values lies on its threshold; the compression ratio is exact."""
    logprob, no_speech = window["avg_logprob"] - LOGPROB_THRESHOLD, window["no_speech_prob"] - NO_SPEECH_THRESHOLD
    return bool(min(abs(logprob), abs(no_speech)) < ROUNDING)


def _compare_ends(theirs: Answer, ours: Answer) -> str:
    """Describe how segments differ although all windows agree; "" if they do not. Ours end with the recording."""
    if len(theirs["windows"]) != len(ours["windows"]) or theirs["fell_back"] != ours["fell_back"]:
        return f"{len(ours['windows'])} windows, reference {len(theirs['windows'])}"
    if len(theirs["segments"]) != len(ours["segments"]):
        return f"{len(ours['segments'])} segments, reference {len(theirs['segments'])}"
    for index, (their, our) in enumerate(zip(theirs["segments"], ours["segments"], strict=True)):
        if (their["text"], their["tokens"], their["seek"]) != (our["text"], our["tokens"], our["seek"]):
            return f"segment {index}: another text"
        for name in ("start", "end"):
            if abs(min(their[name], ours["duration"]) - our[name]) > 0.001:
                return f"segment {index}: its {name} is {our[name]}, reference {their[name]:.3f}"
    return ""
