"""Gives the segments of a window their words, which also say where the next window begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.audio.mel import FRAMES_PER_SECOND, Features
from whisperlite.decoding.asks import Align, Aligned
from whisperlite.options import APPENDED, PREPENDED, Options
from whisperlite.text.prompt import build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.hallucination import WindowTimes, without_hallucinations
from whisperlite.transcription.outcome import Asks, Outcome
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft
from whisperlite.transcription.words import TimedWord, add_words, speech_end, timed_words, written_language

# A "word" of these alone is ignored when hallucinations are looked for, as in the reference.
_PUNCTUATION = PREPENDED + APPENDED


@dataclass(frozen=True, slots=True)
class WindowWords:
    """The segments of a window, with their words and without hallucinations.

    Attributes:
        drafts: the segments.
        moved: frames from the start of the window to the start of the next one.
        is_void: as in `FilteredWindow`; there are no segments then.
    """

    drafts: list[Draft]
    moved: int
    is_void: bool = False


@dataclass(slots=True)
class WordTimer:
    """Finds the words of one recording, window by window.

    Attributes:
        last_speech_end_s: where speech ended in the windows so far, in seconds.
    """

    features: Features
    options: Options
    tokenizer: Tokenizer
    record: Record
    last_speech_end_s: float

    def time_words(self, drafts: Sequence[Draft], outcome: Outcome) -> Asks[WindowWords]:
        """Give the segments of a window their words and, if asked for, drop hallucinations."""
        words = yield from self._timed_words(drafts, outcome)
        with_words = add_words(
            drafts,
            words,
            offset_s=outcome.span.offset_s,
            last_speech_end_s=self.last_speech_end_s,
            prepended=self.options.prepend_punctuations,
            appended=self.options.append_punctuations,
        )
        found = WindowWords(with_words, _moved_past_words(with_words, outcome))
        if self.options.hallucination_silence_threshold is not None:
            found = self._without_hallucinations(found, outcome, self.options.hallucination_silence_threshold)
        end_s = speech_end(found.drafts)
        if end_s is not None:
            self.last_speech_end_s = end_s
        return found

    def _timed_words(self, drafts: Sequence[Draft], outcome: Outcome) -> Asks[list[TimedWord]]:
        span = outcome.span
        tokens = tuple(token for draft in drafts for token in draft.text_tokens)
        if not tokens:
            return []
        prompt = build_prompt(
            self.tokenizer, language=span.language, task=self.options.task, without_timestamps=True
        ).tokens
        window = self.features.window(span.seek, span.n_frames)
        answer = yield Align(window, prompt, tokens, outcome.said_frames, outcome.encoding)
        assert isinstance(answer, Aligned), "an Align is answered by an Aligned"
        self.record.ran_in_float32(answer)
        return timed_words(tokens, answer, self.tokenizer, written_language(self.options.task, span.language))

    def _without_hallucinations(self, found: WindowWords, outcome: Outcome, threshold_s: float) -> WindowWords:
        span, moved = outcome.span, found.moved
        times = WindowTimes(
            start=span.offset_s,
            # Equal to the reference's to the last bit: a silence may be exactly as long as the threshold.
            end=(span.seek + round(self.options.chunk_length * FRAMES_PER_SECOND)) / FRAMES_PER_SECOND,
            content_end=span.offset_s + span.content_s,
            recording_end=self.features.content_frames / FRAMES_PER_SECOND,
        )
        filtered = without_hallucinations(
            found.drafts,
            times,
            threshold_s=threshold_s,
            last_speech_end_s=self.last_speech_end_s,
            punctuation=_PUNCTUATION,
        )
        end_s = speech_end(found.drafts)
        if filtered.next_s is not None and filtered.silence is not None:
            next_frame = min(round(filtered.next_s * FRAMES_PER_SECOND), span.clip_end)
            # Words that are kept may reach into the silence.
            begin_s = max(filtered.silence[0], speech_end(filtered.kept) or 0.0)
            self.record.skip(begin_s, min(filtered.silence[1], next_frame / FRAMES_PER_SECOND), "silence")
            moved = next_frame - span.seek
        elif (
            not (outcome.is_complete or outcome.is_cut)
            and end_s is not None
            and span.offset_s < end_s
            and times.end - end_s <= threshold_s
        ):
            moved = span.n_frames  # the rest is too short for speech
            self.record.skip(end_s, span.end_s, "silence")
        return WindowWords(filtered.kept, moved, filtered.is_void)


def _moved_past_words(drafts: Sequence[Draft], outcome: Outcome) -> int:
    """The number of frames to move on by: up to the end of the last word, or as decoded if the output is complete."""
    span, end_s = outcome.span, speech_end(drafts)
    if outcome.is_complete or end_s is None or end_s <= span.offset_s:
        return outcome.moved
    # Without words, end_s is a segment's own end, which the model may place after the content.
    is_exact = any(draft.words for draft in drafts) and not outcome.is_cut
    farthest = span.clip_end if is_exact else span.seek + outcome.said_frames
    return min(round(end_s * FRAMES_PER_SECOND), farthest) - span.seek
