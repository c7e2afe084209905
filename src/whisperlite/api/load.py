"""Load a model, or transcribe at once."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from typing_extensions import Unpack

from whisperlite.api.whisper import Whisper
from whisperlite.audio.load import AudioSource
from whisperlite.audio.mel import WINDOW_FRAMES
from whisperlite.batches import slots_for
from whisperlite.cancel import CancelToken
from whisperlite.checkpoints.alignment_heads import choose_heads
from whisperlite.checkpoints.hub import HubOptions
from whisperlite.checkpoints.resolve import load_checkpoint, local_path, name_of
from whisperlite.decoding.threads import ending_workers
from whisperlite.errors import CheckpointError, OptionError
from whisperlite.kinds import checked, integer, optional
from whisperlite.nn.build import build_network
from whisperlite.nn.linear import multiplies
from whisperlite.options import OptionsDict, make_options
from whisperlite.results import Segment, Transcription
from whisperlite.text.prompt import N_TEXT_CTX

# All else than linear layers is in float32 beside "int8", on CUDA in float16.
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

    The model last used stays loaded for the next call; `load_model` gives one of your own.

    Args:
        audio: a path, the bytes of a file, a binary file object, or samples: a numpy array or a tensor, of shape
            (n_samples,) or with channels, floats in [-1, 1] or integers.
        model: a name or path, as in `load_model`, or a model that it returned.
        device, compute_type: as in `load_model`; not with a model that is loaded.
        sampling_rate: of samples, in Hz; None: 16000. Files carry their own.
        on_segment: called with each segment when it is accepted, on the calling thread.
        on_progress: called with the seconds done and the seconds in all, after each window and at the end, where both
            are the same.
        cancel: stops it from another thread.
        batch_size: with `chunking="vad"`, chunks that are decoded together, 1 to 128; None: 8.
        **options: the fields of `Options`.

    Raises:
        OptionError, LanguageError: before any audio is read.
        ModelError: the model cannot be loaded.
        AudioError: the audio cannot be read.
        CancelledError, TimeoutExceededError: `cancel` or the option `timeout_s` stopped it; `partial` is what there
            was by then.
        DecodingError: the network gave no usable answer; `partial` is what there was by then.
        MissingPackageError: an option needs a package that is not installed.
    """
    slots_for(make_options(options), batch_size)  # what is wrong with them fails before the model is loaded
    loaded = _loaded(model, device, compute_type)
    return loaded.transcribe(
        audio,
        sampling_rate=sampling_rate,
        on_segment=on_segment,
        on_progress=on_progress,
        cancel=cancel,
        batch_size=batch_size,
        **options,
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
) -> Whisper:
    """Load a model.

    A name is looked for on this machine first: among installed weights packages, then in the Hub's cache and
    openai-whisper's. Only what is not found there is downloaded; a branch that is in the cache stays as it was then.

    Args:
        name: the path of a folder or file of any format that is read; an official name (`available_models` lists them);
            or `"organisation/repository"` on the Hugging Face Hub. Names and repositories may end in `@revision`.
        device: where it runs; None: "cuda" where there is one, else "cpu".
        compute_type: "float32", "float16", "bfloat16" or "int8"; "auto": float32, on CUDA float16. "int8" rounds the
            weights of linear layers to 8 bits and, on a CPU, what they are applied to, row by row. On a CPU for
            which torch has no fast product of a half precision float32 takes its place, and a warning says so.
        revision: a branch, a tag or a commit on the Hub, where embedded weights then do not come in; None: "main".
        token: of the Hub, for gated and private repositories; None: the one stored on this machine; False: none.
        cache_dir: folder of downloads; None: the Hub's ($HF_HUB_CACHE), which other programs share.
        local_files_only: never ask the Hub; $HF_HUB_OFFLINE does the same for every call.
        cpu_threads: that torch's work runs on, on a CPU; None: torch's own number, but no more than the cores that this
            process may use. Where a busy neighbour makes one thread faster for a step of the decoder, one is used.

    Raises:
        OptionError: a device, compute type, revision or number of threads that there is not.
        ModelNotFoundError: no such model, or it would have to be downloaded and may not be.
        ModelError: the cache folder cannot be written.
        DownloadError: the Hub cannot be reached or refuses.
        CheckpointError: its files are damaged or not a Whisper.
    """
    place = _device(device)
    dtype = _dtype(compute_type, place)
    cpu_threads = checked("cpu_threads", cpu_threads, optional(integer(1)))
    hub = HubOptions.of(revision, token, cache_dir, local_files_only)
    checkpoint = load_checkpoint(name, hub)
    contexts = (checkpoint.dims.n_audio_ctx, checkpoint.dims.n_text_ctx)
    if contexts != (WINDOW_FRAMES // 2, N_TEXT_CTX):
        raise CheckpointError(
            f"{checkpoint.path} looks at {contexts[0]} positions of audio and {contexts[1]} of text at a time; "
            f"every Whisper has {WINDOW_FRAMES // 2} and {N_TEXT_CTX}, and its rules count on them."
        )
    int8 = compute_type == "int8"
    network = build_network(checkpoint.dims, checkpoint.tensors, device=place, dtype=dtype, int8=int8)
    # A path is kept whole: the working directory may be another when the model is unpickled.
    path = local_path(name)
    kept = os.fspath(name) if path is None else os.path.abspath(path)  # noqa: PTH100 - links stay: the Hub's cache has them
    # The token is left out: a pickle may go anywhere.
    recipe = _Recipe(kept, str(place), compute_type, hub.revision, hub.cache_dir, hub.local_files_only, cpu_threads)
    own = checkpoint.generation_config.alignment_heads
    heads = choose_heads(own, _official_name(name, path), checkpoint.dims)
    return Whisper(network, checkpoint.tokenizer, recipe, checkpoint.generation_config, heads, cpu_threads)


def _official_name(name: str | os.PathLike[str], path: Path | None) -> str:
    """What may be an official name: of a file, such as OpenAI's `base.pt`, that before the suffix."""
    if path is None:
        return os.fspath(name).partition("@")[0]
    return path.stem if path.suffix == ".pt" else path.name


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that is needed to load a model again."""

    name: str
    device: str | None
    compute_type: str
    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False
    cpu_threads: int | None = None

    def load(self) -> Whisper:
        return load_model(
            self.name,
            device=self.device,
            compute_type=self.compute_type,
            revision=self.revision,
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
            cpu_threads=self.cpu_threads,
        )


_LOADING = threading.Lock()  # threads that start together load one model, not one each


def _loaded(model: str | os.PathLike[str] | Whisper, device: str | torch.device | None, compute_type: str) -> Whisper:
    if not isinstance(model, Whisper):
        with _LOADING:
            return _last_model(_Recipe(name_of(model), None if device is None else str(device), compute_type))
    if device is not None or compute_type != "auto":
        raise OptionError(f"{model!r} is loaded already: give device and compute_type to load_model, not here.")
    return model


@lru_cache(maxsize=1)
def _last_model(recipe: _Recipe) -> Whisper:
    return recipe.load()


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(f"device={str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return place


def _dtype(compute_type: str, device: torch.device) -> torch.dtype:
    if compute_type in ("auto", "int8"):
        return torch.float16 if device.type == "cuda" else torch.float32
    if not isinstance(compute_type, str) or compute_type not in _COMPUTE_TYPES:
        raise OptionError(f"compute_type={compute_type!r} is not one of: auto, {', '.join(_COMPUTE_TYPES)}.")
    dtype = _COMPUTE_TYPES[compute_type]
    if device.type == "cpu" and dtype != torch.float32 and not multiplies(dtype):
        warnings.warn(
            f"torch has no fast product of {compute_type} for this processor: float32 takes its place.", stacklevel=4
        )
        return torch.float32
    return dtype
