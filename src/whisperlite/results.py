"""The values that a transcription returns: frozen, picklable, and convertible to JSON and back without loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

from whisperlite.errors import OptionError
from whisperlite.options import Task
from whisperlite.transcript_search import occurrences

SCHEMA_VERSION = 1
SkipReason = Literal["no_speech", "vad", "silence", "failed_thresholds", "no_text"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its time.

    Attributes:
        word: the word, with the space before it.
        start, end: its time, in seconds from the beginning of the recording.
        probability: the mean probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, usually a sentence or a clause.

    Attributes:
        id: its number in the recording, counted from 0.
        seek: the start of its window, in frames of 10 ms.
        start, end: its time, in seconds from the beginning of the recording; never after the end of the recording.
        text: the text as decoded, with the space before it. "" if the model produced a segment without words or
            without duration; `Transcription.warnings` then quotes a text without duration.
        tokens: the token ids of its text and timestamps.
        temperature: the temperature of the accepted attempt.
        avg_logprob: the mean log probability of the tokens of its window, including the end token.
        compression_ratio: the zlib compression ratio of the text of its window.
        no_speech_prob: the probability that its window contains no speech, 0 to 1.
        truncated: whether the output was cut at the token limit within this segment, so that words may be missing.
        language: the code of the language that it was decoded in; with `multilingual=True` the detected language.
        words: its words, in order and within its time, with `word_timestamps=True`; otherwise None. Joined, they give
            the text, except that a word across two segments belongs entirely to the first.
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
    language: str = ""
    words: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A span of the recording that has no text.

    Attributes:
        start, end: the span, in seconds from the beginning of the recording.
        reason: why it has no text. "no_speech": the model found the window silent. "vad": voice activity detection
            found no speech. "silence": the span surrounds words that were dropped as hallucinated, or follows the last
            word (`hallucination_silence_threshold`). "failed_thresholds": every attempt at the window failed a
            threshold, and the best one has no text. "no_text": the model produced no text, or `max_new_tokens` left no
            room for it.
    """

    start: float
    end: float
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Attempt:
    """One decoding of one window.

    Attributes:
        seek: the start of the window, in frames of 10 ms.
        temperature: the temperature it was decoded at.
        avg_logprob, compression_ratio, no_speech_prob: the values that the thresholds were compared with; None for a
            value that is not finite.
        failed: the names of the thresholds that it failed, and "not_finite" if its probabilities were not finite;
            empty if it passed. An attempt that finds the window silent passes.
        accepted: whether this attempt determined the result: its tokens were used, or it found the window silent. If
            every attempt failed, the best one is accepted.
    """

    seek: int
    temperature: float
    avg_logprob: float | None
    compression_ratio: float
    no_speech_prob: float | None
    failed: tuple[str, ...]
    accepted: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens and the time that a transcription took.

    Attributes:
        tokens_input: the number of prompt tokens that the decoder read (previous text, start, language and task
            tokens), summed over all attempts. The prompt of an attempt counts once, however many beams there are; each
            detection of a language reads one token.
        tokens_generated: the number of tokens that each attempt returned, with timestamps but without the end token,
            summed over all attempts, including those that failed.
        runtime_ms: the wall-clock time in milliseconds from when the audio had been read and prepared to the result.
            In a pool, this includes waiting for slots and the steps of other recordings; with `iter_segments`, it
            includes the caller's own time.
        audio_ms: the length of the recording, in milliseconds.
    """

    tokens_input: int
    tokens_generated: int
    runtime_ms: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class LanguageDetection:
    """The language spoken in a recording, as returned by `Whisper.detect_language`.

    Attributes:
        language: the code of the most probable language.
        probability: its probability, 0 to 1.
        probabilities: language code → probability, for every language of the model; they sum to 1.
    """

    language: str
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be loaded by its name.

    Attributes:
        name: the name to pass to `load_model`.
        repository: its repository on the Hugging Face Hub.
        parameters: the number of parameters, in millions; None if it is not an official model.
        is_embedded: whether an installed package contains its weights.
        path: its location on this machine, for information (load the model by its name); None if it would have to be
            downloaded.
        size_bytes: the size of its files there; None if there are none.
    """

    name: str
    repository: str
    parameters: int | None
    is_embedded: bool
    path: str | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """An occurrence of a phrase in a transcript.

    Attributes:
        start, end: the start of its first word and the end of its last one, in seconds from the beginning of the
            recording; without word timestamps, those of its segments.
        text: the text of these words or segments, as in the transcript.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """The transcript of a recording.

    Attributes:
        text: the whole text.
        segments: the segments, in the order of the recording.
        language: the code of the spoken language, as given or detected; with `multilingual=True`, the language of most
            of the speech. "" only in the partial result of a call that was stopped before the language was known.
        language_probability: the probability of the detected language, 0 to 1; None if the language was given.
        duration: the length of the recording, in seconds.
        task: "transcribe" or "translate".
        model: the name or path by which the model was loaded.
        usage: the number of tokens and the time that the transcription took.
        warnings: problems that the user should know of, such as damaged audio or options that the model cannot follow.
        skipped: the spans without text, and the reasons.
        attempts: every decoding of every window, in order.
        schema_version: the version of this structure and of its JSON form.
    """

    text: str
    segments: tuple[Segment, ...]
    language: str
    language_probability: float | None
    duration: float
    task: Task
    model: str
    usage: Usage
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, in order."""
        return tuple(word for segment in self.segments for word in segment.words or ())

    def find(self, text: str) -> tuple[Match, ...]:
        """Find where a phrase is said: `player.seek(result.find("thank you")[0].start)`.

        A phrase may span several words and segments, and may begin or end within a word. Case and the amount of
        whitespace do not matter. Punctuation matters only if `text` contains some: "well I see" is found in "Well, I
        see", but "C++" is not found in "C".

        Args:
            text: the phrase to look for; if it is empty or blank, nothing is found.

        Returns:
            The occurrences, in order and without overlaps. Their times are as precise as the transcript: those of words
            with `word_timestamps=True`, otherwise those of whole segments.

        Raises:
            OptionError: `text` is not a string.
        """
        if not isinstance(text, str):
            raise OptionError(f"find looks for text, and got {text!r}: give a string.", option="text")
        pieces = [piece for segment in self.segments for piece in segment.words or (segment,)]
        texts = [piece.word if isinstance(piece, Word) else piece.text for piece in pieces]
        return tuple(
            Match(pieces[first].start, pieces[last].end, "".join(texts[first : last + 1]).strip())
            for first, last in occurrences(text, texts)
        )

    def slice(self, start: float, end: float = math.inf) -> Transcription:
        """Return the transcription of a part of the recording.

        Times and ids are unchanged. A segment with words keeps the words that begin within the part, so that adjacent
        parts neither share nor lose a word. If some of its words are left out, its text, start and end are those of the
        remaining ones, and its `tokens`, which cannot be divided, become (). A segment without words is kept whole if
        it overlaps the part, and so are skipped spans and the attempts at a window. All other fields still describe the
        whole recording.

        Args:
            start: the start of the part, in seconds from the beginning of the recording.
            end: its end, in seconds, exclusive: words that begin at this time are not included.

        Raises:
            OptionError: a time is negative or not a number, or `start` is greater than `end`.
        """
        try:
            is_part = bool(0 <= start <= end)  # NaN compares false
        except TypeError:
            is_part = False
        if not is_part:
            raise OptionError(f"slice({start!r}, {end!r}) is not a part of a recording: it takes 0 <= start <= end.")
        segments = tuple(part for segment in self.segments for part in _within(segment, start, end))
        # A window lasts until the next one begins; `seek` counts frames of 10 ms.
        seeks = sorted({attempt.seek for attempt in self.attempts})
        window_ends = dict(zip(seeks, [*(seek / 100 for seek in seeks[1:]), self.duration], strict=False))
        return replace(
            self,
            text="".join(segment.text for segment in segments),
            segments=segments,
            skipped=tuple(each for each in self.skipped if _overlap(each.start, each.end, start, end)),
            attempts=tuple(
                each for each in self.attempts if _overlap(each.seek / 100, window_ends[each.seek], start, end)
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the transcription as dicts, lists, numbers and strings, ready for JSON.

        The dict has all keys of the dict that openai-whisper's `transcribe` returns, with the same meaning. As there, a
        segment has "words" only if word timestamps were asked for.
        """
        plain: dict[str, Any] = _plain(self)
        for segment in plain["segments"]:
            if segment["words"] is None:
                del segment["words"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Transcription:
        """Return the transcription that `to_dict` turned into `data`.

        Keys that are unknown to this release, as from a later one, are ignored.

        Raises:
            ValueError: `data` has another schema version, or is not the dict of a Transcription.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"This is not the dict of a Transcription, but a {type(data).__name__}.")
        if data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {data.get('schema_version')!r}; this release of whisperlite reads {SCHEMA_VERSION}."
            )
        try:
            return _made(
                cls,
                data,
                segments=tuple(_segment(segment) for segment in _items("segments", data)),
                usage=_made(Usage, data["usage"]),
                warnings=_items("warnings", data, str),
                skipped=tuple(_made(Skipped, skipped) for skipped in _items("skipped", data)),
                attempts=tuple(
                    _made(Attempt, attempt, failed=_items("failed", attempt, str))
                    for attempt in _items("attempts", data)
                ),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This is not the dict of a Transcription: {error}") from error


def _segment(data: Mapping[str, Any]) -> Segment:
    words = None if data.get("words") is None else tuple(_made(Word, word) for word in _items("words", data))
    return _made(Segment, data, tokens=_items("tokens", data, Integral), words=words)


def _items(name: str, data: Mapping[str, Any], kind: type = Mapping) -> tuple[Any, ...]:
    """The items of a list, all of one kind.

    Raises:
        TypeError: it is something else.
    """
    found = data[name]
    if isinstance(found, (str, bytes, Mapping)) or not all(isinstance(item, kind) for item in found):
        raise TypeError(f"{name} is not a list of the right kind: {found!r:.100}")
    return tuple(found)


_T = TypeVar("_T")


_SCALARS: Mapping[str, type] = {"str": str, "int": Integral, "float": Real, "bool": bool}


def _made(kind: type[_T], data: Mapping[str, Any], **inner: Any) -> _T:
    """Make a dataclass from a mapping; keys that are not its fields are ignored, and `inner` takes precedence.

    Raises:
        TypeError: a number, a string or a flag is something else, or a field is missing.
    """
    given = {}
    for definition in fields(kind):  # type: ignore[arg-type]
        name = definition.name
        if name in data and name not in inner:
            given[name] = data[name]
            _check_scalar(name, data[name], str(definition.type))
    return kind(**given, **inner)


def _check_scalar(name: str, value: object, annotation: str) -> None:
    scalar = annotation.removesuffix(" | None")
    if scalar not in _SCALARS or (value is None and scalar != annotation):
        return
    if not isinstance(value, _SCALARS[scalar]) or (isinstance(value, bool) and scalar != "bool"):
        raise TypeError(f"{name} is {value!r}, and has to be of type {annotation}")


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {definition.name: _plain(getattr(value, definition.name)) for definition in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# Slices


def _within(segment: Segment, start: float, end: float) -> Iterator[Segment]:
    """The segment, or what is left of it in the part from `start` to `end`; nothing if it is not in the part."""
    if not segment.words:
        if _overlap(segment.start, segment.end, start, end):
            yield segment
        return
    kept = tuple(word for word in segment.words if start <= word.start < end)
    if kept == segment.words:
        yield segment
    elif kept:
        yield replace(
            segment,
            start=segment.start if kept[0] is segment.words[0] else kept[0].start,
            end=segment.end if kept[-1] is segment.words[-1] else kept[-1].end,
            text="".join(word.word for word in kept),
            tokens=(),
            words=kept,
        )


def _overlap(first: float, last: float, start: float, end: float) -> bool:
    """Whether [first, last), or the moment `first` if they are equal, overlaps [start, end)."""
    return first < end and (last > start or first >= start) and start < end
