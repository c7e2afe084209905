"""Audio and options → a recording that is ready to be driven: it is read, and speech is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

from whisperlite.audio.load import AudioSource, read_audio
from whisperlite.audio.mel import FRAMES_PER_SECOND, Features
from whisperlite.audio.speech import find_speech
from whisperlite.cancel import Stop
from whisperlite.errors import CancelledError
from whisperlite.options import Options
from whisperlite.results import Transcription, Usage
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds
from whisperlite.transcription.chunks import chunks_of
from whisperlite.transcription.history import Prompts
from whisperlite.transcription.recording import PARTIAL, Chunked, Recording, Sequential
from whisperlite.transcription.session import Session, session
from whisperlite.transcription.suppression import suppressed_tokens

_MAY_MISS = (
    "without_timestamps=True: where the model stops before the end of a window nothing says so, and the rest of that "
    "window is not transcribed; with word_timestamps=True too, the next window begins behind the last word."
)


def start_recording(
    audio: AudioSource,
    options: Options,
    tokenizer: Tokenizer,
    *,
    n_mels: int,
    sampling_rate: int | None,
    model: str,
    warnings: tuple[str, ...],
    stop: Stop,
) -> tuple[Recording, float]:
    """Read a recording, all of it: its loudest moment is a part of every window's features.

    Args:
        audio, sampling_rate: as in `transcribe`.
        n_mels: of the model.
        model, warnings: for the result.
        stop: is asked while the recording is read.

    Returns:
        The recording, and its duration in seconds.

    Raises:
        AudioError: it cannot be read.
        CancelledError: `stop` said so; `partial` is an empty transcription.
    """
    duration = 0.0
    prompts = Prompts.of(options, tokenizer)
    warnings += prompts.warnings
    try:
        stop.check()
        sound = read_audio(audio, sampling_rate=sampling_rate, check=stop.check, max_duration_s=options.max_duration_s)
        duration, warnings = sound.duration, sound.warnings + warnings
        found = None if options.vad is None else find_speech(sound.samples, options.vad, check=stop.check)
        features = Features(sound.samples, n_mels, check=stop.check)
        features.find_floor()  # in the engine, with the first window, a stop would end what else is decoded there
    except CancelledError as error:
        error.partial = nothing_heard(options, duration, model, warnings)
        raise
    speech, pauses = (None, None) if found is None else (found.spans, found.pauses)
    begin = partial(
        session,
        features,
        tokenizer=tokenizer,
        duration=duration,
        model=model,
        # Once for all chunks: it may take a look at every token, and the texts may be long.
        suppressed=suppressed_tokens(options, tokenizer),
        prompts=prompts,
        pauses=pauses,
    )
    inside = Bounds(features.content_frames, duration)
    longest = round(options.chunk_length * FRAMES_PER_SECOND)
    if not options.is_chunked:
        if options.without_timestamps and not options.word_timestamps:
            parts, _, _ = inside.clips(options.clips, speech)
            warnings += (_MAY_MISS,) if any(end - first > longest for first, end in parts) else ()
        return Sequential(begin(options, warnings=warnings, speech=speech), stop), duration

    # No chunk reaches from one clip into the next: what is between them was left out.
    chunks = [chunk for clip in options.clips for chunk in chunks_of(inside.clips([clip], speech)[0], longest)]

    def chunks_in(known: Transcription) -> Iterator[tuple[Session, float]]:
        """A session for each chunk, in the language that is known by then, and where each ends, in seconds."""
        chosen = (
            options
            if options.multilingual or not known.language
            else replace(options, **_with_language(known.language))
        )
        for chunk in chunks:
            yield begin(chosen, chunk=chunk), inside.seconds(*chunk)[1]

    spans = [inside.seconds(*chunk) for chunk in chunks]
    head = begin(options, warnings=warnings, speech=spans, only_language=True)
    return Chunked(head, chunks_in, stop), duration


def _with_language(language: str) -> dict[str, Any]:
    """What takes the place of the options that detect a language."""
    names = ("allowed_languages", "language_detection_segments", "language_detection_threshold")
    defaults = {each.name: each.default for each in fields(Options) if each.name in names}
    return {"language": language, **defaults}


def nothing_heard(options: Options, duration: float, model: str, warnings: tuple[str, ...] = ()) -> Transcription:
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
        warnings=(*warnings, PARTIAL),
    )
