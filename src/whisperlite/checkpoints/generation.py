"""Reads what a Hugging Face folder says about generation, in `generation_config.json` or, if older, `config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.checkpoints.layout import CONFIG, GENERATION
from whisperlite.checkpoints.tokenizer_files import contradicting
from whisperlite.errors import CheckpointError
from whisperlite.text import vocabulary as names
from whisperlite.text.files import read_json_object
from whisperlite.text.tokenizer import Tokenizer


def read_raw_config(folder: Path) -> dict[str, Any]:
    """Read a folder's `generation_config.json`; empty if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / GENERATION
    return read_json_object(path) if path.is_file() else {}


def read_special_ids(folder: Path, raw_config: dict[str, Any], config: dict[str, Any]) -> dict[str, int]:
    """Read the ids that a Hugging Face folder states for special tokens: name of a token → id.

    Raises:
        CheckpointError: one is not an id.
    """
    languages, tasks = (_either(key, raw_config, config, {}) for key in ("lang_to_id", "task_to_id"))
    try:
        found = {
            **{f"<|{name.strip('<|>')}|>": token for name, token in languages.items()},
            **{f"<|{task}|>": token for task, token in tasks.items()},
            names.NO_TIMESTAMPS: _either("no_timestamps_token_id", raw_config, config),
            names.SOT_PREV: _either("prev_sot_token_id", raw_config, config),
        }
        return {name: _whole(token) for name, token in found.items() if token is not None}
    except (ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error


def check_ids(folder: Path, special_ids: dict[str, int], tokenizer: Tokenizer) -> None:
    """Check the ids of `read_special_ids` against the vocabulary.

    Raises:
        CheckpointError: a special token has another id in the vocabulary.
    """
    if contradiction := contradicting(tokenizer, special_ids):
        raise _damaged(folder, contradiction)


def read_generation_config(folder: Path, raw_config: dict[str, Any], config: dict[str, Any]) -> GenerationConfig:
    """Read what a Hugging Face folder says about its intended use.

    Args:
        raw_config: its `generation_config.json`.
        config: its `config.json`, for values that the former does not have.

    Raises:
        CheckpointError: a value is of a wrong type.
    """
    keys = ("alignment_heads", "suppress_tokens", "begin_suppress_tokens", "lang_to_id", "forced_decoder_ids")
    heads, suppress, begin_suppress, languages, forced = (raw_config.get(key, config.get(key)) for key in keys)
    language, task = raw_config.get("language"), raw_config.get("task")
    if language is not None or task is not None:  # tuned: config.json still forces the original's tokens
        forced = raw_config.get("forced_decoder_ids")
    try:
        return GenerationConfig(
            alignment_heads=pairs(heads),
            suppress_tokens=ids(suppress),
            begin_suppress_tokens=ids(begin_suppress),
            language_ids=None
            if languages is None
            else tuple((name.strip("<|>"), _whole(token)) for name, token in languages.items()),
            forced_tokens=None
            if forced is None
            else tuple((_whole(position), None if token is None else _whole(token)) for position, token in forced),
            language=_name(language),
            task=_name(task),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _either(key: str, raw_config: dict[str, Any], config: dict[str, Any], default: Any = None) -> Any:
    value = raw_config.get(key, config.get(key))
    return default if value is None else value


def _damaged(folder: Path, why: object) -> CheckpointError:
    source = folder / (GENERATION if (folder / GENERATION).is_file() else CONFIG)
    return CheckpointError(f"{source} is not a configuration of Whisper's generation for its vocabulary: {why}.")


def ids(value: Any) -> tuple[int, ...] | None:
    """Convert a list of whole numbers to a tuple; None stays None.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return None if value is None else tuple(map(_whole, value))


def pairs(value: Any) -> tuple[tuple[int, int], ...] | None:
    """Convert a list of pairs of whole numbers to a tuple; None stays None.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return None if value is None else tuple((_whole(first), _whole(second)) for first, second in value)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _name(value: object) -> str | None:
    """The value if it is a string, else None: nothing depends on it, so a list of names, for one, is no error."""
    return value if isinstance(value, str) else None
