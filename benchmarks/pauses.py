"""Sentences with long pauses between them: which are lost, what is made up: `python -m benchmarks.pauses`.

Recordings are joined from sentences of the evaluation folder, in one language each, with 20 to 60 s of digital silence,
low noise or a dial tone between them; two that are in the folder as they are come along. Exit status 1 if whisperlite,
with voice activity detection, loses a sentence, makes one up or begins one more than 0.5 s away from where it begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import whisperlite
from benchmarks.joined import Utterance, find_speech, join, overlap
from benchmarks.parity.store import Answer, read_lines
from benchmarks.peers.command import parser_of, publish
from benchmarks.peers.desk import Desk, version_of
from benchmarks.peers.requests import (
    HALLUCINATION_SILENCE_S,
    LIBRARIES,
    SAMPLING_RATE,
    Library,
    Recording,
    Request,
    Setting,
)
from benchmarks.provenance import describe_provenance, provenance
from benchmarks.word_errors import PHRASE

PLAN = (  # language, folder of the sentences, sound of the pauses
    ("en", "en/librispeech_test-other", "digital silence"),
    ("en", "en/ljspeech", "noise"),
    ("en", "en/fleurs", "dial tone"),
    ("de", "de/fleurs", "digital silence"),
    ("fr", "fr/fleurs", "noise"),
    ("es", "es/fleurs", "dial tone"),
    ("pt", "pt/fleurs", "digital silence"),
    ("ru", "ru/asterisk", "noise"),
)
SENTENCES = 4
PAUSE_S = (20.0, 60.0)
NOISE_DB = -60.0
TONE_DB = -26.0
DIAL_TONE_HZ = (350.0, 440.0)

_PLAIN = Setting()
_VAD, _VAD_WORDS = Setting(vad=True), Setting(vad=True, words=True)
_VAD_HALLUCINATION = Setting(vad=True, words=True, hallucination=True)
SETTINGS: dict[Library, dict[str, Setting]] = {
    "whisperlite": {
        "vad": _VAD,
        "vad, words": _VAD_WORDS,
        "vad+hallucination": _VAD_HALLUCINATION,
    },
    "openai-whisper": {"hallucination": Setting(words=True, hallucination=True)},
    "faster-whisper": {"vad": _VAD, "vad, words": _VAD_WORDS, "vad+hallucination": _VAD_HALLUCINATION},
}
AROUND_S = 0.3  # kept before and after a sentence that is transcribed alone
NEAR_S = 1.0  # text within it of a sentence belongs to it
ALLOWED_S = 0.5

_COUNTED = {"lost": "sentences lost", "made_up": "words hallucinated"}


@dataclass(frozen=True, slots=True)
class Talk:
    """A recording and its sentences.

    Attributes:
        alone: a recording of each sentence alone.
    """

    name: str
    lang: str
    recording: Recording
    sentences: tuple[Utterance, ...]
    alone: tuple[Recording, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one answer compares with the true sentences of a talk.

    Attributes:
        lost: sentences of which less than half of the words were found in their place, though the model finds them in
            the sentence alone.
        made_up: words away from every sentence, and phrases of three words and more inside them that nobody says.
        inserted: all words within sentences that the truth does not have, such phrases included.
        starts: start of each sentence's first segment minus the true start, in seconds; None without a segment.
    """

    library: Library
    setting: str
    talk: Talk
    lost: tuple[str, ...]
    made_up: int
    inserted: int
    starts: tuple[float | None, ...]


def main() -> None:
    arguments = parser_of("pauses", __doc__, LIBRARIES).parse_args()
    if arguments.eval is None:
        raise SystemExit("Recordings with their texts are needed: --eval FOLDER with a manifest.jsonl.")
    desk = Desk(arguments.cache, arguments.threads)
    desk.prepare()
    talks = find_talks(arguments.eval, desk)
    named = {setting: name for settings in SETTINGS.values() for name, setting in settings.items()}
    requests = [
        Request(library, talk.recording, talk.lang, setting)
        for library in arguments.library or LIBRARIES
        for setting in SETTINGS[library].values()
        for talk in talks
    ]
    requests = desk.answer(requests, cached=arguments.cached)
    outcomes = judge_all(desk, talks, requests, named, find_unheard(desk, talks))
    summary = summarise(outcomes, desk, requests, named) | provenance(threads=arguments.threads)
    for outcome in outcomes:
        if outcome.library == "whisperlite":
            print("\n".join(describe(outcome)))
    page = as_markdown(summary)
    print(page)
    print("\n".join(summary["failures"]))
    publish("pauses", summary, page, arguments.out)


def find_talks(folder: Path, desk: Desk) -> list[Talk]:
    """Join the talks of `PLAN`, and add those that the folder has ready."""
    lines = list(read_lines(folder / "manifest.jsonl"))
    talks = []
    for number, (lang, place, sound) in enumerate(PLAN):
        chosen = [line for line in lines if line["file"].startswith(f"{place}/")][:SENTENCES]
        clips = [(whisperlite.load_audio(folder / line["file"]), line["text"], line["lang"]) for line in chosen]
        random = np.random.default_rng(number)
        pauses = [make_pause(sound, random.uniform(*PAUSE_S), random) for _ in clips[1:]]
        samples, sentences = join(clips, pauses)
        talks.append(_talk(f"{lang}, {sound}", lang, samples, sentences, desk))
    ready = [line for line in lines if "segments_file" in line and "/pauses/" in line["file"]]
    return talks + [_ready_talk(folder, line, desk) for line in ready]


def _ready_talk(folder: Path, line: dict[str, Any], desk: Desk) -> Talk:
    samples = whisperlite.load_audio(folder / line["file"])
    sentences = []
    for part in json.loads((folder / line["segments_file"]).read_text(encoding="utf-8")):
        first, last = (round(part[name] * SAMPLING_RATE) for name in ("start", "end"))
        start, end = find_speech(samples[first:last])
        sentences.append(Utterance(part["start"] + start, part["start"] + end, part["text"], line["lang"]))
    return _talk(Path(line["file"]).stem, line["lang"], samples, sentences, desk)


def _talk(name: str, lang: str, samples: np.ndarray, sentences: Sequence[Utterance], desk: Desk) -> Talk:
    file = f"pauses--{re.sub('[^a-z]+', '-', name)}"
    alone = []
    for number, sentence in enumerate(sentences):
        first, last = (round(time * SAMPLING_RATE) for time in (sentence.start - AROUND_S, sentence.end + AROUND_S))
        alone.append(desk.record(f"{file}--{number}", samples[max(first, 0) : last]))
    return Talk(name, lang, desk.record(file, samples), tuple(sentences), tuple(alone))


def make_pause(sound: str, seconds: float, random: np.random.Generator) -> np.ndarray:
    """Return the samples of a pause."""
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    if sound == "noise":
        return np.asarray(random.normal(0, 10 ** (NOISE_DB / 20), len(times)), dtype=np.float32)
    if sound == "dial tone":
        tones = sum(np.sin(2 * np.pi * hertz * times) for hertz in DIAL_TONE_HZ)
        return np.asarray(10 ** (TONE_DB / 20) * tones, dtype=np.float32)
    return np.zeros(len(times), dtype=np.float32)


def find_unheard(desk: Desk, talks: Sequence[Talk]) -> set[Utterance]:
    """Return the sentences of which the model finds less than half of the words even when given them alone."""
    requests = [Request("whisperlite", alone, talk.lang, _PLAIN) for talk in talks for alone in talk.alone]
    desk.answer(requests)
    sentences = [sentence for talk in talks for sentence in talk.sentences]
    texts = ["".join(segment["text"] for segment in _found(desk, request)["segments"]) for request in requests]
    lines = [
        {"lang": sentence.lang, "truth": sentence.text, "text": text}
        for sentence, text in zip(sentences, texts, strict=True)
    ]
    counts = desk.count_errors(lines)
    return {sentence for sentence, count in zip(sentences, counts, strict=True) if count.found < count.length / 2}


def judge_all(
    desk: Desk, talks: Sequence[Talk], requests: Sequence[Request], named: dict[Setting, str], unheard: set[Utterance]
) -> list[Outcome]:
    """Compare every answer with its talk; all words are counted in one call."""
    by_recording = {talk.recording.sha256: talk for talk in talks}
    work = [(request, by_recording[request.recording.sha256], _found(desk, request)) for request in requests]
    lines = [line for _, talk, answer in work for line in texts_to_count(talk, answer)]
    counts = iter(desk.count_errors(lines))
    outcomes = []
    for request, talk, answer in work:
        of_sentences = [next(counts) for _ in talk.sentences]
        within, without = next(counts), next(counts)
        lost = tuple(
            sentence.text
            for sentence, count in zip(talk.sentences, of_sentences, strict=True)
            if count.found < count.length / 2 and sentence not in unheard
        )
        starts = find_starts(talk.sentences, answer["segments"])
        made_up = without.inserted + within.phrases
        name = named[request.setting]
        outcomes.append(Outcome(request.library, name, talk, lost, made_up, within.inserted, starts))
    return outcomes


def texts_to_count(talk: Talk, answer: Answer) -> list[dict[str, str]]:
    """Return the texts to count: one for each sentence, one of all text near a sentence, and one of all other text."""
    pieces = [
        piece
        for segment in answer["segments"]
        for piece in (segment["words"] or [{**segment, "word": segment["text"]}])
    ]
    near = [[overlap(each["start"], each["end"], sentence) > -NEAR_S for sentence in talk.sentences] for each in pieces]

    def line(truth: str, chosen: Sequence[bool]) -> dict[str, str]:
        text = "".join(each["word"] for each, is_chosen in zip(pieces, chosen, strict=True) if is_chosen)
        return {"lang": talk.lang, "truth": truth, "text": text}

    lines = [line(sentence.text, [each[n] for each in near]) for n, sentence in enumerate(talk.sentences)]
    lines.append(line(" ".join(sentence.text for sentence in talk.sentences), [any(each) for each in near]))
    lines.append(line("", [not any(each) for each in near]))
    return lines


def find_starts(sentences: Sequence[Utterance], segments: Sequence[dict[str, Any]]) -> tuple[float | None, ...]:
    """Return the start error of each sentence's first segment, among those that overlap it most or cover half of it."""
    firsts: dict[int, float] = {}
    for segment in segments:
        shared = [overlap(segment["start"], segment["end"], sentence) for sentence in sentences]
        for index, (seconds, sentence) in enumerate(zip(shared, sentences, strict=True)):
            is_most = seconds == max(shared) and seconds > -NEAR_S
            if is_most or seconds > (sentence.end - sentence.start) / 2:
                firsts.setdefault(index, segment["start"] - sentence.start)
    return tuple(firsts.get(index) for index in range(len(sentences)))


def summarise(
    outcomes: Sequence[Outcome], desk: Desk, requests: Sequence[Request], named: dict[Setting, str]
) -> dict[str, Any]:
    """Make a row for each library and setting; a talk with several seeds counts once, with their average."""
    rows = []
    for library, setting in dict.fromkeys((each.library, each.setting) for each in outcomes):
        chosen = [each for each in outcomes if (each.library, each.setting) == (library, setting)]
        talks: dict[str, list[Outcome]] = {}
        for each in chosen:
            talks.setdefault(each.talk.name, []).append(each)
        errors = [error for each in chosen for error in each.starts]
        known = [abs(error) for error in errors if error is not None]
        asked = [each for each in requests if (each.library, named[each.setting]) == (library, setting)]
        rows.append(
            {
                "library": library,
                "setting": setting,
                "sentences": sum(len(each[0].talk.sentences) for each in talks.values()),
                "lost": round(sum(mean(len(seed.lost) for seed in each) for each in talks.values()), 2),
                "made_up": round(sum(mean(seed.made_up for seed in each) for each in talks.values()), 2),
                "inserted": round(sum(mean(seed.inserted for seed in each) for each in talks.values()), 2),
                "within": round(100 * sum(error <= ALLOWED_S for error in known) / len(errors), 1),
                "worst_s": round(max(known, default=0.0), 2),
                "seconds": round(desk.seconds(asked), 1),
            }
        )
    failures = find_failures(rows)
    return {
        "model": "base, float32, greedy",
        "versions": {
            library: version_of(library)
            for library in dict.fromkeys(request.library for request in requests)
            if library != "whisperlite"
        },
        "recordings": len({each.talk.name for each in outcomes}),
        "minutes": round(sum({each.talk.name: each.talk.recording.seconds for each in outcomes}.values()) / 60, 1),
        "passes": not failures,
        "failures": failures,
        "rows": rows,
    }


def find_failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each target that whisperlite misses with voice activity detection."""
    failures = []
    for row in rows:
        if row["library"] == "whisperlite" and row["setting"].startswith("vad"):
            failures += [f"{row['setting']}: {row[name]:g} {what}" for name, what in _COUNTED.items() if row[name]]
            if row["within"] < 100:
                failures.append(
                    f"{row['setting']}: {row['within']} % of the starts are right, worst {row['worst_s']} s"
                )
    return failures


def describe(outcome: Outcome) -> list[str]:
    """Return a line for each error of one answer."""
    title = f"{outcome.setting:18} {outcome.talk.name}"
    lines = [f"{title}: lost {text!r}" for text in outcome.lost]
    lines += [f"{title}: {outcome.made_up} words hallucinated"] if outcome.made_up else []
    for sentence, error in zip(outcome.talk.sentences, outcome.starts, strict=True):
        if error is None or abs(error) > ALLOWED_S:
            found = "no segment" if error is None else f"{error:+.2f} s"
            lines.append(f"{title}: {found} at {sentence.start:.2f} s, {sentence.text[:40]!r}")
    return lines


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary as a page of the documentation."""
    libraries = ["whisperlite", *(f"{library} {version}" for library, version in summary["versions"].items())]
    lines = [
        "# Pauses",
        "",
        "This page shows what becomes of sentences with long pauses between them: how many are lost, how many words "
        "are hallucinated, and whether segments start where speech starts. Made by `make pauses`; [all "
        "numbers](pauses.json).",
        "",
        f"{_listed(libraries)} transcribe the same samples with the same weights (`{summary['model']}`), with the "
        f"language given: {summary['recordings']} recordings, {summary['minutes']:.0f} minutes, in one language each. "
        f"Sentences are joined with pauses of {PAUSE_S[0]:.0f} to {PAUSE_S[1]:.0f} s, which are digital silence, "
        f"noise at {NOISE_DB:.0f} dB or a dial tone. Recordings of the evaluation folder that have pauses already are "
        "used as they are. The settings:",
        "",
        "- *vad*: with voice activity detection, each library's own, with its defaults. openai-whisper has none.",
        "- *vad, words*: the same, with word timestamps.",
        "- *vad+hallucination*: the same as *vad, words*, with "
        f"`hallucination_silence_threshold={HALLUCINATION_SILENCE_S}`.",
        "- *hallucination*: word timestamps and that threshold, without voice activity detection.",
        "",
        "The columns:",
        "",
        "- *lost*: sentences of which less than half of the words are found in their place, although the model finds "
        "half of them or more when it is given the sentence alone.",
        f"- *hallucinated*: words that are {NEAR_S:g} s or more away from every sentence, and phrases of {PHRASE} "
        "words or more near a sentence that nobody says.",
        "- *inserted*: all words near a sentence that nobody says, such phrases included.",
        f"- *starts*: sentences whose first segment starts within {ALLOWED_S} s of the start of speech, which is found "
        "by its loudness. *worst* is the largest difference.",
        "",
        "Text that has no word timestamps is placed by its segment. Where a library samples, counts are averages over "
        "several seeds.",
        "",
        "| library | setting | sentences | lost | hallucinated | inserted | starts | worst |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in summary["rows"]:
        counts = " | ".join(f"{row[name]:g}" for name in ("sentences", "lost", "made_up", "inserted"))
        lines.append(
            f"| {row['library']} | {row['setting']} | {counts} | {row['within']:g} % | {row['worst_s']:.2f} s |"
        )
    missed = f"Missed: {'; '.join(summary['failures'])}" if summary["failures"] else "The target is met"
    lines += [
        "",
        "Target: with voice activity detection, whisperlite loses no sentence, hallucinates no word, and starts every "
        f"sentence within {ALLOWED_S} s. {missed}.",
    ]
    lines += describe_provenance(summary)
    return "\n".join(lines) + "\n"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _found(desk: Desk, request: Request) -> Answer:
    answer = desk.find(request)
    assert answer is not None, "answered above"
    return answer


if __name__ == "__main__":
    main()
