"""A loaded model: what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import Unpack

from whisperlite.api.callbacks import check_callable
from whisperlite.api.failures import READING, letting_go, naming_failures, naming_failures_of, naming_its_failures
from whisperlite.api.iterator import SegmentIterator
from whisperlite.api.pool import Pool
from whisperlite.api.sources import own_copy, refuse_one
from whisperlite.api.spare_engine import SpareEngine
from whisperlite.api.windows import as_windows, decode_each, each_window, refuse_options_of_recordings
from whisperlite.audio.load import AudioSource, read_audio
from whisperlite.audio.mel import Features
from whisperlite.audio.silero import check_installed
from whisperlite.batches import BATCH_SIZE, slots_for
from whisperlite.cancel import CancelToken, LinkedToken, Stop
from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.decoding.alignment import Heads
from whisperlite.decoding.asks import Decoded, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import ending_workers, usable_threads
from whisperlite.errors import LanguageError, OptionError, WhisperliteError
from whisperlite.kinds import checked
from whisperlite.nn.build import Float32Copy
from whisperlite.nn.config import ModelDimensions
from whisperlite.nn.graphs import stream_of
from whisperlite.nn.network import Network
from whisperlite.options import Options, OptionsDict, as_arguments, make_options
from whisperlite.results import LanguageDetection, Segment, Transcription
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.driver import drive
from whisperlite.transcription.listening import detection_of, detection_places, finite
from whisperlite.transcription.recording import Recording
from whisperlite.transcription.session import Accepted
from whisperlite.transcription.start import start_recording

_MOST_SLOTS = 16  # windows of one `decode` that are decoded together


class Recipe(Protocol):
    """All that is needed to load a model again."""

    @property
    def name(self) -> str: ...

    def load(self) -> Whisper: ...


class Whisper:
    """A loaded model. It is never written to: any number of threads may call it at once.

    It pickles as the arguments that it was loaded with, but for the token, and is loaded again where it is unpickled.
    Made by `load_model`.

    Attributes:
        network: the encoder and decoder; what is inside is not public.
        tokenizer: of the checkpoint's own vocabulary.
        generation_config: what the checkpoint says about its use; it changes no option.
        alignment_heads: (layer, head) of the cross-attention heads that times of words are read from: the checkpoint's
            own, those published for its name, or all of the upper half of the layers.
        cpu_threads: that torch's work runs on, as it was loaded with.
        cuda_graphs: whether calls are recorded and replayed on CUDA, as it was loaded with.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        recipe: Recipe,
        generation_config: GenerationConfig,
        alignment_heads: Heads,
        cpu_threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.generation_config = generation_config
        self.alignment_heads = tuple(alignment_heads)
        self.cpu_threads = cpu_threads
        self.cuda_graphs = cuda_graphs
        self._recipe = recipe
        self._float32 = Float32Copy(network)
        self._spare_engine = SpareEngine()

    def __repr__(self) -> str:
        return f"<Whisper {self.name!r} on {self.device} in {str(self.network.dtype).removeprefix('torch.')}>"

    def __reduce__(self) -> tuple[Callable[[], Whisper], tuple[()]]:
        return self._recipe.load, ()

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

    @letting_go
    def transcribe(
        self,
        audio: AudioSource,
        *,
        sampling_rate: int | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        on_progress: Callable[[float, float], None] | None = None,
        cancel: CancelToken | None = None,
        batch_size: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Transcription:
        """Transcribe a recording, or translate it into English: `whisperlite.transcribe` with this model."""
        check_callable("on_segment", on_segment)
        check_callable("on_progress", on_progress)
        windows, _ = self._windows(audio, make_options(options), sampling_rate, cancel, batch_size)
        with closing(windows):  # also where what is called back raises
            while True:
                try:
                    window = next(windows)
                except StopIteration as end:
                    result: Transcription = end.value
                    break
                if on_segment is not None:
                    for segment in window.segments:
                        on_segment(segment)
                if on_progress is not None:
                    on_progress(window.done_s, window.total_s)
        if on_progress is not None:
            on_progress(result.duration, result.duration)
        return result

    @letting_go
    def iter_segments(
        self,
        audio: AudioSource,
        *,
        sampling_rate: int | None = None,
        cancel: CancelToken | None = None,
        batch_size: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> SegmentIterator:
        """Transcribe a recording segment by segment: an iterator that hands out each as soon as it is accepted.

        The whole recording is read before this returns, since its loudest moment is a part of every window's features;
        so this is not for live audio. Samples are copied: what becomes of your array later makes no difference. The
        segments are those of `transcribe`, and `.result` is its result.

        Args:
            audio, sampling_rate, cancel, batch_size, **options: as in `transcribe`, which says what is raised, here or
                while iterating.
        """
        token = LinkedToken(cancel)
        windows, duration = self._windows(own_copy(audio), make_options(options), sampling_rate, token, batch_size)
        return SegmentIterator(windows, duration, token)

    def pool(self, batch_size: int = 8, *, recordings: int | None = None) -> Pool:
        """A pool that transcribes recordings together as they are submitted.

        Args:
            batch_size: how many windows are decoded together, 1 to 128. Each takes memory for its encoding and its
                text: about 90 MB for `base` in float32, more with beam search and where it falls back.
            recordings: how many recordings are in memory and take turns, window by window, so that none waits for a
                long one to end. Each takes 115 MB per hour of audio. None: two more than `batch_size`.

        Raises:
            OptionError: another batch size, or fewer recordings than that.
        """
        slots = checked("batch_size", batch_size, BATCH_SIZE)
        self._spare_engine.drop()  # its memory may be needed
        return Pool(self, self._engine(slots=slots), recordings)

    def transcribe_many(
        self,
        audios: Iterable[AudioSource],
        *,
        batch_size: int = 8,
        sampling_rate: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Iterator[Transcription | WhisperliteError]:
        """Transcribe many recordings together, faster than one after the other.

        On a CPU, in float32 and in int8, each gets the text, tokens and times that it gets alone.

        Args:
            audios: the recordings, each as `transcribe` takes it; each row of a two-dimensional array is one. They are
                requested as there is room, on a separate thread, so that an iterable that waits for its next item does
                not hold up results. If you leave the iteration while the iterable blocks, that thread lives until the
                iterable continues. Arrays are copied, so that you can reuse them when the next one is requested.
            batch_size: as in `pool`.
            sampling_rate, **options: as in `transcribe`, for all of them.

        Yields:
            A transcription for each, in their order; for one that failed the error in its place.

        Raises:
            OptionError, LanguageError, MissingPackageError: of the options, before any audio is read. OptionError also
                for one recording in place of many.
            DeviceError: the device failed, which ends the iteration. So does any error that is not whisperlite's, such
                as one of the iterable, after the results before it.
        """
        chosen = make_options(options)
        self.check_options(chosen)
        checked("batch_size", batch_size, BATCH_SIZE)
        refuse_one(audios)

        def results() -> Iterator[Transcription | WhisperliteError]:
            with self.pool(batch_size) as pool:
                yield from pool.transcribe_many(audios, sampling_rate=sampling_rate, **as_arguments(chosen))

        return results()

    @naming_its_failures
    @ending_workers()
    def detect_language(
        self,
        audio: AudioSource,
        *,
        sampling_rate: int | None = None,
        cancel: CancelToken | None = None,
        allowed_languages: str | Sequence[str] | None = None,
        language_detection_segments: int = 1,
        language_detection_threshold: float = 0.5,
        timeout_s: float | None = None,
        max_duration_s: float | None = None,
    ) -> LanguageDetection:
        """Which language is spoken: in the first 30 seconds, or in as many windows as `language_detection_segments`.

        The whole recording is read all the same: its loudest moment is a part of every window's features.

        Args:
            audio, sampling_rate, cancel, allowed_languages, language_detection_segments, language_detection_threshold,
                timeout_s, max_duration_s: as in `transcribe`. The probabilities are of all languages, whichever are
                allowed; of several windows, the mean.

        Raises:
            OptionError: an option has a wrong value.
            LanguageError: the model is English-only, or does not have a language that is allowed.
            AudioError: the audio cannot be read.
            CancelledError, TimeoutExceededError: there is no partial result.
            DecodingError: the network gave no usable answer.
        """
        if not self.is_multilingual:
            raise LanguageError(f"{self.name!r} is English-only: it cannot tell languages apart.")
        chosen = Options(
            allowed_languages=allowed_languages,
            language_detection_segments=language_detection_segments,
            language_detection_threshold=language_detection_threshold,
            timeout_s=timeout_s,
            max_duration_s=max_duration_s,
        )
        self.check_options(chosen)
        stop = Stop.after(chosen.timeout_s, cancel)
        stop.check()
        sound = read_audio(audio, sampling_rate=sampling_rate, check=stop.check, max_duration_s=chosen.max_duration_s)
        features = Features(sound.samples, self.dims.n_mels, check=stop.check)
        features.find_floor()
        engine, found = self._engine(), detection_of(chosen)
        for seek in detection_places([(0, features.content_frames)], chosen):
            stop.check()
            (answer,) = engine.run([Detect(features.detection_window(seek))])
            assert isinstance(answer, Detected), "a Detect is answered by a Detected"
            if found.add(finite(answer.probabilities)):
                break
        return LanguageDetection(*found.decision, found.probabilities)

    def check_options(self, options: Options) -> None:
        """Refuse what this model does not have; every method does so itself, before any audio is read.

        Raises:
            LanguageError: a language that it does not have.
            OptionError: ids that its vocabulary does not have, or what is no `Options`.
            MissingPackageError: an extra that is not installed.
        """
        if not isinstance(options, Options):
            raise OptionError(f"{options!r} is no Options: give one, such as Options(beam_size=1).", option="options")
        if options.language is not None and self.is_multilingual:
            self.tokenizer.language_token(options.language)
        for code in (options.allowed_languages or ()) if self.is_multilingual else ():
            if code not in self.languages:
                known = ", ".join(self.languages)
                message = (
                    f"allowed_languages holds {code!r}, which this model does not have. Its languages are: {known}."
                )
                raise LanguageError(message, option="allowed_languages")
        if options.vad is not None:
            check_installed()
        prompt = options.initial_prompt if isinstance(options.initial_prompt, tuple) else ()
        for name, ids in (("suppress_tokens", options.suppress_tokens or ()), ("initial_prompt", prompt)):
            foreign = sorted(token for token in ids if isinstance(token, int) and token >= self.dims.n_vocab)
            if foreign:
                last = self.dims.n_vocab - 1
                message = f"{name} holds {foreign[0]}, but the ids of this model end at {last}."
                raise OptionError(message, option=name)

    @naming_its_failures
    @ending_workers()
    def encode(self, windows: Iterable[Tensor] | Tensor) -> list[Encoding]:
        """Run the encoder on log-mel windows.

        Args:
            windows: (B, n_mels, 3000), or an iterable of (n_mels, 3000), of any floating-point type: log-mel features
                as `log_mel_spectrogram` gives them, about -1 to 1. Arrays of numpy are taken too.

        Returns:
            An `Encoding` each, whose `hidden` is (1500, n_audio_state); `decode` takes them in place of windows. To
            train something on `hidden`, use `hidden.clone()`: torch does not train on what was made for inference.

        Raises:
            AudioFormatError: windows of another shape or type.
        """
        return self._engine().encode(as_windows(each_window(windows), self.dims))

    @naming_its_failures
    @ending_workers()
    def decode(
        self, windows: Iterable[Tensor | Encoding] | Tensor, options: Options | Sequence[Options] | None = None
    ) -> list[Decoded]:
        """Decode log-mel windows as one batch: one attempt each, without the policy of a whole recording.

        Args:
            windows: (B, n_mels, 3000), or an iterable of (n_mels, 3000) or of encodings.
            options: for all, or one each. `initial_prompt` is the text before each window, language None is detected,
                and of a temperature with increments the first is used. Options about a whole recording or further
                attempts are refused unless they have their default or say what holds here: None for a threshold and for
                `temperature_increment_on_fallback`, False for `condition_on_previous_text`.

        Returns:
            A `Decoded` for each window, in their order. Its `encoding` can be given to `decode` again. An encoding that
            you gave also keeps the decoder's keys and values for the next call, 37 MB for `base` in float32.

        Raises:
            AudioFormatError: windows of another shape or type.
            OptionError: not as many options as windows, what is no `Options`, an option that cannot apply, or an
                encoding of another model.
            LanguageError: a language that the model does not have.
        """
        each_given = each_window(windows)
        count = len(each_given)
        for_all = Options() if options is None else options
        chosen = list(for_all) if isinstance(for_all, Sequence) else [for_all] * count
        if len(chosen) != count:
            raise OptionError(f"{count} windows were given with {len(chosen)} options; give one, or one each.")
        for each in chosen:
            self.check_options(each)
            refuse_options_of_recordings(each)
        engine = self._engine(slots=max(min(count, _MOST_SLOTS), 1))
        given = [window if isinstance(window, Encoding) else None for window in each_given]
        if any(encoding is not None and not self._made(encoding) for encoding in given):
            raise OptionError("An encoding was made by another model; each model reads only its own.")
        lacking = [window for window in each_given if not isinstance(window, Encoding)]
        fresh = iter(engine.encode(as_windows(lacking, self.dims)))
        answers = decode_each([encoding or next(fresh) for encoding in given], chosen, engine)
        for answer, encoding in zip(answers, given, strict=True):
            if answer.encoding is not encoding:
                answer.encoding.forget_cross()
        return answers

    def _windows(
        self,
        audio: AudioSource,
        options: Options,
        sampling_rate: int | None,
        cancel: CancelToken | None,
        batch_size: int | None,
    ) -> tuple[Generator[Accepted, None, Transcription], float]:
        """The windows of a recording as they are accepted, then its transcription; and its duration in seconds."""
        self.check_options(options)
        slots = slots_for(options, batch_size)
        stop = Stop.after(options.timeout_s, cancel)
        recording, duration = self._recording(audio, options, sampling_rate, stop)
        threads = self._usable_threads()  # of the caller's thread, which need not be the one that iterates
        return naming_failures_of(self._driven(recording, slots, threads), self.device), duration

    def _driven(self, recording: Recording, slots: int, threads: int) -> Generator[Accepted, None, Transcription]:
        """As `drive`, with the engine of an earlier call, if there is one that it can use."""
        stream = stream_of(self.device)
        engine = self._spare_engine.take(slots, self.device) or self._engine(slots=slots, cpu_threads=threads)
        result = yield from drive(recording, engine)
        self._spare_engine.keep(engine, stream)
        return result

    def _recording(
        self, audio: AudioSource, options: Options, sampling_rate: int | None, stop: Stop
    ) -> tuple[Recording, float]:
        """A recording that is ready to be driven, and its duration in seconds."""
        with naming_failures(self.device, READING):
            return start_recording(
                audio,
                options,
                self.tokenizer,
                n_mels=self.dims.n_mels,
                sampling_rate=sampling_rate,
                model=self.name,
                warnings=self._warnings(options),
                stop=stop,
            )

    def _warnings(self, options: Options) -> tuple[str, ...]:
        """What this model does not do well."""
        found = []
        if options.task == "translate" and self._is_distilled:
            found.append("task='translate': this model was not trained to translate; expect the spoken language.")
        elif options.task == "translate" and options.word_timestamps and self.is_multilingual:
            found.append(
                "task='translate': words of a translation have no times of their own; those given are guesses."
            )
        own = self.generation_config.alignment_heads
        if options.word_timestamps and own and set(own) != set(self.alignment_heads):
            found.append(
                "The checkpoint's alignment_heads are of layers that it does not have; others give the times of words."
            )
        return tuple(found)

    @property
    def _is_distilled(self) -> bool:
        """Whether the decoder was cut down, as turbo's and Distil-Whisper's, and tuned on transcription only."""
        return self.is_multilingual and self.dims.n_text_layer < self.dims.n_audio_layer

    def _engine(self, *, slots: int = 1, cpu_threads: int | None = None) -> Engine:
        is_half = self.network.dtype != torch.float32
        return Engine(
            self.network,
            self.tokenizer,
            slots=slots,
            heads=self.alignment_heads,
            in_float32=self._float32 if is_half else None,
            cpu_threads=cpu_threads or self._usable_threads(),
            graphs=self.cuda_graphs,
        )

    def _usable_threads(self) -> int:
        """To be asked for on the caller's thread: a new one begins with whatever a step has set at the moment."""
        return self.cpu_threads or usable_threads()

    def _made(self, encoding: Encoding) -> bool:
        """Whether an encoding is of this network, or of the same in float32."""
        return any(
            network is not None and encoding.belongs_to(network.decoder)
            for network in (self.network, self._float32.made)
        )
