"""Kinds of option values: how each is checked, parsed from text, and described in JSON Schema."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from inspect import cleandoc
from itertools import chain, pairwise
from typing import Any, TypeVar

from whisperlite.errors import LanguageError, OptionError
from whisperlite.languages import LANGUAGES as NAMES_OF_LANGUAGES
from whisperlite.languages import language_code
from whisperlite.other_names import hint

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of an option are checked, parsed from the text of a command line, and described in JSON Schema.

    Attributes:
        label: the allowed values in words, for error messages.
        check: value → normalised value; raises ValueError or TypeError.
        parse: text → value.
        schema: the JSON Schema of the values, as clients should write them. `check` also accepts other spellings
            (further names of languages, any case, spaces), and refuses what a schema cannot describe (times that are
            out of order).
        choices: the allowed values, if they can be listed.
        is_text: whether text from a form or a command line is such a value without being parsed.
        text_label: like `label`, for text that is parsed; "" if it is the same.
    """

    label: str
    check: Callable[[Any], Any]
    parse: Callable[[str], Any]
    schema: Schema
    choices: tuple[str, ...] | None = None
    is_text: bool = False
    text_label: str = ""

    @property
    def as_text(self) -> str:
        """The values that are allowed on a command line, in words."""
        return self.text_label or self.label


def _any_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _array_of(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def number(minimum: float = -math.inf, maximum: float = math.inf, *, finite: bool = False) -> Kind:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError
        number = float(value)
        if not minimum <= number <= maximum or (finite and math.isinf(number)):  # NaN compares false
            raise ValueError("out of range")
        return number

    if maximum < math.inf:
        label = f"a number from {minimum:g} to {maximum:g}"
    elif minimum > -math.inf:
        label = f"a number of at least {minimum:g}"
    else:
        label = "a number"
    bounds = {"minimum": minimum, "maximum": maximum}
    schema = {"type": "number", **{name: bound for name, bound in bounds.items() if math.isfinite(bound)}}
    return Kind(label, check, float, schema)


def integer(minimum: int, maximum: int | None = None) -> Kind:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError
        number = int(value.__index__())
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError("out of range")
        return number

    label = f"an integer of at least {minimum}" if maximum is None else f"an integer from {minimum} to {maximum}"
    schema = {"type": "integer", "minimum": minimum, **({} if maximum is None else {"maximum": maximum})}
    return Kind(label, check, int, schema)


def optional(kind: Kind) -> Kind:
    return Kind(
        f"{kind.label}, or None",
        lambda value: None if value is None else kind.check(value),
        lambda text: None if text == "None" else kind.parse(text),
        _any_of(kind.schema, {"type": "null"}),
        kind.choices,
        kind.is_text,
        f"{kind.as_text}, or None",
    )


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _parse_flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError("not True or False")
    return text == "True"


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_HOTTEST = 100.0  # far above any useful value: all tokens are about equally probable


def _check_temperature(value: Any) -> float | tuple[float, ...]:
    temperature = number(0.0, _HOTTEST)
    if isinstance(value, str):
        raise TypeError
    _check_sequence(value, Set)
    if not _has_length(value):
        return float(temperature.check(value))
    if len(value) == 0:
        raise ValueError("empty")
    return tuple(float(temperature.check(number)) for number in value)


def _check_sequence(value: Any, *others: type) -> None:
    """Refuse bytes and mappings, and instances of `others`: they are not sequences of values."""
    if isinstance(value, (bytes, bytearray, memoryview, Mapping, *others)):
        raise TypeError


def _check_token_ids(value: Any) -> tuple[int, ...]:
    ids = integer(-1)
    _check_sequence(value)
    if value is None:  # as in openai-whisper
        return ()
    if isinstance(value, str):
        return tuple(int(ids.check(int(text))) for text in value.split(",") if text.strip())
    return tuple(int(ids.check(number)) for number in value)


def _parse_temperature(text: str) -> float | tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(","))
    return numbers if len(numbers) > 1 else numbers[0]


def _check_text_or_ids(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    _check_sequence(value, Set)
    return tuple(int(integer(0).check(token)) for token in value)


def _check_languages(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else list(value)
    codes = tuple(dict.fromkeys(language_code(_check_text(name)) for name in names))
    if not codes:
        raise ValueError("empty")
    return codes


def _check_pattern(value: Any) -> str:
    try:
        re.compile(_check_text(value))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return str(value)


def _check_times(value: Any) -> tuple[float, ...]:
    time = number(0.0, finite=True)
    _check_sequence(value, Set)
    given = _numbers(value) if isinstance(value, str) else list(value)
    numbers = list(chain.from_iterable(map(_pair, given))) if any(map(_is_pair, given)) else given
    times = tuple(float(time.check(number)) for number in numbers)
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("not ascending")
    return times


def _numbers(text: str) -> list[float]:
    """Parse numbers that are separated by commas, optionally with a trailing one; no number may be missing."""
    parts = text.split(",")
    if not parts[-1].strip():
        parts.pop()
    if "_" in text:  # allowed in Python's numbers only
        raise ValueError("not a number")
    return [float(part) for part in parts]


def _has_length(value: Any) -> bool:
    """Whether a value is a sequence; arrays and tensors of no dimension are numbers, though they define `__len__`."""
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def _is_pair(value: Any) -> bool:
    return _has_length(value) and not isinstance(value, str)


def _pair(value: Any) -> list[Any]:
    if not _is_pair(value) or len(value) != 2:
        raise ValueError("not all are pairs")
    return list(value)


def choice(*allowed: str) -> Kind:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError("not one of them")
        return str(value)

    return Kind(" or ".join(map(repr, allowed)), check, str, {"type": "string", "enum": list(allowed)}, allowed)


_STRING: Schema = {"type": "string"}
_FROM_0: Schema = {"type": "number", "minimum": 0}
_LANGUAGE: Schema = {"type": "string", "enum": [*NAMES_OF_LANGUAGES, *NAMES_OF_LANGUAGES.values()]}
FLAG = Kind("True or False", _check_flag, _parse_flag, {"type": "boolean"}, ("True", "False"))
TEXT = Kind("a string", _check_text, str, _STRING, is_text=True)
TEXT_OR_IDS = Kind(
    "a string, or a sequence of token ids",
    _check_text_or_ids,
    str,
    _any_of(_STRING, _array_of({"type": "integer", "minimum": 0})),
    is_text=True,
    text_label=TEXT.label,
)
TASK = choice("transcribe", "translate")
LANGUAGE = Kind("a language's code or English name", lambda value: language_code(_check_text(value)), str, _LANGUAGE)
LANGUAGES = Kind(
    "codes or English names of languages, as a sequence or separated by commas",
    _check_languages,
    str,
    _any_of(_LANGUAGE, _array_of(_LANGUAGE, minItems=1)),
    text_label="codes or English names of languages, separated by commas",
)
_TEMPERATURE: Schema = {"type": "number", "minimum": 0, "maximum": _HOTTEST}
TEMPERATURE = Kind(
    f"a number from 0 to {_HOTTEST:g}, or a sequence of such numbers",
    _check_temperature,
    _parse_temperature,
    _any_of(_TEMPERATURE, _array_of(_TEMPERATURE, minItems=1)),
    text_label=f"a number from 0 to {_HOTTEST:g}, or several, separated by commas",
)
TOKEN_IDS = Kind(
    "token ids, as a sequence or separated by commas, -1 standing for the non-speech set; or None for no ids",
    _check_token_ids,
    lambda text: None if text == "None" else text,
    _any_of(
        {"type": "string", "pattern": r"^(-1|[0-9]{1,6})(,(-1|[0-9]{1,6}))*$"},
        _array_of({"type": "integer", "minimum": -1}),
        {"type": "null"},
    ),
    text_label="token ids separated by commas, -1 standing for the non-speech set; or None for no ids",
)
PATTERN = Kind("a regular expression", _check_pattern, str, {"type": "string", "format": "regex"}, is_text=True)
TIMES = Kind(
    "ascending times in seconds: start, end, start, end, …, or pairs of them",
    _check_times,
    str,
    _any_of(
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(,[0-9]+(\.[0-9]+)?)*$"},
        _array_of(_FROM_0),
        _array_of(_array_of(_FROM_0, minItems=2, maxItems=2)),
    ),
    text_label="ascending times in seconds, separated by commas: start,end,start,end,…",
)


class _Shortened(reprlib.Repr):
    """`repr`, cut where a value is long or deep, so that error messages stay short."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 200, 200, 1000
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 20


_shown = _Shortened().repr


def option(default: Any, kind: Kind, help: str) -> Any:
    """A field of a dataclass of options, with its default, kind and help."""
    return field(default=default, metadata={"kind": kind, "help": help})


_Class = TypeVar("_Class", bound=type)


def with_fields_documented(options: _Class) -> _Class:
    """A class decorator that lists the fields of a dataclass of options, with their help, in its docstring."""
    if options.__doc__:  # None with -OO
        lines = (f"    {each.name}: {each.metadata['help']} (default: {each.default!r})" for each in fields(options))
        options.__doc__ = "\n".join((cleandoc(options.__doc__), "", "Attributes:", *lines))
    return options


def check_fields(options: Any) -> None:
    """Check every field of a frozen dataclass by the `Kind` in its metadata, and replace it by its normalised value.

    Raises:
        OptionError: a value has a wrong type or is out of range.
        LanguageError: Whisper does not know a language.
    """
    for definition in fields(options):
        value = checked(definition.name, getattr(options, definition.name), definition.metadata["kind"])
        object.__setattr__(options, definition.name, value)


def checked(name: str, value: Any, kind: Kind) -> Any:
    """Check a value of an option and return it normalised.

    Raises:
        OptionError: it has a wrong type or is out of range.
        LanguageError: Whisper does not know a language.
    """
    try:
        return kind.check(value)
    except OptionError as error:
        raise OptionError(str(error), option=name) from error
    except LanguageError as error:
        raise LanguageError(f"{name}: {error}", option=name) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"{name}={_shown(value)} is not allowed: it takes {kind.label}.", option=name) from error


_T = TypeVar("_T")


def from_names(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """Make a dataclass of options from keyword arguments.

    Raises:
        OptionError: a value is wrong, or there is no option of that name; the message names the nearest one.
    """
    names = [definition.name for definition in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise OptionError(no_such("option", name, names), option=name)
    return kind(**values)


def no_such(what: str, name: str, names: Sequence[str]) -> str:
    """The error message for an unknown name (of an option, for example): the nearest known name, and all of them."""
    return f"There is no {what} {name!r}. {hint(name, names)}{what.capitalize()}s: {', '.join(names)}."


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; half a surrogate pair, which JSON can express, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
