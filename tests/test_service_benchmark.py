"""What `benchmarks.service` sends, and what it concludes from the answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.service.clients import Answer, Endpoint, ask, send
from benchmarks.service.clips import Clip, in_order
from benchmarks.service.processes import held_bytes
from benchmarks.service.report import (
    PASSIVE,
    SPREAD,
    Run,
    as_markdown,
    conclude,
    judge,
    memory_around,
    percentile,
    rows_to_keep,
    summarise,
)

SHORT, LONG = Clip("short.wav", "a", "en", 6.0), Clip("long.flac", "b", "de", 60.0)
TEXTS = {"a": " Short.", "b": " Long."}


def answer(clip: Clip = SHORT, ended_s: float = 2.0, **changes: Any) -> Answer:
    return replace(Answer(clip, 0.0, ended_s, TEXTS[clip.sha256]), **changes)


def clips_of(short: int, long: int) -> list[Clip]:
    clips = [SHORT] * short + [LONG] * long
    return [replace(clip, sha256=f"{index}") for index, clip in enumerate(clips)]


def run(*answers: Answer, megabytes: tuple[float, float] = (500.0, 500.0)) -> Run:
    warm, end = (round(each * 1e6) for each in megabytes)
    return Run(10.0, answers, [(1.0, 10**9), (3.0, warm), (10.0, end)])


# What is sent


def test_every_clip_comes_once_in_each_pass_and_the_order_is_the_same_for_the_same_seed() -> None:
    clips = clips_of(7, 3)
    first = list(islice(in_order(clips, seed=1), 20))
    assert sorted(first[:10], key=clips.index) == clips == sorted(first[10:], key=clips.index)
    assert first[:10] != first[10:]
    assert first == list(islice(in_order(clips, seed=1), 20))
    assert first != list(islice(in_order(clips, seed=2), 20))


def test_long_clips_are_spread_over_a_pass() -> None:
    for start in range(0, 36, 4):
        stretch = list(islice(in_order(clips_of(9, 3)), start, start + 4))
        assert sum(not clip.is_short for clip in stretch) == 1


class Scripted(BaseHTTPRequestHandler):
    """Answers with the statuses of a list, one after the other, then with 200; at 0 it hangs up."""

    statuses: ClassVar[list[int]] = []
    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            self.close_connection = True
            return
        body = b'{"text": " Short."}' if status == 200 else b"no"
        self.send_response(status)
        self.send_header("Content-Length", f"{len(body)}")
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def scripted(*statuses: int) -> Iterator[Endpoint]:
    Scripted.statuses, Scripted.bodies = list(statuses), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Endpoint(server.server_port, "/transcribe", "audio")
        server.shutdown()
        thread.join()


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "short.wav").write_bytes(b"\r\n--sound")
    return replace(SHORT, path=str(tmp_path / "short.wav"))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), (" Short.", None, False, 0)),
        ((503, 429), (" Short.", None, False, 2)),
        ((500,), (None, "500: no", False, 0)),
        ((503, 0), (None, "RemoteDisconnected", True, 1)),
    ],
)
def test_a_request_is_repeated_when_it_is_refused_and_lost_when_nothing_comes(
    statuses: tuple[int, ...], expected: tuple[str | None, str | None, bool, int], clip: Clip
) -> None:
    with scripted(*statuses) as endpoint:
        found = ask(clip, endpoint, time.perf_counter())
    assert (found.text, found.error, found.is_lost, found.refused) == expected


def test_what_is_refused_to_the_end_is_an_error(clip: Clip) -> None:
    with scripted(503, 503) as endpoint:
        found = ask(clip, endpoint, time.perf_counter(), give_up_s=0.0)
    assert (found.error, found.is_lost) == ("503: no", False)


def test_a_form_has_the_options_and_the_recording_as_it_is(clip: Clip) -> None:
    with scripted() as endpoint:
        ask(clip, endpoint, time.perf_counter())
    (body,) = Scripted.bodies
    parts = body.split(b"--part-of-a-form-5d1c0a")
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [b"en\r\n", b"5\r\n", b"\r\n--sound\r\n"]
    assert b'name="audio"; filename="short.wav"' in parts[3]


def test_clients_stop_beginning_requests_when_the_time_is_over_and_wait_for_those_that_run(clip: Clip) -> None:
    with scripted() as endpoint:
        answers = send(cycle([clip]), endpoint, clients=3, seconds=0.2)
    assert len(answers) == len(Scripted.bodies) >= 3
    assert all(answer.text == " Short." and answer.began_s < 0.3 for answer in answers)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured on Linux only")
def test_memory_is_that_of_the_process_and_of_those_beneath_it() -> None:
    mine = held_bytes(os.getpid())
    held = "import sys; held = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert held_bytes(os.getpid()) - mine > 60 << 20
        child.communicate()
    assert held_bytes(child.pid) == 0


# Conclusions


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5.0), (0.95, 10.0), (0.99, 10.0), (0.01, 1.0)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(10, 0, -1)], share) == expected


def test_throughput_is_audio_that_was_transcribed_over_the_time_to_the_last_answer() -> None:
    found = run(answer(), answer(LONG, ended_s=12.0), answer(LONG, text=None, error="500"))
    assert (found.audio_s, found.wall_s, found.throughput) == (66.0, 12.0, 5.5)
    assert run().throughput == 0.0


def test_throughput_in_time_leaves_out_what_was_answered_later() -> None:
    found = run(answer(), answer(LONG, ended_s=12.0), answer(SHORT, ended_s=10.0), answer(LONG, text=None, error="500"))
    assert found.throughput_in_time == 1.2


def test_memory_is_looked_at_when_all_is_warm_and_at_the_end_of_the_time() -> None:
    found = run(answer(), megabytes=(400.0, 420.0))
    assert (memory_around(found, 0.3), memory_around(found, 1.0), memory_around(found, 0.6)) == (4e8, 4.2e8, None)


def side(*throughput: float) -> dict[str, Any]:
    return {"throughput": list(throughput)}


def test_ratios_are_those_of_medians_and_what_was_not_measured_is_not_judged() -> None:
    rows = {"whisperlite": side(8.5, 1.0, 100.0), "transcribe_many": side(10.0), "faster-whisper": side(4.5)}
    verdicts = [(row["against"], row["ratio"], row["verdict"]) for row in judge(rows)]
    assert verdicts == [("transcribe_many", 0.85, "pass"), ("faster-whisper", 1.889, "miss")]
    assert judge({"whisperlite": side(8.5)}) == judge({"faster-whisper": side(8.5)}) == []


def test_the_fastest_way_of_the_peer_is_the_one_with_a_target() -> None:
    rows = {"whisperlite": side(9.0), "faster-whisper": side(4.5), SPREAD: side(5.0), PASSIVE: side(3.0)}
    found = [(row["against"], row["required"], row["verdict"]) for row in judge(rows)]
    assert found == [("faster-whisper", None, "not asked"), (SPREAD, 2.0, "miss"), (PASSIVE, None, "not asked")]


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"whisperlite": [run(answer())]}, None),
        ({"whisperlite": [run(answer(refused=3))]}, None),
        ({"whisperlite": [run(answer(text=" Other."))]}, "whisperlite: 1 texts are not those of transcribe: short.wav"),
        ({"transcribe_many": [run(answer(text=""))]}, "transcribe_many: 1 texts are not those"),
        ({"faster-whisper": [run(answer(ended_s=5.0, text=" Other."))]}, None),
        ({"whisperlite": [run(answer(), answer(text=None, error="500: no"))]}, "whisperlite: 1 × 500: no"),
        ({"whisperlite": [run(answer(), answer(text=None, error="Gone", is_lost=True))]}, "whisperlite: 1 lost, Gone"),
        ({"whisperlite": [run(answer(), megabytes=(500.0, 551.0))]}, "memory grew by 10.2%, allowed 10%"),
        ({"whisperlite": [run(answer(), megabytes=(500.0, 549.0))]}, None),
        ({"faster-whisper": [run(answer(ended_s=5.0), megabytes=(500.0, 900.0))]}, None),
        ({"faster-whisper": [run(answer(ended_s=3.0))]}, "throughput: 1.50 × faster-whisper, required 2"),
        ({"transcribe_many": [run(answer(ended_s=1.6))]}, "throughput: 0.80 × transcribe_many, required 0.85"),
        ({"faster-whisper": [run()]}, "faster-whisper: nothing was transcribed"),
    ],
)
def test_it_passes_unless_something_is_not_as_it_should_be(changed: dict[str, list[Run]], failure: str | None) -> None:
    runs = {
        "whisperlite": [run(answer())],
        "transcribe_many": [run(answer())],
        "faster-whisper": [run(answer(ended_s=5.0))],
    }
    summary = summarise(runs | changed, TEXTS)
    assert summary["passes"] is (failure is None)
    assert [failure in each for each in summary["failures"]] == ([True] if failure else []), summary["failures"]


ABOUT = {
    "model": "base",
    "machine": "a machine",
    "commit": "c" * 40 + " with changes",
    "date": "2026-01-01",
    "versions": {"whisperlite": {"torch": "2"}},
    "threads": 2,
    "clients": 32,
    "seconds": 10.0,
    "repeats": 1,
    "clips": [clip.to_dict() for clip in (SHORT, LONG)],
}


def test_sides_of_an_earlier_run_are_kept_and_judged_with_the_new_ones() -> None:
    old = {"whisperlite": [run(answer())], "faster-whisper": [run(answer(ended_s=5.0))]}
    earlier = conclude(ABOUT, {"float32": summarise(old, TEXTS)})
    now = {"commit": "d" * 40, "date": "2026-02-02"}
    kept = rows_to_keep(earlier, ABOUT | now)
    new = {SPREAD: [run(answer(ended_s=3.0)), run(answer(ended_s=4.0))]}
    summary = conclude(ABOUT | now, {"float32": summarise(new, TEXTS, about=now, kept=kept["float32"])})
    found = summary["compute_types"]["float32"]
    assert list(found["sides"]) == ["whisperlite", "faster-whisper", SPREAD]
    assert [(row["against"], row["verdict"]) for row in found["verdicts"]] == [
        ("faster-whisper", "not asked"),
        (SPREAD, "miss"),
    ]
    page = as_markdown(summary)
    assert "commit cccccccccc with changes (whisperlite in float32, faster-whisper in float32); 2026-02-02" in page
    assert "Each was measured 1 to 2 times" in page


@pytest.mark.parametrize("changed", [{"machine": "another"}, {"clips": []}, {"seconds": 20.0}, {"clients": 1}])
def test_runs_under_other_conditions_are_not_kept(changed: dict[str, Any]) -> None:
    earlier = conclude(ABOUT, {"float32": summarise({"whisperlite": [run(answer())]}, TEXTS)})
    with pytest.raises(SystemExit, match=next(iter(changed))):
        rows_to_keep(earlier, ABOUT | changed)


def test_the_page_says_how_often_each_side_was_measured_and_which_were_not() -> None:
    twice = {"whisperlite": [run(answer()), run(answer(ended_s=3.0))]}
    page = as_markdown(conclude(ABOUT, {"float32": summarise(twice, TEXTS)}))
    assert "Each was measured 2 times" in page
    assert "| whisperlite | 2 | 2 | 0 | 0 | 0 | 0 | 12 | 5 | 2.50 (2.00 to 3.00) | 0.60 (0.60 to 0.60) |" in page
    assert page.index("Not measured here:") < page.index(f"- *{SPREAD}*") < page.index("## In float32")
    once = as_markdown(conclude(ABOUT, {"float32": summarise({"whisperlite": [run(answer())]}, TEXTS)}))
    assert "Each was measured once, so nothing is known about the spread" in once


def test_the_page_names_the_ratios_the_latencies_and_what_failed() -> None:
    runs = {
        "whisperlite": [run(answer(), answer(LONG, ended_s=9.0), answer(text=None, error="500: no"))],
        "transcribe_many": [run(answer(), answer(LONG, ended_s=10.0))],
        "faster-whisper": [run(answer(ended_s=12.0), answer(LONG, ended_s=24.0))],
        PASSIVE: [run(answer(ended_s=10.0), answer(LONG, ended_s=20.0))],
    }
    good = summarise({"whisperlite": [run(answer())]}, TEXTS)
    assert conclude(ABOUT, {"float32": good, "int8": good})["passes"]
    summary = conclude(ABOUT, {"float32": good, "int8": summarise(runs, TEXTS)})
    assert not summary["passes"]
    page = as_markdown(conclude(ABOUT, {"float32": summarise(runs, TEXTS), "int8": summarise(runs, TEXTS)}))
    assert "| float32 | transcribe_many | 0.85 | 1.11 | pass |" in page
    assert "| int8 | faster-whisper |  | 2.67 |  |" in page
    assert "| int8 | faster-whisper, passive | 2 | 2.22 | pass |" in page
    assert page.index("## In float32") < page.index("## In int8")
    assert "| whisperlite | 1 | 3 | 1 | 0 | 0 | 0 | 66 | 9 | 7.33 | 6.60 |" in page
    assert "| whisperlite | all | 2.0 | 9.0 | 9.0 |" in page
    assert "| whisperlite | under 15 s | 2.0 | 2.0 | 2.0 |" in page
    assert "| transcribe_many | all" not in page
    assert "| whisperlite | 500 | 500 | +0.0% |" in page
    assert "- whisperlite: 1 × 500: no" in page
    assert page.endswith("Measured 2026-01-01, commit cccccccccc with changes.\n")
