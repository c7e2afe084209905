"""The libraries, each called as its own documentation says, with equal settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.speed.settings import Library, Request, Side

Piece = tuple[int, str, list[int]]
"""Number of the file, text, tokens; no tokens where a library does not give them."""
Transcribe = Callable[[Request], Iterator[Piece]]
Loaded = tuple[Transcribe, dict[str, str]]
"""What answers, and what else there is to know about it."""

# A library's package, and those beneath it whose version matters.
PACKAGES: dict[Library, tuple[str, ...]] = {
    "whisperlite": ("whisperlite", "torch"),
    "openai-whisper": ("openai-whisper", "torch"),
    "faster-whisper": ("faster-whisper", "ctranslate2"),
    "transformers": ("transformers", "torch"),
    "whisper.cpp": ("pywhispercpp",),
}


def load_whisperlite(side: Side, cache: Path, threads: int) -> Loaded:  # noqa: ARG001 - its weights are a package
    import whisperlite

    model = whisperlite.load_model("base", device="cpu", compute_type=side.compute_type, cpu_threads=threads)

    def transcribe(request: Request) -> Iterator[Piece]:
        options: dict[str, Any] = {"language": request.language, "beam_size": request.beam_size}
        if request.way == "folder":
            options |= {"batch_size": request.batch_size, "temperature": (0.0,)}
            for index, result in enumerate(model.transcribe_many(request.files, **options)):
                if isinstance(result, whisperlite.WhisperliteError):
                    raise result
                yield index, result.text, [token for segment in result.segments for token in segment.tokens]
            return
        if request.way == "chunks":
            options |= {"chunking": "vad", "batch_size": request.batch_size}
        else:
            options |= {"temperature": (0.0,)}
        for index, file in enumerate(request.files):
            for segment in model.iter_segments(file, **options):
                yield index, segment.text, list(segment.tokens)

    return transcribe, {}


def load_openai_whisper(side: Side, cache: Path, threads: int) -> Loaded:  # noqa: ARG001 - it has one type on a CPU
    import_module("torch").set_num_threads(threads)
    library = import_module("whisper")
    model = library.load_model(str(cache / "speed/base.pt"), device="cpu")

    def transcribe(request: Request) -> Iterator[Piece]:
        options: dict[str, Any] = {"language": request.language, "temperature": 0.0, "fp16": False}
        options |= {"beam_size": request.beam_size if request.beam_size > 1 else None}
        for index, file in enumerate(request.files):
            for segment in library.transcribe(model, file, **options)["segments"]:
                yield index, segment["text"], segment["tokens"]

    return transcribe, {}


def load_faster_whisper(side: Side, cache: Path, threads: int) -> Loaded:
    library = import_module("faster_whisper")
    workers = threads if side.is_spread else 1
    model = library.WhisperModel(
        str(cache / "base-ct2"),
        device="cpu",
        compute_type=side.compute_type,
        cpu_threads=threads // workers,
        num_workers=workers,
        local_files_only=True,
    )
    batched = library.BatchedInferencePipeline(model)

    def segments(file: str, request: Request) -> Iterable[Any]:
        options: dict[str, Any] = {"language": request.language, "beam_size": request.beam_size}
        if request.way == "chunks":
            found: Iterable[Any] = batched.transcribe(file, batch_size=request.batch_size, **options)[0]
        else:
            found = model.transcribe(file, temperature=0.0, **options)[0]
        return found

    def transcribe(request: Request) -> Iterator[Piece]:
        answers: Iterator[Iterable[Any]] = (segments(file, request) for file in request.files)
        if side.is_spread:
            with ThreadPoolExecutor(workers) as pool:
                answers = iter(list(pool.map(lambda file: list(segments(file, request)), request.files)))
        for index, answer in enumerate(answers):
            for segment in answer:
                yield index, segment.text, list(segment.tokens)

    return transcribe, {}


def load_transformers(side: Side, cache: Path, threads: int) -> Loaded:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    library = import_module("transformers")
    folder = str(cache / "speed/base-hf")
    model = library.AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=getattr(torch, side.compute_type))
    processor = library.AutoProcessor.from_pretrained(folder)
    recogniser = library.pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )

    def transcribe(request: Request) -> Iterator[Piece]:
        # The pipeline's own default are 5 beams and at most 256 tokens; no temperature is no ladder.
        settings = {"language": request.language, "task": "transcribe", "num_beams": request.beam_size}
        options: dict[str, Any] = {"generate_kwargs": settings, "return_timestamps": True}
        if request.way == "folder":
            answers = recogniser(list(request.files), batch_size=request.batch_size, **options)
        else:
            answers = [recogniser(file, **options) for file in request.files]
        for index, answer in enumerate(answers):
            yield index, answer["text"], []

    return transcribe, {"attention": str(model.config._attn_implementation)}


def load_whisper_cpp(side: Side, cache: Path, threads: int) -> Loaded:
    library = import_module("pywhispercpp.model")
    # An increment of 0 is no ladder.
    model = library.Model(
        str(cache / f"speed/base-{side.compute_type}.bin"),
        redirect_whispercpp_logs_to=None,
        n_threads=threads,
        temperature_inc=0.0,
        print_progress=False,
    )

    def transcribe(request: Request) -> Iterator[Piece]:
        assert request.beam_size == 1, "greedy is chosen where the model is loaded"
        for index, file in enumerate(request.files):
            for segment in model.transcribe(file, language=request.language):
                yield index, segment.text, []

    switches = (switch.split(" = ") for switch in str(library.Model.system_info()).partition("CPU : ")[2].split(" | "))
    return transcribe, {"built for": " ".join(name for name, *value in switches if value == ["1"])}


LOADERS: dict[Library, Callable[[Side, Path, int], Loaded]] = {
    "whisperlite": load_whisperlite,
    "openai-whisper": load_openai_whisper,
    "faster-whisper": load_faster_whisper,
    "transformers": load_transformers,
    "whisper.cpp": load_whisper_cpp,
}
