"""Detects the languages of one recording, as steps of its session: generators that ask and are sent answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features, Window
from whisperlite.decoding.asks import Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError
from whisperlite.nn.config import POSITIONS_PER_SECOND
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
from whisperlite.transcription.segments import Piece

_LEAST_S = 1.0  # the shortest part whose language is analysed
_PAUSE_S = 1.0  # pieces that are further apart are analysed separately


@dataclass(frozen=True, slots=True)
class WrongLanguage:
    """A part of a window that was decoded in a language that is not spoken there.

    Attributes:
        index: the index of its first piece.
        language: the language that is spoken.
        n_frames: the frames from the start of the window up to its end.
    """

    index: int
    language: str
    n_frames: int


@dataclass(slots=True)
class LanguageTracker:
    """Detects the languages of a recording, and keeps what is known about them.

    Attributes:
        clear_language: the language of the window before, if it was clear.
    """

    features: Features
    options: Options
    record: Record
    clear_language: str | None = None
    _clear_before: str | None = None  # `clear_language` before the current window
    _encoded: tuple[Window, Encoding] | None = None  # of the last detection that may be decoded next

    def take_encoding(self, window: Window) -> Encoding | None:
        """Return the encoding of the last detection if it was made for this window; it is handed out once."""
        encoded, self._encoded = self._encoded, None
        return encoded[1] if encoded is not None and encoded[0] == window else None

    def detect_recording(self, clips: Sequence[Clip], *, is_speech: bool) -> Asks[None]:
        """Detect the language of the recording, from as many windows as needed and allowed, and record it.

        Args:
            clips: the parts to transcribe.
            is_speech: whether they are spans of speech; if not, windows are taken from the whole recording.
        """
        starts = detection_places(clips if is_speech else [(0, self.features.content_frames)], self.options)
        found = detection_of(self.options)
        for seek in starts:
            window = self.features.detection_window(seek)
            answer = yield from self._detect(Detect(window))
            if seek == starts[0]:
                # With less than 30 s of audio the first window will not match, since it is padded differently.
                self._encoded = (window, answer.encoding)
            if found.add(finite(answer.probabilities)):
                break
        self.record.language, self.record.language_probability = found.decision

    def detect_window(self, seek: int, n_frames: int) -> Asks[tuple[str, float | None]]:
        """Detect the language that a window begins in, and the time in it, in seconds, at which another one begins."""
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
        """Find the first part of a decoded window that is spoken in another language; None if there is none.

        The times of the pieces are now known, so each is analysed on its own, short ones together. A part that seems to
        be in another language, but not clearly, is encoded without the rest of the window, which influences it, and
        analysed again; this is done for the beginning and for at most one later part. A short beginning before a pause
        may also be the rest of what was said in the window before. What follows the last piece may have been left out
        because it is in another language, so it is analysed as a part of its own.
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
        evidence = self._evidence(answer)
        if parts[0].index == 0:
            language = yield from self._language_of_beginning(parts[0], evidence[0], span)
            if language is not None:
                return WrongLanguage(0, language, round(parts[0].end * FRAMES_PER_SECOND))
        others = [
            (part, each)
            for part, each in zip(parts, evidence, strict=True)
            # The pieces before it, which are kept, must be worth a window.
            if part.index > 0 and outcome.pieces[part.index - 1].end >= _LEAST_S
            if likeliest(each.probabilities)[0] != span.language and not (part in unwritten and each.is_silent)
        ]
        unclear = [(part, each) for part, each in others if each.clear_language is None]
        # The one unclear part to analyse again: the first with speech, else the first.
        doubtful, _ = min(unclear, key=lambda one: one[1].is_silent, default=(None, None))
        for part, each in others:
            language = each.clear_language
            if part is doubtful or part in unwritten:  # the latter may be music
                found, *_ = yield from self._detect_alone(part, span)
                language = found.clear_language
            if language is not None and language != span.language:
                self.clear_language = language
                return WrongLanguage(part.index, language, span.n_frames)
        return None

    def _language_of_beginning(self, part: _Part, evidence: LanguageEvidence, span: WindowSpan) -> Asks[str | None]:
        """Return the language of a window's beginning if it is another than the window's, else None.

        It is then recorded as the window's, and the encoding of the beginning is kept for decoding it again.
        """
        sounds_right = likeliest(evidence.probabilities)[0] == span.language
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
        """Detect the language of a part on an encoding of its own, of the part alone.

        For the beginning, the encoding starts with the window.

        Returns:
            The evidence, and the window that was encoded with its encoding.
        """
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
        return among(finite(probabilities), self.options.detectable_languages)


def detection_of(options: Options) -> Detection:
    """Return the detection that the options describe, without windows."""
    return Detection(options.detectable_languages, options.language_detection_threshold)


def detection_places(parts: Sequence[Clip], options: Options) -> list[int]:
    """Return the first frames of the windows of 30 s in which a recording's language is detected, at least one."""
    starts = [seek for first, end in parts for seek in range(first, end, WINDOW_FRAMES)]
    apart: list[int] = []
    for start in starts or [0]:
        if not apart or start >= apart[-1] + WINDOW_FRAMES:
            apart.append(start)
    return apart[: options.language_detection_segments]


def finite(probabilities: dict[str, float]) -> dict[str, float]:
    """Return the probabilities unchanged if all of them are finite.

    Raises:
        DecodingError: a probability is not finite.
    """
    if not all(map(math.isfinite, probabilities.values())):
        raise DecodingError(
            "The probabilities of the languages are not finite: samples belong in [-1, 1], or try "
            "compute_type='float32'."
        )
    return probabilities


@dataclass(frozen=True, slots=True)
class _Part:
    """Pieces of a window that are analysed together.

    Attributes:
        index: the index of the first piece.
        start, end: seconds from the beginning of the window.
    """

    index: int
    start: float
    end: float

    @property
    def is_short(self) -> bool:
        return self.end - self.start < SPAN_S


def _parts(pieces: Sequence[Piece], length_s: float) -> list[_Part]:
    """Join short pieces without a pause between them until they are long enough to be analysed; drop the rest.

    A long piece is a part of its own, except after a short beginning, which it joins. For the beginning a shorter
    part is long enough.

    Args:
        pieces: the pieces of a window.
        length_s: the length of the window's content. The model may place a piece before the window or after it.
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
    """Return what follows the last piece, if the output says that no speech follows and it is long enough."""
    if not outcome.is_complete or outcome.has_failed or not outcome.pieces:
        return []
    part = _Part(len(outcome.pieces), outcome.pieces[-1].end, length_s)
    return [] if part.is_short else [part]


def _positions(start: float, end: float) -> tuple[int, int]:
    """Return a span of seconds as (first, end) in positions of 20 ms, at least one."""
    first = round(start * POSITIONS_PER_SECOND)
    return first, max(round(end * POSITIONS_PER_SECOND), first + 1)
