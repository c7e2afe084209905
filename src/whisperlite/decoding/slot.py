"""One window on its way through a lane: the parts that the host knows."""

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
        ticket: of the ask.
        limit: how many tokens may be chosen.
        uniforms: (limit, K) of a `Sample`.
        no_speech_prob: read at the start of the transcript.
        count: tokens chosen so far.
        finished: hypotheses that have ended, of a `Beam`.
        is_complete: nothing more comes; as far as the lane has asked the device.
        is_finite: False where a sum is not a number; likewise.
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
        """Tokens of the answer so far, the prompt's forced part included."""
        return len(self.ask.prompt.forced) + self.count

    @property
    def has_repetition_rules(self) -> bool:
        return self.ask.repetition_penalty != 1.0 or self.ask.no_repeat_ngram_size > 0

    @property
    def length(self) -> int:
        """Positions that its rows hold in the cache: the prompt and all chosen tokens but the last."""
        return len(self.ask.prompt.tokens) + self.count - 1
