"""The text so far, and the part of it that goes into a window's prompt (reference: `transcribe`, `all_tokens`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from whisperlite.options import Options
from whisperlite.text.prompt import (
    MAX_PREVIOUS,
    Prompt,
    build_prompt,
    most_of_prefix,
    prefix_tokens,
    room_for_previous,
)
from whisperlite.text.tokenizer import Tokenizer


def prompt_tokens(text: str | Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of an `initial_prompt` or of `hotwords`."""
    return tokenizer.encode(" " + text.strip()) if isinstance(text, str) else list(text)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts that the options give, as token ids, tokenized once for all windows.

    Attributes:
        initial: the end of `initial_prompt`, as much of it as fits into a window's prompt.
        hotwords: the beginning of `hotwords`, likewise.
        warnings: warnings about tokens that are left out.
    """

    initial: tuple[int, ...] = ()
    hotwords: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    @staticmethod
    def of(options: Options, tokenizer: Tokenizer) -> Prompts:
        prompt, words = options.initial_prompt, options.hotwords
        initial = [] if prompt is None else prompt_tokens(prompt, tokenizer)
        hotwords = prompt_tokens(words, tokenizer) if words is not None and words.strip() else []
        warnings: list[str] = []
        if len(hotwords) > MAX_PREVIOUS:
            warnings.append(
                f"hotwords: {len(hotwords)} tokens, of which the first {MAX_PREVIOUS} are used. They leave no room for "
                "the text before, nor for initial_prompt."
            )
        elif len(initial) > (room := MAX_PREVIOUS - len(hotwords)):
            beside = ", beside hotwords" if hotwords else ""
            warnings.append(f"initial_prompt: {len(initial)} tokens, of which the last {room} are used{beside}.")
        prefix = prefix_tokens(options.prefix, tokenizer)
        most = most_of_prefix(without_timestamps=options.without_timestamps)
        if len(prefix) > most:
            warnings.append(f"prefix: {len(prefix)} tokens, of which the last {most} are used.")
        return Prompts(tuple(initial[-MAX_PREVIOUS:]), tuple(hotwords[:MAX_PREVIOUS]), tuple(warnings))


@dataclass(slots=True)
class History:
    """The tokens so far, from which prompts are made.

    Attributes:
        tokens: the tokens of the initial prompt, followed by those of all accepted segments.
        start: the index of the first token that may go into a prompt.
        language: the language of the last tokens.
    """

    options: Options
    tokenizer: Tokenizer
    prompts: Prompts
    tokens: list[int] = field(init=False)
    start: int = 0
    language: str | None = None

    def __post_init__(self) -> None:
        self.tokens = list(self.prompts.initial)

    @property
    def text(self) -> str:
        """The text of all accepted segments."""
        return self.tokenizer.decode(self.tokens[len(self.prompts.initial) :])

    def add(self, tokens: Sequence[int], last_temperature: float, language: str) -> None:
        """Append a window's tokens.

        Args:
            tokens: the tokens of the accepted segments.
            last_temperature: the last temperature that was tried, even if an earlier attempt was chosen. If it is high,
                the tokens so far are left out of later prompts.
            language: the language of the tokens. Earlier tokens in another language are left out of later prompts.
        """
        if tokens:
            if self.language not in (None, language):
                self.start = len(self.tokens)
            self.language = language
        self.tokens += tokens
        if not self.options.condition_on_previous_text or last_temperature > self.options.prompt_reset_on_temperature:
            self.start = len(self.tokens)

    def prompt(self, language: str, prefix: str | None = None) -> Prompt:
        """Return the prompt of the next window; its answer begins with the prefix, if there is one."""
        without_timestamps = self.options.without_timestamps
        room = room_for_previous(self.tokenizer, without_timestamps=without_timestamps, prefix=prefix)
        return build_prompt(
            self.tokenizer,
            language=language,
            task=self.options.task,
            without_timestamps=without_timestamps,
            previous=self.previous(language, room),
            prefix=prefix,
        )

    def previous(self, language: str, room: int = MAX_PREVIOUS) -> list[int]:
        """Return the previous text for the next window: hot words, a carried initial prompt, and the latest tokens.

        Args:
            language: the language of the window; tokens in another language are left out.
            room: the maximum number of tokens.
        """
        initial, lead = self.prompts.initial, list(self.prompts.hotwords[:room])
        start = self.start if self.language in (None, language) else len(self.tokens)
        if self.options.carry_initial_prompt:
            carried = room - len(lead)
            lead += initial[-carried:] if carried else ()
            start = max(len(initial), start)
        # Differs: if hot words and the initial prompt fill the room, no tokens are added, rather than a wrong part of
        # them (correction 3).
        return lead + self.tokens[max(start, len(self.tokens) - (room - len(lead))) :]
