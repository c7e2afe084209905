"""`generation_config.json`, or in older repositories `config.json`, → `GenerationConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.errors import CheckpointError
from whisperlite.text.files import read_json_object
from whisperlite.text.tokenizer import Tokenizer


def read_generation_config(folder: Path, config: dict[str, Any], tokenizer: Tokenizer) -> GenerationConfig:
    """What a Hugging Face folder says about its use.

    Args:
        config: its `config.json`, which says what `generation_config.json` does not.
        tokenizer: whose ids the languages have to have.

    Raises:
        CheckpointError: a value of another kind, or a language with the id of another token.
    """
    path = folder / "generation_config.json"
    stated = read_json_object(path) if path.is_file() else {}
    keys = ("alignment_heads", "suppress_tokens", "begin_suppress_tokens", "lang_to_id", "forced_decoder_ids")
    heads, suppress, begin_suppress, languages, forced = (stated.get(key, config.get(key)) for key in keys)
    language, task = stated.get("language"), stated.get("task")
    if language is not None or task is not None:  # what config.json still forces was the checkpoint's it was tuned from
        forced = stated.get("forced_decoder_ids")
    try:
        return GenerationConfig(
            alignment_heads=pairs(heads),
            suppress_tokens=ids(suppress),
            begin_suppress_tokens=ids(begin_suppress),
            language_ids=None if languages is None else _languages(languages, tokenizer),
            forced_tokens=None
            if forced is None
            else tuple((_whole(position), None if token is None else _whole(token)) for position, token in forced),
            language=_name(language),
            task=_name(task),
        )
    except (TypeError, ValueError, AttributeError) as error:
        source = path if path.is_file() else folder / "config.json"
        raise CheckpointError(f"{source} is not a configuration of Whisper's generation: {error}.") from error


def ids(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers as a tuple; None stays None.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return None if value is None else tuple(map(_whole, value))


def pairs(value: Any) -> tuple[tuple[int, int], ...] | None:
    """A list of pairs of whole numbers as a tuple; None stays None.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return None if value is None else tuple((_whole(first), _whole(second)) for first, second in value)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _name(value: object) -> str | None:
    """A name; of several, and of anything else, nothing is said, since nothing depends on it."""
    return value if isinstance(value, str) else None


def _languages(languages: dict[str, Any], tokenizer: Tokenizer) -> tuple[tuple[str, int], ...]:
    for name, token in languages.items():
        known = tokenizer.language_tokens.get(name.strip("<|>"))
        if known is not None and known != _whole(token):
            raise ValueError(f"lang_to_id gives {name} the id {token}, and the vocabulary gives it {known}")
    return tuple((name.strip("<|>"), _whole(token)) for name, token in languages.items())
