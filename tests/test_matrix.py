"""Every published shape in every format, as docs/formats.md promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from docs.formats_table import FORMATS, PAGE, shapes, with_table
from tests.comparing import assert_same_tensors, logits_of
from tests.models import random_tensors
from tests.writers import write_ctranslate2, write_huggingface, write_openai
from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.export import export_checkpoint
from whisperlite.checkpoints.published import PUBLISHED
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer

HEAD_WIDTH = 2
CONTEXT = 20  # encoder positions


@dataclass(frozen=True)
class Written:
    """A network of random weights, which float16 and bfloat16 hold exactly, so that every format answers alike."""

    dims: ModelDimensions
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    logits: Tensor


def narrow(dims: ModelDimensions) -> ModelDimensions:
    """The published shape with narrow heads and a short window."""
    audio, text = dims.n_audio_head * HEAD_WIDTH, dims.n_text_head * HEAD_WIDTH
    return replace(dims, n_audio_state=audio, n_text_state=text, n_audio_ctx=CONTEXT)


def rounded(tensor: Tensor) -> Tensor:
    """To the digits of bfloat16, and zero where float16 has fewer."""
    short = tensor.bfloat16().float()
    return short.where(short.abs() >= torch.finfo(torch.float16).smallest_normal, 0.0)


@pytest.fixture(scope="module", params=shapes().values(), ids=list(shapes()))
def written(request: pytest.FixtureRequest) -> Written:
    dims = narrow(request.param)
    tensors = {name: rounded(tensor) for name, tensor in random_tensors(dims).items()}
    tokenizer = Tokenizer.bundled(multilingual=dims.is_multilingual, num_languages=dims.num_languages)
    return Written(dims, tensors, tokenizer, logits_of(dims, tensors))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Gone after the test: together they would fill a disk."""
    with TemporaryDirectory() as name:
        yield Path(name) / "model"


def huggingface(
    file: str = "model.safetensors",
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    tokenizer_files: str | None = None,
) -> Callable[[Path, Written], Path]:
    return lambda folder, it: write_huggingface(
        folder, it.dims, it.tensors, file=file, dtype=dtype, shards=shards, tokenizer_files=tokenizer_files
    )


def openai(folder: Path, it: Written) -> Path:
    return write_openai(folder / "model.pt", it.dims, in_type(it.tensors, torch.float16))


def ctranslate2(storage: str) -> Callable[[Path, Written], Path]:
    return lambda folder, it: write_ctranslate2(folder, it.dims, it.tensors, storage)


def exported(folder: Path, it: Written) -> Path:
    checkpoint = Checkpoint(folder, it.dims, in_type(it.tensors, torch.float16), it.tokenizer, GenerationConfig())
    export_checkpoint(checkpoint, folder)
    return folder


def in_type(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def dequantised(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is left of float32 weights that were stored as int8: rows of whole numbers over a scale each."""

    def stored(tensor: Tensor) -> Tensor:
        scale = 127.0 / tensor.flatten(1).abs().amax(1).reshape(-1, *[1] * (tensor.dim() - 1))
        return (tensor * scale).round() / scale

    return {
        name: stored(tensor) if name.endswith("weight") and tensor.dim() > 1 else tensor
        for name, tensor in tensors.items()
    }


# For each row of the table: how it is written, and the type that its tensors have. Each kind of tokenizer files is
# read in one of them; where there are none, the vocabulary is that of the published size.
COLUMNS: dict[str, tuple[Callable[[Path, Written], Path], torch.dtype]] = {
    "safetensors float32": (huggingface(tokenizer_files="tokenizer.json"), torch.float32),
    "safetensors float16": (huggingface(dtype=torch.float16), torch.float16),
    "safetensors bfloat16": (huggingface(dtype=torch.bfloat16), torch.bfloat16),
    "safetensors sharded": (huggingface(shards=2), torch.float32),
    "safetensors variant": (huggingface("model.fp32.safetensors"), torch.float32),
    "PyTorch": (huggingface("pytorch_model.bin", tokenizer_files="vocab.json"), torch.float32),
    "OpenAI": (openai, torch.float16),
    "CTranslate2 float16": (ctranslate2("float16"), torch.float16),
    "CTranslate2 int8": (ctranslate2("int8"), torch.float32),
    "whisperlite": (exported, torch.float16),
}


@pytest.mark.parametrize("column", [each.name for each in FORMATS])
def test_the_network_that_was_written_is_read(written: Written, column: str, folder: Path) -> None:
    write, dtype = COLUMNS[column]
    read = read_checkpoint(write(folder, written))
    is_quantised = column.endswith("int8")
    expected = dequantised(written.tensors) if is_quantised else in_type(written.tensors, dtype)
    assert read.dims == written.dims
    assert_same_tensors(read.tensors, expected)
    assert read.tokenizer == written.tokenizer
    logits = logits_of(read.dims, read.tensors)
    assert logits.isfinite().all()
    assert_close(logits, logits_of(written.dims, expected) if is_quantised else written.logits)


def test_every_published_name_is_in_the_table() -> None:
    assert {name for row in shapes() for name in row.split(", ")} == PUBLISHED.keys()
    assert COLUMNS.keys() == {each.name for each in FORMATS}


def test_the_table_of_formats_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run: python docs/formats_table.py"
