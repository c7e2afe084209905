"""Voice activity detection: network and spans compared with the package's own, and missing or damaged weights."""

from __future__ import annotations

import importlib.util
import math
import random
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.audio import silero
from whisperlite.audio.mel import Samples
from whisperlite.audio.silero import check_installed
from whisperlite.audio.speech import find_speech, spans_and_pauses, speech_probabilities
from whisperlite.errors import CheckpointError, DecodingError, MissingPackageError
from whisperlite.vad_options import VadOptions

RATE, FRAME = 16_000, 512
Probabilities = npt.NDArray[np.float64]


def noise(seconds: float, *, level: float = 0.05) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(0).standard_normal(int(RATE * seconds)) * level).astype(np.float32)


def silence(seconds: float) -> npt.NDArray[np.int16]:
    return np.zeros(int(RATE * seconds), dtype=np.int16)


def as_float(samples: Samples) -> npt.NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)


def package_file(inside: str) -> Path:
    return Path(str(metadata.distribution("silero-vad").locate_file(inside)))


WEIGHTS = package_file("silero_vad/data/silero_vad.jit").read_bytes()


# The network


def package_probabilities(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run the package's own network, a frame at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.load
        load: Any = torch.jit.load
        model = load(str(package_file("silero_vad/data/silero_vad.jit")))
    padded = np.pad(samples, (0, -len(samples) % FRAME))
    with torch.inference_mode():
        return np.array(
            [model(frame, RATE).item() for frame in torch.from_numpy(padded).reshape(-1, FRAME)], np.float32
        )


def test_probabilities_equal_the_packages_own(librivox: Samples) -> None:
    spoken = as_float(librivox)
    recording = np.concatenate(
        [noise(3), spoken, np.zeros(RATE, np.float32), spoken + noise(30)[: len(spoken)], spoken]
    )
    assert len(recording) > 60 * RATE  # more than one chunk
    found = speech_probabilities(recording[:-100])  # and a last frame that is not full
    assert np.abs(found - package_probabilities(recording[:-100])).max() < 1e-4


@pytest.mark.parametrize("chunk_frames", [1, 7, 10_000])
def test_the_length_of_a_chunk_changes_nothing(
    chunk_frames: int, librivox: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = speech_probabilities(librivox[: 5 * RATE])
    monkeypatch.setattr("whisperlite.audio.speech._CHUNK_FRAMES", chunk_frames)
    assert np.abs(speech_probabilities(librivox[: 5 * RATE]) - expected).max() < 1e-5


def test_int16_and_float32_samples_give_the_same(librivox: Samples) -> None:
    assert (speech_probabilities(librivox) == speech_probabilities(as_float(librivox))).all()


def test_samples_that_may_not_be_written_to_are_taken(librivox: Samples) -> None:
    read_only = as_float(librivox)
    read_only.flags.writeable = False
    assert (speech_probabilities(read_only) == speech_probabilities(librivox)).all()


def test_the_users_default_type_device_and_autocast_change_nothing(librivox: Samples) -> None:
    expected = speech_probabilities(librivox)
    silero.load_silero.cache_clear()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = speech_probabilities(librivox)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        silero.load_silero.cache_clear()
    assert (found == expected).all()


def test_nothing_of_the_process_is_changed_and_the_package_is_not_imported(librivox: Samples) -> None:
    torch.manual_seed(0)
    random.seed(0)
    silero.load_silero.cache_clear()
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state().tolist(), random.getstate()
    find_speech(librivox, VadOptions())
    after = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state().tolist(), random.getstate()
    assert after == before
    assert "silero_vad" not in sys.modules


def test_threads_do_not_disturb_each_other(librivox: Samples) -> None:
    parts = [librivox[start * RATE : (start + 6) * RATE] for start in range(16)]
    expected = [speech_probabilities(part) for part in parts]
    silero.load_silero.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(speech_probabilities, parts))
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


def test_a_recording_is_never_held_as_float32() -> None:
    samples = silence(300)
    speech_probabilities(samples[:RATE])
    tracemalloc.start()
    try:
        speech_probabilities(samples)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6 < 4 * len(samples)


def test_check_is_asked_before_each_minute_and_may_end_the_work() -> None:
    asked: list[None] = []
    find_speech(silence(150), VadOptions(), check=lambda: asked.append(None))
    assert len(asked) == 3

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_speech(silence(1), VadOptions(), check=stop)


def test_samples_that_overflow_are_an_error_and_not_silence() -> None:
    with pytest.raises(DecodingError, match="not finite"):
        find_speech(np.full(RATE, 1e30, np.float32), VadOptions())


# What it finds


def test_speech_is_found_between_silences_to_a_fifth_of_a_second(librivox: Samples) -> None:
    (alone,) = find_speech(librivox, VadOptions(speech_pad_ms=0)).spans
    recording = np.concatenate([silence(10), librivox, silence(20), librivox, silence(5)])
    first, second = find_speech(recording, VadOptions(speech_pad_ms=0)).spans
    offset = 30 + len(librivox) / RATE
    assert first[0] == pytest.approx(alone[0] + 10, abs=0.2)
    assert second[0] == pytest.approx(alone[0] + offset, abs=0.2)
    assert 10 + alone[1] - 1.0 < first[1] < 10.1 + len(librivox) / RATE
    assert offset + alone[1] - 1.0 < second[1] < offset + 0.1 + len(librivox) / RATE


@pytest.mark.parametrize("samples", [silence(40), noise(40), noise(40, level=0.5), silence(0), silence(0.01)])
def test_nothing_is_found_where_nobody_speaks(samples: Samples) -> None:
    assert find_speech(samples, VadOptions()).spans == []


# Probabilities → spans


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """Load the package's functions from their file: importing the package would set torch's number of threads."""
    spec = importlib.util.spec_from_file_location("_silero_vad_utils", package_file("silero_vad/utils_vad.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package_spans(
    package: ModuleType, probabilities: Probabilities, n_samples: int, options: VadOptions
) -> list[tuple[int, int]]:
    found = package.get_speech_timestamps_from_probs(
        probabilities.tolist(),
        threshold=options.threshold,
        neg_threshold=options.neg_threshold,
        min_speech_duration_ms=options.min_speech_duration_ms,
        min_silence_duration_ms=options.least_pause_ms,
        speech_pad_ms=options.speech_pad_ms,
        max_speech_duration_s=options.max_speech_duration_s,
        audio_length_samples=n_samples,
    )
    return [(span["start"], span["end"]) for span in found]


def spans_of_speech(probabilities: Probabilities, n_samples: int, options: VadOptions) -> list[tuple[int, int]]:
    spans, _ = spans_and_pauses(probabilities, n_samples, options)
    return spans


def of_runs(*runs: tuple[float, float]) -> Probabilities:
    """Runs of frames, each (seconds, probability)."""
    return np.concatenate([np.full(round(seconds * RATE / FRAME), probability) for seconds, probability in runs])


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Probabilities, int]:
    """Runs of probabilities, and the number of samples."""
    values = st.sampled_from([0.0, 0.01, 0.2, 0.35, 0.36, 0.4, 0.5, 0.55, 0.8, 1.0]) | st.floats(0.0, 1.0)
    runs = draw(st.lists(st.tuples(values, st.integers(1, 40)), max_size=20))
    probabilities = np.array([value for value, count in runs for _ in range(count)], np.float64)
    return probabilities, max(len(probabilities) * FRAME - draw(st.integers(0, FRAME - 1)), 0)


@st.composite
def options_of_all_kinds(draw: st.DrawFn, max_speech_duration_s: st.SearchStrategy[float]) -> VadOptions:
    threshold = draw(st.sampled_from([0.01, 0.1, 0.5, 1.0]) | st.floats(0.01, 1.0))
    return VadOptions(
        threshold=threshold,
        neg_threshold=draw(st.none() | st.floats(0.0, threshold)),
        min_speech_duration_ms=draw(st.integers(0, 600)),
        min_silence_duration_ms=draw(st.integers(0, 600)),
        speech_pad_ms=draw(st.integers(0, 300)),
        max_speech_duration_s=draw(max_speech_duration_s),
    )


@settings(max_examples=400, deadline=None)
@given(recording=recordings(), options=options_of_all_kinds(st.just(math.inf)))
def test_spans_equal_the_packages_own_with_those_that_touch_made_one(
    package: ModuleType, recording: tuple[Probabilities, int], options: VadOptions
) -> None:
    expected: list[tuple[int, int]] = []
    for start, end in package_spans(package, *recording, options):
        if expected and expected[-1][1] == start:
            start = expected.pop()[0]
        expected.append((start, end))
    assert spans_of_speech(*recording, options) == expected


@settings(max_examples=400, deadline=None)
@given(recording=recordings(), options=options_of_all_kinds(st.floats(1.0, 5.0)))
def test_divided_speech_is_short_enough_and_nothing_spoken_is_lost(
    recording: tuple[Probabilities, int], options: VadOptions
) -> None:
    probabilities, n_samples = recording
    whole = spans_of_speech(probabilities, n_samples, replace(options, speech_pad_ms=0, max_speech_duration_s=math.inf))
    spans = spans_of_speech(probabilities, n_samples, options)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert not spans or (spans[0][0] >= 0 and spans[-1][1] <= n_samples)
    assert all(end - start <= options.max_speech_duration_s * RATE for start, end in spans)
    for frame in (np.flatnonzero(probabilities >= options.threshold) * FRAME).tolist():
        if any(start <= frame < end for start, end in whole):
            assert any(start <= frame and min(frame + FRAME, n_samples) <= end for start, end in spans)


@pytest.mark.parametrize("speech_pad_ms", [0, 30, 200])
def test_long_speech_is_divided_at_its_longest_pause_as_the_package_does(
    package: ModuleType, speech_pad_ms: int
) -> None:
    probabilities = of_runs((0.5, 0), (4, 1), (0.3, 0), (3, 1), (0.6, 0), (2, 1), (0.4, 0), (6, 1), (3, 0))
    options = VadOptions(max_speech_duration_s=12, speech_pad_ms=speech_pad_ms)
    spans = spans_of_speech(probabilities, len(probabilities) * FRAME, options)
    assert spans == package_spans(package, probabilities, len(probabilities) * FRAME, options)
    (first, second) = spans
    assert first[1] / RATE == pytest.approx(7.8 + speech_pad_ms / 1000, abs=0.05)
    assert second[0] / RATE == pytest.approx(8.4 - speech_pad_ms / 1000, abs=0.05)


def test_speech_without_a_pause_is_divided_at_the_limit_and_loses_no_frame() -> None:
    probabilities = of_runs((25.6, 1))
    spans = spans_of_speech(probabilities, len(probabilities) * FRAME, VadOptions(max_speech_duration_s=10.24))
    limit = int((10.24 - 2 * 0.2) * RATE) // FRAME * FRAME
    assert spans == [(0, limit), (limit, 2 * limit), (2 * limit, len(probabilities) * FRAME)]


def test_speech_that_a_pause_ends_in_time_is_not_divided() -> None:
    probabilities = of_runs((9, 1), (1.92, 0))  # the limit falls into a pause that is not yet long enough to end it
    options = VadOptions(max_speech_duration_s=10, speech_pad_ms=0)
    (span,) = spans_of_speech(np.concatenate([probabilities, of_runs((5, 0))]), 16 * RATE, options)
    assert span[1] / RATE == pytest.approx(9, abs=0.05)


def test_padding_that_meets_makes_one_span_of_two() -> None:
    probabilities = of_runs((1, 0), (2, 1), (0.32, 0), (2, 1), (1, 0))
    apart = VadOptions(min_silence_duration_ms=100, speech_pad_ms=100)
    meeting = VadOptions(min_silence_duration_ms=100, speech_pad_ms=160)
    assert len(spans_of_speech(probabilities, len(probabilities) * FRAME, apart)) == 2
    assert len(spans_of_speech(probabilities, len(probabilities) * FRAME, meeting)) == 1


# The package that it comes from


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder with another silero-vad, found before the installed one, still without its file of weights."""
    information = tmp_path / "silero_vad-9.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: silero-vad\nVersion: 9.0\n")
    (tmp_path / "silero_vad" / "data").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    silero.load_silero.cache_clear()
    yield tmp_path
    silero.load_silero.cache_clear()


def test_an_installed_package_is_found() -> None:
    check_installed()


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "_DISTRIBUTION", "silero-vad-that-is-not-there")
    silero.load_silero.cache_clear()
    with pytest.raises(MissingPackageError, match=r"pip install 'whisperlite\[vad\]'") as caught:
        check_installed()
    assert isinstance(caught.value, ImportError)
    assert str(caught.value).startswith("vad_filter=True and chunking='vad' need the package")


@pytest.mark.usefixtures("site")
def test_a_package_that_lacks_its_weights_is_named() -> None:
    with pytest.raises(MissingPackageError, match=r"silero-vad 9\.0 lacks"):
        check_installed()


def test_damaged_weights_are_refused_by_name(site: Path) -> None:
    path = site / "silero_vad" / "data" / "silero_vad.jit"
    path.write_bytes(WEIGHTS[:-1] + b"?")
    with pytest.raises(CheckpointError, match="SHA-256") as caught:
        check_installed()
    assert str(path) in str(caught.value)
    assert "silero-vad 9.0" in str(caught.value)


def test_weights_that_cannot_be_read_are_refused_by_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site / "silero_vad" / "data" / "silero_vad.jit"
    path.write_bytes(WEIGHTS)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointError, match="Permission denied") as caught:
        check_installed()
    assert str(path) in str(caught.value)
