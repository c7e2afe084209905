"""The decoder's input before its output: previous text, start, language, task, and the beginning of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.text.tokenizer import Tokenizer

N_TEXT_CTX = 448
MAX_PREVIOUS = N_TEXT_CTX // 2 - 1  # <|startofprev|> takes one of that half
MAX_NEW_TOKENS = N_TEXT_CTX // 2
MAX_PREFIX = MAX_NEW_TOKENS - 1  # leaves room for at least one token


@dataclass(frozen=True, slots=True)
class Prompt:
    """The decoder's input at the first step (Radford et al. 2022, figure 1).

    Attributes:
        tokens: [<|startofprev|> previous…] <|startoftranscript|> [language task] [<|notimestamps|>] forced….
        sot_index: index of <|startoftranscript|>, where the no-speech probability is read.
        forced: the end of `tokens` that already belongs to the answer: the prefix.
    """

    tokens: tuple[int, ...]
    sot_index: int
    forced: tuple[int, ...]


def build_prompt(
    tokenizer: Tokenizer,
    *,
    language: str,
    task: str,
    without_timestamps: bool,
    previous: Sequence[int] = (),
    prefix: str | None = None,
) -> Prompt:
    """Build the prompt of one window.

    Args:
        language: a code; English-only models, which have no tokens for languages and tasks, ignore it and `task`.
        previous: tokens of earlier text; the last ones are used, as many as `room_for_previous` says.
        prefix: text that the answer begins with; its last 223 tokens are used, or 222 after a timestamp.
            Differs: the reference, with its default token limit, keeps all of it and lets it begin without a timestamp,
            which the model was not trained for (correction 8).
    """
    start = [tokenizer.sot]
    if tokenizer.is_multilingual:
        start += [
            tokenizer.language_token(language),
            tokenizer.transcribe if task == "transcribe" else tokenizer.translate,
        ]
    if without_timestamps:
        start.append(tokenizer.no_timestamps)
    forced = _forced(tokenizer, prefix, without_timestamps)
    room = room_for_previous(tokenizer, without_timestamps=without_timestamps, prefix=prefix)
    before = [tokenizer.sot_prev, *previous[-room:]] if previous else []
    return Prompt((*before, *start, *forced), sot_index=len(before), forced=tuple(forced))


def room_for_previous(tokenizer: Tokenizer, *, without_timestamps: bool, prefix: str | None) -> int:
    """The number of tokens of earlier text in a prompt: at most 223, or fewer if a long prefix needs the room."""
    start = (3 if tokenizer.is_multilingual else 1) + without_timestamps
    return min(MAX_PREVIOUS, N_TEXT_CTX - 1 - start - len(_forced(tokenizer, prefix, without_timestamps)))


def prefix_tokens(prefix: str | None, tokenizer: Tokenizer) -> list[int]:
    """The ids of the whole prefix; none if it is blank."""
    return tokenizer.encode(" " + prefix.strip()) if prefix and prefix.strip() else []


def most_of_prefix(*, without_timestamps: bool) -> int:
    """The number of tokens of a prefix that are used, the last ones; with timestamps, one precedes them."""
    return MAX_PREFIX if without_timestamps else MAX_PREFIX - 1


def _forced(tokenizer: Tokenizer, prefix: str | None, without_timestamps: bool) -> list[int]:
    """The beginning of the answer: the prefix, after a timestamp if there are timestamps."""
    tokens = prefix_tokens(prefix, tokenizer)[-most_of_prefix(without_timestamps=without_timestamps) :]
    return [tokenizer.timestamp_begin, *tokens] if tokens and not without_timestamps else tokens
