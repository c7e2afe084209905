"""Vocabularies: from a checkpoint's file, or bundled, to the bytes of every token id.

A Whisper vocabulary has three ranges of ids: text tokens (byte-level BPE; the id is also the merge rank), special
tokens from `<|endoftext|>` on, and the 1501 timestamps `<|0.00|>` to `<|30.00|>`. A fine-tune may add tokens after
them, text or special, and a network may have more logits than there are tokens. Files write text tokens in GPT-2's
alphabet of printable characters, one for each byte, and often leave out the timestamps.
"""

from __future__ import annotations

import binascii
import logging
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from whisperlite.errors import CheckpointError
from whisperlite.languages import LANGUAGES
from whisperlite.text.files import read_json, read_json_object, read_text

logger = logging.getLogger("whisperlite")

EOT = "<|endoftext|>"
SOT = "<|startoftranscript|>"
TRANSLATE = "<|translate|>"
TRANSCRIBE = "<|transcribe|>"
SOT_LM = "<|startoflm|>"
SOT_PREV = "<|startofprev|>"
NO_SPEECH = "<|nospeech|>"
NO_TIMESTAMPS = "<|notimestamps|>"
REQUIRED = (EOT, SOT, TRANSLATE, TRANSCRIBE, SOT_LM, SOT_PREV, NO_SPEECH, NO_TIMESTAMPS)

# Other names for the same tokens: of no speech, in Hugging Face's checkpoints and formats made from them; of Hebrew, in
# files from before the reference renamed it.
_OLD_NAMES = {"<|nocaptions|>": NO_SPEECH, "<|iw|>": "<|he|>"}

# The number of text tokens of GPT-2; the multilingual vocabulary has one more.
_N_GPT2 = 50_256

TIMESTAMP_SECONDS = 0.02  # from one timestamp to the next
TIMESTAMPS = tuple(f"<|{i * TIMESTAMP_SECONDS:.2f}|>" for i in range(1501))

# The names of special tokens, for files that do not say which tokens are special.
_SPECIAL_NAME = re.compile(r"<\|.*\|>", re.DOTALL)
# CTranslate2's names for ids that only pad a vocabulary.
_FILLER_NAME = re.compile(r"madeupword\d+")


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token id, including the names of special tokens.

    Attributes:
        tokens: id → bytes.
        n_text: ids below are text; this one is <|endoftext|>.
        added_text: ids after the timestamps that are also text: plain tokens that a fine-tune added.
        unused: ids from <|endoftext|> on without a token, for logits that are never trained.
    """

    tokens: tuple[bytes, ...] = field(repr=False)
    n_text: int
    added_text: tuple[int, ...] = ()
    unused: tuple[int, ...] = ()

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """All tokens from `<|endoftext|>` on, including timestamps, as name → id."""
        return {name.decode(): i for i, name in enumerate(self.tokens[self.n_text :], self.n_text)}


@cache
def bundled_vocabulary(multilingual: bool, num_languages: int) -> Vocabulary:
    """The vocabulary of OpenAI's own models: English-only, or multilingual with 99 or (from large-v3 on) 100 languages.

    Raises:
        CheckpointError: no published model has that many languages.
    """
    if num_languages not in (99, 100):
        raise CheckpointError(
            f"there is no bundled vocabulary with {num_languages} languages: Whisper's models have 99, or 100 from "
            "large-v3 on. Put the checkpoint's own tokenizer.json beside its weights."
        )
    text = _bundled_text_tokens("multilingual" if multilingual else "gpt2")
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:num_languages]]
    control = [TRANSLATE, TRANSCRIBE, SOT_LM, SOT_PREV, NO_SPEECH, NO_TIMESTAMPS]
    special = [EOT, SOT, *languages, *control, *TIMESTAMPS]
    return Vocabulary(tokens=(*text, *(name.encode() for name in special)), n_text=len(text))


@cache
def _bundled_text_tokens(name: str) -> tuple[bytes, ...]:
    asset = resources.files("whisperlite.text") / "assets" / f"{name}.tiktoken"
    # Each line is a token and its id, in the order of ids.
    return tuple(map(binascii.a2b_base64, asset.read_bytes().split()[::2]))


def padded(vocabulary: Vocabulary, n_vocab: int) -> Vocabulary:
    """The same vocabulary for a network with more logits; the ids after it are unused."""
    added = range(len(vocabulary.tokens), n_vocab)
    tokens = (*vocabulary.tokens, *map(_unused_name, added))
    return replace(vocabulary, tokens=tokens, unused=(*vocabulary.unused, *added))


def _unused_name(token_id: int) -> bytes:
    return f"<|unused{token_id}|>".encode()


def is_gpt2(vocabulary: Vocabulary) -> bool:
    """Whether the text tokens are GPT-2's, as in the English-only models."""
    n = vocabulary.n_text
    return n == _N_GPT2 and vocabulary.tokens[:n] == _bundled_text_tokens("gpt2")


def read_tokenizer_json(path: Path, *, n_vocab: int) -> Vocabulary:
    """Read a Hugging Face `tokenizer.json` with a byte-level BPE model, for a network of `n_vocab` logits.

    Raises:
        CheckpointError: the file is not such a vocabulary, lacks a token that Whisper needs, or does not fit `n_vocab`.
    """
    document = read_json_object(path)
    try:
        ids: dict[str, Any] = dict(document["model"]["vocab"].items())
        merges = ["".join(merge).replace(" ", "") for merge in document["model"]["merges"]]
        added = [_added(token, token["id"]) for token in document.get("added_tokens") or ()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tokenizer.json with a BPE vocabulary and its merges.") from error
    return _from_merges(ids, merges, added, n_vocab=n_vocab, path=path)


def read_vocab_json(path: Path, *, n_vocab: int) -> Vocabulary:
    """Read a Hugging Face `vocab.json` with the files beside it, for a network of `n_vocab` logits.

    `merges.txt` is required; `added_tokens.json`, `tokenizer_config.json` and `special_tokens_map.json` are optional.

    Raises:
        CheckpointError: the files are not such a vocabulary, lack a token that Whisper needs, or do not fit `n_vocab`.
    """
    ids: dict[str, Any] = read_json_object(path)
    lines = read_text(path.with_name("merges.txt")).split("\n")
    merges = [line.replace(" ", "") for line in lines if line and not line.startswith("#version")]
    added = _added_beside(path.parent)
    return _from_merges(ids, merges, added, n_vocab=n_vocab, path=path)


def read_token_list(path: Path, *, n_vocab: int) -> Vocabulary:
    """Read CTranslate2's `vocabulary.txt` (a token a line) or `vocabulary.json` (a list), for `n_vocab` logits.

    Raises:
        CheckpointError: the file is not such a vocabulary, lacks a token that Whisper needs, or does not fit `n_vocab`.
    """
    if path.suffix == ".json":
        listed = read_json(path)
    else:
        # One token is the empty string, so an empty line counts; but the last line's end does not start another.
        listed = read_text(path).removesuffix("\n").split("\n")
    if not isinstance(listed, list) or not all(isinstance(token, str) for token in listed):
        raise CheckpointError(f"{path} is not a list of tokens.")
    # CTranslate2's converter pads a vocabulary with timestamps again: the first token of a name counts.
    first: dict[str, int] = {}
    for i, token in enumerate(listed):
        first.setdefault(token, i)
    n_text = _end_of_text(first, path)
    tokens = dict(enumerate(_text_bytes(listed[:n_text], path)))
    others = {i: token for token, i in first.items() if i >= n_text and not _FILLER_NAME.fullmatch(token)}
    tokens.update({i: token.encode(errors="replace") for i, token in others.items()})
    plain = {i for i, token in others.items() if not _SPECIAL_NAME.fullmatch(token)}
    return _assemble(tokens, plain, n_text=n_text, n_vocab=n_vocab, path=path)


@dataclass(frozen=True, slots=True)
class _Added:
    """A token that a file lists outside its BPE vocabulary."""

    name: str
    id: int
    is_special: bool


def _added(entry: dict[str, Any], token_id: int) -> _Added:
    name = str(entry["content"])
    return _Added(name, token_id, bool(entry.get("special", _SPECIAL_NAME.fullmatch(name) is not None)))


def _added_beside(folder: Path) -> list[_Added]:
    """The added tokens in `added_tokens.json` and, since transformers 4.34, in `tokenizer_config.json`."""
    paths = [folder / name for name in ("special_tokens_map.json", "tokenizer_config.json", "added_tokens.json")]
    special_map, settings, added = ((read_json_object(path) if path.is_file() else {}) for path in paths)
    try:
        listed = special_map.get("additional_special_tokens") or ()
        special = {entry["content"] if isinstance(entry, dict) else entry for entry in listed}
        found = [_Added(name, i, name in special or bool(_SPECIAL_NAME.fullmatch(name))) for name, i in added.items()]
        decoder = settings.get("added_tokens_decoder") or {}
        return found + [_added(entry, int(token_id)) for token_id, entry in decoder.items()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: {', '.join(path.name for path in paths)} do not list added tokens."
        ) from error


def _from_merges(
    ids: dict[str, Any], merges: list[str], added: list[_Added], *, n_vocab: int, path: Path
) -> Vocabulary:
    names = ids | {token.name: token.id for token in added}
    if not all(type(i) is int for i in names.values()):
        raise CheckpointError(f"{path} has token ids that are not whole numbers.")
    _check_merge_order(ids, merges, path)
    n_text = _end_of_text(names, path)
    text = {i: token for token, i in ids.items() if i < n_text}
    tokens = dict(zip(text, _text_bytes(list(text.values()), path), strict=True))
    # Whisper's files also have <|endoftext|> among the text tokens; from it on, tokens are names, not bytes.
    tokens.update({i: name.encode(errors="replace") for name, i in names.items() if i >= n_text})
    plain = {token.id for token in added if not token.is_special}
    return _assemble(tokens, plain, n_text=n_text, n_vocab=n_vocab, path=path)


def _assemble(tokens: dict[int, bytes], plain: Collection[int], *, n_text: int, n_vocab: int, path: Path) -> Vocabulary:
    """Add what files leave out (timestamps, padding), and check that the result is a complete Whisper vocabulary."""
    if min(tokens) < 0 or n_text >= n_vocab:
        raise CheckpointError(
            f"{path} has token ids from {min(tokens)} to {max(tokens)}, and the network has {n_vocab} logits: "
            "the vocabulary belongs to another checkpoint."
        )
    _check_text_tokens([tokens[i] for i in range(n_text) if i in tokens], path)
    special_ids = {token.decode(): i for i, token in tokens.items() if i >= n_text}
    for old, new in _OLD_NAMES.items():
        if old in special_ids and new not in special_ids:
            special_ids[new] = special_ids.pop(old)
            tokens[special_ids[new]] = new.encode()
    missing = [name for name in REQUIRED if name not in special_ids]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}: it is not a vocabulary of Whisper.")
    end = _add_timestamps(tokens, special_ids, n_vocab, path)
    # A fine-tune's tokenizer may have tokens, such as one for padding, that its network does not have.
    for i in sorted(i for i in tokens if i >= n_vocab):
        logger.warning("%s has the token %r under id %d, which the network cannot give.", path, tokens.pop(i), i)
    # A network may have more logits than there are tokens: those ids are never trained, but must be decodable.
    unused = tuple(i for i in range(n_text, n_vocab) if i not in tokens)
    tokens.update({i: _unused_name(i) for i in unused})
    return Vocabulary(
        tokens=tuple(tokens.get(i, b"") for i in range(n_vocab)),
        n_text=n_text,
        # Files flag timestamps as plain too; and every other id before their end is special, whatever files say.
        added_text=tuple(sorted(i for i in plain if end <= i < n_vocab)),
        unused=unused,
    )


def _add_timestamps(tokens: dict[int, bytes], special_ids: dict[str, int], n_vocab: int, path: Path) -> int:
    """Add the timestamps that a file leaves out; returns the first id after them."""
    begin = special_ids.get(TIMESTAMPS[0], special_ids[NO_TIMESTAMPS] + 1)
    end = begin + len(TIMESTAMPS)
    if end > n_vocab:
        raise CheckpointError(
            f"{path} has its timestamps from id {begin} to {end - 1}, and the network has only {n_vocab} logits: "
            "the vocabulary belongs to another checkpoint."
        )
    for i, name in enumerate(TIMESTAMPS, begin):
        if special_ids.get(name, i) != i or tokens.setdefault(i, name.encode()) != name.encode():
            there = tokens.get(i, b"nothing").decode()
            raise CheckpointError(
                f"{path} does not have its timestamps in a row: {name} belongs at id {i}, where {there} is."
            )
    return end


def _check_text_tokens(tokens: list[bytes], path: Path) -> None:
    text = [token for token in tokens if token]
    known = set(text)
    absent = [byte for byte in range(256) if bytes([byte]) not in known]
    if absent:
        raise CheckpointError(f"{path} lacks {len(absent)} of the 256 single bytes, so it can't encode every text.")
    if len(known) < len(text):
        raise CheckpointError(f"{path} has the same text token under two ids.")


def _check_merge_order(ids: dict[str, int], merges: list[str], path: Path) -> None:
    """Check that ids follow the order of the merges: tiktoken merges the pair of the lowest id first.

    The list of merges may lack some: the published multilingual files have lost their first merge, whose id remains.
    """
    unknown = next((merge for merge in merges if merge not in ids), None)
    if unknown is not None:
        raise CheckpointError(f"{path} merges to {unknown!r}, which is not in its vocabulary.")
    merged = [ids[merge] for merge in merges]
    if any(later <= earlier for earlier, later in pairwise(merged)):
        raise CheckpointError(
            f"{path} has token ids that do not follow the order of its merges, as GPT-2's and Whisper's do. "
            "whisperlite can't encode text with such a vocabulary."
        )


def _end_of_text(ids: dict[str, int], path: Path) -> int:
    if EOT not in ids:
        raise CheckpointError(f"{path} lacks {EOT}: it is not a vocabulary of Whisper.")
    return ids[EOT]


_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
# GPT-2's alphabet for `str.translate`: a byte's Latin-1 character → the character that stands for it, if that differs.
BYTE_ALPHABET = {byte: 256 + i for i, byte in enumerate(byte for byte in range(256) if byte not in _PRINTABLE)}
# The inverse. Characters that stand for no byte become one that Latin-1 can't encode, so that they are noticed.
_BYTES = dict.fromkeys(BYTE_ALPHABET, "\uffff") | {symbol: chr(byte) for byte, symbol in BYTE_ALPHABET.items()}


def _text_bytes(tokens: list[str], path: Path) -> Iterator[bytes]:
    """The bytes of text tokens, translated all at once: one by one would take most of the loading time."""
    try:
        data = "".join(tokens).translate(_BYTES).encode("latin-1")
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{path} has text with {error.object[error.start]!r}, in a place where only GPT-2's byte alphabet may be."
        ) from error
    ends = accumulate(map(len, tokens), initial=0)
    return (data[start:end] for start, end in pairwise(ends))
