"""Accept an attempt, or try the next temperature (Radford et al. 2022, section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy, LazyMel, Sample, Strategy
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError
from whisperlite.options import Options
from whisperlite.text.prompt import MAX_NEW_TOKENS, Prompt


def attempt(
    window: LazyMel,
    prompt: Prompt,
    temperature: float,
    options: Options,
    *,
    suppressed: frozenset[int],
    seed: tuple[int, ...],
    encoding: Encoding | None,
    text_until: float = 0.0,
) -> Decode:
    """One attempt at a window with the options of its recording; `Decode` says what the rest is."""
    return Decode(
        window=window,
        prompt=prompt,
        strategy=_strategy_at(temperature, options),
        max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS,
        suppressed=suppressed,
        suppress_blank=options.suppress_blank,
        timestamps=not options.without_timestamps,
        max_initial_timestamp=options.max_initial_timestamp,
        seed=seed,
        encoding=encoding,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        text_until=text_until,
    )


def _strategy_at(temperature: float, options: Options) -> Strategy:
    """How tokens are chosen at a temperature: searched at 0, drawn above."""
    if temperature > 0:
        return Sample(temperature, options.best_of or 1, options.length_penalty)
    if options.beams > 1:
        return Beam(options.beams, options.max_candidates, options.length_penalty)
    return Greedy(length_penalty=options.length_penalty)


def failed_thresholds(decoded: Decoded, options: Options) -> tuple[str, ...]:
    """Names of the thresholds that send a window to the next temperature; empty: it is accepted.

    "not_finite" stands for probabilities that are not numbers, as float16 gives on some devices; no threshold tells
    them from good ones. A window that looks silent is accepted although its log probability is low: nothing better
    would come of it.
    """
    failed = []
    if options.compression_ratio_threshold is not None and (
        decoded.compression_ratio > options.compression_ratio_threshold
    ):
        failed.append("compression_ratio_threshold")
    if not math.isfinite(decoded.avg_logprob):
        failed.append("not_finite")
    elif options.logprob_threshold is not None and decoded.avg_logprob < options.logprob_threshold:
        if options.no_speech_threshold is not None and decoded.no_speech_prob > options.no_speech_threshold:
            return ()
        failed.append("logprob_threshold")
    return tuple(failed)


def best_attempt(attempts: Sequence[Decoded], options: Options) -> int:
    """Index of the attempt to keep where every one failed.

    Differs: the reference keeps the last, drawn at the highest temperature (correction 2). Here it is the most
    probable of those that do not repeat themselves. Where all do, the more probable is the one that goes round longer:
    then it is the one that repeats itself least. The first of equals.

    Raises:
        DecodingError: none has finite probabilities.
    """
    limit = options.compression_ratio_threshold
    finite = [index for index, one in enumerate(attempts) if math.isfinite(one.avg_logprob)]
    if not finite:
        raise DecodingError(
            "The probabilities of a window are not finite at any temperature. Samples belong in [-1, 1]. In float16 or "
            "bfloat16, try compute_type='float32'; otherwise see whether suppress_tokens leaves anything to say."
        )
    fair = [index for index in finite if limit is None or attempts[index].compression_ratio <= limit]
    if fair:
        return max(fair, key=lambda index: attempts[index].avg_logprob)
    return min(finite, key=lambda index: (attempts[index].compression_ratio, -attempts[index].avg_logprob))


def is_silent(decoded: Decoded, options: Options) -> bool:
    """Whether the window is passed over: no speech is probable, and the text is not (correction 19)."""
    if options.no_speech_threshold is None or decoded.no_speech_prob <= options.no_speech_threshold:
        return False
    return options.logprob_threshold is None or decoded.avg_logprob <= options.logprob_threshold
