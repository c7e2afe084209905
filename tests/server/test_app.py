"""Authentication, logs and metrics, the start, and the OpenAPI document, with a small model."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.applications import Starlette

import whisperlite
from tests.pooled import PATIENCE_S, WAV, wait_until
from tests.server.serving import FORM, INFERENCE, Running, new_token, running
from whisperlite import OptionError, Whisper
from whisperlite.decoding.engine import Engine
from whisperlite.server import auth
from whisperlite.server.app import check_startable, create_app, kept_secret
from whisperlite.server.auth import TokenRegistry, add_token, hash_of, read_hashes, three_quarters
from whisperlite.server.logs import REQUEST_ID, JsonFormatter, log
from whisperlite.server.problems import Problem
from whisperlite.server.request_middleware import OPEN
from whisperlite.server.service import Service, identity_of, names_of
from whisperlite.server.settings import Settings


@pytest.fixture(scope="module")
def service(model: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(model, tmp_path_factory.mktemp("open")) as found:
        yield found


# Tokens


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def test_a_token_comes_in_whatever_the_case_of_its_scheme_and_nothing_else_does(model: Whisper, tmp_path: Path) -> None:
    token = add_token(tmp_path / "tokens", "anna")
    with running(model, tmp_path, tokens=str(tmp_path / "tokens")) as service:

        def status(headers: dict[str, str]) -> int:
            return service.client.get("/v1/models", headers=headers).status_code

        for scheme in ("Bearer", "bearer", "BEARER"):
            assert status(bearer(token, scheme)) == 200
        for headers in ({}, bearer(token + "x"), bearer(token, "Basic"), {"Authorization": token}):
            assert status(headers) == 401
        refused = service.client.post(INFERENCE, files={"audio": WAV}, data=FORM)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        for path in ("/metrics", "/v1/requests/x", "/v1/nothing"):
            assert service.client.get(path).status_code == 401
        text = service.client.get("/metrics", headers=bearer(token)).text
        for path in ("/metrics", "/v1/requests/{id}", "other"):
            assert f'path="{path}",status="401"' in text
        for path in OPEN:
            assert service.client.get(path).status_code == 200


def test_tokens_are_added_and_withdrawn_while_it_runs(model: Whisper, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    first = add_token(file, "first")
    with running(model, tmp_path, tokens=str(file)) as service:
        second = add_token(file, "second")
        assert service.client.get("/v1/models", headers=bearer(second)).status_code == 200
        file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("first")))
        assert service.client.get("/v1/models", headers=bearer(first)).status_code == 401
        assert service.client.get("/v1/models", headers=bearer(second)).status_code == 200


def test_only_hashes_are_kept_and_only_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "tokens"
    token = add_token(file, "anna")
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert list(read_hashes(file).values()) == ["anna"]


def test_wrong_names_and_files_of_tokens_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    add_token(file, "anna")
    for name in ("anna", "two words", "", "environment"):
        with pytest.raises(OptionError, match="token"):
            add_token(file, name)
    file.write_text("anna secret\n")
    with pytest.raises(OptionError, match="line 1"):
        read_hashes(file)


def test_tokens_without_a_name_get_the_first_that_is_free(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = [add_token(file) for _ in range(3)]
    assert read_hashes(file) == {
        hash_of(token): name for name, token in zip(("default", "default-2", "default-3"), tokens, strict=True)
    }
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("default-2")))
    add_token(file)
    assert list(read_hashes(file).values()) == ["default", "default-3", "default-2"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks there")
def test_whoever_adds_a_token_waits_for_who_does_already_and_sees_what_that_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    file, waits, errors = tmp_path / "tokens", threading.Event(), list[str]()

    def add() -> None:
        try:
            add_token(file, "anna")
        except OptionError as error:
            errors.append(str(error))

    def lock(lines: Any, how: int) -> None:
        waits.set()
        flock(lines, how)

    flock = fcntl.flock
    with file.open("a") as other:
        flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", lock)
        thread = threading.Thread(target=add)
        thread.start()
        assert waits.wait(PATIENCE_S)
        other.write(f"anna sha256:{'0' * 64}\n")
    thread.join(PATIENCE_S)
    assert "named 'anna' already" in errors[0]
    assert file.read_text().count("anna") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks there")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_token_is_added_where_the_file_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    token = add_token(tmp_path / "tokens", "anna")
    assert read_hashes(tmp_path / "tokens") == {hash_of(token): "anna"}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks there")
def test_a_lock_that_fails_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        add_token(tmp_path / "tokens", "anna")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks there")
def test_a_token_goes_into_the_file_that_has_been_put_in_place_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As editors do, while another process waits for the lock of the old file."""
    import fcntl

    file, new = tmp_path / "tokens", tmp_path / "tokens.new"
    add_token(file, "old")
    add_token(new, "berta")

    def replace_then_lock(lines: Any, how: int) -> None:
        if new.exists():
            new.replace(file)
        flock(lines, how)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", replace_then_lock)
    add_token(file, "anna")
    assert list(read_hashes(file).values()) == ["berta", "anna"]


def test_one_of_several_owners_leaves_a_place_wherever_there_is_more_than_one() -> None:
    assert [three_quarters(places) for places in (1, 2, 3, 4, 5, 8, 1000)] == [1, 1, 2, 3, 3, 6, 750]


def test_a_file_that_is_no_text_is_no_file_of_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(bytes(range(256)))
    with pytest.raises(OptionError, match="line 1: expected a name and a hash"):
        check_startable(Settings(data_dir=str(tmp_path)))


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(auth, "time", found)
    return found


def test_a_file_of_tokens_that_is_replaced_shuts_nobody_out(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file, away = tmp_path / "tokens", tmp_path / "tokens~"
    token = bearer(add_token(file))["Authorization"]
    tokens = TokenRegistry(file)
    assert tokens.owner(token)
    file.rename(away)
    clock.now = 0.9
    assert tokens.owner(token)
    away.rename(file)
    clock.now = 5.0
    assert tokens.owner(token)
    assert caplog.text == ""


def test_a_file_of_tokens_that_is_deleted_lets_nobody_in_until_it_is_back(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    file, away = tmp_path / "tokens", tmp_path / "tokens~"
    token = bearer(add_token(file))["Authorization"]
    tokens = TokenRegistry(file)
    assert tokens.owner(token)
    file.rename(away)
    clock.now = 1.1  # since the file was last seen, whatever was asked in the meantime
    assert tokens.owner(token) is None
    assert tokens.owner(token) is None
    assert caplog.text.count("tokens is gone") == 1
    away.rename(file)
    assert tokens.owner(token)


def test_a_file_of_tokens_that_is_empty_for_a_moment_shuts_nobody_out(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """As when an editor writes it in place."""
    file = tmp_path / "tokens"
    token = bearer(add_token(file))["Authorization"]
    tokens, content = TokenRegistry(file), file.read_bytes()
    assert tokens.owner(token)
    file.write_bytes(b"")
    clock.now = 0.9
    assert tokens.owner(token)
    file.write_bytes(content)
    clock.now = 5.0
    assert tokens.owner(token)
    assert caplog.text == ""
    file.write_bytes(b"")
    clock.now = 6.1
    assert tokens.owner(token) is None
    assert caplog.text.count("gone or empty") == 1


def test_a_file_of_tokens_that_could_not_be_read_is_read_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever made it unreadable, since nothing about the file need have changed."""
    file = tmp_path / "tokens"
    anna = bearer(add_token(file, "anna"))["Authorization"]
    tokens = TokenRegistry(file)
    assert tokens.owner(anna)
    berta = bearer(add_token(file, "berta"))["Authorization"]

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patches:
        patches.setattr(Path, "read_bytes", refuse)
        for _ in range(2):
            assert tokens.owner(anna)
            assert tokens.owner(berta) is None
    assert caplog.text.count("tokens cannot be read") == 1
    assert tokens.owner(berta)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such time there")
def test_a_file_of_tokens_that_keeps_its_age_and_size_is_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "tokens", tmp_path / "other"
    anna, berta = (bearer(add_token(path, name))["Authorization"] for path, name in ((file, "anna"), (other, "bert")))
    tokens, before = TokenRegistry(file), file.stat()
    assert tokens.owner(anna)
    file.write_bytes(other.read_bytes())

    def has_another_change_time() -> bool:
        os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
        return file.stat().st_ctime_ns != before.st_ctime_ns

    wait_until(has_another_change_time)  # the clock of files ticks slowly
    assert tokens.owner(berta)
    assert tokens.owner(anna) is None


@pytest.mark.usefixtures("clock")
def test_a_file_of_tokens_may_go_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two calls of `stat`, and between `stat` and reading it."""
    file = tmp_path / "tokens"
    token = bearer(add_token(file))["Authorization"]
    tokens, look = TokenRegistry(file), Path.stat
    owner = tokens.owner(token)
    assert owner is not None
    looks = 0

    def sometimes(path: Path, **named: Any) -> os.stat_result:
        nonlocal looks
        looks += 1
        if looks % 2 == 0:
            raise FileNotFoundError(path)
        return look(path, **named)

    def never(path: Path) -> bytes:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patches:
        patches.setattr(Path, "stat", sometimes)
        assert [tokens.owner(token) for _ in range(4)] == [owner] * 4
    file.write_text("# nobody\n")
    with monkeypatch.context() as patches:
        patches.setattr(Path, "read_bytes", never)
        assert tokens.owner(token) == owner
    assert tokens.owner(token) is None


def test_a_file_of_tokens_of_the_same_age_is_read_again(tmp_path: Path) -> None:
    """As after a copy that keeps times, or a change within one tick of the clock."""
    file, other = tmp_path / "tokens", tmp_path / "other"
    anna, berta = (bearer(add_token(path, name))["Authorization"] for path, name in ((file, "anna"), (other, "bert")))
    tokens = TokenRegistry(file)
    assert tokens.owner(anna)
    then = file.stat().st_mtime_ns
    os.utime(other, ns=(then, then))
    assert other.stat().st_size == file.stat().st_size
    other.replace(file)
    assert tokens.owner(anna) is None
    assert tokens.owner(berta)
    file.write_text("# nobody\n")  # the same file with another size
    os.utime(file, ns=(then, then))
    assert tokens.owner(berta) is None


def test_a_line_of_the_file_that_goes_wrong_while_it_runs_shuts_nobody_out_and_tells_strangers_nothing(
    model: Whisper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    token = add_token(file, "anna")
    with running(model, tmp_path, tokens=str(file)) as service:
        assert service.client.get("/v1/models", headers=bearer(token)).status_code == 200
        with file.open("a") as lines:
            lines.write("berta sha2")
        assert service.client.get("/v1/models", headers=bearer(token)).status_code == 200
        stranger = service.client.get("/v1/models", headers=bearer("x"))
        assert (stranger.status_code, str(tmp_path) in stranger.text) == (401, False)
        assert service.client.get("/healthz", headers=bearer("x")).status_code == 200
    assert "tokens cannot be read" in caplog.text


def test_a_token_is_withdrawn_although_another_line_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    anna, berta = (add_token(file, name) for name in ("anna", "berta"))
    tokens = TokenRegistry(file)
    assert tokens.owner(f"Bearer {berta}") is not None
    kept = file.read_text(encoding="utf-8").splitlines()[0]
    file.write_text(f"{kept}\nclara sha256:oops\n", encoding="utf-8")
    assert tokens.owner(f"Bearer {berta}") is None
    assert tokens.owner(f"Bearer {anna}") is not None
    file.write_text(f"{kept}\nberta sha256:{hash_of(berta)}\n", encoding="utf-8")
    assert tokens.owner(f"Bearer {berta}") is not None


def test_tokens_of_the_same_name_are_all_valid(tmp_path: Path) -> None:
    """As after an edit by hand, or if a token of the file has the name of the environment's."""
    file = tmp_path / "tokens"
    tokens = [add_token(file, name) for name in ("anna", "berta", "clara")]
    lines = file.read_text().replace("berta", "anna").replace("clara", "environment")
    file.write_text(lines)
    registry = TokenRegistry(file, {hash_of("s3cret"): "environment"})
    for token in (*tokens, "s3cret"):
        assert registry.owner(f"Bearer {token}") == hash_of(token)
    assert [registry.name_of(hash_of(token)) for token in tokens] == ["anna", "anna", "environment"]


def test_a_token_that_no_header_can_carry_is_refused(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERLITE_TOKEN", "pässwörd")
    with pytest.raises(OptionError, match="ASCII"):
        create_app(model, Settings(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "secret", "named"),
    [
        ({"webhook_allow_hosts": ("a b",)}, "", "allowed host"),
        ({}, "short", "WHISPERLITE_WEBHOOK_SECRET"),
    ],
)
def test_what_is_wrong_with_the_settings_is_found_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], secret: str, named: str
) -> None:
    monkeypatch.setenv("WHISPERLITE_WEBHOOK_SECRET", secret)
    with pytest.raises(OptionError, match=named):
        check_startable(Settings(no_auth=True, data_dir=str(tmp_path), **settings))


def test_a_token_begins_a_line_of_its_own(tmp_path: Path) -> None:
    """As after an edit that left no newline at the end."""
    file = tmp_path / "tokens"
    add_token(file, "anna")
    file.write_text(file.read_text().rstrip("\n"))
    add_token(file, "berta")
    assert list(read_hashes(file).values()) == ["anna", "berta"]


def test_a_service_that_nobody_could_use_does_not_start(model: Whisper, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="whisperlite token"):
        create_app(model, Settings(data_dir=str(tmp_path)))


def test_a_token_in_the_environment_will_do(model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERLITE_TOKEN", "s3cret\r\n")  # as read from a file written on Windows
    with running(model, tmp_path, no_auth=False) as service:
        assert service.client.get("/v1/models", headers=bearer("s3cret")).status_code == 200
        assert service.client.get("/v1/models", headers=bearer("other")).status_code == 401


def test_a_file_of_tokens_that_is_not_there_lets_nobody_in(tmp_path: Path) -> None:
    assert TokenRegistry(tmp_path / "none").owner("Bearer x") is None


def test_the_command_prints_a_token_that_comes_in(model: Whisper, tmp_path: Path) -> None:
    token = new_token(tmp_path)
    with running(model, tmp_path, no_auth=False) as service:
        assert service.client.get("/v1/models", headers=bearer(token)).status_code == 200


def test_no_other_origin_is_let_in(service: Running) -> None:
    headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    answer = service.client.options(INFERENCE, headers=headers)
    assert answer.status_code == 403  # the service needs no token
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_page_of_another_origin_cannot_use_a_service_without_tokens(service: Running) -> None:
    """A browser sends such a form without asking. The page could not read the answer, but the work would be done."""
    for origin in ("https://example.com", "null", "http://[", f"http://localhost:{service.port}"):
        answer = service.client.post(INFERENCE, files={"audio": WAV}, data=FORM, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["status"]) == (403, 403)
        assert service.client.get("/healthz", headers={"Origin": origin}).status_code == 200
    own = service.client.post(INFERENCE, files={"audio": WAV}, data=FORM, headers={"Origin": service.url})
    assert own.status_code == 200


def test_with_a_token_a_page_may_be_anywhere(model: Whisper, tmp_path: Path) -> None:
    token = new_token(tmp_path)
    with running(model, tmp_path, no_auth=False) as service:
        headers = {**bearer(token), "Origin": "https://example.com"}
        assert service.client.get("/v1/models", headers=headers).status_code == 200


def test_what_it_is_mounted_at_changes_neither_who_is_let_in_nor_the_form_of_errors(
    model: Whisper, tmp_path: Path
) -> None:
    new_token(tmp_path)
    app = create_app(model, Settings(data_dir=str(tmp_path)))

    async def ask() -> list[tuple[int, dict[str, Any]]]:
        transport = httpx2.ASGITransport(app, root_path="/asr")
        async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport) as client:
            answers = [await client.get(f"http://a/asr{path}") for path in ("/healthz", "/v1/models", "/metrics")]
            return [(answer.status_code, answer.json()) for answer in answers]

    healthy, openai, own = asyncio.run(ask())
    assert healthy == (200, {"status": "ok"})
    assert (openai[0], own[0]) == (401, 401)
    assert set(openai[1]) == {"error"}
    assert own[1]["status"] == 401


@pytest.mark.parametrize(
    ("loaded", "first", "others"),
    [
        ("base", "base", {"openai/whisper-base", "whisper-base"}),
        ("base@main", "base@main", {"base", "openai/whisper-base", "whisper-base"}),
        ("openai/whisper-base", "openai/whisper-base", {"base", "whisper-base"}),
        ("acme/whisper-clinic@v2", "acme/whisper-clinic@v2", {"acme/whisper-clinic", "whisper-clinic"}),
    ],
)
def test_a_model_is_known_by_its_names_without_the_revision(loaded: str, first: str, others: set[str]) -> None:
    names = names_of(SimpleNamespace(name=loaded), Settings(served_names=("mine",)))  # type: ignore[arg-type]
    assert names[:2] == (first, "mine")
    assert set(names[2:]) == others


@pytest.mark.parametrize(
    ("before", "now", "is_same"),
    [
        ("base", "base", True),
        ("base@main", "base", True),
        ("base", "openai/whisper-base", True),
        ("openai/whisper-base", "base@main", True),
        ("base", "tiny", False),
        ("acme/whisper@v1", "acme/whisper@v2", False),
        ("/runs/a/final", "/runs/b/final", False),
        ("", "base", True),
    ],
)
def test_what_was_sent_to_a_model_is_for_that_model(before: str, now: str, is_same: bool) -> None:
    service = Service.__new__(Service)
    service.model = SimpleNamespace(name=now)  # type: ignore[assignment]
    service.names = names_of(service.model, Settings())
    identity = identity_of(SimpleNamespace(name=before)) if before else ""  # type: ignore[arg-type]
    if is_same:
        service.check_model(identity)
    else:
        with pytest.raises(Problem, match="not served any more"):
            service.check_model(identity)


# Logs, metrics and the document


def test_warnings_of_python_are_lines_of_the_log_too() -> None:
    code = "import warnings; from whisperlite.server import logs; logs.log_to_stderr('info'); warnings.warn('Hm.')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "warning"
    assert "Hm." in json.loads(line)["message"]


def test_it_says_when_the_device_has_failed(model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Engine) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("whisperlite.api.failures.device_responds", lambda _: False)
    with running(model, tmp_path) as service:
        assert service.client.get("/readyz").status_code == 200
        monkeypatch.setattr(Engine, "step", fail)
        for _ in range(2):  # the one that was being decoded, and another
            refused = service.post(WAV)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert "has to be restarted" in refused.json()["detail"]
            assert "memory access" not in refused.text
        answer = service.client.get("/readyz")
        assert (answer.status_code, "restart" in answer.json()["status"]) == (503, True)
        assert service.client.get("/healthz").status_code == 200


def test_it_says_that_it_runs_and_is_ready(service: Running) -> None:
    assert service.client.get("/healthz").json() == {"status": "ok"}
    assert service.client.get("/readyz").json() == {"status": "ready"}
    service.service.is_stopping = True
    try:
        assert service.client.get("/readyz").status_code == 503
        assert service.post(WAV).status_code == 503
    finally:
        service.service.is_stopping = False


def test_metrics_count_what_was_done(model: Whisper, tmp_path: Path) -> None:
    with running(model, tmp_path, batch_size=3) as service:
        assert service.post(WAV).status_code == 200
        assert service.post(b"no sound").status_code == 422
        lines = service.client.get("/metrics").text.splitlines()
    path = 'path="/v1/inference/{organisation}/{model}"'
    for line in (
        f'whisperlite_requests_total{{{path},status="200"}} 1.0',
        f'whisperlite_requests_total{{{path},status="422"}} 1.0',
        'whisperlite_failures_total{kind="audio"} 1.0',
        "whisperlite_audio_seconds_total 3.0",
        "whisperlite_real_time_factor_count 1.0",
        "whisperlite_slots 3.0",
        "whisperlite_slots_active 0.0",
        "whisperlite_jobs 0.0",
        "whisperlite_jobs_queued 0.0",
        "whisperlite_requests_served 0.0",
        "whisperlite_webhooks_pending 0.0",
    ):
        assert line in lines
    assert not any("nothing" in line for line in lines)


def test_a_line_is_logged_for_each_request_with_its_id(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "whisperlite.server")
    answer = service.post(WAV)
    service.client.get("/healthz")
    first = next(each for each in caplog.records if each.getMessage() == "request")
    entry = json.loads(JsonFormatter().format(first))
    assert (entry["status"], entry["method"]) == (200, "POST")
    assert entry["path"] == "/v1/inference/{organisation}/{model}"
    assert entry["seconds"] > 0
    assert answer.headers["x-request-id"]


def test_the_log_says_who_sent_a_request_and_nothing_that_lets_others_in(
    model: Whisper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "whisperlite.server")
    token = add_token(tmp_path / "tokens", "anna")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patches, running(model, tmp_path, no_auth=False) as service:
        # When it is emitted, since only the request itself knows its id.
        patches.setattr(caplog.handler, "emit", lambda record: lines.append(JsonFormatter().format(record)))
        answers = [
            *(service.client.get("/v1/models", headers=each) for each in (bearer(token), bearer("other"), {})),
            service.client.get("/healthz", headers=bearer(token)),
        ]
    own = {answer.headers["x-request-id"] for answer in answers}  # a request of the test before may be logged late
    entries = [entry for entry in map(json.loads, lines) if entry.get("request_id") in own]
    assert [entry["status"] for entry in entries] == [200, 401, 401, 200]
    assert [entry["token"] for entry in entries] == ["anna", None, None, None]
    assert {entry["client"] for entry in entries} == {"127.0.0.1"}
    for secret in (token, hash_of(token), "other"):
        assert secret not in "".join(lines)


def test_a_stranger_s_method_is_not_written_to_the_log(model: Whisper, tmp_path: Path) -> None:
    # The patch outlives the service, which may log a request after its answer.
    with pytest.MonkeyPatch.context() as patches, running(model, tmp_path) as service:
        entries: list[dict[str, Any]] = []
        patches.setattr("whisperlite.server.request_middleware.log", lambda _, **named: entries.append(named))
        answer = service.client.request("X" * 5000, "/healthz")
        service.client.patch("/healthz")
    assert (answer.status_code, len(answer.text) < 500) == (405, True)
    assert [entry["method"] for entry in entries if entry["method"] != "GET"] == ["other", "PATCH"]


def test_upgrades_write_no_line_of_their_own() -> None:
    code = (
        "import logging; from whisperlite.server import logs; logs.log_to_stderr('info')\n"
        "from types import SimpleNamespace as Fake; from uvicorn.protocols.http.h11_impl import H11Protocol\n"
        "uvicorn = logging.getLogger('uvicorn.error')\n"
        "H11Protocol._unsupported_upgrade_warning(Fake(logger=uvicorn, _should_upgrade_to_ws=lambda: False))\n"
        "uvicorn.warning('Invalid HTTP request received.')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["Invalid HTTP request received."]


def test_what_is_logged_within_a_request_carries_its_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "whisperlite.server")
    reset = REQUEST_ID.set("req_7")
    try:
        log("something", size=3)
        entry = json.loads(JsonFormatter().format(caplog.records[-1]))
    finally:
        REQUEST_ID.reset(reset)
    assert (entry["request_id"], entry["message"], entry["size"], entry["level"]) == ("req_7", "something", 3, "info")


def test_the_document_names_every_path_that_there_is(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    routes = {route.path: route.methods for route in service.app.routes}  # type: ignore[attr-defined]
    declared = {path.replace(":path", ""): methods for path, methods in routes.items()}
    assert set(document["paths"]) == set(declared)
    for path, operations in document["paths"].items():
        assert {name.upper() for name in operations} == declared[path] - {"HEAD"}


def test_the_document_names_every_operation_and_the_headers_of_its_answers(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    for operation in operations:
        for status, answer in operation["responses"].items():
            assert "x-request-id" in answer["headers"]
            if operation.get("security") != []:
                assert ("Retry-After" in answer["headers"]) == (status in ("429", "503", "507"))


def test_the_document_tells_the_time_limit_that_requests_have(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    content = document["paths"]["/v1/inference/{organisation}/{model}"]["post"]["requestBody"]["content"]
    for kind in content.values():
        schema = kind["schema"]["properties"]["timeout_s"]
        assert schema["default"] == service.settings.timeout_s == 1800
        assert "1800" in schema["description"]
        assert "partial" not in schema["description"]


@pytest.mark.parametrize("granularities", [["segment"], ["word"], ["segment", "word"]])
def test_openai_s_answers_are_what_the_document_says(service: Running, granularities: list[str]) -> None:
    components = service.client.get("/openapi.json").json()["components"]
    schema = jsonschema_rs.validator_for({"$ref": "#/components/schemas/OpenAIAnswer", "components": components})

    def ask(**more: Any) -> dict[str, Any]:
        fields = {**FORM, "model": "whisper-1", **more}
        answer = service.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}, data=fields)
        found: dict[str, Any] = answer.json()
        schema.validate(found)
        return found

    assert set(ask()) == {"text", "usage"}
    verbose = ask(response_format="verbose_json", **{"timestamp_granularities[]": granularities})
    known = components["schemas"]["OpenAIAnswer"]["properties"]
    assert {"segments", "words"} - set(verbose) == set(known) - set(verbose)
    for name in set(verbose) & {"segments", "words"}:
        for part in verbose[name]:
            assert set(part) == set(known[name]["items"]["properties"])
    assert not schema.is_valid({**verbose, "segments": [{}]})


def test_the_document_s_example_is_a_model_that_is_served(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    operation = document["paths"]["/v1/inference/{organisation}/{model}"]["post"]
    names = [parameter["example"] for parameter in operation["parameters"]]
    path = "/v1/inference/{}/{}".format(*names)
    assert service.post(WAV, path).status_code == 200


def test_in_a_form_no_field_is_a_list_or_an_object(service: Running) -> None:
    """Clients would send these in parts, and the null of a text as the word."""
    document = service.client.get("/openapi.json").json()
    for path in ("/v1/inference/{organisation}/{model}", "/v1/audio/transcriptions"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        schemas = {
            name: jsonschema_rs.validator_for(schema)
            for name, schema in content["schema"]["properties"].items()
            if name != "timestamp_granularities[]"  # sent in parts, as in OpenAI's API
        }
        for name, schema in schemas.items():
            assert not schema.is_valid([]), name
            assert not schema.is_valid({}), name
        assert schemas["allowed_languages"].is_valid("en,german")
        assert schemas["vad_options"].is_valid("threshold=0.6")
        assert schemas["language"].is_valid(None)
        assert not schemas["language"].is_valid("en,german")
        assert not schemas["initial_prompt"].is_valid(None)


def test_the_document_is_valid_openapi(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": document["components"]})
    answer = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Answer", "components": document["components"]})
    answer.validate(service.post(WAV, chunk_level="word").json())
    problem = jsonschema_rs.validator_for(
        {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    )
    problem.validate(service.post(WAV, temperature="x").json())


def test_a_model_from_the_disk_is_served_under_a_name_that_says_no_more_of_it(tmp_path: Path) -> None:
    whisperlite.convert_model("tiny.en", tmp_path / "my-whisper")
    model = whisperlite.load_model(tmp_path / "my-whisper", device="cpu")
    with running(model, tmp_path / "state") as service:
        assert service.post(WAV, "/v1/inference/local/my-whisper").status_code == 200
        for path in ("/openapi.json", "/v1/models"):
            assert str(tmp_path) not in service.client.get(path).text
        assert str(tmp_path) not in service.post(WAV, "/v1/inference/local/other").text


def test_a_start_removes_no_file_that_is_not_a_request_s(model: Whisper, tmp_path: Path) -> None:
    kept = [tmp_path / "uploads" / "holiday.jpg", tmp_path / "stored" / "wine.txt"]
    stray = [tmp_path / "uploads" / "req_1", tmp_path / "stored" / "req_2"]
    for file in (*kept, *stray):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with running(model, tmp_path):
        assert [file.exists() for file in (*kept, *stray)] == [True, True, False, False]


def test_a_start_that_fails_leaves_nothing(model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no deliveries")

    async def start(app: Starlette) -> None:
        async with app.router.lifespan_context(app):
            pass

    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("whisperlite-")}

    before = threads()
    with monkeypatch.context() as patches:
        patches.setattr("whisperlite.server.app.Deliveries", fail)
        with pytest.raises(RuntimeError, match="no deliveries"):
            asyncio.run(start(create_app(model, Settings(no_auth=True, data_dir=str(tmp_path)))))
    assert threads() <= before
    with running(model, tmp_path) as service:
        assert service.post(WAV).status_code == 200


def test_a_secret_that_was_not_written_to_its_end_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("the end")

    with monkeypatch.context() as patches:
        patches.setattr("whisperlite.server.app.new_secret", fail)
        with pytest.raises(RuntimeError, match="the end"):
            kept_secret(tmp_path)
    secret = kept_secret(tmp_path)
    assert kept_secret(tmp_path) == secret
    assert [path.name for path in tmp_path.iterdir()] == ["webhook-secret"]
    assert (tmp_path / "webhook-secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"whsec_short", b"\xff"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "webhook-secret").write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.webhook-secret does not hold"):
        kept_secret(tmp_path)


def test_a_second_service_in_the_same_folder_is_refused(service: Running) -> None:
    command = [sys.executable, "-m", "whisperlite.cli", "serve", "--no-auth", "--port", "0"]
    other = subprocess.run(
        [*command, "--model", "tiny.en", "--data-dir", str(service.settings.folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert other.returncode != 0
    messages = [json.loads(line)["message"] for line in other.stderr.splitlines()]
    file = service.settings.folder / "requests.sqlite3"
    assert f"The service cannot start: {file} is in use by another process." in " ".join(messages)
    assert "Traceback" not in other.stderr
    assert service.post(WAV).status_code == 200


def test_a_stranger_s_body_is_not_waited_for(model: Whisper, tmp_path: Path) -> None:
    """A client without a token cannot fill the disk."""
    add_token(tmp_path / "tokens", "anna")
    head = f"POST {INFERENCE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    with (
        running(model, tmp_path, tokens=str(tmp_path / "tokens")) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection,
    ):
        connection.sendall(head.encode())
        answer = connection.recv(1000)
        assert b" 401 " in answer
        assert b"connection: close" in answer.lower()
        connection.settimeout(5)
        while connection.recv(1000):
            pass  # until the service closes the connection, without having read the body
