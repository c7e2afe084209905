"""What a window is told: hot words, an initial prompt as text or ids, and the text before, in the space there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scripted import ENGLISH, GOOD, GOOD_30, MULTILINGUAL, UNSURE, Said, at, drive, text
from whisperlite.options import Options
from whisperlite.text.prompt import MAX_PREFIX, MAX_PREVIOUS, N_TEXT_CTX, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.history import History, Prompts, prompt_tokens


def history_of(options: Options) -> History:
    return History(options, MULTILINGUAL, Prompts.of(options, MULTILINGUAL))


HOT = tuple(text(" Dashwood Marianne"))
NAMES = tuple(text(" Names"))
FULL = tuple(GOOD_30.tokens)


def test_hot_words_come_before_the_text_in_every_window() -> None:
    run = drive([GOOD_30, GOOD_30, GOOD], seconds=65, hotwords=" Dashwood Marianne ")
    assert run.previous == [HOT, HOT + FULL, HOT + FULL + FULL]
    assert run.result.text == " Full. Full. Hello."


def test_hot_words_come_before_a_carried_prompt_and_that_before_the_text() -> None:
    run = drive(
        [GOOD_30, GOOD], seconds=40, hotwords="Dashwood Marianne", initial_prompt="Names", carry_initial_prompt=True
    )
    assert run.previous == [HOT + NAMES, HOT + NAMES + FULL]


def test_a_prompt_for_the_first_window_comes_behind_the_hot_words() -> None:
    run = drive(
        [GOOD_30, GOOD],
        seconds=40,
        hotwords="Dashwood Marianne",
        initial_prompt="Names",
        condition_on_previous_text=False,
    )
    assert run.previous == [HOT + NAMES, HOT]


def test_hot_words_are_told_without_previous_text() -> None:
    run = drive([GOOD_30, GOOD], seconds=40, hotwords="Dashwood Marianne", condition_on_previous_text=False)
    assert run.previous == [HOT, HOT]


def test_hot_words_outlive_a_reset() -> None:
    run = drive([GOOD_30, UNSURE, GOOD_30, GOOD], seconds=65, temperature=[0.0, 0.9], hotwords="Dashwood Marianne")
    assert run.previous[-1] == HOT


def test_hot_words_outlive_a_change_of_language() -> None:
    run = drive(
        [GOOD_30, GOOD],
        seconds=40,
        language=None,
        multilingual=True,
        languages=lambda _, span: {"en": 0.99, "de": 0.01} if span[0] < 30 else {"en": 0.01, "de": 0.99},
        hotwords="Dashwood Marianne",
    )
    assert run.previous == [HOT, HOT]


@pytest.mark.parametrize("hotwords", ["", "  "])
def test_no_hot_words_are_nothing_to_be_told(hotwords: str) -> None:
    assert drive([GOOD], hotwords=hotwords).previous == [()]


def test_an_initial_prompt_may_be_given_as_ids_which_are_told_as_they_are() -> None:
    run = drive([GOOD_30, GOOD], seconds=40, initial_prompt=[11, 22, 33])
    assert run.previous == [(11, 22, 33), (11, 22, 33, *FULL)]
    assert run.result.text == " Full. Hello."


def test_ids_can_be_carried_too() -> None:
    run = drive(
        [GOOD_30, GOOD],
        seconds=40,
        initial_prompt=(11, 22),
        carry_initial_prompt=True,
        condition_on_previous_text=False,
    )
    assert run.previous == [(11, 22), (11, 22)]


def test_no_ids_are_no_prompt() -> None:
    assert drive([GOOD], initial_prompt=[]).previous == [()]


def test_the_text_before_gives_way_to_hot_words() -> None:
    long = [at(0), *text(" word") * 222, at(30)]
    run = drive([Said(long), GOOD], seconds=40, hotwords="Dashwood Marianne")
    assert run.previous[1] == (*HOT, *long[-(MAX_PREVIOUS - len(HOT)) :])


@settings(deadline=None)
@given(
    hot=st.integers(0, 240),
    initial=st.integers(0, 240),
    before=st.integers(0, 460),
    carried=st.booleans(),
)
def test_what_is_told_never_exceeds_its_space_and_keeps_its_order(
    hot: int, initial: int, before: int, carried: bool
) -> None:
    """Three different ids stand for the three parts."""
    word = text(" word")[0]
    options = Options(
        hotwords="word" + " word" * (hot - 1) if hot else None,
        initial_prompt=[1] * initial,
        carry_initial_prompt=carried,
    )
    history = history_of(options)
    history.add([2] * before, 0.0, "en")
    prompt = build_prompt(
        MULTILINGUAL,
        language="en",
        task="transcribe",
        without_timestamps=False,
        previous=history.previous("en"),
    )
    told = list(prompt.tokens[1 : prompt.sot_index])
    assert len(told) == min(hot + initial + before, MAX_PREVIOUS)
    assert told == sorted(told, key=[word, 1, 2].index)
    if hot <= MAX_PREVIOUS and (not carried or hot + initial <= MAX_PREVIOUS):
        assert told.count(word) == hot
    assert prompt.tokens[prompt.sot_index] == MULTILINGUAL.sot


@pytest.mark.parametrize("without_timestamps", [False, True])
@pytest.mark.parametrize("tokenizer", [MULTILINGUAL, ENGLISH], ids=["multilingual", "English"])
def test_where_a_long_prefix_leaves_less_room_hot_words_are_whole(
    tokenizer: Tokenizer, without_timestamps: bool
) -> None:
    options = Options(
        hotwords="Kubernetes, Zanzibar",
        initial_prompt=[1] * 300,
        carry_initial_prompt=True,
        prefix="word " * 300,
        without_timestamps=without_timestamps,
    )
    history = History(options, tokenizer, Prompts.of(options, tokenizer))
    prompt = history.prompt("en", options.prefix)
    hotwords = prompt_tokens("Kubernetes, Zanzibar", tokenizer)
    assert len(prompt.tokens) == N_TEXT_CTX
    assert len(prompt.forced) == MAX_PREFIX
    assert list(prompt.tokens[1 : prompt.sot_index]) == hotwords + [1] * (prompt.sot_index - 1 - len(hotwords))


def test_a_window_is_told_what_was_said_in_its_language_since_that_of_another() -> None:
    history = history_of(Options(initial_prompt=[7]))
    assert history.previous("de") == [7]
    history.add([1], 0.0, "de")
    assert (history.previous("de"), history.previous("en")) == ([7, 1], [])
    history.add([], 0.0, "en")  # a window in which nothing was said
    assert history.previous("de") == [7, 1]
    history.add([2], 0.0, "en")
    assert (history.previous("de"), history.previous("en")) == ([], [2])


# Long texts cost no more than what is told of them


def test_no_more_is_kept_of_long_texts_than_a_window_can_be_told() -> None:
    options = Options(initial_prompt=[*range(5000)], hotwords=" Dashwood" * 5000, carry_initial_prompt=True)
    prompts = Prompts.of(options, MULTILINGUAL)
    assert prompts.initial == tuple(range(5000 - MAX_PREVIOUS, 5000))
    assert len(prompts.hotwords) == MAX_PREVIOUS
    history = History(options, MULTILINGUAL, prompts)
    assert len(history.tokens) == MAX_PREVIOUS
    history.add(text(" Hello."), 0.0, "en")
    assert history.text == " Hello."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"initial_prompt": "word " * MAX_PREVIOUS}, []),
        (
            {"initial_prompt": "word " * (MAX_PREVIOUS + 1)},
            ["initial_prompt: 224 tokens, of which the last 223 are used."],
        ),
        ({"initial_prompt": "word " * 203, "hotwords": "word " * 20}, []),
        (
            {"initial_prompt": "word " * MAX_PREVIOUS, "hotwords": "word " * 20},
            ["initial_prompt: 223 tokens, of which the last 203 are used, beside hotwords."],
        ),
        (
            {"initial_prompt": "word " * 210, "hotwords": "word " * 20, "carry_initial_prompt": True},
            ["initial_prompt: 210 tokens, of which the last 203 are used, beside hotwords."],
        ),
        ({"hotwords": "word " * MAX_PREVIOUS}, []),
        ({"hotwords": "word " * 300}, ["hotwords: 300 tokens, of which the first 223 are used."]),
        (
            {"initial_prompt": "word", "hotwords": "word " * 300, "carry_initial_prompt": True},
            ["hotwords: 300 tokens"],
        ),
        ({"prefix": "word " * 222}, []),
        ({"prefix": "word " * 223}, ["prefix: 223 tokens, of which the last 222 are used."]),
        ({"prefix": "word " * 223, "without_timestamps": True}, []),
        (
            {"prefix": "word " * 224, "without_timestamps": True, "hotwords": "word " * 300},
            ["hotwords: 300 tokens", "prefix: 224 tokens, of which the last 223 are used."],
        ),
    ],
)
def test_what_is_left_out_of_long_texts_is_said(options: dict[str, Any], said: list[str]) -> None:
    warnings = Prompts.of(Options(**options), MULTILINGUAL).warnings
    assert len(warnings) == len(said)
    assert all(warning.startswith(begin) for warning, begin in zip(warnings, said, strict=True))


def all_told(options: Options, written: list[tuple[list[int], float, str]], language: str) -> list[int]:
    """What a window is told, from all of the texts and all that was written: the rule, without looking to the cost."""
    initial = [] if options.initial_prompt is None else prompt_tokens(options.initial_prompt, MULTILINGUAL)
    hotwords = prompt_tokens(options.hotwords, MULTILINGUAL) if options.hotwords else []
    tokens, start, last = list(initial), 0, None
    for added, temperature, spoken_in in written:
        if added:
            start = len(tokens) if last not in (None, spoken_in) else start
            last = spoken_in
        tokens += added
        if not options.condition_on_previous_text or temperature > options.prompt_reset_on_temperature:
            start = len(tokens)
    told = hotwords[:MAX_PREVIOUS]
    start = start if last in (None, language) else len(tokens)
    if options.carry_initial_prompt:
        room = MAX_PREVIOUS - len(told)
        told += initial[len(initial) - min(room, len(initial)) :]
        start = max(len(initial), start)
    room = MAX_PREVIOUS - len(told)
    rest = tokens[start:]
    return told + rest[len(rest) - min(room, len(rest)) :]


additions = st.tuples(
    st.integers(0, 300).map(lambda count: [2] * count), st.sampled_from([0.0, 0.9]), st.sampled_from(["en", "de"])
)


@settings(deadline=None)
@given(
    hot=st.integers(0, 240),
    initial=st.integers(0, 500),
    carried=st.booleans(),
    conditioned=st.booleans(),
    written=st.lists(additions, max_size=5),
)
def test_what_is_told_is_what_all_of_the_texts_say(
    hot: int, initial: int, carried: bool, conditioned: bool, written: list[tuple[list[int], float, str]]
) -> None:
    options = Options(
        hotwords="word" + " word" * (hot - 1) if hot else None,
        initial_prompt=[*range(100, 100 + initial)],
        carry_initial_prompt=carried,
        condition_on_previous_text=conditioned,
    )
    history = history_of(options)
    for count in range(len(written) + 1):
        for language in ("en", "de"):
            assert history.previous(language) == all_told(options, written[:count], language)
        if count < len(written):
            history.add(*written[count])
