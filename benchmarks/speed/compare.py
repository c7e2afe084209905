"""A setting's sides in turn on the same recordings: times, tokens and errors of each pair of us and a peer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

from benchmarks.speed.processes import Reply, Workers
from benchmarks.speed.recordings import Chosen, Subject
from benchmarks.speed.settings import Claim, Setting, Side
from benchmarks.word_errors import WordErrors

CountErrors = Callable[[Sequence[dict[str, str]]], list[WordErrors]]
Row = dict[str, Any]
"""What a pair did with one subject."""

LANGUAGE = "en"


def subjects_of(setting: Setting, chosen: Chosen, *, long: bool) -> list[Subject]:
    """Return what is transcribed in a setting; empty if that needs an evaluation folder and there is none."""
    if setting.way == "folder":
        return [chosen.folder] if chosen.folder else []
    if setting.way == "chunks":
        return [chosen.long] if chosen.long else []
    return [*chosen.single, *([chosen.long] if long and chosen.long else [])]


def measure(
    setting: Setting,
    peers: Sequence[Side],
    subjects: Sequence[Subject],
    warm_up: Subject,
    workers: Workers,
    repeats: int,
) -> dict[Side, list[list[Reply]]]:
    """Time all sides in turn, starting each round with another.

    Returns side → for each subject → the reply of each round.

    Args:
        warm_up: what every side transcribes first; of a folder, one batch of files.
    """
    sides = [setting.ours, *peers]
    request = setting.request(warm_up.files, LANGUAGE)
    for side in sides:
        workers.ask(side, replace(request, files=request.files[: request.batch_size]))
    replies: dict[Side, list[list[Reply]]] = {side: [[] for _ in subjects] for side in sides}
    for number, subject in enumerate(subjects):
        request = setting.request(subject.files, LANGUAGE)
        for turn in range(repeats):
            first = (number + turn) % len(sides)
            for side in sides[first:] + sides[:first]:
                reply = workers.ask(side, request)
                replies[side][number].append(reply)
                print(f"{setting.name}  {subject.name}  {side.name}  {reply['seconds']:.2f} s", file=sys.stderr)
    return replies


def pair(
    setting: Setting, replies: dict[Side, list[list[Reply]]], subjects: Sequence[Subject], count_errors: CountErrors
) -> dict[str, list[Row]]:
    """Return the name of each peer → a row for each subject."""
    errors = _errors(replies, replies[setting.ours], subjects, count_errors)
    found: dict[str, list[Row]] = {}
    for side in replies:
        for number, subject in enumerate(subjects):
            mine, theirs = replies[setting.ours][number], replies[side][number]
            same = mine[0]["tokens"] == theirs[0]["tokens"] if any(theirs[0]["tokens"]) else None
            row: Row = {"subject": subject.name, "audio_s": round(subject.seconds, 3), "same_tokens": same}
            row["ours_s"] = [round(reply["seconds"], 4) for reply in mine]
            row["peer_s"] = [round(reply["seconds"], 4) for reply in theirs]
            words, wrong, different = errors[side][number]
            row |= {"words": words, "ours_wrong": errors[setting.ours][number][1]}
            found.setdefault(side.name, []).append(row | {"peer_wrong": wrong, "different": different})
    del found[setting.ours.name]
    return found


def _errors(
    replies: dict[Side, list[list[Reply]]],
    ours: list[list[Reply]],
    subjects: Sequence[Subject],
    count_errors: CountErrors,
) -> dict[Side, list[tuple[int, int, int]]]:
    """Return side → for each subject: words of the truth, wrong words, and words that differ from whisperlite's."""
    lines: list[dict[str, str]] = []
    for theirs in replies.values():
        for subject, mine, other in zip(subjects, ours, theirs, strict=True):
            truths = [recording.truth for recording in subject.recordings]
            for expected in (truths, mine[0]["texts"]):
                pairs = zip(expected, other[0]["texts"], strict=True)
                lines += [{"lang": LANGUAGE, "truth": truth, "text": text} for truth, text in pairs]
    counted = iter(count_errors(lines))
    found: dict[Side, list[tuple[int, int, int]]] = {}
    for side in replies:
        for subject in subjects:
            against_truth, against_ours = (list(islice(counted, len(subject.recordings))) for _ in range(2))
            wrong, different = (sum(each.errors for each in part) for part in (against_truth, against_ours))
            found.setdefault(side, []).append((sum(each.length for each in against_truth), wrong, different))
    return found


# What follows from the rows


def ratio(row: Row) -> float:
    """Divide the peer's median time by ours."""
    return float(median(row["peer_s"]) / median(row["ours_s"]))


def ratio_of(rows: Sequence[Row], *, same_tokens: bool) -> float | None:
    """Return the median ratio over the recordings, or over those with the same tokens; None if there are none."""
    ratios = [ratio(row) for row in rows if row["same_tokens"] or not same_tokens]
    return median(ratios) if ratios else None


def fastest(peers: dict[str, list[Row]], sides: Sequence[Side]) -> str | None:
    """Return the name of the side that took the least time over all recordings; None if none was measured."""
    measured = [side.name for side in sides if side.name in peers]
    return min(measured, key=lambda name: sum(median(row["peer_s"]) for row in peers[name]), default=None)


def judge(claim: Claim, peers: dict[str, list[Row]]) -> Row | None:
    """Return the verdict on a claim about times; None if none of its sides was measured."""
    name = fastest(peers, claim.sides)
    if name is None:
        return None
    return verdict(claim, name, ratio_of(peers[name], same_tokens=claim.same_tokens))


def verdict(claim: Claim, side: str, found: float | None) -> Row:
    said = "miss" if found is None or found < claim.required else "goal" if found >= claim.goal else "pass"
    return {
        "setting": claim.setting,
        "peer": claim.label,
        "side": side,
        "required": claim.required,
        "goal": claim.goal,
        "ratio": found,
        "verdict": said,
    }
