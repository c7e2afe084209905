"""Requests to the engine about one window, and its answers."""

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
    """A request for the tokens of a window.

    Attributes:
        window: computes the window's features; not called if `encoding` is given.
        prompt: the decoder's input, with the part of it that already belongs to the answer.
        strategy: how tokens are chosen.
        max_new_tokens: the most tokens of the answer, `prompt.forced` included; at least one is chosen.
        suppressed: ids that are never chosen.
        suppress_blank: neither a blank nor the end may come first.
        timestamps: whether the timestamp rules apply; if not, the prompt has <|notimestamps|>.
        max_initial_timestamp: latest first timestamp in seconds, or None.
        seed: the numbers that seed the uniforms of a `Sample`.
        encoding: the window's encoding from an earlier answer.
        repetition_penalty: lowers the logits of text that the answer already has; 1: no penalty.
        no_repeat_ngram_size: no sequence of this many tokens comes twice; 0: no limit.
        text_until: a segment that opens before this time, in seconds of the window, after the end of another, must have
            text if any text is allowed; needs timestamps. 0: the answer may end there, which is how the network leaves
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
        tokens: the answer, with the prompt's forced part, without the end.
        text: the decoded tokens, stripped.
        avg_logprob: average log probability of the chosen tokens and the end. The forced part does not count.
        no_speech_prob: probability that the window has no speech, 0 to 1.
        compression_ratio: length of the text's bytes, divided by their length under zlib.
        temperature: the temperature that it was decoded at.
        truncated: the token limit came before the end.
        encoding: the window's encoding, for the next request about it.
        in_float32: half precision gave numbers that are not finite, and the window was run again in float32.
        language: code of the language that it was decoded in, as given or detected; None in the answers of an engine,
            which knows only the prompt.
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
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Detect:
    """A request for the language of a window.

    Attributes:
        window: computes the window's features; not called if `encoding` is given.
        encoding: the window's encoding from an earlier answer.
        spans: (first, end) of parts that are also analysed on their own, in positions of 20 ms.
    """

    window: LazyMel
    encoding: Encoding | None = None
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Detected:
    """The answer to `Detect`.

    Attributes:
        probabilities: code → probability, in the order of the tokens; they sum to 1.
        no_speech_prob: probability that the window has no speech, 0 to 1.
        of_spans, no_speech_of_spans: the same for each span.
        encoding: the window's encoding, for the next request about it.
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
    """A request for the times of a window's text.

    Attributes:
        window: computes the window's features; not called if `encoding` is given.
        prompt: ids before the text, the last being <|notimestamps|>.
        tokens: ids of the text, without timestamps; at least one.
        n_frames: length of the window's content, or of that of `part`, in frames of 10 ms.
        encoding: the window's encoding from an earlier answer.
        part: (first, end) of the part of the window in which the text was said, in positions of 20 ms; None: anywhere.
    """

    window: LazyMel
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    n_frames: int
    encoding: Encoding | None = None
    part: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Aligned:
    """The answer to `Align`.

    Attributes:
        times: the start of each token, and last the end of the text: seconds from the start of the window, or of the
            part that was asked about, ascending, one more than there are tokens.
        probabilities: the probability of each token among all text tokens, given the audio and the tokens before it.
        encoding: the window's encoding, for the next request about it.
        in_float32: as in `Decoded`.
    """

    times: tuple[float, ...]
    probabilities: tuple[float, ...]
    encoding: Encoding
    in_float32: bool = False


Ask = Decode | Detect | Align
Answer = Decoded | Detected | Aligned
