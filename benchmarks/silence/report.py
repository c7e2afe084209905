"""Answers → one row for each library and setting, the verdict on them, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from benchmarks.peers.desk import version_of
from benchmarks.peers.requests import BEST_OF, HALLUCINATION_SILENCE_S, LIBRARIES, Library
from benchmarks.provenance import describe_provenance
from benchmarks.silence.clips import LANGUAGES, LONGEST_SOUND_S, SHORT_CLIPS, SOUNDS, Clip
from benchmarks.word_errors import WordErrors

Row = dict[str, Any]
COUNTED = (*SOUNDS, "made up", "inserted", "hallucinated", "lost", "substituted")
COMPARED = (*SOUNDS, "made up", "inserted", "hallucinated", "lost")
ALLOWED_LOSS = 0.002  # more words lost with voice activity detection, as a share of all words

_TITLES = {"made up": "no speech"}  # of columns that have another name on the page


@dataclass(frozen=True, slots=True)
class Counted:
    """The counted errors of one answer."""

    library: Library
    setting: str
    clip: Clip
    seed: int
    errors: WordErrors


def summarise(
    counted: Sequence[Counted], seconds: Mapping[tuple[Library, str], float], same_texts: Sequence[bool], seeds: int
) -> dict[str, Any]:
    """Return the rows and the missed targets.

    Args:
        counted: a clip with several seeds counts once, with the average of its errors.
        seconds: (library, setting) → the time that its answers with the first seed took.
        same_texts: for each answer that openai-whisper sampled, whether whisperlite's text with that seed is the same.
        seeds: how many seeds a sampled answer has at most.
    """
    groups: dict[tuple[Library, str], dict[str, list[Counted]]] = {}
    for each in counted:
        groups.setdefault((each.library, each.setting), {}).setdefault(each.clip.file, []).append(each)
    rows = [
        {"library": library, "setting": setting, **_row(clips), "seconds": round(seconds[library, setting], 1)}
        for (library, setting), clips in groups.items()
    ]
    failures = find_failures(rows)
    return {
        "model": "base, float32, greedy",
        "seeds": seeds,
        "versions": {library: version_of(library) for library in LIBRARIES if library != "whisperlite"},
        "passes": not failures,
        "failures": failures,
        "answers": len(same_texts),
        "same_texts": sum(same_texts),
        "rows": rows,
    }


def _row(clips: Mapping[str, Sequence[Counted]]) -> Row:
    row: Row = dict.fromkeys((*COUNTED, "words", "clips", "sampled"), 0)
    for repeats in clips.values():
        clip = repeats[0].clip
        row["clips"] += 1
        row["sampled"] += len(repeats) > 1
        made_up = mean(each.errors.inserted for each in repeats)
        if clip.group in SOUNDS:
            row[clip.group] += made_up
            row["made up"] += made_up
        else:
            row["inserted"] += made_up
            row["lost"] += mean(each.errors.lost for each in repeats)
            row["substituted"] += mean(each.errors.substituted for each in repeats)
            row["words"] += repeats[0].errors.length
    row["hallucinated"] = row["made up"] + row["inserted"]
    return {name: round(value, 2) for name, value in row.items()}


def find_failures(rows: Sequence[Row]) -> list[str]:
    """Return a line for each missed target."""
    by_name = {(row["library"], row["setting"]): row for row in rows}
    ours = {setting: row for (library, setting), row in by_name.items() if library == "whisperlite"}
    failures = []
    for setting, row in ours.items():
        theirs = by_name.get(("openai-whisper", setting))
        if theirs is not None:
            failures += [
                f"{setting}: {_TITLES.get(column, column)} {row[column]:g}, openai-whisper {theirs[column]:g}"
                for column in COMPARED
                if row[column] > theirs[column]
            ]
    for setting in (name for name in ours if name.startswith("vad")):
        best = min(row["made up"] for row in rows)
        if ours[setting]["made up"] > best:
            found = ours[setting]["made up"]
            failures.append(f"{setting}: {found:g} words where nobody speaks, the best of all {best:g}")
        without = ours.get("thresholds")
        if without and ours[setting]["lost"] > without["lost"] + ALLOWED_LOSS * without["words"]:
            failures.append(f"{setting}: {ours[setting]['lost']:g} words lost, {without['lost']:g} with thresholds")
    return failures


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    versions = " and ".join(f"{library} {version}" for library, version in summary["versions"].items())
    words = max(row["words"] for row in summary["rows"])
    lines = [
        "# Silence",
        "",
        "This page shows how many words each library writes where nobody speaks, and how many words it loses where "
        "somebody does. Fewer is better in every column except *sampled*. Made by `make silence`; "
        "[all numbers](silence.json).",
        "",
        f"whisperlite, {versions} transcribe the same samples with the same weights (`{summary['model']}`), with the "
        f"language given and `best_of={BEST_OF}` where they sample. The settings:",
        "",
        "- *plain*: temperature 0, without thresholds.",
        "- *thresholds*: the defaults, that is, with the three thresholds and fallback to higher temperatures.",
        "- *vad*: the same, with voice activity detection: each library's own, with its defaults. openai-whisper has "
        "none.",
        f"- *vad+hallucination*: the same as *vad*, with word timestamps and "
        f"`hallucination_silence_threshold={HALLUCINATION_SILENCE_S}`.",
        "",
        "The columns:",
        "",
        "- *silence*, *noise*, *tones* and *music*: words written for recordings without speech, of which the first "
        f"{LONGEST_SOUND_S:.0f} s are used. *no speech* is their sum.",
        f"- *inserted*, *lost* and *substituted*: errors in {words} words of speech, found by comparison with the true "
        "text after Whisper's normaliser. The speech consists of long recordings, some with long pauses, of recordings "
        f"in noise, and of up to {SHORT_CLIPS} short recordings in each of {', '.join(LANGUAGES)}.",
        "- *hallucinated*: *no speech* plus *inserted*.",
        "- *sampled*: recordings in which a window fell back to a temperature above 0, so that words were drawn at "
        f"random. Their errors are averages over up to {summary['seeds']} seeds.",
        "",
        "| library | setting | silence | noise | tones | music | **no speech** | inserted | **hallucinated** | "
        "**lost** | substituted | sampled |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        cells = [f"{row[name]:g}" for name in (*COUNTED, "sampled")]
        lines.append(f"| {row['library']} | {row['setting']} | {' | '.join(cells)} |")
    lines += [
        "",
        "Target: whisperlite has no more words than openai-whisper in any of the columns from *silence* to *lost*. "
        "With voice activity detection it writes no more words where nobody speaks than any other row, and loses at "
        f"most {100 * ALLOWED_LOSS:g} % of the words more than with *thresholds*. "
        f"{'Missed: ' + '; '.join(summary['failures']) if summary['failures'] else 'The target is met'}.",
        "",
        "Where openai-whisper samples, the benchmark gives it whisperlite's random numbers, so that the two do not "
        f"differ by chance; faster-whisper draws its own. Of the {summary['answers']} answers for which openai-whisper "
        f"sampled, whisperlite's text is the same in {summary['same_texts']}. If all attempts at a window fail, "
        "openai-whisper keeps the last one, and whisperlite the most probable one that does not repeat itself, or the "
        "one that does so least, so for a single kind of sound either can have more words.",
    ]
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"
