"""Requests with a webhook, from acceptance to delivery, with kills in between."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from standardwebhooks import Webhook

from tests.pooled import PATIENCE_S, SHORT, WAV, Steps, pool_threads, quick, wait_until, wav_of
from tests.server.serving import FORM, INFERENCE, Process, Running, in_threads, running, serving
from tests.server.webhooks.receiver import Receiver, running_receiver
from whisperlite import AudioDecodeError, Whisper
from whisperlite.server.auth import add_token, hash_of
from whisperlite.server.background import Background
from whisperlite.server.fields import read_fields
from whisperlite.server.logs import JsonFormatter
from whisperlite.server.problems import problem_of
from whisperlite.server.webhooks.addresses import Addresses
from whisperlite.server.webhooks.store import Store, StoredRequest, StoreError

LONG = wav_of(np.asarray(np.resize(SHORT, 300 * 16000) * 32767, np.int16))

LONGER = wav_of(np.asarray(np.resize(SHORT, 60 * 16000) * 32767, np.int16))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as found:
        yield found


def received(receiver: Receiver, count: int = 1) -> list[dict[str, Any]]:
    wait_until(lambda: len(receiver.messages) >= count)
    return [json.loads(message.body) for message in receiver.messages]


def state(service: Running, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get(f"/v1/requests/{request_id}").json()
    return found


def test_it_is_answered_at_once_and_the_result_is_posted_signed(
    model: Whisper, tmp_path: Path, receiver: Receiver
) -> None:
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        answer = service.post(WAV, webhook=receiver.url, chunk_level="word")
        assert answer.status_code == 202
        request_id = answer.json()["request_id"]
        assert answer.json()["inference_status"]["status"] == "queued"
        assert answer.headers["location"] == f"/v1/requests/{request_id}"
        (result,) = received(receiver)
        expected = model.transcribe(WAV, **quick(word_timestamps=True))
        assert (result["request_id"], result["text"]) == (request_id, expected.text)
        assert len(result["words"]) == len(expected.words)
        assert result["inference_status"]["status"] == "succeeded"
        message = receiver.messages[0]
        assert (
            Webhook((tmp_path / "webhook-secret").read_text().strip()).verify(message.body, message.headers) == result
        )
        assert message.headers["webhook-id"] == request_id
        wait_until(lambda: state(service, request_id)["webhook"]["delivered"])
        assert state(service, request_id)["text"] == expected.text
        assert list((tmp_path / "stored").iterdir()) == []


def test_what_fails_is_delivered_too(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(b"no sound", webhook=receiver.url).status_code == 202
        (result,) = received(receiver)
    assert result["inference_status"]["status"] == "failed"
    assert result["problem"]["errors"][0]["field"] == "audio"
    assert str(tmp_path) not in receiver.messages[0].body.decode()


def test_where_the_service_runs_is_told_to_nobody(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with running(model, Path("state"), webhook_allow_hosts=(receiver.host,)) as service:
        refused = service.post(b"no sound")
        assert (refused.status_code, "the upload" in refused.text) == (422, True)
        assert service.post(b"no sound", webhook=receiver.url).status_code == 202
        received(receiver)
    for text in (refused.text, receiver.messages[0].body.decode()):
        assert str(tmp_path) not in text


def test_it_is_tried_again_under_the_same_id(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500, 503, 200]
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,), webhook_first_retry_s=0.05) as service:
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        received(receiver, 3)
        assert {message.headers["webhook-id"] for message in receiver.messages} == {request_id}
        wait_until(lambda: state(service, request_id)["webhook"]["attempts"] == 3)
        assert 'whisperlite_webhook_attempts_total{outcome="failed"} 2.0' in service.client.get("/metrics").text


def test_a_receiver_that_redirects_inward_is_not_followed(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    with running_receiver() as inner, running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        receiver.statuses, receiver.headers = [302], {"location": inner.url}
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        wait_until(lambda: state(service, request_id)["webhook"]["attempts"] > 0)
        assert "redirect" in state(service, request_id)["webhook"]["last_error"]
        assert inner.messages == []


def test_a_receiver_that_hangs_holds_up_nobody(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    receiver.hangs = True
    with running_receiver() as other:
        hosts = (receiver.host, other.host)
        with running(model, tmp_path, webhook_allow_hosts=hosts, webhook_timeout_s=30) as service:
            for _ in range(9):
                assert service.post(WAV, webhook=receiver.url).status_code == 202
            assert service.post(WAV, webhook=other.url).status_code == 202
            received(other)
            assert service.post(WAV).status_code == 200
            receiver.release.set()


def test_an_inner_address_is_refused_and_nothing_is_kept(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    with running(model, tmp_path) as service:
        for host in (
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0x7f000001",
            "0.0.0.0",
            "169.254.169.254",
        ):
            answer = service.post(WAV, webhook=f"http://{host}:{receiver.port}/hook")
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "webhook")
        wait_until(lambda: list(service.service.uploads.iterdir()) == [])
        assert list((tmp_path / "stored").iterdir()) == []
    assert receiver.messages == []


def test_a_request_can_be_asked_for_by_the_token_that_made_it_alone(
    model: Whisper, tmp_path: Path, receiver: Receiver
) -> None:
    anna, berta = (add_token(tmp_path / "tokens", name) for name in ("anna", "berta"))
    with running(model, tmp_path, no_auth=False, webhook_allow_hosts=(receiver.host,)) as service:
        service.client.headers["Authorization"] = f"Bearer {anna}"
        path = service.post(WAV, webhook=receiver.url).headers["location"]
        assert service.client.get(path).status_code == 200
        assert service.client.get(path, headers={"Authorization": f"Bearer {berta}"}).status_code == 404


def test_the_log_says_whose_request_is_done(
    model: Whisper, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "whisperlite.server")
    token = add_token(tmp_path / "tokens", "anna")
    with running(model, tmp_path, no_auth=False, webhook_allow_hosts=(receiver.host,)) as service:
        service.client.headers["Authorization"] = f"Bearer {token}"
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        received(receiver)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    (done,) = (line for line in lines if line["message"] == "a request with a webhook is done")
    assert (done["token"], done["status"]) == ("anna", "done")


def test_more_than_may_wait_are_refused(model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, max_stored=2, webhook_allow_hosts=(receiver.host,)) as service:
        for _ in range(2):
            assert service.post(WAV, webhook=receiver.url).status_code == 202
        refused = service.post(WAV, webhook=receiver.url)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        steps.may_go.set()
        received(receiver, 2)


def test_requests_side_by_side_count_each_other(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, max_stored=3, webhook_allow_hosts=(receiver.host,)) as service:
        answers = in_threads([lambda: service.post(WAV, webhook=receiver.url)] * 12)
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [503] * 9
        steps.may_go.set()
        received(receiver, 3)


def test_an_answer_is_kept_no_longer_than_it_is_to_be(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    with running(model, tmp_path, keep_s=0.0, webhook_allow_hosts=(receiver.host,)) as service:
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        received(receiver)
        wait_until(lambda: service.client.get(f"/v1/requests/{request_id}").status_code == 404)


def remove(service: Running, request_id: str) -> int:
    return int(service.client.delete(f"/v1/requests/{request_id}").status_code)


def test_a_request_that_runs_or_waits_is_removed(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, batch_size=1, webhook_allow_hosts=(receiver.host,)) as service:
        ids = [service.post(WAV, webhook=receiver.url).json()["request_id"] for _ in range(3)]
        wait_until(lambda: state(service, ids[0])["inference_status"]["status"] == "running")
        assert [remove(service, each) for each in ids[:2]] == [204, 204]
        assert [service.client.get(f"/v1/requests/{each}").status_code for each in ids] == [404, 404, 200]
        assert [file.name for file in (tmp_path / "stored").iterdir()] == ids[2:]
        steps.may_go.set()
        assert [message["request_id"] for message in received(receiver)] == ids[2:]
        wait_until(lambda: service.service.pool.jobs == 0)
    assert len(receiver.messages) == 1


def test_one_that_is_removed_before_it_has_begun_leaves_its_place(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.may_go.clear()

    async def start_and_remove(background: Background, request_id: str) -> bool:
        background._start(request_id)
        return await background.remove(request_id, "")

    with running(model, tmp_path, batch_size=1, webhook_allow_hosts=(receiver.host,)) as service:
        ids = [service.post(WAV, webhook=receiver.url).json()["request_id"] for _ in range(2)]
        wait_until(lambda: state(service, ids[0])["inference_status"]["status"] == "running")
        background: Background = service.app.state.background
        removed = asyncio.run_coroutine_threadsafe(start_and_remove(background, ids[1]), service.loop)
        assert removed.result(PATIENCE_S)
        assert list(background._running) == ids[:1]
        steps.may_go.set()
        received(receiver)


def test_a_result_is_removed_by_who_may_see_it(model: Whisper, tmp_path: Path, receiver: Receiver) -> None:
    anna, berta = (add_token(tmp_path / "tokens", name) for name in ("anna", "berta"))
    with running(model, tmp_path, no_auth=False, webhook_allow_hosts=(receiver.host,)) as service:
        service.client.headers["Authorization"] = f"Bearer {anna}"
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        received(receiver)
        service.client.headers["Authorization"] = f"Bearer {berta}"
        assert remove(service, request_id) == 404
        service.client.headers["Authorization"] = f"Bearer {anna}"
        assert [remove(service, request_id) for _ in range(2)] == [204, 404]


def test_what_is_removed_while_it_is_delivered_ends_with_that_attempt(
    model: Whisper, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.hangs = True
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,), webhook_first_retry_s=0.05) as service:
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        received(receiver)
        assert remove(service, request_id) == 204
        receiver.statuses, receiver.hangs = [500, 200], False
        receiver.release.set()
        assert service.post(WAV, webhook=receiver.url).status_code == 202  # deliveries go on
        received(receiver, 2)
        wait_until(lambda: service.app.state.background._store.pending() == 0)
    assert len(receiver.messages) == 2


def test_one_whose_receiver_is_dead_leaves_the_others_some_room(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    anna, berta = (add_token(tmp_path / "tokens", name) for name in ("anna", "berta"))
    steps.may_go.clear()
    with running(model, tmp_path, no_auth=False, max_stored=4, webhook_allow_hosts=(receiver.host,)) as service:
        service.client.headers["Authorization"] = f"Bearer {anna}"
        answers = [service.post(WAV, webhook=receiver.url) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert answers[-1].headers["retry-after"] == "5"
        service.client.headers["Authorization"] = f"Bearer {berta}"
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        steps.may_go.set()
        received(receiver, 4)


def test_who_is_alone_has_all_the_room(model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, max_stored=4, webhook_allow_hosts=(receiver.host,)) as service:
        answers = [service.post(WAV, webhook=receiver.url) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 503]
        steps.may_go.set()
        received(receiver, 4)


def test_a_look_up_that_fails_for_now_is_no_fault_of_the_request(
    model: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(host: str, *arguments: Any, **named: Any) -> Any:
        if host == "hooks.test":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(host, *arguments, **named)

    look_up = socket.getaddrinfo

    with running(model, tmp_path) as service:
        monkeypatch.setattr(socket, "getaddrinfo", fail)
        answer = service.post(WAV, webhook="https://hooks.test/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    wait_until(lambda: not any("names" in name for name in pool_threads()))


def test_what_is_stored_when_the_time_to_stop_is_over_is_accepted(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the client would send it again, and it would be done twice."""
    begun, may_go, add = threading.Event(), threading.Event(), Store.add

    def slowly(store: Store, request: StoredRequest) -> None:
        begun.set()
        assert may_go.wait(PATIENCE_S)
        add(store, request)

    async def accept_and_be_cancelled(service: Running) -> dict[str, Any]:
        upload = tmp_path / "upload"
        upload.write_bytes(WAV)
        fields = read_fields([("webhook", receiver.url)], service.settings, is_form=True)
        task = asyncio.ensure_future(service.app.state.background.accept("req_1", "", upload, fields))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        task.cancel()
        await asyncio.sleep(0)
        may_go.set()
        found: dict[str, Any] = await task
        return found

    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        monkeypatch.setattr(Store, "add", slowly)
        answer = asyncio.run_coroutine_threadsafe(accept_and_be_cancelled(service), service.loop).result(PATIENCE_S)
        assert answer["inference_status"]["status"] == "queued"
        assert [message["request_id"] for message in received(receiver)] == ["req_1"]


def test_nothing_is_begun_any_more_when_it_is_told_to_stop(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.may_go.clear()
    with running(model, tmp_path, batch_size=1, webhook_allow_hosts=(receiver.host,)) as service:
        ids = [service.post(WAV, webhook=receiver.url).json()["request_id"] for _ in range(2)]
        wait_until(lambda: state(service, ids[0])["inference_status"]["status"] == "running")
        service.service.is_stopping = True
        steps.may_go.set()
        received(receiver)
        assert state(service, ids[1])["inference_status"]["status"] == "queued"


def test_recordings_that_wait_are_bounded_in_size(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.may_go.clear()
    room_mb = 1.5 * len(WAV) / 1e6
    with running(model, tmp_path, max_stored_mb=room_mb, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        assert service.post(WAV, webhook=receiver.url).status_code == 503
        steps.may_go.set()
        received(receiver)


def test_recordings_of_one_token_leave_the_others_some_disk_space(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    anna, berta = (add_token(tmp_path / "tokens", name) for name in ("anna", "berta"))
    steps.may_go.clear()
    room_mb = 4.4 * len(WAV) / 1e6
    settings: dict[str, Any] = {"max_stored_mb": room_mb, "webhook_allow_hosts": (receiver.host,)}
    with running(model, tmp_path, no_auth=False, **settings) as service:
        service.client.headers["Authorization"] = f"Bearer {anna}"
        answers = [service.post(WAV, webhook=receiver.url) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert "of yours" in answers[-1].json()["detail"]
        service.client.headers["Authorization"] = f"Bearer {berta}"
        assert [service.post(WAV, webhook=receiver.url).status_code for _ in range(2)] == [202, 503]
        steps.may_go.set()
        received(receiver, 4)


def test_one_whose_requests_run_in_all_places_leaves_the_others_one(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    anna, berta = (add_token(tmp_path / "tokens", name) for name in ("anna", "berta"))
    steps.may_go.clear()
    settings: dict[str, Any] = {"batch_size": 2, "webhook_allow_hosts": (receiver.host,)}
    with running(model, tmp_path, no_auth=False, **settings) as service:

        def post() -> str:
            return str(service.post(WAV, webhook=receiver.url).json()["request_id"])

        def status(request_id: str) -> str:
            return str(state(service, request_id)["inference_status"]["status"])

        service.client.headers["Authorization"] = f"Bearer {anna}"
        first, second, third = (post() for _ in range(3))
        wait_until(lambda: status(first) == status(second) == "running")
        service.client.headers["Authorization"] = f"Bearer {berta}"
        others = [post(), post()]
        wait_until(lambda: status(others[0]) == "running")
        wait_until(lambda: service.service.pool.jobs == 3)
        assert status(others[1]) == "queued"
        service.client.headers["Authorization"] = f"Bearer {anna}"
        assert status(third) == "queued"
        steps.may_go.set()
        received(receiver, 5)


def test_one_is_tried_again_after_memory_was_short(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perhaps because of another recording, since all that are being decoded end then."""

    def fail_first(number: int) -> None:
        if number == 1:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("whisperlite.server.background._AGAIN_S", 0.01)
    steps.before = fail_first
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        (result,) = received(receiver)
    assert result["inference_status"]["status"] == "succeeded"
    assert len(receiver.messages) == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")]
)
def test_one_is_tried_again_however_often_the_system_gives_too_little(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As when strangers hold all possible connections."""
    monkeypatch.setattr("whisperlite.server.background._AGAIN_S", 0.01)
    monkeypatch.setattr("whisperlite.server.background._MOST_STARTS", 2)
    tries = []
    popen = subprocess.Popen

    def fail(*arguments: Any, **named: Any) -> Any:
        tries.append(1)
        if len(tries) < 5:
            raise error
        return popen(*arguments, **named)

    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        monkeypatch.setattr("whisperlite.audio.ffmpeg.subprocess.Popen", fail)
        assert service.post(WAV).status_code == 503
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        (result,) = received(receiver)
    assert (result["inference_status"]["status"], len(tries)) == ("succeeded", 5)


def test_a_recording_that_there_were_no_files_for_is_not_blamed() -> None:
    error = AudioDecodeError("the upload could not be copied")
    error.__cause__ = OSError(errno.EMFILE, "of open files")
    assert problem_of(error).status == 503
    assert problem_of(AudioDecodeError("no sound")).status == 422


def test_one_for_which_memory_is_always_short_is_told_so_in_the_end(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("whisperlite.server.background._AGAIN_S", 0.01)
    monkeypatch.setattr("whisperlite.server.background._MOST_STARTS", 3)
    steps.before = fail
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        (result,) = received(receiver)
    assert (result["inference_status"]["status"], steps.count) == ("failed", 3)
    assert "not enough memory" in result["problem"]["detail"]


def test_what_is_not_done_when_it_stops_is_done_after_the_next_start(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    def stand_still(_: int) -> None:
        time.sleep(0.02)

    steps.before = stand_still
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        request_id = service.post(LONG, webhook=receiver.url).json()["request_id"]
        wait_until(lambda: state(service, request_id)["inference_status"]["status"] == "running")
    assert receiver.messages == []
    steps.before = lambda _: None
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        (result,) = received(receiver)
    assert (result["request_id"], result["duration"]) == (request_id, 300.0)
    assert len(receiver.messages) == 1


def test_what_waits_is_not_transcribed_by_another_model(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_still(_: int) -> None:
        time.sleep(0.02)

    steps.before = stand_still
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        service.post(LONG, webhook=receiver.url)
    steps.before = lambda _: None
    monkeypatch.setattr(Whisper, "name", "tiny")
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)):
        (result,) = received(receiver)
    assert result["inference_status"]["status"] == "failed"
    assert (result["problem"]["status"], result["text"]) == (404, None)
    assert "is not served any more; available: tiny, " in result["problem"]["detail"]


def test_ends_in_good_order_count_against_no_request_and_kills_do(
    model: Whisper, tmp_path: Path, receiver: Receiver, steps: Steps
) -> None:
    steps.before = lambda _: time.sleep(0.02)
    ids: list[str] = []
    for _ in range(3):
        with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
            if not ids:
                ids.append(service.post(LONG, webhook=receiver.url).json()["request_id"])
            wait_until(lambda: state(service, ids[0])["inference_status"]["status"] == "running")
    store = Store(tmp_path)
    try:
        found = store.find(ids[0])
        assert found is not None
        assert found.starts == 0
        assert store.begin(ids[0]).starts == 1
    finally:
        store.close()


def test_when_nothing_runs_them_any_more_none_is_accepted(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Background) -> None:
        raise StoreError("damaged")

    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        monkeypatch.setattr(Background, "_start_what_fits", fail)
        service.post(WAV, webhook=receiver.url)
        wait_until(lambda: service.client.get("/readyz").status_code == 503)
        assert service.post(WAV, webhook=receiver.url).status_code == 503
        assert service.post(WAV).status_code == 200


def test_what_a_device_fails_is_done_after_the_next_start(
    model: Whisper,
    tmp_path: Path,
    receiver: Receiver,
    steps: Steps,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("whisperlite.api.failures.device_responds", lambda _: False)
    steps.before = fail
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        request_id = service.post(WAV, webhook=receiver.url).json()["request_id"]
        wait_until(lambda: "waits for the next start" in caplog.text)
        assert service.post(WAV, webhook=receiver.url).status_code == 503
        assert state(service, request_id)["inference_status"]["status"] == "queued"
    assert receiver.messages == []
    steps.before = lambda _: None
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)):
        (result,) = received(receiver)
    assert (result["request_id"], result["inference_status"]["status"]) == (request_id, "succeeded")


def test_look_ups_are_counted_to_the_token_that_asked(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the request is accepted, and when its webhook is delivered."""
    owners, resolve = list[str](), Addresses.resolve

    async def noting(addresses: Addresses, host: str, port: int, owner: str = "") -> list[str]:
        owners.append(owner)
        return await resolve(addresses, host, port, owner)

    monkeypatch.setattr(Addresses, "resolve", noting)
    token = add_token(tmp_path / "tokens", "anna")
    with running(model, tmp_path, no_auth=False, webhook_allow_hosts=(receiver.host,)) as service:
        service.client.headers["Authorization"] = f"Bearer {token}"
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        received(receiver)
    assert owners == [hash_of(token)] * 2


def test_look_ups_of_who_is_alone_are_not_held_back(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisperlite.server.webhooks.addresses._MOST_OF_ONE", 0)
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        received(receiver)


def test_one_that_ends_the_service_again_and_again_is_given_up(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisperlite.server.background._MOST_STARTS", 0)
    with running(model, tmp_path, webhook_allow_hosts=(receiver.host,)) as service:
        assert service.post(WAV, webhook=receiver.url).status_code == 202
        (result,) = received(receiver)
    assert result["inference_status"]["status"] == "failed"


def test_what_ran_at_several_kills_runs_alone_the_least_often_begun_first(
    model: Whisper, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that kills count against the one that brings them about, and the others are done meanwhile."""
    starts = {"req_new": 0, "req_once": 1, "req_often": 5, "req_twice": 2}
    (tmp_path / "stored").mkdir()
    store = Store(tmp_path)
    for number, (request_id, count) in enumerate(starts.items()):
        (tmp_path / "stored" / request_id).write_bytes(WAV)
        fields = {"language": "en", "max_new_tokens": 4}
        store.add(StoredRequest(request_id, "", float(number), "queued", request_id, fields, receiver.url))
        for _ in range(count):
            store.begin(request_id)
    store.close()

    begun: list[tuple[str, list[str]]] = []
    answer = Background._answer

    async def note(background: Background, request: StoredRequest) -> Any:
        begun.append((request.id, sorted(background._running)))
        return await answer(background, request)

    monkeypatch.setattr(Background, "_answer", note)
    with running(model, tmp_path, batch_size=4, webhook_allow_hosts=(receiver.host,)):
        received(receiver, 4)
    assert begun[:2] == [("req_twice", ["req_twice"]), ("req_often", ["req_often"])]
    assert {request_id for request_id, _ in begun[2:]} == {"req_new", "req_once"}
    assert ["req_new", "req_once"] in [together for _, together in begun]


# A process that is killed


@pytest.fixture
def served(tmp_path: Path, receiver: Receiver) -> Callable[[], Any]:
    flags = (
        "--model",
        "tiny.en",
        "--no-auth",
        "--webhook-allow-hosts",
        receiver.host,
        "--webhook-first-retry-s",
        "0.1",
    )
    return lambda: serving(tmp_path, *flags)


def post(process: Process, audio: bytes, webhook: str) -> str:
    fields = {**FORM, "webhook": webhook}
    path = INFERENCE.replace("small", "tiny.en")
    answer = httpx2.post(process.url + path, files={"audio": ("a.wav", audio)}, data=fields, timeout=PATIENCE_S)
    assert answer.status_code == 202
    return str(answer.json()["request_id"])


def test_kills_in_the_middle_lose_no_request(served: Callable[[], Any], receiver: Receiver) -> None:
    """While requests are transcribed, while the receiver does not answer, and while it fails."""
    receiver.hangs = True
    with served() as process:
        ids = {post(process, WAV, receiver.url), *(post(process, LONGER, receiver.url) for _ in range(3))}
        wait_until(lambda: len(receiver.messages) > 0)
        process.kill()
    receiver.hangs = False
    receiver.release.set()
    receiver.statuses = [500]
    before = len(receiver.messages)
    with served() as process:
        ids.add(post(process, WAV, receiver.url))
        wait_until(lambda: len(receiver.messages) > before + 1)
        process.kill()
    receiver.statuses = [200]
    receiver.messages.clear()
    with served():
        wait_until(lambda: {message.headers["webhook-id"] for message in receiver.messages} == ids)
    for message in receiver.messages:
        assert json.loads(message.body)["request_id"] == message.headers["webhook-id"]
        assert json.loads(message.body)["inference_status"]["status"] == "succeeded"
    assert len(receiver.messages) == len(ids)
