"""Voice activity detection: samples → spans of speech.

In: the samples of a recording. Out: spans in seconds. They are derived from Silero VAD's probability of speech in each
frame of 32 ms.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from whisperlite.audio.arrays import SAMPLE_RATE
from whisperlite.audio.mel import Samples, as_tensor
from whisperlite.audio.silero import load_silero
from whisperlite.errors import DecodingError
from whisperlite.vad_options import VadOptions

_FRAME_SAMPLES = 512  # 32 ms
_CONTEXT_SAMPLES = 64  # the end of the frame before, which is part of the network's input
_CHUNK_FRAMES = 1875  # a minute, which takes about 60 MB
_SAMPLES_PER_MS = SAMPLE_RATE // 1000
_LEAST_PAUSE = 98 * _SAMPLES_PER_MS  # at which speech may be split; silero-vad's `min_silence_at_max_speech`

Span = tuple[int, int]  # start, end
Spans = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Speech:
    """Spans of speech and pauses, in seconds, ascending.

    Attributes:
        spans: (start, end) of speech, within the recording. They do not overlap, and touch only where speech longer
            than `max_speech_duration_s` was split.
        pauses: (start, end) without speech, of a tenth of a second or more. Unlike spans they are not padded, and they
            include pauses that are too short to end a span.
    """

    spans: Spans
    pauses: Spans


def find_speech(samples: Samples, options: VadOptions, *, check: Callable[[], None] | None = None) -> Speech:
    """Find the speech in a recording.

    Args:
        samples: mono, 16 kHz, int16 or float32 in [-1, 1], shape (n_samples,).
        options: what counts as speech.
        check: called before each minute of the recording; an error that it raises propagates.

    Raises:
        MissingPackageError: silero-vad is not installed.
        CheckpointError: its weights are damaged, or of another version.
        DecodingError: probabilities are not finite, because samples are far beyond full scale.
    """
    probabilities = speech_probabilities(samples, check=check)
    raise_onsets(samples, probabilities, options.threshold)
    spans, pauses = spans_and_pauses(probabilities, len(samples), options)
    return Speech(_seconds(spans), _seconds(pauses))


def _seconds(spans: list[Span]) -> Spans:
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in spans]


def speech_probabilities(samples: Samples, *, check: Callable[[], None] | None = None) -> npt.NDArray[np.float32]:
    """Compute the probability of speech in each frame of 32 ms, (⌈n_samples / 512⌉,); the last is padded with 0."""
    network = load_silero()
    n_frames = -(-len(samples) // _FRAME_SAMPLES)
    probabilities = np.zeros(n_frames, dtype=np.float32)
    state = network.initial_state()
    for start in range(0, n_frames, _CHUNK_FRAMES):
        if check is not None:
            check()
        end = min(start + _CHUNK_FRAMES, n_frames)
        # The user's autocast would run the network in bfloat16.
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            chunk, state = network(_frames(samples, start, end), state)
        if not chunk.isfinite().all():
            raise DecodingError(
                "Silero VAD gave no usable answer: its probabilities are not finite; samples belong in [-1, 1]."
            )
        probabilities[start:end] = chunk.numpy()
    return probabilities


# In frames of 32 ms: 10 s without speech; the 4 s before it begins again are heard again, and the last 2 s count.
_LONG_SILENCE, _WARM_UP, _DOUBTFUL = 312, 125, 62


def raise_onsets(samples: Samples, probabilities: npt.NDArray[np.float32], threshold: float) -> None:
    """Where speech begins after a long silence, run the network again on the time just before, from its initial state.

    After a long tone or noise, the first second of speech may stay below the threshold. Probabilities are raised in
    place, never lowered. Differs: silero-vad does not do this.
    """
    spoken = np.flatnonzero(probabilities >= threshold)
    gaps = np.diff(spoken, prepend=-1)
    for onset in spoken[gaps > _LONG_SILENCE].tolist():
        network = load_silero()
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            fresh, _ = network(_frames(samples, onset - _WARM_UP, onset), network.initial_state())
        doubtful = slice(onset - _DOUBTFUL, onset)
        probabilities[doubtful] = np.maximum(probabilities[doubtful], fresh[-_DOUBTFUL:].numpy())


def _frames(samples: Samples, start: int, end: int) -> Tensor:
    """Frames [start, end), each preceded by its context, (end - start, 576) in float32; 0 outside the recording."""
    first = start * _FRAME_SAMPLES - _CONTEXT_SAMPLES
    part = samples[max(first, 0) : end * _FRAME_SAMPLES]
    scaled = as_tensor(part)
    before = max(-first, 0)
    after = end * _FRAME_SAMPLES - first - before - len(scaled)
    padded = F.pad(scaled, (before, after))
    return padded.unfold(0, _CONTEXT_SAMPLES + _FRAME_SAMPLES, _FRAME_SAMPLES)


# Probabilities → spans


def spans_and_pauses(
    probabilities: npt.NDArray[np.floating], n_samples: int, options: VadOptions
) -> tuple[list[Span], list[Span]]:
    """Derive the spans and pauses of `Speech`, in samples, from the probabilities of frames."""
    found = _find_stretches(probabilities, n_samples, options)
    return _spans(found, n_samples, options), _pauses(found, n_samples)


def _spans(found: list[_Stretch], n_samples: int, options: VadOptions) -> list[Span]:
    """Return spans as silero-vad's `get_speech_timestamps_from_probs` does.

    Differs in how long speech is split: see `_split`. Differs if the padding of two spans meets: they are merged, since
    nothing is between them, unless the result would be longer than `max_speech_duration_s`.
    """
    padding = options.speech_pad_ms * _SAMPLES_PER_MS
    most = options.max_speech_duration_s * SAMPLE_RATE
    pieces = [(speech.start, speech.end) for speech in found]
    if most < math.inf:
        # In whole frames; at least one, even if padding takes up all of the limit.
        limit = max(int(most - 2 * padding) // _FRAME_SAMPLES, 1) * _FRAME_SAMPLES
        pieces = [piece for speech in found for piece in _split(speech, limit)]
    return _merge(_pad(pieces, padding, n_samples), most)


def _pauses(found: list[_Stretch], n_samples: int) -> list[Span]:
    """Return all pauses longer than `_LEAST_PAUSE`, within stretches of speech and between them."""
    pauses, at = [], 0
    for stretch in found:
        pauses += [(at, stretch.start), *stretch.pauses]
        at = stretch.end
    return _without_short([*pauses, (at, n_samples)])


def _without_short(pauses: list[Span]) -> list[Span]:
    return [pause for pause in pauses if pause[1] - pause[0] > _LEAST_PAUSE]


@dataclass(slots=True)
class _Stretch:
    """Speech between two pauses that are long enough to end it, in samples, with the shorter pauses in it."""

    start: int
    end: int
    pauses: list[Span] = field(default_factory=list)


def _find_stretches(probabilities: npt.NDArray[np.floating], n_samples: int, options: VadOptions) -> list[_Stretch]:
    """Find stretches of speech, leaving out those shorter than `min_speech_duration_ms`.

    Speech begins at a frame that reaches `threshold`. It ends at a frame below `neg_threshold` if no frame reaches
    `threshold` before a frame `least_pause_ms` or more later is below `neg_threshold` too.

    Differs for a `threshold` under 0.01, for which silero-vad's `neg_threshold` would be higher than `threshold`.
    """
    threshold, neg_threshold = options.threshold, options.neg_threshold
    if neg_threshold is None:
        neg_threshold = max(threshold - 0.15, 0.01)
    least_pause = options.least_pause_ms * _SAMPLES_PER_MS
    found: list[_Stretch] = []
    current: _Stretch | None = None
    pause: int | None = None
    for frame, probability in enumerate(probabilities.tolist()):
        now = frame * _FRAME_SAMPLES
        if probability >= threshold:
            if current is None:
                found.append(current := _Stretch(now, n_samples))
            elif pause is not None:
                current.pauses.append((pause, now))
                pause = None
        elif probability < neg_threshold and current is not None:
            pause = now if pause is None else pause
            if now - pause >= least_pause:
                current.end = pause
                current = pause = None
    if current is not None and pause is not None:
        current.pauses.append((pause, n_samples))
    least = options.min_speech_duration_ms * _SAMPLES_PER_MS
    return [stretch for stretch in found if stretch.end - stretch.start > least]


def _split(speech: _Stretch, limit: int) -> list[Span]:
    """Split speech into pieces of at most `limit` samples.

    The cut is at the longest of the pauses that begin within the limit, which is left out, or at the limit if there is
    none.

    Differs from silero-vad, which splits before it knows where speech ends: speech that ends in time is not split,
    pauses are still known after a cut, and a cut within speech loses neither a frame nor a short remainder.
    """
    pieces: list[Span] = []
    pauses = _without_short(speech.pauses)
    starts = [start for start, _ in pauses]
    start = speech.start
    while speech.end - start > limit:
        near = pauses[bisect_right(starts, start) : bisect_right(starts, start + limit)]
        uncut = start + limit
        cut, resumed = max(near, key=lambda pause: pause[1] - pause[0], default=(uncut, uncut))
        pieces.append((start, cut))
        start = resumed
    return [*pieces, (start, speech.end)] if start < speech.end else pieces


def _pad(spans: list[Span], padding: int, n_samples: int) -> list[Span]:
    """Extend spans by `padding` on both sides, but by no more than half of the gap between two of them."""
    shares = [min(padding, (second[0] - first[1]) // 2) for first, second in pairwise(spans)]
    return [
        (max(start - before, 0), min(end + after, n_samples))
        for (start, end), before, after in zip(spans, [padding, *shares], [*shares, padding], strict=False)
    ]


def _merge(spans: list[Span], most: float) -> list[Span]:
    """Merge spans that touch, unless the result would be longer than `most`."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1][1] == start and end - joined[-1][0] <= most:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
