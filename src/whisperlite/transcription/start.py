"""Audio and options → a `Recording`, ready to be driven: the audio is read, and speech is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from whisperlite.transcription.bounds import Bounds, Clip
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
    """Read a recording and look for speech in it.

    It is read to its end, because its loudest moment determines the features of every window.

    Args:
        audio, sampling_rate: as in `transcribe`.
        n_mels: the number of mel bands that the model takes.
        model, warnings: for the result.
        stop: is checked while the recording is read.

    Returns:
        The recording, ready to be driven, and its duration in seconds.

    Raises:
        AudioError: the recording cannot be read.
        CancelledError: raised by `stop`; `partial` is an empty transcription.
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
        features.find_floor()  # now, since a stop in the engine's first window would end other recordings too
    except CancelledError as error:
        error.partial = nothing_heard(options, duration, model, warnings)
        raise
    speech, pauses = (None, None) if found is None else (found.spans, found.pauses)
    bounds = Bounds(features.content_frames, duration)
    begin = partial(
        session,
        features,
        tokenizer=tokenizer,
        duration=duration,
        model=model,
        # Computed once for all chunks: every token may have to be examined, and the prompts may be long.
        suppressed=suppressed_tokens(options, tokenizer),
        prompts=prompts,
        pauses=pauses,
    )
    longest = round(options.chunk_length * FRAMES_PER_SECOND)
    if options.is_chunked:
        # No chunk reaches from one clip into the next: what is between them was left out.
        chunks = [chunk for clip in options.clips for chunk in chunks_of(bounds.clips([clip], speech)[0], longest)]
        return _chunked(begin, options, chunks, bounds, warnings, stop), duration
    if options.without_timestamps and not options.word_timestamps:
        parts, _, _ = bounds.clips(options.clips, speech)
        warnings += (_MAY_MISS,) if any(end - first > longest for first, end in parts) else ()
    return Sequential(begin(options, warnings=warnings, speech=speech), stop), duration


def _chunked(
    begin: Callable[..., Session],
    options: Options,
    chunks: Sequence[Clip],
    bounds: Bounds,
    warnings: tuple[str, ...],
    stop: Stop,
) -> Chunked:
    """A recording whose chunks are sessions of their own, after one that detects the language.

    Args:
        begin: `session`, with all arguments that its calls share.
        chunks: (first, end) in frames.
    """

    def chunks_in(head: Transcription) -> Iterator[tuple[Session, float]]:
        """A session for each chunk, in the language that the head detected, and the end of each chunk in seconds."""
        chosen = options if options.multilingual or not head.language else _with_language(options, head.language)
        for chunk in chunks:
            yield begin(chosen, chunk=chunk), bounds.seconds(*chunk)[1]

    spans = [bounds.seconds(*chunk) for chunk in chunks]
    head = begin(options, warnings=warnings, speech=spans, only_language=True)
    return Chunked(head, chunks_in, stop)


def _with_language(options: Options, language: str) -> Options:
    """The options with this language; those for its detection, which would contradict it, get their defaults."""
    names = ("allowed_languages", "language_detection_segments", "language_detection_threshold")
    defaults: dict[str, Any] = {each.name: each.default for each in fields(Options) if each.name in names}
    return replace(options, language=language, **defaults)


def nothing_heard(options: Options, duration: float, model: str, warnings: tuple[str, ...] = ()) -> Transcription:
    """The partial result of a call that was stopped before anything was transcribed."""
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
