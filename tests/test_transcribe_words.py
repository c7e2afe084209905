"""Words, segments one by one, and what belongs to whole recordings only, on real weights and a real recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

import whisperlite
from tests.conftest import DATA
from whisperlite.audio.mel import Samples
from whisperlite.errors import OptionError
from whisperlite.options import Options, OptionsDict

FIRST_S = 10.09  # where the first sentence ends
LAST_CLIP = 343_040  # where the last sentence begins, in samples


@pytest.fixture(scope="module")
def result(base: whisperlite.Whisper) -> whisperlite.Transcription:
    return base.transcribe(DATA / "librivox.wav", beam_size=1, word_timestamps=True, clip_timestamps=[0, FIRST_S])


def test_the_words_of_a_segment_joined_are_its_text(result: whisperlite.Transcription) -> None:
    assert len(result.words) > 20
    for segment in result.segments:
        assert segment.words is not None
        assert "".join(word.word for word in segment.words) == segment.text


def test_words_ascend_inside_their_segments_and_the_recording(result: whisperlite.Transcription) -> None:
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    for segment in result.segments:
        words = segment.words or ()
        assert segment.start <= words[0].start
        assert words[-1].end <= segment.end <= result.duration
    assert all(0 < word.probability <= 1 for word in result.words)


def test_a_name_is_found_where_it_is_said(result: whisperlite.Transcription) -> None:
    """`tests/data/README.md`: the recording begins with "Mr. John Dashwood" after half a second or so of silence."""
    (match, *_) = result.find("John Dashwood")
    inside = [word for word in result.words if match.start <= word.start < match.end]
    assert [word.word.strip(" .,") for word in inside] == ["John", "Dashwood"]
    assert all(0.1 < word.end - word.start < 1.0 for word in inside)


def test_segments_one_by_one_are_those_of_transcribe(tiny_en: whisperlite.Whisper, librivox: Samples) -> None:
    options: OptionsDict = {"beam_size": 1, "word_timestamps": True}
    result = tiny_en.transcribe(librivox[LAST_CLIP:], **options)
    with tiny_en.iter_segments(librivox[LAST_CLIP:], **options) as segments:
        assert tuple(segments) == result.segments
        assert replace(segments.result, usage=result.usage) == result


def test_two_threads_on_one_model_get_equal_words__correction_11(
    tiny_en: whisperlite.Whisper, librivox: Samples
) -> None:
    part = librivox[LAST_CLIP:]

    def words(_: int) -> tuple[whisperlite.Word, ...]:
        return tiny_en.transcribe(part, beam_size=1, word_timestamps=True).words

    alone = words(0)
    assert len(alone) > 5
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(words, range(2))) == [alone] * 2


@pytest.mark.parametrize(
    "options",
    [{"word_timestamps": True}, {"vad_filter": True}, {"multilingual": True}, {"timeout_s": 5.0}, {"timeout_s": 0}],
)
def test_decode_refuses_what_is_for_whole_recordings(base: whisperlite.Whisper, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"{name}=.* is for whole recordings"):
        base.decode(torch.zeros(1, 80, 3000), Options(**options))


def test_decode_refuses_an_allowed_language_that_the_model_does_not_have(base: whisperlite.Whisper) -> None:
    with pytest.raises(whisperlite.LanguageError, match="yue"):
        base.decode(torch.zeros(1, 80, 3000), Options(allowed_languages=["yue"]))
