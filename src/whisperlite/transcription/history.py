"""The text so far, and what of it a window is told (reference: `transcribe`, `all_tokens`)."""

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
    """An `initial_prompt`, or `hotwords`, as ids."""
    return tokenizer.encode(" " + text.strip()) if isinstance(text, str) else list(text)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the options have windows told, as ids: looked up once, however long the texts and many the windows are.

    Attributes:
        initial: the end of `initial_prompt`, as much of it as a window can be told.
        hotwords: the beginning of `hotwords`, likewise.
        warnings: about what is left out.
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
    """What was written, the initial prompt first.

    Attributes:
        tokens: of the initial prompt and all accepted segments.
        start: windows are told what comes from here on.
        language: of what was written last.
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
        """All that was written, without the initial prompt."""
        return self.tokenizer.decode(self.tokens[len(self.prompts.initial) :])

    def add(self, tokens: Sequence[int], last_temperature: float, language: str) -> None:
        """Write on.

        Args:
            language: of the tokens. What was said in another one before is not told any more.
            last_temperature: that the ladder ended with, also where an earlier attempt was kept: if it is high, windows
                to come are not told what was written.
        """
        if tokens:
            if self.language not in (None, language):
                self.start = len(self.tokens)
            self.language = language
        self.tokens += tokens
        if not self.options.condition_on_previous_text or last_temperature > self.options.prompt_reset_on_temperature:
            self.start = len(self.tokens)

    def prompt(self, language: str, prefix: str | None = None) -> Prompt:
        """Of the next window, whose answer begins with the prefix, if there is one."""
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
        """What the next window is told: hot words, the initial prompt if it is carried on, and the text before.

        Args:
            language: of the window, which is not told what was said in another.
            room: how many tokens that may be.
        """
        initial, lead = self.prompts.initial, list(self.prompts.hotwords[:room])
        start = self.start if self.language in (None, language) else len(self.tokens)
        if self.options.carry_initial_prompt:
            carried = room - len(lead)
            lead += initial[-carried:] if carried else ()
            start = max(len(initial), start)
        # Differs: where the first fill the space nothing is left for the rest, and no wrong part of it is taken
        # (correction 3).
        return lead + self.tokens[max(start, len(self.tokens) - (room - len(lead))) :]
