"""Every clip of an evaluation folder over HTTP, alone and 16 at a time: the tokens that `transcribe` gives.

The folder is $WHISPERLITE_EVAL, or the one beside the project, as for the benchmarks. The service is a real process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

import whisperlite
from benchmarks.parity.environment import evaluation_folder
from tests.server.serving import Process, serving
from whisperlite import Transcription

_FIELDS = {"model": "whisper-1", "response_format": "verbose_json", "beam_size": "1"}


@pytest.fixture(scope="module")
def clips(base: whisperlite.Whisper) -> dict[Path, Transcription]:
    folder = evaluation_folder()
    if folder is None:
        pytest.skip("there is no evaluation folder: set WHISPERLITE_EVAL")
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    paths = [folder / json.loads(line)["file"] for line in lines]
    return {path: base.transcribe(path, beam_size=1) for path in paths}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("service"), "--no-auth", "--model", "base") as process:
        yield process


def ask(service: Process, path: Path) -> dict[str, Any]:
    files = {"file": (path.name, path.read_bytes())}
    answer = httpx2.post(service.url + "/v1/audio/transcriptions", files=files, data=_FIELDS, timeout=1800)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("at_a_time", [1, 16])
def test_over_http_every_clip_has_the_tokens_that_transcribe_gives(
    service: Process, clips: dict[Path, Transcription], at_a_time: int
) -> None:
    with ThreadPoolExecutor(at_a_time) as pool:
        answers = list(pool.map(lambda path: ask(service, path), clips))
    differing = [
        path.name
        for (path, expected), answer in zip(clips.items(), answers, strict=True)
        if [(each["tokens"], each["start"], each["end"]) for each in answer["segments"]]
        != [(list(each.tokens), each.start, each.end) for each in expected.segments]
    ]
    print(f"{len(clips)} clips, {at_a_time} at a time: {len(differing)} differ")
    assert differing == []
