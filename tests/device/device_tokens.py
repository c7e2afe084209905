"""On another device than a CPU: the CPU's tokens, alone and together, and no memory that stays.

`make device` runs it on the first of CUDA, XPU and MPS that there is, or on $WHISPERLITE_DEVICE, with `base` or the
model that $WHISPERLITE_MODEL names.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher

import numpy as np
import pytest
import torch
from torch import Tensor

import whisperlite
from benchmarks.device import other_device
from tests.conftest import DATA
from whisperlite import OptionsDict, Transcription
from whisperlite.api.runtime import Runtime
from whisperlite.api.spare_engine import SpareEngine
from whisperlite.decoding.replays import Key, Replays
from whisperlite.nn.linear import has_fast_product

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


def load(
    compute_type: str = "float32", device: str | None = DEVICE, *, cuda_graphs: bool = False
) -> whisperlite.Whisper:
    return whisperlite.load_model(MODEL, device=device, compute_type=compute_type, cuda_graphs=cuda_graphs)


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
def replayed(monkeypatch: pytest.MonkeyPatch) -> Counter[Key]:
    """What can be is replayed as CUDA graphs; how often each was."""
    need_cuda()
    found: Counter[Key] = Counter()
    replay = Replays.replay

    def watched(self: Replays, key: Key, call: Callable[[], Tensor]) -> Tensor | None:
        found[key] += key in self._recorded
        return replay(self, key, call)

    monkeypatch.setattr(Replays, "replay", watched)
    return found


@pytest.fixture(scope="module")
def replaying() -> whisperlite.Whisper:
    return load(cuda_graphs=True)


@pytest.mark.parametrize("compute_type", ["float32", "float16", "bfloat16", "int8"])
def test_what_is_replayed_gives_what_calling_its_operators_gives(
    replayed: Counter[Key], caplog: pytest.LogCaptureFixture, compute_type: str
) -> None:
    model = load(compute_type, cuda_graphs=True)
    windows = np.tile(whisperlite.load_audio(RECORDING), 5)  # what is met for the third time is recorded
    found = [model.transcribe(windows, **options) for options in OPTIONS]
    assert {kind for kind, *_ in +replayed} == {"encoding", "prompt", "greedy", "beams", "logits"}
    assert caplog.records == []  # all could be recorded
    count, calling = replayed.total(), load(compute_type)
    for options, one in zip(OPTIONS, found, strict=True):
        expected = calling.transcribe(windows, **options)
        if compute_type == "float32":
            assert tokens(one) == tokens(expected)
        else:  # attention rounds in another place, and the windows are cut in the middle of words
            words = one.text.split(), expected.text.split()
            assert SequenceMatcher(None, *words, autojunk=False).ratio() > 0.9
    assert replayed.total() == count


def test_graphs_live_as_long_as_they_are_replayed(replaying: whisperlite.Whisper, replayed: Counter[Key]) -> None:
    """Those of one call begin and end while another call goes on; there are fewer streams than calls."""
    expected = tokens(replaying.transcribe(RECORDING, language="en"))
    waiting = replaying.iter_segments(RECORDING, language="en")
    begun = [next(waiting)]
    before = replayed.total()
    for _ in range(40):
        replaying._runtime.spare_engine = SpareEngine()  # else the graphs of one call would go on in the next
        assert tokens(replaying.transcribe(RECORDING, language="en")) == expected
        torch.cuda.empty_cache()
    assert replayed.total() > before
    assert [segment.tokens for segment in [*begun, *waiting]] == expected


def test_threads_replay_side_by_side(replaying: whisperlite.Whisper, replayed: Counter[Key]) -> None:
    expected = [tokens(replaying.transcribe(RECORDING, **options)) for options in OPTIONS]
    with ThreadPoolExecutor(len(OPTIONS)) as threads:
        for _ in range(3):
            found = threads.map(lambda options: tokens(replaying.transcribe(RECORDING, **options)), OPTIONS)
            assert list(found) == expected
    assert +replayed


def test_what_a_call_has_recorded_serves_later_ones_on_other_threads(
    replaying: whisperlite.Whisper, replayed: Counter[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [tokens(replaying.transcribe(RECORDING, **options)) for options in OPTIONS]
    before = replayed.total()
    with monkeypatch.context() as patch:
        patch.setattr(Runtime, "engine", None)  # no further one can be made
        for options, each in zip(OPTIONS, expected, strict=True):
            with ThreadPoolExecutor(1) as thread:
                assert (
                    tokens(thread.submit(lambda each: replaying.transcribe(RECORDING, **each), options).result())
                    == each
                )
    assert replayed.total() > before
    stream = torch.cuda.Stream(DEVICE)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):  # where they do not serve
        assert tokens(replaying.transcribe(RECORDING, **OPTIONS[0])) == expected[0]


def test_samples_drawn_with_one_seed_are_the_same(model: whisperlite.Whisper) -> None:
    first, second = (
        model.transcribe(RECORDING, language="en", temperature=0.8, best_of=3, seed=seed) for seed in (7, 7)
    )
    assert tokens(first) == tokens(second)
    assert tokens(first) != tokens(model.transcribe(RECORDING, language="en", temperature=0.8, best_of=3, seed=8))


@pytest.mark.parametrize("compute_type", ["float16", "bfloat16", "int8"])
def test_lower_precision_says_nearly_the_same(model: whisperlite.Whisper, compute_type: str) -> None:
    if model.device.type == "cpu" and not has_fast_product(torch.bfloat16):
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


def test_a_transcript_is_aligned_as_on_the_cpu(model: whisperlite.Whisper, on_cpu: whisperlite.Whisper) -> None:
    transcript = on_cpu.transcribe(RECORDING, language="en", beam_size=1)
    found, expected = (each.align(RECORDING, transcript).words for each in (model, on_cpu))
    assert [word.word for word in found] == [word.word for word in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.start, ours.end) == pytest.approx((theirs.start, theirs.end), abs=0.1)


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


def test_a_model_that_is_let_go_leaves_no_memory(allocated: int, replayed: Counter[Key]) -> None:
    model = load("float16", cuda_graphs=True)
    for _ in range(3):
        assert model.transcribe(RECORDING, language="en").text
    assert +replayed
    del model
    assert torch.cuda.memory_allocated() - allocated < 1 << 20
