"""The options of voice activity detection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from whisperlite.errors import OptionError
from whisperlite.kinds import (
    Kind,
    check_fields,
    from_names,
    integer,
    number,
    option,
    optional,
    with_fields_documented,
)

_DAY_MS = 24 * 3_600_000


@with_fields_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class VadOptions:
    """How speech is detected from the probabilities of speech that Silero VAD gives for each 32 ms.

    Raises:
        OptionError: a value has a wrong type or is out of range, or two contradict each other.
    """

    threshold: float = option(0.5, number(0.0, 1.0), "Speech begins where its probability reaches this.")
    neg_threshold: float | None = option(
        None,
        optional(number(0.0, 1.0)),
        "Speech ends where its probability falls below this; None: threshold - 0.15, but at least 0.01.",
    )
    min_speech_duration_ms: int = option(
        250, integer(0, _DAY_MS), "Ignore stretches of speech shorter than this many milliseconds."
    )
    min_silence_duration_ms: int | None = option(
        None,
        optional(integer(0, _DAY_MS)),
        "Pauses shorter than this many milliseconds do not end a stretch of speech; None: 2000, or 500 with "
        "chunking='vad'.",
    )
    speech_pad_ms: int = option(200, integer(0, _DAY_MS), "Milliseconds kept before and after each stretch of speech.")
    max_speech_duration_s: float = option(
        math.inf,
        number(1.0),
        "Split stretches of speech longer than this many seconds, at their longest pause if they have one.",
    )

    @property
    def least_pause_ms(self) -> int:
        """The shortest pause that ends a stretch of speech, in ms."""
        return 2000 if self.min_silence_duration_ms is None else self.min_silence_duration_ms

    def __post_init__(self) -> None:
        check_fields(self)
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise OptionError(
                f"neg_threshold={self.neg_threshold} is above threshold={self.threshold}: speech would end at once.",
                option="neg_threshold",
            )


def _check(value: Any) -> VadOptions:
    if isinstance(value, VadOptions):
        return value
    if isinstance(value, Mapping):
        return from_names(VadOptions, value)
    if isinstance(value, str):
        return _parse(value)
    raise TypeError


def _parse(text: str) -> VadOptions:
    """Parse text such as `threshold=0.6,speech_pad_ms=100`."""
    kinds: dict[str, Kind] = {definition.name: definition.metadata["kind"] for definition in fields(VadOptions)}
    pairs = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
    return from_names(
        VadOptions,
        {name.strip(): kinds[name.strip()].parse(value) if name.strip() in kinds else value for name, value in pairs},
    )


VAD_OPTIONS = Kind(
    "a VadOptions, a dict of its fields, or text such as 'threshold=0.6,speech_pad_ms=100'",
    _check,
    _parse,
    {
        "type": "object",
        "properties": {definition.name: definition.metadata["kind"].schema for definition in fields(VadOptions)},
        "additionalProperties": False,
    },
    text_label="names and values, such as threshold=0.6,speech_pad_ms=100",
)
