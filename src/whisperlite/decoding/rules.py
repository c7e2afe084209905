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

N_TIMESTAMPS = len(TIMESTAMPS)  # ids after them were added by a fine-tune, or have no token

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class TimestampState:
    """What the timestamp rules remember of each row; it moves with the rows when beams are reordered.

    Attributes:
        data: (R, 4) the last timestamp token so far (-1 before the first); whether the last token is a timestamp;
            whether the last but one is (also 1 if there is none); the number of tokens.
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
        """The state of some rows."""
        return TimestampState(self.data[rows])

    def advanced(self, tokens: Tensor, timestamps: range) -> TimestampState:
        """The state after one more token in each row."""
        count = self.data[:, 3]
        is_time = (tokens >= timestamps.start) & (tokens < timestamps.stop)
        last = torch.where(is_time, tokens, self.last)
        return TimestampState(torch.stack([last, is_time.long(), (self.is_last | (count == 0)).long(), count + 1], 1))


def suppression_mask(tokenizer: Tokenizer, suppressed: frozenset[int], *, timestamps: bool, size: int) -> Tensor:
    """A mask, (V,), that is True at every id that may never be chosen.

    Whatever the caller suppresses, this includes the control tokens (correction 4), ids without a token, and with
    timestamps also <|notimestamps|>.
    """
    ids = suppressed.union(tokenizer.control_tokens, tokenizer.unused_tokens)
    ids |= {tokenizer.no_timestamps} if timestamps else set()
    mask = torch.zeros(size, dtype=torch.bool, device="cpu")
    mask[list(ids)] = True
    return mask


def first_token_mask(
    tokenizer: Tokenizer, *, suppress_blank: bool, timestamps: bool, max_initial_index: int | None, size: int
) -> Tensor:
    """A mask, (V,), that is True at every id that may not come first.

    Reference: `SuppressBlank`, `ApplyTimestampRules`.

    Args:
        timestamps: only a timestamp may come first.
        max_initial_index: the latest timestamp that may, in steps of 20 ms. Differs: 0 means 0 (correction 5).
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
    """Make text that an answer already has less probable, or forbid it; changes logits in place.

    Args:
        logits: (R, V).
        history: (R, T) tokens so far, with leftovers after each row's length.
        lengths: (R,).
        penalties: (R,) divisors of positive logits of the row's text, and factors of negative ones (Keskar et al. 2019,
            section 4.1); 1: no change.
        ngrams: R numbers: no sequence of this many text tokens comes twice; 0: no limit.
        n_text: ids below are text. Others, such as timestamps, do not count and may be repeated.
    """
    is_text = (torch.arange(history.shape[1], device=history.device) < lengths[:, None]) & (history < n_text)
    seen = _marked(history, is_text, logits.shape[1])
    penalised = torch.where(logits > 0, logits / penalties[:, None], logits * penalties[:, None])
    logits.copy_(torch.where(seen, penalised, logits))
    sizes = set(ngrams) - {0}
    if sizes:
        # The text alone, moved to the front: a sequence may continue across a timestamp.
        history = history.gather(1, (~is_text).int().argsort(dim=1, stable=True))
        lengths = is_text.sum(-1)
    for size in sorted(sizes):
        rows = torch.tensor([row for row, each in enumerate(ngrams) if each == size], device=logits.device)
        if history.shape[1] >= size:
            banned = _completions(history[rows], lengths[rows], size, logits.shape[1])
            logits[rows] = logits[rows].masked_fill(banned, NEVER)


def _completions(history: Tensor, lengths: Tensor, size: int, n_vocab: int) -> Tensor:
    """A mask, (R, V), of the next tokens with which a row's last `size` tokens would repeat an earlier sequence."""
    sequences = history.unfold(1, size, 1)  # (R, T - size + 1, size)
    last = torch.arange(1 - size, 0, device=history.device) + lengths[:, None]
    tail = history.gather(1, last.clamp(min=0))
    inside = torch.arange(sequences.shape[1], device=history.device) + size <= lengths[:, None]
    same = (sequences[..., :-1] == tail[:, None]).all(-1)
    return _marked(sequences[..., -1], inside & same, n_vocab)


def _marked(tokens: Tensor, valid: Tensor, n_vocab: int) -> Tensor:
    """A mask, (R, V), of the tokens (R, T) that are valid (R, T)."""
    marks = torch.zeros((len(tokens), n_vocab + 1), dtype=torch.bool, device=tokens.device)
    marks.scatter_(1, torch.where(valid, tokens, n_vocab), True)
    return marks[:, :n_vocab]


def apply_timestamp_rules(logits: Tensor, state: TimestampState, enabled: Tensor, tokenizer: Tokenizer) -> None:
    """Make timestamps come in pairs, never go back, and come if they are together more probable than any text token.

    Reference: `ApplyTimestampRules`. Changes logits in place. All other rules must have been applied before, since the
    last of these compares what they leave.

    Args:
        logits: (R, V).
        state: the state of the R rows.
        enabled: (R,) rows that the rules apply to.
    """
    begin = tokenizer.timestamp_begin
    text, times, added = logits.tensor_split((begin, begin + N_TIMESTAMPS), dim=-1)
    opened = state.is_last & ~state.is_penultimate  # a segment has ended: a second timestamp or the end must follow
    forbid(logits[:, : tokenizer.eot], enabled & opened)

    # Text must follow a pair. A start may repeat the end before it; other timestamps must be later.
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
    """Forbid the end where a second or later segment opens early, if any text is allowed; changes logits in place.

    Differs: the reference has no such rule, but another window for the rest.

    Args:
        logits: (R, V).
        state: the state of the R rows.
        until: (R,) the first timestamp, counted from <|0.00|>, at which the end is allowed again; 0: it always is.
    """
    opens = state.is_last & state.is_penultimate & (state.data[:, 3] > 1)
    early = state.last - tokenizer.timestamp_begin < until
    has_text = logits[:, : tokenizer.eot].amax(-1) > NEVER
    logits[:, tokenizer.eot].masked_fill_(opens & early & has_text, NEVER)


def forbid(logits: Tensor, rows: Tensor) -> None:
    """Forbid everything in the rows (R,) that are True; changes logits (R, N) in place.

    On a CPU, adding is several times as fast as filling by a mask.
    """
    if logits.device.type == "cpu":
        logits.add_(as_penalty(rows)[:, None])
    else:
        logits.masked_fill_(rows[:, None], NEVER)


def as_penalty(forbidden: Tensor) -> Tensor:
    """A mask as numbers to add to logits: minus infinity if True, 0 if False."""
    return torch.zeros(forbidden.shape, dtype=torch.float32, device=forbidden.device).masked_fill_(forbidden, NEVER)
