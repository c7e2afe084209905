"""Finds the files of a model by its name and reads them: a name → a `Checkpoint`.

Order: a folder or file on disk; an installed package of weights; the caches of the Hub and of openai-whisper; the Hub.
The first match is used and the rest is not asked, so weights that are on this machine need no network.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from dataclasses import replace
from pathlib import Path

from whisperlite.checkpoints.cache import sha256_once, user_caches
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.embedded import installed_weights, read_embedded
from whisperlite.checkpoints.hub import download, find_cached
from whisperlite.checkpoints.hub_cache import is_complete
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.errors import DownloadError, ModelNotFoundError, OptionError

logger = logging.getLogger("whisperlite")

_REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./+-]*", re.ASCII)
_PATH = re.compile(r"[~./\\]|[A-Za-z]:|.*(\\|/.*/|/$|\.(pt|bin|safetensors)$)", re.DOTALL)
_DEFAULT = HubOptions()


def load_checkpoint(name: str | os.PathLike[str], options: HubOptions = _DEFAULT) -> Checkpoint:
    """Find and read the checkpoint of a name or path.

    Args:
        name: the path of a folder or file; an official name; or `organisation/repository` on the Hub. The latter two
            may end in `@revision`.
        options: where and how to download. If they have a revision, which refers to the Hub, embedded weights and
            openai-whisper's files are not used.

    Raises:
        OptionError: the revision is malformed, or two different ones are given.
        ModelNotFoundError: there is no such model or revision.
        DownloadError: it is not on this machine, and the Hub cannot be reached or refuses the request.
        CheckpointError: it is damaged or not a Whisper.
    """
    path = local_path(name)
    if path is not None:
        return read_checkpoint(path)
    text, options = _split_revision(name_of(name), options)
    if text in PUBLISHED:
        return _load_published(text, options)
    if _REPOSITORY.fullmatch(text):
        return read_checkpoint(find_cached(text, options) or _download_unless_misspelt(text, options))
    raise ModelNotFoundError(_unknown(text))


def name_of(model: str | os.PathLike[str]) -> str:
    """Return the name or path of a model as a string.

    Raises:
        OptionError: it is neither.
    """
    text = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise OptionError(f"model={model!r} is not allowed: it takes a name or a path.", option="model")
    return text


def local_path(name: str | os.PathLike[str]) -> Path | None:
    """The path of a model that is given as a path; None if it is given by a name or a repository.

    Raises:
        ModelNotFoundError: it is empty, or clearly a path that does not exist.
        OptionError: it is neither a string nor a path.
    """
    text = name_of(name)
    if not text:
        raise ModelNotFoundError(f"The name of the model is empty. {_allowed()}")
    try:
        path = Path(text).expanduser()
        if text.partition("@")[0] in PUBLISHED:
            # Unless it holds a complete model, a folder that happens to be called `base` does not hide that model.
            return path if path.is_dir() and is_complete(path) else None
        if path.exists():
            return path
    except (OSError, RuntimeError) as error:
        raise ModelNotFoundError(f"{text!r} cannot be looked up: {error}.") from error
    if _PATH.match(text.partition("@")[0]):
        raise ModelNotFoundError(f"There is no file or folder {text!r}. {_allowed()}")
    return None


def openai_file(name: str, cache_dir: str | None) -> Path | None:
    """The file that openai-whisper downloaded for an official name, not verified; None if there is none."""
    model = PUBLISHED[name]
    if model.sha256 is None:
        return None
    caches = user_caches()
    folder = Path(cache_dir) if cache_dir else caches and caches / "whisper"
    path = folder and folder / f"{model.name}.pt"
    return path if path and path.is_file() else None


def _split_revision(text: str, options: HubOptions) -> tuple[str, HubOptions]:
    name, at, revision = text.partition("@")
    if at and options.revision not in (None, revision):
        raise OptionError(f"{text!r} was given with revision={options.revision!r}; give one revision, not two.")
    chosen = revision if at else options.revision
    if chosen is not None and not (isinstance(chosen, str) and _REVISION.fullmatch(chosen)):
        raise OptionError(f"revision {chosen!r} is not the name of a branch, a tag or a commit.")
    return name, replace(options, revision=chosen)


def _load_published(name: str, options: HubOptions) -> Checkpoint:
    model = PUBLISHED[name]
    if options.revision is None and (installed := installed_weights(name)) is not None:
        return read_embedded(name, installed)
    if cached := find_cached(model.repository, options):
        return read_checkpoint(cached)
    notes = []
    if options.revision is None and (file := openai_file(name, options.cache_dir)):
        if sha256_once(file) == model.sha256:
            return read_checkpoint(file)
        notes.append(f"{file} was passed over: it does not have the published SHA-256. Remove it.")
        logger.warning("%s", notes[-1])
    try:
        folder = download(model.repository, options)
    except (ModelNotFoundError, DownloadError) as error:
        raise type(error)(" ".join((str(error), *notes))) from error
    return read_checkpoint(folder)


def _download_unless_misspelt(repository: str, options: HubOptions) -> Path:
    try:
        return download(repository, options)
    except (ModelNotFoundError, DownloadError) as error:
        note = f"(There is no folder {repository!r} here, so it was taken for a repository of the Hub.)"
        raise type(error)(f"{error} {note}") from error


def _unknown(text: str) -> str:
    close = difflib.get_close_matches(text.lower(), PUBLISHED, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"There is no model {text!r}.{hint} {_allowed()}"


def _allowed() -> str:
    return (
        f"Allowed are: {', '.join(PUBLISHED)}; a repository of the Hub ('organisation/repository', "
        "with '@revision' if need be); the path of a model's folder or file."
    )


def official_name(name: str | os.PathLike[str]) -> str:
    """The part of a name or path that can be an official name; for `…/base.pt` it is `base`."""
    path = local_path(name)
    if path is None:
        return name_of(name).partition("@")[0]
    return path.stem if path.suffix.lower() in (".pt", ".pth", ".ckpt") else path.name
