"""Who waits for a load, how long, and what a version is protected from meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from hub.api import HeadKind
from hub.engine.slots.states import Fate
from hub.engine.slots.table import SlotState, SlotTable
from hub.errors import BadAdapter, EngineFailed, NotReady, Overloaded, SourceUnavailable
from hub.serving.meter import Meter
from hub.serving.residency import loads, reserving, residency
from hub.serving.residency.residency import Residency
from tests.support.slots import evictable


class Engine:
    """What each slot holds, half-written in between."""

    def __init__(self) -> None:
        self.content: dict[int, str] = {}

    def check(self, weights: SimpleNamespace) -> None:
        return

    def write(self, slot: int, weights: SimpleNamespace) -> None:
        self.content[slot] = "half"
        time.sleep(0)
        self.content[slot] = weights.sha256


class Rig:
    """A residency over one base worker, whose loads wait for `pass_on`, and then fail if they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int, timeout_s: float) -> None:
        self.slots = SlotTable(slots)
        self.engine = Engine()
        self.base_worker = SimpleNamespace(
            base=SimpleNamespace(name="tiny"),
            engine=self.engine,
            slots=self.slots,
            probe=SimpleNamespace(check=lambda *given: []),
        )
        self.open = True
        self.gates: dict[str, threading.Event] = {}
        self.reading: dict[str, int] = {}
        self.overlapping = 0
        self.fails: dict[str, Exception] = {}
        self.reads: list[str] = []
        base_workers = SimpleNamespace(get=lambda _: self.base_worker if self.open else None, open=self._open)
        monkeypatch.setattr(residency, "read_weights", self._read)
        self.residency = Residency(base_workers, Meter(), lambda version: None, timeout_s=timeout_s)

    def _open(self, fingerprint: str) -> object:
        self.open = True
        return self.base_worker

    def _read(self, version: object, *given: object) -> SimpleNamespace:
        key = version.sha256
        self.reads.append(key)
        self.reading[key] = self.reading.get(key, 0) + 1
        self.overlapping += self.reading[key] > 1
        assert self.gate(key).wait(20)
        self.reading[key] -= 1
        if error := self.fails.pop(key, None):
            raise error
        return SimpleNamespace(sha256=key, kind=HeadKind.SEQUENCE, merged=key.isupper(), nbytes=1000)

    def gate(self, key: str) -> threading.Event:
        return self.gates.setdefault(key, threading.Event())

    def pass_on(self, *keys: str) -> None:
        for key in keys:
            self.gate(key).set()

    def load(self, key: str) -> None:
        self.pass_on(key)
        self.residency.ensure(version(key)).result(10)

    def pinned(self) -> set[str]:
        return set(self.slots._pins)

    def close(self) -> None:
        self.pass_on(*self.gates)
        self.residency.close()


def version(key: str) -> SimpleNamespace:
    base = SimpleNamespace(fingerprint="f")
    manifest = SimpleNamespace(serving=SimpleNamespace(base=base))
    return SimpleNamespace(sha256=key, ref=f"{key}@1", manifest=manifest, bare=False)


@pytest.fixture
def rig(monkeypatch):
    made = []

    def make(slots=2, timeout_s=10.0):
        made.append(Rig(monkeypatch, slots, timeout_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_who_waits_too_long_is_told_so_and_the_load_goes_on_for_the_others(rig) -> None:
    one = rig()

    async def waiter(timeout_s: float) -> asyncio.Task[None]:
        one.residency._timeout_s = timeout_s
        task = asyncio.create_task(one.residency.wait(version("a")))
        await asyncio.sleep(0)  # it has begun to wait
        return task

    async def both() -> None:
        patient, impatient = await waiter(30), await waiter(0.05)
        with pytest.raises(NotReady, match=r"a@1 is not loaded after 0\.05 s \(serve\.load_timeout_s\)"):
            await impatient
        one.pass_on("a")
        await patient
        assert one.residency.lease(version("a"))

    asyncio.run(both())
    assert one.reads == ["a"]


def test_nobody_starts_to_wait_for_a_load_that_has_taken_too_long(rig, until, monkeypatch) -> None:
    one = rig(timeout_s=60)
    future = one.residency.ensure(version("a"))
    assert until(lambda: one.reads == ["a"])
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(loads.Load, "took", lambda load: 61.0)
        with pytest.raises(NotReady):
            asyncio.run(one.residency.wait(version("a")))
        with pytest.raises(NotReady), one.residency.held(version("a")):
            pass
    assert time.monotonic() - began < 30
    one.pass_on("a")
    future.result(10)
    asyncio.run(one.residency.wait(version("a")))


def test_one_request_that_gives_up_does_not_end_the_wait_of_others(rig, until) -> None:
    one = rig()

    async def both() -> None:
        waits = [asyncio.create_task(one.residency.wait(version("a"))) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        one.pass_on("a")
        await waits[1]

    asyncio.run(both())
    assert one.pinned() == set()


def test_more_than_so_many_are_refused(rig, monkeypatch) -> None:
    monkeypatch.setattr(residency, "MAX_WAITERS", 3)
    one = rig()

    async def crowd() -> None:
        waits = [asyncio.create_task(one.residency.wait(version("a"))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 requests wait for a@1"):
            await one.residency.wait(version("a"))
        one.pass_on("a")
        await asyncio.gather(*waits)
        await one.residency.wait(version("a"))

    asyncio.run(crowd())


@pytest.mark.parametrize("opened", [True, False])
def test_what_was_waited_for_is_not_evicted_before_its_turn(opened, rig) -> None:
    one = rig(slots=1)
    one.open = opened

    async def turn() -> None:
        one.pass_on("a")
        await one.residency.wait(version("a"))
        with pytest.raises(Overloaded):
            one.slots.reserve("b")
        _, lease = one.residency.lease(version("a"))
        lease.release()
        await asyncio.sleep(0)
        assert evictable(one.slots) == ["a"]

    asyncio.run(turn())


def test_a_held_version_is_neither_evicted_nor_drained(rig) -> None:
    one = rig(slots=1)
    one.pass_on("a")
    with one.residency.held(version("a")):
        with pytest.raises(Overloaded):
            one.slots.reserve("b")
        one.residency.drain(version("a"))
        assert one.slots.state("a") is SlotState.RESIDENT
    assert one.slots.state("a") is None


def test_a_version_is_held_again_while_it_drains(rig) -> None:
    one = rig()
    one.load("a")
    _, lease = one.residency.lease(version("a"))
    one.residency.drain(version("a"))
    assert one.residency.lease(version("a")) is None
    with one.residency.held(version("a")):
        lease.release()
        assert one.residency.lease(version("a"))


@pytest.mark.parametrize("opened", [True, False])
def test_what_is_drained_while_it_loads_does_not_stay(opened, rig, until) -> None:
    one = rig()
    one.open = opened
    if not opened:
        opening = threading.Event()
        one.residency._base_workers.open = lambda _: opening.wait(10) and one._open("f")
    future = one.residency.ensure(version("a"))
    one.residency.drain(version("a"))
    if not opened:
        opening.set()
    one.pass_on("a")
    future.result(10)
    assert until(lambda: one.slots.state("a") is None)


def test_what_is_drained_before_its_load_has_begun_does_not_stay(rig, until) -> None:
    one = rig(slots=3)
    for key in "ab":
        one.residency.ensure(version(key))
    assert until(lambda: sorted(one.reads) == ["a", "b"])
    future = one.residency.ensure(version("c"))
    one.residency.drain(version("c"))
    one.pass_on("a", "b", "c")
    future.result(10)
    assert until(lambda: one.slots.state("c") is None)


@pytest.mark.parametrize("opened", [True, False])
def test_what_is_asked_for_again_while_it_loads_stays(opened, rig, until) -> None:
    one = rig()
    one.open = opened
    opening = threading.Event()
    if not opened:
        one.residency._base_workers.open = lambda _: opening.wait(10) and one._open("f")
    one.residency.ensure(version("a"))
    one.residency.drain(version("a"))

    def deploy() -> None:
        with one.residency.held(version("a")):
            held.set()

    held = threading.Event()
    thread = threading.Thread(target=deploy)
    thread.start()
    assert until(lambda: one.residency.waiting()["a"] == 1)
    opening.set()
    one.pass_on("a")
    thread.join(10)
    assert held.is_set()
    assert until(lambda: one.pinned() == set())
    assert one.residency.lease(version("a"))


def test_nobody_can_cancel_a_load_for_the_others(rig) -> None:
    one = rig()
    future = one.residency.ensure(version("a"))
    assert not future.cancel()
    one.pass_on("a")
    future.result(10)


def test_a_write_that_fails_leaves_its_slot_to_be_cleared(rig, monkeypatch) -> None:
    one = rig(slots=1)

    def fail(slot: int, weights: SimpleNamespace) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(one.engine, "write", fail)
        one.pass_on("a")
        with pytest.raises(EngineFailed, match=r"a@1 cannot be loaded \(RuntimeError\)"):
            asyncio.run(one.residency.wait(version("a")))
    assert one.slots.in_use == 0
    assert one.slots.to_clear() == 1
    one.slots.cleared(1)
    one.load("b")


def test_a_lack_of_slots_is_not_remembered_as_a_failure(rig, monkeypatch) -> None:
    monkeypatch.setattr(reserving, "SLOT_WAIT_S", 0.01)
    one = rig(slots=1)
    one.load("a")
    _, lease = one.residency.lease(version("a"))
    one.pass_on("b")
    with pytest.raises(Overloaded, match="All 1 adapter slots"):
        asyncio.run(one.residency.wait(version("b")))
    lease.release()
    asyncio.run(one.residency.wait(version("b")))


def test_a_load_goes_on_when_a_lease_ends_and_does_not_poll(rig, monkeypatch, until) -> None:
    monkeypatch.setattr(reserving, "DRAIN_AFTER_S", 60.0)
    monkeypatch.setattr(reserving, "SLOT_WAIT_S", 60.0)
    one = rig(slots=1)
    one.load("a")
    _, lease = one.residency.lease(version("a"))
    reserve, tries = one.slots.reserve, []
    monkeypatch.setattr(one.slots, "reserve", lambda *key, **how: tries.append(key) or reserve(*key, **how))
    one.pass_on("b")
    loaded = one.residency.ensure(version("b"))
    assert until(lambda: bool(one.slots._room._waiters))
    lease.release()
    loaded.result(10)
    assert len(tries) == 2


def test_where_all_are_leased_the_longest_unused_is_drained_to_make_room(rig, monkeypatch) -> None:
    one = rig(slots=2)
    monkeypatch.setattr(one.residency._cost, "note", lambda kind, seconds: 1.0)
    one.load("a")
    one.load("b")
    leases = [one.residency.lease(version(key))[1] for key in "ba"]
    drain, drained = one.slots.drain, []

    def watched(key: str, reason: str) -> bool:
        drained.append((key, reason))
        gone = drain(key, reason)
        if key == "b":
            leases[0].release()
        return gone

    monkeypatch.setattr(one.slots, "drain", watched)
    one.load("c")
    assert drained == [("b", "to make room for c@1")]
    assert [(gone.name, gone.fate) for gone in one.slots.history()] == [("b@1", Fate.DRAINED)]


def test_a_slow_load_of_one_does_not_keep_its_like_and_a_dear_kind_stays_longer(rig, monkeypatch) -> None:
    took = {"a": 0.1, "b": 0.01, "c": 0.01, "M": 1.0}
    clock = [0.0]
    one = rig(slots=2)
    write = one.engine.write

    def timed(slot: int, weights: SimpleNamespace) -> None:
        clock[0] += took[weights.sha256]
        write(slot, weights)

    monkeypatch.setattr(residency.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(one.engine, "write", timed)
    for _ in range(30):
        one.residency._cost.note(("tiny", False, 10), 0.01)
    for key in "abc":
        one.load(key)
    assert one.slots.state("a") is None, "the longest unused goes, however long it happened to take"
    for key in "Mabc":
        one.load(key)
    assert one.slots.state("M") is SlotState.RESIDENT


def test_loads_that_hang_do_not_keep_other_versions_from_being_loaded(rig, monkeypatch) -> None:
    monkeypatch.setattr(loads, "TURN_S", 0.05)
    one = rig(slots=4, timeout_s=5.0)
    hung = [one.residency.ensure(version(key)) for key in ("a", "b")]
    one.pass_on("c", "d")
    for key in ("c", "d"):
        asyncio.run(one.residency.wait(version(key)))
    assert not any(future.done() for future in hung)
    one.pass_on("a", "b")
    for future in hung:
        future.result(10)


def test_a_failure_is_told_without_another_try_and_a_deploy_tries_again(rig) -> None:
    one = rig()
    one.fails["a"] = BadAdapter("a@1 is short.")
    one.pass_on("a")
    for _ in range(2):
        with pytest.raises(BadAdapter, match="short"):
            asyncio.run(one.residency.wait(version("a")))
    assert one.reads == ["a"]
    (told,) = one.residency.describe()
    assert (told["version"], told["state"], told["reason"]) == ("a@1", "failed", "a@1 is short.")
    assert 0 < told["retry_in_s"] <= residency.RETRY_AFTER_S
    assert [(gone.name, gone.fate) for gone in one.slots.history()] == [("a@1", Fate.FAILED)]
    with one.residency.held(version("a")):
        assert one.residency.describe() == []
    assert one.slots.history() == []


def test_files_that_could_not_be_fetched_are_soon_asked_for_again(rig, monkeypatch) -> None:
    monkeypatch.setattr(residency, "RETRY_SOURCE_S", 0.0)
    one = rig()
    one.fails["a"] = SourceUnavailable("s3://bucket does not answer.")
    one.pass_on("a")
    with pytest.raises(SourceUnavailable):
        asyncio.run(one.residency.wait(version("a")))
    asyncio.run(one.residency.wait(version("a")))


def test_loads_under_way_are_described(rig, until) -> None:
    one = rig()
    for key in "abc":
        one.residency.ensure(version(key))
    assert until(lambda: len(one.reads) == 2)
    told = {load["version"]: load for load in one.residency.describe()}
    assert {name: load["state"] for name, load in told.items()} == {
        "a@1": "loading",
        "b@1": "loading",
        "c@1": "queued",
    }
    assert told["a@1"]["waiting"] == 0
    one.pass_on(*"abc")


def test_closing_leaves_a_load_that_hangs_behind_and_it_writes_nothing(rig, monkeypatch, until) -> None:
    monkeypatch.setattr(residency, "CLOSE_S", 0.05)
    one = rig()
    future = one.residency.ensure(version("a"))
    assert until(lambda: one.reads == ["a"])
    one.residency.close()
    one.pass_on("a")
    with pytest.raises(NotReady, match="shutting down"):
        future.result(10)
    assert one.engine.content == {}
    assert one.slots.in_use == 0


def at_most(times: int, call):
    counts = iter(range(times))

    def limited(*given):
        assert next(counts, None) is not None, "it is tried for ever"
        return call(*given)

    return limited


@pytest.mark.parametrize("way", ["wait", "held"])
def test_a_load_that_is_refused_at_once_is_not_tried_for_ever(rig, monkeypatch, way: str) -> None:
    """A bulk job did not end on Ctrl-C: its loop asked the closed residency again and again."""
    one = rig()
    one.residency.close()
    monkeypatch.setattr(one.residency, "_begin", at_most(3, one.residency._begin))
    with pytest.raises(NotReady, match="shutting down"):
        if way == "wait":
            asyncio.run(one.residency.wait(version("a")))
        else:
            one.residency.held(version("a")).__enter__()


def test_a_load_that_gets_no_thread_is_not_tried_for_ever(rig, monkeypatch) -> None:
    one = rig()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(one.residency, "_begin", at_most(3, one.residency._begin))
    with monkeypatch.context() as patched, pytest.raises(Overloaded, match="no more threads"):
        patched.setattr(loads.threading.Thread, "start", start)
        one.residency.held(version("a")).__enter__()
