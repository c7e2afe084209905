"""CUDA graphs: a call that is recorded once and replayed.

A step of the decoder is some hundred small operators. On a GPU calling them takes longer than what they do; a graph of
them is one call. What is recorded works on the memory that it was recorded with, and the host decides nothing in it.

Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.cache import CrossKeysValues, FixedCache
from whisperlite.nn.config import ModelDimensions

logger = logging.getLogger("whisperlite")

SWITCH = "WHISPERLITE_CUDA_GRAPHS"
"""Name of the environment variable that, if it is "0", has every operator called."""

_RECORDING = threading.Lock()  # torch records one graph at a time in a process
_FAILURES = 3  # after which no more is recorded


class Recorder(Protocol):
    """Records calls that share memory, for one thread."""

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        """What does the same again: it gives one and the same tensor, with new contents. None: this time it failed.

        Args:
            call: gives the same for the same contents of the memory that it reads, however often it is called.
        """


def recorder_for(device: torch.device, dtype: torch.dtype) -> Recorder | None:
    """None: the device has no graphs, or they are switched off, or do not work here."""
    if device.type != "cuda" or os.environ.get(SWITCH) == "0" or not _works(device, dtype):
        return None
    return CudaGraphs(device)


class CudaGraphs:
    """Graphs that share the memory of what lies between their first and last operator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._failures = 0

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        """See `Recorder`. Whoever waits for the whole device in another thread makes it fail, which is no harm."""
        if self._failures == _FAILURES:
            return None
        try:
            return self._recorded(call)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._failures += 1
            logger.warning("A step was not recorded as a CUDA graph, and is slower: %s", error)
            return None

    def _recorded(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        current = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(current)
        try:
            with _RECORDING, torch.cuda.stream(self._stream):
                call()  # libraries plan and allocate at their first call, which cannot be recorded
                # Not `torch.cuda.graph`, which first gives all spare memory back, and others would ask for it again.
                # What other threads do in the meantime is theirs.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    result = call()
                finally:
                    graph.capture_end()
        finally:
            current.wait_stream(self._stream)  # the first call writes what the next one reads

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


def replays(recorder: Recorder, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small decoder says the same when its step is replayed as when it is called."""
    dims = ModelDimensions(80, 16, 128, 2, 1, 64, 32, 128, 2, 2)
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        return values.div(math.sqrt(shape[-1])).to(device, dtype)

    tensors = {name: random(*shape) for name, shape in expected_shapes(dims).items()}
    decoder = build_network(dims, tensors, device=device, dtype=dtype).decoder
    keys, values, *cross = (random(2, 2, 2, positions, 64) for positions in (16, 16, 16, 16))
    tokens, lengths = (torch.zeros(2, dtype=torch.long, device=device) for _ in range(2))
    memory = FixedCache(keys, values, CrossKeysValues(*cross), lengths)

    def call() -> Tensor:
        return decoder.next_logits(tokens, memory)

    replay = recorder.record(call)
    if replay is None:
        return False
    for step in range(3):
        tokens += 7
        lengths += torch.tensor([1, 2], device=device)
        cross[0].neg_()
        found = replay().clone()
        expected = call()
        # The same operators; a library may choose another product for what it records.
        if (found - expected).abs().max() > 0.02 * expected.abs().max() or not found.isfinite().all():
            logger.warning("A CUDA graph gave something else than its operators in step %d.", step)
            return False
    return True


@cache
def _works(device: torch.device, dtype: torch.dtype) -> bool:
    """Asked once in a process."""
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            works = replays(CudaGraphs(device), device, dtype)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        logger.warning("A CUDA graph cannot be replayed: %s", error)
        works = False
    if not works:
        logger.warning("Decoding calls operator by operator, which is slower.")
    return works
