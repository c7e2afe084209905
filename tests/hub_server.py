"""A local stand-in for the Hugging Face Hub: a real HTTP server that answers as the Hub answers `huggingface_hub`.

Large files lie on a second host, as the Hub's do (there a CDN): `resolve` answers with a redirect, the checksum and the
size. The server keeps a log of what it was asked, and can be told to misbehave.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_LFS_SUFFIXES = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    host: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Repository:
    """Files by commit, and the names of commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None  # private: only whoever has it
    is_gated: bool = False

    def commit(self, files: dict[str, bytes], *refs: str) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = dict(files)
        for ref in refs or ("main",):
            self.refs[ref] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Hub:
    """The state that the server answers from; tests change it as they please.

    Attributes:
        drops: name of a file → after how many bytes the connection is dropped, for each answer in turn.
        resets: whether a dropped connection is reset, not closed.
        wrong: names of files that arrive with the right size and other bytes.
        delay_s: before every answer.
        is_broken: every answer is an internal error.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    drops: dict[str, list[int]] = field(default_factory=dict)
    resets: bool = False
    wrong: set[str] = field(default_factory=set)
    delay_s: float = 0.0
    is_broken: bool = False
    url: str = ""
    cdn: str = ""

    def add(self, name: str, files: dict[str, bytes]) -> Repository:
        repository = self.repositories[name] = Repository()
        repository.commit(files)
        return repository

    def downloads(self) -> list[str]:
        """Names of the files whose bytes were asked for, in order."""
        return [
            request.path.rsplit("/", 1)[-1] for request in self.log if request.method == "GET" and not _is_api(request)
        ]


def _is_api(request: Request) -> bool:
    return request.path.startswith("/api/")


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, as `Hub.add` takes them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    # One server under two names: to an HTTP client these are two hosts.
    hub.url, hub.cdn = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are what the tests are about; any other error is the server's own."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        state = hub

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *_: object) -> None:
        """Standard error stays clean."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.state.log.append(
            Request(self.command, headers["Host"].split(":")[0], path, headers["Range"], headers["Authorization"])
        )
        time.sleep(self.state.delay_s)
        if self.state.is_broken:
            self._fail(500, None, "Internal Error")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._model_info(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/cdn/([0-9a-f]+)/(.+)", path):
            self._cdn(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)/([^/]+)", path):
            self._resolve(found[1], found[2], found[3])
        else:
            self._fail(404, "EntryNotFound")

    def _find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and its files; None: an error was answered."""
        repository = self.state.repositories.get(name)
        given = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if repository is not None and repository.is_gated and given != repository.token:
            self._fail(403 if given else 401, "GatedRepo")
        elif given and (repository is None or given != repository.token):
            self._fail(401, None, "Invalid credentials in Authorization header")
        elif repository is None or (repository.token is not None and not given):
            self._fail(401, "RepoNotFound")  # without a token the Hub does not say whether there is one
        elif (sha := repository.resolve(revision)) is None:
            self._fail(404, "RevisionNotFound")
        else:
            return sha, repository.commits[sha]
        return None

    def _model_info(self, name: str, revision: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        sha, files = found
        siblings = []
        for file, data in sorted(files.items()):
            sibling: dict[str, object] = {"rfilename": file, "size": len(data), "blobId": _git_sha1(data)}
            if file.endswith(_LFS_SUFFIXES):
                sibling["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        body = {"id": name, "modelId": name, "sha": sha, "private": False, "tags": [], "siblings": siblings}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        sha, files = found
        if file not in files:
            self._fail(404, "EntryNotFound", headers={"X-Repo-Commit": sha})
            return
        data = files[file]
        headers = {"X-Repo-Commit": sha}
        if file.endswith(_LFS_SUFFIXES):
            etag = _sha256(data)
            headers |= {"Location": f"{self.state.cdn}/cdn/{etag}/{file}", "X-Linked-Size": str(len(data))}
            self._send(302, b"", {**headers, "X-Linked-ETag": f'"{etag}"', "ETag": f'"{etag[:32]}"'})
        else:
            self._send_file(file, data, {**headers, "ETag": f'"{_git_sha1(data)}"'})

    def _cdn(self, sha256: str, file: str) -> None:
        for repository in self.state.repositories.values():
            for files in repository.commits.values():
                if file in files and _sha256(files[file]) == sha256:
                    self._send_file(file, files[file], {"ETag": f'"{sha256[:32]}"', "Accept-Ranges": "bytes"})
                    return
        self._fail(404, "EntryNotFound")

    def _send_file(self, file: str, data: bytes, headers: dict[str, str]) -> None:
        if file in self.state.wrong:
            data = bytes(byte ^ 0xFF for byte in data[:64]) + data[64:]
        status, size = 200, len(data)
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
            start = int(found[1])
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        drops = self.state.drops.get(file)
        self._send(status, data, headers, drop=drops.pop(0) if drops and self.command == "GET" else None)

    def _fail(
        self, status: int, code: str | None, message: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        given = {"X-Error-Code": code, "X-Error-Message": message or code}
        self._send(status, b"", {**(headers or {}), **{name: value for name, value in given.items() if value}})

    def _send(self, status: int, body: bytes, headers: dict[str, str], drop: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if drop is None else body[:drop])
        if drop is not None:
            self.wfile.flush()
            self.close_connection = True
            if self.state.resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
