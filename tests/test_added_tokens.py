"""Tokens that a fine-tune adds behind the timestamps, and logits that no token has."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vocabularies import N_SMALL, AddedToken, vocabulary_parts
from whisperlite.decoding.rules import (
    NEVER,
    TimestampState,
    apply_timestamp_rules,
    first_token_mask,
    suppression_mask,
)
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.text.vocabulary import read_vocab_json
from whisperlite.transcription.segments import cut_window

ADDED = (AddedToken("grüezi", special=False), AddedToken("<|noise|>", special=True), AddedToken(" mitenand", False))
WORD, NOISE, NEXT = range(N_SMALL, N_SMALL + 3)
N_VOCAB = N_SMALL + 8  # five logits to spare
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary_parts(N_SMALL, ADDED).write(folder, "tokenizer.json")
    return Tokenizer.from_tokenizer_json(folder / "tokenizer.json", n_vocab=N_VOCAB)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The same vocabulary without them."""
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary_parts(N_SMALL).write(folder, "tokenizer.json")
    return Tokenizer.from_tokenizer_json(folder / "tokenizer.json", n_vocab=N_SMALL)


# Text


def test_plain_tokens_are_text_and_special_ones_are_not(tokenizer: Tokenizer) -> None:
    begin = tokenizer.timestamp_begin
    assert tokenizer.decode([WORD, NOISE, begin, NEXT, N_SMALL + 5]) == "grüezi mitenand"
    assert tokenizer.decode_with_timestamps([begin, WORD, NOISE]) == "<|0.00|>grüezi<|noise|>"
    assert [tokenizer.is_text(token) for token in (WORD, NOISE, NEXT, begin, tokenizer.eot)] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_plain_tokens_are_found_in_a_text_and_special_ones_are_text(tokenizer: Tokenizer, plain: Tokenizer) -> None:
    text = "So grüezi mitenand, <|noise|>grüezi"
    expected = [*plain.encode("So "), WORD, NEXT, *plain.encode(", <|noise|>"), WORD]
    assert tokenizer.encode(text) == expected
    assert tokenizer.decode(expected) == text
    assert tokenizer.encode("") == []


@pytest.mark.parametrize("added", ["♪", " -", " '", "((", " [", "♪♪"])
def test_what_is_never_produced_is_the_same_whatever_was_added(added: str, plain: Tokenizer, tmp_path: Path) -> None:
    vocabulary_parts(N_SMALL, (AddedToken(added, special=False),)).write(tmp_path, "tokenizer.json")
    tuned = Tokenizer.from_tokenizer_json(tmp_path / "tokenizer.json", n_vocab=N_SMALL + 1)
    assert tuned.encode(added) == [N_SMALL]
    assert tuned.non_speech_tokens == plain.non_speech_tokens
    assert tuned.blank_tokens == plain.blank_tokens


def test_plain_tokens_make_words(tokenizer: Tokenizer) -> None:
    words, tokens = tokenizer.split_to_words([WORD, NEXT, NOISE], "en")
    assert words == ["grüezi", " mitenand", "<|noise|>"]
    assert tokens == [[WORD], [NEXT], [NOISE]]
    hello = tokenizer.encode("h")
    assert tokenizer.split_to_words([*hello, WORD], "en")[0] == ["hgrüezi"]


def test_a_vocabulary_without_any_has_none(plain: Tokenizer) -> None:
    assert plain.vocabulary.added_text == plain.unused_tokens == ()
    for published in (Tokenizer.bundled(multilingual=False), Tokenizer.bundled(multilingual=True, num_languages=100)):
        assert published.vocabulary.added_text == published.unused_tokens == ()


def test_it_survives_pickling(tokenizer: Tokenizer) -> None:
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


@pytest.mark.parametrize(
    "left_out", [(), ("tokenizer_config.json",), ("tokenizer_config.json", "special_tokens_map.json")]
)
def test_vocab_json_gives_the_same_tokenizer(left_out: tuple[str, ...], tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Where no file says what is special, the names in <| |> are."""
    vocabulary_parts(N_SMALL, ADDED).write(tmp_path, "vocab.json")
    for name in left_out:
        (tmp_path / name).unlink()
    assert read_vocab_json(tmp_path / "vocab.json", n_vocab=N_VOCAB) == tokenizer.vocabulary


def test_a_token_list_gives_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """CTranslate2's converters fill a vocabulary up with words that they make up."""
    parts = replace(vocabulary_parts(N_SMALL), added=(*ADDED, AddedToken("madeupword0000", special=False)))
    parts.write(tmp_path, "vocabulary.json")
    assert Tokenizer.from_vocabulary(tmp_path / "vocabulary.json", n_vocab=N_VOCAB) == tokenizer


def test_a_token_list_that_is_filled_up_with_timestamps_once_more_has_them_where_they_were(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """As CTranslate2's converter does where the network is padded to a multiple of 64."""
    parts = vocabulary_parts(N_SMALL, ADDED)
    listed = [*parts.names, *(f"<|{i * 0.02:.2f}|>" for i in range(N_VOCAB - len(parts.names)))]
    assert len(listed) > len(parts.names)
    (tmp_path / "vocabulary.json").write_text(json.dumps(listed))
    assert Tokenizer.from_vocabulary(tmp_path / "vocabulary.json", n_vocab=N_VOCAB) == tokenizer


# Rules: they are to the added tokens what they are to text

answers = st.lists(st.sampled_from(["text", "added", "time"]), max_size=6)


def tokens_of(kinds: Sequence[str], tokenizer: Tokenizer, *, added: int) -> list[int]:
    """Times ascend, one step each."""
    begin = tokenizer.timestamp_begin
    return [{"text": 65, "added": added, "time": begin + i}[kind] for i, kind in enumerate(kinds)]


def state_after(tokens: Sequence[int], tokenizer: Tokenizer) -> TimestampState:
    state = TimestampState.after((), tokenizer.timestamps, rows=1, device=CPU)
    for token in tokens:
        state = state.advanced(torch.tensor([token]), tokenizer.timestamps)
    return state


@given(kinds=answers)
def test_an_added_token_is_remembered_as_text(kinds: list[str], tokenizer: Tokenizer) -> None:
    as_added, as_text = (tokens_of(kinds, tokenizer, added=added) for added in (WORD, 66))
    expected = state_after(as_text, tokenizer).data
    assert torch.equal(state_after(as_added, tokenizer).data, expected)
    assert torch.equal(TimestampState.after(as_added, tokenizer.timestamps, rows=1, device=CPU).data, expected)


@settings(deadline=None)
@given(kinds=answers, seed=st.integers(0, 1000), enabled=st.booleans())
def test_an_added_token_is_allowed_where_text_is(
    kinds: list[str], seed: int, enabled: bool, tokenizer: Tokenizer, plain: Tokenizer
) -> None:
    """The rules on logits with an added token = the rules on logits where a text token has its value."""
    state = state_after(tokens_of(kinds, tokenizer, added=WORD), tokenizer)
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((1, N_SMALL), generator=generator)
    logits[0, tokenizer.timestamp_begin :] -= 7  # about as probable as the likeliest text
    stand_in, value = 66, float(9 * torch.rand((), generator=generator))
    logits[0, stand_in] = value
    with_added = torch.cat([logits, torch.full((1, N_VOCAB - N_SMALL), NEVER)], dim=1)
    with_added[0, stand_in], with_added[0, WORD] = NEVER, value
    on = torch.tensor([enabled])
    apply_timestamp_rules(logits, state, on, plain)
    apply_timestamp_rules(with_added, state, on, tokenizer)
    assert with_added[0, WORD] == logits[0, stand_in]
    logits[0, stand_in] = NEVER
    assert torch.equal(with_added[:, :N_SMALL], logits)


def test_timestamps_give_way_to_a_likelier_added_token(tokenizer: Tokenizer) -> None:
    """All of them together are likelier than any text below them, and less likely than the added word."""
    logits = torch.full((1, N_VOCAB), -20.0)
    logits[0, tokenizer.timestamp_begin : tokenizer.timestamp_begin + 1501] = -7.0
    logits[0, 65], logits[0, WORD] = -5.0, 5.0
    apply_timestamp_rules(logits, state_after([65], tokenizer), torch.tensor([True]), tokenizer)
    assert (logits[0, 65].item(), logits[0, WORD].item()) == (-5.0, 5.0)


@pytest.mark.parametrize("max_initial_index", [None, 0, 50, 1500, 2000])
def test_only_a_timestamp_may_come_first(max_initial_index: int | None, tokenizer: Tokenizer) -> None:
    mask = first_token_mask(
        tokenizer, suppress_blank=False, timestamps=True, max_initial_index=max_initial_index, size=N_VOCAB
    )
    begin = tokenizer.timestamp_begin
    last = 1500 if max_initial_index is None else min(max_initial_index, 1500)
    assert (~mask).nonzero()[:, 0].tolist() == list(range(begin, begin + last + 1))


def test_logits_that_no_token_has_are_never_chosen(tokenizer: Tokenizer) -> None:
    mask = suppression_mask(tokenizer, frozenset(), timestamps=False, size=N_VOCAB)
    assert mask[N_SMALL:].tolist() == [False, False, False, True, True, True, True, True]


# Segments


@given(kinds=answers, n_frames=st.integers(1, 3000))
def test_an_added_token_cuts_no_segment(kinds: list[str], n_frames: int, tokenizer: Tokenizer) -> None:
    as_added, as_text = (tokens_of(kinds, tokenizer, added=added) for added in (WORD, 66))
    pieces, moved = cut_window(as_added, n_frames=n_frames, timestamps=tokenizer.timestamps)
    expected, expected_moved = cut_window(as_text, n_frames=n_frames, timestamps=tokenizer.timestamps)
    assert moved == expected_moved
    as_if = [replace(piece, tokens=tuple(66 if token == WORD else token for token in piece.tokens)) for piece in pieces]
    assert as_if == expected
