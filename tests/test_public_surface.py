"""What users can rely on: the names, their types, and a cheap import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api as mypy

import whisperlite

ROOT = Path(__file__).parents[1]

PUBLIC = [
    "LANGUAGES",
    "Attempt",
    "AudioDecodeError",
    "AudioError",
    "AudioFormatError",
    "AudioNotFoundError",
    "AudioTooLongError",
    "CancelToken",
    "CancelledError",
    "CheckpointError",
    "Decoded",
    "DecodingError",
    "DeviceError",
    "DownloadError",
    "Encoding",
    "FFmpegError",
    "Job",
    "LanguageDetection",
    "LanguageError",
    "Match",
    "MemoryExceededError",
    "MissingPackageError",
    "ModelError",
    "ModelInfo",
    "ModelNotFoundError",
    "OptionError",
    "Options",
    "OptionsDict",
    "Pool",
    "Segment",
    "SegmentIterator",
    "Skipped",
    "TimeoutExceededError",
    "Tokenizer",
    "Transcription",
    "Usage",
    "VadOptions",
    "Whisper",
    "WhisperliteError",
    "Word",
    "__version__",
    "available_models",
    "convert_model",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "transcribe",
]


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(whisperlite.__all__) == sorted(PUBLIC)


def test_every_public_name_resolves_and_is_listed_by_dir() -> None:
    assert [name for name in PUBLIC if getattr(whisperlite, name, None) is None] == []
    assert set(PUBLIC) <= set(dir(whisperlite))


def test_every_public_class_and_function_says_what_it_is() -> None:
    values = {name: getattr(whisperlite, name) for name in PUBLIC}
    assert [name for name, value in values.items() if callable(value) and not value.__doc__] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'transcript'"):
        _ = whisperlite.transcript  # type: ignore[attr-defined]


def test_every_error_is_one_of_ours() -> None:
    errors = [getattr(whisperlite, name) for name in PUBLIC if name.endswith("Error")]
    assert all(issubclass(error, whisperlite.WhisperliteError) for error in errors)


def test_importing_takes_less_than_three_tenths_of_a_second() -> None:
    code = "from time import perf_counter; t = perf_counter(); import whisperlite; print(perf_counter() - t)"
    # The best of several: what other processes of a busy machine take is not the import's.
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def test_importing_does_not_import_what_is_slow() -> None:
    code = "import sys, whisperlite; print(*sys.modules)"
    slow = {"torch", "numpy", "tiktoken", "ffmpeg", "huggingface_hub", "safetensors"}
    assert slow & set(run_python(code).split()) == set()


def test_the_version_is_that_of_the_project() -> None:
    (stated,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert whisperlite.__version__ == stated


RIGHT = """
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, assert_type
import numpy
import whisperlite

result = whisperlite.transcribe("talk.m4a", task="translate", language="fr", beam_size=5, temperature=(0.0, 0.5))
assert_type(result, whisperlite.Transcription)
assert_type(result.segments[0].tokens, tuple[int, ...])
assert_type(result.task, Literal["transcribe", "translate"])
model = whisperlite.load_model("base", device="cpu", compute_type="float32")
whisperlite.load_model(Path("model"), revision="main", token="hf_1", cache_dir=Path("cache"), local_files_only=True)
assert_type(whisperlite.transcribe(b"", model=model), whisperlite.Transcription)
assert_type(whisperlite.available_models()[0].size_bytes, int | None)
assert_type(whisperlite.convert_model("base", "folder", overwrite=True), Path)
assert_type(model.transcribe(numpy.zeros(16000), sampling_rate=16000, suppress_tokens=[1, 2]).text, str)
assert_type(model.transcribe(b"", suppress_tokens=None).skipped[0].start, float)
assert_type(model.detect_language(b"").probabilities, Mapping[str, float])
assert_type(model.align("talk.m4a", result, timeout_s=60.0).words[0].probability, float)
assert_type(whisperlite.LANGUAGES["fr"], str)
whisperlite.load_model("base", compute_type="int8", cpu_threads=2)
for found in model.transcribe_many(["talk.m4a", numpy.zeros(16000)], batch_size=4, language="en"):
    assert_type(found, whisperlite.Transcription | whisperlite.WhisperliteError)
with model.pool(batch_size=2) as pool:
    job = pool.submit("talk.m4a", beam_size=1)
    assert_type(pool, whisperlite.Pool)
    assert_type(job, whisperlite.Job)
    assert_type(job.result(timeout=5.0), whisperlite.Transcription)
    assert_type([segment.text for segment in job.segments()], list[str])
    assert_type(job.progress, tuple[float, float])
"""
WRONG = {
    'whisperlite.transcribe("talk.m4a", beam_sise=5)': "call-arg",
    'whisperlite.transcribe("talk.m4a", beam_size="5")': "arg-type",
    'whisperlite.transcribe("talk.m4a", task="summarise")': "arg-type",
    'whisperlite.load_model("base").transcribe("talk.m4a", temprature=0.0)': "call-arg",
    "whisperlite.transcribe(5)": "arg-type",
    'whisperlite.load_model("base", revision=5)': "arg-type",
    "whisperlite.transcript": "attr-defined",
    'whisperlite.Skipped(0.0, 1.0, "quiet")': "arg-type",
    'whisperlite.load_model("base").transcribe_many(["talk.m4a"], beam_sise=5)': "call-arg",
    'whisperlite.load_model("base").pool().submit("talk.m4a", language=5)': "arg-type",
    'next(whisperlite.load_model("base").transcribe_many(["talk.m4a"])).text': "union-attr",
}


def test_the_types_let_right_calls_pass_and_find_wrong_ones(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(RIGHT.replace("from typing import", "from typing_extensions import"), encoding="utf-8")
    wrong.write_text("import whisperlite\n" + "\n".join(WRONG) + "\n", encoding="utf-8")
    # The installed package as a user's mypy sees it: without this project's configuration.
    cache = str(ROOT / ".mypy_cache" / "surface")
    report, _, _ = mypy.run(["--strict", "--config-file=", "--cache-dir", cache, str(right), str(wrong)])
    found = re.findall(r"(\w+)\.py:(\d+): error: .*\[([a-z-]+)\]", report)
    assert found == [("wrong", str(line), code) for line, code in enumerate(WRONG.values(), start=2)], report
