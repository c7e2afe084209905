"""Reading CTranslate2 folders, written here by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import whisperlite
from tests.vocabularies import vocabulary_parts
from tests.writers import (
    SMALL,
    Variables,
    ctranslate2_file,
    ctranslate2_variables,
    random_tensors,
    stored,
    text_field,
    write_ctranslate2,
)
from whisperlite.checkpoints.resolve import load_checkpoint
from whisperlite.errors import CheckpointError
from whisperlite.nn.build import HEAD, build_network, expected_shapes
from whisperlite.nn.config import ModelDimensions

DIMS = SMALL


def write_folder(folder: Path, data: bytes, *, config: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(data)
    vocabulary_parts(DIMS.n_vocab).write(folder, "vocabulary.json")
    (folder / "config.json").write_text(config, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors(DIMS)


@pytest.fixture(scope="module")
def variables(tensors: dict[str, Tensor]) -> Variables:
    return ctranslate2_variables(tensors, DIMS)


# Round trips


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 0.0), ("float16", 2e-3), ("bfloat16", 2e-2), ("int8", 2e-2), ("int16", 6e-4)]
)
def test_what_was_written_is_read(
    storage: str, tolerance: float, tensors: dict[str, Tensor], variables: Variables, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "model", ctranslate2_file(stored(variables, storage)))
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
    checkpoint = load_checkpoint(write_folder(tmp_path, ctranslate2_file(variables)))
    assert not [name for name in checkpoint.tensors if name.endswith("key.bias")]
    assert len([name for name in checkpoint.tensors if name.endswith("query.bias")]) == 4


def test_a_variable_may_be_an_alias(tensors: dict[str, Tensor], variables: Variables, tmp_path: Path) -> None:
    others = {k: v for k, v in variables.items() if k != "decoder/embeddings/weight"}
    others["decoder/projection/weight"] = variables["decoder/embeddings/weight"]
    data = ctranslate2_file(others, aliases=(("decoder/embeddings/weight", "decoder/projection/weight"),))
    checkpoint = load_checkpoint(write_folder(tmp_path, data))
    assert torch.equal(checkpoint.tensors["decoder.token_embedding.weight"], tensors["decoder.token_embedding.weight"])


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_a_head_of_its_own_is_read(storage: str, tmp_path: Path) -> None:
    tensors = random_tensors(DIMS, untied=True)
    checkpoint = load_checkpoint(write_ctranslate2(tmp_path, DIMS, tensors, storage))
    assert torch.equal(checkpoint.tensors[HEAD], tensors[HEAD].to(getattr(torch, storage)))


def test_a_head_of_its_own_may_differ_by_its_scale_only(tmp_path: Path) -> None:
    tensors = random_tensors(DIMS)
    tensors[HEAD] = 2 * tensors["decoder.token_embedding.weight"]
    head = load_checkpoint(write_ctranslate2(tmp_path, DIMS, tensors, "int8")).tensors[HEAD]
    torch.testing.assert_close(head, tensors[HEAD], rtol=0, atol=2e-2)


def test_a_head_that_repeats_the_embedding_is_dropped(variables: Variables, tmp_path: Path) -> None:
    repeated = variables | {"decoder/projection/weight": variables["decoder/embeddings/weight"]}
    assert HEAD not in load_checkpoint(write_folder(tmp_path, ctranslate2_file(repeated))).tensors


def test_a_file_is_read_with_what_lies_beside_it(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ctranslate2_file(variables))
    (folder / "model.bin").rename(folder / "another.bin")
    checkpoint = load_checkpoint(folder / "another.bin")
    assert (checkpoint.path, checkpoint.dims) == (folder / "another.bin", DIMS)


def test_a_file_without_the_number_of_heads_has_heads_of_width_64(tmp_path: Path) -> None:
    dims = replace(DIMS, n_audio_state=128, n_text_state=128, n_audio_head=2, n_text_head=2)
    variables = ctranslate2_variables(random_tensors(dims), dims)
    del variables["encoder/num_heads"], variables["decoder/num_heads"]
    assert load_checkpoint(write_folder(tmp_path, ctranslate2_file(variables))).dims == dims


def test_the_alignment_heads_are_those_of_the_configuration(variables: Variables, tmp_path: Path) -> None:
    data = ctranslate2_file(variables)
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
    folder = write_folder(tmp_path, ctranslate2_file(variables), config=config)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_reading_does_not_change_the_file(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ctranslate2_file(variables))
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
    data = ctranslate2_file(variables)
    for size in [0, 1, 4, 5, 12, 17, 30, 100, len(data) // 3, len(data) // 2, len(data) - 5, len(data) - 1]:
        refused(write_folder(tmp_path / str(size), data[:size]), "model.bin")


@pytest.mark.parametrize("data", [b"PK\x03\x04" + b"\0" * 200, b"\x80\x02}q\x00." * 50, b"\xff" * 300, b"\0" * 300])
def test_another_kind_of_file_is_refused(data: bytes, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, data), "model.bin", "CTranslate2")


def test_another_version_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, ctranslate2_file(variables, version=7)), "7")


def test_another_kind_of_model_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(
        write_folder(tmp_path, ctranslate2_file(variables, specification="TransformerSpec")),
        "TransformerSpec",
        "Whisper",
    )


def test_every_missing_variable_is_named(variables: Variables, tmp_path: Path) -> None:
    optional = {"encoder/num_heads", "decoder/num_heads"}
    for i, name in enumerate(variables.keys() - optional):
        left = {k: v for k, v in variables.items() if k != name}
        if name.endswith("ffn/linear_0/weight"):
            continue  # this is what layers are counted by
        refused(write_folder(tmp_path / str(i), ctranslate2_file(left)), name)


def test_a_missing_layer_is_refused(variables: Variables, tmp_path: Path) -> None:
    left = {k: v for k, v in variables.items() if not k.startswith("encoder/layer_0/")}
    refused(write_folder(tmp_path, ctranslate2_file(left)), "encoder/layer_0")


def test_a_missing_scale_is_named(variables: Variables, tmp_path: Path) -> None:
    left = stored(variables, "int8")
    del left["encoder/layer_1/ffn/linear_0/weight_scale"]
    refused(write_folder(tmp_path, ctranslate2_file(left)), "encoder/layer_1/ffn/linear_0/weight_scale")


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
        refused(write_folder(tmp_path / str(i), ctranslate2_file(wrong)))


@pytest.mark.parametrize("heads", [0, -2, 3, 17])
def test_a_number_of_heads_that_does_not_divide_the_width_is_refused(
    heads: int, variables: Variables, tmp_path: Path
) -> None:
    wrong = variables | {"decoder/num_heads": torch.tensor(heads, dtype=torch.int16)}
    refused(write_folder(tmp_path, ctranslate2_file(wrong)), "heads")


def test_a_scale_of_another_length_is_refused(variables: Variables, tmp_path: Path) -> None:
    wrong = stored(variables, "int8")
    wrong["encoder/conv1/weight_scale"] = torch.ones(3)
    refused(write_folder(tmp_path, ctranslate2_file(wrong)), "encoder/conv1/weight")


def damaged(variables: Variables, name: str, change: Callable[[bytearray, int], None]) -> bytes:
    """The file with something changed behind the name of a variable, where its rank is."""
    data = bytearray(ctranslate2_file(variables))
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
    data = ctranslate2_file(variables)
    name = text_field("encoder/conv1/bias")
    begin = data.index(name) + len(name)
    lie = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, 0 if len(shape) == 3 else 64)
    refused(write_folder(tmp_path, data[:begin] + lie + data[begin + 10 :]), "encoder/conv1/bias")


def test_an_alias_of_nothing_is_refused(variables: Variables, tmp_path: Path) -> None:
    refused(write_folder(tmp_path, ctranslate2_file(variables, aliases=(("a", "nowhere"),))), "nowhere")


def test_a_folder_without_a_vocabulary_is_refused(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ctranslate2_file(variables))
    (folder / "vocabulary.json").unlink()
    refused(folder, "vocabulary")


def test_a_vocabulary_of_another_size_is_refused(variables: Variables, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ctranslate2_file(variables))
    (folder / "vocabulary.json").write_text(json.dumps([chr(i) for i in range(300)]), encoding="utf-8")
    refused(folder, "vocabulary.json")


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
