"""The policy for one recording, as a generator: it asks, is sent answers, and yields segments as they are accepted.

It decides on the language, the windows and their prompts, whether to accept an attempt or fall back, and where to cut
and move on. It does no tensor maths and no input or output, so scripted answers can drive it as well as an engine.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from whisperlite.audio.mel import FRAMES_PER_SECOND, Features
from whisperlite.decoding.asks import Answer, Ask, Decoded
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.options import Options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import Prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds, Clip
from whisperlite.transcription.fallback import attempt, best_attempt, failed_thresholds, is_silent
from whisperlite.transcription.history import History, Prompts
from whisperlite.transcription.listening import LanguageTracker
from whisperlite.transcription.outcome import Outcome, WindowSpan
from whisperlite.transcription.pauses import Pauses, ended_before_missed_speech, ended_in_pause
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft, Piece, cut_window, ends_alone
from whisperlite.transcription.suppression import suppressed_tokens
from whisperlite.transcription.window_words import WordTimer

_REST_S = 1.0  # after a chunk's last sentence: a word is shorter, and chunks end with some silence
_LATE_S = 3.0  # a segment that ends more than this after a change of language contains both languages


@dataclass(frozen=True, slots=True)
class Accepted:
    """A window that is done.

    Attributes:
        segments: its segments; empty if it was passed over.
        done_s, total_s: progress through the recording, in seconds.
    """

    segments: tuple[Segment, ...]
    done_s: float
    total_s: float


_T = TypeVar("_T")
_Steps = Generator[Ask | Accepted, Answer | None, _T]
Session = _Steps[Transcription]


def session(
    features: Features,
    options: Options,
    tokenizer: Tokenizer,
    *,
    duration: float,
    model: str = "",
    warnings: tuple[str, ...] = (),
    suppressed: frozenset[int] | None = None,
    prompts: Prompts | None = None,
    speech: Sequence[tuple[float, float]] | None = None,
    pauses: Sequence[tuple[float, float]] | None = None,
    chunk: Clip | None = None,
    only_language: bool = False,
) -> Session:
    """Transcribe a recording, or a part of it.

    Args:
        features: the features of the recording.
        duration: the length of the recording in seconds; no time in the result is later.
        model, warnings: for the result.
        suppressed: `suppressed_tokens(options, tokenizer)`, if known; None computes it.
        prompts: `Prompts.of(options, tokenizer)`, if known; None computes it.
        speech: the spans (start, end) of speech in seconds, ascending; None if speech was not looked for.
        pauses: the spans (start, end) without speech in seconds, ascending; None if speech was not looked for.
        chunk: the part to transcribe, (first, end) in frames; None for the parts that the options and `speech` give.
        only_language: detect the language and transcribe nothing.

    Yields:
        `Decode`, `Detect` and `Align`, to be sent their answers, and `Accepted`, to be sent None.

    Returns:
        The transcription. Its `usage.runtime_ms` is 0, to be filled in by the caller. If a `CancelledError` is thrown
        in, the transcription up to that point is returned.
    """
    record = Record(Bounds(features.content_frames, duration), list(warnings))
    return _Session(
        features=features,
        options=options,
        tokenizer=tokenizer,
        model=model,
        suppressed=suppressed_tokens(options, tokenizer) if suppressed is None else suppressed,
        speech=speech,
        pauses=None if pauses is None else Pauses(pauses),
        chunk=chunk,
        only_language=only_language,
        record=record,
        history=History(options, tokenizer, prompts or Prompts.of(options, tokenizer)),
        languages=LanguageTracker(features, options, record),
        words=WordTimer(
            *(features, options, tokenizer, record),
            # What precedes a chunk is unknown here; assume speech right up to it.
            last_speech_end_s=0.0 if chunk is None else chunk[0] / FRAMES_PER_SECOND,
        ),
    ).steps()


@dataclass(slots=True)
class _Session:
    features: Features
    options: Options
    tokenizer: Tokenizer
    model: str
    suppressed: frozenset[int]
    speech: Sequence[tuple[float, float]] | None
    pauses: Pauses | None
    chunk: Clip | None
    only_language: bool
    record: Record
    history: History
    languages: LanguageTracker
    words: WordTimer

    takes_prefix: bool = True  # no window has had segments yet
    missed_speech: bool = False  # the last window's output said that no speech follows, although speech did

    def steps(self) -> Session:
        try:
            yield from self._recording()
        except CancelledError:
            return self._result(is_partial=True)  # the driver, which threw it in, raises it with this result
        except DecodingError as error:
            error.partial = self._result(is_partial=True)
            raise
        return self._result()

    def _result(self, *, is_partial: bool = False) -> Transcription:
        return self.record.result(
            text=self.history.text, task=self.options.task, model=self.model, is_partial=is_partial
        )

    def _recording(self) -> _Steps[None]:
        if self.chunk is not None:
            clips = [self.chunk]
        else:
            clips, cut, silence = self.record.bounds.clips(self.options.clips, self.speech)
            self.record.warnings += cut
            self.record.skipped += silence
        yield from self._find_language(clips)
        if self.only_language:
            return
        longest = round(self.options.chunk_length * FRAMES_PER_SECOND)
        for start, end in clips:
            seek = start
            while seek < end:
                seek += yield from self._window(seek, min(longest, end - seek), end)

    # Language

    @property
    def _is_multilingual(self) -> bool:
        return self.options.multilingual and self.tokenizer.is_multilingual

    def _find_language(self, clips: Sequence[Clip]) -> _Steps[None]:
        if not self.tokenizer.is_multilingual:
            self.record.language = "en"
            self._warn_of_english()
        elif self.options.language is not None:
            self.record.language = self.options.language
        elif not (self._is_multilingual and clips):  # with multilingual=True each window is detected on its own
            yield from self.languages.detect_recording(clips, is_speech=self.speech is not None)

    def _warn_of_english(self) -> None:
        options = self.options
        unused = {
            f"language={options.language!r}": options.language not in (None, "en"),
            "task='translate'": options.task == "translate",
            "multilingual=True": options.multilingual,
            f"allowed_languages={options.allowed_languages!r}": options.allowed_languages not in (None, ("en",)),
            "language_detection_segments": options.language_detection_segments > 1,
        }
        self.record.warn_of_english(name for name, given in unused.items() if given)

    # One window

    def _window(self, seek: int, n_frames: int, clip_end: int) -> _Steps[int]:
        """Transcribe the window at `seek`; returns the number of frames to move on by."""
        language, change_s = self.record.language, None
        if self._is_multilingual:
            language, change_s = yield from self.languages.detect_window(seek, n_frames)
        outcome = yield from self._decode(WindowSpan(seek, n_frames, language, clip_end))
        if change_s is not None:
            outcome = yield from self._until_change(outcome, change_s)
        if self._is_multilingual and not is_silent(outcome.decoded, self.options):
            outcome = yield from self._in_its_language(outcome)
        outcome, missed_speech = self._end_with_speech(outcome)
        span, moved = outcome.span, outcome.moved

        accepted: tuple[Segment, ...] = ()
        is_void = False
        if is_silent(outcome.decoded, self.options):
            moved = span.n_frames
            self.record.skip(span.offset_s, span.end_s, "no_speech")
        else:
            drafts = [self._draft(piece, outcome) for piece in outcome.pieces]
            if self.options.word_timestamps:
                found = yield from self.words.time_words(drafts, outcome)
                drafts, moved, is_void = found.drafts, found.moved, found.is_void
            if not is_void:
                self.takes_prefix = self.takes_prefix and not drafts
                accepted = self.record.accept(drafts, outcome)
                tokens = [token for each in accepted for token in each.tokens]
                self.history.add(tokens, outcome.last_temperature, span.language)
        if not is_void:
            self.missed_speech = missed_speech
        # Timestamps advance, so decoding never gives 0; but words may end where the window begins (correction 24). Then
        # the whole window is passed.
        moved = moved if moved > 0 else span.n_frames
        if accepted and not any(segment.text for segment in accepted):
            self.record.skip_without_text(outcome, (seek + moved) / FRAMES_PER_SECOND)
        duration = self.record.bounds.duration
        self.record.done_s = min((seek + moved) / FRAMES_PER_SECOND, duration)
        yield Accepted(accepted, self.record.done_s, duration)
        return moved

    def _end_with_speech(self, outcome: Outcome) -> tuple[Outcome, bool]:
        """End the window where the pauses say; also whether its output had missed speech that follows."""
        pauses = self.pauses
        if pauses is None or is_silent(outcome.decoded, self.options):
            return outcome, False
        # Corrected once: if the next window says so again, only noise may follow.
        ended = outcome if self.missed_speech else ended_before_missed_speech(outcome, pauses)
        missed_speech = ended is not outcome
        # With word timestamps, the last word says where the window ends.
        return ended if self.options.word_timestamps else ended_in_pause(ended, pauses), missed_speech

    def _until_change(self, outcome: Outcome, change_s: float) -> _Steps[Outcome]:
        """Keep what was said before the language changes, at `change_s` in the window."""
        span = outcome.span
        before = replace(span, n_frames=max(round(change_s * FRAMES_PER_SECOND), 1))
        if is_silent(outcome.decoded, self.options):
            return replace(outcome, span=before)
        kept = [piece for piece in outcome.pieces if (piece.start + piece.end) / 2 < change_s]
        if not kept or kept[-1].end > change_s + _LATE_S:  # one segment in two languages
            self.record.retract(span)
            return replace((yield from self._decode(before)), is_cut=True)
        return outcome.only(kept, otherwise=before.n_frames)

    def _in_its_language(self, outcome: Outcome) -> _Steps[Outcome]:
        """Cut the window before a segment in another language; if that is the first one, decode it in that language."""
        found = yield from self.languages.find_wrong_language(outcome)
        if found is None:
            return outcome
        if found.index > 0:
            return outcome.only(outcome.pieces[: found.index], otherwise=outcome.moved)
        self.record.retract(outcome.span)
        span = replace(outcome.span, n_frames=found.n_frames, language=found.language)
        return replace((yield from self._decode(span)), is_cut=True)

    def _decode(self, span: WindowSpan) -> _Steps[Outcome]:
        """Decode at rising temperatures until an attempt passes; if none does, choose the best."""
        window = self.features.window(span.seek, span.n_frames)
        prompt, text_until = self._prompt(span.language), self._text_until(span)
        encoding = self.languages.take_encoding(window)
        tried: list[Decoded] = []
        failures: list[tuple[str, ...]] = []
        for rung, temperature in enumerate(self.options.temperatures):
            answer = yield attempt(
                window,
                prompt,
                temperature,
                self.options,
                suppressed=self.suppressed,
                seed=(self.options.seed, span.seek, rung),
                encoding=encoding,
                text_until=text_until,
            )
            assert isinstance(answer, Decoded), "a Decode is answered by a Decoded"
            encoding = answer.encoding
            tried.append(answer)
            failures.append(failed_thresholds(answer, self.options))
            self.record.tokens_input += len(prompt.tokens)
            self.record.tokens_generated += len(answer.tokens) - len(prompt.forced)
            if not failures[-1]:
                break
        chosen = len(tried) - 1 if not failures[-1] else best_attempt(tried, self.options)
        self.record.tried(span, tried, failures, chosen)
        tokens, timestamps = tried[chosen].tokens, self.tokenizer.timestamps
        is_final = text_until > 0 and not tried[chosen].truncated
        pieces, moved = cut_window(tokens, n_frames=span.n_frames, timestamps=timestamps, is_final=is_final)
        return Outcome(
            span=span,
            decoded=tried[chosen],
            last_temperature=tried[-1].temperature,
            has_failed=bool(failures[-1]),
            encoding=tried[-1].encoding,
            pieces=pieces,
            moved=min(moved, span.n_frames),
            is_complete=ends_alone(tokens, timestamps) or (is_final and moved == span.n_frames),
        )

    def _text_until(self, span: WindowSpan) -> float:
        """`Decode.text_until` for a window: in a chunk's last window the text reaches almost to the end, else 0.

        A further window for the rest would cost as much as this one. With `multilingual=True` one may be needed anyway,
        for another language.
        """
        is_last = self.chunk is not None and span.seek + span.n_frames == span.clip_end
        if not is_last or self._is_multilingual or self.options.without_timestamps:
            return 0.0
        return max(span.content_s - _REST_S, 0.0)

    def _prompt(self, language: str) -> Prompt:
        return self.history.prompt(language, self.options.prefix if self.takes_prefix else None)

    def _draft(self, piece: Piece, outcome: Outcome) -> Draft:
        offset_s = outcome.span.offset_s
        text_tokens = tuple(token for token in piece.tokens if self.tokenizer.is_text(token))
        return Draft(
            start=offset_s + piece.start,
            end=offset_s + piece.end,
            text=self.tokenizer.decode(text_tokens),
            tokens=piece.tokens,
            text_tokens=text_tokens,
            is_truncated=outcome.decoded.truncated and piece.is_last,
        )
