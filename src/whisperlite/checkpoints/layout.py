"""Chooses the files of a model: one set of weights, a vocabulary, settings.

In: the names of the files in a folder or a repository. Out: the names of those to read, the best first. Downloads and
readers both choose here, so the files that are fetched are those that are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from whisperlite.errors import CheckpointError

Format = Literal["huggingface", "ctranslate2"]

CONFIG = "config.json"
GENERATION = "generation_config.json"
SETTINGS = (CONFIG, GENERATION, "preprocessor_config.json", "processor_config.json")
CTRANSLATE2 = "model.bin"
ADAPTER = "adapter_config.json"  # marks a folder with an adapter, with or without weights

_WEIGHTS = re.compile(
    r"(?:model|pytorch_model)(?:\.[^.]+)?(?:-\d+-of-\d+)?(?:\.[^.]+)?\.(?:safetensors|bin)(?:\.index(?:\.[^.]+)?\.json)?"
)
_UNREAD = ("normalizer.json",)  # transformers writes it with a vocabulary
_SHARD = re.compile(r"-\d+-of-\d+\.")
_VARIANTS = ("fp16", "fp32")

# The files of a vocabulary: required ones, and those that are read too if they exist.
VocabularySet = tuple[tuple[str, ...], tuple[str, ...]]
_TOKENIZER_JSON: VocabularySet = (("tokenizer.json",), ())
_VOCAB_JSON: VocabularySet = (
    ("vocab.json", "merges.txt"),
    ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"),
)
_TOKEN_LISTS: tuple[VocabularySet, ...] = ((("vocabulary.json",), ()), (("vocabulary.txt",), ()))
# Every format can have any kind of vocabulary; its own comes first.
_VOCABULARIES: dict[Format, tuple[VocabularySet, ...]] = {
    "huggingface": (_TOKENIZER_JSON, _VOCAB_JSON, *_TOKEN_LISTS),
    "ctranslate2": (_TOKENIZER_JSON, *_TOKEN_LISTS, _VOCAB_JSON),
}


def weights_file(names: Collection[str]) -> str | None:
    """The name of the file that contains or lists the weights; None if there is none that can be read.

    safetensors come before CTranslate2's file, and that before pickles. The variants fp16 and fp32, one of which is in
    large-v3's repository, come after the file without a variant; others, whose meaning is unknown, come last.
    """
    plain, other = zip(
        *(_named(*each, names) for each in (("model", "safetensors"), ("pytorch_model", "bin"))), strict=True
    )
    order = (*plain[0], CTRANSLATE2, *plain[1], *other[0], *other[1])
    return next((name for name in order if name in names), None)


def format_of(weights: str) -> Format:
    """The format of the file that `weights_file` chose."""
    return "ctranslate2" if weights == CTRANSLATE2 else "huggingface"


def vocabulary_sets(format: Format) -> tuple[VocabularySet, ...]:
    """The sets of files that a tokenizer can be read from, the best first: (required, optional) of each."""
    return _VOCABULARIES[format]


def vocabulary_files(names: Collection[str], format: Format) -> list[str]:
    """The files to read a tokenizer from, the main one first; empty if no set is complete."""
    for needed, others in _VOCABULARIES[format]:
        if all(name in names for name in needed):
            return [*needed, *(name for name in others if name in names)]
    return []


def is_of_a_model(name: str) -> bool:
    """Whether a file of this name is, or can be, part of a model."""
    sets = (names for of_format in _VOCABULARIES.values() for each in of_format for names in each)
    return name in (*SETTINGS, *_UNREAD) or any(name in names for names in sets) or _WEIGHTS.fullmatch(name) is not None


def names_in(folder: Path) -> set[str]:
    """The names of the files in a folder.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    try:
        return {path.name for path in folder.iterdir() if path.is_file()}
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}.") from error


_MERGE = (
    "Merge it into its base model first, with peft: "
    "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)."
)


def adapter_message(where: str, weights: str | None) -> str:
    """The error message for a folder or repository with an adapter, with what to do.

    Args:
        weights: the file of weights in the same place, if any.
    """
    if weights is None:
        return f"{where} holds a LoRA adapter, which is not a model by itself. {_MERGE}"
    return (
        f"{where} holds a LoRA adapter beside {weights}, which would be used without it. {_MERGE} Or, to do without "
        f"the adapter, move {ADAPTER} and its weights away."
    )


def wrapped_message(path: Path, name: str) -> str:
    """The error message for a file with an adapter's tensors among the others; `name` is one of them."""
    return f"{path} was saved with a LoRA adapter that was not merged: it holds {name!r}. {_MERGE}"


def _named(stem: str, suffix: str, names: Collection[str]) -> tuple[list[str], list[str]]:
    """The names of weights to look for: plain, fp16 and fp32, each with its index; and likewise of other variants."""
    file = re.compile(rf"{stem}\.([^/]+)\.{suffix}")
    index = re.compile(rf"{stem}\.{suffix}\.index\.([^/]+)\.json")
    whole = [name for name in names if not _SHARD.search(name)]
    found = {match[1] for name in whole for pattern in (file, index) if (match := pattern.fullmatch(name))}

    def both(variants: Iterable[str]) -> list[str]:
        return [f for each in variants for f in (f"{stem}.{each}.{suffix}", f"{stem}.{suffix}.index.{each}.json")]

    plain = [f"{stem}.{suffix}", f"{stem}.{suffix}.index.json", *both(_VARIANTS)]
    return plain, both(sorted(found.difference(_VARIANTS)))
