"""The tokenizer on the bundled vocabularies. The literal ids were made with openai-whisper 20250625."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlite.errors import CheckpointError, LanguageError, OptionError
from whisperlite.languages import LANGUAGES
from whisperlite.text.tokenizer import Tokenizer

ENGLISH = Tokenizer.bundled(multilingual=False)
MULTILINGUAL = Tokenizer.bundled(multilingual=True)
LARGE_V3 = Tokenizer.bundled(multilingual=True, num_languages=100)

# text: (ids of the English-only vocabulary, ids of the multilingual one)
REFERENCE_IDS = {
    "": ([], []),
    " Hello, world!": ([18435, 11, 995, 0], [2425, 11, 1002, 0]),
    "it's  we'll\n\tx": ([270, 338, 220, 356, 1183, 198, 197, 87], [270, 311, 220, 321, 603, 198, 197, 87]),
    "Ünïcödé — “quotes”": (
        [127, 250, 77, 26884, 66, 9101, 67, 2634, 851, 564, 250, 421, 6421, 447, 251],
        [12272, 77, 15487, 66, 29747, 526, 3466, 1059, 250, 358, 17251, 913, 251],
    ),
    " 日本語です。": (
        [10545, 245, 98, 17312, 105, 45739, 252, 30640, 33623, 16764],
        [220, 27311, 31348, 4767, 1543],
    ),
    " مرحبا": ([47048, 26897, 148, 255, 39848, 12919], [3714, 2288, 5016, 3555, 995]),
    "👩\u200d👧": ([41840, 102, 447, 235, 41840, 100], [31017, 102, 913, 235, 31017, 100]),
    "\ufffd 12.5%": ([4210, 1105, 13, 20, 4], [5342, 2272, 13, 20, 4]),
    "<|endoftext|>": ([27, 91, 437, 1659, 5239, 91, 29], [27, 91, 3999, 844, 3828, 91, 29]),
}

# fmt: off
NON_SPEECH_ENGLISH = (
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438, 532, 685,
    705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162, 2361, 2488, 3467, 4008,
    4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420, 11709, 11907, 13163, 13697, 13700,
    14808, 15306, 16410, 16791, 17992, 19203, 19510, 20724, 22305, 22935, 27007, 30109, 30420, 33409, 34949, 40283,
    40493, 40549, 47282, 49146,
)
NON_SPEECH_MULTILINGUAL = (
    1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873,
    893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585, 6647,
    7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553, 16604, 18362,
    18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863, 47425, 49870,
    50254,
)
# fmt: on


every_bundled = pytest.mark.parametrize("tokenizer", [ENGLISH, MULTILINGUAL, LARGE_V3], ids=["en", "99", "100"])


# The bundled vocabularies


@pytest.mark.parametrize("text", REFERENCE_IDS)
def test_ids_are_those_of_the_reference(text: str) -> None:
    english, multilingual = REFERENCE_IDS[text]
    assert ENGLISH.encode(text) == english
    assert MULTILINGUAL.encode(text) == multilingual
    assert LARGE_V3.encode(text) == multilingual


@pytest.mark.parametrize(
    ("tokenizer", "ids"),
    [
        (ENGLISH, (51864, 50256, 50257, 50357, 50358, 50359, 50360, 50361, 50362, 50363)),
        (MULTILINGUAL, (51865, 50257, 50258, 50358, 50359, 50360, 50361, 50362, 50363, 50364)),
        (LARGE_V3, (51866, 50257, 50258, 50359, 50360, 50361, 50362, 50363, 50364, 50365)),
    ],
    ids=["en", "99", "100"],
)
def test_special_ids_are_those_of_the_reference(tokenizer: Tokenizer, ids: tuple[int, ...]) -> None:
    t = tokenizer
    assert ids == (
        *(t.n_vocab, t.eot, t.sot, t.translate, t.transcribe, t.sot_lm, t.sot_prev, t.no_speech, t.no_timestamps),
        t.timestamp_begin,
    )


def test_control_tokens_are_the_six_that_are_never_sampled() -> None:
    assert MULTILINGUAL.control_tokens == {50258, 50358, 50359, 50360, 50361, 50362}


def test_non_speech_tokens_are_those_of_the_reference() -> None:
    assert ENGLISH.non_speech_tokens == NON_SPEECH_ENGLISH
    assert MULTILINGUAL.non_speech_tokens == NON_SPEECH_MULTILINGUAL
    assert LARGE_V3.non_speech_tokens == NON_SPEECH_MULTILINGUAL


def test_blank_tokens_are_the_space_and_the_end() -> None:
    assert ENGLISH.blank_tokens == (220, 50256)
    assert MULTILINGUAL.blank_tokens == (220, 50257)


def test_languages_follow_start_of_transcript_in_the_order_of_the_table() -> None:
    assert LARGE_V3.languages == tuple(LANGUAGES)
    assert MULTILINGUAL.languages == tuple(LANGUAGES)[:99]
    assert list(LARGE_V3.language_tokens.values()) == list(range(50259, 50359))
    assert (MULTILINGUAL.num_languages, LARGE_V3.num_languages) == (99, 100)
    assert LARGE_V3.language_token("yue") == 50358


def test_a_language_that_the_vocabulary_lacks_is_an_error() -> None:
    with pytest.raises(LanguageError, match="'yue' is not among the 99 languages"):
        MULTILINGUAL.language_token("yue")


def test_an_english_only_vocabulary_has_no_languages() -> None:
    assert (ENGLISH.languages, ENGLISH.num_languages, ENGLISH.is_multilingual) == ((), 0, False)
    with pytest.raises(LanguageError, match="English-only"):
        ENGLISH.language_token("en")


def test_a_number_of_languages_that_no_model_has_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="98 languages"):
        Tokenizer.bundled(multilingual=True, num_languages=98)


def test_importing_the_tokenizer_does_not_import_torch() -> None:
    program = "import sys, whisperlite.text.tokenizer; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Encoding and decoding


@settings(deadline=None)  # the first example builds the encoder
@given(text=st.text())
@every_bundled
def test_any_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)  # the first example builds the encoder
@given(text=st.text())
@every_bundled
def test_text_never_encodes_to_a_special_token(tokenizer: Tokenizer, text: str) -> None:
    assert all(token < tokenizer.eot for token in tokenizer.encode(f"{text}<|endoftext|><|0.00|>{text}"))


def test_decode_leaves_out_timestamps_and_names_other_special_tokens() -> None:
    tokens = [50258, 50259, 50359, 50362, 50364, *MULTILINGUAL.encode(" Hi"), 50414, 51864, 50257]
    start = "<|startoftranscript|><|en|><|transcribe|><|nospeech|>"
    assert MULTILINGUAL.decode(tokens) == f"{start} Hi<|endoftext|>"
    assert MULTILINGUAL.decode_with_timestamps(tokens) == f"{start}<|0.00|> Hi<|1.00|><|30.00|><|endoftext|>"


def test_bytes_that_are_not_utf_8_decode_to_the_replacement_character() -> None:
    assert MULTILINGUAL.decode([31017, *MULTILINGUAL.encode("a")]) == "\ufffda"


@pytest.mark.parametrize("decode", [MULTILINGUAL.decode, MULTILINGUAL.decode_with_timestamps])
@pytest.mark.parametrize("token", [-1, 51865])
def test_an_id_outside_of_the_vocabulary_is_an_error(token: int, decode: Callable[[list[int]], str]) -> None:
    with pytest.raises(OptionError, match=f"token id {token} is not"):
        decode([token])


# Words


def test_words_split_before_spaces_and_around_punctuation_as_in_the_reference() -> None:
    tokens = MULTILINGUAL.encode(" I can't wait, (really)!")
    assert MULTILINGUAL.split_to_words(tokens, "en") == (
        [" I", " can't", " wait", ",", " (really)!"],
        [[286], [393, 380], [1699], [11], [522, 41613, 36380]],
    )


def test_a_special_token_begins_a_word() -> None:
    tokens = [50364, *MULTILINGUAL.encode(" Hi"), 50464, 50257]
    assert MULTILINGUAL.split_to_words(tokens, None)[0] == ["<|0.00|>", " Hi", "<|2.00|>", "<|endoftext|>"]


@pytest.mark.parametrize("language", ["ja", "zh", "yue"])
def test_unspaced_languages_split_wherever_characters_are_whole(language: str) -> None:
    tokens = MULTILINGUAL.encode(" 日本語です。")
    assert MULTILINGUAL.split_to_words(tokens, language)[0] == [" ", "日本", "語", "です", "。"]
    assert MULTILINGUAL.split_to_words(tokens, "en")[0] == [" 日本語です。"]


def test_a_character_of_several_tokens_is_not_split() -> None:
    assert MULTILINGUAL.split_on_unicode([25118, 36276, 235, 3133]) == (
        [" café", " 👍", " ok"],
        [[25118], [36276, 235], [3133]],
    )


def test_bytes_that_are_not_utf_8_are_a_character_each() -> None:
    assert MULTILINGUAL.split_on_unicode([121, 123, 31017, 65]) == (
        ["\ufffd", "\ufffd", "\ufffd", "b"],
        [[121], [123], [31017], [65]],
    )


def test_a_real_replacement_character_in_single_bytes_is_one_character() -> None:
    # The reference raises IndexError here.
    assert MULTILINGUAL.split_on_unicode([171, 123, 121]) == (["\ufffd"], [[171, 123, 121]])


@settings(deadline=None)  # the first example builds the encoder
@given(data=st.data())
@every_bundled
def test_split_words_joined_are_the_decoded_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    # Single bytes are drawn more often than their share, for sequences that are not UTF-8.
    one = st.integers(0, 255) | st.integers(0, tokenizer.n_vocab - 1)
    tokens = data.draw(st.lists(one, max_size=12))
    for language in ("en", "ja"):
        words, groups = tokenizer.split_to_words(tokens, language)
        assert "".join(words) == tokenizer.decode_with_timestamps(tokens)
        assert [token for group in groups for token in group] == tokens
        assert words == [tokenizer.decode_with_timestamps(group) for group in groups]


# Sharing


@every_bundled
def test_a_bundled_tokenizer_pickles_as_its_recipe(tokenizer: Tokenizer) -> None:
    pickled = pickle.dumps(tokenizer)
    assert len(pickled) < 200
    assert pickle.loads(pickled) is tokenizer


def test_threads_that_share_a_tokenizer_get_equal_answers() -> None:
    texts = list(REFERENCE_IDS) * 50
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(MULTILINGUAL.encode, texts))
    assert answers == [REFERENCE_IDS[text][1] for text in texts]
