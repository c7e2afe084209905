"""OpenAI's `.pt` files, and that nothing in one is ever executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models import STRUCTURES
from tests.refusing import refused
from tests.writers import EMBEDDING, SMALL, random_tensors, write_openai
from whisperlite.checkpoints.pickles import named_tensors, read_pickle
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.errors import CheckpointError
from whisperlite.text.tokenizer import Tokenizer

DIMS = replace(SMALL, n_vocab=51864)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors(DIMS, dtype=torch.float16)


# Round trips


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("structure", ["tiny.en", "base", "large-v3"])
def test_what_was_written_is_read(structure: str, dtype: torch.dtype, tmp_path: Path) -> None:
    dims = replace(SMALL, n_vocab=STRUCTURES[structure].n_vocab)
    tensors = random_tensors(dims, dtype=dtype)
    path = write_openai(tmp_path / "model.pt", dims, tensors)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.path, checkpoint.dims) == (path, dims)
    assert checkpoint.tokenizer is Tokenizer.of_published_size(dims.n_vocab)
    assert checkpoint.tensors.keys() == tensors.keys()
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in tensors.items())


def test_a_folder_with_one_file_stands_for_it(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = write_openai(tmp_path / "model" / "tiny.en.pt", DIMS, tensors)
    assert read_checkpoint(path.parent).path == path.parent
    write_openai(path.with_name("base.en.pt"), DIMS, tensors)
    refused(path.parent, "2 .pt files")


@pytest.mark.parametrize("name", ["model.pth", "model.ckpt", "model.PT", "model", "epoch.1"])
def test_a_file_of_any_name_is_read(name: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_openai(tmp_path / name, DIMS, tensors))
    assert (checkpoint.path, checkpoint.dims) == (tmp_path / name, DIMS)
    torch.save({}, tmp_path / name, _use_new_zipfile_serialization=False)
    refused(tmp_path / name, "before version 1.6")


def test_parameters_are_tensors(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    checkpoint = read_checkpoint(write_openai(tmp_path / "a.pt", DIMS, parameters))
    assert torch.equal(checkpoint.tensors[EMBEDDING], tensors[EMBEDDING])


def test_a_vocabulary_that_was_not_published_is_refused(tmp_path: Path) -> None:
    refused(write_openai(tmp_path / "a.pt", SMALL, random_tensors(SMALL)), str(SMALL.n_vocab), "tokenizer.json")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "'dims' and 'model_state_dict'"),
        ({"state_dict": {}}, "'dims' and 'model_state_dict'"),
        ({"dims": [], "model_state_dict": {}}, "ten numbers"),
        ({"dims": {"n_mels": 80}, "model_state_dict": {}}, "ten numbers"),
        ({"dims": asdict(DIMS) | {"more": 1}, "model_state_dict": {}}, "ten numbers"),
        ({"dims": asdict(DIMS) | {"n_mels": 80.0}, "model_state_dict": {}}, "n_mels=80.0"),
        ({"dims": asdict(DIMS) | {"n_mels": torch.zeros(1)}, "model_state_dict": {}}, "n_mels"),
        ({"dims": asdict(DIMS), "model_state_dict": []}, "dictionary of tensors"),
        ({"dims": asdict(DIMS), "model_state_dict": {1: torch.zeros(1)}}, "dictionary of tensors"),
        ({"dims": asdict(DIMS), "model_state_dict": {"a": 1}}, "'a' is a int"),
        ({"dims": asdict(DIMS), "model_state_dict": {"a": torch.zeros(1)}}, "3 layers"),
        ({"dims": asdict(DIMS) | {"n_text_layer": 10**9}, "model_state_dict": {}}, "1000000002 layers"),
        ({"dims": asdict(DIMS) | {"n_vocab": 10**9}, "model_state_dict": {}}, "1000000000 token ids"),
        ({"dims": asdict(DIMS) | {"n_audio_head": 0}, "model_state_dict": {}}, "n_audio_head=0"),
        ({"dims": asdict(DIMS) | {"n_audio_head": 3}, "model_state_dict": {}}, "3 heads"),
    ],
)
def test_another_document_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(document, path)
    refused(path, message)


# Payloads


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["file", "dims", "tensors"])
def test_a_payload_is_named_and_not_run(place: str, protocol: int, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    payload = Call(os.system, f"touch '{marker}'")
    whole: dict[str, Any] = {"dims": asdict(DIMS), "model_state_dict": {"a": tensors["encoder.conv1.bias"]}}
    document: Any = {
        "file": payload,
        "dims": whole | {"dims": payload},
        "tensors": whole | {"model_state_dict": {"a": payload}},
    }[place]
    path = tmp_path / "a.pt"
    torch.save(document, path, pickle_protocol=protocol)
    refused(path, f"{os.system.__module__}.system")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(bytearray, 10**10), "bytearray"),  # allowed by torch's weights-only loader
        (Call(eval, "1"), "eval"),
        (Call(torch.load, "a.pt"), "torch.serialization.load"),
        (Call(getattr, OrderedDict, "clear"), "getattr"),
    ],
)
def test_no_other_call_is_made(call: Call, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": call}, path)
    refused(path, name)


@pytest.mark.parametrize(
    ("description", "name"),
    [
        (b"(S'echo'\nios\nsystem\n.", "os.system"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x01.", "EXT2"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02(ccollections\nOrderedDict\no.", "OBJ"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x04\x93.", "would call"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"),
        (b"\x80\x02ctorch\n_utils._rebuild_tensor_v2\n.", "would call"),
        (b"I1\n.", "INT"),
        (b"", "damaged"),
        (b".", "damaged"),
        (b"\x80\x02", "damaged"),
        (b"\x80\x02X\xff\xff\xff\xff", "damaged"),
        (b"\x80\x02" + b"]" * 100_000, "damaged"),
        (b"\x80\x02" + b"h\x07.", "damaged"),
    ],
)
def test_no_instruction_can_call_anything(description: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_zip(path, {"a/data.pkl": description, "a/version": b"3\n"})
    refused(path, name)


def write_zip(path: Path, entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


# Archives


def entries_of(value: object) -> dict[str, bytes]:
    """The archive that `torch.save` makes of a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_rewritten_archive_is_read(tmp_path: Path) -> None:
    """So that the refusals below are for what was changed."""
    write_zip(tmp_path / "a.pt", entries_of({"a": torch.arange(10.0)}))
    assert torch.equal(read_pickle(tmp_path / "a.pt")["a"], torch.arange(10.0))


def test_a_file_of_another_pickle_protocol_says_how_to_save_it(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"dims": asdict(DIMS), "model_state_dict": tensors}, path, pickle_protocol=4)
    refused(path, "pickle protocol 4", "save it again")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_zip(path, entries_of({"a": torch.zeros(10_000_000)}), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["archive/data.pkl", "archive/DATA.PKL"])
def test_an_archive_with_two_descriptions_is_refused(second: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    entries = entries_of({"a": torch.zeros(10)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*entries.items(), (second, entries["archive/data.pkl"])]:
            archive.writestr(name, data)
    refused(path, "two entries of one name")


def test_other_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_zip(path, {"a/notes.txt": b"hello"})
    refused(path, "data.pkl")
    entries = entries_of({"a": torch.zeros(10)})
    write_zip(path, entries)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"anything"
    refused(path, "torch.save")
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        pass
    refused(path)


def test_a_description_of_a_length_that_no_model_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_zip(path, {"a/data.pkl": b"\x80\x02" + b"N" * (1 << 24) + b"."})
    refused(path, "too many")


def test_files_from_before_torch_1_6_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    marker = tmp_path / "marker"
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    refused(path, "1.6", "safetensors")
    path.write_bytes(pickle.dumps(Call(os.system, f"touch '{marker}'")))
    refused(path, "1.6", "safetensors")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 500, b"hello", b"\x80", b"\0" * 5000])
def test_another_kind_of_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    refused(path)


def test_an_archive_behind_something_else_is_refused(tmp_path: Path) -> None:
    """torch would look at the beginning: up to version 2.5 its reader of tar files ran what is in them."""
    path = tmp_path / "a.pt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with zipfile.ZipFile(path, "a") as zipped:
        for name, data in entries_of({"a": torch.zeros(10)}).items():
            zipped.writestr(name, data)
    refused(path, "torch.save")


# Tensors that lie


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x00K\x0a\x85", b"K\x00" + number(2**31 - 1) + b"\x85"),  # a shape beyond the storage
        (b"QK\x00K\x0a", b"Q" + number(2**31 - 1) + b"K\x0a"),  # an offset beyond it
        (b"QK\x00K\x0a", b"Q" + number(-5) + b"K\x0a"),
        (b"K\x0a\x85", number(-10) + b"\x85"),
        (b"cpu", b"gpu"),
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),  # a storage that is not there
        (b"FloatStorage", b"ByteStorage"),
        (b"storage", b"stodage"),
        (b"\x89ccoll", b"Nccoll"),
    ],
)
def test_a_tensor_of_other_bytes_is_refused_or_stays_in_its_storage(old: bytes, new: bytes, tmp_path: Path) -> None:
    entries = entries_of({"a": torch.arange(10.0)})
    assert old in entries["archive/data.pkl"]
    entries["archive/data.pkl"] = entries["archive/data.pkl"].replace(old, new, 1)
    path = tmp_path / "a.pt"
    write_zip(path, entries)
    try:
        value = read_pickle(path)
    except CheckpointError:
        return
    assert value["a"].untyped_storage().nbytes() <= path.stat().st_size


def test_a_tensor_that_shows_the_same_bytes_again_and_again_is_refused(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    repeated = tensors[EMBEDDING].new_zeros(1).expand(tensors[EMBEDDING].shape)
    refused(write_openai(tmp_path / "a.pt", DIMS, tensors | {EMBEDDING: repeated}), EMBEDDING, "more values")


def test_tensors_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A thousand layers of one matrix would grow to a thousand times the file."""
    dims = replace(DIMS, n_audio_state=256, n_text_layer=1, n_audio_layer=30)
    tensors = {name: tensor.half() for name, tensor in random_tensors(dims).items()}
    for name in tensors:
        if ".blocks." in name:
            tensors[name] = tensors[name.replace(name.split(".")[2], "0", 1)]
    path = write_openai(tmp_path / "a.pt", dims, tensors)
    assert path.stat().st_size < sum(tensor.nbytes for tensor in tensors.values())
    refused(path, "more values than are stored")


def test_integers_are_no_weights(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    quantised = tensors | {EMBEDDING: tensors[EMBEDDING].to(torch.int8)}
    refused(write_openai(tmp_path / "a.pt", DIMS, quantised), EMBEDDING, "int8")


def test_a_file_of_two_archives_is_refused(tmp_path: Path) -> None:
    """torch would read the first of them, Python's zipfile the second: one could be checked and the other loaded."""
    first, second, both = (tmp_path / name for name in ("first.pt", "second.pt", "both.pt"))
    torch.save({"x": torch.zeros(3)}, first)
    torch.save({"x": torch.ones(3)}, second)
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert torch.load(both, weights_only=True)["x"].sum() == 0
    with zipfile.ZipFile(both) as archive:
        assert archive.read("second/data/0") == torch.ones(3).numpy().tobytes()
    with pytest.raises(CheckpointError, match="not one zip file"):
        read_pickle(both)


def test_tensors_that_were_parameters_carry_no_gradients(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"x": torch.nn.Parameter(torch.ones(3))}, path)
    assert not named_tensors(read_pickle(path), path)["x"].requires_grad
