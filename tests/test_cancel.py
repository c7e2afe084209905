"""Stopping at any moment: what is raised, what there is by then, and that nothing is left running."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import whisperlite
from tests.pooled import Steps, quick, wait_until, watch_engines, wav_of
from tests.scripted import MULTILINGUAL, SILENT, UNSURE, Said, at, detected, half_a_second_each, spoken, text
from tests.scripted import drive as drive_to_the_end
from whisperlite import CancelledError, CancelToken, DecodingError, OptionError, TimeoutExceededError, Transcription
from whisperlite.audio.mel import Features
from whisperlite.cancel import NEVER, Stop
from whisperlite.decoding.asks import Align, Aligned, Answer, Ask, Decode, Decoded, Detect
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine
from whisperlite.nn.network import Decoder
from whisperlite.options import OptionsDict, make_options
from whisperlite.transcription.driver import Driver, drive
from whisperlite.transcription.recording import PARTIAL, Event, Recording, Sequential
from whisperlite.transcription.session import Accepted, Session, session

# A session with scripted answers, stopped before every step


class ScriptedEngine:
    """Answers one ask a step, as `tests.scripted.drive` does; the answer depends on where the window begins."""

    def __init__(self, script: Callable[[Decode], Said]) -> None:
        self.script = script
        self.waiting: list[tuple[int, Ask]] = []
        self.tickets = 0

    def submit(self, ask: Ask) -> int:
        self.tickets += 1
        self.waiting.append((self.tickets, ask))
        return self.tickets

    def cancel(self, ticket: int) -> None:
        self.waiting = [each for each in self.waiting if each[0] != ticket]

    def step(self) -> list[tuple[int, Answer]]:
        ticket, ask = self.waiting.pop(0)
        encoding = ask.encoding or Encoding(torch.zeros(1), cast(Decoder, None), ask.window)
        if isinstance(ask, Detect):
            return [(ticket, detected(ask, _language, encoding))]
        if isinstance(ask, Align):
            return [(ticket, Aligned(*half_a_second_each(ask), encoding))]
        said = self.script(ask)
        return [
            (
                ticket,
                Decoded(
                    tokens=(*ask.prompt.forced, *said.tokens),
                    text=MULTILINGUAL.decode(said.tokens).strip(),
                    avg_logprob=said.avg_logprob,
                    no_speech_prob=said.no_speech_prob,
                    compression_ratio=said.compression_ratio,
                    temperature=ask.strategy.temperature,
                    truncated=said.truncated,
                    encoding=encoding,
                ),
            )
        ]


def _language(_: Detect, span: tuple[float, float]) -> dict[str, float]:
    return {"en": 0.98, "de": 0.02} if (span[0] + span[1]) / 2 < 50 else {"en": 0.02, "de": 0.98}


def _script(ask: Decode) -> Said:
    """Text, silence, doubt, nothing and made-up words, by where the window begins."""
    seconds = ask.window.start_frame // 100  # type: ignore[attr-defined]
    if seconds % 7 == 3:
        return SILENT
    if seconds % 5 == 2 and ask.strategy.temperature == 0:
        return UNSURE
    if seconds % 11 == 4:
        return Said([at(0), at(9)])
    return Said([*spoken(0, " One two.", 4), *spoken(5, " Three four five.", 13), at(13), *text(" six")])


class Countdown(CancelToken):
    """Cancelled when it was asked so many times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    @property
    def is_cancelled(self) -> bool:
        self.left -= 1
        return self.left < 0


def scripted_session(**options: Any) -> Session:
    speech = options.pop("speech", None)
    features = Features(np.zeros(100 * 16000, np.int16), 80)
    chosen = make_options(options)
    return session(features, chosen, MULTILINGUAL, duration=100.0, model="scripted", speech=speech)


@dataclass
class Outcome:
    """What was accepted of a recording, and its result or its error."""

    accepted: list[Accepted] = field(default_factory=list)
    end: Transcription | BaseException | None = None

    @property
    def result(self) -> Transcription:
        assert isinstance(self.end, Transcription)
        return self.end

    @property
    def error(self) -> CancelledError:
        assert isinstance(self.end, CancelledError)
        return self.end


def driven(one: Session, stop: Stop = NEVER, script: Callable[[Decode], Said] = _script) -> Outcome:
    """A recording by itself."""
    outcome = Outcome()
    windows = drive(Sequential(one, stop), cast(Engine, ScriptedEngine(script)))
    try:
        while True:
            outcome.accepted.append(next(windows))
    except StopIteration as end:
        outcome.end = end.value
    except CancelledError as error:
        outcome.end = error
    return outcome


def driven_together(sessions: Sequence[Session], stops: Sequence[Stop]) -> tuple[list[Outcome], ScriptedEngine]:
    """Recordings side by side, and the engine as they leave it."""
    engine = ScriptedEngine(_script)
    driver = Driver(cast(Engine, engine))
    recordings = [Sequential(one, stop) for one, stop in zip(sessions, stops, strict=True)]
    outcomes: dict[Recording, Outcome] = {recording: Outcome() for recording in recordings}

    def keep(recording: Recording, event: Event) -> None:
        assert outcomes[recording].end is None, "nothing follows an end"
        if isinstance(event, Accepted):
            outcomes[recording].accepted.append(event)
        else:
            outcomes[recording].end = event

    for each in recordings:
        for recording, event in driver.start(each):
            keep(recording, event)
    while not driver.is_idle:
        for recording, event in driver.step():
            keep(recording, event)
    return list(outcomes.values()), engine


def assert_is_a_prefix(partial: Transcription | None, whole: Transcription) -> None:
    assert partial is not None
    count = len(partial.segments)
    assert partial.segments == whole.segments[:count]
    assert partial.text == "".join(segment.text for segment in partial.segments)
    assert whole.text.startswith(partial.text)
    assert partial.skipped == whole.skipped[: len(partial.skipped)]
    assert (partial.warnings.count(PARTIAL), whole.warnings.count(PARTIAL)) == (1, 0)
    for mine, theirs in zip(partial.attempts, whole.attempts[: len(partial.attempts)], strict=True):
        assert mine in (theirs, replace(theirs, accepted=False))
    assert partial.language in ("", "en", whole.language)
    assert (partial.model, partial.task) == (whole.model, whole.task)
    assert partial.duration == whole.duration or (partial.duration == 0 and not partial.attempts)  # not yet read


RECORDINGS: list[dict[str, Any]] = [
    {"language": "en"},
    {},
    {"language": "en", "word_timestamps": True},
    {"word_timestamps": True, "hallucination_silence_threshold": 1.0},
    {"multilingual": True, "word_timestamps": True},
    {"speech": [(5.0, 20.0), (29.5, 45.0), (61.5, 99.0)]},
    {"language": "en", "clip_timestamps": [0, 10, 20, 50, 90]},
    {"language": "en", "condition_on_previous_text": False, "temperature": 0.0},
]


@pytest.mark.parametrize("options", RECORDINGS)
def test_stopped_at_any_step_what_there_is_is_a_prefix_of_the_whole(options: dict[str, Any]) -> None:
    whole = driven(scripted_session(**options))
    assert len(whole.result.segments) > 3
    stopped = 0
    while True:
        heard = driven(scripted_session(**options), Stop(Countdown(stopped)))
        if isinstance(heard.end, Transcription):
            break
        assert heard.accepted == whole.accepted[: len(heard.accepted)]
        partial = heard.error.partial
        assert_is_a_prefix(partial, whole.result)
        assert partial is not None
        assert partial.segments == tuple(each for window in heard.accepted for each in window.segments)
        stopped += 1
    assert stopped >= len(whole.result.attempts)


def test_stopped_between_windows_everything_accepted_is_there() -> None:
    lengths = set()
    for count in range(40):
        heard = driven(scripted_session(language="en"), Stop(Countdown(count)))
        if isinstance(heard.end, CancelledError):
            assert heard.end.partial is not None
            lengths.add(len(heard.end.partial.segments))
    assert min(lengths) == 0
    assert len(lengths) > 3


def test_stopped_before_its_language_is_known_a_recording_has_none() -> None:
    partial = driven(scripted_session(), Stop(Countdown(0))).error.partial
    assert partial is not None
    assert (partial.language, partial.language_probability) == ("", None)


def cost_less(result: Transcription) -> dict[str, Any]:
    return {name: value for name, value in result.to_dict().items() if name != "usage"}


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_of_several_recordings_the_one_that_is_stopped_ends_and_the_others_go_on(count: int) -> None:
    alone = [driven(scripted_session(**each)) for each in RECORDINGS]
    sessions = [scripted_session(**each) for each in RECORDINGS]
    stops = [Stop(Countdown(count)) if number == 2 else NEVER for number in range(len(sessions))]
    together, _ = driven_together(sessions, stops)
    assert_is_a_prefix(together[2].error.partial, alone[2].result)
    for number, (one, other) in enumerate(zip(together, alone, strict=True)):
        if number != 2:
            assert cost_less(one.result) == cost_less(other.result)


def test_recordings_that_are_stopped_together_each_have_their_own_part() -> None:
    """A token of all, which is cancelled while some are further than others."""
    stop = Stop(Countdown(8 * len(RECORDINGS)))
    together, engine = driven_together([scripted_session(**each) for each in RECORDINGS], [stop] * len(RECORDINGS))
    for options, outcome in zip(RECORDINGS, together, strict=True):
        assert_is_a_prefix(outcome.error.partial, driven(scripted_session(**options)).result)
    assert len({len(outcome.accepted) for outcome in together}) > 1
    assert engine.waiting == []


def test_what_a_stopped_recording_asked_for_is_forgotten() -> None:
    engine = ScriptedEngine(_script)
    driver = Driver(cast(Engine, engine))
    assert list(driver.start(Sequential(scripted_session(), Stop(Countdown(0))))) == []
    assert len(engine.waiting) == 1
    ((_, event),) = driver.step()
    assert isinstance(event, CancelledError)
    assert engine.waiting == []
    assert driver.is_idle


def test_several_recordings_that_are_not_stopped_are_what_each_is_alone() -> None:
    together, _ = driven_together([scripted_session(**each) for each in RECORDINGS], [NEVER] * len(RECORDINGS))
    for options, outcome in zip(RECORDINGS, together, strict=True):
        alone = driven(scripted_session(**options))
        assert cost_less(outcome.result) == cost_less(alone.result)
        assert outcome.accepted == alone.accepted


def test_a_session_that_has_not_begun_raises_what_is_thrown_in() -> None:
    with pytest.raises(CancelledError):
        scripted_session().throw(CancelledError("stop"))


def test_no_recording_is_no_work() -> None:
    driver = Driver(cast(Engine, ScriptedEngine(_script)))
    assert driver.is_idle
    assert list(driver.step()) == []


# Errors


def _error(kind: type[CancelledError] | type[DecodingError]) -> CancelledError | DecodingError:
    error = kind("It was stopped.")
    error.partial = driven(scripted_session(language="en")).result
    return error


@pytest.mark.parametrize("kind", [CancelledError, TimeoutExceededError, DecodingError])
def test_errors_pickle_with_what_there_was(kind: type[CancelledError] | type[DecodingError]) -> None:
    error = _error(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.partial) == (str(error), error.partial)


def test_a_timeout_is_a_cancellation_and_a_timeout_error() -> None:
    assert issubclass(TimeoutExceededError, CancelledError)
    assert issubclass(TimeoutExceededError, TimeoutError)
    assert issubclass(CancelledError, whisperlite.WhisperliteError)


def test_a_window_without_finite_probabilities_is_an_error_with_what_was_there_before() -> None:
    script = [Said(spoken(0, " One.", 30)), Said(spoken(0, " Two.", 10), avg_logprob=float("nan"))]
    with pytest.raises(DecodingError, match="not finite") as caught:
        drive_to_the_end(script, seconds=60, temperature=0.0, temperature_increment_on_fallback=None)
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, len(partial.segments), partial.language) == (" One.", 1, "en")


def test_tokens_may_be_cancelled_twice_and_stay_so() -> None:
    token = CancelToken()
    Stop(token).check()
    token.cancel()
    token.cancel()
    assert token.is_cancelled
    with pytest.raises(CancelledError, match="cancelled"):
        Stop(token).check()


def test_a_limit_begins_when_it_is_made_and_names_itself() -> None:
    Stop.after(None).check()
    Stop.after(60.0).check()
    NEVER.check()
    with pytest.raises(TimeoutExceededError, match=r"timeout_s=0\.5\b"):
        Stop(None, 0.5, time.monotonic() - 0.001).check()


def test_a_stop_says_whether_its_check_raises() -> None:
    cancelled = CancelToken()
    cancelled.cancel()
    for stop in (NEVER, Stop(CancelToken()), Stop.after(60.0)):
        assert not stop.is_over
    for stop in (Stop(cancelled), Stop.after(0.0), Stop(CancelToken(), 0.5, time.monotonic() - 0.001)):
        assert stop.is_over


def test_a_cancelled_token_comes_before_a_limit_that_is_over() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError) as caught:
        Stop(token, 0.5, 0.0).check()
    assert not isinstance(caught.value, TimeoutExceededError)


# A small network, through the public calls

NOISE = (np.random.default_rng(0).standard_normal(65 * 16000) * 0.1).astype(np.float32)
QUICK: OptionsDict = {"beam_size": 1, "max_new_tokens": 4, "logprob_threshold": None, "without_timestamps": True}


@pytest.fixture(scope="module")
def whole(model: whisperlite.Whisper) -> Transcription:
    return model.transcribe(NOISE, **QUICK)


def stopped_after(count: int, model: whisperlite.Whisper, heard: list[whisperlite.Segment]) -> Transcription | None:
    """What there was; None: it was not stopped."""
    try:
        model.transcribe(NOISE, cancel=Countdown(count), on_segment=heard.append, **QUICK)
    except CancelledError as error:
        return error.partial
    return None


def test_a_call_stopped_at_any_moment_has_a_prefix_of_the_whole(
    model: whisperlite.Whisper, whole: Transcription
) -> None:
    """While it is read, while its loudest moment is looked for, at every token."""
    assert len(whole.segments) == 3
    lengths = []
    for count in range(1000):
        heard: list[whisperlite.Segment] = []
        partial = stopped_after(count, model, heard)
        if partial is None:
            break
        assert_is_a_prefix(partial, whole)
        assert tuple(heard) == partial.segments
        lengths.append(len(heard))
    assert lengths == sorted(lengths)
    assert set(lengths) == {0, 1, 2}


def test_what_is_no_token_is_refused_before_anything_is_read(model: whisperlite.Whisper) -> None:
    with pytest.raises(OptionError, match=r"cancel=<threading\.Event.* is no CancelToken"):
        model.transcribe("no such file.wav", cancel=cast(CancelToken, threading.Event()))


def test_a_token_that_was_cancelled_before_stops_a_call_before_it_reads(model: whisperlite.Whisper) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError) as caught:
        model.transcribe("no such file.wav", cancel=token, language="de", task="translate")
    partial = caught.value.partial
    assert partial is not None
    assert (partial.text, partial.segments, partial.language, partial.task) == ("", (), "de", "translate")
    assert (partial.model, partial.duration) == ("small", 0.0)


def test_no_time_at_all_is_over_at_once(model: whisperlite.Whisper) -> None:
    with pytest.raises(TimeoutExceededError, match=r"timeout_s=0\b"):
        model.transcribe(NOISE, timeout_s=0)


def test_a_call_ends_soon_after_its_time_is_over(model: whisperlite.Whisper) -> None:
    """An hour of sound; reading it once takes longer than the limit."""
    began = time.monotonic()
    with pytest.raises(TimeoutExceededError) as caught:
        model.transcribe(np.zeros(3600 * 16000, np.int16), timeout_s=0.2)
    assert time.monotonic() - began < 5
    assert caught.value.partial is not None
    assert caught.value.partial.duration == 3600.0


def test_enough_time_changes_nothing(model: whisperlite.Whisper, whole: Transcription) -> None:
    options = QUICK.copy()
    options["timeout_s"] = 600
    assert model.transcribe(NOISE, **options).segments == whole.segments


def test_another_thread_can_stop_a_call(model: whisperlite.Whisper) -> None:
    token = CancelToken()

    def stop(_: whisperlite.Segment) -> None:
        other = threading.Thread(target=token.cancel)
        other.start()
        other.join()

    with pytest.raises(CancelledError) as caught:
        model.transcribe(NOISE, cancel=token, on_segment=stop, **QUICK)
    assert caught.value.partial is not None
    assert len(caught.value.partial.segments) == 1


@pytest.mark.parametrize("options", [{}, {"chunking": "vad", "without_timestamps": True}])
def test_an_error_that_is_kept_keeps_no_engine(
    model: whisperlite.Whisper, options: OptionsDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = watch_engines(monkeypatch, weakref.ref)
    kept: list[CancelledError] = []
    gc.disable()
    try:
        for count in range(1000):
            try:
                model.transcribe(NOISE, cancel=Countdown(count), **cast(OptionsDict, {**QUICK, **options}))
            except CancelledError as error:
                kept.append(error)
            else:
                break
        assert 1 < len(engines) < len(kept)
        assert not any(engine() for engine in engines[:-1])
    finally:
        gc.enable()


def test_after_a_call_was_stopped_the_model_goes_on_as_before(model: whisperlite.Whisper, whole: Transcription) -> None:
    with pytest.raises(CancelledError):
        model.transcribe(NOISE, cancel=Countdown(6), **QUICK)
    assert model.transcribe(NOISE, **QUICK).segments == whole.segments


# Segments one by one


def test_segments_one_by_one_are_those_of_the_whole(model: whisperlite.Whisper, whole: Transcription) -> None:
    segments = model.iter_segments(NOISE, **QUICK)
    assert tuple(segments) == whole.segments
    assert segments.result.segments == whole.segments
    assert segments.progress == (65.0, 65.0)
    with pytest.raises(StopIteration):
        next(segments)


def test_the_progress_ends_at_the_end_though_a_part_is_left_out(model: whisperlite.Whisper) -> None:
    segments = model.iter_segments(NOISE, **quick(clip_timestamps=(0, 10)))
    assert list(segments)
    assert segments.progress == (65.0, 65.0)


def test_segments_are_handed_out_while_the_rest_is_not_yet_done(
    model: whisperlite.Whisper, whole: Transcription
) -> None:
    segments = model.iter_segments(NOISE, **QUICK)
    assert segments.progress == (0.0, 65.0)
    assert next(segments) == whole.segments[0]
    assert segments.progress == (30.0, 65.0)


def test_the_result_does_what_is_left_and_leaves_segments_to_be_taken(
    model: whisperlite.Whisper, whole: Transcription
) -> None:
    segments = model.iter_segments(NOISE, **QUICK)
    first = next(segments)
    assert segments.result.text == whole.text
    assert (first, *segments) == whole.segments
    assert segments.result is segments.result


def test_a_token_can_be_cancelled_while_it_is_being_cancelled() -> None:
    """As a signal does, or the garbage collector, which may come between any two lines."""
    token = CancelToken()

    def interrupt(*_: object) -> Any:
        token.cancel()
        return interrupt

    def cancel() -> None:
        sys.settrace(interrupt)
        token.cancel()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()
    assert token.is_cancelled


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda again: again.__name__)
def test_a_token_cannot_be_copied_since_the_copy_would_stop_nothing(again: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="within one process"):
        again(CancelToken())


def test_an_iterator_that_fails_says_so_again(model: whisperlite.Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that is not one of ours, such as that there is no more memory."""

    def fail(_: Engine) -> None:
        raise MemoryError("none left")

    with model.iter_segments(NOISE, **QUICK) as segments:
        next(segments)
        monkeypatch.setattr(Engine, "step", fail)
        with pytest.raises(MemoryError):
            next(segments)
        with pytest.raises(MemoryError):
            _ = segments.result


def test_a_callback_that_raises_ends_the_work(model: whisperlite.Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it held is free, though somebody keeps the error."""
    engines = watch_engines(monkeypatch, weakref.ref)

    def fail(_: whisperlite.Segment) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        model.transcribe(NOISE, on_segment=fail, **QUICK)
    assert caught.value.__traceback__ is not None
    gc.collect()
    assert [engine() for engine in engines] == [None]


def test_a_closed_iterator_ends_and_has_no_result(model: whisperlite.Whisper) -> None:
    with model.iter_segments(NOISE, **QUICK) as segments:
        next(segments)
    assert list(segments) == []
    with pytest.raises(ValueError, match="closed"):
        _ = segments.result
    segments.close()


def test_a_closed_iterator_keeps_a_result_that_it_had(model: whisperlite.Whisper, whole: Transcription) -> None:
    with model.iter_segments(NOISE, **QUICK) as segments:
        assert segments.result.text == whole.text
    assert list(segments) == []
    assert segments.result.text == whole.text


def test_an_iterator_that_was_closed_before_it_began_is_empty(model: whisperlite.Whisper) -> None:
    segments = model.iter_segments(NOISE, **QUICK)
    segments.close()
    assert list(segments) == []


def test_threads_that_share_an_iterator_wait_for_each_other(
    model: whisperlite.Whisper, whole: Transcription, steps: Steps
) -> None:
    segments = model.iter_segments(NOISE, **QUICK)
    results: list[Transcription] = []
    second = threading.Thread(target=lambda: results.append(segments.result))

    def join_in(count: int) -> None:
        if count == 2:
            second.start()
            second.join(0.1)  # were it not made to wait, it would end now

    steps.before = join_in
    assert tuple(segments) == whole.segments
    second.join()
    assert [each.segments for each in results] == [whole.segments]
    assert segments.result is results[0]


@pytest.mark.parametrize("by_itself", [False, True], ids=["another thread", "a signal"])
def test_an_iterator_that_is_closed_in_the_middle_of_a_step_stops_there(
    model: whisperlite.Whisper, steps: Steps, by_itself: bool
) -> None:
    segments = model.iter_segments(NOISE, cancel=CancelToken(), **QUICK)
    closing = threading.Thread(target=segments.close)

    def close(_: int) -> None:
        if by_itself:
            segments.close()
        else:
            closing.start()
            wait_until(lambda: segments._token.is_cancelled)

    steps.before = close
    assert list(segments) == []
    assert steps.count == 1
    if not by_itself:
        closing.join()
    with pytest.raises(ValueError, match="was closed"):
        _ = segments.result


def test_an_iterator_that_is_asked_in_the_middle_of_its_own_step_goes_on(
    model: whisperlite.Whisper, whole: Transcription, steps: Steps
) -> None:
    segments = model.iter_segments(NOISE, **QUICK)

    def ask(_: int) -> None:
        steps.before = lambda _: None
        with pytest.raises(ValueError, match="in the middle of a step"):
            next(segments)

    steps.before = ask
    assert tuple(segments) == whole.segments
    assert segments.result.segments == whole.segments


def test_an_iterator_that_was_interrupted_says_so(model: whisperlite.Whisper, steps: Steps) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    steps.before = interrupt
    with model.iter_segments(NOISE, **QUICK) as segments:
        with pytest.raises(KeyboardInterrupt):
            next(segments)
        assert list(segments) == []
        with pytest.raises(ValueError, match="was interrupted"):
            _ = segments.result


def test_an_iterator_can_be_cancelled_with_what_there_is(model: whisperlite.Whisper, whole: Transcription) -> None:
    token = CancelToken()
    segments = model.iter_segments(NOISE, cancel=token, **QUICK)
    first = next(segments)
    token.cancel()
    with pytest.raises(CancelledError) as caught:
        next(segments)
    assert_is_a_prefix(caught.value.partial, whole)
    assert caught.value.partial is not None
    assert caught.value.partial.segments == (first,)
    assert list(segments) == []
    with pytest.raises(CancelledError):
        _ = segments.result


# While the recording is read

SLOW = """#!/bin/sh
case "$*" in *-demuxers*) echo " D  wav             WAV"; exit 0;; esac
echo $$ > {pid}
exec sleep 60
"""


@pytest.fixture
def pid_of_slow_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that never finishes; where it writes its process's number."""
    folder, pid = tmp_path / "bin", tmp_path / "pid"
    folder.mkdir()
    binary = folder / "ffmpeg"
    binary.write_text(SLOW.format(pid=pid))
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return pid


class Once(CancelToken):
    """Cancelled as soon as something has happened."""

    def __init__(self, happened: Callable[[], bool]) -> None:
        super().__init__()
        self.happened = happened

    @property
    def is_cancelled(self) -> bool:
        return self.happened()


def is_gone(pid: Path) -> bool:
    try:
        os.kill(int(pid.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("kind", ["path", "bytes", "samples of another rate"])
def test_while_the_audio_is_read_a_call_can_be_stopped_and_ffmpeg_with_it(
    model: whisperlite.Whisper,
    pid_of_slow_ffmpeg: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    samples = np.zeros(8000 * 60, np.int16)  # more than a pipe holds
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "sound.wav"
    path.write_bytes(wav_of(samples))
    source: Any = {"path": path, "bytes": path.read_bytes()}.get(kind, samples)
    token = Once(lambda: pid_of_slow_ffmpeg.exists() and bool(pid_of_slow_ffmpeg.read_text().strip()))
    began = time.monotonic()
    with pytest.raises(CancelledError) as caught:
        model.transcribe(source, sampling_rate=8000 if kind.startswith("samples") else None, cancel=token)
    assert time.monotonic() - began < 10
    assert is_gone(pid_of_slow_ffmpeg)
    assert caught.value.partial is not None
    assert (caught.value.partial.segments, caught.value.partial.duration) == ((), 0.0)
    assert list(tmp_path.glob("whisperlite-*")) == []


def test_time_is_over_also_while_the_audio_is_read(model: whisperlite.Whisper, pid_of_slow_ffmpeg: Path) -> None:
    with pytest.raises(TimeoutExceededError):
        model.transcribe(wav_of(np.zeros(1600)), timeout_s=0.5)
    assert not pid_of_slow_ffmpeg.exists() or is_gone(pid_of_slow_ffmpeg)


def test_while_speech_is_looked_for_a_call_can_be_stopped(model: whisperlite.Whisper) -> None:
    """The first check is before the audio is read, the next ones before each minute of it."""
    samples = np.zeros(150 * 16000, np.int16)
    for count in (1, 2):
        with pytest.raises(CancelledError) as caught:
            model.transcribe(samples, vad_filter=True, cancel=Countdown(count))
        assert caught.value.partial is not None
        assert (caught.value.partial.duration, caught.value.partial.skipped) == (150.0, ())
