"""Which tokens may come next: rules that act on the logits of a whole batch, in place (reference: `LogitFilter`).

Axes: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whisperlite.text.tokenizer import Tokenizer
from whisperlite.text.vocabulary import TIMESTAMPS

N_TIMESTAMPS = len(TIMESTAMPS)  # what lies behind them was added by a fine-tune, or is a logit to spare

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class TimestampState:
    """What the timestamp rules remember of each row; it follows the rows when beams change places.

    Attributes:
        data: (R, 4) the last timestamp token so far (-1 before the first); whether the last token is a timestamp;
            whether the last but one is (1 also where there is none); the number of tokens.
    """

    data: Tensor

    @staticmethod
    def after(answer: Sequence[int], timestamps: range, *, rows: int, device: torch.device) -> TimestampState:
        """The state of `rows` rows that all begin with the same answer."""
        is_time = [token in timestamps for token in answer]
        times = [token for token, is_one in zip(answer, is_time, strict=True) if is_one]
        is_last = bool(answer) and is_time[-1]
        is_penultimate = len(answer) < 2 or is_time[-2]
        row = [times[-1] if times else -1, int(is_last), int(is_penultimate), len(answer)]
        return TimestampState(torch.tensor([row], device=device).repeat(rows, 1))

    @property
    def last(self) -> Tensor:
        return self.data[:, 0]

    @property
    def is_last(self) -> Tensor:
        return self.data[:, 1].bool()

    @property
    def is_penultimate(self) -> Tensor:
        return self.data[:, 2].bool()

    def of(self, rows: slice | Tensor) -> TimestampState:
        return TimestampState(self.data[rows])

    def advanced(self, tokens: Tensor, timestamps: range) -> TimestampState:
        """After one more token in each row."""
        count = self.data[:, 3]
        is_time = (tokens >= timestamps.start) & (tokens < timestamps.stop)
        last = torch.where(is_time, tokens, self.last)
        return TimestampState(torch.stack([last, is_time.long(), (self.is_last | (count == 0)).long(), count + 1], 1))


def suppression_mask(tokenizer: Tokenizer, suppressed: frozenset[int], *, timestamps: bool, size: int) -> Tensor:
    """(V,) True at every id that may never be chosen.

    Whatever the caller suppresses or not, the control tokens cannot be chosen (correction 4), neither can logits that
    no token has, and where timestamps are wanted neither can <|notimestamps|>.
    """
    ids = suppressed.union(tokenizer.control_tokens, tokenizer.unused_tokens)
    ids |= {tokenizer.no_timestamps} if timestamps else set()
    mask = torch.zeros(size, dtype=torch.bool, device="cpu")
    mask[list(ids)] = True
    return mask


def first_token_mask(
    tokenizer: Tokenizer, *, suppress_blank: bool, timestamps: bool, max_initial_index: int | None, size: int
) -> Tensor:
    """(V,) True at every id that may not come first (reference: `SuppressBlank`, `ApplyTimestampRules`).

    Args:
        timestamps: only a timestamp may come first.
        max_initial_index: and none after this one, in steps of 20 ms. Differs: 0 means 0 (correction 5).
    """
    mask = torch.zeros(size, dtype=torch.bool, device="cpu")
    if suppress_blank:
        mask[list(tokenizer.blank_tokens)] = True
    if timestamps:
        allowed = N_TIMESTAMPS if max_initial_index is None else min(max_initial_index + 1, N_TIMESTAMPS)
        mask[: tokenizer.timestamp_begin] = True
        mask[tokenizer.timestamp_begin + allowed :] = True
    return mask


def apply_repetition_rules(
    logits: Tensor, history: Tensor, lengths: Tensor, penalties: Tensor, ngrams: Sequence[int], n_text: int
) -> None:
    """Text that an answer holds already is less probable, or may not come again; logits are changed in place.

    Args:
        logits: (R, V).
        history: (R, T) tokens so far, with leftovers behind each row's length.
        lengths: (R,).
        penalties: (R,) what divides positive logits of the row's text, and multiplies negative ones (Keskar et al.
            2019, section 4.1); 1: nothing changes.
        ngrams: R numbers: no sequence of so many text tokens comes twice; 0: any may.
        n_text: ids below are text. Others, such as timestamps, do not count and come again as they please.
    """
    is_text = (torch.arange(history.shape[1], device=history.device) < lengths[:, None]) & (history < n_text)
    seen = _marked(history, is_text, logits.shape[1])
    penalised = torch.where(logits > 0, logits / penalties[:, None], logits * penalties[:, None])
    logits.copy_(torch.where(seen, penalised, logits))
    sizes = set(ngrams) - {0}
    if sizes:
        # The text alone, moved to the front: a sequence may go on across a timestamp.
        history = history.gather(1, (~is_text).int().argsort(dim=1, stable=True))
        lengths = is_text.sum(-1)
    for size in sorted(sizes):
        rows = torch.tensor([row for row, each in enumerate(ngrams) if each == size], device=logits.device)
        if history.shape[1] >= size:
            banned = _completions(history[rows], lengths[rows], size, logits.shape[1])
            logits[rows] = logits[rows].masked_fill(banned, NEVER)


def _completions(history: Tensor, lengths: Tensor, size: int, n_vocab: int) -> Tensor:
    """(R, V) True at the tokens that would make the last `size` tokens of a row a sequence that it has had before."""
    sequences = history.unfold(1, size, 1)  # (R, T - size + 1, size)
    last = torch.arange(1 - size, 0, device=history.device) + lengths[:, None]
    tail = history.gather(1, last.clamp(min=0))
    inside = torch.arange(sequences.shape[1], device=history.device) + size <= lengths[:, None]
    same = (sequences[..., :-1] == tail[:, None]).all(-1)
    return _marked(sequences[..., -1], inside & same, n_vocab)


def _marked(tokens: Tensor, valid: Tensor, n_vocab: int) -> Tensor:
    """(R, V) True at the tokens (R, T) that are valid (R, T)."""
    marks = torch.zeros((len(tokens), n_vocab + 1), dtype=torch.bool, device=tokens.device)
    marks.scatter_(1, torch.where(valid, tokens, n_vocab), True)
    return marks[:, :n_vocab]


def apply_timestamp_rules(logits: Tensor, state: TimestampState, enabled: Tensor, tokenizer: Tokenizer) -> None:
    """Timestamps come in pairs, never go back, and come where they are more probable than any text.

    Reference: `ApplyTimestampRules`. Logits are changed in place; all other rules must have been applied before, since
    the last of these compares what is left.

    Args:
        logits: (R, V).
        state: of the R rows.
        enabled: (R,) rows that the rules hold for.
    """
    begin = tokenizer.timestamp_begin
    text, times, added = logits.tensor_split((begin, begin + N_TIMESTAMPS), dim=-1)
    opened = state.is_last & ~state.is_penultimate  # a segment has ended: a second timestamp or the end must follow
    forbid(logits[:, : tokenizer.eot], enabled & opened)

    # After a pair text must follow. Later times may repeat an end as a start, else they must move on.
    pair = state.is_last & state.is_penultimate
    earliest = torch.where(state.last < 0, 0, state.last - begin + (~opened).long())
    earliest = torch.where(pair, N_TIMESTAMPS, earliest) * enabled
    index = torch.arange(times.shape[1], device=logits.device)
    times.masked_fill_(index < earliest[:, None], NEVER)

    likeliest = text.amax(-1)
    if added.shape[1]:
        forbid(added, enabled & opened)
        likeliest = likeliest.maximum(added.amax(-1))
    dominant = enabled & (times.logsumexp(-1) > likeliest)
    forbid(text, dominant)
    if added.shape[1]:
        forbid(added, dominant)


def forbid_empty_segments(logits: Tensor, state: TimestampState, until: Tensor, tokenizer: Tokenizer) -> None:
    """The end may not come where a second or later segment opens early, if any text may; in place.

    Differs: the reference has no such rule, and another window for what is left.

    Args:
        logits: (R, V).
        state: of the R rows.
        until: (R,) the first timestamp, counted from <|0.00|>, at which the end may come again; 0: it always may.
    """
    opens = state.is_last & state.is_penultimate & (state.data[:, 3] > 1)
    early = state.last - tokenizer.timestamp_begin < until
    has_text = logits[:, : tokenizer.eot].amax(-1) > NEVER
    logits[:, tokenizer.eot].masked_fill_(opens & early & has_text, NEVER)


def forbid(logits: Tensor, rows: Tensor) -> None:
    """Nothing of (R, N) logits may be chosen in the rows (R,) that are True; in place.

    A sum is several times as fast on a CPU as a selection.
    """
    if logits.device.type == "cpu":
        logits.add_(as_penalty(rows)[:, None])
    else:
        logits.masked_fill_(rows[:, None], NEVER)


def as_penalty(forbidden: Tensor) -> Tensor:
    """True → minus infinity, False → 0: what is added to logits."""
    return torch.zeros(forbidden.shape, dtype=torch.float32, device=forbidden.device).masked_fill_(forbidden, NEVER)
