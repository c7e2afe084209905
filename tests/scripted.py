"""Drives a session with scripted answers: no model, no audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from whisperlite.audio.mel import Features, Window
from whisperlite.decoding.asks import Align, Aligned, Answer, Ask, Decode, Decoded, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.nn.network import Decoder
from whisperlite.options import make_options
from whisperlite.results import Transcription
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.session import Accepted, session

MULTILINGUAL = Tokenizer.bundled(multilingual=True)
ENGLISH = Tokenizer.bundled(multilingual=False)
SOT_PREV, BEGIN = MULTILINGUAL.sot_prev, MULTILINGUAL.timestamp_begin


def at(seconds: float) -> int:
    """The timestamp token."""
    return BEGIN + round(seconds * 50)


def text(words: str) -> list[int]:
    return MULTILINGUAL.encode(words)


def spoken(start: float, words: str, end: float) -> list[int]:
    """A segment's tokens."""
    return [at(start), *text(words), at(end)]


@dataclass(frozen=True)
class Said:
    """A scripted answer."""

    tokens: Sequence[int]
    avg_logprob: float = -0.3
    no_speech_prob: float = 0.01
    compression_ratio: float = 1.2
    truncated: bool = False


@dataclass(frozen=True)
class Run:
    asks: list[Ask]
    accepted: list[Accepted]
    result: Transcription
    encodings: list[Encoding]

    @property
    def decodes(self) -> list[Decode]:
        return [ask for ask in self.asks if isinstance(ask, Decode)]

    @property
    def seeks(self) -> list[int]:
        return [attempt.seek for attempt in self.result.attempts]

    @property
    def temperatures(self) -> list[float]:
        return [attempt.temperature for attempt in self.result.attempts]

    @property
    def previous(self) -> list[tuple[int, ...]]:
        """What each Decode was given as the text before."""
        found = []
        for ask in self.decodes:
            tokens = ask.prompt.tokens[: ask.prompt.sot_index]
            assert not tokens or tokens[0] == SOT_PREV
            found.append(tokens[1:])
        return found


Script = Callable[[Decode], Said]
# An ask → times of its tokens, one more than there are, and their probabilities.
Timer = Callable[[Align], tuple[tuple[float, ...], tuple[float, ...]]]
# An ask, and the span of it that is heard, in seconds from the beginning of the recording → probabilities.
Listener = Callable[[Detect, tuple[float, float]], dict[str, float]]


Silence = Callable[[Detect, tuple[float, float]], float]
"""The no-speech probability of a span, in seconds of its window."""


def half_a_second_each(ask: Align) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Every token lasts half a second."""
    return tuple(index * 0.5 for index in range(len(ask.tokens) + 1)), (0.9,) * len(ask.tokens)


def detected(
    ask: Detect, languages: dict[str, float] | Listener, encoding: Encoding, silence: Silence = lambda *_: 0.0
) -> Detected:
    def listen(start: float, end: float) -> dict[str, float]:
        if not callable(languages):
            return languages
        assert isinstance(ask.window, Window), "sessions ask about places in their features"
        begins = ask.window.start_frame / 100
        return languages(ask, (begins + start, begins + end))

    parts = tuple(listen(first / 50, end / 50) for first, end in ask.spans)
    silent = tuple(silence(ask, (first / 50, end / 50)) for first, end in ask.spans)
    return Detected(listen(0, 30), encoding, of_spans=parts, no_speech_of_spans=silent)


DEFAULT = Said(spoken(0, " Hello.", 2))
GOOD_30 = Said(spoken(0, " Full.", 30))


def drive(
    script: Sequence[Said] | Script,
    *,
    seconds: float = 20.0,
    tokenizer: Tokenizer = MULTILINGUAL,
    languages: dict[str, float] | Listener | None = None,
    silence: Silence = lambda *_: 0.0,
    times: Timer = half_a_second_each,
    speech: Sequence[tuple[float, float]] | None = None,
    pauses: Sequence[tuple[float, float]] | None = None,
    chunk: tuple[int, int] | None = None,
    warnings: tuple[str, ...] = (),
    **options: Any,
) -> Run:
    """Run a session to its end; a script's answers go to the Decodes in their order, and all must be used."""
    chosen = make_options({"language": "en"} | options if tokenizer.is_multilingual else options)
    features = Features(np.zeros(round(seconds * 16000), np.int16), 80)
    steps = session(
        *(features, chosen, tokenizer),
        duration=seconds,
        model="scripted",
        warnings=warnings,
        speech=speech,
        pauses=pauses,
        chunk=chunk,
    )
    answers = iter(script) if isinstance(script, Sequence) else None
    run = Run([], [], cast(Transcription, None), [])
    answer: Answer | None = None
    try:
        while True:
            event = steps.send(answer)
            if isinstance(event, Accepted):
                run.accepted.append(event)
                answer = None
                continue
            run.asks.append(event)
            assert len(run.asks) < 1000, "the session does not advance"
            encoding = Encoding(torch.zeros(1), cast(Decoder, None), event.window)
            run.encodings.append(encoding)
            if isinstance(event, Detect):
                answer = detected(event, languages or {"en": 0.9, "de": 0.1}, encoding, silence)
                continue
            if isinstance(event, Align):
                answer = Aligned(*times(event), event.encoding or encoding)
                continue
            said = next(answers) if answers is not None else cast(Script, script)(event)
            answer = Decoded(
                tokens=(*event.prompt.forced, *said.tokens),
                text=tokenizer.decode(said.tokens).strip(),
                avg_logprob=said.avg_logprob,
                no_speech_prob=said.no_speech_prob,
                compression_ratio=said.compression_ratio,
                temperature=event.strategy.temperature,
                truncated=said.truncated,
                encoding=event.encoding or encoding,
            )
    except StopIteration as end:
        assert answers is None or next(answers, None) is None, "answers were left"
        return Run(run.asks, run.accepted, end.value, run.encodings)


def spans(run: Run) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.text) for segment in run.result.segments]


GOOD = Said(spoken(0, " Hello.", 2), avg_logprob=-0.3)
REPEATS = Said(spoken(0, " la la la", 2), compression_ratio=2.5)
UNSURE = Said(spoken(0, " mumble", 2), avg_logprob=-1.1)
SILENT = Said(spoken(0, " Thank you.", 2), avg_logprob=-1.1, no_speech_prob=0.7)
