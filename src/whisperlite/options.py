"""Every option of a transcription, once: its name, type, default, check and help.

`Options` is the definition; the command line, the reference documentation and later the server are made from its
fields. `OptionsDict` repeats the names and types for editors and mypy (a dataclass cannot type `**options`);
`tests/test_options.py` holds the two together.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal, TypedDict

from whisperlite.errors import OptionError
from whisperlite.languages import language_code

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of an option are checked, and read from the text of a command line.

    Attributes:
        label: what is allowed, for messages and `--help`.
        check: value → the value as it is kept; raises ValueError or TypeError.
        parse: text → value.
        choices: the allowed values where they are few.
    """

    label: str
    check: Callable[[Any], Any]
    parse: Callable[[str], Any]
    choices: tuple[str, ...] | None = None


def _reject(reason: str) -> ValueError:
    return ValueError(reason)


def _number(minimum: float = -math.inf, maximum: float = math.inf, *, finite: bool = False) -> Kind:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError
        number = float(value)
        if not minimum <= number <= maximum or (finite and math.isinf(number)):  # NaN compares false
            raise _reject("out of range")
        return number

    if maximum < math.inf:
        label = f"a number from {minimum:g} to {maximum:g}"
    elif minimum > -math.inf:
        label = f"a number of at least {minimum:g}"
    else:
        label = "a number"
    return Kind(label, check, float)


def _integer(minimum: int, maximum: int | None = None) -> Kind:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError
        number = int(value.__index__())
        if number < minimum or (maximum is not None and number > maximum):
            raise _reject("out of range")
        return number

    return Kind(f"a whole number from {minimum}" + (f" to {maximum}" if maximum is not None else " up"), check, int)


def _optional(kind: Kind) -> Kind:
    return Kind(
        f"{kind.label}, or None",
        lambda value: None if value is None else kind.check(value),
        lambda text: None if text == "None" else kind.parse(text),
        kind.choices,
    )


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _parse_flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise _reject("not True or False")
    return text == "True"


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _check_task(value: Any) -> str:
    if value not in ("transcribe", "translate"):
        raise _reject("unknown")
    return str(value)


def _check_temperature(value: Any) -> float | tuple[float, ...]:
    temperature = _number(0.0, finite=True)
    if isinstance(value, str):
        raise TypeError
    if not isinstance(value, Sequence) and not hasattr(value, "__len__"):
        return float(temperature.check(value))
    if len(value) == 0:
        raise _reject("empty")
    return tuple(float(temperature.check(number)) for number in value)


def _check_token_ids(value: Any) -> str | tuple[int, ...]:
    ids = _integer(-1)
    if isinstance(value, str):
        return tuple(int(ids.check(int(text))) for text in value.split(",") if text.strip())
    return tuple(int(ids.check(number)) for number in value)


def _check_times(value: Any) -> tuple[float, ...]:
    time = _number(0.0, finite=True)
    numbers = [float(text) for text in value.split(",") if text.strip()] if isinstance(value, str) else list(value)
    times = tuple(float(time.check(number)) for number in numbers)
    if any(later < earlier for earlier, later in pairwise(times)):
        raise _reject("not ascending")
    return times


FLAG = Kind("True or False", _check_flag, _parse_flag, ("True", "False"))
_TEXT = Kind("a text", _check_text, str)
_TASK = Kind("'transcribe' or 'translate'", _check_task, str, ("transcribe", "translate"))
_LANGUAGE = Kind("a language's code or English name", lambda value: language_code(_check_text(value)), str)
_TEMPERATURE = Kind("a number of at least 0, or a sequence of such numbers", _check_temperature, float)
_TOKEN_IDS = Kind(
    "token ids, as a sequence or separated by commas, -1 standing for the non-speech set", _check_token_ids, str
)
_TIMES = Kind("ascending times in seconds: start, end, start, end, …", _check_times, str)


def _option(default: Any, kind: Kind, help: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one transcription, checked when they are made.

    Raises:
        OptionError: a value of a wrong type or range, or two that contradict each other.
        LanguageError: a language that Whisper does not have.
    """

    task: Task = _option("transcribe", _TASK, "Write down what is said, or translate it into English.")
    language: str | None = _option(
        None, _optional(_LANGUAGE), "The language spoken; None: detected from the first 30 seconds."
    )
    temperature: float | Sequence[float] = _option(
        0.0,
        _TEMPERATURE,
        "Temperature of the first attempt at a window; 0: no sampling. A sequence is the whole ladder, used as it is.",
    )
    temperature_increment_on_fallback: float | None = _option(
        0.2,
        _optional(_number(0.01, finite=True)),
        "What is added to the temperature, up to 1, each time an attempt fails a threshold; None: no further attempt.",
    )
    beam_size: int | None = _option(
        5, _optional(_integer(1, 100)), "Beams of the search at temperature 0; 1 or None: greedy."
    )
    best_of: int | None = _option(
        5, _optional(_integer(1, 100)), "Samples drawn at temperatures above 0; the best is kept."
    )
    patience: float | None = _option(
        1.0,
        _optional(_number(0.01, 100.0)),
        "The beam search ends with beam_size x patience finished hypotheses (Kasai et al. 2022).",
    )
    length_penalty: float | None = _option(
        None,
        _optional(_number(0.0, 1.0)),
        "Exponent alpha of the length normalisation (Wu et al. 2016); None: the plain average per token.",
    )
    suppress_tokens: str | Sequence[int] = _option(
        "-1", _TOKEN_IDS, "Token ids that are never produced; -1 stands for the set of non-speech symbols."
    )
    suppress_blank: bool = _option(True, FLAG, "Do not let a window begin with a blank or with the end.")
    initial_prompt: str | None = _option(
        None, _optional(_TEXT), "Text given to the first window as if it came before: names, terms, style."
    )
    carry_initial_prompt: bool = _option(False, FLAG, "Give initial_prompt to every window, not only to the first.")
    prefix: str | None = _option(
        None, _optional(_TEXT), "Text that the first window is made to begin with; part of the result."
    )
    condition_on_previous_text: bool = _option(
        True, FLAG, "Give each window the text of those before; False: less consistent, but no loop carries over."
    )
    prompt_reset_on_temperature: float = _option(
        0.5, _number(0.0), "Forget the previous text after a window that took a temperature above this."
    )
    compression_ratio_threshold: float | None = _option(
        2.4, _optional(_number(0.0)), "An attempt whose text zlib compresses better than this has failed: it repeats."
    )
    logprob_threshold: float | None = _option(
        -1.0, _optional(_number()), "An attempt whose average log probability is below this has failed."
    )
    no_speech_threshold: float | None = _option(
        0.6,
        _optional(_number(0.0, 1.0)),
        "A window is passed over as silent if its no-speech probability is above this and its attempt failed "
        "logprob_threshold.",
    )
    without_timestamps: bool = _option(False, FLAG, "Decode text only; every window becomes one segment.")
    max_initial_timestamp: float | None = _option(
        1.0, _optional(_number(0.0, 30.0)), "Latest start of a window's first segment, in seconds into the window."
    )
    max_new_tokens: int | None = _option(
        None, _optional(_integer(1, 448)), "Most tokens generated for a window; None: 224, half of the context."
    )
    clip_timestamps: str | Sequence[float] = _option(
        (), _TIMES, "Parts to transcribe, in seconds: start, end, start, end, …; the last end may be left out."
    )
    seed: int = _option(0, _integer(0), "Of the samples drawn at temperatures above 0.")

    def __post_init__(self) -> None:
        for definition in fields(self):
            object.__setattr__(self, definition.name, _checked(definition.name, getattr(self, definition.name)))
        if self.patience not in (None, 1.0) and self.beams == 1:
            raise OptionError(f"patience={self.patience} needs a beam search: give beam_size of 2 or more.")
        if self.beams > 1 and self.max_candidates < 1:
            raise OptionError(f"beam_size={self.beam_size} with patience={self.patience} leaves no hypothesis to keep.")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The ladder: the temperatures tried in turn while an attempt fails."""
        if isinstance(self.temperature, tuple):
            return self.temperature
        first, increment = float(self.temperature), self.temperature_increment_on_fallback  # type: ignore[arg-type]
        if increment is None:
            return (first,)
        # The ladder holds at least the temperature asked for, also where that is above 1 (correction 15).
        count = max(math.floor((1.0 - first) / increment + 1e-6) + 1, 1)
        return tuple(round(first + rung * increment, 9) for rung in range(count))

    @property
    def beams(self) -> int:
        """Beams of the search at temperature 0; 1: greedy."""
        return self.beam_size or 1

    @property
    def max_candidates(self) -> int:
        """Finished hypotheses that end a beam search."""
        return round(self.beams * (self.patience or 1.0))

    @property
    def clips(self) -> tuple[tuple[float, float | None], ...]:
        """(start, end) of the parts to transcribe, in seconds; an end of None is that of the recording."""
        times: tuple[float | None, ...] = tuple(self.clip_timestamps) or (0.0,)  # type: ignore[arg-type]
        ends = times[1::2] + (None,) * (len(times) % 2)
        return tuple((start or 0.0, end) for start, end in zip(times[::2], ends, strict=True))


class OptionsDict(TypedDict, total=False):
    """The keyword arguments of `transcribe`: the fields of `Options`, which says what each means."""

    task: Task
    language: str | None
    temperature: float | Sequence[float]
    temperature_increment_on_fallback: float | None
    beam_size: int | None
    best_of: int | None
    patience: float | None
    length_penalty: float | None
    suppress_tokens: str | Sequence[int]
    suppress_blank: bool
    initial_prompt: str | None
    carry_initial_prompt: bool
    prefix: str | None
    condition_on_previous_text: bool
    prompt_reset_on_temperature: float
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None
    without_timestamps: bool
    max_initial_timestamp: float | None
    max_new_tokens: int | None
    clip_timestamps: str | Sequence[float]
    seed: int


def make_options(values: Mapping[str, Any]) -> Options:
    """Options from keyword arguments.

    Raises:
        OptionError: also for a name that there is not, with the nearest one.
    """
    names = [definition.name for definition in fields(Options)]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise OptionError(f"There is no option {name!r}. {hint}Options: {', '.join(names)}.")
    return Options(**values)


_KINDS: dict[str, Kind] = {definition.name: definition.metadata["kind"] for definition in fields(Options)}


def _checked(name: str, value: Any) -> Any:
    try:
        return _KINDS[name].check(value)
    except OptionError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, ValueError) and name == "language":
            raise  # a LanguageError says it better
        raise OptionError(f"{name}={value!r} is not allowed: it takes {_KINDS[name].label}.") from error
