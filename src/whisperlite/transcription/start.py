"""Audio and options → a session that is ready to be driven: the recording is read, and speech is looked for."""

from __future__ import annotations

from whisperlite.audio.load import AudioSource, read_audio
from whisperlite.audio.mel import Features
from whisperlite.audio.speech import speech_spans
from whisperlite.cancel import Stop
from whisperlite.errors import CancelledError
from whisperlite.options import Options
from whisperlite.results import Transcription, Usage
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.session import Session, session


def start_session(
    audio: AudioSource,
    options: Options,
    tokenizer: Tokenizer,
    *,
    n_mels: int,
    sampling_rate: int | None,
    model: str,
    warnings: tuple[str, ...],
    stop: Stop,
) -> tuple[Session, float]:
    """Read a recording, all of it: its loudest moment is a part of every window's features.

    Args:
        audio, sampling_rate: as in `transcribe`.
        n_mels: of the model.
        model, warnings: for the result.
        stop: is asked while the recording is read.

    Returns:
        The session, and the duration of the recording in seconds.

    Raises:
        AudioError: it cannot be read.
        CancelledError: `stop` said so; `partial` is an empty transcription.
    """
    duration = 0.0
    try:
        stop.check()
        sound = read_audio(audio, sampling_rate=sampling_rate, check=stop.check)
        duration = sound.duration
        speech = None if options.vad is None else speech_spans(sound.samples, options.vad, check=stop.check)
    except CancelledError as error:
        error.partial = _nothing(options, duration, model)
        raise
    steps = session(
        Features(sound.samples, n_mels, check=stop.check),
        options,
        tokenizer,
        duration=duration,
        model=model,
        warnings=sound.warnings + warnings,
        speech=speech,
    )
    return steps, duration


def _nothing(options: Options, duration: float, model: str) -> Transcription:
    """The partial result of a call that was stopped before it began to listen."""
    return Transcription(
        text="",
        segments=(),
        language=options.language or "",
        language_probability=None,
        duration=duration,
        task=options.task,
        model=model,
        usage=Usage(0, 0, 0, round(duration * 1000)),
    )
