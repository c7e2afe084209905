"""Files that are damaged or lie, in every format: always a `CheckpointError`, and never more memory than they have."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.writers import (
    SMALL,
    ctranslate2_file,
    ctranslate2_variables,
    huggingface_tensors,
    random_tensors,
    write_ctranslate2,
    write_huggingface,
    write_openai,
)
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.parameters import huggingface_name
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.errors import CheckpointError
from whisperlite.nn.build import HEAD, build_network, expected_shapes

# OpenAI's files have no vocabulary of their own, so theirs has a published size. Narrow: the file is written often.
PUBLISHED = replace(SMALL, n_vocab=51864, n_audio_state=4, n_audio_head=1, n_text_state=4, n_text_head=1)


@dataclass(frozen=True)
class Format:
    """A model written in one format.

    Attributes:
        path: what is given to the reader.
        weights: the files that hold tensors.
        others: those that say how they are to be read.
    """

    path: Path
    weights: tuple[Path, ...]
    others: tuple[Path, ...]


def write(kind: str, folder: Path) -> Format:
    tensors = random_tensors(SMALL)
    if kind == "openai":
        path = write_openai(folder / "model.pt", PUBLISHED, random_tensors(PUBLISHED, dtype=torch.float16))
        return Format(path, (path,), ())
    if kind.startswith("ctranslate2"):
        write_ctranslate2(folder, SMALL, tensors, "int8" if kind.endswith("int8") else "float32")
    else:
        file = "pytorch_model.bin" if "pickle" in kind else "model.safetensors"
        shards = 2 if kind.endswith("shards") else 1
        vocabulary = "vocab.json" if "pickle" in kind else "tokenizer.json"
        write_huggingface(folder, SMALL, tensors, file=file, shards=shards, tokenizer_files=vocabulary)
    # safetensors' tokenizer is whole in tokenizer.json.
    unread = {"tokenizer_config.json"} if (folder / "tokenizer.json").exists() else set()
    paths = sorted(path for path in folder.iterdir() if path.name not in unread)
    is_weights = [path.suffix in (".bin", ".safetensors") for path in paths]
    return Format(
        folder,
        tuple(path for path, holds in zip(paths, is_weights, strict=True) if holds),
        tuple(path for path, holds in zip(paths, is_weights, strict=True) if not holds),
    )


KINDS = ["safetensors", "safetensors-shards", "pickle", "pickle-shards", "openai", "ctranslate2", "ctranslate2-int8"]


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Format:
    """A model in each format; who changes a file puts it back."""
    return write(request.param, tmp_path_factory.mktemp(request.param) / "model")


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    for part in parts:
        assert part in str(caught.value)


def read_or_refuse(path: Path) -> Checkpoint | None:
    """What is read of a file that may be damaged; it must then be whole, and usable."""
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        assert str(path if path.is_dir() else path.parent) in str(error)  # noqa: PT017 - it need not be raised
        return None
    shapes = expected_shapes(checkpoint.dims)
    assert {name: tuple(x.shape) for name, x in checkpoint.tensors.items() if name != HEAD} == shapes
    checkpoint.tokenizer.decode(checkpoint.tokenizer.encode(" hello, 日本"))
    return checkpoint


def with_content(path: Path, content: bytes, check: Callable[[], object]) -> None:
    """Run a check while the file has another content."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        check()
    finally:
        path.write_bytes(before)


# Any format


def test_an_undamaged_model_is_read(written: Format) -> None:
    checkpoint = read_or_refuse(written.path)
    assert checkpoint is not None
    build_network(checkpoint.dims, checkpoint.tensors, device=torch.device("cpu"), dtype=torch.float32)


@settings(max_examples=20, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), which=st.integers(0, 1))
@example(place=0.0, which=0)
@example(place=0.9999999, which=0)
def test_weights_that_end_early_are_refused(written: Format, place: float, which: int) -> None:
    path = written.weights[which % len(written.weights)]
    data = path.read_bytes()
    cut = data[: int(place * len(data))]
    with_content(path, cut, lambda: refused(written.path, path.name))


@settings(max_examples=50, deadline=None)
@given(place=st.integers(0, 1 << 40), value=st.integers(1, 255), which=st.integers(0, 1), near=st.integers(0, 2))
def test_a_byte_that_flipped_is_noticed_or_changes_a_value(
    written: Format, place: int, value: int, which: int, near: int
) -> None:
    path = written.weights[which % len(written.weights)]
    data = bytearray(path.read_bytes())
    # Half of the examples are where the names and shapes are: at the beginning, or at the end of a zip file.
    position = (place % len(data), place % 4000, len(data) - 1 - place % 4000)[near]
    data[position] ^= value
    with_content(path, bytes(data), lambda: read_or_refuse(written.path))


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 1 << 40), value=st.integers(1, 255), near=st.booleans())
def test_a_byte_that_flipped_beside_the_weights_is_noticed_or_changes_a_value(
    written: Format, place: int, value: int, near: bool
) -> None:
    if not written.others:
        assert written.path.suffix == ".pt"
        return
    path = written.others[place % len(written.others)]
    data = bytearray(path.read_bytes())
    data[(place // 8) % (min(len(data), 1000) if near else len(data))] ^= value
    with_content(path, bytes(data), lambda: read_or_refuse(written.path))


NOT_JSON = {
    "open": b"{",
    "empty": b"",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "deep list": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "huge number": b'{"a": ' + b"1" * 100_000 + b"}",
    "null": b"null",
    "number": b"3",
    "list of numbers": b"[1, 2]",
    "another end": b'{"a": 1}}',
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_other_contents_of_json_files_are_refused_by_name(written: Format, content: bytes) -> None:
    listed = [path for path in written.others if path.suffix == ".json"]
    assert listed or written.path.suffix == ".pt"
    for path in listed:
        with_content(path, content, lambda path=path: refused(written.path, path.name))  # type: ignore[misc]


def test_a_missing_file_is_refused_or_not_needed(written: Format) -> None:
    optional = {
        *("preprocessor_config.json", "generation_config.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json"),
    }
    for path in (*written.weights, *written.others):
        hidden = path.with_name("hidden")
        path.rename(hidden)
        try:
            if path.name in optional or (path.name == "config.json" and "model.bin" in str(written.weights)):
                read_or_refuse(written.path)
            else:
                with pytest.raises(CheckpointError):
                    read_checkpoint(written.path)
        finally:
            hidden.rename(path)


# Not a Whisper


def test_another_network_is_refused(tmp_path: Path) -> None:
    bert = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 16, "vocab_size": 30522}
    save_file({"embeddings.word_embeddings.weight": torch.zeros(30522, 16)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(bert))
    refused(tmp_path, "config.json", "'bert'")
    write_huggingface(tmp_path / "b", SMALL, random_tensors(SMALL))
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "b" / "model.safetensors")
    refused(tmp_path / "b", "model.safetensors", "3 layers")


@pytest.mark.parametrize("kind", ["safetensors", "pickle", "openai"])
def test_every_missing_surplus_or_wrong_tensor_is_named(kind: str, tmp_path: Path) -> None:
    dims = PUBLISHED if kind == "openai" else SMALL
    tensors = random_tensors(dims)
    written = write(kind, tmp_path)

    def is_refused(changed: dict[str, torch.Tensor], name: str, *parts: str) -> None:
        if kind == "openai":
            write_openai(written.path, dims, changed)
            refused(written.path, written.path.name, repr(name), *parts)
            return
        stored = huggingface_tensors(changed)
        path = written.weights[0]
        save_file(stored, path) if kind == "safetensors" else torch.save(stored, path)
        refused(written.path, path.name, repr(huggingface_name(name)), *parts)

    for name in [*tensors][:: 1 if kind == "safetensors" else 9]:
        if name != "encoder.positional_embedding" or kind == "openai":  # others have them computed
            is_refused({key: x for key, x in tensors.items() if key != name}, name, "missing")
        is_refused(tensors | {name: tensors[name][None]}, name, "has the shape")
        is_refused(tensors | {name: tensors[name].int()}, name, "int32")
    is_refused(tensors | {"decoder.blocks.7.attn.key.bias": torch.zeros(4)}, "decoder.blocks.7.attn.key.bias")
    is_refused(tensors | {HEAD: torch.zeros(5, 4)}, HEAD) if kind == "openai" else None


def test_every_surplus_variable_of_ctranslate2_is_named(tmp_path: Path) -> None:
    tensors = random_tensors(SMALL)
    written = write("ctranslate2", tmp_path)
    variables = ctranslate2_variables(tensors, SMALL) | {"decoder/layer_0/extra/weight": torch.zeros(3)}
    written.weights[0].write_bytes(ctranslate2_file(variables))
    refused(written.path, "model.bin", "decoder/layer_0/extra/weight")


# Headers that lie


def safetensors_file(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


LIES = {
    "length": safetensors_file(entry(), bytes(8), length=2**60),
    "length beyond the end": safetensors_file(entry(), bytes(8), length=10_000),
    "length of everything": safetensors_file(entry(), bytes(8), length=2**64 - 1),
    "offsets outside": safetensors_file(entry(offsets=(0, 2**50)), bytes(8)),
    "offsets backwards": safetensors_file(entry(offsets=(8, 0)), bytes(8)),
    "negative offset": safetensors_file(entry(offsets=(-8, 0)), bytes(8)),
    "shape": safetensors_file(entry(shape=(10**9, 10**9)), bytes(8)),
    "shape that overflows": safetensors_file(entry(shape=(2**62, 4), offsets=(0, 0)), bytes(8)),
    "shape that overflows to the size": safetensors_file(entry(shape=(2**62 + 1, 2)), bytes(8)),
    "no numbers": safetensors_file(entry(shape="ab"), bytes(8)),
    "unknown type": safetensors_file(entry(dtype="F5"), bytes(8)),
    "type of half a byte": safetensors_file(entry(dtype="F4", shape=(16,)), bytes(8)),
    "deep": safetensors_file(b"[" * 100_000),
    "deep object": safetensors_file(b'{"a":' * 100_000),
    "list": safetensors_file([1]),
    "not UTF-8": safetensors_file(b"\xff{}"),
    "overlap": safetensors_file(entry() | {"b": entry()["a"]}, bytes(8)),
    "hole": safetensors_file(entry(offsets=(8, 16)), bytes(16)),
    "another tensor": safetensors_file(entry(), bytes(8)),
    "no tensor": safetensors_file({}),
    "endless empty tensor": safetensors_file(entry(shape=(0, 2**62), offsets=(0, 0))),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_a_safetensors_header_that_lies_is_refused(content: bytes, tmp_path: Path) -> None:
    written = write("safetensors", tmp_path)
    written.weights[0].write_bytes(content)
    refused(written.path, "model.safetensors")


def ctranslate2_start(variables: int) -> bytes:
    return struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, variables)


def variable(shape: tuple[int, ...], size: int) -> bytes:
    return b"\x02\x00a\0" + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, size)


@pytest.mark.parametrize(
    "content",
    [
        ctranslate2_start(2**32 - 1),
        ctranslate2_start(1) + b"\xff\xff",
        ctranslate2_start(1) + b"\x02\x00a\0\xff",
        ctranslate2_start(1) + variable((2**32 - 1,) * 255, 4),
        ctranslate2_start(1) + variable((1,) * 255, 4) + bytes(4),
        ctranslate2_start(1) + variable((1,) * 65, 4) + bytes(4),
        ctranslate2_start(1) + variable((2**31, 2**31, 0), 0),
        ctranslate2_start(1) + variable((10**9,), 4 * 10**9),
        ctranslate2_start(0) + struct.pack("<I", 2**32 - 1),
    ],
    ids=["count", "name", "rank", "shape", "axes", "more axes", "empty", "size", "aliases"],
)
def test_a_ctranslate2_header_that_lies_is_refused(content: bytes, tmp_path: Path) -> None:
    written = write("ctranslate2", tmp_path)
    written.weights[0].write_bytes(content)
    refused(written.path, "model.bin")


def test_layers_that_are_second_names_of_one_are_refused(tmp_path: Path) -> None:
    """Each would be turned into floating point by itself, and grow to many times the file."""
    dims = replace(SMALL, n_audio_state=128, n_text_state=128, n_audio_layer=1)
    written = write("ctranslate2", tmp_path)
    variables = ctranslate2_variables(random_tensors(dims), dims)
    names = [name for name in variables if name.startswith("encoder/layer_0/")]
    aliases = [(name.replace("_0", f"_{layer}", 1), name) for layer in range(1, 200) for name in names]
    written.weights[0].write_bytes(ctranslate2_file(variables, aliases=tuple(aliases)))
    refused(written.path, "model.bin", "more values than are stored")


MEMORY = """
import resource, sys
from pathlib import Path
import torch, safetensors
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.errors import CheckpointError

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 200_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        read_checkpoint(Path(path))
    except CheckpointError as error:
        print(error)
"""


def test_no_lie_takes_more_memory_than_the_file_has(tmp_path: Path) -> None:
    """In a process that may not take 200 MB more; what is claimed is gigabytes and more."""
    tensors = random_tensors(SMALL)
    huge = {"vocab_size": 10**9, "d_model": 10**9, "encoder_layers": 10**9, "max_source_positions": 10**12}
    paths = [write_huggingface(tmp_path / key, SMALL, tensors, config={key: value}) for key, value in huge.items()]
    without_positions = {name: x for name, x in tensors.items() if name != "encoder.positional_embedding"}
    wide = {"d_model": 10**6, "encoder_ffn_dim": 4 * 10**6, "decoder_ffn_dim": 4 * 10**6}
    paths.append(write_huggingface(tmp_path / "wide", SMALL, without_positions, config=wide))
    for name in ("n_vocab", "n_text_layer", "n_audio_state"):
        dims = replace(PUBLISHED, **{name: 10**9})
        paths.append(write_openai(tmp_path / f"{name}.pt", dims, random_tensors(PUBLISHED)))
    giant = torch.zeros(1).expand(10**6, 10**6)
    paths.append(write_openai(tmp_path / "giant.pt", PUBLISHED, random_tensors(PUBLISHED) | {"giant": giant}))
    for i, content in enumerate((LIES["length"], LIES["shape"], LIES["endless empty tensor"])):
        written = write("safetensors", tmp_path / f"lie{i}")
        written.weights[0].write_bytes(content)
        paths.append(written.path)
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, paths)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(paths)
