"""Inputs at the edge of what is allowed, each of which once went wrong."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import whisperlite
from tests.models import random_mel, random_network
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.cli import main
from whisperlite.decoding.asks import Decode, Decoded, Greedy
from whisperlite.decoding.engine import Engine
from whisperlite.options import Options
from whisperlite.text.prompt import N_TEXT_CTX, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.fallback import best_attempt, failed_thresholds

RECORDING = Path(__file__).parent / "data" / "librivox.wav"
LONG = "word and another " * 120


@pytest.mark.parametrize("without_timestamps", [True, False])
@pytest.mark.parametrize("multilingual", [True, False])
def test_a_long_prompt_gives_way_to_a_long_prefix(multilingual: bool, without_timestamps: bool) -> None:
    tokenizer = Tokenizer.bundled(multilingual=multilingual)
    prompt = build_prompt(
        tokenizer,
        language="en",
        task="transcribe",
        without_timestamps=without_timestamps,
        previous=tokenizer.encode(LONG),
        prefix=LONG,
    )
    assert len(prompt.tokens) <= N_TEXT_CTX
    assert prompt.tokens[0] == tokenizer.sot_prev
    assert prompt.tokens[prompt.sot_index] == tokenizer.sot


def test_a_long_prompt_and_prefix_are_transcribed(base: whisperlite.Whisper) -> None:
    options = Options(language="en", initial_prompt=LONG, prefix=LONG, beam_size=1, temperature=(0.0,))
    [decoded] = base.decode([random_mel(base.dims, 0)], options)
    assert decoded.text.startswith("word and another")


def answer(avg_logprob: float) -> Decoded:
    network = random_network("base")
    [encoding] = Engine(network, Tokenizer.bundled(multilingual=True)).encode([lambda: random_mel(network.dims, 0)])
    return Decoded((), "", avg_logprob, 0.0, 1.0, 0.0, False, encoding)


@pytest.mark.parametrize("avg_logprob", [math.nan, -math.inf])
def test_probabilities_that_are_not_finite_fail_even_without_thresholds(avg_logprob: float) -> None:
    options = Options(logprob_threshold=None, compression_ratio_threshold=None)
    assert failed_thresholds(answer(avg_logprob), options) == ("not_finite",)


def test_an_attempt_that_is_not_finite_is_never_the_best() -> None:
    assert best_attempt([answer(math.nan), answer(-3.0), answer(math.nan)], Options()) == 1
    with pytest.raises(whisperlite.DecodingError, match="float32"):
        best_attempt([answer(math.nan)], Options())


def test_hypotheses_that_fill_up_before_the_limit_are_not_truncated(base: whisperlite.Whisper) -> None:
    options = Options(language="en", beam_size=5, patience=0.4, without_timestamps=True)
    samples = whisperlite.load_audio(RECORDING)[: 16_000 * 6]
    window = whisperlite.log_mel_spectrogram(samples)[:, :3000]
    [decoded] = base.decode([window], options)
    assert len(decoded.tokens) < 100
    assert not decoded.truncated


def test_a_request_that_cannot_be_read_leaves_its_lane_to_the_others() -> None:
    network, tokenizer = random_network("base"), Tokenizer.bundled(multilingual=True)
    engine = Engine(network, tokenizer)
    prompt = build_prompt(tokenizer, language="en", task="transcribe", without_timestamps=False)

    def broken() -> torch.Tensor:
        raise OSError("the disk is gone")

    good = Decode(lambda: random_mel(network.dims, 0), prompt, Greedy(), 3, frozenset())
    [expected] = Engine(network, tokenizer).run([good])
    for bad in (
        Decode(broken, prompt, Greedy(), 3, frozenset()),
        Decode(good.window, prompt, Greedy(), 3, frozenset({-7_000_000})),
    ):
        with pytest.raises((OSError, IndexError)):
            engine.run([bad])
        [again] = engine.run([good])
        assert isinstance(again, Decoded)
        assert isinstance(expected, Decoded)
        assert again.tokens == expected.tokens


def test_a_folder_that_happens_to_be_called_base_does_not_hide_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("base").dims.n_audio_layer == 6


def test_an_empty_name_is_no_model() -> None:
    with pytest.raises(whisperlite.ModelNotFoundError, match="empty"):
        whisperlite.load_model("")


def test_an_encoding_of_another_model_is_refused(base: whisperlite.Whisper, tiny_en: whisperlite.Whisper) -> None:
    [encoding] = base.encode([random_mel(base.dims, 0)])
    with pytest.raises(whisperlite.OptionError, match="another model"):
        tiny_en.decode([encoding])


def test_one_kept_encoding_does_not_hold_its_whole_batch(base: whisperlite.Whisper) -> None:
    first, _ = base.encode([random_mel(base.dims, seed) for seed in range(2)])
    assert first.hidden.untyped_storage().nbytes() == first.hidden.nbytes


def test_default_types_of_the_process_are_the_users_to_set(base: whisperlite.Whisper) -> None:
    samples = np.zeros(16_000, dtype=np.float32)
    expected = base.transcribe(samples, language="en", beam_size=2, temperature=(0.0,))
    torch.set_default_dtype(torch.float64)
    try:
        again = base.transcribe(samples, language="en", beam_size=2, temperature=(0.0,))
    finally:
        torch.set_default_dtype(torch.float32)
    assert again.text == expected.text
    assert again.attempts == expected.attempts


def test_a_terminal_without_unicode_shows_what_it_can(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "whisperlite.cli", str(RECORDING), "--prefix", "é café", "-o", str(tmp_path)]
    command += ["--language", "en", "--beam_size", "1", "--clip_timestamps", "0,3", "-f", "txt"]
    command += ["--temperature_increment_on_fallback", "None", "--max_new_tokens", "12"]
    run = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert b"? caf?" in run.stdout
    assert "é café" in (tmp_path / "librivox.txt").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_said_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDING), "-o", str(RECORDING / "below")]) == 2
    assert "librivox.wav" in capsys.readouterr().err
