"""Finds when the words of a known text were said: a session that decodes nothing, and only asks for alignments."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError, LanguageError, OptionError
from whisperlite.languages import UNSPACED_LANGUAGES
from whisperlite.nn.config import FRAMES_PER_POSITION
from whisperlite.options import Options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import N_TEXT_CTX, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds, widened_to_words, words_inside
from whisperlite.transcription.fallback import NOT_FINITE_ADVICE
from whisperlite.transcription.outcome import Asks
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft
from whisperlite.transcription.words import add_words, timed_words, written_language

_MARGIN_S = 0.5  # after a segment, whose end is not exact
_MOST_TOKENS = N_TEXT_CTX - 8  # of one segment; the prompt and the end take fewer than 8


@dataclass(frozen=True, slots=True)
class KnownSegment:
    """A segment with text, and where its words are looked for.

    Attributes:
        segment: as given.
        first, end: the span, in frames: from its start to half a second after its end, or to the next segment's start.
    """

    segment: Segment
    first: int
    end: int

    def part_of_window(self, seek: int) -> tuple[int, int]:
        """The span in the encoding of a window, (first, end) in positions of 20 ms; at least one.

        Args:
            seek: the first frame of the window.
        """
        first = (self.first - seek) // FRAMES_PER_POSITION
        return first, max((self.end - seek) // FRAMES_PER_POSITION, first + 1)


def check_transcript(transcript: Transcription, tokenizer: Tokenizer) -> None:
    """Check what can be checked before the recording is read.

    Raises:
        OptionError: a segment with text is out of order or too long.
        LanguageError: a segment with text is in no language, or in one that the model does not have.
    """
    before = 0.0
    for each in _with_text(transcript.segments):
        name = f"The segment at {each.start:g} s, {each.text.strip()[:40]!r},"
        if fault := _fault(each, before, tokenizer):
            raise OptionError(f"{name} {fault}", option="transcript")
        if tokenizer.is_multilingual:
            language = each.language or transcript.language
            if not language:
                raise LanguageError(f"{name} has no language, and neither has the transcript.", option="transcript")
            tokenizer.language_token(language)
        before = each.start


def _fault(segment: Segment, before: float, tokenizer: Tokenizer) -> str | None:
    """What is wrong with the times or the length of a segment, if anything; the one before it begins at `before`."""
    start, end = segment.start, segment.end
    if not (start >= 0 and math.isfinite(end)):
        return f"has impossible times: {start:g} to {end:g} s."
    if end < start:
        return f"ends before it begins, at {end:g} s."
    if start < before:
        return f"begins before the one before it, at {before:g} s: give segments in their order."
    if _frames(end) - _frames(start) > WINDOW_FRAMES:
        return f"lasts {end - start:g} s, and may last {WINDOW_FRAMES / FRAMES_PER_SECOND:g} s: divide it."
    if len(_draft(segment, tokenizer).text_tokens) > _MOST_TOKENS:
        return f"has more than {_MOST_TOKENS} tokens of text: divide it."
    return None


def windows_of(segments: Sequence[Segment], bounds: Bounds) -> Iterator[tuple[int, list[KnownSegment]]]:
    """Yield windows that are encoded together: the first frame, and as many segments as fit.

    Args:
        segments: with times that `check_transcript` accepts; those without text are left out.
        bounds: of the recording, in which the segments begin.
    """
    group: list[KnownSegment] = []
    for known in _spans(_with_text(segments), bounds):
        if group and known.end - group[0].first > WINDOW_FRAMES:
            yield group[0].first, group
            group = []
        group.append(known)
    if group:
        yield group[0].first, group


def _spans(segments: Sequence[Segment], bounds: Bounds) -> Iterator[KnownSegment]:
    last_frame = max(bounds.content_frames - 1, 0)
    starts = [min(_frames(each.start), last_frame) for each in segments]
    for each, first, after in zip(segments, starts, [*starts, bounds.content_frames][1:], strict=True):
        end = min(_frames(each.end + _MARGIN_S), max(_frames(each.end), after), first + WINDOW_FRAMES)
        yield KnownSegment(each, first, max(min(end, bounds.content_frames), first + 1))


def _frames(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)


def _with_text(segments: Sequence[Segment]) -> list[Segment]:
    return [each for each in segments if each.text.strip()]


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

    Each segment is aligned on its own, with the part of the recording in which it was said, so that whatever lies
    between segments has no influence. The window around several of them is encoded once.

    Args:
        features: of the recording.
        transcript: one that `check_transcript` accepts.
        options: the punctuation that is joined to words.
        duration: of the recording, in seconds.
        warnings: about the recording and the options.

    Raises:
        OptionError: a segment with text begins after the recording.
        DecodingError: the probabilities of the words are not finite.
    """
    record = Record(Bounds(features.content_frames, duration), [*transcript.warnings, *warnings])
    _compare_with_recording(transcript, record)
    if not tokenizer.is_multilingual:
        _warn_of_english(transcript, record)
    timed: list[Segment] = []
    spoken_until = 0.0
    for seek, group in windows_of(transcript.segments, record.bounds):
        window = features.window(seek, min(WINDOW_FRAMES, max(features.content_frames - seek, 1)))
        encoding: Encoding | None = None
        for known in group:
            draft = _draft(known.segment, tokenizer)
            language = (known.segment.language or transcript.language) if tokenizer.is_multilingual else "en"
            prompt = build_prompt(tokenizer, language=language, task=transcript.task, without_timestamps=True).tokens
            first, end = known.part_of_window(seek)
            n_frames = (end - first) * FRAMES_PER_POSITION
            answer = yield Align(window, prompt, draft.text_tokens, n_frames, encoding, part=(first, end))
            assert isinstance(answer, Aligned), "an Align is answered by an Aligned"
            if not all(map(math.isfinite, answer.probabilities)):
                raise DecodingError(f"The probabilities of the words are not finite. {NOT_FINITE_ADVICE}")
            encoding = answer.encoding
            record.ran_in_float32(answer)
            written = written_language(transcript.task, language)
            (with_words,) = add_words(
                [draft],
                timed_words(draft.text_tokens, answer, tokenizer, written),
                offset_s=(seek + first * FRAMES_PER_POSITION) / FRAMES_PER_SECOND,
                last_speech_end_s=spoken_until,
                prepended=options.prepend_punctuations,
                appended=options.append_punctuations,
            )
            timed.append(_placed(known, with_words, record.bounds, not_before=spoken_until))
            spoken_until = timed[-1].end
    segments = _merged(transcript.segments, timed)
    text = _joined(segments, transcript.language)
    return replace(transcript, text=text, segments=segments, duration=duration, warnings=tuple(record.warnings))


def _placed(known: KnownSegment, draft: Draft, bounds: Bounds, *, not_before: float) -> Segment:
    """The segment with the words of its draft, within the span in which they were looked for."""
    (draft,) = widened_to_words([draft])
    start, end = bounds.clamped(draft.start, draft.end, (known.first, known.end), not_before)
    words = words_inside(draft.words or (), start, end)
    return replace(known.segment, start=start, end=end, tokens=draft.tokens, words=words)


def _merged(segments: Sequence[Segment], timed: Sequence[Segment]) -> tuple[Segment, ...]:
    """All segments in their order: those with text as they were timed, and between them those without."""
    found: list[Segment] = []
    waiting = list(timed)
    for each in segments:
        if each.text.strip():
            found.append(waiting.pop(0))
            continue
        earliest = found[-1].end if found else 0.0
        latest = waiting[0].start if waiting else max(each.end, earliest)
        start = min(max(each.start, earliest), latest)
        found.append(replace(each, start=start, end=min(max(each.end, start), latest), words=()))
    return tuple(found)


def _joined(segments: Sequence[Segment], language: str) -> str:
    """The text of all segments, with a space between two that have none there, if the language has spaces."""
    text = ""
    for each in segments:
        is_glued = text and each.text and not text[-1].isspace() and not each.text[0].isspace()
        text += f" {each.text}" if is_glued and (each.language or language) not in UNSPACED_LANGUAGES else each.text
    return text


def _compare_with_recording(transcript: Transcription, record: Record) -> None:
    """Refuse segments after the recording, and warn of another length."""
    duration = record.bounds.duration
    for each in _with_text(transcript.segments):
        if each.start >= duration:
            message = f"A segment begins at {each.start:g} s, but the recording has {duration:g} s."
            raise OptionError(message, option="transcript")
    if abs(transcript.duration - duration) > _MARGIN_S:
        record.warn(f"The transcript is of a recording of {transcript.duration:g} s; this one has {duration:g} s.")


def _warn_of_english(transcript: Transcription, record: Record) -> None:
    languages = {each.language or transcript.language for each in _with_text(transcript.segments)}
    unused = [f"language={language!r}" for language in sorted(languages - {"", "en"})]
    record.warn_of_english(unused + (["task='translate'"] if transcript.task == "translate" else []))


def _draft(segment: Segment, tokenizer: Tokenizer) -> Draft:
    """The segment with the tokens that it was decoded as, or, if its text was changed, those that its text becomes."""
    tokens = segment.tokens
    text_tokens = tuple(token for token in tokens if 0 <= token < tokenizer.n_vocab and tokenizer.is_text(token))
    if tokenizer.decode(text_tokens) != segment.text:
        tokens = text_tokens = tuple(tokenizer.encode(segment.text))
    return Draft(segment.start, segment.end, segment.text, tokens, text_tokens, segment.truncated)
