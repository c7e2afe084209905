"""The fields of a request → checked `Options`, and their JSON Schema; both follow from the fields of `Options`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from whisperlite.kinds import FLAG, Kind, Schema, checked, no_such
from whisperlite.options import Options, make_options
from whisperlite.server.problems import Problem
from whisperlite.server.settings import Settings
from whisperlite.vad_options import VadOptions

_KINDS: dict[str, Kind] = {definition.name: definition.metadata["kind"] for definition in fields(Options)}
_HELP: dict[str, str] = {definition.name: definition.metadata["help"] for definition in fields(Options)}
_DEFAULTS: dict[str, Any] = {definition.name: definition.default for definition in fields(Options)}

_REFUSED = {
    "suppress_regex": "matching a pattern from outside could take forever",
    "max_duration_s": "it is a setting of the service",
}
OPTIONS = tuple(name for name in _KINDS if name not in _REFUSED)  # those that a request can set

# Fields of the inference API that are not options, or are options by another name or in another form.
CHUNK_LEVEL, CHUNK_LENGTH, WEBHOOK = "chunk_level", "chunk_length_s", "webhook"
_LEVELS = ("segment", "word")

# In a form everything is text. Options that are texts are taken as they are, unless the whole text is one of `_NULLS`
# and the option may be None. For the others, these are spellings of what Python, and `Kind.parse`, write in capitals.
_NULLS = ("null", "none")
_SPELLED = {"true": "True", "false": "False", **dict.fromkeys(_NULLS, "None")}
_FREE_TEXT = {name for name, kind in _KINDS.items() if kind.is_text}


@dataclass(frozen=True, slots=True)
class Fields:
    """The parsed fields of a request.

    Attributes:
        options: checked, and within the limits of the service.
        given: the names and values that the options were made from, representable in JSON.
        webhook: the URL to post the answer to; None: the client waits for it.
    """

    options: Options
    given: dict[str, Any]
    webhook: str | None = None


def read_fields(pairs: Sequence[tuple[str, Any]], settings: Settings, *, is_form: bool) -> Fields:
    """Parse and check the fields of the inference API.

    Raises:
        Problem: 422, with the field that is wrong.
        OptionError, LanguageError: if an option is wrong.
    """
    values = unique(join_parts(drop_empty(pairs)) if is_form else pairs)
    webhook = values.pop(WEBHOOK, None)
    if webhook is not None and not isinstance(webhook, str):
        raise Problem(422, f"{WEBHOOK} is not a URL.", WEBHOOK)
    if CHUNK_LENGTH in values:
        set_alias(values, CHUNK_LENGTH, "chunk_length", values.pop(CHUNK_LENGTH))
    if (level := values.pop(CHUNK_LEVEL, None)) is not None:
        if level not in _LEVELS:
            raise Problem(422, f"{CHUNK_LEVEL}={level!r} is not allowed: it takes 'segment' or 'word'.", CHUNK_LEVEL)
        set_alias(values, CHUNK_LEVEL, "word_timestamps", level == "word")
    refuse_unknown(values, {*OPTIONS, WEBHOOK, CHUNK_LEVEL, CHUNK_LENGTH})
    given = parse_values(values) if is_form else values
    return Fields(checked_options(given, settings), given, webhook or None)


_OBJECT = "vad_options"
_PARTED = {name for name in OPTIONS if name not in _FREE_TEXT}
_PART = re.compile(r"(\w+)\[(\w*)\]")


def drop_empty(pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Drop the empty fields of a form, which count as not given."""
    return [(name, value) for name, value in pairs if not isinstance(value, str) or value.strip()]


def join_parts(pairs: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Join lists and objects that a client has sent in parts into one text each.

    OpenAI's client and others send a list as one field `name[]` per entry, and an object as fields `name[key]`.
    """
    whole: list[tuple[str, Any]] = []
    parts: dict[str, list[str]] = {}
    keys: list[tuple[str, Any]] = []
    for name, value in pairs:
        found = _PART.fullmatch(name)
        if found is None or found[1] not in _PARTED or bool(found[2]) != (found[1] == _OBJECT):
            whole.append((name, value))
        elif found[2]:
            keys.append((name, None))
            parts.setdefault(found[1], []).append(f"{found[2]}={_SPELLED.get(value.lower(), value)}")
        else:
            parts.setdefault(found[1], []).append(value)
    unique(keys)
    return whole + [(name, ",".join(values)) for name, values in parts.items()]


def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields as a dict.

    Raises:
        Problem: 422, if a field was given twice.
    """
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            shown = name.encode(errors="replace").decode()[:100]  # JSON can contain lone surrogates
            raise Problem(422, f"{shown!r} was given twice.", shown)
        values[name] = value
    return values


def refuse_unknown(values: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse unknown fields, with a hint at the nearest known one.

    Args:
        known: the fields of this path.

    Raises:
        Problem: 422, if a field is neither one of these nor an option.
    """
    for name in values:
        if name not in known and name not in _KINDS:  # other options are refused later, with the reason
            raise Problem(422, no_such("field", name[:100], sorted(known)), name[:100], kind="option")


def set_alias(values: dict[str, Any], name: str, option: str, value: Any) -> None:
    """Set an option that was given by another of its names.

    Raises:
        Problem: 422, if it was also given by its own name.
    """
    if option in values:
        raise Problem(422, f"{name} and {option} are two names of the same option: give only one of them.", name)
    values[option] = value


def parse_flag(name: str, value: Any) -> bool:
    """Parse a boolean from JSON or from the text of a form; None is False.

    Raises:
        Problem: 422, if it is not a boolean.
    """
    spelled = _SPELLED.get(value.strip().lower(), value) if isinstance(value, str) else value
    if spelled not in (None, True, False, "True", "False", ""):
        raise Problem(422, f"{name}={str(value)[:100]!r} is not allowed: it takes {FLAG.label}.", name)
    return spelled in (True, "True")


def parse_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the texts of a form into the values of their options.

    Raises:
        Problem: 422, if a text is not a value of its option.
    """
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        kind = _KINDS.get(name)
        if kind is None or not isinstance(value, str):
            parsed[name] = value
            continue
        if name in _FREE_TEXT:
            is_null = _DEFAULTS[name] is None and value.strip().lower() in _NULLS
            parsed[name] = None if is_null else value
            continue
        try:
            parsed[name] = _as_json(kind.parse(_SPELLED.get(value.strip().lower(), value.strip())))
        except (TypeError, ValueError) as error:
            raise Problem(422, f"{name}={value[:100]!r} is not allowed: it takes {kind.label}.", name) from error
    return parsed


def checked_options(given: Mapping[str, Any], settings: Settings) -> Options:
    """Make options that keep to the limits of the service.

    Raises:
        Problem: 422, if one exceeds them.
        OptionError, LanguageError: as `Options` raises them.
    """
    for name in given:
        if name in _REFUSED:
            raise Problem(422, f"{name} cannot be given here: {_REFUSED[name]}.", name)
    own_s = checked("timeout_s", given.get("timeout_s"), _KINDS["timeout_s"])
    longest_s = settings.timeout_s if own_s is None else min(own_s, settings.timeout_s)
    limits = {"timeout_s": longest_s, "max_duration_s": settings.max_duration_s}
    options = make_options({**_fewest_beams(settings), **given, **limits})
    for name in _BEAMS:
        if (value := getattr(options, name)) is not None and value > settings.max_beams:
            raise Problem(422, f"{name}={value} is more than this service allows: at most {settings.max_beams}.", name)
    return options


_BEAMS = ("beam_size", "best_of")


def _fewest_beams(settings: Settings) -> dict[str, int]:
    """The largest allowed value of each option whose default exceeds it."""
    return {name: settings.max_beams for name in _BEAMS if _DEFAULTS[name] > settings.max_beams}


def option_schemas() -> dict[str, Schema]:
    """Name → JSON Schema, with default and description, of the options that a request can set."""
    return {
        name: {**_KINDS[name].schema, "default": _plain(_DEFAULTS[name]), "description": _HELP[name]}
        for name in OPTIONS
    }


def inference_schemas(settings: Settings) -> dict[str, Schema]:
    """Name → JSON Schema of all fields of the inference API except the recording."""
    schemas = option_schemas()
    for name in _BEAMS:
        schemas[name] = {
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": settings.max_beams}, {"type": "null"}],
            "default": min(schemas[name]["default"], settings.max_beams),
            "description": schemas[name]["description"],
        }
    schemas["timeout_s"] = {
        **schemas["timeout_s"],
        "default": settings.timeout_s,
        "description": f"Fail (422) if the transcription takes longer than this many seconds; at most "
        f"{settings.timeout_s:g}, the limit of the service (504), which also applies to larger values.",
    }
    return {
        **schemas,
        CHUNK_LENGTH: {**_KINDS["chunk_length"].schema, "description": "Another name of chunk_length."},
        CHUNK_LEVEL: {
            "type": "string",
            "enum": list(_LEVELS),
            "default": "segment",
            "description": "'word' asks for `words`, as word_timestamps does.",
        },
        WEBHOOK: {
            "type": "string",
            "format": "uri",
            "maxLength": 2048,
            "description": "Answer at once, and post the result there when it is done.",
        },
    }


def in_form(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Convert schemas to those of a form, where lists and objects are written as text, and a text is never null."""
    return {name: _in_form(schema, is_text=name in _FREE_TEXT) for name, schema in schemas.items()}


def _in_form(schema: Schema, *, is_text: bool) -> Schema:
    unwritable = ("array", "object", "null") if is_text else ("array", "object")
    ways = _ways(schema)
    if {way.get("type") for way in ways}.isdisjoint(unwritable):
        return schema
    # A list as text, such as "en,de", is not in the enumeration of its entries.
    kept = [way for way in ways if way.get("type") not in unwritable and "enum" not in way]
    if not any(way.get("type") == "string" for way in kept):
        kept.append({"type": "string"})
    annotations = {name: schema[name] for name in ("default", "description") if schema.get(name) not in (None, [])}
    return {**(kept[0] if len(kept) == 1 else {"anyOf": kept}), **annotations}


def _ways(schema: Schema) -> list[Schema]:
    """The alternatives of a schema, without nested `anyOf`."""
    return [way for part in schema["anyOf"] for way in _ways(part)] if "anyOf" in schema else [schema]


def _as_json(value: Any) -> Any:
    """Convert a value to one that JSON can represent and its `Kind` accepts.

    Raises:
        ValueError: if a number is not finite.
    """
    if isinstance(value, VadOptions):
        names = [each.name for each in fields(VadOptions) if getattr(value, each.name) != each.default]
        return {name: getattr(value, name) for name in names}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("JSON has no such number")
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
