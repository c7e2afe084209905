"""transformers and we read each other's folders, and give the same logits and the same ids."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.comparing import TOKENS, logits_of
from tests.models import random_mel
from tests.writers import random_tensors
from whisperlite.checkpoints.checkpoint import Checkpoint, GenerationConfig
from whisperlite.checkpoints.export import export_checkpoint
from whisperlite.checkpoints.read import read_checkpoint
from whisperlite.nn.config import ModelDimensions
from whisperlite.text.tokenizer import Tokenizer

TEXTS = [
    "Mr. Dashwood's 1,200 acres  of land…",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Съешь же ещё этих мягких французских булок",
    "いろはにほへと ちりぬるを 🎉",
    " ♪ [music] <|notimestamp|>\n",
]


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    """Imported when the first test asks for it, since that takes seconds."""
    return importlib.import_module("transformers")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def small(tokenizer: Tokenizer) -> ModelDimensions:
    return ModelDimensions(
        n_mels=80,
        n_audio_ctx=20,
        n_audio_state=16,
        n_audio_head=4,
        n_audio_layer=2,
        n_vocab=tokenizer.n_vocab,
        n_text_ctx=32,
        n_text_state=16,
        n_text_head=2,
        n_text_layer=3,
    )


def exported(folder: Path, tokenizer: Tokenizer, *, untied: bool = False) -> Checkpoint:
    """A random checkpoint that was written into the folder."""
    dims = small(tokenizer)
    tensors = random_tensors(dims, seed=1, untied=untied)
    checkpoint = Checkpoint(Path("random"), dims, tensors, tokenizer, GenerationConfig())
    export_checkpoint(checkpoint, folder)
    return checkpoint


def their_model(transformers: ModuleType, tokenizer: Tokenizer, *, tied: bool = True) -> Any:
    """A random model of theirs, with weights large enough for logits that differ."""
    dims = small(tokenizer)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=dims.n_vocab,
        num_mel_bins=dims.n_mels,
        d_model=dims.n_audio_state,
        encoder_layers=dims.n_audio_layer,
        encoder_attention_heads=dims.n_audio_head,
        encoder_ffn_dim=4 * dims.n_audio_state,
        decoder_layers=dims.n_text_layer,
        decoder_attention_heads=dims.n_text_head,
        decoder_ffn_dim=4 * dims.n_text_state,
        max_source_positions=dims.n_audio_ctx,
        max_target_positions=dims.n_text_ctx,
        pad_token_id=tokenizer.eot,
        bos_token_id=tokenizer.eot,
        eos_token_id=tokenizer.eot,
        decoder_start_token_id=tokenizer.sot,
        tie_word_embeddings=tied,
        init_std=0.3,
    )
    return transformers.WhisperForConditionalGeneration(config).eval()


def their_logits(model: Any, dims: ModelDimensions) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_features=random_mel(dims, seed=0)[None], decoder_input_ids=TOKENS).logits
    assert logits.std() > 0.3, "what is compared would be close whatever it is"
    return logits


def assert_same_logits(ours: Tensor, theirs: Tensor) -> None:
    assert_close(ours, theirs.float(), rtol=0, atol=1e-3)


# What they write, we read


@pytest.fixture(scope="module")
def processor(transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Their processor of a multilingual model."""
    folder = tmp_path_factory.mktemp("multilingual")
    exported(folder / "export", Tokenizer.bundled(multilingual=True))
    return transformers.WhisperProcessor.from_pretrained(folder / "export")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["5GB", "1MB"])
def test_their_model_gives_the_same_logits_here(
    transformers: ModuleType, processor: Any, tmp_path: Path, dtype: torch.dtype, tied: bool, shard: str
) -> None:
    tokenizer = Tokenizer.bundled(multilingual=True)
    theirs = their_model(transformers, tokenizer, tied=tied).to(dtype)
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    processor.save_pretrained(tmp_path)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) is (shard == "1MB")
    read = read_checkpoint(tmp_path)
    assert read.dims == small(tokenizer)
    assert read.tokenizer == tokenizer
    assert {tensor.dtype for tensor in read.tensors.values()} == {dtype}
    assert_same_logits(logits_of(read.dims, read.tensors), their_logits(theirs.float(), read.dims))


@pytest.mark.parametrize("multiple", [None, 64], ids=["exact", "padded"])
def test_their_fine_tune_with_added_tokens_gives_the_same_logits_here(
    transformers: ModuleType, processor: Any, tmp_path: Path, multiple: int | None
) -> None:
    processor = copy.deepcopy(processor)
    theirs = their_model(transformers, Tokenizer.bundled(multilingual=True))
    processor.tokenizer.add_tokens(["Łódź", " żubr"])
    processor.tokenizer.add_tokens(["<|laughter|>"], special_tokens=True)
    theirs.resize_token_embeddings(len(processor.tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)
    theirs.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    read = read_checkpoint(tmp_path)
    assert read.dims.n_vocab == (51_868 if multiple is None else 51_904)
    assert_same_logits(logits_of(read.dims, read.tensors), their_logits(theirs, read.dims))
    ids = read.tokenizer.vocabulary.special_ids
    assert [ids["Łódź"], ids[" żubr"], ids["<|laughter|>"]] == [51_865, 51_866, 51_867]
    assert [read.tokenizer.is_text(i) for i in range(51_865, 51_868)] == [True, True, False]
    assert read.tokenizer.decode([51_865, 51_866]) == "Łódź żubr"


# What we write, they read


KINDS = [(True, 99), (True, 100), (False, 99)]


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize(("multilingual", "num_languages"), KINDS)
def test_our_export_gives_the_same_logits_there(
    transformers: ModuleType, tmp_path: Path, multilingual: bool, num_languages: int, untied: bool
) -> None:
    tokenizer = Tokenizer.bundled(multilingual=multilingual, num_languages=num_languages)
    ours = exported(tmp_path / "export", tokenizer, untied=untied)
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "export")
    assert theirs.dtype == torch.float32
    assert_same_logits(logits_of(ours.dims, ours.tensors), their_logits(theirs, ours.dims))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_our_export_keeps_its_type_there(transformers: ModuleType, tmp_path: Path, dtype: torch.dtype) -> None:
    tokenizer = Tokenizer.bundled(multilingual=True)
    tensors = random_tensors(small(tokenizer), dtype=dtype)
    export_checkpoint(
        Checkpoint(tmp_path, small(tokenizer), tensors, tokenizer, GenerationConfig()), tmp_path / "export"
    )
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "export")
    assert theirs.dtype == dtype
    stored = theirs.state_dict()["model.decoder.embed_tokens.weight"]
    assert torch.equal(stored, tensors["decoder.token_embedding.weight"])


@pytest.mark.parametrize(("multilingual", "num_languages"), KINDS)
@pytest.mark.parametrize("kind", ["WhisperTokenizer", "WhisperTokenizerFast", "AutoTokenizer"])
def test_our_export_has_the_same_ids_there(
    transformers: ModuleType, tmp_path: Path, multilingual: bool, num_languages: int, kind: str
) -> None:
    ours = Tokenizer.bundled(multilingual=multilingual, num_languages=num_languages)
    exported(tmp_path / "export", ours)
    theirs = getattr(transformers, kind).from_pretrained(tmp_path / "export")
    for text in TEXTS:
        ids = theirs(text, add_special_tokens=False).input_ids
        assert ids == ours.encode(text)
        assert theirs.decode(ids) == text
    assert theirs.convert_ids_to_tokens(range(ours.eot, ours.n_vocab)) == list(ours.vocabulary.special_ids)
    assert theirs.decode([ours.timestamp_begin + 54, *ours.encode(" So")], decode_with_timestamps=True) == "<|1.08|> So"
    assert theirs("", add_special_tokens=True).input_ids == [ours.sot, ours.no_timestamps, ours.eot]
    assert theirs.decode([ours.sot, ours.no_timestamps, *ours.encode("So"), ours.eot], skip_special_tokens=True) == "So"


def test_our_export_keeps_added_tokens_there(transformers: ModuleType, processor: Any, tmp_path: Path) -> None:
    theirs = copy.deepcopy(processor.tokenizer)
    theirs.add_tokens(["Łódź"])
    theirs.add_tokens(["<|laughter|>"], special_tokens=True)
    theirs.save_pretrained(tmp_path / "fine-tune")
    n_vocab = len(theirs) + 7
    ours = Tokenizer.from_tokenizer_json(tmp_path / "fine-tune" / "tokenizer.json", n_vocab=n_vocab)
    exported(tmp_path / "export", ours)
    again = transformers.WhisperTokenizer.from_pretrained(tmp_path / "export")
    assert len(again) == len(theirs)
    text = "In Łódź<|laughter|> they laugh"
    assert again(text).input_ids == theirs(text).input_ids
    assert {51_865, 51_866} <= {*again(text).input_ids}
    assert again.decode(again(text).input_ids, skip_special_tokens=True) == "In Łódź they laugh"


def test_our_export_generates_there_with_the_prompt_that_is_asked_for(transformers: ModuleType, tmp_path: Path) -> None:
    tokenizer = Tokenizer.bundled(multilingual=True)
    dims = exported(tmp_path / "export", tokenizer).dims
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "export")
    asked: list[list[int]] = []  # what the decoder is given, step by step
    theirs.model.decoder.register_forward_pre_hook(
        lambda _, __, named: asked.append(named["input_ids"].tolist()[0]), with_kwargs=True
    )
    mel = random_mel(dims, seed=0)[None]
    answer = theirs.generate(mel, language="de", task="translate", max_new_tokens=3)
    german = tokenizer.language_token("de")
    assert asked[0] == [tokenizer.sot, german, tokenizer.translate, tokenizer.no_timestamps]
    assert not {*answer[0].tolist()} & {*tokenizer.non_speech_tokens, *tokenizer.control_tokens}
    asked.clear()
    theirs.generate(mel, max_new_tokens=3)
    assert asked[0] == [tokenizer.sot]  # the language is detected
    assert asked[1][2:] == [tokenizer.transcribe, tokenizer.no_timestamps]
