"""The result of a session as it grows, and the `Transcription` that it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from whisperlite.audio.mel import FRAMES_PER_SECOND
from whisperlite.decoding.asks import Answer, Decoded
from whisperlite.options import Task
from whisperlite.results import Attempt, Segment, Skipped, SkipReason, Transcription, Usage
from whisperlite.transcription.bounds import Bounds, widened_to_words, words_inside
from whisperlite.transcription.languages import longest_spoken
from whisperlite.transcription.outcome import Outcome, WindowSpan
from whisperlite.transcription.segments import Draft


@dataclass(slots=True)
class Record:
    """The result of one session so far.

    Attributes:
        bounds: the bounds of the recording, to which times are clamped.
        warnings, segments, skipped, attempts: as in `Transcription`.
        language, language_probability: the language of the recording, unless it may change.
        window_languages: the language of each window and its probability, if the language may change.
        tokens_input, tokens_generated: as in `Usage`.
        done_s: the end of the last window that is done, in seconds.
    """

    bounds: Bounds
    warnings: list[str]
    segments: list[Segment] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    language: str = ""
    language_probability: float | None = None
    window_languages: list[tuple[str, float]] = field(default_factory=list)
    tokens_input: int = 0
    tokens_generated: int = 0
    done_s: float = 0.0

    def tried(
        self, span: WindowSpan, attempts: Sequence[Decoded], failures: Sequence[tuple[str, ...]], chosen: int
    ) -> None:
        """Record the attempts at a window, the thresholds that each one failed, and the index of the chosen one."""
        self.attempts += [
            Attempt(
                seek=span.seek,
                temperature=one.temperature,
                avg_logprob=_finite(one.avg_logprob),
                compression_ratio=one.compression_ratio,
                no_speech_prob=_finite(one.no_speech_prob),
                failed=failed,
                accepted=index == chosen,
            )
            for index, (one, failed) in enumerate(zip(attempts, failures, strict=True))
        ]
        for one in attempts:
            self.ran_in_float32(one)

    def ran_in_float32(self, answer: Answer) -> None:
        """Warn, once, if half precision failed for this answer and it was computed in float32."""
        if answer.in_float32:
            self.warn("Half precision gave numbers that are not finite; these windows were run again in float32.")

    def retract(self, span: WindowSpan) -> None:
        """Mark the attempts at a window as not accepted, because it is decoded again with another extent."""
        self.attempts = [replace(one, accepted=False) if one.seek == span.seek else one for one in self.attempts]

    def warn(self, text: str) -> None:
        """Add a warning, unless it has been given before."""
        if text not in self.warnings:
            self.warnings.append(text)

    def warn_of_english(self, unused: Iterable[str]) -> None:
        """Warn of options and values that an English-only model does not use."""
        for name in unused:
            self.warn(f"{name} was not used: the model is English-only.")

    def skip(self, start: float, end: float, reason: SkipReason) -> None:
        """Record a span without text, in seconds; any part before the end of the last text is cut off."""
        said_until = next((segment.end for segment in reversed(self.segments) if segment.text), 0.0)
        start, end = (min(max(round(time, 3), said_until), self.bounds.duration) for time in (start, end))
        if end > start:
            self.skipped.append(Skipped(start, end, reason))

    def accept(self, drafts: Sequence[Draft], outcome: Outcome) -> tuple[Segment, ...]:
        """Add the segments of a window to the result; returns them as they are in the result."""
        before = len(self.segments)
        for draft in widened_to_words(drafts):
            self.segments.append(self._segment(draft, outcome))
            if draft.is_empty and draft.text.strip():
                self.warn(f"A text without duration was left out at {self.segments[-1].start:.2f} s:{draft.text}")
        return tuple(self.segments[before:])

    def skip_without_text(self, outcome: Outcome, end: float) -> None:
        """Record a window whose segments are all empty as skipped.

        Args:
            end: the start of the next window, in seconds. The span ends earlier if a silence was found in the window.
        """
        start = outcome.span.offset_s
        silences = [span.start for span in self.skipped if span.reason == "silence" and span.start >= start]
        self.skip(start, min([end, *silences]), "failed_thresholds" if outcome.has_failed else "no_text")

    def _segment(self, draft: Draft, outcome: Outcome) -> Segment:
        span, decoded = outcome.span, outcome.decoded
        not_before = self.segments[-1].end if self.segments else 0.0
        window = (span.seek, span.seek + span.n_frames)
        start, end = self.bounds.clamped(draft.start, draft.end, window, not_before)
        words = None if draft.words is None else words_inside(draft.words, start, end)
        return Segment(
            id=len(self.segments),
            seek=span.seek,
            start=start,
            end=end,
            text="" if draft.is_empty else draft.text,
            tokens=() if draft.is_empty else draft.tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
            language=span.language,
            truncated=draft.is_truncated,
            words=() if words is not None and draft.is_empty else words,
        )

    def result(self, *, text: str, task: Task, model: str, is_partial: bool) -> Transcription:
        """Return the transcription.

        A partial one ends with the last window that was done. Of what came after, it contains only the attempts, none
        of them accepted.
        """
        language, probability = (
            self._most_spoken() if self.window_languages else (self.language, self.language_probability)
        )
        skipped = [span for span in self.skipped if not is_partial or span.end <= self.done_s]
        return Transcription(
            text=text,
            segments=tuple(self.segments),
            language=language,
            language_probability=probability,
            duration=self.bounds.duration,
            task=task,
            model=model,
            usage=Usage(self.tokens_input, self.tokens_generated, 0, round(self.bounds.duration * 1000)),
            warnings=tuple(self.warnings),
            skipped=tuple(sorted(skipped, key=lambda span: (span.start, span.end))),
            attempts=tuple(
                replace(each, accepted=False) if is_partial and each.seek / FRAMES_PER_SECOND >= self.done_s else each
                for each in self.attempts
            ),
        )

    def _most_spoken(self) -> tuple[str, float]:
        """The language of most of the segments' time, and its mean probability over the windows that begin in it."""
        language = longest_spoken((code for code, _ in self.window_languages), self.segments)
        return language, fmean(probability for code, probability in self.window_languages if code == language)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None  # JSON has no NaN
