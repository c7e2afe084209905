"""What can be asked of the engine about one window, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from whisperlite.decoding.encoding import Encoding
from whisperlite.text.prompt import Prompt

LazyMel = Callable[[], Tensor]
"""Computes the log-mel features of a window, (n_mels, 3000) in float32."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The most probable token at every step."""

    temperature: ClassVar[float] = 0.0
    queries: ClassVar[int] = 1
    length_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """`queries` sequences drawn at a temperature above 0; the one that scores best is the answer."""

    temperature: float
    queries: int
    length_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Beam:
    """A beam search that ends with `max_candidates` finished hypotheses (beams x patience)."""

    queries: int
    max_candidates: int
    temperature: ClassVar[float] = 0.0
    length_penalty: float | None = None


Strategy = Greedy | Sample | Beam


@dataclass(frozen=True, slots=True)
class Decode:
    """Which tokens does this window hold?

    Attributes:
        window: computes its features; not called where `encoding` is given.
        prompt: the decoder's input, with the part of it that already belongs to the answer.
        strategy: how tokens are chosen.
        max_new_tokens: at most so many, those of `prompt.forced` included; at least one is chosen.
        suppressed: ids that are never chosen.
        suppress_blank: neither a blank nor the end may come first.
        timestamps: the timestamp rules hold; without, the prompt says <|notimestamps|>.
        max_initial_timestamp: latest first timestamp in seconds, or None.
        seed: numbers that the uniforms of a `Sample` are drawn from.
        encoding: of the window, from an earlier answer.
        repetition_penalty: what lowers the logits of text that the answer holds already; 1: nothing does.
        no_repeat_ngram_size: no sequence of so many tokens comes twice; 0: any may.
        text_until: where a segment ends before this time, in seconds of the window, and the next one opens, that has
            text, if any may come; timestamps are needed. 0: the answer may end there, which is how the network leaves
            speech to the next window.
    """

    window: LazyMel
    prompt: Prompt
    strategy: Strategy
    max_new_tokens: int
    suppressed: frozenset[int]
    suppress_blank: bool = True
    timestamps: bool = True
    max_initial_timestamp: float | None = 1.0
    seed: tuple[int, ...] = (0,)
    encoding: Encoding | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    text_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The answer to `Decode`.

    Attributes:
        tokens: the answer, the prompt's forced part included, the end not.
        text: of the tokens, stripped.
        avg_logprob: sum of the log probabilities of the chosen tokens and the end, over their number. The forced part
            does not count.
        no_speech_prob: of the window, 0 to 1.
        compression_ratio: of the text.
        temperature: that it was decoded at.
        truncated: the token limit came before the end.
        encoding: of the window, for the next ask about it.
        in_float32: half precision gave numbers that are not finite, and the window was run again in float32.
    """

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    truncated: bool
    encoding: Encoding
    in_float32: bool = False


@dataclass(frozen=True, slots=True)
class Detect:
    """Which language is spoken in this window?

    Attributes:
        window: computes its features; not called where `encoding` is given.
        encoding: of the window, from an earlier answer.
        spans: (first, end) of parts that are heard on their own too, in positions of 20 ms.
    """

    window: LazyMel
    encoding: Encoding | None = None
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Detected:
    """The answer to `Detect`.

    Attributes:
        probabilities: code → probability, in the order of the tokens; they sum to 1.
        no_speech_prob: that nobody speaks, 0 to 1.
        of_spans, no_speech_of_spans: the same of each span.
        encoding: of the window, for the next ask about it.
        in_float32: as in `Decoded`.
    """

    probabilities: dict[str, float]
    encoding: Encoding
    no_speech_prob: float = 0.0
    of_spans: tuple[dict[str, float], ...] = ()
    no_speech_of_spans: tuple[float, ...] = ()
    in_float32: bool = False


@dataclass(frozen=True, slots=True)
class Align:
    """When was each of these tokens said?

    Attributes:
        window: computes its features; not called where `encoding` is given.
        prompt: ids before the text, the last being <|notimestamps|>.
        tokens: ids of the text, without timestamps; at least one.
        n_frames: content of the window, in frames of 10 ms.
        encoding: of the window, from an earlier answer.
    """

    window: LazyMel
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    n_frames: int
    encoding: Encoding | None = None


@dataclass(frozen=True, slots=True)
class Aligned:
    """The answer to `Align`.

    Attributes:
        times: where each token begins, and at last where the text ends: seconds from the beginning of the window,
            ascending, one more than there are tokens.
        probabilities: of each token, given those before and the audio, among the tokens of text.
        encoding: of the window, for the next ask about it.
        in_float32: as in `Decoded`.
    """

    times: tuple[float, ...]
    probabilities: tuple[float, ...]
    encoding: Encoding
    in_float32: bool = False


Ask = Decode | Detect | Align
Answer = Decoded | Detected | Aligned
