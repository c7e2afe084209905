"""How many threads torch's work runs on: what the machine gives, what was asked for, and that nothing else notices."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import whisperlite
from tests.conftest import in_bfloat16
from tests.models import Table, small_tokenizer, table_network
from tests.pooled import watch_engines
from tests.test_network import random_tokens
from tests.test_search import ask_for
from whisperlite.api import runtime
from whisperlite.audio.mel import Samples
from whisperlite.decoding import threads as module
from whisperlite.decoding.asks import Greedy
from whisperlite.decoding.engine import Engine
from whisperlite.decoding.threads import StepThreads, threads, usable_threads
from whisperlite.errors import OptionError
from whisperlite.nn.cache import Cache

SMALL = small_tokenizer(n_text=7, n_times=6)


@pytest.fixture(autouse=True)
def _torchs_number() -> Iterator[None]:
    """Some tests choose another; whatever it was, it is put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# How many there are


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Threads on a machine of so many cores, with the files of a control group."""

    def count(cores: int, files: dict[str, str], *, of_torch: int = 64) -> int:
        for name, content in files.items():
            (tmp_path / name).write_text(content, encoding="ascii")
        v2, v1 = tmp_path / "cpu.max", tmp_path / "cpu.cfs_quota_us"
        monkeypatch.setattr(module, "_CGROUP_LIMITS", ((str(v2), None), (str(v1), "cpu.cfs_period_us")))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        monkeypatch.setattr(torch, "get_num_threads", lambda: of_torch)
        return usable_threads()

    return count


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"cpu.max": "100000 50000\n"}, 2),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.cfs_quota_us": "300000\n"}, 16),
        ({"cpu.max": "max 100000\n", "cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_no_more_threads_are_used_than_the_control_group_may_keep_busy(
    machine: Callable[..., int], files: dict[str, str], expected: int
) -> None:
    assert machine(16, files) == expected


@pytest.mark.parametrize("content", ["", "\n", "400000", "four hundred", "400000 0", "0 0", "a b c"])
def test_a_limit_that_cannot_be_read_is_none(machine: Callable[..., int], content: str) -> None:
    assert machine(16, {"cpu.max": content}) == 16


def test_the_cores_that_a_process_may_use_and_torchs_number_are_limits(machine: Callable[..., int]) -> None:
    assert machine(3, {}) == 3
    assert machine(8, {}, of_torch=2) == 2
    assert machine(8, {"cpu.max": "200000 100000"}, of_torch=5) == 2


def test_where_nothing_says_what_a_process_may_use_it_is_all_cores(
    machine: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(3, {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_threads() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_threads() == 1


# For the time of some work


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_torchs_number_is_put_back(before: int, count: int) -> None:
    torch.set_num_threads(before)
    with threads(count):
        assert torch.get_num_threads() == count
    assert torch.get_num_threads() == before


def test_torchs_number_is_put_back_after_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(LookupError), threads(1):
        raise LookupError
    assert torch.get_num_threads() == 2


def test_other_threads_of_the_process_keep_their_number() -> None:
    torch.set_num_threads(2)
    started, chosen, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        seen.append(torch.get_num_threads())
        started.set()
        assert chosen.wait(10)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    thread.start()
    assert started.wait(10)
    with threads(1):
        chosen.set()
        thread.join()
    assert seen == [2, 2]


# One or all


class Machine:
    """Steps that take so long with one thread and with more, on a clock of its own."""

    def __init__(self, one_s: float, all_s: float) -> None:
        self.took = {1: one_s, 4: all_s}
        self.now = 0.0
        self.once_s = 0.0  # on top of the next one
        self.counts: list[int] = []

    def clock(self) -> float:
        return self.now

    def step(self) -> None:
        self.counts.append(torch.get_num_threads())
        self.now += self.took[torch.get_num_threads()] + self.once_s
        self.once_s = 0.0


def run(steps: StepThreads, machine: Machine, count: int, *, size: int = 1) -> list[int]:
    """The numbers of threads that so many steps were taken with."""
    for _ in range(count):
        steps.run(machine.step, size=size)
    return machine.counts[-count:]


def test_where_threads_help_all_are_used_but_for_a_trial_now_and_then() -> None:
    machine = Machine(one_s=0.04, all_s=0.01)
    used = run(StepThreads(4, machine.clock), machine, 300)
    assert used[:5] == [4] * 5
    assert 3 <= used.count(1) <= 6
    assert all(one == 4 or other == 4 for one, other in pairwise(used))


def test_where_one_thread_is_faster_it_is_found_soon_and_all_are_tried_seldom() -> None:
    """As beside a busy neighbour: ten times as long as the work."""
    machine = Machine(one_s=0.02, all_s=0.2)
    used = run(StepThreads(4, machine.clock), machine, 600)
    assert used[:7] == [4] * 5 + [1] * 2
    assert 1 <= used[7:].count(4) <= 2
    assert sum(machine.took[count] for count in used) < 1.2 * 600 * 0.02


def test_when_the_neighbour_has_gone_all_threads_are_used_again() -> None:
    machine = Machine(one_s=0.02, all_s=0.2)
    steps = StepThreads(4, machine.clock)
    run(steps, machine, 50)
    machine.took[4] = 0.01
    used = run(steps, machine, 300)
    assert used[0] == 1
    assert used[-20:] == [4] * 20


def test_a_neighbour_that_comes_is_noticed_soon() -> None:
    machine = Machine(one_s=0.02, all_s=0.01)
    steps = StepThreads(4, machine.clock)
    run(steps, machine, 20)
    machine.took[4] = 0.3
    assert run(steps, machine, 8) == [4] * 5 + [1] * 3


def test_a_single_slow_step_costs_a_trial_and_no_more() -> None:
    machine = Machine(one_s=0.02, all_s=0.01)
    steps = StepThreads(4, machine.clock)
    run(steps, machine, 20)
    machine.once_s = 0.3
    assert run(steps, machine, 12) == [4] * 5 + [1] + [4] * 6


def test_a_little_faster_is_not_worth_a_change() -> None:
    machine = Machine(one_s=0.0095, all_s=0.01)
    used = run(StepThreads(4, machine.clock), machine, 400)
    assert used.count(1) <= 8


def test_steps_of_another_size_are_compared_with_each_other_only() -> None:
    """More windows take longer: that is no neighbour."""
    machine = Machine(one_s=0.04, all_s=0.01)
    steps = StepThreads(4, machine.clock)
    run(steps, machine, 20, size=1)
    machine.took = {1: 0.16, 4: 0.04}
    assert run(steps, machine, 5, size=8) == [4] * 5
    # Sizes that change all the time are never compared, and all threads stay.
    for size in range(40):
        run(steps, machine, 1, size=size % 2)
    assert steps.chosen == 4


def test_with_one_thread_torchs_number_is_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise AssertionError("there is nothing to choose")

    machine = Machine(one_s=0.01, all_s=0.01)
    torch.set_num_threads(4)
    monkeypatch.setattr(torch, "set_num_threads", refuse)
    assert run(StepThreads(1, machine.clock), machine, 100) == [4] * 100
    monkeypatch.undo()


def test_an_error_of_a_step_is_raised_and_the_number_is_put_back() -> None:
    machine = Machine(one_s=0.01, all_s=0.1)
    steps = StepThreads(4, machine.clock)
    torch.set_num_threads(2)
    run(steps, machine, 8)

    def broken() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        steps.run(broken, size=1)
    assert torch.get_num_threads() == 2
    assert run(steps, machine, 1) == [1]


# An engine, and a model


@pytest.mark.parametrize("chosen", [None, 1, 2, 3])
def test_an_engine_works_on_what_was_asked_for_and_leaves_torchs_number_alone(chosen: int | None) -> None:
    torch.set_num_threads(2)
    seen = []
    ask = ask_for(0, Greedy(), SMALL, max_new_tokens=5, suppressed=frozenset({SMALL.eot}))

    def window() -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return ask.window()

    engine = Engine(table_network(Table(SMALL.n_vocab, seed=0)), SMALL, cpu_threads=chosen)
    engine.run([replace(ask, window=window)])
    assert torch.get_num_threads() == 2
    engine.encode([window])
    assert torch.get_num_threads() == 2
    assert seen == [chosen or usable_threads()] * 2


@pytest.mark.parametrize("cpu_threads", [None, 1, 2])
def test_an_engine_that_fails_leaves_torchs_number_alone(cpu_threads: int | None) -> None:
    def window() -> torch.Tensor:
        raise LookupError("no such window")

    torch.set_num_threads(3)
    engine = Engine(table_network(Table(SMALL.n_vocab, seed=0)), SMALL, cpu_threads=cpu_threads)
    with pytest.raises(LookupError):
        engine.run([replace(ask_for(0, Greedy(), SMALL), window=window)])
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("wrong", [-2, 1.5, "4", True, 1025])
def test_a_number_of_threads_that_there_is_not_is_refused_before_the_model_is_loaded(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"cpu_threads=.* an integer from 0 to 1024"):
        whisperlite.load_model("no such model", cpu_threads=wrong)


def test_zero_threads_are_as_many_as_without_a_number() -> None:
    """faster-whisper's default."""
    assert whisperlite.load_model("tiny.en", device="cpu", cpu_threads=0).cpu_threads is None


def test_the_number_of_threads_travels_with_a_model(librivox: Samples) -> None:
    model = whisperlite.load_model("tiny.en", device="cpu", cpu_threads=3)
    assert pickle.loads(pickle.dumps(model)).cpu_threads == model.cpu_threads == 3
    torch.set_num_threads(1)
    model.transcribe(librivox[-4 * 16000 :], beam_size=1)
    assert torch.get_num_threads() == 1


def test_threads_are_those_of_the_caller_and_not_of_who_iterates(
    model: whisperlite.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = threading.get_ident()
    given = watch_engines(monkeypatch, lambda engine: engine.cpu_threads)
    monkeypatch.setattr(runtime, "usable_threads", lambda: 2 if threading.get_ident() == caller else 1)
    segments = model.iter_segments(np.zeros(16000, dtype=np.float32), language="en", max_new_tokens=4)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(list, segments).result()
    assert given == [2]


# What it must not change


@pytest.mark.parametrize("compute_type", ["float32", "int8", pytest.param("bfloat16", marks=in_bfloat16)])
def test_the_logits_of_a_step_are_the_same_to_the_bit_on_any_number_of_threads(compute_type: str) -> None:
    network = whisperlite.load_model("base", device="cpu", compute_type=compute_type).network
    hidden = torch.randn((3, 1500, 512), generator=torch.Generator().manual_seed(0)).to(network.dtype)
    tokens = random_tokens(network, 6, 7)
    found = []
    for count in (1, 2, 3):
        with threads(count), torch.inference_mode():
            cross = network.decoder.cross(hidden)
            cache = Cache.empty(cross, rows=6, capacity=16, dtype=network.dtype)
            logits, cache = network.decoder(tokens, cache)
            steps = [logits]
            for position in range(3):
                logits, cache = network.decoder(tokens[:, position : position + 1], cache)
                steps.append(logits)
        found.append((cross.keys, *steps))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("queries", [1, 5, 20])
@pytest.mark.parametrize("compute_type", ["float32", "int8"])
def test_neither_do_they_depend_on_how_long_the_rows_of_other_windows_are(compute_type: str, queries: int) -> None:
    """In 8 bits a last digit that differs can become another token."""
    network = whisperlite.load_model("base", device="cpu", compute_type=compute_type).network
    lengths = (3, 15, 16, 40, 133, 200)
    rows, generator = queries * len(lengths), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        hidden = torch.randn((len(lengths), 1500, 512), generator=generator).to(network.dtype)
        whole = Cache.empty(network.decoder.cross(hidden), rows=rows, capacity=448, dtype=network.dtype)
        for storage in (whole.keys, whole.values):
            storage.copy_(torch.randn(storage.shape, generator=generator))
        tokens = random_tokens(network, rows, 1)
        of_rows = tuple(length for length in lengths for _ in range(queries))
        together, _ = network.decoder(tokens, replace(whole, lengths=of_rows))
        for window, length in enumerate(lengths):
            own = slice(window * queries, (window + 1) * queries)
            cross = network.decoder.cross(hidden[window : window + 1])
            alone = Cache(whole.keys[:, own].clone(), whole.values[:, own].clone(), cross, (length,) * queries)
            assert torch.equal(network.decoder(tokens[own], alone)[0], together[own])
