"""The tokenizer: text → token ids, token ids → text and words, and the ids of special tokens.

Language and task are arguments, not state, so that one tokenizer serves every request and thread.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType

import tiktoken

from whisperlite.errors import LanguageError, OptionError
from whisperlite.languages import LANGUAGES, UNSPACED_LANGUAGES
from whisperlite.text import vocabulary as names
from whisperlite.text.vocabulary import (
    Vocabulary,
    bundled_vocabulary,
    is_gpt2,
    padded,
    read_token_list,
    read_tokenizer_json,
    read_vocab_json,
)

# GPT-2's pattern for the pieces of text within which bytes are merged.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The reference's `Tokenizer.non_speech_tokens`: speaker tags and annotations, not the punctuation of speech.
_ANNOTATIONS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}"),
    *("♪♪", "♪♪♪"),
)
# All in U+2640 to U+267F, whose first two UTF-8 bytes are the same: if they take more than one token, banning the first
# bans all of them.
_MUSIC = "♩♪♫♬♭♮♯"

# The bundled vocabularies by their size: (multilingual, num_languages).
_PUBLISHED = {51864: (False, 99), 51865: (True, 99), 51866: (True, 100)}


@dataclass(frozen=True)
class Tokenizer:
    """The tokens of one vocabulary. An immutable value: it can be shared among threads, pickled and compared."""

    vocabulary: Vocabulary

    @classmethod
    def bundled(cls, *, multilingual: bool, num_languages: int = 99) -> Tokenizer:
        """The tokenizer of OpenAI's own models, built once per process.

        Args:
            multilingual: False for the English-only (`.en`) models.
            num_languages: the number of language tokens: 99, or 100 from large-v3 on.

        Raises:
            CheckpointError: no published model has that many languages.
        """
        return _bundled(multilingual, num_languages)

    @classmethod
    def of_published_size(cls, n_vocab: int) -> Tokenizer | None:
        """The tokenizer of OpenAI's own models with `n_vocab` logits; None if no such model exists."""
        return _bundled(*_PUBLISHED[n_vocab]) if n_vocab in _PUBLISHED else None

    @classmethod
    def of_fewer_ids(cls, n_vocab: int) -> tuple[Tokenizer, ...]:
        """The tokenizers of OpenAI's own models with fewer than `n_vocab` ids; the ids after theirs are unused."""
        return tuple(
            cls(padded(bundled_vocabulary(*arguments), n_vocab))
            for size, arguments in _PUBLISHED.items()
            if size < n_vocab
        )

    @classmethod
    def from_tokenizer_json(cls, path: str | Path, *, n_vocab: int) -> Tokenizer:
        """The tokenizer of a Hugging Face `tokenizer.json`, for a network of `n_vocab` logits.

        Raises:
            CheckpointError: the file is no vocabulary of Whisper, or does not fit `n_vocab`.
        """
        return _shared(read_tokenizer_json(Path(path), n_vocab=n_vocab))

    @classmethod
    def from_vocab_json(cls, path: str | Path, *, n_vocab: int) -> Tokenizer:
        """The tokenizer of a Hugging Face `vocab.json` with its `merges.txt`, for a network of `n_vocab` logits.

        Raises:
            CheckpointError: the files are no vocabulary of Whisper, or do not fit `n_vocab`.
        """
        return _shared(read_vocab_json(Path(path), n_vocab=n_vocab))

    @classmethod
    def from_vocabulary(cls, path: str | Path, *, n_vocab: int) -> Tokenizer:
        """The tokenizer of a CTranslate2 `vocabulary.txt` or `vocabulary.json`, for a network of `n_vocab` logits.

        Raises:
            CheckpointError: the file is no vocabulary of Whisper, or does not fit `n_vocab`.
        """
        return _shared(read_token_list(Path(path), n_vocab=n_vocab))

    def __reduce__(self) -> tuple[Callable[..., Tokenizer], tuple[object, ...]]:
        published = _published(self.vocabulary)
        return (Tokenizer, (self.vocabulary,)) if published is None else (_bundled, published)

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return _encoding(self.vocabulary.tokens[: self.vocabulary.n_text])

    # Text and ids

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        The name of a special token in the text is text; a plain token that a fine-tune added is that token. Lone
        surrogates become U+FFFD; `decode` restores all else.
        Differs: the reference raises ValueError if the text has the name of a special token (correction 30).

        Raises:
            OptionError: the text has about a million spaces in a row.
        """
        try:
            if not self._added_ids:
                return self._encoding.encode_ordinary(text)
            tokens: list[int] = []
            for part in self._added_names.split(text):
                added = self._added_ids.get(part)
                tokens += self._encoding.encode_ordinary(part) if added is None else [added]
            return tokens
        except BaseException as error:  # its regular expressions recurse once per space
            if type(error).__name__ == "PanicException":
                raise OptionError(f"a text of {len(text)} characters is too long to be a prompt") from error
            raise

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of ids, without timestamps and special tokens after them; other special tokens appear by name.

        Bytes that are not UTF-8 become U+FFFD.

        Raises:
            OptionError: an id is not in the vocabulary.
        """
        left_out = range(self.timestamp_begin, len(self.vocabulary.tokens))
        added = self._added_text
        return self.decode_with_timestamps([token for token in tokens if token not in left_out or token in added])

    def decode_with_timestamps(self, tokens: Iterable[int]) -> str:
        """The text of ids like `decode`, but with timestamps as their names, such as `<|1.08|>`."""
        return b"".join(self._bytes_of(tokens)).decode("utf-8", errors="replace")

    def _bytes_of(self, tokens: Iterable[int]) -> list[bytes]:
        table = self.vocabulary.tokens
        found = []
        for token in tokens:
            if not 0 <= token < len(table):
                raise OptionError(f"token id {token} is not in this vocabulary of {len(table)} tokens.")
            found.append(table[token])
        return found

    # Words

    def split_to_words(self, tokens: Sequence[int], language: str | None) -> tuple[list[str], list[list[int]]]:
        """Split ids into words, or into characters for a language that is written without spaces.

        Args:
            tokens: ids; a special token or a timestamp begins a word.
            language: a code of `LANGUAGES`, or None.

        Returns:
            The words, which together are the decoded text, and the tokens of each.

        Raises:
            OptionError: an id is not in the vocabulary.
        """
        if language in UNSPACED_LANGUAGES:
            return self.split_on_unicode(tokens)
        return self.split_on_spaces(tokens)

    def split_on_unicode(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Split ids into the shortest runs of whole characters; returns their texts and their tokens.

        Differs: the reference compares offsets in decoded text, which drift, and then fail with IndexError, if bytes
        are not UTF-8 or a real U+FFFD takes several tokens. Here offsets count bytes (correction 31).
        """
        pieces = self._bytes_of(tokens)
        data = b"".join(pieces)
        boundaries = _character_boundaries(data)
        texts: list[str] = []
        groups: list[list[int]] = []
        group: list[int] = []
        start = end = 0
        for token, piece in zip(tokens, pieces, strict=True):
            group.append(token)
            end += len(piece)
            if end in boundaries:
                texts.append(data[start:end].decode("utf-8", errors="replace"))
                groups.append(group)
                group, start = [], end
        return texts, groups

    def split_on_spaces(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Split ids before spaces, ASCII punctuation and special tokens; returns the texts and their tokens."""
        words: list[str] = []
        groups: list[list[int]] = []
        for text, group in zip(*self.split_on_unicode(tokens), strict=True):
            is_special = not self.is_text(group[0])
            # As in the reference, blank text counts as punctuation: the empty string is part of every string.
            is_punctuation = text.strip() in string.punctuation
            if not words or is_special or is_punctuation or text.startswith(" "):
                words.append(text)
                groups.append(group)
            else:
                words[-1] += text
                groups[-1] += group
        return words, groups

    # Languages

    @cached_property
    def language_tokens(self) -> Mapping[str, int]:
        """The languages as code → id, in the order of their ids.

        Empty for an English-only vocabulary, which has such ids, but no model was trained on them.
        """
        if is_gpt2(self.vocabulary):
            return MappingProxyType({})
        ids = self.vocabulary.special_ids
        found = [(ids[f"<|{code}|>"], code) for code in LANGUAGES if f"<|{code}|>" in ids]
        return MappingProxyType({code: token for token, code in sorted(found)})

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages, in the order of their ids; () for an English-only vocabulary."""
        return tuple(self.language_tokens)

    @property
    def num_languages(self) -> int:
        """The number of languages in the vocabulary: 99 or 100, or 0 if it is English-only."""
        return len(self.language_tokens)

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary has languages to choose from."""
        return bool(self.language_tokens)

    def language_token(self, code: str) -> int:
        """The id of the language with this code.

        Raises:
            LanguageError: the vocabulary does not have the language.
        """
        if code in self.language_tokens:
            return self.language_tokens[code]
        if not self.is_multilingual:
            raise LanguageError(f"language={code!r}: the model is English-only and has no language tokens.")
        raise LanguageError(
            f"language={code!r} is not among the {self.num_languages} languages of this model. Give the code of one "
            f"of them: {', '.join(self.languages)}."
        )

    # Special ids

    def is_text(self, token: int) -> bool:
        """Whether an id is text: below `<|endoftext|>`, or a plain token that a fine-tune added."""
        return token < self.eot or token in self._added_text

    @cached_property
    def _added_text(self) -> frozenset[int]:
        return frozenset(self.vocabulary.added_text)

    @cached_property
    def _added_ids(self) -> dict[str, int]:
        """The id of each plain token that a fine-tune added, by its text."""
        table = self.vocabulary.tokens
        found = {table[token].decode("utf-8", errors="replace"): token for token in self.vocabulary.added_text}
        return {name: token for name, token in found.items() if name}

    @cached_property
    def _added_names(self) -> re.Pattern[str]:
        """Matches the longest of the added tokens, as a group, so that `split` keeps it."""
        names = sorted(self._added_ids, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, names))})")

    def matching(self, pattern: str) -> frozenset[int]:
        """The ids of text tokens in which a regular expression is found; an incomplete character reads as U+FFFD."""
        found = re.compile(pattern).search
        text = range(self.vocabulary.n_text), self.vocabulary.added_text
        ids = (token for part in text for token in part)
        table = self.vocabulary.tokens
        return frozenset(token for token in ids if found(table[token].decode("utf-8", errors="replace")))

    @property
    def unused_tokens(self) -> tuple[int, ...]:
        """The ids without a token, if the network has more logits than there are tokens."""
        return self.vocabulary.unused

    @property
    def n_vocab(self) -> int:
        """The number of ids, and so of logits."""
        return len(self.vocabulary.tokens)

    @cached_property
    def eot(self) -> int:
        """`<|endoftext|>`, the first id that is not text."""
        return self.vocabulary.special_ids[names.EOT]

    @cached_property
    def sot(self) -> int:
        """`<|startoftranscript|>`."""
        return self.vocabulary.special_ids[names.SOT]

    @cached_property
    def translate(self) -> int:
        """`<|translate|>`: the task of translating to English."""
        return self.vocabulary.special_ids[names.TRANSLATE]

    @cached_property
    def transcribe(self) -> int:
        """`<|transcribe|>`: the task of writing down what is said."""
        return self.vocabulary.special_ids[names.TRANSCRIBE]

    @cached_property
    def sot_lm(self) -> int:
        """`<|startoflm|>`."""
        return self.vocabulary.special_ids[names.SOT_LM]

    @cached_property
    def sot_prev(self) -> int:
        """`<|startofprev|>`, before the text of earlier windows."""
        return self.vocabulary.special_ids[names.SOT_PREV]

    @cached_property
    def no_speech(self) -> int:
        """`<|nospeech|>`; some checkpoints call it `<|nocaptions|>`."""
        return self.vocabulary.special_ids[names.NO_SPEECH]

    @cached_property
    def no_timestamps(self) -> int:
        """`<|notimestamps|>`."""
        return self.vocabulary.special_ids[names.NO_TIMESTAMPS]

    @cached_property
    def timestamp_begin(self) -> int:
        """`<|0.00|>`; each of the 1500 ids after it is 0.02 s later."""
        return self.vocabulary.special_ids[names.TIMESTAMPS[0]]

    @cached_property
    def timestamps(self) -> range:
        """The ids of the timestamps, `<|0.00|>` to `<|30.00|>`, each 0.02 s later than the one before."""
        return range(self.timestamp_begin, self.timestamp_begin + len(names.TIMESTAMPS))

    # Sets of ids that decoding bans

    @cached_property
    def control_tokens(self) -> frozenset[int]:
        """The tokens that are only given to a model, never produced."""
        return frozenset((self.transcribe, self.translate, self.sot, self.sot_prev, self.sot_lm, self.no_speech))

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """The sorted ids that `suppress_tokens="-1"` stands for: annotations such as `[`, `♪` or `((`."""
        # A hyphen or an apostrophe is banned only where it begins a word.
        encode = self._encoding.encode_ordinary  # whatever tokens a fine-tune has added
        banned = {encode(" -")[0], encode(" '")[0]}
        for symbol in (*_ANNOTATIONS, *_MUSIC):
            for tokens in (encode(symbol), encode(f" {symbol}")):
                if len(tokens) == 1 or symbol in _MUSIC:
                    banned.add(tokens[0])
        return tuple(sorted(banned))

    @cached_property
    def blank_tokens(self) -> tuple[int, ...]:
        """The ids that `suppress_blank` bans as the first token of a window: the space and the end."""
        return (*self._encoding.encode_ordinary(" "), self.eot)


@cache
def _bundled(multilingual: bool, num_languages: int) -> Tokenizer:
    return Tokenizer(bundled_vocabulary(multilingual, num_languages))


def _published(vocabulary: Vocabulary) -> tuple[bool, int] | None:
    """The arguments with which `_bundled` gives this vocabulary; None if it is another."""
    arguments = _PUBLISHED.get(len(vocabulary.tokens))
    return arguments if arguments is not None and bundled_vocabulary(*arguments) == vocabulary else None


def _shared(vocabulary: Vocabulary) -> Tokenizer:
    """The bundled tokenizer if the vocabulary is the same, so that it is in memory only once."""
    published = _published(vocabulary)
    return Tokenizer(vocabulary) if published is None else _bundled(*published)


@lru_cache(maxsize=8)
def _encoding(text_tokens: tuple[bytes, ...]) -> tiktoken.Encoding:
    """tiktoken's encoder of the text tokens; cached, since it takes 0.1 s to build and vocabularies share it."""
    ranks = {token: i for i, token in enumerate(text_tokens) if token}
    return tiktoken.Encoding("whisperlite", pat_str=_PIECES, mergeable_ranks=ranks, special_tokens={})


def _character_boundaries(data: bytes) -> set[int]:
    """Offsets between the characters of `data.decode("utf-8", "replace")`, both ends included."""
    boundaries = {i for i, byte in enumerate(data) if byte & 0xC0 != 0x80}
    boundaries |= {0, len(data)}
    position = 0
    while True:
        try:
            data[position:].decode("utf-8")
        except UnicodeDecodeError as error:
            # What can't be decoded becomes one U+FFFD, a character of its own, even at a stray continuation byte.
            boundaries.add(position + error.start)
            position += error.end
        else:
            return boundaries
