"""What a transcription returns: frozen values that pickle, and that go to JSON and back without loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from whisperlite.errors import OptionError
from whisperlite.options import Task
from whisperlite.transcript_search import occurrences

SCHEMA_VERSION = 1
SkipReason = Literal["no_speech", "vad", "silence", "failed_thresholds", "no_text"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said.

    Attributes:
        word: the word, with the space before it.
        start, end: seconds from the beginning of the recording.
        probability: the average probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, usually a sentence or a clause.

    Attributes:
        id: its number, 0, 1, 2, … in the order of the recording.
        seek: the start of its window, in frames of 10 ms.
        start, end: seconds from the beginning of the recording; never past its end.
        text: the text as decoded, with the space before it; "" if the model produced a segment without words, or
            without duration, which `Transcription.warnings` says then.
        tokens: ids of text and timestamps.
        temperature: the temperature of the accepted attempt.
        avg_logprob: the average log probability of the window's tokens, including the end token.
        compression_ratio: the zlib compression ratio of the window's text.
        no_speech_prob: the probability that its window holds no speech, 0 to 1.
        truncated: whether the window's output was cut at the token limit within this segment: words may be missing.
        language: the code of the language that it was decoded in; with `multilingual=True` the detected one.
        words: with `word_timestamps=True` its words, in order and inside the segment; joined they are its text, except
            for a word that reaches into the next segment. None if they were not asked for.
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
    """A span of the recording that was passed over: it has no text.

    Attributes:
        start, end: seconds from the beginning of the recording.
        reason: why there is no text. "no_speech": the model took the window for silence. "vad": voice activity
            detection found no speech. "silence": the span lies around words that were dropped as made up, or after the
            last word (`hallucination_silence_threshold`). "failed_thresholds": no attempt at the window passed, and the
            best one has no text. "no_text": the model produced no text, or `max_new_tokens` left it no room.
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
        avg_logprob, compression_ratio, no_speech_prob: the values that the thresholds were compared with; None if the
            value is not finite.
        failed: names of the thresholds that it failed, "not_finite" if its probabilities were not finite; empty if it
            passed. A window taken for silence passes.
        accepted: whether this attempt decided the window: by its tokens, or because it was taken for silence. If every
            attempt failed, the best one is accepted.
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
    """What a transcription cost.

    Attributes:
        tokens_input: the number of prompt tokens that the decoder read (previous text, start, language and task
            tokens), summed over all attempts, once a window however many beams; a language detection reads one.
        tokens_generated: the number of tokens in the sequence that each attempt returned, with timestamps and without
            the end token, summed over all attempts, including those that failed.
        runtime_ms: the wall-clock time from the recording, read and prepared, to the result. In a pool this includes
            waiting for slots and the steps of other recordings; with `iter_segments`, the caller's own time.
        audio_ms: the length of the recording.
    """

    tokens_input: int
    tokens_generated: int
    runtime_ms: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class LanguageDetection:
    """Which language is spoken, as `Whisper.detect_language` says it.

    Attributes:
        language: the code of the most probable language.
        probability: its probability, 0 to 1.
        probabilities: code → probability of every language of the model; they sum to 1.
    """

    language: str
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be loaded by its name.

    Attributes:
        name: the name that `load_model` takes.
        repository: its repository on the Hugging Face Hub.
        parameters: the number of parameters, in millions; None if it is not an official model.
        is_embedded: whether an installed package has its weights.
        path: where it is on this machine (load it by its name); None if it would have to be downloaded.
        size_bytes: the size of the files there; None if there are none.
    """

    name: str
    repository: str
    parameters: int | None
    is_embedded: bool
    path: str | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """A place where something is said.

    Attributes:
        start, end: seconds from the beginning of the recording: the start of the first word of the match and the end
            of the last; of the segments if there are no words.
        text: the text of these words or segments, as the transcript has it.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """The transcript of a recording.

    Attributes:
        text: the whole text.
        segments: its segments, in the order of the recording.
        language: the code of the spoken language, as given or detected; with `multilingual=True` the language of most
            of the speech. "" only in the partial result of a call that was stopped before the language was known.
        language_probability: the probability of the detected language, 0 to 1; None if the language was given.
        duration: the length of the recording, in seconds.
        task: "transcribe" or "translate".
        model: the name or path that the model was loaded by.
        usage: the number of tokens and the time it took.
        warnings: what the user should know: damaged audio, options that this model cannot follow.
        skipped: the spans that have no segment, and why.
        attempts: every decoding of every window, in order.
        schema_version: the version of this structure and its JSON form.
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
        """Where something is said: `player.seek(result.find("thank you")[0].start)`.

        A phrase may span several words and segments, and may begin or end within a word. Case and the width of spaces
        make no difference. Punctuation counts only if `text` has some: "well I see" is found in "Well, I see", "C++"
        is not found in "C".

        Args:
            text: the words to look for; if it is empty or blank, nothing is found.

        Returns:
            The places in order, without overlaps. They are as exact as the transcript: words if there are words
            (`word_timestamps=True`), else whole segments.

        Raises:
            OptionError: what to look for is no text.
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
        """The transcription of a part of the recording.

        Everything keeps its time and its id. A segment with words keeps those that begin in the part, so adjacent
        parts share no word and lose none. If that leaves out some of its words, its text, start and end are those of
        the rest, and its `tokens`, which cannot be divided, are (). A segment without words is kept whole if it
        overlaps the part, and so are skipped spans and the attempts at a window. All other fields still describe the
        whole recording.

        Args:
            start: seconds from the beginning of the recording.
            end: seconds; what begins there is no longer in the part.

        Raises:
            OptionError: a time is negative or not a number, or start is after end.
        """
        try:
            is_part = bool(0 <= start <= end)  # NaN compares false
        except TypeError:
            is_part = False
        if not is_part:
            raise OptionError(f"slice({start!r}, {end!r}) is not a part of a recording: it takes 0 <= start <= end.")
        segments = tuple(part for segment in self.segments for part in _within(segment, start, end))
        # A window, whose `seek` counts frames of 10 ms, goes on to where the next one begins.
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
        """Dicts, lists, numbers and strings, ready for JSON.

        It has all keys of the dict that openai-whisper's `transcribe` returns, with the same meaning; as there,
        a segment has "words" only if words were asked for.
        """
        plain: dict[str, Any] = _plain(self)
        for segment in plain["segments"]:
            if segment["words"] is None:
                del segment["words"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Transcription:
        """The inverse of `to_dict`. Keys that this release does not know, from a later one, are left out.

        Raises:
            ValueError: the dict has another schema version, or is not the dict of a Transcription.
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
                segments=tuple(_segment(segment) for segment in data["segments"]),
                usage=_made(Usage, data["usage"]),
                warnings=tuple(data["warnings"]),
                skipped=tuple(_made(Skipped, skipped) for skipped in data["skipped"]),
                attempts=tuple(
                    _made(Attempt, attempt, failed=tuple(attempt["failed"])) for attempt in data["attempts"]
                ),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This is not the dict of a Transcription: {error}") from error


def _segment(data: Mapping[str, Any]) -> Segment:
    words = data.get("words")
    words = None if words is None else tuple(_made(Word, word) for word in words)
    return _made(Segment, data, tokens=tuple(data["tokens"]), words=words)


_T = TypeVar("_T")


def _made(kind: type[_T], data: Mapping[str, Any], **inner: Any) -> _T:
    """A dataclass from the keys of a mapping that are its fields."""
    names = {definition.name for definition in fields(kind)}  # type: ignore[arg-type]
    return kind(**{**{name: value for name, value in data.items() if name in names}, **inner})


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {definition.name: _plain(getattr(value, definition.name)) for definition in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# Slices


def _within(segment: Segment, start: float, end: float) -> Iterator[Segment]:
    """What of it belongs to the part, if anything does."""
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
    """[first, last), which may be a single moment, and [start, end) have a time in common."""
    return first < end and (last > start or first >= start) and start < end
