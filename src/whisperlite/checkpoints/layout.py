"""Which files make up a model: one set of weights, a vocabulary, settings.

In: the names of the files in a folder or a repository. Out: the names of those that are read, the best first. Downloads
and readers both choose here, so what is fetched is what is read.
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
ADAPTER = "adapter_config.json"  # in a folder that has an adapter, beside weights or instead of them

_WEIGHTS = re.compile(
    r"(?:model|pytorch_model)(?:\.[^.]+)?(?:-\d+-of-\d+)?(?:\.[^.]+)?\.(?:safetensors|bin)(?:\.index(?:\.[^.]+)?\.json)?"
)
_UNREAD = ("normalizer.json",)  # written by transformers beside a vocabulary
_SHARD = re.compile(r"-\d+-of-\d+\.")
_VARIANTS = ("fp16", "fp32")

# The files of a vocabulary: those that all have to be there, and those that are read with them if they are there.
VocabularySet = tuple[tuple[str, ...], tuple[str, ...]]
_TOKENIZER_JSON: VocabularySet = (("tokenizer.json",), ())
_VOCAB_JSON: VocabularySet = (
    ("vocab.json", "merges.txt"),
    ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"),
)
_TOKEN_LISTS: tuple[VocabularySet, ...] = ((("vocabulary.json",), ()), (("vocabulary.txt",), ()))
# Every format is read with every kind of vocabulary; its own comes first.
_VOCABULARIES: dict[Format, tuple[VocabularySet, ...]] = {
    "huggingface": (_TOKENIZER_JSON, _VOCAB_JSON, *_TOKEN_LISTS),
    "ctranslate2": (_TOKENIZER_JSON, *_TOKEN_LISTS, _VOCAB_JSON),
}


def weights_file(names: Collection[str]) -> str | None:
    """The file that holds or lists the weights; None if there is none that can be read.

    safetensors come before CTranslate2's file, and that before pickles. fp16 and fp32, of which large-v3's repository
    has one, come after the file without a variant; of other variants nobody knows what they are, so they come last.
    """
    plain, other = zip(
        *(_named(*each, names) for each in (("model", "safetensors"), ("pytorch_model", "bin"))), strict=True
    )
    order = (*plain[0], CTRANSLATE2, *plain[1], *other[0], *other[1])
    return next((name for name in order if name in names), None)


def format_of(weights: str) -> Format:
    """The format of a file that `weights_file` chose."""
    return "ctranslate2" if weights == CTRANSLATE2 else "huggingface"


def vocabulary_sets(format: Format) -> tuple[VocabularySet, ...]:
    """The sets of files that a tokenizer can be read from, the best first: those of a set that it needs, and others."""
    return _VOCABULARIES[format]


def vocabulary_files(names: Collection[str], format: Format) -> list[str]:
    """The files that a tokenizer is read from, the main one first; empty if no set of them is complete."""
    for needed, others in _VOCABULARIES[format]:
        if all(name in names for name in needed):
            return [*needed, *(name for name in others if name in names)]
    return []


def is_of_a_model(name: str) -> bool:
    """Whether a file of this name is a part of a model, or could be."""
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
    """Why a folder or repository with an adapter cannot be loaded, and what to do.

    Args:
        weights: the file of weights beside the adapter, if there is one.
    """
    if weights is None:
        return f"{where} holds a LoRA adapter, which is not a model by itself. {_MERGE}"
    return (
        f"{where} holds a LoRA adapter beside {weights}, which would be used without it. {_MERGE} Or, to do without "
        f"the adapter, move {ADAPTER} and its weights away."
    )


def wrapped_message(path: Path, name: str) -> str:
    """Why a file with an adapter's tensors among the others, such as this one, cannot be loaded."""
    return f"{path} was saved with a LoRA adapter that was not merged: it holds {name!r}. {_MERGE}"


def _named(stem: str, suffix: str, names: Collection[str]) -> tuple[list[str], list[str]]:
    """`model.safetensors` and its index, then both of fp16 and fp32; and of each other variant that is there."""
    file = re.compile(rf"{stem}\.([^/]+)\.{suffix}")
    index = re.compile(rf"{stem}\.{suffix}\.index\.([^/]+)\.json")
    whole = [name for name in names if not _SHARD.search(name)]
    found = {match[1] for name in whole for pattern in (file, index) if (match := pattern.fullmatch(name))}

    def both(variants: Iterable[str]) -> list[str]:
        return [f for each in variants for f in (f"{stem}.{each}.{suffix}", f"{stem}.{suffix}.index.{each}.json")]

    plain = [f"{stem}.{suffix}", f"{stem}.{suffix}.index.json", *both(_VARIANTS)]
    return plain, both(sorted(found.difference(_VARIANTS)))
