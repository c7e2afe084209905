"""Finds when the words of a known text were said: a session that decodes nothing, and only asks for alignments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.errors import LanguageError, OptionError
from whisperlite.options import Options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds, widened_to_words, words_inside
from whisperlite.transcription.outcome import Asks
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft
from whisperlite.transcription.words import add_words, timed_words

_MARGIN_S = 0.5  # after the last segment of a window, whose end is not exact
_WINDOW_S = WINDOW_FRAMES / FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class KnownWindow:
    """A window and the segments that are said in it.

    Attributes:
        seek: its first frame, where the first segment begins.
        n_frames: the frames up to a little after the end of the last segment.
        segments: in one language, each with text.
    """

    seek: int
    n_frames: int
    segments: tuple[Segment, ...]


def check_times(segments: Sequence[Segment]) -> None:
    """Check that segments with text follow each other and fit into a window each.

    Raises:
        OptionError: one does not.
    """
    before = 0.0
    for each in _with_text(segments):
        name = f"The segment at {each.start:g} s, {each.text.strip()[:40]!r},"
        if not before <= each.start <= each.end:
            message = "begins before the one before it, or ends before it begins: segments are given in order."
            raise OptionError(f"{name} {message}", option="transcript")
        if each.end - each.start > _WINDOW_S:
            message = f"lasts {each.end - each.start:g} s: a segment may last {_WINDOW_S:g} s. Divide it."
            raise OptionError(f"{name} {message}", option="transcript")
        before = each.start


def windows_of(segments: Sequence[Segment], bounds: Bounds) -> Iterator[KnownWindow]:
    """Yield windows with as many segments as fit into each; segments without text are left out.

    Args:
        segments: with times that `check_times` accepts.
        bounds: of the recording, in which the segments begin.
    """
    group: list[Segment] = []
    for each in _with_text(segments):
        if group and (each.end - group[0].start > _WINDOW_S or each.language != group[0].language):
            yield _window(group, bounds)
            group = []
        group.append(each)
    if group:
        yield _window(group, bounds)


def _with_text(segments: Sequence[Segment]) -> list[Segment]:
    return [each for each in segments if each.text.strip()]


def _window(group: Sequence[Segment], bounds: Bounds) -> KnownWindow:
    seek = max(min(int(group[0].start * FRAMES_PER_SECOND), bounds.content_frames - 1), 0)
    end = round((max(each.end for each in group) + _MARGIN_S) * FRAMES_PER_SECOND)
    return KnownWindow(seek, max(min(end - seek, WINDOW_FRAMES, bounds.content_frames - seek), 1), tuple(group))


def align_text(
    features: Features,
    tokenizer: Tokenizer,
    transcript: Transcription,
    options: Options,
    *,
    duration: float,
    warnings: Sequence[str],
) -> Asks[Transcription]:
    """Return the transcript with words in its segments, and times that agree with theirs.

    Args:
        features: of the recording.
        transcript: with times that `check_times` accepts.
        options: the punctuation that is joined to words.
        duration: of the recording, in seconds.
        warnings: about the recording.

    Raises:
        LanguageError: a segment is in no language, or in one that the model does not have.
        OptionError: a segment with text begins after the recording.
    """
    record = Record(Bounds(features.content_frames, duration), [*transcript.warnings, *warnings])
    _compare_lengths(transcript, record)
    timed: list[Segment] = []
    for window in windows_of(transcript.segments, record.bounds):
        language = _language_of(window.segments[0], transcript, tokenizer)
        drafts = [_draft(each, tokenizer) for each in window.segments]
        tokens = tuple(token for draft in drafts for token in draft.text_tokens)
        prompt = build_prompt(tokenizer, language=language, task=transcript.task, without_timestamps=True).tokens
        answer = yield Align(features.window(window.seek, window.n_frames), prompt, tokens, window.n_frames)
        assert isinstance(answer, Aligned), "an Align is answered by an Aligned"
        record.ran_in_float32(answer)
        with_words = add_words(
            drafts,
            timed_words(tokens, answer, tokenizer, "en" if transcript.task == "translate" else language),
            offset_s=window.seek / FRAMES_PER_SECOND,
            last_speech_end_s=timed[-1].end if timed else 0.0,
            prepended=options.prepend_punctuations,
            appended=options.append_punctuations,
        )
        extent = (window.seek, window.seek + window.n_frames)
        for segment, draft in zip(window.segments, widened_to_words(with_words), strict=True):
            start, end = record.bounds.clamped(draft.start, draft.end, extent, timed[-1].end if timed else 0.0)
            words = words_inside(draft.words or (), start, end)
            timed.append(replace(segment, start=start, end=end, tokens=draft.tokens, words=words))
    waiting = iter(timed)
    segments = tuple(next(waiting) if each.text.strip() else replace(each, words=()) for each in transcript.segments)
    text = "".join(each.text for each in segments)
    return replace(transcript, text=text, segments=segments, duration=duration, warnings=tuple(record.warnings))


def _compare_lengths(transcript: Transcription, record: Record) -> None:
    duration = record.bounds.duration
    late = [each for each in _with_text(transcript.segments) if each.start >= duration]
    if late:
        message = f"A segment begins at {late[0].start:g} s, but the recording has {duration:g} s."
        raise OptionError(message, option="transcript")
    if abs(transcript.duration - duration) > _MARGIN_S:
        record.warn(f"The transcript is of a recording of {transcript.duration:g} s; this one has {duration:g} s.")


def _language_of(segment: Segment, transcript: Transcription, tokenizer: Tokenizer) -> str:
    language = segment.language or transcript.language
    if not language and tokenizer.is_multilingual:
        raise LanguageError("Neither the transcript nor its segment says which language it is in.", option="transcript")
    return language or "en"


def _draft(segment: Segment, tokenizer: Tokenizer) -> Draft:
    """The segment with the tokens that it was decoded as, or, if its text was changed, those that its text becomes."""
    tokens = segment.tokens
    text_tokens = tuple(token for token in tokens if token < tokenizer.n_vocab and tokenizer.is_text(token))
    if tokenizer.decode(text_tokens) != segment.text:
        tokens = text_tokens = tuple(tokenizer.encode(segment.text))
    return Draft(segment.start, segment.end, segment.text, tokens, text_tokens, segment.truncated)
