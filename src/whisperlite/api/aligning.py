"""Aligns a transcript with a recording: reads the recording, and answers what the alignment asks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from whisperlite.api.runtime import Runtime
from whisperlite.audio.load import Audio, AudioSource
from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.cancel import Stop
from whisperlite.decoding.asks import Answer
from whisperlite.decoding.engine import Engine
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.options import Options
from whisperlite.results import Transcription
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.driver import drive
from whisperlite.transcription.known_text import align_text, compare_with_recording
from whisperlite.transcription.passages import passages_of
from whisperlite.transcription.record import Record
from whisperlite.transcription.written_text import place_text

Progress = Callable[[float, float], None]
"""A function that is called with the seconds done and the seconds in all."""


def aligned(
    runtime: Runtime,
    audio: AudioSource,
    transcript: Transcription | str,
    options: Options,
    sampling_rate: int | None,
    on_progress: Progress,
    stop: Stop,
) -> Transcription:
    """Return a transcript or a text that was checked, with words; see `Whisper.align`."""
    features, sound = runtime.features(audio, sampling_rate, options, stop)
    bounds = Bounds(features.content_frames, sound.duration)
    engine = runtime.engine()
    if isinstance(transcript, Transcription):
        heard_s = 0.0
        record = Record(bounds, [*transcript.warnings, *sound.warnings, *runtime.warnings(options)])
        compare_with_recording(transcript, record)
        passages = list(passages_of(transcript.segments, bounds))
    else:
        heard_s = sound.duration
        heard = _heard(runtime, engine, sound, options, on_progress, stop)
        record = Record(bounds, [*sound.warnings, *heard.warnings])
        transcript, passages = place_text(transcript, heard, runtime.tokenizer, record, stop.check)
    total_s = heard_s + sound.duration
    asks = align_text(features, runtime.tokenizer, transcript, passages, options, record=record)
    answer: Answer | None = None
    for passage in passages:
        stop.check()
        ask = asks.send(answer)  # None at first
        (answer,) = engine.run([ask])
        on_progress(heard_s + min(passage.end / FRAMES_PER_SECOND, sound.duration), total_s)
    try:
        asks.send(answer)
    except StopIteration as end:
        found: Transcription = end.value
        on_progress(total_s, total_s)
        return found
    raise AssertionError("each passage is asked about once")


def _heard(
    runtime: Runtime, engine: Engine, sound: Audio, options: Options, on_progress: Progress, stop: Stop
) -> Transcription:
    """Transcribe a recording that was read: the first half of the work on a text."""
    try:
        recording, _ = runtime.recording(sound.samples, options, None, stop)
        with closing(drive(recording, engine)) as windows:  # also if the callback raises
            while True:
                try:
                    window = next(windows)
                except StopIteration as end:
                    heard: Transcription = end.value
                    return heard
                on_progress(window.done_s, 2 * window.total_s)
    except (CancelledError, DecodingError) as error:
        error.partial = None  # it has other words than the text
        raise
