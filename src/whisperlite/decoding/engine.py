"""Answers requests ("asks") about windows, from any number of sessions, many at a time as one batch.

An engine belongs to one thread at a time; any number of engines can share a network.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from whisperlite.decoding.alignment import align
from whisperlite.decoding.asks import Align, Aligned, Answer, Ask, Decode, Decoded, Detect, Detected, LazyMel
from whisperlite.decoding.encoding import Encoding, WindowEncoder
from whisperlite.decoding.lane import Lane
from whisperlite.decoding.language import detect_language
from whisperlite.decoding.prefill import Prefill
from whisperlite.decoding.replays import Replays
from whisperlite.decoding.search import Hypothesis
from whisperlite.decoding.slot import Slot
from whisperlite.decoding.threads import StepThreads, threads, usable_threads
from whisperlite.nn.config import Heads
from whisperlite.nn.network import Network
from whisperlite.text.tokenizer import Tokenizer


class Engine:
    """Takes requests, steps them together, and gives answers in the order in which they are ready.

    Args:
        network: shared, never written to.
        tokenizer: the tokenizer of the network's vocabulary.
        slots: the most windows that are decoded together.
        heads: the cross-attention heads that follow the audio, for `Align`.
        in_float32: returns the same network in float32, for windows in which half precision fails; None: there is none.
        cpu_threads: number of threads for torch on a CPU; None: what suits the machine.
        graphs: record repeated calls and replay them, if the device can.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        slots: int = 1,
        heads: Heads = (),
        in_float32: Callable[[], Network] | None = None,
        cpu_threads: int | None = None,
        graphs: bool = False,
    ) -> None:
        self.network, self.tokenizer, self.slots, self.heads = network, tokenizer, slots, heads
        self._waiting: deque[tuple[int, Ask]] = deque()
        self._is_filling = False  # there is room for requests whose windows are encoded in the next steps
        self._lanes: dict[int, Lane] = {}
        self._tickets = 0
        self.cpu_threads = cpu_threads
        self._graphs = graphs
        # Lanes get this, so it does not refer to the engine: a reference cycle would stay in memory for a while.
        self._new_replays = partial(Replays.where_possible if graphs else _no_replays, network.device, network.dtype)
        self._step_threads: dict[int, StepThreads] = {}  # queries of a lane → its threads
        self._in_float32 = in_float32
        self._float32_engine: Engine | None = None  # made when it is first needed
        self._float32_tickets: dict[int, int] = {}  # tickets of that engine → tickets of this one

    @property
    def active_slots(self) -> int:
        """The number of windows that are being decoded."""
        own = sum(len(lane.slots) for lane in list(self._lanes.values()))  # a copy, since other threads read this too
        return own + (0 if self._float32_engine is None else self._float32_engine.active_slots)

    # Made when they are first needed: they take memory on the device.

    @cached_property
    def _replays(self) -> Replays | None:
        return self._new_replays()

    @cached_property
    def _encoder(self) -> WindowEncoder:
        return WindowEncoder(self.network, self._replays)

    @cached_property
    def _prefill(self) -> Prefill | None:
        return None if self._replays is None else Prefill(self.network, self._replays)

    def rest(self) -> bool:
        """Drop the engine in float32; returns whether this engine is worth keeping: it is idle, and replays graphs."""
        if self._waiting or self._float32_tickets or self.active_slots or self._replays is None:
            return False
        self._float32_engine = None
        return True

    def submit(self, ask: Ask) -> int:
        """Queue a request; returns the ticket that its answer will carry."""
        self._tickets += 1
        if self._in_float32 is not None and ask.encoding is not None and not self.owns(ask.encoding):
            self._submit_in_float32(ask, self._tickets)  # what began in float32 continues in it
        elif ask.encoding is not None:  # it holds much memory while it waits, so it goes before those that do not
            self._waiting.insert(sum(each.encoding is not None for _, each in self._waiting), (self._tickets, ask))
        else:
            self._waiting.append((self._tickets, ask))
        return self._tickets

    def step(self) -> list[tuple[int, Answer]]:
        """Admit what fits, and move everything one token on, or encode one more window.

        Returns:
            Answers that are ready, as (ticket, answer).
        """
        with self._threads(), self._without_autocast():
            answers = self._admit()
            if not self._is_filling:
                for queries, lane in self._lanes.items():
                    if lane.slots:
                        self._step_threads[queries].run(lane.step, size=len(lane.slots))
                answers += self._take_finished()
            if self._float32_tickets and self._float32_engine is not None:
                for ticket, answer in self._float32_engine.step():
                    answers.append((self._float32_tickets.pop(ticket), replace(answer, in_float32=True)))
        return answers

    def cancel(self, ticket: int) -> None:
        """Drop a request: its answer will not come."""
        self._waiting = deque(each for each in self._waiting if each[0] != ticket)
        for lane in self._lanes.values():
            lane.drop(ticket)
        for theirs in [theirs for theirs, ours in self._float32_tickets.items() if ours == ticket]:
            assert self._float32_engine is not None, "it took the request"
            del self._float32_tickets[theirs]
            self._float32_engine.cancel(theirs)

    @property
    def _is_on_cpu(self) -> bool:
        return self.network.device.type == "cpu"

    def _threads(self) -> AbstractContextManager[None]:
        return threads(self.cpu_threads or usable_threads()) if self._is_on_cpu else nullcontext()

    def _without_autocast(self) -> AbstractContextManager[None]:
        """A context without the user's autocast, which would change the precision of operators."""
        kind = self.network.device.type
        is_on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        return torch.autocast(kind, enabled=False) if is_on else nullcontext()

    def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answer these requests, in their order."""
        tickets = [self.submit(ask) for ask in asks]
        answers: dict[int, Answer] = {}
        while len(answers) < len(tickets):
            answers.update(self.step())
        return [answers[ticket] for ticket in tickets]

    @torch.inference_mode()
    def encode(self, windows: Sequence[LazyMel]) -> list[Encoding]:
        """Run the encoder on windows, (n_mels, 3000) each, several at a time if that is faster."""
        if not windows:
            return []
        with self._threads(), self._without_autocast():
            return self._encoder.encode(windows)

    def owns(self, encoding: Encoding) -> bool:
        """Whether an encoding was made by this engine's network."""
        return encoding.belongs_to(self.network.decoder)

    def _admit(self) -> list[tuple[int, Answer]]:
        """Let waiting requests into their lanes, in their order, and answer those that need no slot at once.

        The latter are limited too: a `Detect` leaves an encoding, which waits until its `Decode` gets a slot. No
        further encoding is made while as many wait as there are slots. On a CPU, a step makes one encoding, so that
        what is cancelled ends after one; decoding goes on when all are made, since few windows at a time take longer.
        """
        admitted: list[tuple[int, Ask]] = []
        waiting: deque[tuple[int, Ask]] = deque()
        decoding = sum(len(lane.slots) for lane in self._lanes.values())
        others = 0
        wanted = Counter[int]()  # slots by their number of queries, those of windows that are encoded next included
        is_encoding = self._is_filling = False
        for ticket, ask in self._waiting:
            if isinstance(ask, Decode):
                fits = decoding < self.slots
                decoding += fits
                if fits:
                    wanted[ask.strategy.queries] += 1
            else:
                held = 0 if ask.encoding is not None else sum(each.encoding is not None for _, each in waiting)
                fits = others + held < self.slots
                others += fits
            if fits and ask.encoding is None:
                fits, is_encoding = not (is_encoding and self._encoder.is_one_by_one), True
                self._is_filling |= not fits
            (admitted if fits else waiting).append((ticket, ask))
        self._waiting = waiting
        self._ensure_lanes(wanted)
        new = self.encode([ask.window for _, ask in admitted if ask.encoding is None])
        fresh = iter(new)
        answers: list[tuple[int, Answer]] = []
        for ticket, ask in admitted:
            encoding = ask.encoding or next(fresh)
            if isinstance(ask, Decode):
                self._lanes[ask.strategy.queries].admit(ticket, ask, encoding)
            else:
                answers += self._answer_or_retry(ticket, ask, self._answered_at_once(ask, encoding))
        if any(isinstance(ask, Decode) for _, ask in admitted):
            answers += self._take_finished()  # the first token may be the last
        return answers

    def _take_finished(self) -> list[tuple[int, Answer]]:
        finished = [one for lane in self._lanes.values() for one in lane.take_finished()]
        answers: list[tuple[int, Answer]] = []
        for slot, best in finished:
            decoded = self._decoded(slot, best)
            answers += self._answer_or_retry(slot.ticket, replace(slot.ask, encoding=slot.encoding), decoded)
        return answers

    def _answer_or_retry(self, ticket: int, ask: Ask, answer: Answer) -> list[tuple[int, Answer]]:
        """The answer; or nothing yet, if it is not finite and the window is run again in float32."""
        if self._in_float32 is None or _is_finite(answer):
            return [(ticket, answer)]
        self._submit_in_float32(replace(ask, window=answer.encoding.window, encoding=None), ticket)
        return []

    def _ensure_lanes(self, coming: Mapping[int, int]) -> None:
        """Make sure that there are lanes, and that they are wide enough.

        Args:
            coming: queries of a slot → number of such slots that are about to be taken.
        """
        if coming:
            self._delete_empty_lanes(kept=coming)
        for queries, count in coming.items():
            if queries not in self._lanes:
                width = self._width(count)
                self._lanes[queries] = Lane(
                    self.network,
                    self.tokenizer,
                    queries=queries,
                    width=width,
                    prefill=self._prefill,
                    new_replays=self._new_replays,
                )
                self._step_threads[queries] = StepThreads(torch.get_num_threads() if self._is_on_cpu else 1)
            lane = self._lanes[queries]
            if len(lane.slots) + count > lane.width:
                self._lanes[queries] = lane.widened(self._width(len(lane.slots) + count))

    def _width(self, slots: int) -> int:
        """The width of a lane for this many slots: a power of two, so that it is not widened often."""
        return min(1 << (slots - 1).bit_length(), self.slots)

    def _delete_empty_lanes(self, *, kept: Collection[int]) -> None:
        """Delete empty lanes except one: while a recording falls back, lanes of two kinds alternate."""
        empty = [queries for queries, lane in self._lanes.items() if not lane.slots and queries not in kept]
        for queries in empty[:-1]:
            del self._lanes[queries], self._step_threads[queries]

    def _submit_in_float32(self, ask: Ask, ticket: int) -> None:
        """Pass a request to the engine in float32; `ticket` is the one that its answer will carry."""
        self._float32_tickets[self._get_float32_engine().submit(ask)] = ticket

    def _get_float32_engine(self) -> Engine:
        """The engine in float32, made when it is first needed."""
        if self._float32_engine is None:
            assert self._in_float32 is not None, "the caller has checked"
            self._float32_engine = Engine(
                self._in_float32(),
                self.tokenizer,
                slots=self.slots,
                heads=self.heads,
                cpu_threads=self.cpu_threads,
                graphs=self._graphs,
            )
        return self._float32_engine

    @torch.inference_mode()
    def _answered_at_once(self, ask: Detect | Align, encoding: Encoding) -> Detected | Aligned:
        if isinstance(ask, Align):
            return align(self.network, self.tokenizer, encoding, ask, self.heads)
        whole, *parts = (detect_language(self.network, self.tokenizer, encoding, span) for span in (None, *ask.spans))
        return Detected(
            whole[0],
            encoding,
            no_speech_prob=whole[1],
            of_spans=tuple(probabilities for probabilities, _ in parts),
            no_speech_of_spans=tuple(no_speech for _, no_speech in parts),
        )

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


def _no_replays(*_: object) -> None:
    return None


def _is_finite(answer: Answer) -> bool:
    if isinstance(answer, Decoded):
        return math.isfinite(answer.avg_logprob) and math.isfinite(answer.no_speech_prob)
    if isinstance(answer, Aligned):
        return all(map(math.isfinite, answer.probabilities))
    silences = (answer.no_speech_prob, *answer.no_speech_of_spans)
    found = (value for each in (answer.probabilities, *answer.of_spans) for value in each.values())
    return all(map(math.isfinite, (*silences, *found)))


def compression_ratio(text: str) -> float:
    """The size of a text divided by its size under zlib: high if it repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def as_window(mel: Tensor) -> LazyMel:
    """A window with these features."""
    return lambda: mel
