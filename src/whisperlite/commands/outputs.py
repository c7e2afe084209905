"""The paths of the outputs of recordings, and writing them."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from whisperlite.errors import OptionError
from whisperlite.formats import WRITERS, SubtitleOptions
from whisperlite.results import Transcription

STDIN = "-"


def outputs_of(
    files: Sequence[str], folder: Path, formats: Sequence[str], besides: Sequence[str] = ()
) -> dict[str, dict[str, Path]]:
    """Choose the paths of the outputs: file → format → path.

    Args:
        files: the recordings.
        folder: where outputs are written.
        formats: of the outputs.
        besides: other files that are read, which no output may replace either.

    Raises:
        OptionError: two outputs would have the same path (correction 17), or an output would replace a recording.
    """
    outputs: dict[str, dict[str, Path]] = {}
    owners: dict[Path, str] = {}
    inputs = {each for file in (*files, *besides) for each in _identities(Path(file))}
    for file in dict.fromkeys(files):
        outputs[file] = {name: _output(file, folder, name) for name in formats}
        for path in outputs[file].values():
            if path in owners:
                raise OptionError(
                    f"{owners[path]} and {file} would both be written to {path}; transcribe them one at a time into "
                    "different --output_dir folders."
                )
            if not inputs.isdisjoint(_identities(path)):
                raise OptionError(f"{path} is one of the inputs and would be overwritten; give another --output_dir.")
            owners[path] = file
    return outputs


def formats_beside(text: str, file: str, folder: Path, formats: Sequence[str]) -> list[str]:
    """Return the formats whose output for a recording would not replace a text that is read."""
    own = set(_identities(Path(text)))
    return [name for name in formats if own.isdisjoint(_identities(_output(file, folder, name)))]


def _output(file: str, folder: Path, name: str) -> Path:
    stem = "stdin" if file == STDIN else Path(file).stem
    return folder / f"{stem}.{name}"


def make_folder(folder: Path) -> None:
    """Create the folder of the outputs if it is missing.

    Raises:
        OptionError: it cannot be created, or no file can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(f"--output_dir {folder} cannot be written to: {error.strerror}.") from error


def _identities(path: Path) -> tuple[object, ...]:
    """What all paths of a file have in common: its resolved path and, since it can have hard links, its inode."""
    try:
        status = path.stat()
    except OSError:  # it does not exist, or opening it will raise an error that says more
        return (path.resolve(),)
    return path.resolve(), (status.st_dev, status.st_ino)


def write(result: Transcription, subtitles: SubtitleOptions, targets: dict[str, Path]) -> None:
    """Write the outputs of a recording, as many as can be written.

    Raises:
        OSError: one or more could not be written; it is the error of the first.
    """
    failed: list[OSError] = []
    for name, path in targets.items():
        try:
            _replace(path, WRITERS[name].write(result, subtitles))
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _replace(path: Path, text: str) -> None:
    """Write a file completely or, if that fails, leave what is there as it was.

    A symbolic link stays one, and a file that is replaced keeps its permissions. What cannot be replaced by another
    file (a pipe, a device, a file with several names or of another owner, one in a folder that cannot be written to) is
    written in place.

    Raises:
        OSError: it could not be written; the error names the file.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".whisperlite-{secrets.token_hex(8)}")
    try:
        exists = target.exists()
        if exists and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if exists and not _can_be_replaced(target):
            _write_text(target, "w", text)
            return
        _write_text(temporary, "x", text)
        if exists:
            shutil.copymode(target, temporary)
        try:
            temporary.replace(target)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV):  # the target is a mount point
                raise
            _write_text(target, "w", text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _can_be_replaced(file: Path) -> bool:
    """Whether another file can take the place of this one without a change that anybody would notice."""
    status = file.stat()
    is_own = os.name != "posix" or status.st_uid == os.geteuid()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_own and os.access(file.parent, os.W_OK)


def _write_text(path: Path, mode: str, text: str) -> None:
    # The name of the model can be a path that is not UTF-8: JSON reads what is written here back as it was.
    with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
