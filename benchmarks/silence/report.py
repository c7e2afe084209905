"""Answers → one row for each library and setting, the verdict on them, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from benchmarks.peers.desk import version_of
from benchmarks.peers.requests import BEST_OF, HALLUCINATION_SILENCE_S, LIBRARIES, Library
from benchmarks.silence.clips import LANGUAGES, LONGEST_SOUND_S, SHORT_CLIPS, SOUNDS, Clip
from benchmarks.word_errors import WordErrors

Row = dict[str, Any]
COUNTED = (*SOUNDS, "made up", "inserted", "hallucinated", "lost", "substituted")
COMPARED = (*SOUNDS, "made up", "inserted", "hallucinated", "lost")
ALLOWED_LOSS = 0.002  # of the words, by voice activity detection


@dataclass(frozen=True, slots=True)
class Counted:
    """One answer, its errors counted."""

    library: Library
    setting: str
    clip: Clip
    seed: int
    errors: WordErrors


def summarise(
    counted: Sequence[Counted], seconds: Mapping[tuple[Library, str], float], same_texts: Sequence[bool], seeds: int
) -> dict[str, Any]:
    """Rows, and what fails.

    Args:
        counted: a clip with several seeds counts once, with the average of its errors.
        seconds: (library, setting) → time that its first seed took.
        same_texts: of each answer for which openai-whisper sampled, whether ours with its seed is the same text.
        seeds: of an answer that was sampled, at most.
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
    """What is not as it should be, a line each."""
    by_name = {(row["library"], row["setting"]): row for row in rows}
    ours = {setting: row for (library, setting), row in by_name.items() if library == "whisperlite"}
    failures = []
    for setting, row in ours.items():
        theirs = by_name.get(("openai-whisper", setting))
        if theirs is not None:
            failures += [
                f"{setting}: {column} {row[column]:g}, openai-whisper {theirs[column]:g}"
                for column in COMPARED
                if row[column] > theirs[column]
            ]
    for setting in (name for name in ours if name.startswith("vad")):
        best = min(row["made up"] for row in rows)
        if ours[setting]["made up"] > best:
            failures.append(f"{setting}: {ours[setting]['made up']:g} words made up, the best of all {best:g}")
        without = ours.get("thresholds")
        if without and ours[setting]["lost"] > without["lost"] + ALLOWED_LOSS * without["words"]:
            failures.append(f"{setting}: {ours[setting]['lost']:g} words lost, without {without['lost']:g}")
    return failures


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    versions = " and ".join(f"{library} {version}" for library, version in summary["versions"].items())
    words = max(row["words"] for row in summary["rows"])
    lines = [
        "# Silence",
        "",
        "Words that are written where nobody speaks, and words that are lost where somebody does: whisperlite, "
        f"{versions} with the same weights on the same samples (`{summary['model']}`, best of {BEST_OF} where sampled, "
        "language given). Made by `make silence`.",
        "",
        "*Made up*: words in recordings without speech, silence, noise, tones and music, of which the first "
        f"{LONGEST_SOUND_S:.0f} s are taken; the right transcript is empty. *Inserted*, *lost* and *substituted*: "
        f"insertions, deletions and substitutions against the true text in {words} words of speech: long recordings, "
        f"some with long pauses, recordings in noise, and up to {SHORT_CLIPS} short ones in each of "
        f"{', '.join(LANGUAGES)}. Whisper's own normaliser. *Hallucinated*: made up or inserted. Ours may have no more "
        "words than openai-whisper in any column but *substituted*.",
        "",
        "*plain*: temperature 0, no threshold. *thresholds*: the three thresholds and the ladder of temperatures, the "
        "defaults. *vad*: with voice activity detection, each library's own with its defaults; openai-whisper has "
        "none. *vad+hallucination*: with word timestamps and "
        f"`hallucination_silence_threshold={HALLUCINATION_SILENCE_S}` too.",
        "",
        "Where a window falls back to a temperature above 0, words are drawn, by openai-whisper from whisperlite's "
        f"random numbers (the benchmark hands them over), by faster-whisper from its own. *Sampled* are the recordings "
        f"whose words are averages over up to {summary['seeds']} seeds. Of the {summary['answers']} answers for which "
        f"openai-whisper sampled, ours is the same text in {summary['same_texts']}. Where every temperature fails, it "
        "keeps the last attempt and whisperlite the most probable one, so in a single kind of sound either may have "
        f"more words. What is not as it should be: {'; '.join(summary['failures']) or 'nothing'}.",
        "",
        "| library | setting | silence | noise | tones | music | **made up** | inserted | **hallucinated** | **lost** "
        "| substituted | sampled |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        cells = [f"{row[name]:g}" for name in (*COUNTED, "sampled")]
        lines.append(f"| {row['library']} | {row['setting']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
