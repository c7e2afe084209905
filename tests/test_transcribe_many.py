"""Real recordings side by side, and in other precisions: the same words."""

from __future__ import annotations

import pytest

import whisperlite
from tests.conftest import DATA, in_bfloat16
from tests.pooled import PATIENCE_S, assert_same_result
from tests.test_transcribe import TRANSCRIPT, word_errors, words
from whisperlite import OptionsDict, Transcription, Whisper
from whisperlite.audio.mel import Samples

# A sentence, the end of one, and one and a bit.
CUTS_S = ((7.38, 13.72), (5.98, 7.38), (20.52, 24.73))
GREEDY: OptionsDict = {"language": "en", "beam_size": 1}


@pytest.fixture(scope="module")
def pieces(librivox: Samples) -> list[Samples]:
    return [librivox[round(start * 16000) : round(end * 16000)] for start, end in CUTS_S]


@pytest.fixture(scope="module")
def alone(base: Whisper, pieces: list[Samples]) -> list[Transcription]:
    return [base.transcribe(piece, **GREEDY) for piece in pieces]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_many_recordings_get_what_each_gets_alone(
    base: Whisper, pieces: list[Samples], alone: list[Transcription], batch_size: int
) -> None:
    results = list(base.transcribe_many(pieces, batch_size=batch_size, **GREEDY))
    for one, other in zip(results, alone, strict=True):
        assert_same_result(one, other)
    assert len({len(each.segments[0].tokens) for each in alone}) == len(pieces)  # they end one after the other


# Between them a temperature above 0 as the first and as a further one, and times of words.
MIXED: list[OptionsDict] = [
    {"beam_size": 1},
    {"language": "en", "temperature": 0.8, "best_of": 2, "seed": 3, "logprob_threshold": None},
    {"language": "en", "beam_size": 1, "word_timestamps": True},
    {"language": "de", "task": "translate", "beam_size": 3},
    {"language": "en", "beam_size": 2, "temperature": (0.0, 0.4), "logprob_threshold": -0.01, "best_of": 2},
]


def test_recordings_with_options_of_their_own_get_what_each_gets_alone(base: Whisper, pieces: list[Samples]) -> None:
    piece = pieces[2]
    with base.pool(batch_size=3) as pool:
        jobs = [pool.submit(piece, **options) for options in MIXED]
        results = [job.result(PATIENCE_S) for job in jobs]
    for options, result in zip(MIXED, results, strict=True):
        assert_same_result(result, base.transcribe(piece, **options))
    assert len(results[2].words) > 5


# Other precisions


@pytest.fixture(scope="module", params=["int8", pytest.param("bfloat16", marks=in_bfloat16)])
def rounded(request: pytest.FixtureRequest) -> Whisper:
    return whisperlite.load_model("base", device="cpu", compute_type=request.param)


def test_rounded_weights_write_down_what_is_read(rounded: Whisper) -> None:
    """float32 makes one error here at most; a rounded near tie may cost another word."""
    result = rounded.transcribe(DATA / "librivox.wav", beam_size=1, word_timestamps=True)
    assert word_errors(words(result.text), words(TRANSCRIPT)) <= 2
    assert (result.language, result.warnings) == ("en", ())
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 23 < times[-1] <= result.duration
    assert "".join(word.word for word in result.words) == result.text


def test_words_are_said_when_float32_hears_them(base: Whisper, rounded: Whisper, pieces: list[Samples]) -> None:
    mine, theirs = (
        model.transcribe(pieces[2], language="en", beam_size=1, word_timestamps=True) for model in (rounded, base)
    )
    assert [each.word for each in mine.words] == [each.word for each in theirs.words]
    for one, other in zip(mine.words, theirs.words, strict=True):
        assert one.start == pytest.approx(other.start, abs=0.1)
        assert one.end == pytest.approx(other.end, abs=0.1)
        assert one.probability == pytest.approx(other.probability, abs=0.1)


def test_rounded_weights_detect_the_language(base: Whisper, rounded: Whisper) -> None:
    found, expected = (model.detect_language(DATA / "librivox.wav") for model in (rounded, base))
    assert found.language == "en"
    assert found.probability == pytest.approx(expected.probability, abs=0.02)
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=1e-4)


def test_rounded_weights_transcribe_many(rounded: Whisper, pieces: list[Samples], alone: list[Transcription]) -> None:
    results = list(rounded.transcribe_many(pieces, batch_size=4, **GREEDY))
    for result, expected in zip(results, alone, strict=True):
        assert isinstance(result, Transcription)
        assert word_errors(words(result.text), words(expected.text)) <= 1
