"""A loaded model, and its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import Unpack

from whisperlite.api.aligning import aligned
from whisperlite.api.callbacks import check_callable
from whisperlite.api.failures import raises_typed_errors
from whisperlite.api.frames import clears_frames
from whisperlite.api.iterator import SegmentIterator
from whisperlite.api.pool import Pool
from whisperlite.api.runtime import Runtime
from whisperlite.api.sources import own_copy, refuse_one
from whisperlite.api.windows import as_windows, decode_each, each_window, refuse_options_of_recordings
from whisperlite.audio.load import AudioSource
from whisperlite.batches import BATCH_SIZE
from whisperlite.cancel import CancelToken, LinkedToken, Stop
from whisperlite.checkpoints.checkpoint import GenerationConfig
from whisperlite.decoding.asks import Decoded, Detect, Detected
from whisperlite.decoding.encoding import Encoding
from whisperlite.decoding.threads import ending_workers
from whisperlite.errors import LanguageError, OptionError, WhisperliteError
from whisperlite.kinds import checked
from whisperlite.nn.config import Heads, ModelDimensions
from whisperlite.nn.network import Network
from whisperlite.options import APPENDED, PREPENDED, Options, OptionsDict, as_arguments, make_options
from whisperlite.results import LanguageDetection, Segment, Transcription
from whisperlite.text.tokenizer import Tokenizer
from whisperlite.transcription.known_text import check_transcript
from whisperlite.transcription.listening import detection_of, detection_places, finite
from whisperlite.transcription.written_text import checked_text

_MOST_SLOTS = 16  # windows of one `decode` that are decoded together


class Recipe(Protocol):
    """Everything that is needed to load a model again."""

    @property
    def name(self) -> str: ...

    def load(self) -> Whisper: ...


class Whisper:
    """A loaded model; made by `load_model`. Any number of threads may use it at once.

    It is pickled as the arguments that it was loaded with, without the token, and loaded again when it is unpickled.
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
        self._recipe = recipe
        self._runtime = Runtime(
            name=recipe.name,
            network=network,
            tokenizer=tokenizer,
            generation_config=generation_config,
            alignment_heads=tuple(alignment_heads),
            cpu_threads=cpu_threads,
            cuda_graphs=cuda_graphs,
        )

    def __repr__(self) -> str:
        return f"<Whisper {self.name!r} on {self.device} in {str(self.network.dtype).removeprefix('torch.')}>"

    def __reduce__(self) -> tuple[Callable[[], Whisper], tuple[()]]:
        return self._recipe.load, ()

    @property
    def name(self) -> str:
        """The name or path that the model was loaded by."""
        return self._runtime.name

    @property
    def dims(self) -> ModelDimensions:
        """The shape of the network: layers, widths, mel bands, vocabulary."""
        return self.network.dims

    @property
    def device(self) -> torch.device:
        """The device that the weights are on, where the work is done."""
        return self.network.device

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary has languages to choose from."""
        return self.tokenizer.is_multilingual

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that the model knows."""
        return self._runtime.languages

    @property
    def network(self) -> Network:
        """The encoder and decoder; their inside is not public."""
        return self._runtime.network

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the checkpoint's own vocabulary."""
        return self._runtime.tokenizer

    @property
    def generation_config(self) -> GenerationConfig:
        """What the checkpoint says about its use; it changes no option."""
        return self._runtime.generation_config

    @property
    def alignment_heads(self) -> tuple[tuple[int, int], ...]:
        """The cross-attention heads that word times are read from, as (layer, head).

        They are the checkpoint's own, those published for its name, or all heads of the upper half of the layers.
        """
        return self._runtime.alignment_heads

    @property
    def cpu_threads(self) -> int | None:
        """The number of threads given to `load_model`; None: torch's own number."""
        return self._runtime.cpu_threads

    @property
    def cuda_graphs(self) -> bool:
        """Whether the model was loaded to record and replay CUDA graphs."""
        return self._runtime.cuda_graphs

    @clears_frames
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
        windows, _ = self._runtime.windows(audio, make_options(options), sampling_rate, cancel, batch_size)
        with closing(windows):  # also if a callback raises
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

    @clears_frames
    def iter_segments(
        self,
        audio: AudioSource,
        *,
        sampling_rate: int | None = None,
        cancel: CancelToken | None = None,
        batch_size: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> SegmentIterator:
        """Transcribe a recording, and return an iterator that yields each segment as soon as it is accepted.

        The whole recording is read before this method returns, because its loudest moment affects the features of every
        window; so this is not for live audio. Samples are copied, so you may change your array afterwards. The segments
        are those of `transcribe`, and the iterator's `result` is the result of `transcribe`.

        Args:
            audio, sampling_rate, cancel, batch_size, **options: as in `transcribe`.

        Raises:
            WhisperliteError: the errors of `transcribe`, raised here or while iterating.
        """
        token = LinkedToken(cancel)
        windows, duration = self._runtime.windows(
            own_copy(audio), make_options(options), sampling_rate, token, batch_size
        )
        return SegmentIterator(windows, duration, token)

    def pool(self, batch_size: int = 8, *, recordings: int | None = None) -> Pool:
        """Make a pool, which transcribes recordings together as they are submitted.

        Args:
            batch_size: how many windows are decoded together, 1 to 128. Each needs memory for its encoding and its
                text: about 90 MB for `base` in float32, more with beam search or when a window falls back.
            recordings: how many recordings are kept in memory and take turns, window by window, so that none waits for
                a long one to end; at least `batch_size`. Each needs 115 MB per hour of audio. None: `batch_size + 2`.

        Raises:
            OptionError: `batch_size` or `recordings` is out of range.
        """
        slots = checked("batch_size", batch_size, BATCH_SIZE)
        self._runtime.spare_engine.drop()  # its memory may be needed
        return Pool(self._runtime, self._runtime.engine(slots=slots), recordings)

    def transcribe_many(
        self,
        audios: Iterable[AudioSource],
        *,
        batch_size: int = 8,
        sampling_rate: int | None = None,
        **options: Unpack[OptionsDict],
    ) -> Iterator[Transcription | WhisperliteError]:
        """Transcribe many recordings together, faster than one after the other.

        On an x86 CPU, in float32 and in int8, each recording gets the text, tokens and times that it gets alone.

        Args:
            audios: the recordings, each in a form that `transcribe` accepts; each row of a two-dimensional array is a
                recording. They are requested as there is room, on a separate thread, so that an iterable that waits for
                its next item does not hold up results. If you leave the iteration while the iterable blocks, that
                thread lives until the iterable continues. Arrays are copied, so you can reuse an array when the next
                recording is requested. To pair results with recordings by `zip`, pass a list: `zip` would take its own
                items from an iterator.
            batch_size: as in `pool`.
            sampling_rate, **options: as in `transcribe`; they apply to all recordings.

        Yields:
            The transcription of each recording, in their order, or the error if it failed.

        Raises:
            OptionError, LanguageError, MissingPackageError: an option is wrong, or one recording was given in place of
                many (`OptionError`); raised before any audio is read.
            DeviceError: the device failed, which ends the iteration. So does any error that is not whisperlite's, such
                as one raised by the iterable, after the results before it.
        """
        chosen = make_options(options)
        self.check_options(chosen)
        checked("batch_size", batch_size, BATCH_SIZE)
        refuse_one(audios)

        def results() -> Iterator[Transcription | WhisperliteError]:
            with self.pool(batch_size) as pool:
                yield from pool.transcribe_many(audios, sampling_rate=sampling_rate, **as_arguments(chosen))

        return results()

    @raises_typed_errors
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
        """Detect the spoken language, in the first 30 seconds or in up to `language_detection_segments` windows.

        The whole recording is read nevertheless, because its loudest moment affects the features of every window.

        Args:
            audio, sampling_rate, cancel, allowed_languages, language_detection_segments, language_detection_threshold,
                timeout_s, max_duration_s: as in `transcribe`.

        Returns:
            The language, and the probabilities of all languages, allowed or not; for several windows, their mean.

        Raises:
            OptionError: an option has a wrong value.
            LanguageError: the model is English-only, or does not have one of the allowed languages.
            AudioError: the audio cannot be read.
            CancelledError, TimeoutExceededError: `cancel` or `timeout_s` stopped the call; there is no partial result.
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
        features, _ = self._runtime.features(audio, sampling_rate, chosen, stop)
        engine, found = self._runtime.engine(), detection_of(chosen)
        for seek in detection_places([(0, features.content_frames)], chosen):
            stop.check()
            (answer,) = engine.run([Detect(features.detection_window(seek))])
            assert isinstance(answer, Detected), "a Detect is answered by a Detected"
            if found.add(finite(answer.probabilities)):
                break
        return LanguageDetection(*found.decision, found.probabilities)

    @raises_typed_errors
    @ending_workers()
    def align(
        self,
        audio: AudioSource,
        transcript: Transcription | str,
        *,
        language: str | None = None,
        sampling_rate: int | None = None,
        on_progress: Callable[[float, float], None] | None = None,
        cancel: CancelToken | None = None,
        prepend_punctuations: str = PREPENDED,
        append_punctuations: str = APPENDED,
        timeout_s: float | None = None,
        max_duration_s: float | None = None,
    ) -> Transcription:
        """Find when each word of a transcript or of a plain text was said.

        The words of a segment are looked for from its start to half a second after its end, or to the start of the next
        one. Words that were not said there get some time nevertheless, mostly with a low probability.

        A plain text has no times, so the recording is transcribed first. Where the words heard are the words written,
        the times are known, and between those places the rest of the text is looked for. The text may leave out what is
        said, and contain what is not.

        Args:
            audio: the recording, in any form that `transcribe` accepts.
            transcript: a `Transcription`, of which the text, times and language of the segments count, and whether it
                is a translation (`task`); to change a text, use `dataclasses.replace`. Or a text in the language that
                is spoken: each line becomes a segment, and one of more than 25 s or 440 tokens is cut into sentences.
            language: the language of a plain text; None: it is detected. A `Transcription` has its own.
            on_progress: as in `transcribe`; with a plain text there are twice as many seconds in all, since the
                recording is gone through twice.
            sampling_rate, cancel, prepend_punctuations, append_punctuations, timeout_s, max_duration_s: as in
                `transcribe`.

        Returns:
            The transcript with `Segment.words`, and with `text` made from its segments, the recording's `duration`, and
            further `warnings`. As with `word_timestamps=True`, a segment's times agree with those of its words, and
            segments are in order. Segments with new text have its tokens, `avg_logprob` and `compression_ratio`; all
            else stays as it was. For a plain text, a warning tells how many segments were not heard; `usage` is of the
            transcription that was made first.

        Raises:
            OptionError: a segment with text lasts more than 30 s or has more than 440 tokens, is out of order or begins
                after the recording; a plain text is blank; or an option has a wrong value.
            LanguageError: a segment with text is in no language, or in one that the model does not have.
            AudioError: the audio cannot be read.
            CancelledError, TimeoutExceededError: `cancel` or `timeout_s` stopped the call; there is no partial result.
            DecodingError: the network gave no usable answer.
        """
        check_callable("on_progress", on_progress)
        if isinstance(transcript, str):
            transcript = checked_text(transcript)
        elif not isinstance(transcript, Transcription):
            raise OptionError(f"{transcript!r} is neither a Transcription nor a text.", option="transcript")
        elif language is not None:
            raise OptionError("A Transcription says its language itself; change it there.", option="language")
        else:
            check_transcript(transcript, self.tokenizer)
        chosen = Options(
            task="transcribe" if isinstance(transcript, str) else transcript.task,
            language=language,
            word_timestamps=True,
            prepend_punctuations=prepend_punctuations,
            append_punctuations=append_punctuations,
            timeout_s=timeout_s,
            max_duration_s=max_duration_s,
        )
        self.check_options(chosen)
        stop = Stop.after(chosen.timeout_s, cancel)
        return aligned(
            self._runtime, audio, transcript, chosen, sampling_rate, on_progress or (lambda _, __: None), stop
        )

    def check_options(self, options: Options) -> None:
        """Raise an error if this model cannot follow the options; every method does so before it reads any audio.

        Raises:
            LanguageError: the model does not have a language that the options name.
            OptionError: the vocabulary does not have a token id that the options name, or `options` is not an
                `Options`.
            MissingPackageError: an option needs a package that is not installed.
        """
        self._runtime.check_options(options)

    @raises_typed_errors
    @ending_workers()
    def encode(self, windows: Iterable[Tensor] | Tensor) -> list[Encoding]:
        """Run the encoder on log-mel windows.

        Args:
            windows: log-mel features, as `log_mel_spectrogram` returns them, about -1 to 1: a tensor of shape
                (B, n_mels, 3000), or an iterable of tensors of shape (n_mels, 3000), of any floating-point type. Numpy
                arrays are accepted too.

        Returns:
            An `Encoding` for each window, whose `hidden` has the shape (1500, n_audio_state); `decode` accepts it in
            place of the window. To train something on `hidden`, use `hidden.clone()`: torch cannot train on tensors
            that were made in inference mode.

        Raises:
            AudioFormatError: a window has a wrong shape or type.
        """
        return self._runtime.engine().encode(as_windows(each_window(windows), self.dims))

    @raises_typed_errors
    @ending_workers()
    def decode(
        self, windows: Iterable[Tensor | Encoding] | Tensor, options: Options | Sequence[Options] | None = None
    ) -> list[Decoded]:
        """Decode log-mel windows as one batch, with one attempt at each, and no policy for a whole recording.

        Args:
            windows: a tensor of shape (B, n_mels, 3000), or an iterable of tensors of shape (n_mels, 3000) or of
                encodings.
            options: one `Options` for all windows, or one for each. `initial_prompt` is the text before each window; if
                `language` is None, it is detected; if `temperature` has increments, the first one is used. Options
                about a whole recording or further attempts are refused, unless they have their default or a value that
                describes what this method does: None for thresholds and `temperature_increment_on_fallback`, False for
                `condition_on_previous_text`.

        Returns:
            A `Decoded` for each window, in their order. Its `language` is the one given or detected, and its
            `encoding` can be given to `decode` again. An encoding that you passed in also keeps the decoder's keys and
            values for the next call, 37 MB for `base` in float32.

        Raises:
            AudioFormatError: a window has a wrong shape or type.
            OptionError: there are not as many options as windows, one of them is not an `Options` or has a value that
                cannot apply, or an encoding was made by another model.
            LanguageError: the model does not have a language that the options name.
            DecodingError: the probabilities of a window are not finite; then no answer is returned.
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
        engine = self._runtime.engine(slots=max(min(count, _MOST_SLOTS), 1))
        given = [window if isinstance(window, Encoding) else None for window in each_given]
        if any(encoding is not None and not self._runtime.made(encoding) for encoding in given):
            raise OptionError("An encoding was made by another model; each model reads only its own.")
        lacking = [window for window in each_given if not isinstance(window, Encoding)]
        fresh = iter(engine.encode(as_windows(lacking, self.dims)))
        answers = decode_each([encoding or next(fresh) for encoding in given], chosen, engine)
        for answer, encoding in zip(answers, given, strict=True):
            if answer.encoding is not encoding:
                answer.encoding.forget_cross()
        return answers
