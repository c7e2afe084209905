"""Reads the tokenizer of a checkpoint, and writes one as Hugging Face's tokenizer files.

These spell text in GPT-2's alphabet, with a printable character for each byte. Merges are derived from the ids: in
Whisper's vocabularies the id of a text token is its merge rank.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from whisperlite.checkpoints.layout import Format, names_in, vocabulary_files
from whisperlite.errors import CheckpointError
from whisperlite.text import vocabulary as names
from whisperlite.text.tokenizer import Tokenizer

logger = logging.getLogger("whisperlite")


def read_tokenizer(
    folder: Path, format: Format, *, n_vocab: int, special_ids: Mapping[str, int] = MappingProxyType({})
) -> Tokenizer:
    """Read the tokenizer of a checkpoint; without a vocabulary of its own, take a published one and log a warning.

    Args:
        folder: the folder of the checkpoint.
        format: the format of the weights.
        n_vocab: the number of the network's logits.
        special_ids: name of a special token → the id that the checkpoint gives it. They tell which of the published
            vocabularies is meant: the one of its size, or a smaller one with unused logits.

    Raises:
        CheckpointError: the vocabulary is damaged or does not fit the network, or there is none and no published one
            has its size and these ids.
    """
    files = vocabulary_files(names_in(folder), format)
    if files:
        path = folder / files[0]
        if path.name == "tokenizer.json":
            return Tokenizer.from_tokenizer_json(path, n_vocab=n_vocab)
        if path.name == "vocab.json":
            return Tokenizer.from_vocab_json(path, n_vocab=n_vocab)
        return Tokenizer.from_vocabulary(path, n_vocab=n_vocab)
    published = _published(n_vocab, special_ids)
    if published is None:
        same_size = Tokenizer.of_published_size(n_vocab)
        why = None if same_size is None else contradicting(same_size, special_ids)
        contradiction = "" if same_size is None else f" with the ids that it states: {why}"
        raise CheckpointError(
            f"{folder} has no vocabulary, and no published one has {n_vocab} token ids{contradiction}; put "
            "tokenizer.json, vocabulary.json, vocabulary.txt, or vocab.json and merges.txt beside the weights."
        )
    logger.warning(
        "%s has no vocabulary; the published one of %d token ids is used. If the model has a vocabulary of its own, "
        "put its tokenizer.json there.",
        folder,
        n_vocab - len(published.unused_tokens),
    )
    return published


def contradicting(tokenizer: Tokenizer, special_ids: Mapping[str, int]) -> str | None:
    """How a checkpoint's ids of special tokens contradict its vocabulary; None if they agree."""
    known = tokenizer.vocabulary.special_ids
    if not tokenizer.is_multilingual:  # its ids of languages are not meant to be used
        known = {name: known[name] for name in names.REQUIRED}
    return next(
        (
            f"{name} would have the id {token}, and the vocabulary gives it {known[name]}"
            for name, token in special_ids.items()
            if known.get(name, token) != token
        ),
        None,
    )


def _published(n_vocab: int, special_ids: Mapping[str, int]) -> Tokenizer | None:
    same_size = Tokenizer.of_published_size(n_vocab)
    if same_size is not None and contradicting(same_size, special_ids) is None:
        return same_size
    if not special_ids:
        return None
    smaller = [each for each in Tokenizer.of_fewer_ids(n_vocab) if contradicting(each, special_ids) is None]
    return smaller[0] if len(smaller) == 1 else None  # if several fit, nothing says which one is meant


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `vocab.json`, `merges.txt` and
    `added_tokens.json`: everything that some version of transformers reads.

    Raises:
        OSError: the folder cannot be written.
    """
    vocabulary = tokenizer.vocabulary
    text = tuple(map(_printable, vocabulary.tokens[: vocabulary.n_text]))
    ids = {token: i for i, token in enumerate(text)}
    unused = set(vocabulary.unused)
    special = {name: i for name, i in vocabulary.special_ids.items() if i not in unused}
    merges = merges_of(text)
    write_json(folder / "tokenizer.json", _tokenizer_json(tokenizer, ids, special, merges), indent=None)
    write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, special), indent=None)
    write_json(folder / "special_tokens_map.json", _special_tokens(tokenizer, special))
    write_json(folder / "vocab.json", {**ids, names.EOT: tokenizer.eot}, indent=None)
    write_json(folder / "added_tokens.json", {name: i for name, i in special.items() if name != names.EOT}, indent=None)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8", newline="\n")


def write_json(path: Path, document: dict[str, Any], *, indent: int | None = 2) -> None:
    """Write a JSON document; without indent it is on one line, which is faster."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


@lru_cache(maxsize=8)
def merges_of(text: tuple[str, ...]) -> tuple[str, ...]:
    """The merges of byte-pair encoding, in order, as pairs joined by a space.

    The merge of a token is the pair that is left of it after all earlier merges; a token of one byte, or one that no
    merge gives, has none. Cached, since this takes a second and the published vocabularies share their merges.

    Args:
        text: the text tokens in GPT-2's alphabet, in the order of their ids.
    """
    ranks = {token: i for i, token in enumerate(text) if token}
    split = (_merged(token, ranks, rank) for token, rank in ranks.items())
    return tuple(" ".join(parts) for parts in split if len(parts) == 2)


def _merged(token: str, ranks: dict[str, int], limit: int) -> list[str]:
    """The parts of a token after all merges of a rank below the limit, the lowest first."""
    parts = list(token)
    while len(parts) > 2:
        lowest, at = limit, -1
        for i, (first, second) in enumerate(pairwise(parts)):
            rank = ranks.get(first + second, limit)
            if rank < lowest:
                lowest, at = rank, i
        if at < 0:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _printable(token: bytes) -> str:
    return token.decode("latin-1").translate(names.BYTE_ALPHABET)


def _tokenizer_json(
    tokenizer: Tokenizer, text: dict[str, int], special: dict[str, int], merges: tuple[str, ...]
) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    prefix, end = (names.SOT, names.NO_TIMESTAMPS), names.EOT

    def template(*sequences: str) -> list[dict[str, Any]]:
        before = [{"SpecialToken": {"id": name, "type_id": 0}} for name in prefix]
        inside = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate(sequences)]
        return [*before, *inside, {"SpecialToken": {"id": end, "type_id": len(sequences) - 1}}]

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_added(tokenizer, name, i)} for name, i in special.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template("A"),
            "pair": template("A", "B"),
            "special_tokens": {name: {"id": name, "ids": [special[name]], "tokens": [name]} for name in (*prefix, end)},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            # With the added tokens: others would be numbered consecutively, and ids can have gaps.
            "vocab": special | text,
            "merges": merges,
        },
    }


def _added(tokenizer: Tokenizer, name: str, token: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": name, **flags, "special": _is_special(tokenizer, token)}


def _is_special(tokenizer: Tokenizer, token: int) -> bool:
    return token not in tokenizer.timestamps and not tokenizer.is_text(token)


def _special_tokens(tokenizer: Tokenizer, special: dict[str, int]) -> dict[str, Any]:
    # transformers takes the id after the last of these as the first timestamp, so a fine-tune's own tokens come first.
    listed = sorted(
        (i < tokenizer.timestamp_begin, i, name) for name, i in special.items() if _is_special(tokenizer, i)
    )
    return {
        **{f"{role}_token": names.EOT for role in ("bos", "eos", "unk", "pad")},
        "additional_special_tokens": [name for _, _, name in listed],
    }


def _tokenizer_config(tokenizer: Tokenizer, special: dict[str, int]) -> dict[str, Any]:
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": 1024,
        "return_attention_mask": False,
        **_special_tokens(tokenizer, special),
        "added_tokens_decoder": {str(i): _added(tokenizer, name, i) for name, i in special.items()},
    }
