"""A loaded model as calls and pools use it: options are checked, recordings read, and engines made to drive them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import torch

from whisperlite.api.failures import READING, typed_errors, typed_errors_while_iterating
from whisperlite.api.spare_engine import SpareEngine
from whisperlite.audio.load import Audio, AudioSource, read_audio
from whisperlite.audio.mel import Features
from whisperlite.audio.silero import check_installed
from whisperlite.batches import slots_for
from whisperlite.cancel import CancelToken, Stop
from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import usable_threads
from whisperlite.errors import LanguageError, OptionError
from whisperlite.nn.build import Float32Copy
from whisperlite.nn.graphs import stream_of
from whisperlite.nn.network import Network
from whisperlite.options import Options
from whisperlite.results import Transcription
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.driver import drive
from whisperlite.transcription.recording import Recording
from whisperlite.transcription.session import Accepted
from whisperlite.transcription.start import start_recording


@dataclass(eq=False)
class Runtime:
    """What a `Whisper` and its pools share. Any number of threads may use it at once.

    Attributes:
        name: the name or path that the model was loaded by.
        network, tokenizer, generation_config, alignment_heads, cpu_threads, cuda_graphs: as in `Whisper`.
        float32: the network in float32, for windows that overflow in half precision.
        spare_engine: the engine of the last call for one recording, which the next one may use.
    """

    name: str
    network: Network
    tokenizer: Tokenizer
    generation_config: GenerationConfig
    alignment_heads: tuple[tuple[int, int], ...]
    cpu_threads: int | None
    cuda_graphs: bool
    float32: Float32Copy = field(init=False)
    spare_engine: SpareEngine = field(init=False, default_factory=SpareEngine)

    def __post_init__(self) -> None:
        self.float32 = Float32Copy(self.network)

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.network.device

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that the model knows."""
        return self.tokenizer.languages or ("en",)

    def check_options(self, options: Options) -> None:
        """Refuse options that the model cannot follow; see `Whisper.check_options`."""
        if not isinstance(options, Options):
            raise OptionError(f"{options!r} is no Options: give one, such as Options(beam_size=1).", option="options")
        is_multilingual, n_vocab = self.tokenizer.is_multilingual, self.network.dims.n_vocab
        if options.language is not None and is_multilingual:
            self.tokenizer.language_token(options.language)
        for code in (options.detectable_languages or ()) if is_multilingual else ():
            if code not in self.languages:
                known = ", ".join(self.languages)
                message = (
                    f"allowed_languages holds {code!r}, which this model does not have. Its languages are: {known}."
                )
                raise LanguageError(message, option="allowed_languages")
        if options.vad is not None:
            check_installed()
        prompt = options.initial_prompt if isinstance(options.initial_prompt, tuple) else ()
        for name, ids in (("suppress_tokens", options.suppressed_ids), ("initial_prompt", prompt)):
            foreign = sorted(token for token in ids if token >= n_vocab)
            if foreign:
                message = f"{name} holds {foreign[0]}, but the ids of this model end at {n_vocab - 1}."
                raise OptionError(message, option=name)

    def windows(
        self,
        audio: AudioSource,
        options: Options,
        sampling_rate: int | None,
        cancel: CancelToken | None,
        batch_size: int | None,
    ) -> tuple[Generator[Accepted, None, Transcription], float]:
        """Read a recording, and return a generator that transcribes it, and its duration in seconds.

        The generator yields each window when it is accepted, and returns the transcription.
        """
        self.check_options(options)
        slots = slots_for(options, batch_size)
        stop = Stop.after(options.timeout_s, cancel)
        recording, duration = self.recording(audio, options, sampling_rate, stop)
        threads = self.usable_threads()  # of the caller's thread, which need not be the one that iterates
        return typed_errors_while_iterating(self._drive(recording, slots, threads), self.device), duration

    def _drive(self, recording: Recording, slots: int, threads: int) -> Generator[Accepted, None, Transcription]:
        """Drive a recording with the spare engine if there is one that fits, else with a new one."""
        stream = stream_of(self.device)
        engine = self.spare_engine.take(slots, self.device) or self.engine(slots=slots, cpu_threads=threads)
        result = yield from drive(recording, engine)
        self.spare_engine.keep(engine, stream)
        return result

    def recording(
        self, audio: AudioSource, options: Options, sampling_rate: int | None, stop: Stop
    ) -> tuple[Recording, float]:
        """Read a recording, and return it ready to be driven, and its duration in seconds."""
        with typed_errors(self.device, READING):
            return start_recording(
                audio,
                options,
                self.tokenizer,
                n_mels=self.network.dims.n_mels,
                sampling_rate=sampling_rate,
                model=self.name,
                warnings=self.warnings(options),
                stop=stop,
            )

    def features(
        self, audio: AudioSource, sampling_rate: int | None, options: Options, stop: Stop
    ) -> tuple[Features, Audio]:
        """Read a recording without transcribing it; returns its features, and what was read."""
        stop.check()
        sound = read_audio(audio, sampling_rate=sampling_rate, check=stop.check, max_duration_s=options.max_duration_s)
        features = Features(sound.samples, self.network.dims.n_mels, check=stop.check)
        features.find_floor()
        return features, sound

    def warnings(self, options: Options) -> tuple[str, ...]:
        """Warnings about options that this model handles poorly."""
        found = []
        if options.task == "translate" and self._is_distilled:
            found.append("task='translate': this model was not trained to translate; expect the spoken language.")
        elif options.task == "translate" and options.word_timestamps and self.tokenizer.is_multilingual:
            found.append(
                "task='translate': words of a translation have no times of their own; those given are guesses."
            )
        own = self.generation_config.alignment_heads
        if options.word_timestamps and own and set(own) != set(self.alignment_heads):
            found.append(
                "The checkpoint's alignment_heads name layers that the model does not have; others give the times of "
                "words."
            )
        return tuple(found)

    @property
    def _is_distilled(self) -> bool:
        """Whether the decoder has fewer layers, as in turbo and Distil-Whisper, and was tuned on transcription only."""
        dims = self.network.dims
        return self.tokenizer.is_multilingual and dims.n_text_layer < dims.n_audio_layer

    def engine(self, *, slots: int = 1, cpu_threads: int | None = None) -> Engine:
        """A new engine for windows of this model."""
        is_half = self.network.dtype != torch.float32
        return Engine(
            self.network,
            self.tokenizer,
            slots=slots,
            heads=self.alignment_heads,
            in_float32=self.float32 if is_half else None,
            cpu_threads=cpu_threads or self.usable_threads(),
            graphs=self.cuda_graphs,
        )

    def usable_threads(self) -> int:
        """How many threads torch may use.

        To be called on the caller's thread: a new thread starts with the number that a step has set at that moment.
        """
        return self.cpu_threads or usable_threads()

    def made(self, encoding: Encoding) -> bool:
        """Whether an encoding was made by this network, or by its copy in float32."""
        return any(
            network is not None and encoding.belongs_to(network.decoder)
            for network in (self.network, self.float32.made)
        )
