"""Samples → log-mel features, against formulas written out here in double precision."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite import AudioFormatError
from whisperlite.audio.mel import WINDOW_FRAMES, WINDOW_SAMPLES, Features, log_mel_spectrogram, mel_filters


def noise(count: int, *, seed: int = 0, level: float = 0.1) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(count) * level).astype(np.float32)


def literal_log_mel(samples: npt.NDArray[np.float32], n_mels: int) -> npt.NDArray[np.float64]:
    """The definition, all at once: 30 s of zeros appended, mirrored ends, Hann window, power, filters, log, floor."""
    padded = np.pad(np.concatenate([samples, np.zeros(WINDOW_SAMPLES)]), 200, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    count = (len(samples) + WINDOW_SAMPLES) // 160
    frames = np.stack([padded[i * 160 : i * 160 + 400] * hann for i in range(count)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    log = np.log10(np.maximum(power @ mel_filters(n_mels).numpy().T.astype(np.float64), 1e-10))
    result: npt.NDArray[np.float64] = (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0
    return result.T


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("count", [1, 159, 160, 201, 16_000, 1_000_003])
def test_features_equal_the_definition_at_any_length(count: int, n_mels: int) -> None:
    samples = noise(count)
    assert np.abs(log_mel_spectrogram(samples, n_mels=n_mels).numpy() - literal_log_mel(samples, n_mels)).max() < 1e-4


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6000), st.integers(1, WINDOW_FRAMES))
def test_a_window_is_that_part_of_the_whole_and_zeros_behind(start: int, count: int) -> None:
    samples = noise(WINDOW_SAMPLES * 2 + 77)
    features = Features(samples, 80)
    count = min(count, features.content_frames - start)
    if count < 1:
        return
    window = features.window(start, count)()
    assert window.shape == (80, WINDOW_FRAMES)
    assert torch.allclose(window[:, :count], log_mel_spectrogram(samples)[:, start : start + count], atol=1e-5)
    assert (window[:, count:] == 0).all()


def test_the_floor_comes_from_the_loudest_place_of_the_whole_recording() -> None:
    quiet, loud = noise(16_000 * 90, level=1e-4), noise(16_000, seed=1, level=1.0)
    alone = Features(quiet, 80).window(0, 3000)()
    before_loud = Features(np.concatenate([quiet, loud]), 80).window(0, 3000)()
    assert before_loud.min() > alone.min() + 0.1


def test_finding_the_floor_of_one_recording_does_not_hold_up_another() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert goes_on.wait(60)

    long = Features(np.zeros(16_000, np.int16), 80, check=wait)
    thread = threading.Thread(target=long.find_floor)
    thread.start()
    assert begun.wait(60)
    shorts = [threading.Thread(target=Features(np.zeros(16_000, np.int16), 80).find_floor) for _ in range(2)]
    for each in shorts:
        each.start()
        each.join(60)
    is_held_up = any(each.is_alive() for each in shorts)
    goes_on.set()
    thread.join()
    assert not is_held_up


def test_the_floor_is_found_once_and_may_be_found_early() -> None:
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1

    features = Features(np.zeros(70 * 16000, np.int16), 80, check=check)
    assert checks == 0
    features.find_floor()
    found = checks
    assert found > 1
    features.find_floor()
    features.window(0, 3000)()
    assert checks == found


def test_language_is_detected_on_silent_samples_behind_a_short_recording_not_on_zeros() -> None:
    features = Features(noise(16_000), 80)
    silent = features.detection_window()()[:, 200:]
    assert (silent == silent[0, 0]).all()
    assert silent[0, 0] != 0.0
    assert (features.window(0, 100)()[:, 100:] == 0).all()


def test_sixteen_bit_samples_are_scaled_and_left_alone() -> None:
    integers = (noise(50_000) * 32767).astype(np.int16)
    before = integers.copy()
    expected = log_mel_spectrogram((integers / 32768.0).astype(np.float32))
    assert torch.equal(log_mel_spectrogram(integers), expected)
    assert (integers == before).all()


def test_a_recording_shorter_than_a_frame_has_no_content() -> None:
    features = Features(noise(159), 80)
    assert features.content_frames == 0
    assert (features.window(0, 0)() == 0).all()


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_have_unit_area_on_the_mel_scale(n_mels: int) -> None:
    filters = mel_filters(n_mels).double()
    hertz_per_bin = 40.0
    wide = filters[n_mels // 2 :]  # narrow ones may fall between two bins
    assert torch.allclose(wide.sum(1) * hertz_per_bin, torch.ones(len(wide)).double(), atol=0.1)
    assert (filters.argmax(1).diff() >= 0).all()


def test_another_number_of_bands_is_refused() -> None:
    with pytest.raises(ValueError, match="80 or 128"):
        log_mel_spectrogram(noise(16_000), n_mels=64)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(16_000, np.int32),
        np.zeros((2, 16_000), np.float32),
        torch.zeros(16_000),
        [0.0] * 16_000,
    ],
    ids=["32 bits", "stereo", "a tensor", "a list"],
)
def test_what_is_not_mono_samples_is_refused(samples: Any) -> None:
    with pytest.raises(AudioFormatError, match="load_audio"):
        log_mel_spectrogram(samples)


def test_samples_that_may_not_be_written_to_are_taken() -> None:
    """Samples of a memory-mapped file, for example, about which torch would warn."""
    samples = noise(16_000)
    read_only = np.frombuffer(samples.tobytes(), np.float32)
    assert not read_only.flags.writeable
    assert torch.equal(log_mel_spectrogram(read_only), log_mel_spectrogram(samples))
    assert torch.equal(log_mel_spectrogram(samples[::-1]), log_mel_spectrogram(samples[::-1].copy()))


def test_the_user_s_autocast_changes_nothing() -> None:
    samples = noise(16_000)
    expected = log_mel_spectrogram(samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_mel_spectrogram(samples)
    assert torch.equal(found, expected)
