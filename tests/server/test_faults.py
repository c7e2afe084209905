"""A full disk, damaged files, and a stop while requests are served, with a small model and in real processes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.pooled import PATIENCE_S, RECORDINGS, WAV, wait_until
from tests.server.serving import FORM, INFERENCE, running, serving
from tests.server.test_inference import WAVS, wav
from tests.server.webhooks.receiver import running_receiver
from whisperlite import Whisper
from whisperlite.server.webhooks.store import StorageFullError, Store

TINY = INFERENCE.replace("small", "tiny.en")


def test_a_full_disk_is_told_and_is_no_lasting_harm(tmp_path: Path) -> None:
    """A limit of 2 MB for each file of the process, which acts like a disk of that size."""
    import resource

    limit = f"import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, ({2 << 20}, {2 << 20}))"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2 << 20
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(limit)
    flags = ("--model", "tiny.en", "--no-auth")
    with serving(tmp_path / "data", *flags, environment={"PYTHONPATH": str(site)}) as process:
        large = {"audio": ("a.wav", bytes(3 << 20))}
        answer = httpx2.post(process.url + TINY, files=large, data=FORM, timeout=PATIENCE_S)
        assert answer.status_code == 507
        assert "retry-after" in answer.headers
        small = {"audio": ("a.wav", WAV)}
        assert httpx2.post(process.url + TINY, files=small, data=FORM, timeout=PATIENCE_S).status_code == 200
        assert list((tmp_path / "data" / "uploads").iterdir()) == []


def on_a_disk_of(megabytes: int, folder: Path) -> list[str]:
    """A launcher whose program sees a folder as a disk of its own, in memory."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "$0" && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        launcher = [*unshare, "sh", "-c", mount, str(folder)]
        if (
            shutil.which("unshare")
            and subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode == 0
        ):
            return launcher
    pytest.skip("This machine lets nobody mount a disk; the other tests of full disks make do with limits.")


def test_a_disk_that_is_full_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    launcher = on_a_disk_of(4, tmp_path / "data")
    recording = {"audio": ("a.wav", wav(np.concatenate([RECORDINGS[1]] * 8)))}
    with running_receiver() as receiver:
        flags = (
            "--model",
            "tiny.en",
            "--no-auth",
            "--webhook-allow-hosts",
            receiver.host,
            "--webhook-first-retry-s",
            "0.1",
        )
        with (
            serving(tmp_path / "data", *flags, launcher=launcher) as process,
            httpx2.Client(timeout=PATIENCE_S) as client,
        ):
            large = {"audio": ("a.wav", bytes(5 << 20))}
            assert client.post(process.url + TINY, files=large, data=FORM).status_code == 507
            accepted, refused = [], 0
            while refused < 3:
                answer = client.post(process.url + TINY, files=recording, data={**FORM, "webhook": receiver.url})
                if answer.status_code == 507:
                    refused += 1
                else:
                    accepted.append(answer.json()["request_id"])
            assert len(accepted) > 2
            wait_until(lambda: {each.headers["webhook-id"] for each in receiver.messages} == set(accepted))
            for one in accepted:
                found = client.get(f"{process.url}/v1/requests/{one}").json()
                assert found["inference_status"]["status"] == "succeeded", found
            answer = client.post(process.url + TINY, files=recording, data=FORM)
            assert answer.status_code == 200
            assert process.stop() in (0, -signal.SIGTERM)


def test_a_request_that_cannot_be_stored_is_not_accepted(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFullError("full")

    monkeypatch.setattr(Store, "add", full)
    with running(model, tmp_path, webhook_allow_hosts=("127.0.0.1",)) as service:
        answer = service.post(WAV, webhook="http://127.0.0.1:9/")
        assert answer.status_code == 507
        assert list((tmp_path / "stored").iterdir()) == []
        assert service.post(WAV).status_code == 200


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)])
def test_only_a_full_disk_is_told_as_one(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, status: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Store, "add", fail)
    with running(model, tmp_path, webhook_allow_hosts=("127.0.0.1",)) as service:
        assert service.post(WAV, webhook="http://127.0.0.1:9/").status_code == status
        assert list((tmp_path / "stored").iterdir()) == []


def test_a_disk_that_fails_while_an_upload_is_written_is_told(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def failing(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.parent.name == "uploads":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, *arguments, **named)

    with running(model, tmp_path) as service:
        monkeypatch.setattr(Path, "open", failing)
        assert service.post(WAV).status_code == 507
        monkeypatch.undo()
        assert service.post(WAV).status_code == 200


def test_uploads_that_a_kill_left_are_gone_after_the_next_start(model: Whisper, tmp_path: Path) -> None:
    for folder in ("uploads", "stored"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "req_0").write_bytes(WAV)
    with running(model, tmp_path):
        wait_until(lambda: not any((tmp_path / "uploads").iterdir()) and not any((tmp_path / "stored").iterdir()))


@pytest.mark.parametrize("damage", ["cut", "flipped", "random", "header alone"])
def test_a_damaged_recording_is_an_answer_not_a_failure(model: Whisper, tmp_path: Path, damage: str) -> None:
    content = bytearray(WAVS[0])
    if damage == "cut":
        content = content[: len(content) // 3]
    elif damage == "flipped":
        for index in range(0, len(content), 997):
            content[index] ^= 0xFF
    elif damage == "random":
        content = bytearray(index * 7919 % 251 for index in range(50_000))
    else:
        content = content[:44]
    with running(model, tmp_path) as service:
        assert service.post(bytes(content)).status_code in (200, 422)
        assert service.post(WAV).status_code == 200


def test_what_is_being_served_is_finished_when_it_is_told_to_stop(tmp_path: Path) -> None:
    with serving(tmp_path, "--model", "tiny.en", "--no-auth") as process:
        answers: list[httpx2.Response] = []

        def post() -> None:
            files = {"audio": ("a.wav", WAVS[4])}
            answers.append(httpx2.post(process.url + TINY, files=files, timeout=PATIENCE_S))

        thread = threading.Thread(target=post)
        thread.start()
        wait_until(lambda: any((tmp_path / "uploads").iterdir()))
        assert process.stop() == -signal.SIGTERM
        thread.join()
        assert [answer.status_code for answer in answers] == [200]
        assert all(entry["level"] == "info" for entry in process.entries())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes be interrupted even if the tests run in the background of a shell, where SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_is_an_end_in_good_order(tmp_path: Path) -> None:
    with serving(tmp_path, "--model", "tiny.en", "--no-auth") as process:
        assert process.stop(signal.SIGINT) == 130
        assert all(entry["level"] == "info" for entry in process.entries())


def test_what_is_not_finished_when_the_time_to_stop_is_over_is_told_to_come_again(tmp_path: Path) -> None:
    """One recording is being transcribed, and one upload stands still."""
    long = wav(np.resize(RECORDINGS[0], 1800 * 16000))
    with serving(tmp_path, "--model", "tiny.en", "--no-auth", "--stop-timeout-s", "1") as process:
        answers: list[httpx2.Response] = []

        def post() -> None:
            answers.append(httpx2.post(process.url + TINY, files={"audio": ("a.wav", long)}, timeout=PATIENCE_S))

        thread = threading.Thread(target=post)
        thread.start()
        wait_until(lambda: any((tmp_path / "uploads").iterdir()))
        host, port = process.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            head = f"POST {TINY} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
            connection.sendall(head.encode())
            wait_until(lambda: len(list((tmp_path / "uploads").iterdir())) == 2)
            process.stop()
            assert b" 503 " in connection.recv(1000)
        thread.join()
        assert [answer.status_code for answer in answers] == [503]
        assert answers[0].headers["content-type"] == "application/problem+json"
        assert [entry for entry in process.entries() if "exception" in entry] == []


def test_a_disk_that_fills_up_at_the_last_moment_is_told(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small recording is written when the file is closed."""
    opened = Path.open

    def full(self: Path, *arguments: Any, **named: Any) -> Any:
        return opened(Path("/dev/full") if self.parent.name == "uploads" else self, *arguments, **named)

    with running(model, tmp_path) as service:
        monkeypatch.setattr(Path, "open", full)
        assert service.post(b"few bytes").status_code == 507
        monkeypatch.undo()
        assert service.post(WAV).status_code == 200


def test_clients_that_go_away_in_the_middle_of_an_upload_leave_nothing(model: Whisper, tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="audio"\r\n\r\n' + bytes(100_000)
        raise ConnectionError("the client breaks off")

    with running(model, tmp_path, max_requests=2) as service:
        for _ in range(4):
            headers = {"content-type": "multipart/form-data; boundary=b"}
            with pytest.raises(ConnectionError):
                service.client.post(INFERENCE, content=parts(), headers=headers)
        wait_until(lambda: not any(service.service.uploads.iterdir()))
        wait_until(lambda: service.post(WAV).status_code == 200)
