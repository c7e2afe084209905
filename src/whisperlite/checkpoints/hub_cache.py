"""The models in the Hub's cache, and whether they are complete. Nothing is downloaded."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import CacheNotFound

from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.layout import (
    CONFIG,
    CTRANSLATE2,
    format_of,
    names_in,
    vocabulary_files,
    weights_file,
)
from whisperlite.checkpoints.shards import read_index
from whisperlite.errors import CheckpointError

logger = logging.getLogger("whisperlite")


def snapshot(repository: str, options: HubOptions) -> Path | None:
    """The cache's folder of a revision, complete or not; None if there is none."""
    try:
        for name in (CONFIG, CTRANSLATE2):
            path = huggingface_hub.try_to_load_from_cache(repository, name, options.cache_dir, options.revision)
            if isinstance(path, str):
                return Path(path).parent
    except (OSError, ValueError) as error:
        logger.warning("The cached copy of %s cannot be read: %s", repository, error)
    return None


def cached_whispers(cache_dir: str | None) -> list[tuple[str, str, Path]]:
    """(name, repository, folder) of every complete Whisper in the cache; the name has the revision, except `main`."""
    try:
        repositories = huggingface_hub.scan_cache_dir(cache_dir).repos
    except (CacheNotFound, ValueError):  # the cache does not exist, or is not a folder
        return []
    except OSError as error:  # every file is looked at, also those of other programs
        logger.warning("The cache cannot be listed: %s", error)
        return []
    found = []
    for repository in repositories:
        for revision in repository.revisions if repository.repo_type == "model" else ():
            folder = revision.snapshot_path
            if is_complete(folder) and is_whisper(folder):
                ref = "main" if "main" in revision.refs else min(revision.refs, default=revision.commit_hash)
                name = repository.repo_id if ref == "main" else f"{repository.repo_id}@{ref}"
                found.append((name, repository.repo_id, folder))
    return sorted(found)


def is_complete(folder: Path) -> bool:
    """Whether a folder has a configuration and a complete set of weights."""
    try:
        names = names_in(folder)
        weights = weights_file(names)
        if weights is None or (weights != CTRANSLATE2 and CONFIG not in names):
            return False
        return not weights.endswith(".json") or names.issuperset(read_index(folder / weights))
    except CheckpointError as error:
        logger.warning("%s", error)
        return False


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder has a complete vocabulary for its weights."""
    names = names_in(folder)
    return bool(vocabulary_files(names, format_of(weights_file(names) or "")))


def is_whisper(folder: Path) -> bool:
    """Whether the configuration in a folder is a Whisper's. CTranslate2's has no type, but lists of Whisper alone."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(config, dict):
        return False
    return config["model_type"] == "whisper" if "model_type" in config else "suppress_ids" in config
