"""Times of tokens → words of segments (reference: `add_word_timestamps`). No tensors, only numbers and strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from whisperlite.decoding.asks import Aligned
from whisperlite.options import Task
from whisperlite.results import Word
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.segments import Draft

_SENTENCE_ENDS = ".。!！?？"
_LONGEST_MEDIAN_S = 0.7
_PREFERENCE_S = 0.5  # a segment keeps its own time if a word reaches further than this beyond it


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of a window, not yet assigned to a segment.

    Attributes:
        text: the word, with the space before it.
        n_tokens: the number of its tokens.
        start, end: seconds from the beginning of the window.
        probability: the mean probability of its tokens.
    """

    text: str
    n_tokens: int
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        return self.end - self.start


def add_words(
    drafts: Sequence[Draft],
    words: Sequence[TimedWord],
    *,
    offset_s: float,
    last_speech_end_s: float,
    prepended: str,
    appended: str,
) -> list[Draft]:
    """Give each segment of a window its words, and times that agree with those of its words.

    Args:
        drafts: the segments of the window.
        words: the words of all segments, in order.
        offset_s: the start of the window, in seconds.
        last_speech_end_s: where speech ended in the windows before, in seconds.
        prepended, appended: punctuation that belongs to the word after it, and to the word before it.
    """
    durations = [word.duration for word in words if word.duration != 0]
    usual = min(median(durations), _LONGEST_MEDIAN_S) if durations else 0.0
    merged = merge_punctuation(shorten_at_sentence_ends(words, 2 * usual), prepended, appended)
    found = []
    for draft, own in zip(drafts, _words_of_drafts(drafts, merged), strict=True):
        timed = [
            Word(word.text, round(offset_s + word.start, 2), round(offset_s + word.end, 2), word.probability)
            for word in own
        ]
        if timed:
            draft = _reconciled(draft, timed, usual, last_speech_end_s)
            last_speech_end_s = draft.end
        found.append(draft if timed else replace(draft, words=()))
    return found


def written_language(task: Task, spoken: str) -> str:
    """Return the language of the text, by whose rules it is split into words.

    Differs: the reference uses the spoken language (correction 32).
    """
    return "en" if task == "translate" else spoken


def timed_words(tokens: Sequence[int], aligned: Aligned, tokenizer: Tokenizer, language: str) -> list[TimedWord]:
    """Join timed tokens into words, split by the rules of `language`."""
    texts, groups = tokenizer.split_to_words([*tokens, tokenizer.eot], language)
    found, first = [], 0
    for text, group in zip(texts[:-1], groups[:-1], strict=True):  # the last group is the end token
        end = first + len(group)
        probability = sum(aligned.probabilities[first:end]) / len(group)
        found.append(TimedWord(text, len(group), aligned.times[first], aligned.times[end], probability))
        first = end
    return found


def speech_end(drafts: Sequence[Draft]) -> float | None:
    """Return the end of a window's last word or, without words, of its last segment; None without segments."""
    ends = [draft.words[-1].end for draft in drafts if draft.words]
    return ends[-1] if ends else (drafts[-1].end if drafts else None)


def shorten_at_sentence_ends(words: Sequence[TimedWord], longest_s: float) -> list[TimedWord]:
    """Limit the duration of sentence-ending marks, and of the words after them.

    The alignment assigns a pause between sentences to one of the two.
    """
    if not any(word.duration for word in words):
        return list(words)
    found = list(words[:1])
    for before, word in pairwise(words):
        if word.duration > longest_s and word.text in _SENTENCE_ENDS:
            word = replace(word, end=word.start + longest_s)
        elif word.duration > longest_s and before.text in _SENTENCE_ENDS:
            word = replace(word, start=word.end - longest_s)
        found.append(word)
    return found


def merge_punctuation(words: Sequence[TimedWord], prepended: str, appended: str) -> list[TimedWord]:
    """Join punctuation to the word after or before it, which keeps its own times and probability."""
    backwards: list[TimedWord] = []
    for word in reversed(words):
        if backwards and word.text.startswith(" ") and word.text.strip() in prepended:
            after = backwards[-1]
            backwards[-1] = replace(after, text=word.text + after.text, n_tokens=word.n_tokens + after.n_tokens)
        else:
            backwards.append(word)
    merged: list[TimedWord] = []
    for word in reversed(backwards):
        if merged and not merged[-1].text.endswith(" ") and word.text in appended:
            before = merged[-1]
            merged[-1] = replace(before, text=before.text + word.text, n_tokens=before.n_tokens + word.n_tokens)
        else:
            merged.append(word)
    return merged


def _words_of_drafts(drafts: Sequence[Draft], words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    """Yield the words of each segment, by its number of text tokens; a word across two belongs to the earlier one.

    Differs: the tokens that such a word takes from the later segment count as that segment's, while the reference lets
    it take as many from the next one (correction 26).
    """
    waiting, surplus = iter(words), 0
    for draft in drafts:
        own, count = [], surplus
        while count < len(draft.text_tokens) and (word := next(waiting, None)) is not None:
            own.append(word)
            count += word.n_tokens
        surplus = max(count - len(draft.text_tokens), 0)
        yield own


def _reconciled(draft: Draft, words: list[Word], usual_s: float, last_speech_end_s: float) -> Draft:
    """Make the times of a segment and of its first and last words agree."""
    longest_s = 2 * usual_s
    first, second = words[0], words[1] if len(words) > 1 else None
    is_long = first.end - first.start > longest_s or (second is not None and second.end - first.start > 2 * longest_s)
    if first.end - last_speech_end_s > 4 * usual_s and is_long:
        # After a pause, the first two words last at most twice the usual time.
        if second is not None and second.end - second.start > longest_s:
            # Differs: the border is the middle of the second word; the reference takes half of the word's end time,
            # counted from the beginning of the recording (correction 13).
            border = max((second.start + second.end) / 2, second.end - longest_s)
            first, words[1] = replace(first, end=border), replace(second, start=border)
        first = replace(first, start=max(0.0, first.end - longest_s))
    if draft.start < first.end and draft.start - _PREFERENCE_S > first.start:
        words[0] = replace(first, start=max(0.0, min(first.end - usual_s, draft.start)))
    else:
        words[0] = first
        draft = replace(draft, start=first.start)
    last = words[-1]
    if draft.end > last.start and draft.end + _PREFERENCE_S < last.end:
        words[-1] = replace(last, end=max(last.start + usual_s, draft.end))
    else:
        draft = replace(draft, end=last.end)
    return replace(draft, words=tuple(words))
