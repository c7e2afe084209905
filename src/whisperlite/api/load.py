"""Load a model, or transcribe in one call."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from typing_extensions import Unpack

from whisperlite.api.whisper import Whisper
from whisperlite.audio.load import AudioSource
from whisperlite.audio.mel import WINDOW_FRAMES
from whisperlite.batches import slots_for
from whisperlite.cancel import CancelToken, Stop
from whisperlite.checkpoints.alignment_heads import choose_heads
from whisperlite.checkpoints.checkpoint import Checkpoint
from whisperlite.checkpoints.hub_options import HubOptions
from whisperlite.checkpoints.resolve import load_checkpoint, local_path, name_of, official_name
from whisperlite.decoding.threads import ending_workers
from whisperlite.errors import CancelledError, CheckpointError, OptionError
from whisperlite.kinds import FLAG, checked, integer, optional
from whisperlite.nn.build import build_network
from whisperlite.nn.config import Heads
from whisperlite.nn.linear import has_fast_product
from whisperlite.options import Options, OptionsDict, as_arguments, make_options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import N_TEXT_CTX
from whisperlite.transcription.start import nothing_heard

_MOST_THREADS = 1024  # with several thousand, OpenMP does not return
# With "int8", everything but the linear layers is in float32, or on CUDA in float16.
_COMPUTE_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.float32}


def transcribe(
    audio: AudioSource,
    *,
    model: str | os.PathLike[str] | Whisper = "base",
    device: str | torch.device | None = None,
    compute_type: str = "auto",
    sampling_rate: int | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    on_progress: Callable[[float, float], None] | None = None,
    cancel: CancelToken | None = None,
    batch_size: int | None = None,
    **options: Unpack[OptionsDict],
) -> Transcription:
    """Transcribe a recording, or translate it into English.

    The model stays loaded until a later call names another one. Use `load_model` for a model that you keep yourself.

    Args:
        audio: a path, the bytes of a file, a binary file object, or samples: a numpy array or a tensor, of shape
            (n_samples,) or with channels, floats in [-1, 1] or integers.
        model: a name or path, as in `load_model`, or a model that it returned.
        device, compute_type: as in `load_model`; not allowed with a loaded model.
        sampling_rate: the sampling rate of samples, in Hz; None: 16000. Files have their own.
        on_segment: a function that is called with each segment when it is accepted, on the calling thread.
        on_progress: a function that is called with the seconds done and the seconds in all, after each window and at
            the end, when both are the same.
        cancel: a token that stops the call from another thread. The loading of a model is not interrupted.
        batch_size: with `chunking="vad"`, how many chunks are decoded together, 1 to 128; None: 8.
        **options: the fields of `Options`. `timeout_s` does not include the time to load the model.

    Raises:
        OptionError, LanguageError: an option is wrong; raised before any audio is read.
        ModelError: the model cannot be loaded.
        AudioError: the audio cannot be read.
        CancelledError, TimeoutExceededError: `cancel` or the option `timeout_s` stopped the call; `partial` is the
            partial result.
        DecodingError: the network gave no usable answer; `partial` is the partial result.
        MissingPackageError: an option needs a package that is not installed.
    """
    chosen = make_options(options)  # wrong options fail before the model is loaded
    slots_for(chosen, batch_size)
    loaded = _loaded(model, device, compute_type, cancel, chosen)
    return loaded.transcribe(
        audio,
        sampling_rate=sampling_rate,
        on_segment=on_segment,
        on_progress=on_progress,
        cancel=cancel,
        batch_size=batch_size,
        **as_arguments(chosen),
    )


@ending_workers()
def load_model(
    name: str | os.PathLike[str] = "base",
    *,
    device: str | torch.device | None = None,
    compute_type: str = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    cpu_threads: int | None = None,
    cuda_graphs: bool = False,
) -> Whisper:
    """Load a model.

    A name is looked up on this machine first: among the installed packages of weights, then in the Hub's cache and that
    of openai-whisper. A model is downloaded only if it is not found there; a branch in the cache is not updated.

    Args:
        name: the path of a folder or file in any readable format; an official name (`available_models` lists them); or
            `"organisation/repository"` on the Hugging Face Hub. Names and repositories may end in `@revision`.
        device: where the model runs; None or "auto": "cuda" if available, else "cpu".
        compute_type: "float32", "float16", "bfloat16" or "int8"; "auto": float32, on CUDA float16. "int8" rounds the
            weights of linear layers to 8 bits and, on a CPU, also their inputs, row by row. If torch has no fast
            half-precision product for this CPU, float32 is used instead, with a warning.
        revision: a branch, a tag or a commit on the Hub; installed packages of weights are then not used. None: "main".
        token: the token for gated and private repositories of the Hub; None: the one stored on this machine; False:
            none.
        cache_dir: the folder for downloads; None: the Hub's ($HF_HUB_CACHE), which other programs share.
        local_files_only: never ask the Hub; $HF_HUB_OFFLINE does the same for every call.
        cpu_threads: how many threads torch uses on a CPU, 1 to 1024; None or 0: torch's own number, but no more than
            the cores that this process may use. Steps of the decoder run on one thread while that is faster, as it can
            be next to a busy process.
        cuda_graphs: record repeated work on an NVIDIA GPU as CUDA graphs and replay them, which is several times as
            fast. While a graph is being recorded, work of the program's other threads on the GPU can fail, so use this
            only if the program leaves the GPU to whisperlite. It needs torch 2.11 or later, and has no effect on other
            devices.

    Raises:
        OptionError: the device, the compute type, the number of threads or `cuda_graphs` cannot be used, or the
            revision or the token is malformed.
        ModelNotFoundError: there is no such model or revision, or it is not on this machine and must not be downloaded.
        ModelError: the cache folder cannot be written.
        DownloadError: the Hub cannot be reached or refuses.
        CheckpointError: the files are damaged or not a Whisper.
    """
    hub = HubOptions.of(revision, token, cache_dir, local_files_only)
    recipe = _Recipe(
        name=name_of(name),
        device=device,
        compute_type=compute_type,
        revision=hub.revision,
        cache_dir=hub.cache_dir,
        local_files_only=hub.local_files_only,
        cpu_threads=cpu_threads,
        cuda_graphs=cuda_graphs,
    )
    return recipe.read(hub.token).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """The arguments of `load_model`, except the token: a pickle may go anywhere."""

    name: str
    device: str | torch.device | None
    compute_type: str
    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False
    cpu_threads: int | None = None
    cuda_graphs: bool = False

    @ending_workers()
    def load(self) -> Whisper:
        return self.read().build()

    def read(self, token: str | bool | None = None) -> _Plan:
        """Check the arguments, and find and read the checkpoint.

        The recipe of the plan means the same in another working directory. It names no device unless one was chosen:
        the machine that loads the model again may have another one.
        """
        chosen = _chosen(self.device)
        device = _device(chosen)
        dtype = _dtype(self.compute_type, device)
        cpu_threads = checked("cpu_threads", self.cpu_threads, optional(integer(0, _MOST_THREADS))) or None
        cuda_graphs = checked("cuda_graphs", self.cuda_graphs, FLAG)
        checkpoint = load_checkpoint(self.name, HubOptions(self.revision, token, self.cache_dir, self.local_files_only))
        contexts = (checkpoint.dims.n_audio_ctx, checkpoint.dims.n_text_ctx)
        if contexts != (WINDOW_FRAMES // 2, N_TEXT_CTX):
            raise CheckpointError(
                f"{checkpoint.path} looks at {contexts[0]} positions of audio and {contexts[1]} of text at a time; "
                f"every Whisper has {WINDOW_FRAMES // 2} and {N_TEXT_CTX}, and its rules count on them."
            )
        recipe = replace(
            self,
            name=_absolute(self.name),
            device=None if chosen is None else str(device),
            cpu_threads=cpu_threads,
            cuda_graphs=cuda_graphs,
        )
        heads = choose_heads(checkpoint.generation_config.alignment_heads, official_name(self.name), checkpoint.dims)
        return _Plan(checkpoint, recipe, device, dtype, heads)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A model that was found and read. If the format allows it, its tensors are still in the file."""

    checkpoint: Checkpoint
    recipe: _Recipe
    device: torch.device
    dtype: torch.dtype
    heads: Heads

    def build(self) -> Whisper:
        checkpoint, recipe = self.checkpoint, self.recipe
        network = build_network(
            checkpoint.dims,
            checkpoint.tensors,
            device=self.device,
            dtype=self.dtype,
            int8=recipe.compute_type == "int8",
        )
        return Whisper(
            network,
            checkpoint.tokenizer,
            recipe,
            checkpoint.generation_config,
            self.heads,
            recipe.cpu_threads,
            recipe.cuda_graphs,
        )


def _absolute(name: str | os.PathLike[str]) -> str:
    """A name unchanged, or a path made absolute, so that it means the same in another working directory."""
    path = local_path(name)
    return name_of(name) if path is None else os.path.abspath(path)  # noqa: PTH100 - keeps the links of the Hub's cache


class _LastModel:
    """The model that `transcribe` loaded last, kept for its next call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # so that threads that start together load one model
        self._recipe: _Recipe | None = None
        self._model: Whisper | None = None

    def get(self, recipe: _Recipe) -> Whisper:
        """Return the model of a recipe, loading it unless it is the last one.

        The last model is dropped before the next one is built: there may not be enough memory for both.
        """
        with self._lock:
            if self._model is not None and self._recipe == recipe:
                return self._model
            with ending_workers():
                plan = recipe.read()  # if there is no such model, the last one stays
                self._model = None
                self._model = plan.build()
            self._recipe = recipe
            return self._model


_LAST = _LastModel()


def _loaded(
    model: str | os.PathLike[str] | Whisper,
    device: str | torch.device | None,
    compute_type: str,
    cancel: CancelToken | None,
    options: Options,
) -> Whisper:
    device = _chosen(device)
    if not isinstance(model, Whisper):
        try:
            Stop(cancel).check()
        except CancelledError as error:
            error.partial = nothing_heard(options, 0.0, name_of(model))
            raise
        text = None if device is None else str(device)
        return _LAST.get(_Recipe(name=_absolute(model), device=text, compute_type=compute_type))
    if device is not None or compute_type != "auto":
        raise OptionError(f"{model!r} is loaded already: give device and compute_type to load_model, not here.")
    return model


def _chosen(device: str | torch.device | None) -> str | torch.device | None:
    return None if device == "auto" else device


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it computes nothing")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        given = str(device) if isinstance(device, torch.device) else device
        raise OptionError(f"device={given!r} cannot be used: {str(error).splitlines()[0]}", option="device") from error
    return found


def _dtype(compute_type: str, device: torch.device) -> torch.dtype:
    if compute_type in ("auto", "int8"):
        return torch.float16 if device.type == "cuda" else torch.float32
    if not isinstance(compute_type, str) or compute_type not in _COMPUTE_TYPES:
        raise OptionError(
            f"compute_type={compute_type!r} is not one of: auto, {', '.join(_COMPUTE_TYPES)}.", option="compute_type"
        )
    dtype = _COMPUTE_TYPES[compute_type]
    if device.type == "cpu" and dtype != torch.float32 and not has_fast_product(dtype):
        warnings.warn(
            f"torch has no fast product of {compute_type} for this processor: float32 is used instead.", stacklevel=5
        )
        return torch.float32
    return dtype
