"""On another device than a CPU: the CPU's tokens, alone and together, and no memory that stays.

`make device` runs it on the first of CUDA, XPU and MPS that there is, or on $WHISPERLITE_DEVICE, with `base` or the
model that $WHISPERLITE_MODEL names.
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher

import pytest
import torch
from torch import Tensor

import whisperlite
from benchmarks.device import other_device
from tests.conftest import DATA
from whisperlite import OptionsDict, Transcription
from whisperlite.decoding.lane import Lane
from whisperlite.nn.graphs import SWITCH
from whisperlite.nn.linear import multiplies

RECORDING = DATA / "librivox.wav"
MODEL = os.environ.get("WHISPERLITE_MODEL", "base")
OPTIONS: list[OptionsDict] = [
    {"language": "en", "beam_size": 1},
    {"language": "en", "beam_size": 5},
    {"language": "en", "beam_size": 1, "word_timestamps": True},
    {"language": "en", "beam_size": 2, "patience": 2.0, "without_timestamps": True},
    {"language": "en", "beam_size": 1, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
]


DEVICE = other_device()
pytestmark = pytest.mark.skipif(DEVICE is None, reason="there is no device but the CPU: $WHISPERLITE_DEVICE names one")


def load(compute_type: str = "float32", device: str | None = DEVICE) -> whisperlite.Whisper:
    return whisperlite.load_model(MODEL, device=device, compute_type=compute_type)


@pytest.fixture(scope="module")
def model() -> whisperlite.Whisper:
    return load()


@pytest.fixture(scope="module")
def on_cpu() -> whisperlite.Whisper:
    return load(device="cpu")


def tokens(result: Transcription) -> list[tuple[int, ...]]:
    return [segment.tokens for segment in result.segments]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_float32_gives_the_tokens_of_the_cpu(
    model: whisperlite.Whisper, on_cpu: whisperlite.Whisper, options: OptionsDict
) -> None:
    found, expected = (each.transcribe(RECORDING, **options) for each in (model, on_cpu))
    assert tokens(found) == tokens(expected)
    for ours, theirs in zip(found.words, expected.words, strict=True):
        assert (ours.start, ours.end) == pytest.approx((theirs.start, theirs.end), abs=0.1)
        assert ours.probability == pytest.approx(theirs.probability, abs=0.02)


def test_recordings_get_together_what_each_gets_alone(model: whisperlite.Whisper) -> None:
    samples = whisperlite.load_audio(RECORDING)
    pieces = [
        samples[16000 * start :][: 16000 * seconds] for start, seconds in ((0, 24), (6, 9), (2, 4), (14, 8), (9, 15))
    ]
    alone = [tokens(model.transcribe(piece, **options)) for piece, options in zip(pieces, OPTIONS, strict=True)]
    with model.pool(batch_size=3) as pool:
        jobs = [pool.submit(piece, **each) for piece, each in zip(pieces, OPTIONS, strict=True)]
        assert [tokens(job.result()) for job in jobs] == alone


def need_cuda() -> None:
    if DEVICE is None or torch.device(DEVICE).type != "cuda":
        pytest.skip("only CUDA has graphs, and tells what is allocated")


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps are replayed as CUDA graphs; a number for each replay, that of its rows."""
    need_cuda()
    found: list[int] = []
    replay = Lane._replayed

    def watched(lane: Lane) -> Tensor | None:
        logits = replay(lane)
        if logits is not None:
            found.append(len(logits))
        return logits

    monkeypatch.setattr(Lane, "_replayed", watched)
    monkeypatch.setenv(SWITCH, "1")
    return found


@pytest.mark.parametrize("compute_type", ["float32", "float16", "bfloat16", "int8"])
def test_steps_that_are_replayed_give_what_calling_their_operators_gives(
    replayed: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, compute_type: str
) -> None:
    model = load(compute_type)
    found = [model.transcribe(RECORDING, **options) for options in OPTIONS]
    assert replayed
    assert caplog.records == []  # all could be recorded
    monkeypatch.delenv(SWITCH)
    for options, one in zip(OPTIONS, found, strict=True):
        assert tokens(one) == tokens(model.transcribe(RECORDING, **options))


def test_graphs_live_as_long_as_they_are_replayed(model: whisperlite.Whisper, replayed: list[int]) -> None:
    """Those of one call begin and end while another call goes on; there are fewer streams than calls."""
    expected = tokens(model.transcribe(RECORDING, language="en"))
    waiting = model.iter_segments(RECORDING, language="en")
    begun = [next(waiting)]
    before = len(replayed)
    for _ in range(40):
        assert tokens(model.transcribe(RECORDING, language="en")) == expected
        torch.cuda.empty_cache()
    assert len(replayed) > before
    assert [segment.tokens for segment in [*begun, *waiting]] == expected


def test_threads_replay_side_by_side(model: whisperlite.Whisper, replayed: list[int]) -> None:
    expected = [tokens(model.transcribe(RECORDING, **options)) for options in OPTIONS]
    with ThreadPoolExecutor(len(OPTIONS)) as threads:
        for _ in range(3):
            found = threads.map(lambda options: tokens(model.transcribe(RECORDING, **options)), OPTIONS)
            assert list(found) == expected
    assert replayed


def test_samples_drawn_with_one_seed_are_the_same(model: whisperlite.Whisper) -> None:
    first, second = (
        model.transcribe(RECORDING, language="en", temperature=0.8, best_of=3, seed=seed) for seed in (7, 7)
    )
    assert tokens(first) == tokens(second)
    assert tokens(first) != tokens(model.transcribe(RECORDING, language="en", temperature=0.8, best_of=3, seed=8))


@pytest.mark.parametrize("compute_type", ["float16", "bfloat16", "int8"])
def test_lower_precision_says_nearly_the_same(model: whisperlite.Whisper, compute_type: str) -> None:
    if model.device.type == "cpu" and not multiplies(torch.bfloat16):
        pytest.skip("this processor has no fast products of halves")
    expected = model.transcribe(RECORDING, language="en", beam_size=1).text.split()
    found = load(compute_type).transcribe(RECORDING, language="en", beam_size=1)
    assert SequenceMatcher(None, expected, found.text.split()).ratio() > 0.9
    assert not any("float32" in warning for warning in found.warnings)


def test_a_language_is_detected_as_on_the_cpu(model: whisperlite.Whisper, on_cpu: whisperlite.Whisper) -> None:
    if not model.is_multilingual:
        pytest.skip(f"{MODEL} is English-only")
    found, expected = (each.detect_language(RECORDING) for each in (model, on_cpu))
    assert found.language == expected.language
    assert found.probability == pytest.approx(expected.probability, abs=1e-3)


@pytest.fixture
def allocated() -> int:
    need_cuda()
    gc.collect()
    return torch.cuda.memory_allocated()


def test_a_closed_pool_leaves_no_memory(model: whisperlite.Whisper, allocated: int) -> None:
    with model.pool(batch_size=8) as pool:
        jobs = [pool.submit(RECORDING, language="en") for _ in range(8)]
        assert all(job.result().text for job in jobs)
        del jobs
    gc.collect()
    assert torch.cuda.memory_allocated() - allocated < 1 << 20
