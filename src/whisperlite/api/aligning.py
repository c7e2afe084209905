"""Aligns a transcript with a recording: reads the recording, and answers what the alignment asks."""

from __future__ import annotations

from whisperlite.api.runtime import Runtime
from whisperlite.audio.load import AudioSource
from whisperlite.cancel import Stop
from whisperlite.decoding.asks import Answer
from whisperlite.options import Options
from whisperlite.results import Transcription
from whisperlite.transcription.known_text import align_text


def aligned(
    runtime: Runtime,
    audio: AudioSource,
    transcript: Transcription,
    options: Options,
    sampling_rate: int | None,
    stop: Stop,
) -> Transcription:
    """Return a transcript that was checked, with words; see `Whisper.align`."""
    features, sound = runtime.features(audio, sampling_rate, options, stop)
    warnings = (*sound.warnings, *runtime.warnings(options))
    asks = align_text(features, runtime.tokenizer, transcript, options, duration=sound.duration, warnings=warnings)
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
