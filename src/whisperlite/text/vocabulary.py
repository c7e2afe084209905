"""Vocabularies: a checkpoint's file, or the bundled one → the bytes of every token id.

A Whisper vocabulary has three stretches of ids: text tokens (byte-level BPE, the id is also the merge rank), special
tokens from `<|endoftext|>` on, and last the 1501 timestamps `<|0.00|>` to `<|30.00|>`. Files name the tokens in GPT-2's
alphabet of printable characters, one for each byte, and often leave the timestamps out.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from whisperlite.errors import CheckpointError
from whisperlite.languages import LANGUAGES

EOT = "<|endoftext|>"
SOT = "<|startoftranscript|>"
TRANSLATE = "<|translate|>"
TRANSCRIBE = "<|transcribe|>"
SOT_LM = "<|startoflm|>"
SOT_PREV = "<|startofprev|>"
NO_SPEECH = "<|nospeech|>"
NO_TIMESTAMPS = "<|notimestamps|>"
REQUIRED = (EOT, SOT, TRANSLATE, TRANSCRIBE, SOT_LM, SOT_PREV, NO_SPEECH, NO_TIMESTAMPS)

# Names that other files have for the same tokens: no speech in Hugging Face's checkpoints and formats made from them,
# Hebrew in those from before the reference renamed it.
_OLD_NAMES = {"<|nocaptions|>": NO_SPEECH, "<|iw|>": "<|he|>"}

# How many text tokens GPT-2 has; the multilingual vocabulary has one more.
_N_GPT2 = 50_256

TIMESTAMPS = tuple(f"<|{i * 0.02:.2f}|>" for i in range(1501))


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token id, the special tokens' names included."""

    tokens: tuple[bytes, ...] = field(repr=False)
    n_text: int  # ids below are text; this one is <|endoftext|>

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Name → id of every token from `<|endoftext|>` on, timestamps included."""
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
    # A line is a token and its id, in the order of the ids.
    return tuple(map(binascii.a2b_base64, asset.read_bytes().split()[::2]))


def is_gpt2(vocabulary: Vocabulary) -> bool:
    """Whether the text tokens are GPT-2's: those of the English-only models."""
    n = vocabulary.n_text
    return n == _N_GPT2 and vocabulary.tokens[:n] == _bundled_text_tokens("gpt2")


def read_tokenizer_json(path: Path, *, n_vocab: int) -> Vocabulary:
    """Reads a Hugging Face `tokenizer.json` with a byte-level BPE model, for a network of `n_vocab` logits.

    Raises:
        CheckpointError: the file is not such a vocabulary, lacks a token that Whisper needs, or does not fit `n_vocab`.
    """
    document = _read_json(path)
    try:
        ids: dict[str, int] = dict(document["model"]["vocab"])
        merges = ["".join(merge).replace(" ", "") for merge in document["model"]["merges"]]
        added = {str(token["content"]): token["id"] for token in document.get("added_tokens") or ()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tokenizer.json with a BPE vocabulary and its merges.") from error
    names = ids | added
    if not all(type(i) is int for i in names.values()):
        raise CheckpointError(f"{path} has token ids that are not whole numbers.")
    _check_merge_order(ids, merges, path)
    n_text = _end_of_text(names, path)
    text = {i: token for token, i in ids.items() if i < n_text}
    tokens = dict(zip(text, _text_bytes(list(text.values()), path), strict=True))
    # Whisper's files also hold <|endoftext|> among the text tokens; what follows it is a name, not bytes.
    tokens.update({i: name.encode(errors="replace") for name, i in names.items() if i >= n_text})
    return _assemble(tokens, n_text=n_text, n_vocab=n_vocab, path=path)


def read_token_list(path: Path, *, n_vocab: int) -> Vocabulary:
    """Reads CTranslate2's `vocabulary.txt` (a token a line) or `vocabulary.json` (a list), for `n_vocab` logits.

    Raises:
        CheckpointError: the file is not such a vocabulary, lacks a token that Whisper needs, or does not fit `n_vocab`.
    """
    if path.suffix == ".json":
        listed = _read_json(path)
    else:
        # One token is the empty string, so an empty line counts; only the last line's end is not a line.
        listed = _read_text(path).removesuffix("\n").split("\n")
    if not isinstance(listed, list) or not all(isinstance(token, str) for token in listed):
        raise CheckpointError(f"{path} is not a list of tokens.")
    n_text = _end_of_text({token: i for i, token in enumerate(listed)}, path)
    tokens = dict(enumerate(_text_bytes(listed[:n_text], path)))
    tokens.update({i: token.encode(errors="replace") for i, token in enumerate(listed[n_text:], n_text)})
    return _assemble(tokens, n_text=n_text, n_vocab=n_vocab, path=path)


def _assemble(tokens: dict[int, bytes], *, n_text: int, n_vocab: int, path: Path) -> Vocabulary:
    """Adds what files leave out (timestamps, padding) and checks that the result is a whole Whisper vocabulary."""
    if min(tokens) < 0 or max(tokens) >= n_vocab:
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
    begin = special_ids.get(TIMESTAMPS[0], special_ids[NO_TIMESTAMPS] + 1)
    if begin + len(TIMESTAMPS) > n_vocab:
        raise CheckpointError(
            f"{path} has its timestamps from id {begin} to {begin + len(TIMESTAMPS) - 1}, and the network has only "
            f"{n_vocab} logits: the vocabulary belongs to another checkpoint."
        )
    for i, name in enumerate(TIMESTAMPS, begin):
        if special_ids.get(name, i) != i or tokens.setdefault(i, name.encode()) != name.encode():
            raise CheckpointError(f"{path} does not have its timestamps in a row: {name} belongs at id {i}.")
    # Networks may have more logits than there are tokens: those ids are never trained, but they have to decode.
    for i in range(n_text, n_vocab):
        tokens.setdefault(i, f"<|unused{i}|>".encode())
    return Vocabulary(tokens=tuple(tokens.get(i, b"") for i in range(n_vocab)), n_text=n_text)


def _check_text_tokens(tokens: list[bytes], path: Path) -> None:
    text = [token for token in tokens if token]
    known = set(text)
    absent = [byte for byte in range(256) if bytes([byte]) not in known]
    if absent:
        raise CheckpointError(f"{path} lacks {len(absent)} of the 256 single bytes, so it can't encode every text.")
    if len(known) < len(text):
        raise CheckpointError(f"{path} has the same text token under two ids.")


def _check_merge_order(ids: dict[str, int], merges: list[str], path: Path) -> None:
    """tiktoken merges the pair of the lowest id first, so ids have to follow the order of the merges.

    The list may lack some: the published multilingual files have lost their first merge, which the ids still hold.
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


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's alphabet for `str.translate`: its characters → the Latin-1 character of the byte that they stand for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    # Characters that stand for no byte become one that Latin-1 can't encode, so that they are noticed.
    table = dict.fromkeys(others, "\uffff")
    table.update({256 + i: chr(byte) for i, byte in enumerate(others)})
    return table


_BYTE_ALPHABET = _byte_alphabet()


def _text_bytes(tokens: list[str], path: Path) -> Iterator[bytes]:
    """The bytes of text tokens, translated all at once: one by one it would take most of the time of loading."""
    try:
        data = "".join(tokens).translate(_BYTE_ALPHABET).encode("latin-1")
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{path} has text with {error.object[error.start]!r}, in a place where only GPT-2's byte alphabet may be."
        ) from error
    ends = accumulate(map(len, tokens), initial=0)
    return (data[start:end] for start, end in pairwise(ends))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"can't read the vocabulary {path}: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
