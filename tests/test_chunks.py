"""One recording as many: cut at pauses, decoded side by side, joined again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whisperlite
from tests import scripted
from tests.scripted import Said
from tests.spoken import segment, spoken
from tests.test_cancel import Countdown, ScriptedEngine, scripted_session
from whisperlite.audio.speech import spans_and_pauses
from whisperlite.cancel import NEVER, Stop
from whisperlite.decoding.asks import Answer, Ask, Decode
from whisperlite.decoding.engine import Engine
from whisperlite.errors import CancelledError, DecodingError, OptionError
from whisperlite.options import Options
from whisperlite.results import Attempt, Segment, Skipped, Transcription, Usage
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.chunks import chunks_of, join
from whisperlite.transcription.driver import Driver, drive
from whisperlite.transcription.recording import PARTIAL, Chunked, Event, Run
from whisperlite.transcription.session import Accepted
from whisperlite.vad_options import VadOptions

DATA = Path(__file__).parent / "data"


# Where a recording is cut

stretches = st.lists(st.integers(1, 4000), min_size=0, max_size=40, unique=True).map(
    lambda places: list(zip(sorted(places)[::2], sorted(places)[1::2], strict=False))
)


@given(stretches, st.integers(100, 3000))
def test_chunks_hold_all_speech_in_order_and_are_no_longer_than_they_may_be(
    speech: list[tuple[int, int]], longest: int
) -> None:
    chunks = chunks_of(speech, longest)
    assert all(any(a <= first and end <= b for a, b in chunks) for first, end in speech)
    assert all(before[1] <= after[0] for before, after in pairwise(chunks))
    assert all(end - first <= longest or (first, end) in speech for first, end in chunks)


@given(stretches, st.integers(100, 3000))
def test_neighbours_are_joined_wherever_they_may_be(speech: list[tuple[int, int]], longest: int) -> None:
    for before, after in pairwise(chunks_of(speech, longest)):
        first_stretch = next(stretch for stretch in speech if stretch[0] == after[0])
        assert first_stretch[1] - before[0] > longest


def test_without_speech_there_is_no_chunk() -> None:
    assert chunks_of([], 3000) == []


# Joining


def part(*segments: Segment, language: str = "en", probability: float | None = None, **changes: Any) -> Transcription:
    result = spoken(*(replace(each, language=language) for each in segments))
    return replace(result, language=language, language_probability=probability, **changes)


HEAD = replace(
    spoken(),
    language_probability=0.9,
    usage=Usage(1, 0, 0, 60_000),
    warnings=("the file is damaged",),
    skipped=(Skipped(20.0, 25.0, "vad"),),
)


def test_what_is_joined_is_numbered_summed_and_sorted() -> None:
    one = part(segment(0, 5, " One."), segment(5, 9, " Two.", number=1), usage=Usage(3, 7, 9, 60_000), warnings=("w",))
    other = part(
        segment(30, 35, " Three."),
        usage=Usage(4, 5, 9, 60_000),
        warnings=("w",),
        skipped=(Skipped(9.0, 10.0, "silence"),),
    )
    result = join(HEAD, [one, other])
    assert [(each.id, each.text) for each in result.segments] == [(0, " One."), (1, " Two."), (2, " Three.")]
    assert result.text == " One. Two. Three."
    assert result.usage == Usage(8, 12, 0, 60_000)
    assert result.warnings == ("the file is damaged", "w")
    assert result.skipped == (Skipped(9.0, 10.0, "silence"), Skipped(20.0, 25.0, "vad"))
    assert (result.language, result.language_probability) == ("en", 0.9)


def test_where_every_chunk_has_its_language_it_is_that_of_most_of_the_speech() -> None:
    parts = [
        part(segment(0, 5, " One."), probability=0.7),
        part(segment(10, 18, " Zwei."), language="de", probability=0.8),
        part(segment(20, 22, " Drei."), language="de", probability=0.6),
    ]
    result = join(replace(HEAD, language="", language_probability=None), parts)
    assert result.language == "de"
    assert result.language_probability == pytest.approx(0.7)


# On its way

Session = Generator[Ask | Accepted, Answer | None, Transcription]


def nothing() -> Session:
    """Stands for a session; what becomes of it is told to the recording by hand."""
    yield from ()
    return spoken()


def chunked(*ends: float) -> Chunked:
    return Chunked(nothing(), lambda _: [(nothing(), end) for end in ends], NEVER)


def started(*ends: float) -> tuple[Chunked, list[Run]]:
    recording = chunked(*ends)
    (head,) = recording.begin()
    runs = recording.on_event(head, HEAD)
    return recording, [run for run in runs if isinstance(run, Run)]


def tell(recording: Chunked, run: Run, event: Event) -> Sequence[Run | Event]:
    return recording.on_event(run, event)


def test_the_chunks_begin_when_the_language_is_known() -> None:
    recording = chunked(30.0, 60.0)
    assert len(recording.begin()) == 1
    _, runs = started(30.0, 60.0)
    assert len(runs) == 2


def test_a_recording_without_speech_ends_at_once() -> None:
    recording = chunked()
    (head,) = recording.begin()
    (result,) = recording.on_event(head, HEAD)
    assert isinstance(result, Transcription)
    assert (result.segments, result.language, result.skipped) == ((), "en", HEAD.skipped)


def test_segments_are_handed_out_in_order_whichever_chunk_ends_first() -> None:
    recording, (one, two, three) = started(20.0, 40.0, 60.0)
    assert tell(recording, three, part(segment(40, 60, " Three."))) == []
    (first,) = tell(recording, one, part(segment(0, 10, " One."), segment(10, 20, " More.")))
    assert isinstance(first, Accepted)
    assert [(each.id, each.text) for each in first.segments] == [(0, " One."), (1, " More.")]
    assert (first.done_s, first.total_s) == (20.0, 60.0)
    second, third, end = tell(recording, two, part(segment(20, 40, " Two.")))
    assert isinstance(second, Accepted)
    assert isinstance(third, Accepted)
    assert [(each.id, each.text) for each in (*second.segments, *third.segments)] == [(2, " Two."), (3, " Three.")]
    assert isinstance(end, Transcription)
    assert end.segments == (*first.segments, *second.segments, *third.segments)
    assert end.text == " One. More. Two. Three."


def test_an_error_ends_the_recording_with_what_was_handed_out() -> None:
    recording, (one, two, three) = started(20.0, 40.0, 60.0)
    tell(recording, one, part(segment(0, 20, " One.")))
    tell(recording, three, part(segment(40, 60, " Three.")))
    error = DecodingError("of one chunk")
    assert tell(recording, two, error) == [error]
    assert error.partial is not None
    assert error.partial.text == " One."
    assert error.partial.skipped == ()  # what is passed over lies behind it
    assert all(run.is_dropped for run in (one, two, three))


def test_stopped_before_its_language_is_known_it_has_what_is_known_and_says_so() -> None:
    recording = chunked(20.0)
    (head,) = recording.begin()
    error = CancelledError()
    error.partial = part()
    assert tell(recording, head, error) == [error]
    assert error.partial.warnings == (PARTIAL,)


def test_what_there_is_of_the_next_chunk_is_a_part_of_the_beginning() -> None:
    recording, (one, two, _) = started(20.0, 40.0, 60.0)
    tell(recording, one, part(segment(0, 20, " One.")))
    error = CancelledError()
    error.partial = part(segment(20, 30, " Half."))
    tell(recording, two, error)
    assert error.partial.text == " One. Half."
    assert error.partial.warnings.count(PARTIAL) == 1
    assert [each.id for each in error.partial.segments] == [0, 1]


def test_only_some_chunks_are_on_their_way_at_a_time() -> None:
    recording, runs = started(*(float(end) for end in range(10, 400, 10)))
    assert len(runs) == 16
    on_their_way = list(runs)
    for count in range(39):
        events = tell(recording, on_their_way[count], part(segment(10 * count, 10 * count + 5, " So.")))
        on_their_way += [each for each in events if isinstance(each, Run)]
    assert len(on_their_way) == 39
    assert isinstance(events[-1], Transcription)
    assert len(events[-1].segments) == 39


def test_a_session_is_made_when_its_chunk_begins() -> None:
    made: list[float] = []

    def chunks_in(_: Transcription) -> Iterator[tuple[Session, float]]:
        for end in range(10, 400, 10):
            made.append(end)
            yield nothing(), float(end)

    recording = Chunked(nothing(), chunks_in, NEVER)
    (head,) = recording.begin()
    runs = [run for run in recording.on_event(head, HEAD) if isinstance(run, Run)]
    assert len(made) == len(runs) == 16
    tell(recording, runs[3], part(segment(30, 35, " So.")))
    assert len(made) == 17


@pytest.mark.parametrize("length", [900, 924, 925, 926, 2000])
def test_the_longest_stretch_of_speech_is_one_window(length: int) -> None:
    """Its ends are in the middle of frames of the features, whose part is heard too."""
    options = Options(chunking="vad").vad
    assert options is not None
    probabilities = np.concatenate([np.zeros(51), np.ones(length), np.zeros(100)])
    n_samples = 512 * len(probabilities)
    found, _ = spans_and_pauses(probabilities, n_samples, options)
    duration = n_samples / 16000
    heard, _, _ = Bounds(round(duration * 100), duration).clips(
        [(0.0, None)], [(start / 16000, end / 16000) for start, end in found]
    )
    assert max(end - first for first, end in heard) <= 3000


# What there is of a recording that ends before its time


class AllAtOnce(ScriptedEngine):
    """Answers all that was asked in one step, the last first."""

    def step(self) -> list[tuple[int, Answer]]:
        return [each for _ in list(self.waiting) for each in super(AllAtOnce, self).step()][::-1]


def two_chunks(stop: Stop) -> Chunked:
    """The second begins at 50 s; each has several windows."""
    options = {"language": "en", "temperature": 0.0, "temperature_increment_on_fallback": None}
    halves = [scripted_session(clip_timestamps=clip, **options) for clip in ([0, 50], [50, 100])]
    return Chunked(nothing(), lambda _: zip(halves, (50.0, 100.0), strict=True), stop)


def say(ask: Decode) -> Said:
    """Half a minute of text; of the second chunk it is not finite."""
    begins_s = ask.window.start_frame / 100  # type: ignore[attr-defined]
    spoken_text = scripted.spoken(0, f" From {begins_s:.0f}.", 30)
    return Said(spoken_text, avg_logprob=float("nan") if begins_s >= 50 else -0.3)


def test_a_recording_that_is_stopped_has_the_beginning_whichever_chunk_has_waited_longest() -> None:
    """At the second step the first chunk has asked again, behind the second, which is asked first whether to stop."""
    recording = two_chunks(Stop(Countdown(2)))
    with pytest.raises(CancelledError) as caught:
        list(drive(recording, cast(Engine, ScriptedEngine(say))))
    assert caught.value.partial is not None
    assert caught.value.partial.text == " From 0."


def test_a_chunk_that_fails_leaves_the_beginning_from_the_one_before_it() -> None:
    with pytest.raises(DecodingError) as caught:
        list(drive(two_chunks(NEVER), cast(Engine, ScriptedEngine(say))))
    assert caught.value.partial is not None
    assert caught.value.partial.text == " From 0."


def test_answers_to_chunks_of_a_recording_that_has_failed_go_to_nobody() -> None:
    engine = AllAtOnce(say)
    driver = Driver(cast(Engine, engine))
    assert list(driver.start(two_chunks(NEVER))) == []
    ((_, error),) = driver.step()
    assert isinstance(error, DecodingError)
    assert driver.is_idle
    assert engine.waiting == []


def test_after_the_end_nothing_more_happens() -> None:
    recording, (one, two) = started(20.0, 40.0)
    tell(recording, one, CancelledError())
    assert tell(recording, two, CancelledError()) == []
    assert tell(recording, two, part(segment(20, 40, " Two."))) == []


# Options


def test_it_is_cut_at_short_pauses_and_no_chunk_is_longer_than_a_window() -> None:
    found = Options(chunking="vad", chunk_length=20).vad
    assert found == VadOptions(min_silence_duration_ms=500, max_speech_duration_s=19.99)
    mine = Options(chunking="vad", vad_options={"threshold": 0.4, "max_speech_duration_s": 10}).vad
    assert mine == VadOptions(threshold=0.4, min_silence_duration_ms=500, max_speech_duration_s=10.0)
    long = Options(chunking="vad", vad_options={"min_silence_duration_ms": 2000}).vad
    assert long is not None
    assert long.min_silence_duration_ms == 2000


def test_a_batch_size_needs_chunks(base: whisperlite.Whisper) -> None:
    with pytest.raises(OptionError, match="chunking='vad'"):
        base.transcribe(np.zeros(16000, np.float32), batch_size=4)
    with pytest.raises(OptionError, match="from 1 to 128"):
        base.transcribe(np.zeros(16000, np.float32), chunking="vad", batch_size=0)


# With real weights


@pytest.fixture(scope="module")
def base() -> whisperlite.Whisper:
    return whisperlite.load_model("base", compute_type="float32")


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """The recording three times, with pauses of silence: at least three chunks, since two do not fit into one."""
    samples = whisperlite.load_audio(next(DATA.glob("*.wav")))
    gap = np.zeros(4 * 16000, np.float32)
    return np.concatenate([samples, gap, samples, gap, samples])


def words(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter.isspace()).split()


def test_chunks_give_the_words_and_times_of_the_whole(base: whisperlite.Whisper, talk: np.ndarray) -> None:
    options: dict[str, Any] = {"language": "en", "beam_size": 1, "word_timestamps": True}
    heard: list[Segment] = []
    progress: list[tuple[float, float]] = []
    result = base.transcribe(
        talk,
        chunking="vad",
        batch_size=3,
        chunk_length=15,
        on_segment=heard.append,
        on_progress=lambda *both: progress.append(both),
        **options,
    )
    whole = base.transcribe(talk, vad_filter=True, **options)
    assert words(result.text) == words(whole.text)
    assert tuple(heard) == result.segments
    assert progress == sorted(progress)
    assert progress[-1] == (result.duration, result.duration)
    assert [each.id for each in result.segments] == list(range(len(result.segments)))
    apart = [abs(mine.start - theirs.start) for mine, theirs in zip(result.words, whole.words, strict=True)]
    assert np.median(apart) < 0.05
    assert max(apart) < 1.0  # other windows hear other beginnings; a chunk's offset would be seconds
    assert all(isinstance(attempt, Attempt) for attempt in result.attempts)
    assert {span.reason for span in result.skipped} == {"vad"}


def test_the_size_of_the_batch_changes_nothing(base: whisperlite.Whisper, talk: np.ndarray) -> None:
    options: dict[str, Any] = {"language": None, "beam_size": 1, "chunking": "vad", "chunk_length": 15}
    one, other = (base.transcribe(talk, batch_size=size, **options) for size in (1, 8))
    assert [(each.id, each.start, each.end, each.tokens) for each in one.segments] == [
        (each.id, each.start, each.end, each.tokens) for each in other.segments
    ]
    assert one.language == other.language == "en"
    assert one.language_probability == other.language_probability is not None


def test_silence_has_no_chunk_and_its_language_is_found_all_the_same(base: whisperlite.Whisper) -> None:
    result = base.transcribe(np.zeros(40 * 16000, np.float32), chunking="vad")
    assert (result.text, result.segments) == ("", ())
    assert result.skipped == (Skipped(0.0, 40.0, "vad"),)
    assert result.language in base.languages


def test_what_lies_between_clips_is_left_out(base: whisperlite.Whisper, talk: np.ndarray) -> None:
    clips = ((0.0, 5.0), (8.0, 12.0))
    result = base.transcribe(talk, language="en", beam_size=1, chunking="vad", clip_timestamps=clips)
    assert {attempt.seek // 100 >= 8 for attempt in result.attempts} == {False, True}
    assert not any(each.end > 5.0 and each.start < 8.0 for each in result.segments)


def test_a_cancelled_recording_gives_the_chunks_before(base: whisperlite.Whisper, talk: np.ndarray) -> None:
    options: dict[str, Any] = {"language": "en", "beam_size": 1, "chunking": "vad", "chunk_length": 15, "batch_size": 1}
    whole = base.transcribe(talk, **options)
    token = whisperlite.CancelToken()
    with pytest.raises(CancelledError) as caught:
        base.transcribe(talk, cancel=token, on_segment=lambda _: token.cancel(), **options)
    partial = caught.value.partial
    assert partial is not None
    assert 0 < len(partial.segments) < len(whole.segments)
    assert partial.segments == whole.segments[: len(partial.segments)]


def test_the_texts_of_options_are_tokenised_once_for_all_chunks(
    base: whisperlite.Whisper, talk: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = Tokenizer.encode

    def counting(self: Tokenizer, text: str) -> list[int]:
        encoded.append(text)
        return encode(self, text)

    monkeypatch.setattr(Tokenizer, "encode", counting)
    texts: dict[str, Any] = {"hotwords": "Dashwood", "initial_prompt": "Sense and Sensibility."}
    result = base.transcribe(
        talk, language="en", beam_size=1, temperature=0.0, max_new_tokens=2, chunking="vad", chunk_length=15, **texts
    )
    assert len({attempt.seek for attempt in result.attempts}) >= 3
    assert [encoded.count(f" {text}") for text in texts.values()] == [1, 1]
