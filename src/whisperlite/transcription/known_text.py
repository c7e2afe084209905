"""Finds when the words of a known text were said: a session that decodes nothing, and only asks for alignments."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import compression_ratio
from whisperlite.errors import DecodingError, LanguageError, OptionError
from whisperlite.kinds import is_unicode
from whisperlite.languages import UNSPACED_LANGUAGES
from whisperlite.nn.config import FRAMES_PER_POSITION
from whisperlite.options import Options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds, Clip, widened_to_words, words_inside
from whisperlite.transcription.fallback import NOT_FINITE_ADVICE
from whisperlite.transcription.outcome import Asks
from whisperlite.transcription.passages import (
    LONGEST_S,
    MARGIN_S,
    MOST_TOKENS,
    Passage,
    frames,
    windows_of,
    with_text,
)
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft
from whisperlite.transcription.words import add_words, timed_words, written_language


def check_transcript(transcript: Transcription, tokenizer: Tokenizer) -> None:
    """Check what can be checked before the recording is read.

    Raises:
        OptionError: a segment with text is out of order or too long.
        LanguageError: a segment with text is in no language, or in one that the model does not have.
    """
    before = 0.0
    for each in with_text(transcript.segments):
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
    if frames(end) - frames(start) > WINDOW_FRAMES:
        return f"lasts {end - start:g} s, and may last {LONGEST_S:g} s: divide it."
    if not is_unicode(segment.text):
        return "has half a surrogate pair, which is no character."
    if len(_draft(segment, tokenizer).text_tokens) > MOST_TOKENS:
        return f"has more than {MOST_TOKENS} tokens of text: divide it."
    return None


def align_text(
    features: Features,
    tokenizer: Tokenizer,
    transcript: Transcription,
    passages: Iterable[Passage],
    options: Options,
    *,
    record: Record,
) -> Asks[Transcription]:
    """Return the transcript with words in its segments, and times that agree with theirs.

    Each passage is aligned on its own, with the part of the recording in which it was said, so that whatever lies
    between passages has no influence. The window around several of them is encoded once.

    Args:
        features: of the recording.
        transcript: whose segments are in order.
        passages: its segments with text, in their order.
        options: the punctuation that is joined to words.
        record: gets the warnings of the result, and knows the bounds of the recording.

    Raises:
        DecodingError: the probabilities of the words are not finite.
    """
    if not tokenizer.is_multilingual:
        _warn_of_english(transcript, record)
    timed: list[Segment] = []
    spoken_until = 0.0
    for seek, group in windows_of(passages):
        window = features.window(seek, min(WINDOW_FRAMES, max(features.content_frames - seek, 1)))
        encoding: Encoding | None = None
        for passage in group:
            drafts = [_draft(each, tokenizer) for each in passage.segments]
            tokens = tuple(token for draft in drafts for token in draft.text_tokens)
            spoken = passage.segments[0].language or transcript.language
            language = spoken if tokenizer.is_multilingual else "en"
            prompt = build_prompt(tokenizer, language=language, task=transcript.task, without_timestamps=True).tokens
            first, end = passage.part_of_window(seek)
            n_frames = (end - first) * FRAMES_PER_POSITION
            answer = yield Align(window, prompt, tokens, n_frames, encoding, part=(first, end))
            assert isinstance(answer, Aligned), "an Align is answered by an Aligned"
            if not all(map(math.isfinite, answer.probabilities)):
                raise DecodingError(f"The probabilities of the words are not finite. {NOT_FINITE_ADVICE}")
            encoding = answer.encoding
            record.ran_in_float32(answer)
            at = 0
            for segment, draft in zip(passage.segments, drafts, strict=True):
                n_tokens = len(draft.text_tokens)
                own = _part_of(answer, at, at + n_tokens)
                (with_words,) = add_words(
                    [draft],
                    timed_words(draft.text_tokens, own, tokenizer, written_language(transcript.task, language)),
                    offset_s=(seek + first * FRAMES_PER_POSITION) / FRAMES_PER_SECOND,
                    last_speech_end_s=spoken_until,
                    prepended=options.prepend_punctuations,
                    appended=options.append_punctuations,
                )
                span = (passage.first, passage.end)
                timed.append(_placed(segment, with_words, own, record.bounds, span, not_before=spoken_until))
                spoken_until = timed[-1].end
                at += n_tokens
    segments = _merged(transcript.segments, timed)
    text = _joined(segments, transcript.language)
    duration = record.bounds.duration
    return replace(transcript, text=text, segments=segments, duration=duration, warnings=tuple(record.warnings))


def _part_of(answer: Aligned, first: int, end: int) -> Aligned:
    """The answer for a part of the tokens."""
    return replace(answer, times=answer.times[first : end + 1], probabilities=answer.probabilities[first:end])


def _placed(
    segment: Segment, draft: Draft, answer: Aligned, bounds: Bounds, span: Clip, *, not_before: float
) -> Segment:
    """The segment with the words of its draft, within the span in which they were looked for."""
    (draft,) = widened_to_words([draft])
    start, end = bounds.clamped(draft.start, draft.end, span, not_before)
    words = words_inside(draft.words or (), start, end)
    if draft.tokens != segment.tokens:  # the text is new: what the segment says of its text does not describe it
        ratio = compression_ratio(segment.text.strip())
        segment = replace(segment, avg_logprob=_mean_log(answer.probabilities), compression_ratio=ratio)
    return replace(segment, start=start, end=end, tokens=draft.tokens, words=words)


def _mean_log(probabilities: Sequence[float]) -> float:
    return fmean(math.log(max(each, sys.float_info.min)) for each in probabilities)


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


def compare_with_recording(transcript: Transcription, record: Record) -> None:
    """Refuse segments after the recording, and warn of another length.

    Raises:
        OptionError: a segment with text begins after the recording.
    """
    duration = record.bounds.duration
    for each in with_text(transcript.segments):
        if each.start >= duration:
            message = f"A segment begins at {each.start:g} s, but the recording has {duration:g} s."
            raise OptionError(message, option="transcript")
    if abs(transcript.duration - duration) > MARGIN_S:
        record.warn(f"The transcript is of a recording of {transcript.duration:g} s; this one has {duration:g} s.")


def _warn_of_english(transcript: Transcription, record: Record) -> None:
    languages = {each.language or transcript.language for each in with_text(transcript.segments)}
    unused = [f"language={language!r}" for language in sorted(languages - {"", "en"})]
    record.warn_of_english(unused + (["task='translate'"] if transcript.task == "translate" else []))


def _draft(segment: Segment, tokenizer: Tokenizer) -> Draft:
    """The segment with the tokens that it was decoded as, or, if its text was changed, those that its text becomes."""
    tokens = segment.tokens
    text_tokens = tuple(token for token in tokens if 0 <= token < tokenizer.n_vocab and tokenizer.is_text(token))
    if tokenizer.decode(text_tokens) != segment.text:
        tokens = text_tokens = tuple(tokenizer.encode(segment.text))
    return Draft(segment.start, segment.end, segment.text, tokens, text_tokens, segment.truncated)
