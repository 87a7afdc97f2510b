"""Loads under way: how many run beside each other, and what becomes of one that hangs."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from hub.errors import NotReady, Overloaded
from hub.serving.residency import loads
from hub.serving.residency.loads import Load, Loads


class Gated:
    """Loads that run until they are let through."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.released: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.loads = Loads(self._run, lambda load: self.released.append(load.version.sha256))

    def start(self, key: str, *, urgent: bool = False) -> Load:
        self.gates[key] = threading.Event()
        load = Load(SimpleNamespace(sha256=key, ref=f"{key}@1"), urgent=urgent)
        self.loads.submit(load)
        return load

    def _run(self, load: Load) -> None:
        self.running.append(load.version.sha256)
        self.gates[load.version.sha256].wait(20)


@pytest.fixture
def gated():
    made = Gated()
    yield made
    for gate in made.gates.values():
        gate.set()
    made.loads.close(10)


def test_two_run_beside_each_other_and_the_rest_in_turn(gated, until) -> None:
    for key in "abc":
        gated.start(key)
    assert until(lambda: gated.running == ["a", "b"])
    gated.gates["b"].set()
    assert until(lambda: gated.running == ["a", "b", "c"])


def test_an_urgent_one_does_not_wait_for_what_requests_wait_for(gated, until) -> None:
    for key in "abc":
        gated.start(key)
    gated.start("d", urgent=True)
    assert until(lambda: gated.running == ["a", "b", "d"])
    gated.start("e", urgent=True)
    gated.start("f")
    gated.gates["a"].set()
    assert until(lambda: gated.running == ["a", "b", "d", "e"])


def test_one_that_waits_may_become_urgent(gated, until) -> None:
    loads = {key: gated.start(key) for key in "abcd"}
    gated.loads.want(loads["d"], urgent=True)
    assert until(lambda: gated.running == ["a", "b", "d"])
    gated.loads.want(loads["a"], urgent=True)  # it runs already
    gated.gates["b"].set()
    gated.gates["d"].set()
    assert until(lambda: gated.running == ["a", "b", "d", "c"])


def test_loads_that_hang_keep_the_others_waiting_for_a_turn_and_no_longer(gated, until, monkeypatch) -> None:
    monkeypatch.setattr(loads, "TURN_S", 0.1)
    hung = [gated.start(key) for key in "ab"]
    others = [gated.start(key) for key in "cdef"]
    for key in "cdef":
        gated.gates[key].set()
    for load in others:
        load.future.result(5)
    assert not any(load.future.done() for load in hung)


def test_so_many_may_hang_and_not_more(gated, until, monkeypatch) -> None:
    monkeypatch.setattr(loads, "TURN_S", 0.01)
    monkeypatch.setattr(loads, "MAX_THREADS", 4)
    for key in "abcdef":
        gated.start(key)
    assert until(lambda: gated.running == ["a", "b", "c", "d"])
    assert gated.loads.get("e").began == 0.0
    gated.gates["a"].set()
    assert until(lambda: gated.running == ["a", "b", "c", "d", "e"])


def test_a_load_is_released_once_when_it_is_over_and_nobody_waits(gated, until) -> None:
    load = gated.start("a")
    assert gated.loads.join(load)
    assert gated.loads.join(load)
    gated.loads.leave(load)
    gated.gates["a"].set()
    load.future.result(5)
    assert gated.loads.get("a") is None
    assert gated.released == []
    gated.loads.leave(load)
    assert gated.released == ["a"]
    assert not gated.loads.join(load), "whoever comes now begins anew"


def test_so_many_may_wait_for_one_version_and_not_more(gated) -> None:
    load = gated.start("a")
    for _ in range(3):
        assert gated.loads.join(load, max_waiters=3)
    with pytest.raises(Overloaded, match="3 requests wait for a@1"):
        gated.loads.join(load, max_waiters=3)
    assert gated.loads.join(load), "a deploy waits all the same"


def test_closing_fails_what_has_not_begun_and_leaves_behind_what_hangs(gated, until) -> None:
    for key in "abc":
        gated.start(key)
    hung, queued = gated.loads.get("a"), gated.loads.get("c")
    assert until(lambda: gated.running == ["a", "b"])
    gated.loads.close(0.05)
    with pytest.raises(NotReady, match="shutting down"):
        queued.future.result(1)
    with pytest.raises(NotReady, match="shutting down"):
        gated.start("d").future.result(1)
    assert not hung.future.done()
    assert sorted(gated.released) == ["c", "d"]


def test_without_a_thread_a_load_waits_for_the_others_and_fails_where_there_are_none(
    gated, until, monkeypatch
) -> None:
    first = gated.start("a")
    assert until(lambda: gated.running == ["a"])
    begin = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting = gated.start("b")
    assert not waiting.future.done()
    monkeypatch.setattr(threading.Thread, "start", begin)
    gated.gates["a"].set()
    first.future.result(5)
    assert until(lambda: gated.running == ["a", "b"])
    gated.gates["b"].set()
    waiting.future.result(5)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Overloaded, match="no more threads"):
        gated.start("c").future.result(5)
    monkeypatch.setattr(threading.Thread, "start", begin)
    again = gated.start("c")
    gated.gates["c"].set()
    again.future.result(5)
    assert until(lambda: gated.released == ["a", "b", "c", "c"])
