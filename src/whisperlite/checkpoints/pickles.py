"""Reads torch's zip files (`.pt`, `pytorch_model.bin`) without executing anything in them.

Such a file is a zip archive: `data.pkl` describes the values, and each storage is an entry of its own, never
compressed, so that it can be mapped. The pickle is first parsed as data: it may name only what rebuilds tensors. Only
then is it given to torch's weights-only loader, which by itself would also call `bytearray`, for example.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from whisperlite.errors import CheckpointError

_STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
_GLOBALS = frozenset(
    (
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        *(("torch", f"{kind}Storage") for kind in _STORAGES),
    )
)
# The instructions that torch.save writes, which exclude STACK_GLOBAL, INST, OBJ, NEWOBJ, EXT and the like.
_INSTRUCTIONS = frozenset(
    (
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    )
)
_PROTOCOL = 2  # torch.save's default
_MOST_DESCRIPTION_BYTES = 1 << 24  # large-v3's has 0.3 million
_ADVICE = "A model is tensors in a dictionary; ask its publisher for safetensors."

_DAMAGE = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error)


def read_pickle(path: Path) -> Any:
    """Read the value in a file that `torch.save` wrote; its tensors are mapped from the file.

    Raises:
        CheckpointError: it is damaged, of the format before torch 1.6, or names anything but tensors and containers.
    """
    _check_instructions(_description(path), path)
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged file makes torch raise errors of any kind
        raise CheckpointError(f"{path} is damaged: torch cannot load it ({_first_line(error)}).") from error


def named_tensors(value: Any, path: Path) -> dict[str, Tensor]:
    """Check that the value of a pickle is a dictionary of tensors, and return it.

    Raises:
        CheckpointError: it is something else.
    """
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise CheckpointError(f"{path} does not hold a dictionary of tensors by name.")
    for name, tensor in value.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {name!r} is a {type(tensor).__name__}, not a tensor.")
    return {name: tensor.detach() for name, tensor in value.items()}


def _description(path: Path) -> bytes:
    """Read `data.pkl` from an archive, after checking that it is unambiguous and no larger than its file."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start != b"PK\x03\x04":
                raise CheckpointError(_other_kind(path, start))
            _check_directory(file, path)
            with zipfile.ZipFile(file) as archive:
                _check_entries(archive, path)
                folder = archive.infolist()[0].filename.partition("/")[0]
                return archive.read(f"{folder}/data.pkl")
    except KeyError as error:
        raise CheckpointError(f"{path} is a zip file without data.pkl; torch.save did not write it.") from error
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged, or cut short: {_first_line(error)}.") from error


# The records at the end of a zip file, of fixed length without a comment: APPNOTE.TXT (the specification), 4.3.14 to
# 4.3.16.
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_IN_END64 = 0xFFFFFFFF


def _check_directory(file: BinaryIO, path: Path) -> None:
    """Refuse an archive whose directory does not end where its closing records begin.

    Python looks for the directory there, torch where the records say that it is. In a file of two archives these can
    differ, so that another pickle than the one checked here would be loaded.
    """
    size = path.stat().st_size
    tail = max(size - _END64.size - _LOCATOR64.size - _END.size, 0)
    file.seek(tail)
    records = file.read()
    end = size - _END.size
    signature, *_, length, offset, comment = _END.unpack(records[-_END.size :])
    is_whole = signature == b"PK\x05\x06" and comment == 0
    locator = records[-_LOCATOR64.size - _END.size : -_END.size]
    if locator[:4] == b"PK\x06\x07":
        end = tail
        signature64, *_, length64, offset64 = _END64.unpack(records[: _END64.size])
        is_whole = is_whole and signature64 == b"PK\x06\x06" and _LOCATOR64.unpack(locator)[2] == tail
        is_whole = is_whole and length in (_IN_END64, length64) and offset in (_IN_END64, offset64)
        length, offset = length64, offset64
    if not is_whole or offset + length != end:
        raise CheckpointError(f"{path} is not one zip file with its directory at the end; torch.save did not write it.")


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    entries = archive.infolist()
    if not entries or archive.comment:
        raise CheckpointError(f"{path} is not a zip file that torch.save wrote.")
    names = {entry.filename.lower() for entry in entries}  # torch looks names up without regard to case
    if len(names) < len(entries):
        raise CheckpointError(f"{path} has two entries of one name; torch.save did not write it.")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise CheckpointError(f"{path}: the entry {entry.filename!r} is compressed, which torch.save never does.")
        if entry.filename.endswith(".pkl") and entry.file_size > _MOST_DESCRIPTION_BYTES:
            raise CheckpointError(f"{path}: {entry.filename!r} has {entry.file_size} bytes, too many for a Whisper.")
    announced, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if announced > size:
        raise CheckpointError(f"{path}: its entries announce {announced} bytes, and the file has {size}.")


def _check_instructions(description: bytes, path: Path) -> None:
    """Refuse a pickle that uses a name or an instruction which tensors in containers do not need."""
    texts, foreign, protocol = ("", ""), "", _PROTOCOL
    try:
        for instruction, argument, _ in pickletools.genops(description):
            if instruction.name == "PROTO":
                protocol = int(argument or 0)
            if instruction.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                _check_name((module, name), path)
            elif instruction.name == "STACK_GLOBAL":
                _check_name(texts, path)
            elif "UNICODE" in instruction.name:
                texts = texts[1], str(argument)
            foreign = foreign or (instruction.name if instruction.name not in _INSTRUCTIONS else "")
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path} is damaged: its data.pkl cannot be read ({_first_line(error)}).") from error
    if foreign and protocol != _PROTOCOL:
        raise CheckpointError(
            f"{path} was saved with pickle protocol {protocol}; save it again without pickle_protocol, which is then "
            f"{_PROTOCOL}, or as safetensors."
        )
    if foreign:
        raise CheckpointError(
            f"{path} has the pickle instruction {foreign}, which torch.save does not write. {_ADVICE}"
        )


def _check_name(name: tuple[str, str], path: Path) -> None:
    if name not in _GLOBALS:
        raise CheckpointError(f"{path} would call {'.'.join(name)!r} when it is loaded, so it is not loaded. {_ADVICE}")


def _other_kind(path: Path, start: bytes) -> str:
    if start[:1] == b"\x80":
        return (
            f"{path} is a bare pickle, as torch wrote them before version 1.6; it is not loaded. Where you trust it, "
            "load it with torch and save it again, best as safetensors."
        )
    return f"{path} is not a file that torch.save wrote."


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
