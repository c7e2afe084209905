"""The public calls: load a model, transcribe with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from typing_extensions import Unpack

from whisperlite.audio.load import AudioSource, read_audio
from whisperlite.audio.mel import WINDOW_FRAMES, Features
from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.checkpoints.hub import HubOptions
from whisperlite.checkpoints.resolve import load_checkpoint, local_path
from whisperlite.decoding.asks import Decode, Decoded, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine, as_window
from whisperlite.errors import AudioFormatError, CheckpointError, LanguageError, OptionError
from whisperlite.nn.build import build_network
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.network import Network
from whisperlite.options import Options, OptionsDict, make_options
from whisperlite.results import LanguageDetection, Segment, Transcription
from whisperlite.text.prompt import MAX_NEW_TOKENS, N_TEXT_CTX, build_prompt
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.fallback import strategy_at
from whisperlite.transcription.pool import run_sessions
from whisperlite.transcription.session import Accepted, Session, session, suppressed_tokens

_MOST_SLOTS = 16  # windows of one `decode` that are in memory at a time

_COMPUTE_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def transcribe(
    audio: AudioSource,
    *,
    model: str | os.PathLike[str] | Whisper = "base",
    device: str | torch.device | None = None,
    compute_type: str = "auto",
    sampling_rate: int | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    on_progress: Callable[[float, float], None] | None = None,
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
        on_progress: called with the seconds done and the seconds in all, after each window and at the end.
        **options: the fields of `Options`.

    Raises:
        OptionError, LanguageError: before any audio is read.
        ModelError: the model cannot be loaded.
        AudioError: the audio cannot be read.
    """
    make_options(options)  # what is wrong with them fails before the model is loaded
    loaded = _loaded(model, device, compute_type)
    return loaded.transcribe(
        audio, sampling_rate=sampling_rate, on_segment=on_segment, on_progress=on_progress, **options
    )


def load_model(
    name: str | os.PathLike[str] = "base",
    *,
    device: str | torch.device | None = None,
    compute_type: str = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Whisper:
    """Load a model.

    A name is looked for on this machine first: among installed weights packages, then in the Hub's cache and
    openai-whisper's. Only what is not found there is downloaded; a branch that is in the cache stays as it was then.

    Args:
        name: the path of a folder or file of any format that is read; an official name (`available_models` lists them);
            or `"organisation/repository"` on the Hugging Face Hub. Names and repositories may end in `@revision`.
        device: where it runs; None: "cuda" where there is one, else "cpu".
        compute_type: "float32", "float16", "bfloat16"; "auto": float32, on CUDA float16.
        revision: a branch, a tag or a commit on the Hub, where embedded weights then do not come in; None: "main".
        token: of the Hub, for gated and private repositories; None: the one stored on this machine; False: none.
        cache_dir: folder of downloads; None: the Hub's ($HF_HUB_CACHE), which other programs share.
        local_files_only: never ask the Hub; $HF_HUB_OFFLINE does the same for every call.

    Raises:
        OptionError: a device, compute type or revision that there is not.
        ModelNotFoundError: no such model, or it would have to be downloaded and may not be.
        ModelError: the cache folder cannot be written.
        DownloadError: the Hub cannot be reached or refuses.
        CheckpointError: its files are damaged or not a Whisper.
    """
    place = _device(device)
    dtype = _dtype(compute_type, place)
    hub = HubOptions.of(revision, token, cache_dir, local_files_only)
    checkpoint = load_checkpoint(name, hub)
    contexts = (checkpoint.dims.n_audio_ctx, checkpoint.dims.n_text_ctx)
    if contexts != (WINDOW_FRAMES // 2, N_TEXT_CTX):
        raise CheckpointError(
            f"{checkpoint.path} looks at {contexts[0]} positions of audio and {contexts[1]} of text at a time; "
            f"every Whisper has {WINDOW_FRAMES // 2} and {N_TEXT_CTX}, and its rules count on them."
        )
    network = build_network(checkpoint.dims, checkpoint.tensors, device=place, dtype=dtype)
    # A path is kept whole: the working directory may be another when the model is unpickled.
    path = local_path(name)
    kept = os.fspath(name) if path is None else os.path.abspath(path)  # noqa: PTH100 - links stay: the Hub's cache has them
    # The token is left out: a pickle may go anywhere.
    recipe = _Recipe(kept, str(place), compute_type, hub.revision, hub.cache_dir, hub.local_files_only)
    return Whisper(network, checkpoint.tokenizer, recipe, checkpoint.generation_config)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that is needed to load a model again."""

    name: str
    device: str | None
    compute_type: str
    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False

    def load(self) -> Whisper:
        return load_model(
            self.name,
            device=self.device,
            compute_type=self.compute_type,
            revision=self.revision,
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )


class Whisper:
    """A loaded model. It is never written to: any number of threads may call it at once.

    It pickles as the arguments that it was loaded with, but for the token, and is loaded again where it is unpickled.
    Made by `load_model`.

    Attributes:
        network: the encoder and decoder; what is inside is not public.
        tokenizer: of the checkpoint's own vocabulary.
        generation_config: what the checkpoint says about its use; it changes no option.
    """

    def __init__(
        self, network: Network, tokenizer: Tokenizer, recipe: _Recipe, generation_config: GenerationConfig
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.generation_config = generation_config
        self._recipe = recipe

    def __repr__(self) -> str:
        return f"<Whisper {self.name!r} on {self.device} in {str(self.network.dtype).removeprefix('torch.')}>"

    def __reduce__(self) -> tuple[Callable[[_Recipe], Whisper], tuple[_Recipe]]:
        return _Recipe.load, (self._recipe,)

    @property
    def name(self) -> str:
        """The name or path that it was loaded by."""
        return self._recipe.name

    @property
    def dims(self) -> ModelDimensions:
        """Its shape: layers, widths, mel bands, vocabulary."""
        return self.network.dims

    @property
    def device(self) -> torch.device:
        """Where its weights are and its work is done."""
        return self.network.device

    @property
    def is_multilingual(self) -> bool:
        """Whether its vocabulary has languages to choose from."""
        return self.tokenizer.is_multilingual

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that it knows."""
        return self.tokenizer.languages or ("en",)

    def transcribe(
        self,
        audio: AudioSource,
        *,
        sampling_rate: int | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        on_progress: Callable[[float, float], None] | None = None,
        **options: Unpack[OptionsDict],
    ) -> Transcription:
        """Transcribe a recording, or translate it into English: `whisperlite.transcribe` with this model."""
        steps = self._session(audio, make_options(options), sampling_rate)

        def accepted(_: int, window: Accepted) -> None:
            if on_segment is not None:
                for segment in window.segments:
                    on_segment(segment)
            if on_progress is not None:
                on_progress(window.done_s, window.total_s)

        (result,) = run_sessions([steps], self._engine(), on_accepted=accepted)
        if on_progress is not None:
            on_progress(result.duration, result.duration)
        return result

    def detect_language(self, audio: AudioSource, *, sampling_rate: int | None = None) -> LanguageDetection:
        """Which language is spoken in the first 30 seconds.

        Args:
            audio, sampling_rate: as in `transcribe`.

        Raises:
            LanguageError: the model is English-only.
            AudioError: the audio cannot be read.
        """
        if not self.is_multilingual:
            raise LanguageError(f"{self.name!r} is English-only: it cannot tell languages apart.")
        features = Features(read_audio(audio, sampling_rate=sampling_rate).samples, self.dims.n_mels)
        (answer,) = self._engine().run([Detect(features.detection_window())])
        return _detection(answer)

    def encode(self, windows: Sequence[Tensor] | Tensor) -> list[Encoding]:
        """Run the encoder on log-mel windows.

        Args:
            windows: (B, n_mels, 3000), or a sequence of (n_mels, 3000).

        Returns:
            An `Encoding` each, whose `hidden` is (1500, n_audio_state); `decode` takes them in place of windows.

        Raises:
            AudioFormatError: windows of another shape.
        """
        return self._engine().encode([as_window(self._checked(window)) for window in windows])

    def decode(
        self, windows: Sequence[Tensor | Encoding] | Tensor, options: Options | Sequence[Options] | None = None
    ) -> list[Decoded]:
        """Decode log-mel windows as one batch: one attempt each, without the policy of a whole recording.

        Args:
            windows: (B, n_mels, 3000), or a sequence of (n_mels, 3000) or of encodings.
            options: for all, or one each. The first temperature is used; `initial_prompt` is the text before the
                window; language None is detected. Thresholds, clips and previous text do not come in.

        Raises:
            AudioFormatError: windows of another shape.
            OptionError: not as many options as windows, or an encoding of another model.
            LanguageError: a language that the model does not have.
        """
        chosen = [options or Options()] * len(windows) if not isinstance(options, Sequence) else list(options)
        if len(chosen) != len(windows):
            raise OptionError(f"{len(windows)} windows were given with {len(chosen)} options; give one, or one each.")
        for each in chosen:
            self._check_options(each)
        engine = self._engine(slots=max(min(len(windows), _MOST_SLOTS), 1))
        encodings = [window if isinstance(window, Encoding) else None for window in windows]
        if any(encoding is not None and not encoding.belongs_to(self.network.decoder) for encoding in encodings):
            raise OptionError("An encoding was made by another model; each model reads only its own.")
        lacking = [as_window(self._checked(window)) for window in windows if not isinstance(window, Encoding)]
        fresh = iter(engine.encode(lacking))
        encoded = [encoding or next(fresh) for encoding in encodings]
        answers = engine.run([self._decode(one, each, engine) for one, each in zip(encoded, chosen, strict=True)])
        return [answer for answer in answers if isinstance(answer, Decoded)]

    def _decode(self, encoding: Encoding, options: Options, engine: Engine) -> Decode:
        language = options.language
        if language is None and self.is_multilingual:
            (answer,) = engine.run([Detect(_encoded_already, encoding)])
            language = _detection(answer).language
        before = options.initial_prompt
        prompt = build_prompt(
            self.tokenizer,
            language=language or "en",
            task=options.task,
            without_timestamps=options.without_timestamps,
            previous=() if before is None else self.tokenizer.encode(" " + before.strip()),
            prefix=options.prefix,
        )
        return Decode(
            window=_encoded_already,
            prompt=prompt,
            strategy=strategy_at(options.temperatures[0], options),
            max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS,
            suppressed=suppressed_tokens(options, self.tokenizer),
            suppress_blank=options.suppress_blank,
            timestamps=not options.without_timestamps,
            max_initial_timestamp=options.max_initial_timestamp,
            seed=(options.seed,),
            encoding=encoding,
        )

    def _session(self, audio: AudioSource, options: Options, sampling_rate: int | None) -> Session:
        """The policy of one recording, ready to be driven."""
        self._check_options(options)
        sound = read_audio(audio, sampling_rate=sampling_rate)
        features = Features(sound.samples, self.dims.n_mels)
        warnings = sound.warnings
        if options.task == "translate" and self._is_turbo:
            warnings += ("task='translate': turbo models were not trained to translate; expect the spoken language.",)
        return session(features, options, self.tokenizer, duration=sound.duration, model=self.name, warnings=warnings)

    @property
    def _is_turbo(self) -> bool:
        """large-v3-turbo has the encoder of large-v3 with 4 decoder layers, and was tuned on transcription only."""
        return self.is_multilingual and self.dims.n_audio_layer == 32 and self.dims.n_text_layer == 4

    def _engine(self, *, slots: int = 1) -> Engine:
        return Engine(self.network, self.tokenizer, slots=slots)

    def _check_options(self, options: Options) -> None:
        """Refuse what this model does not have, before any audio is read."""
        if options.language is not None and self.is_multilingual:
            self.tokenizer.language_token(options.language)
        foreign = sorted(token for token in suppressed_tokens(options, self.tokenizer) if token >= self.dims.n_vocab)
        if foreign:
            last = self.dims.n_vocab - 1
            raise OptionError(f"suppress_tokens holds {foreign[0]}, but the ids of this model end at {last}.")

    def _checked(self, window: Tensor) -> Tensor:
        expected = (self.dims.n_mels, WINDOW_FRAMES)
        if tuple(window.shape) != expected:
            raise AudioFormatError(f"A window has the shape {tuple(window.shape)}; this model takes {expected}.")
        return window


_LOADING = threading.Lock()  # threads that start together load one model, not one each


def _loaded(model: str | os.PathLike[str] | Whisper, device: str | torch.device | None, compute_type: str) -> Whisper:
    if not isinstance(model, Whisper):
        with _LOADING:
            return _last_model(_Recipe(os.fspath(model), None if device is None else str(device), compute_type))
    if device is not None or compute_type != "auto":
        raise OptionError(f"{model!r} is loaded already: give device and compute_type to load_model, not here.")
    return model


@lru_cache(maxsize=1)
def _last_model(recipe: _Recipe) -> Whisper:
    return recipe.load()


def _encoded_already() -> Tensor:
    raise AssertionError("an ask with an encoding does not compute its window")


def _detection(answer: object) -> LanguageDetection:
    assert isinstance(answer, Detected), "a Detect is answered by a Detected"
    language, probability = max(answer.probabilities.items(), key=lambda item: item[1])
    return LanguageDetection(language, probability, answer.probabilities)


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
    if compute_type == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if compute_type not in _COMPUTE_TYPES:
        raise OptionError(f"compute_type={compute_type!r} is not one of: auto, {', '.join(_COMPUTE_TYPES)}.")
    return _COMPUTE_TYPES[compute_type]
