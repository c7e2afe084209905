"""The public functions for models that are not loaded: list them, and convert them to another format."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from whisperlite.checkpoints.alignment_heads import published_heads
from whisperlite.checkpoints.cache import remembered_sha256, whole_path
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.embedded import installed_weights
from whisperlite.checkpoints.export import export_checkpoint
from whisperlite.checkpoints.hub_cache import cached_whispers, is_complete, snapshot
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.layout import is_of_a_model
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.resolve import load_checkpoint, official_name, openai_file
from whisperlite.errors import ModelError, ModelNotFoundError
from whisperlite.kinds import FLAG, checked
from whisperlite.results import ModelInfo

logger = logging.getLogger("whisperlite")


def available_models(*, cache_dir: str | os.PathLike[str] | None = None) -> tuple[ModelInfo, ...]:
    """List all official models, and every other Whisper in the Hub's cache, without using the network.

    Args:
        cache_dir: the folder for downloads; None: the Hub's ($HF_HUB_CACHE).

    Raises:
        OptionError: `cache_dir` is neither a string nor a path.
        ModelError: `cache_dir` is not a valid path.
    """
    options = HubOptions.of(None, False, cache_dir, True)
    official = {model.repository for model in PUBLISHED.values()}
    others = (
        ModelInfo(name, repository, None, False, str(folder), _size(folder))
        for name, repository, folder in cached_whispers(options.cache_dir)
        if name not in official
    )
    return (*(_official(name, options) for name in PUBLISHED), *others)


def convert_model(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a model of any readable format as a folder of safetensors, which the Hub's own tools can read too.

    Floating-point weights keep their values and their type; quantised integers are written as the float32 numbers that
    they stand for.

    Args:
        source: a name or path, as in `load_model`.
        destination: the folder to write.
        revision, token, cache_dir, local_files_only: as in `load_model`.
        overwrite: replace the destination if it is the folder of a model and holds nothing else. By default the
            destination must be missing or empty.

    Returns:
        The destination folder.

    Raises:
        OptionError: the revision or the token is malformed, or an argument has a wrong type.
        ModelError: the source cannot be loaded, as in `load_model`, or the destination is not empty or cannot be
            written.
    """
    folder = whole_path(destination, "destination")
    overwrite = checked("overwrite", overwrite, FLAG)
    _check_destination(folder, overwrite)
    checkpoint = load_checkpoint(source, HubOptions.of(revision, token, cache_dir, local_files_only))
    config = checkpoint.generation_config
    heads = published_heads(official_name(source), checkpoint.dims) if config.alignment_heads is None else None
    if heads is not None:
        checkpoint = replace(checkpoint, generation_config=replace(config, alignment_heads=heads))
    # Checked again: loading takes a while, and another program may have written there in the meantime.
    if _check_destination(folder, overwrite):
        export_checkpoint(checkpoint, folder)
    else:
        _replace(folder, checkpoint)
    return folder


def _check_destination(folder: Path, overwrite: bool) -> bool:
    """Whether a folder is missing or empty. If it is not, raise an error unless it is a model that may be replaced."""
    try:
        if _is_free(folder):
            return True
        _check_replaceable(folder, overwrite)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}.") from error
    return False


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not overwrite:
        raise ModelError(
            f"{folder} exists and is not empty; give another folder, or overwrite=True (--overwrite) to replace it."
        )
    if not folder.is_dir() or not is_complete(folder):
        raise ModelError(f"{folder} is not a model's folder, so it is not overwritten; give another folder.")
    if others := _others(folder):
        raise _would_lose(folder, others)


def _others(folder: Path) -> list[str]:
    """The names of the files and folders that are not part of a model."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() or not is_of_a_model(path.name))


def _would_lose(folder: Path, others: list[str]) -> ModelError:
    return ModelError(
        f"{folder} also holds {', '.join(others[:3])}, and would lose that, so it is not overwritten; give another "
        "folder."
    )


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _replace(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a model in place of an old one, which is removed once the new one is complete."""
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            old, new = Path(scratch) / "old", Path(scratch) / "new"
            export_checkpoint(checkpoint, new)
            folder.rename(old)
            try:
                if others := _others(old):  # appeared while the new model was being written
                    raise _would_lose(folder, others)
                new.rename(folder)
            except (OSError, ModelError):
                old.rename(folder)
                raise
    except OSError as error:
        raise ModelError(f"{folder} could not be replaced: {error}") from error


def _official(name: str, options: HubOptions) -> ModelInfo:
    model = PUBLISHED[name]
    try:
        installed = installed_weights(name)
    except ModelNotFoundError as error:
        logger.warning("%s", error)
        installed = None
    if installed is not None:
        path, size = installed.folder, installed.size_bytes
        return ModelInfo(name, model.repository, model.parameters, True, str(path), size)
    folder = snapshot(model.repository, options)
    file = openai_file(name, options.cache_dir)
    if folder is not None and is_complete(folder):
        return ModelInfo(name, model.repository, model.parameters, False, str(folder), _size(folder))
    if file is not None and remembered_sha256(file) in (None, model.sha256):
        return ModelInfo(name, model.repository, model.parameters, False, str(file), file.stat().st_size)
    return ModelInfo(name, model.repository, model.parameters, False, None, None)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
