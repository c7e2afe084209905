"""What the decoder reads before it writes: previous text, start, language, task, and the beginning of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlite.text.tokenizer import Tokenizer

N_TEXT_CTX = 448
MAX_PREVIOUS = N_TEXT_CTX // 2 - 1  # one of the half is <|startofprev|>
MAX_NEW_TOKENS = N_TEXT_CTX // 2
MAX_PREFIX = MAX_NEW_TOKENS - 1  # leaves room for one token at least


@dataclass(frozen=True, slots=True)
class Prompt:
    """The decoder's input at the first step (Radford et al. 2022, figure 1).

    Attributes:
        tokens: [<|startofprev|> previous…] <|startoftranscript|> [language task] [<|notimestamps|>] forced….
        sot_index: of <|startoftranscript|>, where the no-speech probability is read.
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
    """The prompt of one window.

    Args:
        language: a code; English-only models, which have no language and task tokens, ignore it and `task`.
        previous: tokens of the text before; the last 223 are used, fewer where a long prefix needs the room.
        prefix: text that the answer begins with; its last 223 tokens are used.
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
    forced = tokenizer.encode(" " + prefix.strip()) if prefix and prefix.strip() else []
    if forced and not without_timestamps:
        forced = [tokenizer.timestamp_begin, *forced[-(MAX_PREFIX - 1) :]]
    forced = forced[-MAX_PREFIX:]
    room = min(MAX_PREVIOUS, N_TEXT_CTX - 1 - len(start) - len(forced))
    before = [tokenizer.sot_prev, *previous[-room:]] if previous else []
    return Prompt((*before, *start, *forced), sot_index=len(before), forced=tuple(forced))
