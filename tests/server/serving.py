"""Services for tests: the application on uvicorn in a thread, or `whisperlite serve` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette

from tests.pooled import PATIENCE_S, wait_until
from whisperlite import Whisper
from whisperlite.server.app import create_app
from whisperlite.server.connections import protocol_with
from whisperlite.server.service import Service
from whisperlite.server.settings import Settings

MOST_CONNECTIONS = 100
INFERENCE = "/v1/inference/openai/whisper-small"
FORM = {  # the same options as `pooled.QUICK`
    "language": "en",
    "beam_size": "1",
    "max_new_tokens": "4",
    "logprob_threshold": "null",
    "without_timestamps": "true",
}


@dataclass
class Running:
    """A service in this process."""

    client: httpx2.Client
    app: Starlette
    settings: Settings
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    @property
    def service(self) -> Service:
        found: Service = self.app.state.service
        return found

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    @property
    def port(self) -> int:
        return int(self.client.base_url.port or 0)

    def post(self, audio: bytes, path: str = INFERENCE, **fields: Any) -> httpx2.Response:
        return self.client.post(path, files={"audio": ("a.wav", audio)}, data={**FORM, **fields})


@contextlib.contextmanager
def running(model: Whisper, folder: Path, **settings: Any) -> Iterator[Running]:
    """Run the application in a thread, without tokens unless the settings say otherwise."""
    chosen = Settings(port=0, data_dir=str(folder), **{"no_auth": "tokens" not in settings, **settings})
    app = create_app(model, chosen)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            log_config=None,
            lifespan="on",
            http=protocol_with(chosen.headers_timeout_s, chosen.upload_timeout_s, MOST_CONNECTIONS),
            ws="none",
            timeout_graceful_shutdown=PATIENCE_S,  # type: ignore[arg-type]
        )
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield Running(client, app, chosen, loops[0], server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


class Process:
    """`whisperlite serve` as users run it."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        environment: dict[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        command = [
            *launcher,
            sys.executable,
            "-m",
            "whisperlite.cli",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(folder),
            *flags,
        ]
        self.log: list[str] = []
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: self._address() is not None or self._process.poll() is not None)
        address = self._address()
        assert address is not None, "".join(self.log)
        self.url = address

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)

    def _address(self) -> str | None:
        found = re.search(r"running on (http://[\d.]+:\d+)", "".join(self.log))
        return None if found is None else found[1]

    @property
    def pid(self) -> int:
        return self._process.pid

    def entries(self) -> list[dict[str, Any]]:
        """The logged entries; a line that is not JSON is an error."""
        return [json.loads(line) for line in list(self.log)]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._close()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process by a signal, as an operator does. Returns the exit status."""
        self._process.send_signal(by)
        status = self._process.wait(PATIENCE_S)
        self._close()
        return status

    def _close(self) -> None:
        self._reader.join(PATIENCE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextlib.contextmanager
def serving(
    folder: Path, *flags: str, environment: dict[str, str] | None = None, launcher: Sequence[str] = ()
) -> Iterator[Process]:
    """Run the command, and kill it at the end if it is still running.

    Args:
        launcher: a command that executes the one that follows it.
    """
    process = Process(folder, *flags, environment=environment, launcher=launcher)
    try:
        yield process
    finally:
        if process._process.poll() is None:
            process.kill()


def new_token(folder: Path, name: str = "default") -> str:
    """Create a token with `whisperlite token`."""
    command = [sys.executable, "-m", "whisperlite.cli", "token", name, "--data-dir", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def in_threads(actions: Sequence[Any]) -> list[Any]:
    """Call all of these at once. Returns their results, in the same order."""
    results: list[Any] = [None] * len(actions)

    def run(index: int) -> None:
        results[index] = actions[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)
    return results
