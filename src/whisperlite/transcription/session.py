"""The policy of one recording, as a generator: it asks, is sent answers, and hands out segments as they are accepted.

Which language, which window, which prompt, accept or fall back, cut, move on. There is no tensor maths here and no
input or output, so a session can be driven by scripted answers as well as by an engine.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeVar

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features, Window
from whisperlite.decoding.asks import Answer, Ask, Decode, Decoded, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.options import Options
from whisperlite.results import Attempt, Segment, Skipped, Transcription, Usage
from whisperlite.text.prompt import MAX_NEW_TOKENS, MAX_PREVIOUS, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.fallback import best_attempt, failed_thresholds, is_silent, strategy_at
from whisperlite.transcription.segments import Piece, cut_window


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
) -> Session:
    """Transcribe one recording.

    Args:
        features: of the recording.
        duration: of the recording, in seconds: nothing ends later.
        model, warnings: for the result.

    Yields:
        `Decode` and `Detect`, to be answered, and `Accepted`, to be sent None.

    Returns:
        The transcription; its `usage.runtime_ms` is 0, for the driver to fill in.
    """
    return _Session(features, options, tokenizer, duration, model, list(warnings)).steps()


def suppressed_tokens(options: Options, tokenizer: Tokenizer) -> frozenset[int]:
    """The ids of `suppress_tokens`, -1 replaced by the non-speech set."""
    given = options.suppress_tokens
    assert isinstance(given, tuple), "options are normalised when they are made"
    return frozenset(token for token in given if token >= 0) | (
        frozenset(tokenizer.non_speech_tokens) if -1 in given else frozenset()
    )


@dataclass(slots=True)
class _Session:
    features: Features
    options: Options
    tokenizer: Tokenizer
    duration: float
    model: str
    warnings: list[str]

    language: str = ""
    language_probability: float | None = None
    segments: list[Segment] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    tokens_input: int = 0
    tokens_generated: int = 0

    # The text so far, initial_prompt first; windows are conditioned on it from `prompt_start` on.
    history: list[int] = field(default_factory=list)
    prompt_start: int = 0
    initial_length: int = 0
    is_first: bool = True  # of the windows: the one that gets the prefix
    detected: tuple[Window, Encoding] | None = None

    def steps(self) -> Session:
        yield from self._find_language()
        if self.options.initial_prompt is not None:
            self.history += self.tokenizer.encode(" " + self.options.initial_prompt.strip())
            self.initial_length = len(self.history)
        for start, end in self._clips():
            seek = start
            while seek < end:
                moved = yield from self._window(seek, min(WINDOW_FRAMES, end - seek))
                seek += moved
        return self._result()

    def _clips(self) -> list[tuple[int, int]]:
        """(first, end) of the parts to transcribe, in frames, kept inside the recording (correction 1)."""
        total = self.features.content_frames
        clips = []
        for start, end in self.options.clips:
            first, last = round(start * FRAMES_PER_SECOND), total if end is None else round(end * FRAMES_PER_SECOND)
            if (end is not None and end > self.duration) or (first > 0 and first >= total):
                ends = "the end" if end is None else f"{end:g} s"
                self.warnings.append(f"The clip from {start:g} s to {ends} was cut: the audio has {self.duration:g} s.")
            if first < min(last, total):
                clips.append((first, min(last, total)))
        return clips

    # Language

    def _find_language(self) -> _Steps[None]:
        options, tokenizer = self.options, self.tokenizer
        if not tokenizer.is_multilingual:
            self.language = "en"
            if options.language not in (None, "en"):
                self.warnings.append(f"language={options.language!r} was not used: the model is English-only.")
            if options.task == "translate":
                self.warnings.append("task='translate' was not used: the model is English-only.")
            return
        if options.language is not None:
            self.language = options.language
            return
        window = self.features.detection_window()
        answer = yield Detect(window)
        assert isinstance(answer, Detected), "a Detect is answered by a Detected"
        self.language, self.language_probability = max(answer.probabilities.items(), key=lambda item: item[1])
        self.tokens_input += 1
        # With less than 30 s of audio this is not the encoding of the first window, whose padding is another.
        self.detected = (window, answer.encoding)

    # One window

    def _window(self, seek: int, n_frames: int) -> _Steps[int]:
        """Transcribe the window at `seek`; returns by how many frames to move on."""
        decoded, last_temperature = yield from self._decode(seek, self.features.window(seek, n_frames))
        self.is_first = False
        accepted: tuple[Segment, ...] = ()
        if is_silent(decoded, self.options):
            moved = n_frames
            times = self._times(seek, n_frames, 0.0, n_frames / FRAMES_PER_SECOND)
            self.skipped.append(Skipped(*times, "no_speech"))
        else:
            pieces, moved = cut_window(
                decoded.tokens, n_frames=n_frames, timestamp_begin=self.tokenizer.timestamp_begin
            )
            before = len(self.segments)
            for piece in pieces:
                self.segments.append(self._segment(piece, seek, n_frames, decoded))
            accepted = tuple(self.segments[before:])
            self.history += [token for segment in accepted for token in segment.tokens]
            # Prompts reset by the temperature that the ladder ended with, also where an earlier attempt was kept.
            if not self.options.condition_on_previous_text or (
                last_temperature > self.options.prompt_reset_on_temperature
            ):
                self.prompt_start = len(self.history)
        # The rules make timestamps advance, so that 0 cannot come from decoding; were it to, the window is passed.
        moved = min(moved, n_frames) if moved > 0 else n_frames
        yield Accepted(accepted, min((seek + moved) / FRAMES_PER_SECOND, self.duration), self.duration)
        return moved

    def _decode(self, seek: int, window: Window) -> _Steps[tuple[Decoded, float]]:
        """Up the ladder until an attempt passes; returns it, or the best one, and the last temperature tried."""
        prompt = build_prompt(
            self.tokenizer,
            language=self.language,
            task=self.options.task,
            without_timestamps=self.options.without_timestamps,
            previous=self._previous_text(),
            prefix=self.options.prefix if self.is_first else None,
        )
        encoding = self.detected[1] if self.detected is not None and self.detected[0] == window else None
        self.detected = None
        tried: list[Decoded] = []
        failures: list[tuple[str, ...]] = []
        for rung, temperature in enumerate(self.options.temperatures):
            answer = yield Decode(
                window=window,
                prompt=prompt,
                strategy=strategy_at(temperature, self.options),
                max_new_tokens=self.options.max_new_tokens or MAX_NEW_TOKENS,
                suppressed=suppressed_tokens(self.options, self.tokenizer),
                suppress_blank=self.options.suppress_blank,
                timestamps=not self.options.without_timestamps,
                max_initial_timestamp=self.options.max_initial_timestamp,
                seed=(self.options.seed, seek, rung),
                encoding=encoding,
            )
            assert isinstance(answer, Decoded), "a Decode is answered by a Decoded"
            encoding = answer.encoding
            tried.append(answer)
            failures.append(failed_thresholds(answer, self.options))
            self.tokens_input += len(prompt.tokens)
            self.tokens_generated += len(answer.tokens) - len(prompt.forced)
            if not failures[-1]:
                break
        chosen = len(tried) - 1 if not failures[-1] else best_attempt(tried, self.options)
        self.attempts += [
            Attempt(
                seek=seek,
                temperature=one.temperature,
                avg_logprob=one.avg_logprob,
                compression_ratio=one.compression_ratio,
                no_speech_prob=one.no_speech_prob,
                failed=failed,
                accepted=index == chosen,
            )
            for index, (one, failed) in enumerate(zip(tried, failures, strict=True))
        ]
        return tried[chosen], tried[-1].temperature

    def _previous_text(self) -> list[int]:
        if not self.options.carry_initial_prompt:
            return self.history[self.prompt_start :]
        initial = self.history[: self.initial_length]
        rest = self.history[max(self.initial_length, self.prompt_start) :]
        # Differs: with an initial prompt of the whole length nothing is left for the rest (correction 3).
        room = max(MAX_PREVIOUS - len(initial), 0)
        return initial + (rest[-room:] if room else [])

    # Results

    def _segment(self, piece: Piece, seek: int, n_frames: int, decoded: Decoded) -> Segment:
        start, end = self._times(seek, n_frames, piece.start, piece.end)
        text = self.tokenizer.decode(token for token in piece.tokens if self.tokenizer.is_text(token))
        # The reference empties segments without words or length, and keeps them.
        is_empty = piece.start == piece.end or not text.strip()
        return Segment(
            id=len(self.segments),
            seek=seek,
            start=start,
            end=end,
            text="" if is_empty else text,
            tokens=() if is_empty else piece.tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
            truncated=decoded.truncated and piece.is_last,
        )

    def _times(self, seek: int, n_frames: int, start: float, end: float) -> tuple[float, float]:
        """Seconds of the recording, inside the window and not before the end of the segment before (correction 9).

        Clamped only here, where no decision depends on them. Answers without timestamps need it too: nothing keeps the
        model from producing some out of order.
        """
        offset, window_end = seek / FRAMES_PER_SECOND, seek + n_frames
        # The last frame begins up to 10 ms before the recording ends.
        latest = window_end / FRAMES_PER_SECOND if window_end < self.features.content_frames else self.duration
        earliest = max(offset, self.segments[-1].end if self.segments else 0.0)
        first = min(max(round(offset + start, 3), earliest), latest)
        return first, min(max(round(offset + end, 3), first), latest)

    def _result(self) -> Transcription:
        return Transcription(
            text=self.tokenizer.decode(self.history[self.initial_length :]),
            segments=tuple(self.segments),
            language=self.language,
            language_probability=self.language_probability,
            duration=self.duration,
            task=self.options.task,
            model=self.model,
            usage=Usage(self.tokens_input, self.tokens_generated, 0, round(self.duration * 1000)),
            warnings=tuple(self.warnings),
            skipped=tuple(self.skipped),
            attempts=tuple(self.attempts),
        )
