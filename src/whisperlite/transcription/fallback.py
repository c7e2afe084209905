"""Whether to accept an attempt or to try the next temperature (Radford et al. 2022, section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from whisperlite.decoding.asks import Beam, Decode, Decoded, Greedy, LazyMel, Sample, Strategy
from whisperlite.decoding.encoding import Encoding
from whisperlite.errors import DecodingError
from whisperlite.options import Options
from whisperlite.text.prompt import MAX_NEW_TOKENS, Prompt

NOT_FINITE_ADVICE = (
    "In float16 or bfloat16, try compute_type='float32'; otherwise see whether suppress_tokens leaves anything to say."
)


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
    """Return the request for one attempt at a window; see `Decode` for the arguments."""
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
    """Return the strategy at a temperature: greedy or beam search at 0, sampling above."""
    if temperature > 0:
        return Sample(temperature, options.best_of or 1, options.length_penalty)
    if options.beams > 1:
        return Beam(options.beams, options.max_candidates, options.length_penalty)
    return Greedy(length_penalty=options.length_penalty)


def failed_thresholds(decoded: Decoded, options: Options) -> tuple[str, ...]:
    """Return the names of the thresholds that an attempt fails; if there are none, it is accepted.

    "not_finite" stands for probabilities that are not finite, as float16 gives on some devices; no threshold detects
    them. A window that looks silent is accepted despite a low log probability: no other temperature would do better.
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
    """Return the index of the attempt to keep if all of them failed.

    Differs: the reference keeps the last one, sampled at the highest temperature (correction 2). Here it is the most
    probable one that does not repeat itself. If all do, a longer loop would be more probable, so it is the one that
    repeats itself least. Among equals, it is the first.

    Raises:
        DecodingError: no attempt has finite probabilities.
    """
    limit = options.compression_ratio_threshold
    finite = [index for index, one in enumerate(attempts) if math.isfinite(one.avg_logprob)]
    if not finite:
        raise DecodingError(
            "The probabilities of a window are not finite at any temperature. Samples belong in [-1, 1]. "
            f"{NOT_FINITE_ADVICE}"
        )
    fair = [index for index in finite if limit is None or attempts[index].compression_ratio <= limit]
    if fair:
        return max(fair, key=lambda index: attempts[index].avg_logprob)
    return min(finite, key=lambda index: (attempts[index].compression_ratio, -attempts[index].avg_logprob))


def is_silent(decoded: Decoded, options: Options) -> bool:
    """Whether to skip the window: it probably has no speech, and its text is improbable (correction 19)."""
    if options.no_speech_threshold is None or decoded.no_speech_prob <= options.no_speech_threshold:
        return False
    return options.logprob_threshold is None or decoded.avg_logprob <= options.logprob_threshold
