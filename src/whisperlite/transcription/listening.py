"""Listens for the languages of one recording: generators that ask, as its session does, and are sent answers."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from whisperlite.audio.mel import FRAMES_PER_SECOND, WINDOW_FRAMES, Features, Window
from whisperlite.decoding.asks import Answer, Ask, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError
from whisperlite.options import Options
from whisperlite.transcription.bounds import Clip
from whisperlite.transcription.languages import (
    SPAN_S,
    Heard,
    among,
    average,
    beginning_of,
    likeliest,
    spans_of,
)
from whisperlite.transcription.outcome import Outcome
from whisperlite.transcription.record import Record
from whisperlite.transcription.segments import FRAMES_PER_TIMESTAMP

_LEAST_S = 1.0  # of speech, for an opinion
_POSITIONS_PER_SECOND = FRAMES_PER_SECOND // FRAMES_PER_TIMESTAMP

_T = TypeVar("_T")
Asks = Generator[Ask, Answer | None, _T]


@dataclass(frozen=True, slots=True)
class Misheard:
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
class Listening:
    """What is known of the languages of a recording.

    Attributes:
        clear_language: of the window before, where that was sure.
    """

    features: Features
    options: Options
    record: Record
    clear_language: str | None = None
    _encoded: tuple[Window, Encoding] | None = None

    def take_encoding(self, window: Window) -> Encoding | None:
        """Of the window that was listened to last, if it is this one; once."""
        encoded, self._encoded = self._encoded, None
        return encoded[1] if encoded is not None and encoded[0] == window else None

    def recording(self, clips: Sequence[Clip], *, is_speech: bool) -> Asks[None]:
        """The recording's language, from as many windows as it takes, or may take.

        Args:
            is_speech: clips are where there is speech.
        """
        found: list[dict[str, float]] = []
        for seek in self._places(clips if is_speech else [(0, self.features.content_frames)]):
            window = self.features.detection_window(seek)
            answer = yield from self._hear(Detect(window))
            if not found:
                # With less than 30 s of audio this is not the encoding of the first window, whose padding is another.
                self._encoded = (window, answer.encoding)
            found.append(self._allowed(answer.probabilities))
            if likeliest(found[-1])[1] >= self.options.language_detection_threshold:
                found = found[-1:]
                break
        self.record.language, self.record.language_probability = likeliest(average(found))

    def window(self, seek: int, n_frames: int) -> Asks[tuple[str, float | None]]:
        """The language that a window begins in, and where another one begins, seconds into it."""
        window = self.features.window(seek, n_frames)
        spans = tuple(_positions(*span) for span in spans_of(n_frames / FRAMES_PER_SECOND))
        answer = yield from self._hear(Detect(window, spans=spans))
        self._encoded = (window, answer.encoding)
        whole = Heard(self._allowed(answer.probabilities), answer.no_speech_prob)
        found = beginning_of(self._spans(answer), whole=whole, before=self.clear_language)
        self.clear_language = found.language if found.is_clear else None
        self.record.heard.append((found.language, found.probability))
        return found.language, found.end_s

    def pieces(self, outcome: Outcome) -> Asks[Misheard | None]:
        """The first piece of a window that is spoken in another language than it was written in; None: there is none.

        Now that it is known where pieces begin and end they are heard on their own, from the first to the last word.
        What is short is not; but the beginning is, as far as it takes to be long enough, or as it goes. If it sounds
        like another language, it is encoded without what follows it in the window, which colours it, and heard again.
        """
        pieces, place = outcome.pieces, outcome.place
        if not pieces:
            return None
        begin_s = max(pieces[0].start, 0.0)  # where an answer begins with text, this is before the window
        if pieces[-1].end - begin_s < _LEAST_S:
            return None
        long_enough = (i for i, piece in enumerate(pieces) if piece.end - begin_s >= SPAN_S)
        first = next(long_enough, len(pieces) - 1)
        later = [i for i, piece in enumerate(pieces) if i > first and piece.end - piece.start >= SPAN_S]
        beginning = _positions(begin_s, pieces[first].end)
        spans = (beginning, *(_positions(pieces[index].start, pieces[index].end) for index in later))
        window = self.features.window(place.seek, place.n_frames)
        answer = yield from self._hear(Detect(window, outcome.encoding, spans))
        heard = self._spans(answer)
        if likeliest(heard[0].probabilities)[0] != place.language:
            n_frames = min(round(pieces[first].end * FRAMES_PER_SECOND), place.n_frames)
            alone = self.features.window(place.seek, n_frames)
            answer = yield from self._hear(Detect(alone, spans=(beginning,)))
            (found,) = self._spans(answer)
            if found.clear_language not in (None, place.language):
                self._encoded = (alone, answer.encoding)
                self.clear_language, probability = likeliest(found.probabilities)
                self.record.heard[-1] = (self.clear_language, probability)
                return Misheard(0, self.clear_language, n_frames)
        for index, each in zip(later, heard[1:], strict=True):
            if (language := each.clear_language) not in (None, place.language):
                return Misheard(index, language, place.n_frames)
        return None

    def _hear(self, ask: Detect) -> Asks[Detected]:
        answer = yield ask
        assert isinstance(answer, Detected), "a Detect is answered by a Detected"
        self.record.tokens_input += 1 + len(ask.spans)
        self.record.ran_in_float32(answer)
        return answer

    def _spans(self, answer: Detected) -> list[Heard]:
        return [
            Heard(self._allowed(each), no_speech)
            for each, no_speech in zip(answer.of_spans, answer.no_speech_of_spans, strict=True)
        ]

    def _places(self, parts: Sequence[Clip]) -> list[int]:
        """Where the recording's language is listened for, in windows of 30 s."""
        places = [seek for first, end in parts for seek in range(first, end, WINDOW_FRAMES)]
        apart: list[int] = []
        for place in places or [0]:
            if not apart or place >= apart[-1] + WINDOW_FRAMES:
                apart.append(place)
        return apart[: self.options.language_detection_segments]

    def _allowed(self, probabilities: dict[str, float]) -> dict[str, float]:
        if not all(map(math.isfinite, probabilities.values())):
            raise DecodingError("The probabilities of the languages are not finite; try compute_type='float32'.")
        allowed = self.options.allowed_languages
        assert allowed is None or isinstance(allowed, tuple), "options are normalised when they are made"
        return among(probabilities, allowed)


def _positions(start: float, end: float) -> tuple[int, int]:
    """A span in positions of 20 ms, one at least."""
    first = round(start * _POSITIONS_PER_SECOND)
    return first, max(round(end * _POSITIONS_PER_SECOND), first + 1)
