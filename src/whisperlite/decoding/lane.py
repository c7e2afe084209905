"""A lane: windows that are decoded together, one step at a time, each with K queries.

A slot is one window's place in a lane. Active slots always come first in the storage, so that a step works on views and
never on a finished row. When a slot finishes, the last one moves into its place, and the next waiting window is
admitted at the end, while the others continue.

Axes: W slots, K queries, R = W·K rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whisperlite.decoding.asks import Beam, Decode, Sample
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.lane_cache import LaneCache
from whisperlite.decoding.prefill import Prefill
from whisperlite.decoding.replays import Replays, rounded_up
from whisperlite.decoding.rows import Rows
from whisperlite.decoding.rules import NEVER, apply_repetition_rules, first_token_mask
from whisperlite.decoding.search import (
    BeamOutcome,
    BeamStep,
    Hypothesis,
    arrange,
    beam_step,
    best_hypothesis,
    choose_likeliest,
    choose_sampled,
    draw_uniforms,
)
from whisperlite.decoding.slot import Slot
from whisperlite.nn.cache import Cache
from whisperlite.nn.network import Network
from whisperlite.text.prompt import Prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.text.vocabulary import TIMESTAMP_SECONDS


@dataclass(frozen=True, slots=True)
class _Move:
    """Rows of one slot that take over the contents of other rows of it."""

    slot: int
    targets: list[int]
    sources: list[int]


class Lane:
    """Up to `width` slots of `queries` rows each. It belongs to one engine, and so to one thread.

    Args:
        prefill: reads prompts with recorded calls; None: the lane reads them.
        new_replays: makes the recorder of this lane's steps; or None, and the operators are called.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        queries: int,
        width: int,
        prefill: Prefill | None,
        new_replays: Callable[[], Replays | None],
    ) -> None:
        self.network, self.tokenizer, self.queries = network, tokenizer, queries
        self._prefill, self._new_replays = prefill, new_replays
        self.slots: list[Slot] = []
        self.width = width
        dims, device = network.dims, network.device
        rows = width * queries
        self._replays = new_replays()
        copies_cross = width > 1 or self._replays is not None or prefill is not None
        self.cache = LaneCache(network, width=width, queries=queries, copies_cross=copies_cross)
        replayed_rows = rows if self._replays is not None else 0  # all replays write into the same result
        self._logits = torch.empty((replayed_rows, dims.n_vocab), dtype=torch.float32, device=device)
        self._ends = torch.empty((replayed_rows, 2), dtype=torch.bool, device=device)
        self._beams = BeamStep.empty(replayed_rows // queries, queries, device)
        self._knows_ends = True  # False: greedy or sampled slots may have ended, which only the device knows yet
        self.rows = Rows(
            tokenizer,
            slots=width,
            queries=queries,
            capacity=dims.n_text_ctx,
            n_vocab=dims.n_vocab,
            device=device,
            is_remote=device.type != "cpu" or self._replays is not None,
        )

    @torch.inference_mode()
    def widened(self, width: int) -> Lane:
        """A lane of this width that continues this lane's slots; do not use this one again."""
        wider = Lane(
            self.network,
            self.tokenizer,
            queries=self.queries,
            width=width,
            prefill=self._prefill,
            new_replays=self._new_replays,
        )
        count, used = len(self.slots), max((slot.length for slot in self.slots), default=0)
        wider.cache.take_over(self.cache, count, used)
        wider.rows.take_over(self.rows, count)
        wider.slots = self.slots
        return wider

    @property
    def _n_rows(self) -> int:
        return len(self.slots) * self.queries

    def active_cache(self) -> Cache:
        """The decoder's cache of all active rows."""
        return self.cache.active([slot.length for slot in self.slots])

    @torch.inference_mode()
    def admit(self, ticket: int, ask: Decode, encoding: Encoding) -> None:
        """Read a window's prompt and choose its first token."""
        slot = Slot(ticket, ask, encoding, *self._limits(ask), no_speech_prob=0.0)
        self.slots.append(slot)
        try:
            self._start(slot)
        except BaseException:
            self._remove(len(self.slots) - 1)  # so that the other slots can continue
            raise

    def _start(self, slot: Slot) -> None:
        index = len(self.slots) - 1
        at_start, logits = self._read_prompt(slot.ask.prompt, slot.encoding)
        slot.no_speech_prob = at_start.softmax(-1)[self.tokenizer.no_speech].item()
        self.rows.begin(index, slot.ask)
        logits = logits.masked_fill(self._first_mask(slot.ask).to(logits.device), NEVER).repeat(self.queries, 1)
        self._choose(logits, range(index, index + 1))

    @torch.inference_mode()
    def step(self) -> None:
        """Append one token to every active row."""
        if self._replays is None or not self._step_replayed(self._replays):
            logits = self.network.decoder(self.rows.last[: self._n_rows, None], self.active_cache())[0][:, 0]
            self._choose(logits, range(len(self.slots)))

    def _step_replayed(self, replays: Replays) -> bool:
        """Make a step with recorded calls; returns False, having done nothing, if none is recorded."""
        slots = range(len(self.slots))
        has_repetition_rules = any(slot.has_repetition_rules for slot in self.slots)
        if all(slot.is_greedy for slot in self.slots) and not has_repetition_rules:
            ends = self._replayed("greedy", replays, self._greedy_step)
            if ends is None:
                return False
            self._record_ends(slots, ends[: len(slots)])
        elif all(slot.is_beam for slot in self.slots) and not has_repetition_rules:
            if self._replayed("beams", replays, self._beam_step) is None:
                return False
            self._follow(self._beams.of(len(slots)), slots)
        else:
            logits = self._replayed("logits", replays, self._next_logits)
            if logits is None:
                return False
            self._choose(logits[: self._n_rows], slots)
            return True
        self._count(slots)
        return True

    def _replayed(self, kind: str, replays: Replays, call: Callable[[int, int], Tensor]) -> Tensor | None:
        """The result of a recorded call for at least the current slots and positions; None if it was not made."""
        longest = max(slot.length for slot in self.slots)
        most = self.cache.capacity
        size = rounded_up(len(self.slots), longest + 1, most_slots=self.width, most_positions=most)
        return replays.replay((kind, *size), lambda: call(*size))

    # Recorded calls: nothing in them depends on what the host knows about slots. Results of unused rows are ignored.

    def _next_logits(self, slots: int, positions: int) -> Tensor:
        """The logits of the next step, (R, V)."""
        rows = slots * self.queries
        return self._logits[:rows].copy_(self._fixed_logits(slots, positions))

    def _greedy_step(self, slots: int, positions: int) -> Tensor:
        """Make a whole step of greedy slots; returns their ends, see `Rows.ends`."""
        rows = slice(slots * self.queries)
        self.rows.append_chosen(rows, *choose_likeliest(self._ruled_logits(slots, positions)), counts=())
        return self._ends[:slots].copy_(self.rows.ends(rows))

    def _beam_step(self, slots: int, positions: int) -> Tensor:
        """Choose what the beams continue with, and write it into `_beams`."""
        logits = self._ruled_logits(slots, positions).view(slots, self.queries, -1)
        sums = self.rows.sums[: slots * self.queries].view(slots, -1)
        first = torch.zeros(slots, dtype=torch.bool, device=logits.device)
        into = self._beams.of(slots)
        into.copy_(beam_step(logits, sums, first, self.tokenizer.eot))
        return into.tokens

    def _ruled_logits(self, slots: int, positions: int) -> Tensor:
        """The logits of the next step, after all rules except those against repetition."""
        logits = self._fixed_logits(slots, positions)
        self.rows.suppress(logits, range(slots))
        self.rows.apply_rules(logits, range(slots), text_until=True)
        return logits

    def _fixed_logits(self, slots: int, positions: int) -> Tensor:
        rows = slots * self.queries
        memory = self.cache.fixed(slots, positions, self.rows.lengths(rows))
        return self.network.decoder.next_logits(self.rows.last[:rows], memory)

    @torch.inference_mode()
    def take_finished(self) -> list[tuple[Slot, Hypothesis]]:
        """Remove the complete slots; returns each with its best hypothesis."""
        others = [index for index, slot in enumerate(self.slots) if not slot.is_beam]
        if others and not self._knows_ends:
            self._record_ends(others, self.rows.ends(self._rows_of(others)))
        taken = []
        for index in reversed(range(len(self.slots))):
            slot = self.slots[index]
            if not slot.is_finite:  # nothing sensible can follow a NaN
                taken.append((slot, Hypothesis((), math.nan)))
                self._remove(index)
            elif slot.is_complete or slot.count >= slot.limit:
                taken.append((slot, self._best(index)))
                self._remove(index)
        return taken[::-1]

    @torch.inference_mode()
    def drop(self, ticket: int) -> None:
        """Remove a request's slot, if it is in this lane, without an answer."""
        for index, slot in enumerate(self.slots):
            if slot.ticket == ticket:
                self._remove(index)
                return

    # Admission

    def _limits(self, ask: Decode) -> tuple[int, Tensor]:
        """How many tokens may be chosen, and the uniforms for sampling them."""
        # As in the reference, the last token may fall one position past the context, since it is never read.
        room = self.network.dims.n_text_ctx + 1 - len(ask.prompt.tokens)
        assert room > 0, "prompts leave room for an answer"
        limit = max(min(ask.max_new_tokens - len(ask.prompt.forced), room), 1)
        sampled = isinstance(ask.strategy, Sample)
        uniforms = draw_uniforms(ask.seed, limit, self.queries) if sampled else torch.empty(0, device="cpu")
        return limit, uniforms.to(self.network.device)

    def _read_prompt(self, prompt: Prompt, encoding: Encoding) -> tuple[Tensor, Tensor]:
        """Fill the last slot's cache; returns logits at <|startoftranscript|>, (V,), and at the prompt's end, (1, V).

        One row reads the prompt for all queries.
        """
        index = len(self.slots) - 1
        read = None if self._prefill is None else self._prefill.read(prompt, encoding)
        self.cache.place_cross(index, encoding.cross if read is None else read.cross)
        if self.cache.copies_cross and self.network.device.type != "cpu":
            encoding.forget_cross()  # the lane has a copy; on a GPU, memory is dearer than computing it again
        if read is not None:
            self.cache.place_text(index, read.keys, read.values)
            return read.logits[0], read.logits[1:]
        tokens = torch.tensor([prompt.tokens], device=self.network.device)
        hidden, _ = self.network.decoder.hidden(tokens, self.cache.first_row(index))
        self.cache.repeat_first_row(index, len(prompt.tokens))
        logits = self.network.decoder.logits(hidden[0, [prompt.sot_index, -1]])
        return logits[0], logits[1:]

    def _first_mask(self, ask: Decode) -> Tensor:
        limit = ask.max_initial_timestamp
        return first_token_mask(
            self.tokenizer,
            suppress_blank=ask.suppress_blank,
            timestamps=ask.timestamps and not ask.prompt.forced,
            max_initial_index=None if limit is None else round(limit / TIMESTAMP_SECONDS),
            size=self.network.dims.n_vocab,
        )

    # Choice

    def _choose(self, logits: Tensor, slots: range) -> None:
        """Apply the rules to the logits (R, V) of these slots, and append a token to each of their rows."""
        self.rows.suppress(logits, slots)
        if any(self.slots[index].has_repetition_rules for index in slots):
            self._apply_repetition_rules(logits, slots)
        self.rows.apply_rules(logits, slots, text_until=any(self.slots[index].ask.text_until for index in slots))
        beams = [index for index in slots if self.slots[index].is_beam]
        others = [index for index in slots if not self.slots[index].is_beam]
        if beams:
            self._choose_beams(self._logits_of(logits, beams, slots), beams)
        if others:
            self._choose_single(self._logits_of(logits, others, slots), others)
            self._knows_ends = False
        self._count(slots)

    def _count(self, slots: range) -> None:
        for index in slots:
            self.slots[index].count += 1

    def _apply_repetition_rules(self, logits: Tensor, slots: range) -> None:
        chosen = [self.slots[index] for index in slots for _ in range(self.queries)]
        lengths = torch.tensor([slot.written for slot in chosen], device=logits.device)
        penalties = logits.new_tensor([slot.ask.repetition_penalty for slot in chosen])
        ngrams = [slot.ask.no_repeat_ngram_size for slot in chosen]
        history = self.rows.tokens[self._rows_of(slots), : max(slot.written for slot in chosen)]
        apply_repetition_rules(logits, history, lengths, penalties, ngrams, self.tokenizer.eot)

    def _logits_of(self, logits: Tensor, chosen: list[int], slots: range) -> Tensor:
        grouped = logits.view(len(slots), self.queries, -1)
        return grouped if len(chosen) == len(slots) else grouped[[index - slots.start for index in chosen]]

    def _rows_of(self, slots: Sequence[int]) -> slice | Tensor:
        """The rows of these slots: (B·K,), or a slice if they are adjacent, which is much faster."""
        if slots[-1] - slots[0] == len(slots) - 1:
            return slice(slots[0] * self.queries, (slots[-1] + 1) * self.queries)
        first = torch.tensor(slots, device=self.network.device)[:, None] * self.queries
        return (first + torch.arange(self.queries, device=self.network.device)).flatten()

    def _choose_single(self, logits: Tensor, slots: list[int]) -> None:
        """Choose for greedy and sampled rows (B, K, V), each on its own; after its end, a row repeats the end."""
        rows = self._rows_of(slots)
        strategies = [self.slots[index].ask.strategy for index in slots]
        logits = logits.flatten(0, 1)
        tokens, logprobs = choose_likeliest(logits)
        if any(isinstance(strategy, Sample) for strategy in strategies):
            temperatures = logits.new_tensor([strategy.temperature for strategy in strategies])
            uniforms = torch.stack([self._uniforms(self.slots[index]) for index in slots]).flatten()
            per_row = temperatures.repeat_interleave(self.queries)
            # A greedy row among samples of one query keeps its likeliest token.
            drawn, drawn_logprobs = choose_sampled(logits, per_row.clamp(min=1e-6), uniforms)
            tokens = torch.where(per_row > 0, drawn, tokens)
            logprobs = torch.where(per_row > 0, drawn_logprobs, logprobs)
        self.rows.append_chosen(rows, tokens, logprobs, self._counts(slots))

    def _counts(self, slots: Sequence[int]) -> set[int]:
        return {self.slots[index].written for index in slots}

    def _record_ends(self, slots: Sequence[int], ends: Tensor) -> None:
        """Record which of the greedy and sampled slots have ended, see `Rows.ends`."""
        self._knows_ends = True
        for index, (is_complete, is_broken) in zip(slots, ends.tolist(), strict=True):
            self.slots[index].is_complete, self.slots[index].is_finite = is_complete, not is_broken

    def _uniforms(self, slot: Slot) -> Tensor:
        if isinstance(slot.ask.strategy, Sample):
            return slot.uniforms[slot.count]
        return torch.zeros(self.queries, device=self.network.device)

    def _choose_beams(self, logits: Tensor, slots: list[int]) -> None:
        """Choose for the rows of beam searches (B, K, V), which compete with the other rows of their slot."""
        # Windows are admitted one by one, so either all of these slots choose their first token or none does.
        first = torch.full((len(slots),), self.slots[slots[0]].count == 0, device=logits.device)
        sums = self.rows.sums[self._rows_of(slots)].view(len(slots), -1)
        self._follow(beam_step(logits, sums, first, self.tokenizer.eot), slots)

    def _follow(self, step: BeamStep, slots: Sequence[int]) -> None:
        """Continue the rows of these slots with what was chosen."""
        rows, outcomes = self._rows_of(slots), step.to_host()
        for index, outcome in zip(slots, outcomes, strict=True):
            self._collect(index, outcome)
        orders = [arrange(outcome.sources) for outcome in outcomes]
        chosen = torch.tensor(orders, device=self.network.device)  # before anything else that a copy would wait for
        moves = []
        for index, outcome, order in zip(slots, outcomes, orders, strict=True):
            pairs = [(query, outcome.sources[choice]) for query, choice in enumerate(order)]
            moved = [(index * self.queries + to, index * self.queries + of) for to, of in pairs if to != of]
            if moved:
                moves.append(_Move(index, [to for to, _ in moved], [of for _, of in moved]))
        if moves:
            self._move(moves)
        tokens, sums = (each.gather(1, chosen) for each in (step.tokens, step.sums))
        self.rows.sums[rows] = sums.flatten()
        self.rows.append(rows, tokens.flatten(), self._counts(slots))

    def _collect(self, index: int, outcome: BeamOutcome) -> None:
        """Keep a slot's newly ended hypotheses, up to `max_candidates`."""
        slot = self.slots[index]
        slot.is_finite = outcome.is_finite
        for source, total in outcome.ended:
            if len(slot.finished) < slot.max_candidates:
                row = index * self.queries + source
                [tokens] = self._answers(slice(row, row + 1), slot)
                slot.finished.append(Hypothesis(tuple(tokens), total))
        slot.is_complete = len(slot.finished) >= slot.max_candidates

    def _move(self, moves: Sequence[_Move]) -> None:
        """Copy the contents of rows to other rows of their slot."""
        targets = [row for each in moves for row in each.targets]
        sources = [row for each in moves for row in each.sources]
        cache = self.active_cache().advanced(1)  # the last token's position has just been written
        if not self.rows.is_remote:  # otherwise finding where they differ would make the host wait
            for each in moves:
                cache.move(each.targets, each.sources, start=self._first_difference(each))
        else:
            start = min(len(self.slots[each.slot].ask.prompt.tokens) for each in moves)
            cache.move(targets, sources, start=start)
        self.rows.move(targets, sources)

    def _first_difference(self, move: _Move) -> int:
        """The first position of the cache at which a moved row differs from its source.

        The hypotheses of a window are all different, so a common beginning comes from a common ancestor.
        """
        tokens = self.rows.tokens
        differs = (tokens[move.targets] != tokens[move.sources]).any(0).nonzero()
        prompt = self.slots[move.slot].ask.prompt
        chosen = int(differs[0]) if len(differs) else tokens.shape[1]
        return len(prompt.tokens) - len(prompt.forced) + chosen

    # Completion

    def _best(self, index: int) -> Hypothesis:
        """The best hypothesis of a complete slot."""
        slot, strategy = self.slots[index], self.slots[index].ask.strategy
        rows = self.rows.of_slot(index)
        unfinished = [
            self._hypothesis(tokens, total, at_limit=slot.count >= slot.limit)
            for tokens, total in zip(self._answers(rows, slot), self.rows.sums[rows].tolist(), strict=True)
        ]
        if isinstance(strategy, Beam):
            # If too few have ended, the best unfinished ones are added (reference: `BeamSearchDecoder.finalize`).
            missing = max(self.queries - len(slot.finished), 0)
            rest = sorted(unfinished, key=lambda hypothesis: hypothesis.sum_logprob, reverse=True)
            return best_hypothesis(slot.finished + rest[:missing], strategy.length_penalty)
        return best_hypothesis(unfinished, strategy.length_penalty)

    def _answers(self, rows: slice | Tensor, slot: Slot) -> list[list[int]]:
        """The tokens chosen so far in some rows of a slot."""
        chosen: list[list[int]] = self.rows.tokens[rows, len(slot.ask.prompt.forced) : slot.written].tolist()
        return chosen

    def _hypothesis(self, tokens: list[int], total: float, *, at_limit: bool) -> Hypothesis:
        eot = self.tokenizer.eot
        ended = eot in tokens
        return Hypothesis(
            tuple(tokens[: tokens.index(eot)] if ended else tokens), total, truncated=at_limit and not ended
        )

    def _remove(self, index: int) -> None:
        """Free a slot; the last one moves into its place."""
        end = len(self.slots) - 1
        self.cache.remove(index, end, removed_length=self.slots[index].length, last_length=self.slots[end].length)
        self.rows.remove(index, end)
        self.slots[index] = self.slots[end]
        self.slots.pop()
