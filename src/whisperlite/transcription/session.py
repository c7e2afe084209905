"""The policy of one recording, as a generator: it asks, is sent answers, and hands out segments as they are accepted.

Which language, which window, which prompt, accept or fall back, cut, move on. There is no tensor maths here and no
input or output, so a session can be driven by scripted answers as well as by an engine.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from whisperlite.audio.mel import FRAMES_PER_SECOND, Features
from whisperlite.decoding.asks import Align, Aligned, Answer, Ask, Decoded
from whisperlite.errors import CancelledError, DecodingError
from whisperlite.options import APPENDED, PREPENDED, Options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import Prompt, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.bounds import Bounds, Clip
from whisperlite.transcription.fallback import attempt, best_attempt, failed_thresholds, is_silent
from whisperlite.transcription.hallucination import FilteredWindow, WindowTimes, without_hallucinations
from whisperlite.transcription.history import History, Prompts
from whisperlite.transcription.listening import LanguageTracker
from whisperlite.transcription.outcome import Outcome, WindowSpan
from whisperlite.transcription.pauses import Pauses, ended_before_missed_speech, ended_in_pause
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import Draft, Piece, cut_window, ends_alone
from whisperlite.transcription.suppression import suppressed_tokens
from whisperlite.transcription.words import TimedWord, add_words, speech_end, timed_words

# What counts as no word of its own where hallucinations are looked for, as in the reference.
_PUNCTUATION = PREPENDED + APPENDED
_REST_S = 1.0  # of a chunk, behind its last sentence: a word takes less, and silence is left at the end of chunks
_LATE_S = 3.0  # a segment that goes on for so long behind a change of language belongs to neither


@dataclass(frozen=True, slots=True)
class Accepted:
    """A window is done.

    Attributes:
        segments: what it held; none where it was passed over.
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
    """Transcribe one recording, or a part of it.

    Args:
        features: of the recording.
        duration: of the recording, in seconds: nothing ends later.
        model, warnings: for the result.
        suppressed: what `suppressed_tokens` gives for the options; None: it is looked up.
        prompts: what `Prompts.of` gives for the options; None: it is looked up.
        speech: (start, end) in seconds where there is speech, ascending; None: it was not looked for.
        pauses: (start, end) in seconds where nobody speaks, ascending; None: they were not looked for.
        chunk: (first, end) in frames, of the part to transcribe; None: those that the options and `speech` say.
        only_language: find out the language, and transcribe nothing.

    Yields:
        `Decode`, `Detect` and `Align`, to be answered, and `Accepted`, to be sent None.

    Returns:
        The transcription; its `usage.runtime_ms` is 0, for the driver to fill in. A `CancelledError` thrown in ends it
        with what there is.
    """
    if suppressed is None:
        suppressed = suppressed_tokens(options, tokenizer)
    return _Session(
        features=features,
        options=options,
        tokenizer=tokenizer,
        duration=duration,
        model=model,
        warnings=list(warnings),
        suppressed=suppressed,
        prompts=prompts or Prompts.of(options, tokenizer),
        speech=speech,
        pauses=None if pauses is None else Pauses(pauses),
        chunk=chunk,
        only_language=only_language,
    ).steps()


@dataclass(slots=True)
class _Session:
    features: Features
    options: Options
    tokenizer: Tokenizer
    duration: float
    model: str
    warnings: list[str]
    suppressed: frozenset[int]
    prompts: Prompts
    speech: Sequence[tuple[float, float]] | None
    pauses: Pauses | None
    chunk: Clip | None
    only_language: bool

    history: History = field(init=False)
    record: Record = field(init=False)
    languages: LanguageTracker = field(init=False)
    is_first: bool = True  # of the windows: the one that gets the prefix
    last_speech_end_s: float = field(init=False)
    missed_speech: bool = False  # the window before said that no speech follows, and speech did

    def __post_init__(self) -> None:
        # What was said before a chunk is not known: it is taken to follow on.
        self.last_speech_end_s = 0.0 if self.chunk is None else self.chunk[0] / FRAMES_PER_SECOND
        self.history = History(self.options, self.tokenizer, self.prompts)
        self.record = Record(Bounds(self.features.content_frames, self.duration), self.warnings)
        self.languages = LanguageTracker(self.features, self.options, self.record)

    def steps(self) -> Session:
        try:
            yield from self._recording()
        except CancelledError:
            return self._result(is_partial=True)  # the driver, which threw it in, raises it with this
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
            self.warnings += cut
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
        elif not (self._is_multilingual and clips):  # else each window is listened to
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
        self.warnings += [f"{name} was not used: the model is English-only." for name, given in unused.items() if given]

    # One window

    def _window(self, seek: int, n_frames: int, clip_end: int) -> _Steps[int]:
        """Transcribe the window at `seek` of a clip; returns by how many frames to move on."""
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
        counts = True
        if is_silent(outcome.decoded, self.options):
            moved = span.n_frames
            self.record.skip(span.offset_s, span.end_s, "no_speech")
        else:
            drafts = [self._draft(piece, outcome) for piece in outcome.pieces]
            if self.options.word_timestamps:
                drafts, moved, counts = yield from self._with_words(drafts, outcome)
            if counts:
                self.is_first = self.is_first and not drafts
                accepted = self.record.accept(drafts, outcome)
                tokens = [token for each in accepted for token in each.tokens]
                self.history.add(tokens, outcome.last_temperature, span.language)
        if counts:
            self.missed_speech = missed_speech
        # The rules make timestamps advance, so that 0 cannot come from decoding; words may end where the window begins
        # (correction 24). Then the window is passed.
        moved = moved if moved > 0 else span.n_frames
        if accepted and not any(segment.text for segment in accepted):
            self.record.skip_without_text(outcome, (seek + moved) / FRAMES_PER_SECOND)
        self.record.done_s = min((seek + moved) / FRAMES_PER_SECOND, self.duration)
        yield Accepted(accepted, self.record.done_s, self.duration)
        return moved

    def _end_with_speech(self, outcome: Outcome) -> tuple[Outcome, bool]:
        """The window without what it has left to the next one, and whether speech follows that it said does not."""
        pauses = self.pauses
        if pauses is None or is_silent(outcome.decoded, self.options):
            return outcome, False
        heard = outcome if self.missed_speech else ended_before_missed_speech(outcome, pauses)
        missed_speech = heard is not outcome  # once: where it says so again nothing but noise may follow
        # Words tell where they end.
        return heard if self.options.word_timestamps else ended_in_pause(heard, pauses), missed_speech

    def _until_change(self, outcome: Outcome, change_s: float) -> _Steps[Outcome]:
        """What was said in the language that the window begins in."""
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
        """The window without what turns out to be in another language; if that is its beginning, in that language."""
        found = yield from self.languages.find_wrong_language(outcome)
        if found is None:
            return outcome
        if found.index > 0:
            return outcome.only(outcome.pieces[: found.index], otherwise=outcome.moved)
        self.record.retract(outcome.span)
        span = replace(outcome.span, n_frames=found.n_frames, language=found.language)
        return replace((yield from self._decode(span)), is_cut=True)

    def _decode(self, place: WindowSpan) -> _Steps[Outcome]:
        """Up the ladder until an attempt passes, or the best one, and its pieces."""
        window = self.features.window(place.seek, place.n_frames)
        prompt, text_until = self._prompt(place.language), self._text_until(place)
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
                seed=(self.options.seed, place.seek, rung),
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
        self.record.tried(place, tried, failures, chosen)
        tokens, begin = tried[chosen].tokens, self.tokenizer.timestamp_begin
        is_final = text_until > 0 and not tried[chosen].truncated
        pieces, moved = cut_window(tokens, n_frames=place.n_frames, timestamp_begin=begin, is_final=is_final)
        return Outcome(
            span=place,
            decoded=tried[chosen],
            last_temperature=tried[-1].temperature,
            has_failed=bool(failures[-1]),
            encoding=tried[-1].encoding,
            pieces=pieces,
            moved=min(moved, place.n_frames),
            is_complete=ends_alone(tokens, begin) or (is_final and moved == place.n_frames),
        )

    def _text_until(self, span: WindowSpan) -> float:
        """A chunk's last window holds all that is said: a window of its own for the end would cost as much again.

        But not where the language may change, and another window comes for that.
        """
        is_last = self.chunk is not None and span.seek + span.n_frames == span.clip_end
        if not is_last or self._is_multilingual or self.options.without_timestamps:
            return 0.0
        return max(span.n_frames / FRAMES_PER_SECOND - _REST_S, 0.0)

    def _prompt(self, language: str) -> Prompt:
        return self.history.prompt(language, self.options.prefix if self.is_first else None)

    # Words

    def _with_words(self, drafts: list[Draft], outcome: Outcome) -> _Steps[tuple[list[Draft], int, bool]]:
        """Segments with words, without hallucinations; by how many frames to move on; and whether the window counts.

        If it does not, it is decoded again from where speech begins, as if it had never been decoded.
        """
        span, moved = outcome.span, outcome.moved
        words = yield from self._timed_words(drafts, outcome)
        drafts = add_words(
            drafts,
            words,
            offset_s=span.offset_s,
            last_speech_end_s=self.last_speech_end_s,
            prepended=self.options.prepend_punctuations,
            appended=self.options.append_punctuations,
        )
        end_s = speech_end(drafts)
        if not outcome.is_complete and end_s is not None and end_s > span.offset_s:
            # Without words it is the time of a segment, which the model may put behind the content.
            is_exact = any(draft.words for draft in drafts) and not outcome.is_cut
            farthest = span.clip_end if is_exact else span.seek + outcome.said_frames
            moved = min(round(end_s * FRAMES_PER_SECOND), farthest) - span.seek
        if self.options.hallucination_silence_threshold is not None:
            filtered, moved = self._without_hallucinations(drafts, outcome, moved)
            if filtered.is_void:
                return [], moved, False
            drafts = filtered.kept
        end_s = speech_end(drafts)
        self.last_speech_end_s = self.last_speech_end_s if end_s is None else end_s
        return drafts, moved, True

    def _timed_words(self, drafts: Sequence[Draft], outcome: Outcome) -> _Steps[list[TimedWord]]:
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
        # Differs: the reference goes by what was spoken (correction 32).
        written = "en" if self.options.task == "translate" else span.language
        return timed_words(tokens, answer, self.tokenizer, written)

    def _without_hallucinations(self, drafts: list[Draft], outcome: Outcome, moved: int) -> tuple[FilteredWindow, int]:
        span, threshold_s = outcome.span, self.options.hallucination_silence_threshold
        assert threshold_s is not None, "the caller has looked"
        times = WindowTimes(
            start=span.offset_s,
            # To the last bit as in the reference: a silence may be exactly as long as the threshold.
            end=(span.seek + round(self.options.chunk_length * FRAMES_PER_SECOND)) / FRAMES_PER_SECOND,
            content_end=span.offset_s + span.n_frames / FRAMES_PER_SECOND,
            recording_end=self.features.content_frames / FRAMES_PER_SECOND,
        )
        filtered = without_hallucinations(
            drafts,
            times,
            threshold_s=threshold_s,
            last_speech_end_s=self.last_speech_end_s,
            punctuation=_PUNCTUATION,
        )
        end_s = speech_end(drafts)
        if filtered.next_s is not None and filtered.silence is not None:
            next_frame = min(round(filtered.next_s * FRAMES_PER_SECOND), span.clip_end)
            # Words that are kept may reach into it.
            begin_s = max(filtered.silence[0], speech_end(filtered.kept) or 0.0)
            self.record.skip(begin_s, min(filtered.silence[1], next_frame / FRAMES_PER_SECOND), "silence")
            moved = next_frame - span.seek
        elif (
            not (outcome.is_complete or outcome.is_cut)
            and end_s is not None
            and span.offset_s < end_s
            and times.end - end_s <= threshold_s
        ):
            moved = span.n_frames  # too little is left for speech
            self.record.skip(end_s, span.end_s, "silence")
        return filtered, moved

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
