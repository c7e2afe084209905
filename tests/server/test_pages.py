"""The commands and the Python code of the pages about the service, run against a service that they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.pages import PAGES, Block, blocks, commands, name_of
from tests.pooled import wav_of
from tests.server.serving import Process, serving
from whisperlite.audio.mel import Samples

SHOWN = "http://localhost:8000"
SERVED = [page for page in PAGES if any(block.title == "service" for block in blocks(page))]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, librivox: Samples) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "my_voice.mp3").write_bytes(wav_of(librivox[: 8 * 16000]))
    return folder


def starting(page: Path) -> tuple[str, list[str]]:
    """The command that creates a token, and the flags with which the page starts the service."""
    first = next(block for block in blocks(page) if block.title == "service")
    export, serve = commands(first)
    found = re.fullmatch(r"export TOKEN=\$\((.*)\)", export)
    program, command, *flags = shlex.split(serve)
    assert found is not None
    assert (program, command) == ("whisperlite", "serve")
    return found[1], [flag for flag in flags if flag not in ("--port", "8000")]


@pytest.fixture(params=SERVED, ids=name_of)
def page_and_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Process, str]]:
    page: Path = request.param
    token_command, flags = starting(page)
    command = [sys.executable, "-m", "whisperlite.cli", *shlex.split(token_command)[1:], "--data-dir", str(tmp_path)]
    token = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with serving(tmp_path, *flags) as process:
        yield page, process, token


def test_the_commands_and_the_python_of_a_page_work(
    page_and_service: tuple[Path, Process, str], desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, process, token = page_and_service
    monkeypatch.setenv("TOKEN", token)
    monkeypatch.chdir(desk)
    asked = [block for block in blocks(page) if block.title == "service"][1:]
    assert asked
    for block in asked:
        text = block.text.replace(SHOWN, process.url)
        assert text != block.text
        if block.language == "python":
            namespace: dict[str, Any] = {}
            exec(compile(text, str(page), "exec"), namespace)
            assert "Dashwood" in namespace["answer"].text
            namespace["client"].close()
        else:
            for command in commands(Block("sh", "", 0, text)):
                assert "Dashwood" in run(command, token)


def run(command: str, token: str) -> str:
    """Run a command of curl, or make the same request if curl is not installed."""
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
        return done.stdout
    words = shlex.split(command.replace("$TOKEN", token))
    assert words[:3] == ["curl", "-X", "POST"]
    given = list(zip(words[3:-1:2], words[4:-1:2], strict=True))
    headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
    fields = dict(value.split("=", 1) for flag, value in given if flag == "-F")
    files = {name: (value[1:], Path(value[1:]).read_bytes()) for name, value in fields.items() if value[0] == "@"}
    data = {name: value for name, value in fields.items() if name not in files}
    return httpx2.post(words[-1], headers=headers, data=data, files=files, timeout=60).text
