"""The tokens that the options forbid."""

from __future__ import annotations

from whisperlite.options import Options
from whisperlite.text.tokenizer import Tokenizer

# Digits of any script, and the signs that are spoken as words next to them.
_NUMERALS = r"[\d%‰$€£¥₹¢]"


def suppressed_tokens(options: Options, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids that `suppress_tokens`, `suppress_regex` and `suppress_numerals` select.

    In `suppress_tokens`, -1 stands for the non-speech tokens.
    """
    given = options.suppressed_ids
    ids = frozenset(token for token in given if token >= 0)
    if -1 in given:
        ids |= frozenset(tokenizer.non_speech_tokens)
    if options.suppress_regex is not None:
        ids |= tokenizer.matching(options.suppress_regex)
    if options.suppress_numerals:
        ids |= tokenizer.matching(_NUMERALS)
    return ids
