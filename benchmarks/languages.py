"""Recordings that switch language: is each segment in the language that is spoken? `python -m benchmarks.languages`.

FLEURS clips of several languages are joined with 2 s between them. Exit status 1 if a segment of whisperlite with
`multilingual=True` names another language than that of the utterance it overlaps most, where the model itself detects
that language when it is given the utterance alone and the segment alone, or if too many do in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

import whisperlite
from benchmarks.joined import Utterance, join, overlap
from benchmarks.parity.store import Answer, read_lines
from benchmarks.peers.command import parser_of, publish
from benchmarks.peers.desk import Desk, version_of
from benchmarks.peers.requests import SAMPLING_RATE, Library, Recording, Request, Setting, read_wave
from benchmarks.provenance import describe_provenance, provenance
from benchmarks.word_errors import WordErrors

RECORDINGS = 6
CLIPS = (6, 10)  # in each recording, at least and at most
GAP_S = 2.0
SEED = 0
LEAST_RIGHT = 0.95  # of all segments of a setting that overlap an utterance

MULTILINGUAL, ONE_LANGUAGE = Setting(multilingual=True), Setting()
SETTINGS = {
    "multilingual": MULTILINGUAL,
    "multilingual, vad": Setting(multilingual=True, vad=True),
    "one language": ONE_LANGUAGE,
}
NAMES = {setting: name for name, setting in SETTINGS.items()}
COUNTS = ("segments", "right", "all_segments", "all_right")
LIBRARIES: tuple[Library, ...] = ("whisperlite", "faster-whisper")


@dataclass(frozen=True, slots=True)
class Medley:
    """A recording in several languages.

    Attributes:
        detected: for each utterance, the language that the model detects in it alone.
    """

    name: str
    recording: Recording
    utterances: tuple[Utterance, ...]
    detected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The language of one segment.

    Attributes:
        utterance: the one that it overlaps most.
        language: the one that it names.
        detected: the language that the model detects in the utterance alone.
        heard: the language that the model detects in the segment alone.
    """

    utterance: Utterance
    language: str | None
    detected: str
    heard: str
    start: float

    @property
    def is_detected(self) -> bool:
        """Whether the model detects the right language in both the utterance and the segment alone."""
        return self.detected == self.heard == self.utterance.lang

    @property
    def is_right(self) -> bool:
        return self.language == self.utterance.lang


def main() -> None:
    arguments = parser_of("languages", __doc__, LIBRARIES).parse_args()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    torch.set_num_threads(arguments.threads)
    desk = Desk(arguments.cache, arguments.threads)
    desk.prepare()
    medleys = find_medleys(arguments.eval, desk)
    requests = [
        Request(library, medley.recording, None, setting)
        for library in arguments.library or LIBRARIES
        for setting in SETTINGS.values()
        for medley in medleys
    ]
    requests = desk.answer(requests, cached=arguments.cached)
    summary = summarise(desk, medleys, requests) | provenance(threads=arguments.threads)
    page = as_markdown(summary)
    print(page)
    print("\n".join(summary["failures"]))
    publish("languages", summary, page, arguments.out)


def find_medleys(folder: Path, desk: Desk) -> list[Medley]:
    """Join recordings from the FLEURS clips of the folder, the same ones each time."""
    lines = [line for line in read_lines(folder / "manifest.jsonl") if "/fleurs/" in line["file"]]
    samples = {line["file"]: whisperlite.load_audio(folder / line["file"]) for line in lines}
    detected = {name: load_base().detect_language(each).language for name, each in samples.items()}
    random = np.random.default_rng(SEED)
    gap = np.zeros(round(GAP_S * SAMPLING_RATE), dtype=np.float32)
    medleys = []
    for number in range(RECORDINGS):
        chosen = choose_switching(lines, int(random.integers(CLIPS[0], CLIPS[1] + 1)), random)
        clips = [(samples[line["file"]], line["text"], line["lang"]) for line in chosen]
        joined, utterances = join(clips, [gap] * (len(clips) - 1))
        name = f"{number + 1}: {' '.join(line['lang'] for line in chosen)}"
        recording = desk.record(f"languages--{number + 1}", joined)
        medleys.append(Medley(name, recording, tuple(utterances), tuple(detected[line["file"]] for line in chosen)))
    return medleys


def choose_switching(lines: Sequence[dict[str, Any]], size: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """Choose different clips, each in another language than the one before it."""
    chosen: list[dict[str, Any]] = []
    while len(chosen) < size:
        before = chosen[-1]["lang"] if chosen else ""
        free = [line for line in lines if line not in chosen and line["lang"] != before]
        chosen.append(free[int(random.integers(len(free)))])
    return chosen


@cache
def detect(recording: Recording, start: float, end: float) -> str:
    """Return the language that the model detects in a part of a recording, given in seconds."""
    samples = read_wave(recording.path)[round(start * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
    return load_base().detect_language(samples).language


@cache
def load_base() -> whisperlite.Whisper:
    return whisperlite.load_model("base", device="cpu", compute_type="float32")


def judge_languages(medley: Medley, answer: Answer) -> list[Verdict]:
    """Return a verdict on every segment that has text and overlaps an utterance."""
    verdicts = []
    for segment in answer["segments"]:
        shared = [overlap(segment["start"], segment["end"], utterance) for utterance in medley.utterances]
        most = int(np.argmax(shared))
        if segment["text"].strip() and shared[most] > 0:
            utterance, detected = medley.utterances[most], medley.detected[most]
            heard = detect(medley.recording, segment["start"], segment["end"])
            verdicts.append(Verdict(utterance, segment["language"], detected, heard, segment["start"]))
    return verdicts


def count_outside(medley: Medley, answer: Answer) -> int:
    """Count the segments that have text but overlap no utterance, so that no language is right for them."""
    return sum(
        bool(segment["text"].strip())
        and all(overlap(segment["start"], segment["end"], utterance) <= 0 for utterance in medley.utterances)
        for segment in answer["segments"]
    )


def summarise(desk: Desk, medleys: Sequence[Medley], requests: Sequence[Request]) -> dict[str, Any]:
    """Make a row for each library, setting and recording, averaged over the seeds."""
    by_recording = {medley.recording.sha256: medley for medley in medleys}
    lines = []
    for request in requests:
        truth = " ".join(utterance.text for utterance in by_recording[request.recording.sha256].utterances)
        text = " ".join(segment["text"] for segment in _found(desk, request)["segments"])
        lines.append({"lang": "mixed", "truth": truth, "text": text})
    errors = dict(zip(requests, desk.count_errors(lines), strict=True))
    rows, failures = [], []
    for request in (each for each in requests if each.seed == 0):
        medley = by_recording[request.recording.sha256]
        repeats = [each for each in requests if _same(each, request)]
        row = {"library": request.library, "setting": NAMES[request.setting], "recording": medley.name}
        verdicts = [verdict for each in repeats for verdict in judge_languages(medley, _found(desk, each))]
        outside = mean(count_outside(medley, _found(desk, each)) for each in repeats)
        rows.append({**row, **_row(desk, repeats, verdicts, errors), "outside": round(outside, 1)})
        if request.library == "whisperlite" and request.setting.multilingual:
            failures += [
                f"{row['setting']}, {medley.name}: at {each.start:.2f} s {each.language} in place of "
                f"{each.utterance.lang}, {each.utterance.text[:40]!r}"
                for each in verdicts
                if each.is_detected and not each.is_right
            ]
    for setting in (name for name in SETTINGS if SETTINGS[name].multilingual):
        ours = [row for row in rows if (row["library"], row["setting"]) == ("whisperlite", setting)]
        right, segments = (sum(row[name] for row in ours) for name in ("all_right", "all_segments"))
        if ours and right < LEAST_RIGHT * segments + (segments == 0):
            failures.append(f"{setting}: {right:g} of {segments:g} segments are right")
    alone = {(utterance.text, detected) for medley in medleys for utterance, detected in _pairs(medley)}
    missed = {text for medley in medleys for text, lang in _missed(medley)}
    return {
        "model": "base, float32, greedy",
        "versions": {
            library: version_of(library)
            for library in dict.fromkeys(request.library for request in requests)
            if library != "whisperlite"
        },
        "minutes": round(sum(medley.recording.seconds for medley in medleys) / 60, 1),
        "utterances": len(alone),
        "not_detected_alone": len(missed),
        "passes": not failures,
        "failures": failures,
        "rows": rows,
    }


def _row(
    desk: Desk, repeats: Sequence[Request], verdicts: Sequence[Verdict], errors: dict[Request, WordErrors]
) -> dict[str, Any]:
    counted = [verdict for verdict in verdicts if verdict.is_detected]
    length = errors[repeats[0]].length
    return {
        "segments": round(len(counted) / len(repeats), 1),
        "right": round(sum(verdict.is_right for verdict in counted) / len(repeats), 1),
        "all_segments": round(len(verdicts) / len(repeats), 1),
        "all_right": round(sum(verdict.is_right for verdict in verdicts) / len(repeats), 1),
        "words": length,
        "wrong_words": round(mean(errors[each].errors for each in repeats), 2),
        "lost_words": round(mean(errors[each].lost for each in repeats), 2),
        "seconds": round(desk.seconds(repeats), 1),
    }


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    libraries = ["whisperlite", *(f"{library} {version}" for library, version in summary["versions"].items())]
    measured = [name for name in LIBRARIES if any(row["library"] == name for row in summary["rows"])]
    alone = summary["utterances"] - summary["not_detected_alone"]
    lines = [
        "# Changes of language",
        "",
        "This page shows how many segments name the language that is spoken, and how many words are wrong, in "
        "recordings that switch language. Made by `make languages`; [all numbers](languages.json).",
        "",
        f"The {RECORDINGS} recordings ({summary['minutes']:.0f} minutes in all) have {CLIPS[0]} to {CLIPS[1]} "
        f"utterances with {GAP_S:.0f} s between them, each in another language than the one before. "
        f"{' and '.join(libraries)} transcribe{'s' if len(libraries) == 1 else ''} the same samples with the same "
        f"weights (`{summary['model']}`). "
        "The settings:",
        "",
        "- *multilingual*: `multilingual=True`.",
        "- *multilingual, vad*: the same, with voice activity detection.",
        "- *one language*: the language is detected once, at the beginning.",
        "",
        "The columns:",
        "",
        "- *right*: segments that name the language of the utterance that they overlap most, of all segments that "
        "overlap one."
        + _outside(summary["rows"])
        + (" faster-whisper names no language for a segment." if "faster-whisper" in measured else ""),
        "- *right where detected*: the same, of the segments whose language the model detects both in the utterance "
        f"alone and in the segment alone. It detects the right language in {alone} of the {summary['utterances']} "
        "different utterances, given alone.",
        "- *wrong* and *lost*: word errors of all kinds, and missing words among them, in percent of the words of the "
        "true text, after Whisper's normaliser.",
        "",
        "Where a library samples, counts are averages over several seeds.",
        "",
        "| library | setting | right | right where detected | words | wrong, % | lost, % |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for library, setting in dict.fromkeys((row["library"], row["setting"]) for row in summary["rows"]):
        rows = [row for row in summary["rows"] if (row["library"], row["setting"]) == (library, setting)]
        total = {name: round(sum(row[name] for row in rows), 1) for name in (*COUNTS, "words")}
        wrong, lost = (100 * sum(row[name] for row in rows) / total["words"] for name in ("wrong_words", "lost_words"))
        right, detected = _rights(total) if library == "whisperlite" else ("—", "—")
        lines.append(f"| {library} | {setting} | {right} | {detected} | {total['words']} | {wrong:.2f} | {lost:.2f} |")
    lines += [
        "",
        f"Target: with `multilingual=True`, all segments are right where detected, and at least {LEAST_RIGHT:.0%} of "
        "all segments that overlap an utterance are right. "
        f"{'Missed: ' + '; '.join(summary['failures']) if summary['failures'] else 'The target is met'}.",
        "",
        "The recordings one by one, with *multilingual*:",
        "",
        f"| recording | right | right where detected | {' | '.join(f'{name}: wrong, %' for name in measured)} |",
        f"|---|---:|---:|{'---:|' * len(measured)}",
    ]
    for name in dict.fromkeys(row["recording"] for row in summary["rows"]):
        cells = {
            row["library"]: row
            for row in summary["rows"]
            if row["recording"] == name and row["setting"] == "multilingual"
        }
        wrong_in = {library: f"{100 * row['wrong_words'] / row['words']:.2f}" for library, row in cells.items()}
        ours = cells.get("whisperlite")
        right, detected = _rights(ours) if ours else ("—", "—")
        wrong = [wrong_in.get(library, "—") for library in measured]
        lines.append(f"| {name} | {right} | {detected} | {' | '.join(wrong)} |")
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


def _outside(rows: Sequence[dict[str, Any]]) -> str:
    """The sentence about our segments that overlap no utterance; "" if a summary from before they were counted."""
    counts: dict[str, float] = {}
    for row in rows:
        if row["library"] == "whisperlite" and "outside" in row:
            counts[row["setting"]] = counts.get(row["setting"], 0) + row["outside"]
    each = ", ".join(f"{count:g} with *{setting}*" for setting, count in counts.items())
    return f" Those that have text but overlap none are not counted: {each}." if counts else ""


def _rights(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['all_right']:g} of {row['all_segments']:g}", f"{row['right']:g} of {row['segments']:g}"


def _same(one: Request, other: Request) -> bool:
    """Whether two requests differ in nothing but the seed."""
    return (one.library, one.recording, one.setting) == (other.library, other.recording, other.setting)


def _pairs(medley: Medley) -> list[tuple[Utterance, str]]:
    return list(zip(medley.utterances, medley.detected, strict=True))


def _missed(medley: Medley) -> list[tuple[str, str]]:
    return [(utterance.text, found) for utterance, found in _pairs(medley) if found != utterance.lang]


def _found(desk: Desk, request: Request) -> Answer:
    answer = desk.find(request)
    assert answer is not None, "answered above"
    return answer


if __name__ == "__main__":
    main()
