"""Answers asks about windows, from any number of sessions, many at a time as one batch.

An engine belongs to one thread at a time; the network that it drives may be shared by any number of engines.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from whisperlite.decoding.asks import Answer, Ask, Decode, Decoded, Detect, Detected, LazyMel
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.lane import Lane, Slot
from whisperlite.decoding.language import language_probabilities
from whisperlite.decoding.search import Hypothesis
from whisperlite.nn.network import Network
from whisperlite.text.tokenizer import Tokenizer


class Engine:
    """Takes asks, steps them together, hands out answers in the order in which they are ready.

    Args:
        network: shared, never written to.
        tokenizer: of the network's vocabulary.
        slots: windows that are decoded together in one lane; each lane keeps a window's memory for so many.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer, *, slots: int = 1) -> None:
        self.network, self.tokenizer, self.slots = network, tokenizer, slots
        self._waiting: deque[tuple[int, Ask]] = deque()
        self._lanes: dict[int, Lane] = {}
        self._tickets = 0

    def submit(self, ask: Ask) -> int:
        """Put an ask into the queue; returns the ticket that its answer will carry."""
        self._tickets += 1
        self._waiting.append((self._tickets, ask))
        return self._tickets

    def step(self) -> list[tuple[int, Answer]]:
        """Admit what fits, move everything one token on; returns the answers that are ready: (ticket, answer)."""
        answers = self._admit() + self._take_finished()  # admission chooses a first token, which may be the last
        for lane in self._lanes.values():
            if lane.slots:
                lane.step()
        return answers + self._take_finished()

    def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answer all of these, in their order."""
        tickets = [self.submit(ask) for ask in asks]
        answers: dict[int, Answer] = {}
        while len(answers) < len(tickets):
            answers.update(self.step())
        return [answers[ticket] for ticket in tickets]

    @torch.inference_mode()
    def encode(self, windows: Sequence[LazyMel]) -> list[Encoding]:
        """Run the encoder on windows, as one batch."""
        if not windows:
            return []
        mel = torch.stack([window() for window in windows])
        hidden = self.network.encoder(mel.to(self.network.device, self.network.dtype))
        # Copies: whoever keeps one window is not to keep the whole batch.
        parts = [encoded.clone() for encoded in hidden] if len(hidden) > 1 else list(hidden)
        return [Encoding(encoded, self.network.decoder) for encoded in parts]

    def _admit(self) -> list[tuple[int, Answer]]:
        """Let waiting asks into their lanes, in their order within a lane; detections are answered at once."""
        admitted: list[tuple[int, Ask]] = []
        waiting: deque[tuple[int, Ask]] = deque()
        taken: dict[int, int] = {}
        for ticket, ask in self._waiting:
            queries = ask.strategy.queries if isinstance(ask, Decode) else 0
            active = len(self._lanes[queries].slots) if queries in self._lanes else 0
            if taken.get(queries, 0) + active < self.slots:
                taken[queries] = taken.get(queries, 0) + 1
                admitted.append((ticket, ask))
            else:
                waiting.append((ticket, ask))
        self._waiting = waiting
        new = self.encode([ask.window for _, ask in admitted if ask.encoding is None])
        fresh = iter(new)
        answers: list[tuple[int, Answer]] = []
        for ticket, ask in admitted:
            encoding = ask.encoding or next(fresh)
            if isinstance(ask, Detect):
                answers.append((ticket, self._detected(encoding)))
            else:
                self._lane(ask.strategy.queries).admit(ticket, ask, encoding)
        return answers

    def _take_finished(self) -> list[tuple[int, Answer]]:
        finished = [one for lane in self._lanes.values() for one in lane.take_finished()]
        return [(slot.ticket, self._decoded(slot, best)) for slot, best in finished]

    def _lane(self, queries: int) -> Lane:
        if queries not in self._lanes:
            self._lanes[queries] = Lane(self.network, self.tokenizer, queries=queries, width=self.slots)
        return self._lanes[queries]

    @torch.inference_mode()
    def _detected(self, encoding: Encoding) -> Detected:
        return Detected(language_probabilities(self.network, self.tokenizer, encoding), encoding)

    def _decoded(self, slot: Slot, best: Hypothesis) -> Decoded:
        tokens = slot.ask.prompt.forced + best.tokens
        text = self.tokenizer.decode(tokens).strip()
        return Decoded(
            tokens=tokens,
            text=text,
            avg_logprob=best.avg_logprob,
            no_speech_prob=slot.no_speech_prob,
            compression_ratio=compression_ratio(text),
            temperature=slot.ask.strategy.temperature,
            truncated=best.truncated,
            encoding=slot.encoding,
        )


def compression_ratio(text: str) -> float:
    """Bytes of the text over its bytes under zlib: high where it repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def as_window(mel: Tensor) -> LazyMel:
    """Features that are there already, as a window."""
    return lambda: mel
