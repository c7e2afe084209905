"""Listens for the languages of one recording: generators that ask, as its session does, and are sent answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features, Window
from whisperlite.decoding.asks import Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError
from whisperlite.options import Options
from whisperlite.transcription.bounds import Clip
from whisperlite.transcription.languages import (
    SPAN_S,
    Detection,
    LanguageEvidence,
    among,
    beginning_of,
    likeliest,
    spans_of,
)
from whisperlite.transcription.outcome import Asks, Outcome, WindowSpan
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import FRAMES_PER_TIMESTAMP, Piece

_LEAST_S = 1.0  # of speech, for an opinion
_PAUSE_S = 1.0  # what is further apart is heard apart
_POSITIONS_PER_SECOND = FRAMES_PER_SECOND // FRAMES_PER_TIMESTAMP


@dataclass(frozen=True, slots=True)
class WrongLanguage:
    """What was written in a language that is not spoken in it.

    Attributes:
        index: of its first piece.
        language: that is spoken.
        n_frames: of its window, up to where it ends.
    """

    index: int
    language: str
    n_frames: int


@dataclass(slots=True)
class LanguageTracker:
    """What is known of the languages of a recording.

    Attributes:
        clear_language: of the window before, where that was sure.
    """

    features: Features
    options: Options
    record: Record
    clear_language: str | None = None
    _clear_before: str | None = None
    _encoded: tuple[Window, Encoding] | None = None

    def take_encoding(self, window: Window) -> Encoding | None:
        """Of the window that was listened to last, if it is this one; once."""
        encoded, self._encoded = self._encoded, None
        return encoded[1] if encoded is not None and encoded[0] == window else None

    def detect_recording(self, clips: Sequence[Clip], *, is_speech: bool) -> Asks[None]:
        """The recording's language, from as many windows as it takes, or may take.

        Args:
            is_speech: clips are where there is speech.
        """
        starts = detection_places(clips if is_speech else [(0, self.features.content_frames)], self.options)
        found = detection_of(self.options)
        for seek in starts:
            window = self.features.detection_window(seek)
            answer = yield from self._detect(Detect(window))
            if seek == starts[0]:
                # With less than 30 s of audio this is not the encoding of the first window, whose padding is another.
                self._encoded = (window, answer.encoding)
            if found.add(finite(answer.probabilities)):
                break
        self.record.language, self.record.language_probability = found.decision

    def detect_window(self, seek: int, n_frames: int) -> Asks[tuple[str, float | None]]:
        """The language that a window begins in, and where another one begins, seconds into it."""
        window = self.features.window(seek, n_frames)
        spans = tuple(_positions(*span) for span in spans_of(n_frames / FRAMES_PER_SECOND))
        answer = yield from self._detect(Detect(window, spans=spans))
        self._encoded = (window, answer.encoding)
        whole = LanguageEvidence(self._allowed(answer.probabilities), answer.no_speech_prob)
        found = beginning_of(self._evidence(answer), whole=whole, before=self.clear_language)
        self._clear_before = self.clear_language
        self.clear_language = found.language if found.is_clear else None
        self.record.window_languages.append((found.language, found.probability))
        return found.language, found.end_s

    def find_wrong_language(self, outcome: Outcome) -> Asks[WrongLanguage | None]:
        """The first piece of a window that is spoken in another language than it was written in; None: there is none.

        Now that it is known where pieces begin and end they are heard on their own, from the first to the last word,
        short ones together. What sounds like another language, and not clearly, is encoded without what is around it
        in the window, which colours it, and heard again: the beginning, and one part behind it. A beginning that a
        pause cuts short may also be the rest of what was said in the window before. What lies behind the last piece
        may not have been written since it is in another language: it is then a piece of its own.
        """
        span = outcome.span
        length_s = span.content_s
        unwritten = _unwritten(outcome, length_s)
        parts = [*_parts(outcome.pieces, length_s), *unwritten]
        if not parts:
            return None
        window = self.features.window(span.seek, span.n_frames)
        positions = tuple(_positions(part.start, part.end) for part in parts)
        answer = yield from self._detect(Detect(window, outcome.encoding, positions))
        heard = self._evidence(answer)
        if parts[0].index == 0:
            language = yield from self._language_of_beginning(parts[0], heard[0], span)
            if language is not None:
                return WrongLanguage(0, language, round(parts[0].end * FRAMES_PER_SECOND))
        others = [
            (part, each)
            for part, each in zip(parts, heard, strict=True)
            # What is kept before it has to be worth a window.
            if part.index > 0 and outcome.pieces[part.index - 1].end >= _LEAST_S
            if likeliest(each.probabilities)[0] != span.language and not (part in unwritten and each.is_silent)
        ]
        unclear = [(part, each) for part, each in others if each.clear_language is None]
        # That somebody seems to speak in, if there is one.
        doubtful, _ = min(unclear, key=lambda one: one[1].is_silent, default=(None, None))
        for part, each in others:
            language = each.clear_language
            if part is doubtful or part in unwritten:  # it may be music
                found, *_ = yield from self._detect_alone(part, span)
                language = found.clear_language
            if language is not None and language != span.language:
                self.clear_language = language
                return WrongLanguage(part.index, language, span.n_frames)
        return None

    def _language_of_beginning(self, part: _Part, heard: LanguageEvidence, span: WindowSpan) -> Asks[str | None]:
        """The language of the beginning of a window, which then is what was heard last; None: the window's own."""
        sounds_right = likeliest(heard.probabilities)[0] == span.language
        may_be_rest = part.is_short and self._clear_before not in (None, span.language)
        if sounds_right and not may_be_rest:
            return None
        found, window, encoding = yield from self._detect_alone(part, span)
        language = found.clear_language
        if language is None or language == span.language or (sounds_right and language != self._clear_before):
            return None
        self._encoded = (window, encoding)
        self.clear_language = language
        self.record.window_languages[-1] = (language, found.probabilities[language])
        return language

    def _detect_alone(self, part: _Part, span: WindowSpan) -> Asks[tuple[LanguageEvidence, Window, Encoding]]:
        """A part of a window, and what was encoded for it: the beginning up to its end, or the part alone."""
        begin_s = part.start if part.index > 0 else 0.0
        first, end = (round(at * FRAMES_PER_SECOND) for at in (begin_s, part.end))
        alone = self.features.window(span.seek + first, end - first)
        answer = yield from self._detect(Detect(alone, spans=(_positions(part.start - begin_s, part.end - begin_s),)))
        return self._evidence(answer)[0], alone, answer.encoding

    def _detect(self, ask: Detect) -> Asks[Detected]:
        answer = yield ask
        assert isinstance(answer, Detected), "a Detect is answered by a Detected"
        self.record.tokens_input += 1 + len(ask.spans)
        self.record.ran_in_float32(answer)
        return answer

    def _evidence(self, answer: Detected) -> list[LanguageEvidence]:
        return [
            LanguageEvidence(self._allowed(each), no_speech)
            for each, no_speech in zip(answer.of_spans, answer.no_speech_of_spans, strict=True)
        ]

    def _allowed(self, probabilities: dict[str, float]) -> dict[str, float]:
        return among(finite(probabilities), self.options.allowed_languages)


def detection_of(options: Options) -> Detection:
    """With nothing heard yet."""
    allowed = options.allowed_languages
    assert allowed is None or isinstance(allowed, tuple), "options are normalised when they are made"
    return Detection(allowed, options.language_detection_threshold)


def detection_places(parts: Sequence[Clip], options: Options) -> list[int]:
    """Where a recording's language is listened for: the first frames of windows of 30 s, one at least."""
    starts = [seek for first, end in parts for seek in range(first, end, WINDOW_FRAMES)]
    apart: list[int] = []
    for start in starts or [0]:
        if not apart or start >= apart[-1] + WINDOW_FRAMES:
            apart.append(start)
    return apart[: options.language_detection_segments]


def finite(probabilities: dict[str, float]) -> dict[str, float]:
    """Probabilities that are numbers.

    Raises:
        DecodingError: some are not.
    """
    if not all(map(math.isfinite, probabilities.values())):
        raise DecodingError(
            "The probabilities of the languages are not finite: samples belong in [-1, 1], or try "
            "compute_type='float32'."
        )
    return probabilities


@dataclass(frozen=True, slots=True)
class _Part:
    """Pieces of a window that are heard together.

    Attributes:
        index: of the first piece.
        start, end: seconds in the window.
    """

    index: int
    start: float
    end: float

    @property
    def is_short(self) -> bool:
        return self.end - self.start < SPAN_S


def _parts(pieces: Sequence[Piece], length_s: float) -> list[_Part]:
    """Short pieces without a pause between them, as many as it takes to be long enough, and long ones.

    The beginning goes on into a long one, and less is enough for it.

    Args:
        length_s: of the content. The model may place a piece before the window, or behind its content.
    """
    parts: list[_Part] = []
    for index, piece in enumerate(pieces):
        start, end = max(piece.start, 0.0), min(piece.end, length_s)
        last = parts[-1] if parts else None
        follows = last is not None and start - last.end < _PAUSE_S
        if last is not None and follows and last.is_short and (last.index == 0 or end - start < SPAN_S):
            parts[-1] = replace(last, end=end)
        else:
            parts.append(_Part(index, start, end))
    return [part for part in parts if not part.is_short or (part.index == 0 and part.end - part.start >= _LEAST_S)]


def _unwritten(outcome: Outcome, length_s: float) -> list[_Part]:
    """What lies behind the last piece, of an output that says that nobody speaks there, if it is long enough."""
    if not outcome.is_complete or outcome.has_failed or not outcome.pieces:
        return []
    part = _Part(len(outcome.pieces), outcome.pieces[-1].end, length_s)
    return [] if part.is_short else [part]


def _positions(start: float, end: float) -> tuple[int, int]:
    """A span in positions of 20 ms, one at least."""
    first = round(start * _POSITIONS_PER_SECOND)
    return first, max(round(end * _POSITIONS_PER_SECOND), first + 1)
