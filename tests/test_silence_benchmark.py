"""The parts of the benchmarks on silence, pauses and languages that need neither models nor other libraries."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import languages, pauses
from benchmarks.joined import Utterance, find_speech, join
from benchmarks.languages import Medley, choose_switching, count_outside, judge_languages
from benchmarks.pauses import Talk, find_starts, make_pause, texts_to_count
from benchmarks.peers import worker
from benchmarks.peers.requests import BEST_OF, Recording, Request, Setting, read_wave, write_wave
from benchmarks.silence import report
from benchmarks.silence.clips import group_of
from whisperlite.decoding.search import choose_sampled, draw_uniforms

RECORDING = Recording("somewhere.wav", "0" * 64, 60.0)
FIRST = Utterance(10.0, 14.0, "one two", "en")
SECOND = Utterance(40.0, 44.0, "three four", "de")


def tone(seconds: float, level: float = 0.1) -> np.ndarray:
    return np.asarray(level * np.sin(np.arange(round(seconds * 16_000)) / 5), dtype=np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.asarray(np.random.default_rng(0).normal(0, 1e-4, round(seconds * 16_000)), dtype=np.float32)


def segment(start: float, end: float, text: str = " hello", language: str | None = None) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "language": language, "words": None}


def test_speech_is_found_between_the_silence_around_it() -> None:
    start, end = find_speech(np.concatenate([quiet(0.7), tone(2.0), quiet(0.4)]))
    assert start == pytest.approx(0.7, abs=0.02)
    assert end == pytest.approx(2.7, abs=0.02)


def test_a_click_before_speech_is_not_speech() -> None:
    start, _ = find_speech(np.concatenate([quiet(0.5), tone(0.03), quiet(0.5), tone(2.0), quiet(0.5)]))
    assert start == pytest.approx(1.03, abs=0.02)


def test_joined_clips_lie_where_they_are_said_to_lie() -> None:
    clips = [
        (np.concatenate([quiet(0.5), tone(1.0)]), "one", "en"),
        (np.concatenate([quiet(0.2), tone(2.0)]), "zwei", "de"),
    ]
    samples, utterances = join(clips, [np.zeros(16_000 * 5, dtype=np.float32)])
    assert len(samples) == 16_000 * (1.5 + 5 + 2.2)
    assert [(each.text, each.lang) for each in utterances] == [("one", "en"), ("zwei", "de")]
    assert [each.start for each in utterances] == pytest.approx([0.5, 6.7], abs=0.03)
    assert np.abs(samples[: 16_000 * 1]).max() == pytest.approx(0.5, abs=0.01)


def test_samples_of_16_bits_do_not_change_in_a_file(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, 1000).astype(np.float32) / 32768
    write_wave(tmp_path / "noise.wav", samples)
    assert (read_wave(tmp_path / "noise.wav") == samples).all()


def test_a_request_goes_through_json_unchanged() -> None:
    request = Request("whisperlite", RECORDING, None, Setting(vad=True), seed=2)
    assert Request.from_dict(request.to_dict()) == request


@pytest.mark.parametrize(("sound", "level_db"), [("digital silence", -200), ("noise", -60), ("dial tone", -26)])
def test_pauses_have_their_level(sound: str, level_db: float) -> None:
    samples = make_pause(sound, 20.0, np.random.default_rng(0)).astype(np.float64)
    assert len(samples) == 320_000
    assert 10 * np.log10((samples**2).mean() + 1e-20) == pytest.approx(level_db, abs=0.5)


def test_the_first_segment_of_a_sentence_is_the_one_that_lies_in_it() -> None:
    late_end = segment(9.9, 40.5)
    assert find_starts([FIRST, SECOND], [late_end, segment(40.2, 44.0)]) == pytest.approx((-0.1, 0.2))


def test_a_segment_over_two_sentences_begins_both() -> None:
    assert find_starts([FIRST, SECOND], [segment(10.0, 44.0)]) == pytest.approx((0.0, -30.0))


def test_a_sentence_without_segment_has_no_start() -> None:
    assert find_starts([FIRST, SECOND], [segment(10.0, 14.0), segment(25.0, 27.0)]) == (0.0, None)


def test_text_belongs_to_the_sentence_it_is_near_to_and_else_to_none() -> None:
    talk = Talk("talk", "en", RECORDING, (FIRST, SECOND))
    answer = {
        "segments": [segment(9.5, 14.5, " one two"), segment(20.0, 22.0, " thanks"), segment(39.5, 44.0, " four")]
    }
    texts = [line["text"] for line in texts_to_count(talk, answer)]
    assert texts == [" one two", " four", " one two four", " thanks"]


def test_words_place_text_better_than_their_segment() -> None:
    talk = Talk("talk", "en", RECORDING, (FIRST, SECOND))
    words = [{"start": 10.0, "end": 11.0, "word": " one"}, {"start": 25.0, "end": 26.0, "word": " oh"}]
    answer = {"segments": [{**segment(10.0, 26.0, " one oh"), "words": words}]}
    assert [line["text"] for line in texts_to_count(talk, answer)] == [" one", "", " one", " oh"]


def test_clips_of_a_medley_differ_and_switch_language() -> None:
    lines = [{"file": f"{lang}{n}", "lang": lang} for lang in ("en", "de", "fr") for n in range(4)]
    chosen = choose_switching(lines, 10, np.random.default_rng(0))
    names = [line["file"] for line in chosen]
    assert len(set(names)) == 10
    assert all(one["lang"] != other["lang"] for one, other in pairwise(chosen))


@pytest.mark.parametrize(("alone", "is_detected"), [("en", True), ("fr", False)])
def test_a_segment_is_judged_by_the_utterance_it_overlaps_most_if_the_model_detects_that(
    alone: str, is_detected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(languages, "detect", lambda *_: alone)
    medley = Medley("medley", RECORDING, (FIRST, SECOND), ("en", "nl"))
    segments = [
        segment(9.0, 15.0, language="en"),
        segment(41.0, 43.0, language="en"),
        segment(20.0, 30.0, language="fr"),
    ]
    verdicts = judge_languages(medley, {"segments": segments})
    assert [(each.is_right, each.is_detected) for each in verdicts] == [(True, is_detected), (False, False)]


def test_segments_with_text_between_the_utterances_are_counted_beside_them() -> None:
    medley = Medley("medley", RECORDING, (FIRST, SECOND), ("en", "de"))
    segments = [segment(9.0, 10.5), segment(20.0, 30.0), segment(20.0, 30.0, text=" "), segment(14.0, 40.0)]
    assert count_outside(medley, {"segments": segments}) == 2
    assert [len(judge_languages(medley, {"segments": [each]})) for each in segments[1:]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ({"kind": "noise", "lang": "", "file": "neg/tones/a.wav", "text": ""}, "tones"),
        ({"kind": "noise", "lang": "", "file": "neg/noise/a.wav", "text": ""}, "noise"),
        ({"kind": "noise", "lang": "en", "file": "en/variants/a.wav", "text": "yes"}, "speech"),
        ({"kind": "multilingual", "lang": "da", "file": "da/a.wav", "text": "ja"}, ""),
        ({"kind": "song", "lang": "", "file": "neg/music/a.ogg", "text": ""}, ""),
    ],
)
def test_clips_fall_into_groups(line: dict[str, Any], group: str) -> None:
    assert group_of(line) == group


def row(library: str, setting: str, **values: float) -> dict[str, Any]:
    return {"library": library, "setting": setting, **dict.fromkeys(report.COUNTED, 0), "words": 1000, **values}


def test_silence_passes_where_ours_is_best() -> None:
    rows = [row("whisperlite", "thresholds"), row("whisperlite", "vad"), row("openai-whisper", "thresholds", lost=1)]
    assert report.find_failures(rows) == []


@pytest.mark.parametrize(
    "rows",
    [
        [row("whisperlite", "thresholds", music=3), row("openai-whisper", "thresholds", music=2)],
        [row("whisperlite", "thresholds", hallucinated=3), row("openai-whisper", "thresholds", hallucinated=2)],
        [row("whisperlite", "vad", **{"made up": 1}), row("faster-whisper", "vad")],
        [row("whisperlite", "thresholds", lost=10), row("whisperlite", "vad", lost=13)],
        [row("whisperlite", "thresholds", lost=10), row("whisperlite", "vad+hallucination", lost=13)],
    ],
)
def test_silence_fails_where_ours_is_worse(rows: list[dict[str, Any]]) -> None:
    assert len(report.find_failures(rows)) == 1


def test_openai_whisper_draws_what_whisperlite_draws() -> None:
    seed, draws = (3, 1200, 2), worker._Draws()
    draws.begin(seed)
    uniforms = draw_uniforms(seed, 20, BEST_OF)
    for step in range(20):
        logits = 4 * torch.randn(BEST_OF, 500, generator=torch.Generator().manual_seed(step))
        expected, _ = choose_sampled(logits, torch.full((BEST_OF,), 0.4), uniforms[step])
        assert torch.equal(draws(logits / 0.4).sample(), expected)


def test_pauses_fail_with_voice_activity_detection_alone() -> None:
    wrong = {"library": "whisperlite", "lost": 1, "made_up": 2, "within": 90.0, "worst_s": 3.0}
    assert pauses.find_failures([{**wrong, "setting": "thresholds"}]) == []
    assert len(pauses.find_failures([{**wrong, "setting": "vad"}])) == 3


def test_every_setting_of_the_languages_has_a_name_of_its_own() -> None:
    assert len(languages.NAMES) == len(languages.SETTINGS)
