"""What a transcription returns: frozen values that pickle, and that go to JSON and back without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said.

    Attributes:
        word: the word, with the space before it.
        start, end: seconds from the beginning of the recording.
        probability: of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, usually a sentence or a clause.

    Attributes:
        id: 0, 1, 2, … in the order of the recording.
        seek: where its window begins, in frames of 10 ms.
        start, end: seconds from the beginning of the recording; never past its end.
        text: as decoded, with the space before it; "" where the model produced a segment without words.
        tokens: ids of text and timestamps.
        temperature: of the attempt that was accepted.
        avg_logprob: average log probability of the window's tokens, the end included.
        compression_ratio: of the window's text under zlib.
        no_speech_prob: probability that its window holds no speech, 0 to 1.
        truncated: the window's output was cut at the token limit within this segment: words may be missing.
        words: None: words are not made yet.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    truncated: bool = False
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A span that was passed over: it has no segment.

    Attributes:
        start, end: seconds.
        reason: "no_speech": the model took the window for silence.
    """

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One decoding of one window.

    Attributes:
        seek: where the window begins, in frames of 10 ms.
        temperature: that it was decoded at.
        avg_logprob, compression_ratio, no_speech_prob: what the thresholds were compared with.
        failed: names of the thresholds that it failed, "not_finite" where its probabilities were not numbers; empty:
            passed. A window taken for silence passes.
        accepted: the window was decided by it: by its tokens, or by its being taken for silence. Where every attempt
            failed, the best one is accepted.
    """

    seek: int
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    failed: tuple[str, ...]
    accepted: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What a transcription cost.

    Attributes:
        tokens_input: prompt tokens that the decoder read (previous text, start, language and task tokens), summed over
            all attempts, once a window however many beams; a language detection reads one.
        tokens_generated: tokens, timestamps included and the end not, of the sequence that each attempt returned,
            summed over all attempts, those that failed too.
        runtime_ms: wall-clock time from the decoded audio to the result.
        audio_ms: length of the recording.
    """

    tokens_input: int
    tokens_generated: int
    runtime_ms: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class LanguageDetection:
    """Which language is spoken in the first 30 seconds.

    Attributes:
        language: code of the most probable one.
        probability: its probability, 0 to 1.
        probabilities: code → probability of every language of the model; they sum to 1.
    """

    language: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be loaded by its name.

    Attributes:
        name: as `load_model` takes it.
        repository: on the Hugging Face Hub.
        parameters: in millions; None where it is not an official model.
        is_embedded: an installed package carries its weights.
        path: where it lies on this machine; load it by its name. None: it would be downloaded.
        size_bytes: of what lies there; None where nothing does.
    """

    name: str
    repository: str
    parameters: int | None
    is_embedded: bool
    path: str | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Transcription:
    """The transcript of a recording.

    Attributes:
        text: all of it.
        segments: in the order of the recording.
        language: code of the language spoken, as given or detected.
        language_probability: of the detected language, 0 to 1; None where it was given.
        duration: of the recording, in seconds.
        task: "transcribe" or "translate".
        model: the name or path that the model was loaded by.
        usage: tokens and time.
        warnings: what the user should know: damaged audio, options that this model cannot follow.
        skipped: spans that have no segment, and why.
        attempts: every decoding of every window, in order.
        schema_version: of this structure and its JSON form.
    """

    text: str
    segments: tuple[Segment, ...]
    language: str
    language_probability: float | None
    duration: float
    task: str
    model: str
    usage: Usage
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Dicts, lists, numbers and texts, ready for JSON.

        It has all keys of the dict that openai-whisper's `transcribe` returns, with the same meaning; like there,
        a segment has "words" only where words were asked for.
        """
        plain: dict[str, Any] = _plain(self)
        for segment in plain["segments"]:
            if segment["words"] is None:
                del segment["words"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Transcription:
        """The inverse of `to_dict`.

        Raises:
            ValueError: of another schema version, or not such a dict.
        """
        if data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {data.get('schema_version')!r}; this release of whisperlite reads {SCHEMA_VERSION}."
            )
        try:
            return cls(
                **{
                    **data,
                    "segments": tuple(_segment(segment) for segment in data["segments"]),
                    "usage": Usage(**data["usage"]),
                    "warnings": tuple(data["warnings"]),
                    "skipped": tuple(Skipped(**skipped) for skipped in data["skipped"]),
                    "attempts": tuple(
                        Attempt(**{**attempt, "failed": tuple(attempt["failed"])}) for attempt in data["attempts"]
                    ),
                }
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This is not the dict of a Transcription: {error}") from error


def _segment(data: Mapping[str, Any]) -> Segment:
    words = data.get("words")
    words = None if words is None else tuple(Word(**word) for word in words)
    return Segment(**{**data, "tokens": tuple(data["tokens"]), "words": words})


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {definition.name: _plain(getattr(value, definition.name)) for definition in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
