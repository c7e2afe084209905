"""CUDA graphs: calls that are recorded once and replayed.

A decoder step is several hundred small operators. On a GPU, calling them takes longer than what they do; a graph makes
them a single call. It works on the memory that it was recorded with, and the host decides nothing in it.

Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from whisperlite.nn.build import build_network, expected_shapes
from whisperlite.nn.cache import CrossKeysValues, FixedCache
from whisperlite.nn.config import ModelDimensions

logger = logging.getLogger("whisperlite")

# The first version that this was tested with on a GPU. Before 2.13, another thread cannot draw random numbers during a
# recording, and a recording that fails leaks memory.
_FIRST_TORCH = (2, 11)

_RECORDING = threading.Lock()  # torch records one graph at a time in a process
_FAILURES = 3  # in a process, after which no more is recorded

_PROBING = threading.Lock()
_PROBED: dict[tuple[torch.device, torch.dtype], bool] = {}


class Recorder(Protocol):
    """Records calls that share memory, for one thread."""

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        """Make a call and record it; returns a function that repeats it, or None if it could not be recorded.

        The function works as long as the recorder lives, and always returns the same tensor, with new contents. The
        call is made once even if it cannot be recorded, except after recording has been given up.

        Args:
            call: reads and writes the same memory at every call, and puts its result in the same place.
        """


def recorder_for(device: torch.device, dtype: torch.dtype) -> Recorder | None:
    """A recorder, or None if the device has no graphs, they do not work here, or too much is recorded already."""
    if not _has_graphs(device):
        return None
    stream = _STREAMS.lend(device)
    if stream is None:
        logger.info("Nothing more is recorded on %s as long as so much else is.", device)
        return None
    recorder = CudaGraphs(device, stream)
    with _PROBING:
        if (device, dtype) not in _PROBED:
            _PROBED[device, dtype] = _works(recorder, device, dtype)
    return recorder if _PROBED[device, dtype] else None


def _has_graphs(device: torch.device) -> bool:
    if device.type != "cuda" or torch.version.hip is not None:  # on ROCm, ending a graph waits for the whole device
        return False
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= _FIRST_TORCH


def stream_of(device: torch.device) -> int | None:
    """The stream that this thread uses now; None if the device has no streams."""
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else None


class _Streams:
    """Streams to record graphs on, each lent to one recorder at a time.

    torch hands out the same few again and again. When a graph is deleted, the memory that products use on its stream is
    freed, even if other graphs on that stream still need it.
    """

    _MOST = 16  # per device; torch has 32

    def __init__(self) -> None:
        self._free: dict[int, list[torch.cuda.Stream]] = {}
        self._made: dict[int, set[int]] = {}
        self._lock = threading.Lock()

    def lend(self, device: torch.device) -> torch.cuda.Stream | None:
        """A stream that no other recorder has; None if all are lent."""
        index = torch.cuda.current_device() if device.index is None else device.index
        with self._lock:
            free, made = self._free.setdefault(index, []), self._made.setdefault(index, set())
            if not free and len(made) < self._MOST:
                for _ in range(2 * self._MOST):
                    stream = torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
                    if stream.cuda_stream not in made:
                        made.add(stream.cuda_stream)
                        free.append(stream)
                        break
            return free.pop() if free else None

    def give_back(self, stream: torch.cuda.Stream, graphs: list[torch.cuda.CUDAGraph]) -> None:
        """Delete graphs, then free their stream. Takes no lock: it may be called at any moment, on any thread."""
        graphs.clear()
        self._free[stream.device.index].append(stream)


_STREAMS = _Streams()


class CudaGraphs:
    """Graphs that share memory for intermediate results."""

    failures: ClassVar[int] = 0

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        self._device, self._stream = device, stream
        self._pool = torch.cuda.graph_pool_handle()
        # Failed ones too: the pool would end with its last graph.
        self._graphs: list[torch.cuda.CUDAGraph] = []
        weakref.finalize(self, _STREAMS.give_back, stream, self._graphs).atexit = False

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        """See `Recorder`."""
        if CudaGraphs.failures >= _FAILURES:
            return None
        with torch.cuda.device(self._device):
            result = call()  # libraries plan and allocate in their first call, which cannot be recorded
            with _RECORDING:
                number = self._recorded(call)
        if number is None:
            return None
        graphs = self._graphs

        def replay() -> Tensor:
            graphs[number].replay()
            return result

        return replay

    def _recorded(self, call: Callable[[], Tensor]) -> int | None:
        """The index of a new graph; None if recording failed twice."""
        try:
            return self._captured(call)
        except RuntimeError:
            # Perhaps for lack of memory: while recording, torch does not use the memory that it holds in reserve.
            torch.cuda.empty_cache()
        try:
            return self._captured(call)
        except RuntimeError:
            CudaGraphs.failures += 1
            logger.warning("A call was not recorded as a CUDA graph, and is slower.", exc_info=True)
            return None

    def _captured(self, call: Callable[[], Tensor]) -> int:
        """Record a graph; returns its index. Other threads may compute meanwhile, but not wait for the whole device."""
        graph = torch.cuda.CUDAGraph()
        self._graphs.append(graph)
        with torch.cuda.stream(self._stream):
            # Not `torch.cuda.graph`, which first frees all spare memory; other threads would have to allocate it again.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                call()
            finally:
                graph.capture_end()
        return len(self._graphs) - 1


def can_replay(recorder: Recorder, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small decoder gives the same logits when its step is replayed as when it is called."""
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
    logits = torch.empty((2, dims.n_vocab), dtype=torch.float32, device=device)
    replay = recorder.record(lambda: logits.copy_(decoder.next_logits(tokens, memory)))
    if replay is None:
        return False
    for step in range(3):
        tokens += 7
        lengths += torch.tensor([1, 2], device=device)
        cross[0].neg_()
        found, expected = replay(), decoder.next_logits(tokens, memory)
        # The operators are the same, but a library may choose another product when it is recorded.
        if (found - expected).abs().max() > 0.02 * expected.abs().max() or not found.isfinite().all():
            logger.warning("A CUDA graph gave something else than its operators in step %d.", step)
            return False
    return True


def _works(recorder: Recorder, device: torch.device, dtype: torch.dtype) -> bool:
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            works = can_replay(recorder, device, dtype)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError:
        logger.warning("A CUDA graph could not be replayed.", exc_info=True)
        works = False
    if not works:
        logger.warning("CUDA graphs do not work here: operators are called one by one, which is slower.")
    return works
