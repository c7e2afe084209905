"""The state of a lane's rows besides keys and values: what was chosen, and what may come next.

All of it is on the device, so that a step needs nothing from the host. The K rows of a slot are adjacent.

Axes: R rows, K queries of one slot, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from whisperlite.decoding.asks import Decode
from whisperlite.decoding.rules import (
    TimestampState,
    apply_timestamp_rules,
    as_penalty,
    forbid_empty_segments,
    suppression_mask,
)
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.text.vocabulary import TIMESTAMP_SECONDS


class Rows:
    """The rows of one lane, including those without a slot.

    Args:
        slots: the most slots.
        queries: rows of each slot.
        capacity: the most tokens of a row.
        is_remote: reading tensors back would make the host wait, so row lengths stay on the device.

    Attributes:
        tokens: (R, capacity) of the answer, with its forced beginning; after them come leftovers.
        last: (R,) the last token.
        sums: (R,) summed log probabilities.
        done: (R,) whether a greedy or sampled row has ended.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        slots: int,
        queries: int,
        capacity: int,
        n_vocab: int,
        device: torch.device,
        is_remote: bool,
    ) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._tokenizer, self._queries, self.is_remote = tokenizer, queries, is_remote
        rows = slots * queries
        self.tokens = zeros(rows, capacity)
        self.last = zeros(rows)
        self.sums = zeros(rows, dtype=torch.float32)
        self.done = zeros(rows, dtype=torch.bool)
        self._used = zeros(rows)  # 1: the row of a slot, 0: unused
        self._written = torch.ones_like(self._used)  # number of tokens of the answer
        self._before = zeros(rows)  # positions of the prompt before the answer
        self._suppressed = zeros(slots, n_vocab, dtype=torch.float32)  # added to logits
        self._timed = zeros(rows, dtype=torch.bool)
        self._text_until = zeros(rows)  # timestamps after <|0.00|>
        self._state = TimestampState.after((), tokenizer.timestamps, rows=rows, device=device)

    @property
    def _per_row(self) -> tuple[Tensor, ...]:
        """The tensors with one entry per row."""
        of_cache = self._used, self._written, self._before
        return self.tokens, self.last, self.sums, self.done, *of_cache, self._timed, self._text_until, self._state.data

    def of_slot(self, index: int) -> slice:
        """The rows of a slot."""
        return slice(index * self._queries, (index + 1) * self._queries)

    def take_over(self, other: Rows, slots: int) -> None:
        """Copy the first slots of another lane."""
        rows = slice(slots * self._queries)
        for mine, theirs in zip(self._per_row, other._per_row, strict=True):
            mine[rows] = theirs[rows]
        self._suppressed[:slots] = other._suppressed[:slots]

    def begin(self, index: int, ask: Decode) -> None:
        """Start a slot with the forced part of its answer."""
        rows, forced, device = self.of_slot(index), ask.prompt.forced, self.tokens.device
        self.tokens[rows, : len(forced)] = torch.tensor(forced, dtype=torch.long, device=device)
        fresh = TimestampState.after(forced, self._tokenizer.timestamps, rows=self._queries, device=device)
        self._state.data[rows] = fresh.data
        self._written[rows], self._before[rows] = len(forced), len(ask.prompt.tokens) - len(forced)
        self._used[rows], self.sums[rows], self.done[rows] = 1, 0.0, False
        self._timed[rows] = ask.timestamps
        self._text_until[rows] = round(ask.text_until / TIMESTAMP_SECONDS) if ask.timestamps else 0
        mask = suppression_mask(
            self._tokenizer, ask.suppressed, timestamps=ask.timestamps, size=self._suppressed.shape[1]
        )
        self._suppressed[index] = as_penalty(mask).to(device)

    def remove(self, index: int, end: int) -> None:
        """Remove a slot, and move the last one, `end`, into its place."""
        target, source = self.of_slot(index), self.of_slot(end)
        if index != end:
            for tensor in self._per_row:
                tensor[target] = tensor[source]
            self._suppressed[index] = self._suppressed[end]
        # A recorded step also computes rows without a slot: their results go to a position that nothing uses.
        self._used[source], self._written[source], self._before[source] = 0, 1, 0

    def move(self, targets: list[int], sources: list[int]) -> None:
        """Copy what was chosen in some rows to others; all are read before any is written."""
        into, of = torch.tensor([targets, sources], device=self.tokens.device)
        self.tokens[into] = self.tokens[of]
        self._state.data[into] = self._state.data[of]

    def lengths(self, count: int) -> Tensor:
        """The lengths of the first rows in the cache, (count,): the prompt, and all chosen tokens but the last."""
        return self._before[:count] + self._written[:count] - 1

    def suppress(self, logits: Tensor, slots: range) -> None:
        """Forbid the tokens that the requests of slots suppress; changes their logits (R, V) in place."""
        logits.view(len(slots), self._queries, -1).add_(self._suppressed[slots.start : slots.stop, None])

    def apply_rules(self, logits: Tensor, slots: range, *, text_until: bool) -> None:
        """Apply the timestamp rules, after all others; changes the logits (R, V) of slots in place.

        Args:
            text_until: whether a request may have `text_until`; for those that do not, it makes no difference.
        """
        rows = slice(slots.start * self._queries, slots.stop * self._queries)
        state = self._state.of(rows)
        if text_until:
            forbid_empty_segments(logits, state, self._text_until[rows], self._tokenizer)
        apply_timestamp_rules(logits, state, self._timed[rows], self._tokenizer)

    def append_chosen(self, rows: slice | Tensor, tokens: Tensor, logprobs: Tensor, counts: Collection[int]) -> None:
        """Append the tokens that greedy and sampled rows chose, or the end again; `counts` as in `append`."""
        done, eot = self.done[rows], self._tokenizer.eot
        tokens = torch.where(done, eot, tokens)
        self.sums[rows] += torch.where(done, 0.0, logprobs)
        self.append(rows, tokens, counts)
        self.done[rows] = tokens == eot

    def append(self, rows: slice | Tensor, tokens: Tensor, counts: Collection[int]) -> None:
        """Append a token to each of some rows.

        Args:
            counts: the different numbers of tokens that these rows have; not used if `is_remote`.
        """
        if self.is_remote or len(counts) > 1:
            every = torch.arange(len(self.tokens), device=tokens.device)
            self.tokens[every[rows], self._written[rows]] = tokens
        else:
            self.tokens[rows, next(iter(counts))] = tokens
        self._written[rows] += self._used[rows]
        self.last[rows] = tokens
        advanced = self._state.of(rows).advanced(tokens, self._tokenizer.timestamps)
        self._state.data[rows] = advanced.data

    def ends(self, rows: slice | Tensor) -> Tensor:
        """For the slots with these rows, (B, 2): whether all rows are done, and whether any sum is NaN."""
        done = self.done[rows].view(-1, self._queries).all(-1)
        return torch.stack([done, self.sums[rows].isnan().view(-1, self._queries).any(-1)], dim=1)
