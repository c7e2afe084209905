"""What `benchmarks.precision` measures on a tiny model, and what it concludes from counted errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import mean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import whisperlite
from benchmarks import precision
from benchmarks.precision import ALLOWED, DELAYS_S, SEEDS, SEVEN_BITS, as_markdown, load_base, measure, summarise
from benchmarks.wer import Errors
from tests.conftest import DATA
from tests.spoken import spoken
from whisperlite import Transcription
from whisperlite.nn import build, linear


def rows(float32: list[int], int8: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "compute_type": name,
            "beam_size": 5,
            "sampled": 2,
            "wrong": wrong,
            "each": [10.0, mean(wrong)],
            "length": 1000,
        }
        for name, wrong in (("float32", float32), ("int8", int8))
    ]


@pytest.mark.parametrize(("int8", "passes"), [(90, True), (100, True), (105, True), (106, False)])
def test_a_type_may_be_half_a_point_worse_than_float32(int8: int, passes: bool) -> None:
    assert ALLOWED == 0.5
    summary = summarise(rows([100], [int8]), clips=3)
    assert summary["passes"] == passes
    assert summary["rows"][1]["above_float32"] == pytest.approx((int8 - 100) / 10)


def test_what_counts_is_the_average() -> None:
    assert summarise(rows([100, 100], [100, 110]), clips=3)["passes"]
    assert not summarise(rows([100, 100], [100, 114]), clips=3)["passes"]


def test_the_page_has_a_line_for_each_with_the_range() -> None:
    page = as_markdown(summarise(rows([100, 100], [101, 106]), clips=3))
    assert "| beam 5 | int8 | 2 | 103.5 (101 to 106) | 1000 | 10.35 | +0.35 | 3.5 |" in page
    assert "The target is met." in page
    assert "The target is missed by int8." in as_markdown(summarise(rows([100], [200]), clips=3))


def test_only_recordings_that_were_sampled_are_transcribed_with_further_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def transcribe(
        _model: object, lines: list[dict[str, str]], _beam_size: int, delay_s: float, seed: int
    ) -> dict[str, Any]:
        asked.append((delay_s, seed, [line["file"] for line in lines]))
        segments: dict[str, list[Any]] = {"plain": [], "drawn": [SimpleNamespace(temperature=0.4)]}
        return {line["file"]: SimpleNamespace(text=f"{seed}", segments=segments[line["file"]]) for line in lines}

    def count_errors(_place: object, _name: str, lines: list[dict[str, str]]) -> list[Errors]:
        return [Errors(int(line["text"]), 10) for line in lines]

    monkeypatch.setattr(precision, "transcribe", transcribe)
    monkeypatch.setattr(precision, "count_errors", count_errors)
    recordings = [{"file": name, "lang": "en", "text": "yes"} for name in ("plain", "drawn")]
    nothing: Any = None
    row = measure(nothing, "int8", 1, recordings, nothing)
    assert asked == [
        (delay_s, seed, ["drawn"] if seed else ["plain", "drawn"]) for delay_s in DELAYS_S for seed in SEEDS
    ]
    assert (row["sampled"], row["wrong"], row["length"]) == (1, list(SEEDS) * len(DELAYS_S), 20)
    assert row["each"] == [0, mean(SEEDS)]


def test_silence_is_put_in_front_of_a_recording() -> None:
    heard = []

    class Model:
        def transcribe_many(self, recordings: Iterable[np.ndarray], **_: object) -> Iterator[Transcription]:
            for samples in recordings:
                heard.append(samples)
                yield spoken()

    line = {"file": str(DATA / "librivox.wav"), "lang": "en", "text": "yes"}
    model: Any = Model()
    assert list(precision.transcribe(model, [line], 1, 0.1, 0)) == [line["file"]]
    samples = whisperlite.load_audio(DATA / "librivox.wav")
    np.testing.assert_array_equal(heard[0], np.concatenate([np.zeros(1600), samples]))


def test_weights_have_7_bits_only_while_that_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("whisperlite.load_model", lambda *_, **options: loaded.append(options))
    ours: Any = build
    before = linear._weight_levels, ours.has_fast_product
    with load_base(SEVEN_BITS, threads=1):
        assert linear._weight_levels() == 64
        assert not ours.has_fast_product(torch.bfloat16)
    assert (linear._weight_levels, ours.has_fast_product) == before
    assert loaded == [{"device": "cpu", "compute_type": "int8", "cpu_threads": 1}]
