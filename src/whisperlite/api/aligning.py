"""Aligns a transcript with a recording: reads the recording, and answers what the alignment asks."""

from __future__ import annotations

from whisperlite.api.runtime import Runtime
from whisperlite.audio.load import Audio, AudioSource
from whisperlite.cancel import Stop
from whisperlite.decoding.asks import Answer
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.options import Options
from whisperlite.results import Transcription
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.driver import drive
from whisperlite.transcription.known_text import align_text, compare_with_recording
from whisperlite.transcription.passages import passages_of
from whisperlite.transcription.record import Record
from whisperlite.transcription.written_text import place_text


def aligned(
    runtime: Runtime,
    audio: AudioSource,
    transcript: Transcription | str,
    options: Options,
    sampling_rate: int | None,
    stop: Stop,
) -> Transcription:
    """Return a transcript or a text that was checked, with words; see `Whisper.align`."""
    features, sound = runtime.features(audio, sampling_rate, options, stop)
    bounds = Bounds(features.content_frames, sound.duration)
    if isinstance(transcript, Transcription):
        record = Record(bounds, [*transcript.warnings, *sound.warnings, *runtime.warnings(options)])
        compare_with_recording(transcript, record)
        passages = list(passages_of(transcript.segments, bounds))
    else:
        heard = _heard(runtime, sound, options, stop)
        record = Record(bounds, [*sound.warnings, *heard.warnings])
        transcript, passages = place_text(transcript, heard, runtime.tokenizer, record)
    asks = align_text(features, runtime.tokenizer, transcript, passages, options, record=record)
    engine = runtime.engine()
    answer: Answer | None = None
    while True:
        stop.check()
        try:
            ask = asks.send(answer)  # None at first
        except StopIteration as end:
            found: Transcription = end.value
            return found
        (answer,) = engine.run([ask])


def _heard(runtime: Runtime, sound: Audio, options: Options, stop: Stop) -> Transcription:
    """Transcribe a recording that was read."""
    try:
        recording, _ = runtime.recording(sound.samples, options, None, stop)
        windows = drive(recording, runtime.engine())
        while True:
            try:
                next(windows)
            except StopIteration as end:
                heard: Transcription = end.value
                return heard
    except (CancelledError, DecodingError) as error:
        error.partial = None  # it has other words than the text
        raise
