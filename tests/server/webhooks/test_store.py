"""The store is durable and atomic, and belongs to one process."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from whisperlite.server.webhooks.store import (
    _SCHEMA,
    NoSuchRequestError,
    StorageFullError,
    Store,
    StoredRequest,
    StoreError,
    StoreInUseError,
)

REQUEST = StoredRequest(
    id="one",
    owner="anna",
    created=100.0,
    status="queued",
    audio="one.mp3",
    fields={"language": "de", "temperature": [0.0, 0.2], "initial_prompt": "Grüße \ud800"},
    webhook="https://example.com/hook",
)
ANSWER = {"text": "Grüße", "segments": [{"id": 0, "start": 0.5}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def finished(store: Store, *ids: str) -> None:
    for place, id in enumerate(ids):
        store.add(replace(REQUEST, id=id, created=float(place), audio=f"{id}.mp3"))
        store.finish(id, ANSWER, "done")


def test_a_request_is_found_as_it_was_added(store: Store) -> None:
    store.add(REQUEST)
    assert store.find("one") == REQUEST


def test_an_unknown_request_is_not_found(store: Store) -> None:
    assert store.find("one") is None


def test_an_id_is_taken_once(store: Store) -> None:
    store.add(REQUEST)
    with pytest.raises(ValueError, match="'one'"):
        store.add(replace(REQUEST, owner="bert"))
    assert store.find("one") == REQUEST


def test_the_queue_is_oldest_first_and_without_what_is_finished(store: Store) -> None:
    for id, created in (("new", 3.0), ("old", 1.0), ("middle", 2.0), ("finished", 0.0)):
        store.add(replace(REQUEST, id=id, created=created))
    store.finish("finished", ANSWER, "failed")
    assert store.queued() == ["old", "middle", "new"]


def test_owners_take_turns_in_the_queue_however_much_one_has_in_it(store: Store) -> None:
    for created, id in enumerate(("a1", "a2", "a3", "b1", "c1", "b2")):
        store.add(replace(REQUEST, id=id, owner=id[0], created=float(created)))
    assert store.queued() == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert list(store.queued_owners()) == store.queued()


def test_each_start_is_counted_and_stored(store: Store) -> None:
    store.add(REQUEST)
    assert store.begin("one").starts == 1
    assert store.begin("one") == replace(REQUEST, starts=2) == store.find("one")


def test_what_was_begun_often_is_listed_the_least_often_begun_first(store: Store) -> None:
    for number, (id, starts) in enumerate([("often", 3), ("done", 3), ("twice", 2), ("once", 1), ("too", 2)]):
        store.add(replace(REQUEST, id=id, created=float(number)))
        for _ in range(starts):
            store.begin(id)
    store.finish("done", {}, "done")
    assert store.queued_after_starts(2) == ["twice", "too", "often"]


def test_what_is_not_queued_cannot_begin(store: Store) -> None:
    finished(store, "one")
    for id in ("one", "two"):
        with pytest.raises(NoSuchRequestError, match=id):
            store.begin(id)


def test_a_finished_request_has_its_answer_and_is_due_at_once(store: Store) -> None:
    finished(store, "one")
    found = store.find("one")
    assert found is not None
    assert (found.status, found.answer) == ("done", ANSWER)
    assert found.finished is not None
    assert store.due(0.0, 10) == [found]
    assert store.next_due() == 0.0


def test_what_is_not_queued_cannot_be_finished(store: Store) -> None:
    finished(store, "one")
    with pytest.raises(NoSuchRequestError, match="one"):
        store.finish("one", {"text": "other"}, "done")
    with pytest.raises(NoSuchRequestError, match="two"):
        store.finish("two", ANSWER, "done")


def test_an_answer_that_json_does_not_have_changes_nothing(store: Store) -> None:
    store.add(REQUEST)
    with pytest.raises(ValueError):
        store.finish("one", {"avg_logprob": math.nan}, "done")
    assert store.find("one") == REQUEST


def test_a_failed_attempt_is_due_again_when_it_says(store: Store) -> None:
    finished(store, "one")
    store.record_attempt("one", "The receiver answered 500.", 10.0, 20.0)
    found = store.find("one")
    assert found is not None
    assert (found.attempts, found.last_error, found.next_attempt) == (1, "The receiver answered 500.", 20.0)
    assert store.next_due() == 20.0
    assert store.due(19.9, 10) == []
    assert store.due(20.0, 10) == [found]


def test_what_a_clock_that_was_set_back_has_scheduled_is_due(store: Store) -> None:
    finished(store, "one", "two")
    store.record_attempt("one", "no", now=86400.0, next_attempt=86403.0)
    store.record_attempt("two", "no", now=0.0, next_attempt=3600.0)
    assert [each.id for each in store.due(0.0, 10, longest_s=3600.0)] == ["one"]
    assert [each.id for each in store.due(0.0, 10)] == []


def test_an_answer_of_the_future_is_as_old_as_its_first_attempt(store: Store) -> None:
    """As when the clock was set back between the two; otherwise it would be given up too late."""
    finished(store, "one")
    store.record_attempt("one", "no", now=100.0, next_attempt=103.0)
    store.record_attempt("one", "no", now=103.0, next_attempt=110.0)
    found = store.find("one")
    assert found is not None
    assert found.finished == 100.0


def test_what_is_delivered_is_not_due(store: Store) -> None:
    finished(store, "one")
    store.record_attempt("one", "no", 10.0, 20.0)
    store.record_attempt("one", None, 20.0, None)
    found = store.find("one")
    assert found is not None
    assert (found.attempts, found.delivered, found.gave_up, found.last_error) == (2, 20.0, None, "")
    assert (store.due(1e12, 10), store.next_due()) == ([], None)


def test_what_is_given_up_is_not_due(store: Store) -> None:
    finished(store, "one")
    store.record_attempt("one", "The receiver answered 410.", 10.0, None)
    found = store.find("one")
    assert found is not None
    assert (found.delivered, found.gave_up, found.last_error) == (None, 10.0, "The receiver answered 410.")
    assert (store.due(1e12, 10), store.next_due()) == ([], None)


def test_new_answers_are_due_before_repeats_and_no_more_than_asked_for(store: Store) -> None:
    finished(store, "a", "b", "c")
    store.record_attempt("a", "no", 1.0, 2.0)
    assert [one.id for one in store.due(5.0, 10)] == ["b", "c", "a"]
    assert [one.id for one in store.due(5.0, 2)] == ["b", "c"]


def test_receivers_take_turns(store: Store) -> None:
    for id, host in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")):
        store.add(replace(REQUEST, id=id, webhook=f"https://{host}.test/{id}"))
        store.finish(id, ANSWER, "done")
    assert [one.id for one in store.due(0.0, 10)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_owners_take_turns_however_many_receivers_one_has(store: Store) -> None:
    for id, owner in (("a1", "anna"), ("a2", "anna"), ("a3", "anna"), ("b1", "ben"), ("b2", "ben")):
        store.add(replace(REQUEST, id=id, owner=owner, webhook=f"https://{id}.test/"))
        store.finish(id, ANSWER, "done")
    assert [one.id for one in store.due(0.0, 10)] == ["a1", "b1", "a2", "b2", "a3"]


def test_what_is_not_taken_makes_room_for_what_comes_after_it(store: Store) -> None:
    asked: list[tuple[str, str, str]] = []

    def takes(id: str, owner: str, receiver: str) -> bool:
        asked.append((id, owner, receiver))
        return receiver != "a.test"

    for id, host in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("d1", "d")):
        store.add(replace(REQUEST, id=id, webhook=f"https://{host}.test/{id}"))
        store.finish(id, ANSWER, "done")
    assert [one.id for one in store.due(0.0, 2, takes)] == ["b1", "c1"]
    assert asked == [("a1", "anna", "a.test"), ("b1", "anna", "b.test"), ("c1", "anna", "c.test")]


def test_the_next_after_a_time_is_later_than_that(store: Store) -> None:
    finished(store, "a", "b")
    store.record_attempt("a", "no", 1.0, 7.0)
    assert store.next_due() == 0.0
    assert store.next_due(0.0) == 7.0
    assert store.next_due(7.0) is None


def test_pending_is_what_is_queued_or_undelivered(store: Store) -> None:
    finished(store, "delivered", "given up", "due")
    store.add(replace(REQUEST, id="queued"))
    store.record_attempt("delivered", None, 1.0, None)
    store.record_attempt("given up", "no", 1.0, None)
    assert store.pending() == 2


def test_what_ended_before_a_time_is_forgotten(store: Store) -> None:
    finished(store, "delivered", "given up", "late", "due")
    store.add(replace(REQUEST, id="queued"))
    store.record_attempt("delivered", None, 1.0, None)
    store.record_attempt("given up", "no", 2.0, None)
    store.record_attempt("late", None, 3.0, None)
    store.forget(3.0)
    kept = [id for id in ("delivered", "given up", "late", "due", "queued") if store.find(id) is not None]
    assert kept == ["late", "due", "queued"]


def test_what_is_removed_is_gone_whatever_its_state(store: Store) -> None:
    finished(store, "done", "kept")
    store.add(replace(REQUEST, id="queued"))
    for id in ("done", "queued", "unknown"):
        store.remove(id)
    assert [id for id in ("done", "queued", "kept") if store.find(id) is not None] == ["kept"]
    assert store.queued() == []


def test_attempts_of_unknown_requests_are_errors(store: Store) -> None:
    with pytest.raises(NoSuchRequestError, match="one"):
        store.record_attempt("one", None, 1.0, None)


def test_it_is_used_from_many_threads(store: Store) -> None:
    def work(name: int) -> None:
        for place in range(20):
            id = f"{name}-{place}"
            store.add(replace(REQUEST, id=id))
            store.finish(id, ANSWER, "done")
            store.record_attempt(id, None, 1.0, None)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.pending() == 0
    assert store.find("3-19") is not None


def test_the_files_are_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    store = Store(folder)
    store.add(REQUEST)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    store.close()
    assert modes == {"requests.sqlite3": 0o600, "requests.sqlite3-wal": 0o600}


def test_what_was_stored_is_there_after_it_was_opened_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(REQUEST)
    store.close()
    again = Store(tmp_path)
    assert again.find("one") == REQUEST
    again.close()


def test_a_second_store_on_the_folder_is_refused_and_the_first_goes_on(store: Store, tmp_path: Path) -> None:
    store.add(REQUEST)
    with pytest.raises(StoreInUseError, match=r"requests\.sqlite3 is in use"):
        Store(tmp_path)
    # The refusal in this process must not have ended its lock.
    other = run_python(f"Store(Path({str(tmp_path)!r}))")
    assert other.returncode == 1
    assert "StoreInUseError" in other.stderr
    store.finish("one", ANSWER, "done")


def test_an_answer_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    killed = run_python(f"""
store = Store(Path({str(tmp_path)!r}))
store.add(StoredRequest("one", "anna", 1.0, "queued", "one.mp3", {{}}, "https://example.com/"))
store.add(StoredRequest("two", "anna", 2.0, "queued", "two.mp3", {{}}, "https://example.com/"))
store.finish("one", {{"text": "done"}}, "done")
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = Store(tmp_path)
    (due,) = store.due(0.0, 10)
    assert (due.id, due.answer) == ("one", {"text": "done"})
    assert store.queued() == ["two"]
    store.close()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    imports = (
        "import os, signal\nfrom pathlib import Path\n"
        "from whisperlite.server.webhooks.store import Store, StoredRequest\n"
    )
    return subprocess.run([sys.executable, "-c", imports + code], capture_output=True, text=True, timeout=60)


def without_room(store: Store) -> None:
    """Allow no further pages, so that SQLite raises the error of a full disk."""
    database = store._database
    ((pages,),) = database.execute("PRAGMA page_count").fetchall()
    database.execute(f"PRAGMA max_page_count = {pages}")


def with_room(store: Store) -> None:
    store._database.execute("PRAGMA max_page_count = 1000000")


def test_on_a_full_disk_nothing_changes_and_later_it_goes_on(store: Store) -> None:
    store.add(REQUEST)
    without_room(store)
    large = {"text": "x" * 100_000}
    with pytest.raises(StorageFullError, match=r"requests\.sqlite3 cannot be written"):
        store.finish("one", large, "done")
    assert store.find("one") == REQUEST
    with pytest.raises(StorageFullError):
        store.add(replace(REQUEST, id="two", fields=large))
    assert store.queued() == ["one"]
    with_room(store)
    store.finish("one", large, "done")
    assert [one.answer for one in store.due(0.0, 10)] == [large]


def test_a_disk_that_takes_no_more_is_a_full_one(tmp_path: Path) -> None:
    done = run_python(f"""
import resource
from whisperlite.server.webhooks.store import StorageFullError
store = Store(Path({str(tmp_path)!r}))
store.add(StoredRequest("one", "anna", 1.0, "queued", "one.mp3", {{}}, "https://example.com/"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    store.finish("one", {{"text": "x" * 400_000}}, "done")
except StorageFullError:
    assert store.queued() == ["one"]
    store.finish("one", {{"text": "x"}}, "done")
    print(store.find("one").answer)
""")
    assert (done.stdout, done.stderr) == ("{'text': 'x'}\n", "")


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "requests.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"requests\.sqlite3 is damaged"):
        Store(tmp_path)


def test_what_to_do_about_a_file_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def read_only(path: Path, **named: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(path, **named)
        database.execute("PRAGMA query_only = ON")
        return database

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(StoreError, match=r"readonly database\. Let the user that the service runs as write there"):
        Store(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / "requests.sqlite3")
    database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(StoreError, match="has the format 3"):
        Store(tmp_path)


def test_an_older_format_is_brought_up_to_date(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "requests.sqlite3")
    table, *indexes = (_SCHEMA[0].partition(",\n        model")[0] + ")", *_SCHEMA[1:3])
    for statement in (table, *indexes, "PRAGMA user_version = 1"):
        database.execute(statement)
    row = {**asdict(REQUEST), "fields": json.dumps(REQUEST.fields), "receiver": REQUEST.receiver}
    del row["model"]
    places = ", ".join(f":{name}" for name in row)
    database.execute(f"INSERT INTO requests ({', '.join(row)}) VALUES ({places})", row)
    database.commit()
    database.close()
    for _ in range(2):
        after = Store(tmp_path)
        assert after.find("one") == REQUEST
        assert _indexes(after) == {"undelivered", "queued", "pending", "delivered", "gave_up"}
        after.close()


def _indexes(store: Store) -> set[str]:
    return {name for (name,) in store._read("SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL")}


def test_what_is_counted_again_and_again_reads_no_answers(store: Store) -> None:
    ways: list[str] = []
    store._database.set_trace_callback(lambda statement: ways.append(statement))
    store.pending()
    store.pending("anna")
    store.forget(0.0)
    store._database.set_trace_callback(None)
    queries = [each for each in ways if each.startswith(("SELECT", "DELETE"))]
    assert len(queries) == 3
    for query in queries:
        plan = " ".join(str(row[3]) for row in store._read(f"EXPLAIN QUERY PLAN {query}"))
        assert "SCAN requests" not in plan.replace("SCAN requests USING COVERING INDEX pending", "")


def test_every_write_is_synchronised(store: Store) -> None:
    assert store._database.execute("PRAGMA synchronous").fetchall() == [(2,)]
    assert store._database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
