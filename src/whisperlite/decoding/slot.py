"""The host's view of a window that is being decoded in a lane."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from whisperlite.decoding.asks import Beam, Decode, Greedy
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.search import Hypothesis


@dataclass(slots=True)
class Slot:
    """A window's place in a lane.

    Attributes:
        ticket: the ticket of the request.
        limit: the most tokens that may be chosen.
        uniforms: (limit, K) for a `Sample`.
        no_speech_prob: probability that the window has no speech, read at the start of the transcript.
        count: number of tokens chosen so far.
        finished: hypotheses of a `Beam` that have ended.
        is_complete: whether all queries have ended, as far as the lane has asked the device.
        is_finite: False if a sum is NaN; likewise.
    """

    ticket: int
    ask: Decode
    encoding: Encoding
    limit: int
    uniforms: Tensor
    no_speech_prob: float
    count: int = 0
    finished: list[Hypothesis] = field(default_factory=list)
    is_complete: bool = False
    is_finite: bool = True

    @property
    def is_beam(self) -> bool:
        return isinstance(self.ask.strategy, Beam)

    @property
    def max_candidates(self) -> int:
        assert isinstance(self.ask.strategy, Beam), "only beam searches collect candidates"
        return self.ask.strategy.max_candidates

    @property
    def is_greedy(self) -> bool:
        return isinstance(self.ask.strategy, Greedy)

    @property
    def written(self) -> int:
        """The number of tokens of the answer so far, including the prompt's forced part."""
        return len(self.ask.prompt.forced) + self.count

    @property
    def has_repetition_rules(self) -> bool:
        return self.ask.repetition_penalty != 1.0 or self.ask.no_repeat_ngram_size > 0

    @property
    def length(self) -> int:
        """The length of its rows in the cache: the prompt, and all chosen tokens but the last."""
        return len(self.ask.prompt.tokens) + self.count - 1
