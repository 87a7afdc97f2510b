"""Slots: who has which, who may still read it, and what may be evicted."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from hub.engine.slots import states
from hub.engine.slots.states import Fate, History
from hub.engine.slots.table import Lease, SlotState, SlotTable
from hub.errors import Overloaded
from tests.support.slots import evictable

KEYS = st.sampled_from("abcdef")


def load(table: SlotTable, key: str) -> int:
    reservation = table.reserve(key)
    assert reservation is not None
    table.commit(key)
    return reservation.slot


def leased(table: SlotTable, key: str) -> Lease:
    lease = table.lease(key)
    assert lease is not None
    return lease


def test_slots_are_numbered_from_one() -> None:
    table = SlotTable(3)
    assert [load(table, key) for key in "abc"] == [1, 2, 3]


def test_a_version_cannot_be_leased_before_it_is_committed() -> None:
    table = SlotTable(1)
    table.reserve("a")
    assert table.lease("a") is None
    assert table.state("a") is SlotState.LOADING
    table.commit("a")
    assert leased(table, "a").slot == 1


def test_a_version_is_loaded_once() -> None:
    table = SlotTable(2)
    assert table.reserve("a") is not None
    assert table.reserve("a") is None  # loading
    table.commit("a")
    assert table.reserve("a") is None  # resident


def test_an_aborted_load_gives_the_slot_back() -> None:
    table = SlotTable(1)
    table.reserve("a")
    table.abort("a")
    assert table.state("a") is None
    assert load(table, "b") == 1


def test_the_least_recently_leased_version_is_evicted() -> None:
    table = SlotTable(2)
    load(table, "a")
    load(table, "b")
    leased(table, "a").release()
    assert evictable(table) == ["b", "a"]
    reservation = table.reserve("c")
    assert reservation is not None
    assert (reservation.evicted, reservation.slot) == ("b", 2)


def test_leased_and_pinned_versions_are_not_evicted() -> None:
    table = SlotTable(2)
    load(table, "a")
    load(table, "b")
    lease = leased(table, "a")
    table.pin("b")
    with pytest.raises(Overloaded, match="All 2 adapter slots"):
        table.reserve("c")
    lease.release()
    reservation = table.reserve("c")
    assert reservation is not None
    assert reservation.evicted == "a"


def test_a_pin_may_come_before_the_load() -> None:
    table = SlotTable(1)
    table.pin("a")
    load(table, "a")
    with pytest.raises(Overloaded):
        table.reserve("b")
    table.unpin("a")
    assert table.reserve("b") is not None


def test_a_draining_version_keeps_its_slot_until_the_last_lease_ends() -> None:
    table = SlotTable(1)
    load(table, "a")
    first, second = leased(table, "a"), leased(table, "a")
    assert table.drain("a") is False
    assert table.lease("a") is None
    first.release()
    first.release()  # the second call must not count for the other lease
    with pytest.raises(Overloaded):
        table.reserve("b")
    second.release()
    assert table.state("a") is None
    assert load(table, "b") == 1


def test_draining_an_idle_version_frees_it_at_once() -> None:
    table = SlotTable(1)
    load(table, "a")
    assert table.drain("a") is True
    assert table.state("a") is None
    assert table.drain("a") is True


def test_a_pinned_version_is_drained_when_its_last_pin_goes() -> None:
    table = SlotTable(1)
    load(table, "a")
    table.pin("a")
    table.pin("a")
    assert table.drain("a") is False
    leased(table, "a").release()  # and stays leasable until then
    table.unpin("a")
    assert table.state("a") is SlotState.RESIDENT
    table.unpin("a")
    assert table.state("a") is None
    with pytest.raises(ValueError, match="'a' is not pinned"):
        table.unpin("a")


def test_a_version_that_is_drained_while_it_loads_leaves_when_it_is_loaded() -> None:
    table = SlotTable(1)
    table.reserve("a")
    assert table.drain("a") is False
    table.commit("a")
    assert table.state("a") is None


@pytest.mark.parametrize("want", ["reserve", "pin"])
@pytest.mark.parametrize("state", [SlotState.LOADING, SlotState.DRAINING])
def test_the_latest_wish_counts(want, state) -> None:
    table = SlotTable(1)
    table.reserve("a")
    lease = None
    if state is SlotState.DRAINING:
        table.commit("a")
        lease = leased(table, "a")
    table.drain("a")
    assert table.state("a") is state
    getattr(table, want)("a")
    if lease:
        lease.release()
    else:
        table.commit("a")
    assert table.state("a") is SlotState.RESIDENT
    leased(table, "a").release()


def test_a_draining_version_is_resident_again_when_wanted_again() -> None:
    table = SlotTable(1)
    load(table, "a")
    lease = leased(table, "a")
    table.drain("a")
    assert table.reserve("a") is None
    again = leased(table, "a")
    assert again.slot == lease.slot
    lease.release()
    again.release()
    assert table.state("a") is SlotState.RESIDENT


def test_commit_and_abort_need_a_load_under_way() -> None:
    table = SlotTable(1)
    with pytest.raises(ValueError, match="'a' is not being loaded"):
        table.commit("a")
    load(table, "a")
    with pytest.raises(ValueError, match="'a' is not being loaded"):
        table.abort("a")
    with pytest.raises(ValueError, match="at least one slot"):
        SlotTable(0)


def test_a_lease_is_released_when_its_block_fails() -> None:
    table = SlotTable(1)
    load(table, "a")
    with pytest.raises(RuntimeError), leased(table, "a"):
        raise RuntimeError
    assert [view.leases for view in table.view()] == [0]


def test_what_costs_more_to_load_is_evicted_later() -> None:
    table = SlotTable(2)
    for key, cost in (("dear", 2.5), ("b", 1.0)):
        table.reserve(key)
        table.commit(key, cost)
    evicted = []
    for key in "cdef":
        reservation = table.reserve(key)
        assert reservation is not None
        evicted.append(reservation.evicted)
        table.commit(key, 1.0)
    assert evicted == ["b", "c", "dear", "d"], "it stays while the others cost less than it does"


def test_what_nobody_used_yet_leaves_before_what_was_used() -> None:
    table = SlotTable(3)
    load(table, "a")
    for key in "bc":
        table.reserve(key)
        table.commit(key, used=False)
    assert evictable(table) == ["b", "c", "a"]
    leased(table, "b").release()
    assert evictable(table) == ["c", "a", "b"]


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_a_cost_is_a_finite_number(cost) -> None:
    table = SlotTable(1)
    table.reserve("a")
    with pytest.raises(ValueError, match="'a' cannot cost"):
        table.commit("a", cost)
    table.abort("a")
    assert load(table, "b") == 1


def test_a_slot_that_was_left_is_cleared_before_it_is_anybodys_again() -> None:
    calls = []
    table = SlotTable(1, on_vacated=lambda: calls.append(1))
    assert table.to_clear() is None, "nothing was ever in it"
    load(table, "a")
    table.drain("a")
    assert calls == [1]
    assert table.to_clear() == 1
    assert table.to_clear() is None
    with pytest.raises(Overloaded):
        table.reserve("b")
    table.cleared(1)
    with pytest.raises(ValueError, match="not being cleared"):
        table.cleared(1)
    assert load(table, "b") == 1


def test_a_slot_that_is_reserved_first_is_not_cleared() -> None:
    calls = []
    table = SlotTable(1, on_vacated=lambda: calls.append(1))
    table.reserve("a")
    table.abort("a")
    load(table, "b")
    assert table.to_clear() is None
    lease = leased(table, "b")
    table.drain("b")
    assert calls == [1]
    lease.release()
    assert calls == [1, 1]


@pytest.mark.parametrize("how", ["release", "unpin", "abort", "commit", "cleared"])
def test_who_waits_for_room_is_woken_when_there_is_some(how) -> None:
    table = SlotTable(1)
    if how in ("abort", "commit"):
        table.reserve("a")
        act = {"abort": table.abort, "commit": table.commit}[how]
        room = partial(act, "a")
    elif how == "release":
        load(table, "a")
        room = leased(table, "a").release
    elif how == "unpin":
        load(table, "a")
        table.pin("a")
        room = partial(table.unpin, "a")
    else:
        load(table, "a")
        table.drain("a")
        assert table.to_clear() == 1
        room = partial(table.cleared, 1)
    assert not table.wait_for_room(0.01)
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(table.wait_for_room(60)))
    waiter.start()
    room()
    waiter.join(20)
    assert found == [True]
    assert load(table, "b") == 1


def test_a_spare_slot_is_room_for_urgent_loads_alone() -> None:
    table = SlotTable(1, spare=1)
    load(table, "a")
    leased(table, "a")
    assert not table.wait_for_room(0.0)
    assert table.wait_for_room(0.0, urgent=True)


def test_what_became_of_a_version_is_remembered_until_it_is_resident_again() -> None:
    table = SlotTable(1)
    table.reserve("a", "mood@1")
    table.commit("a")
    table.reserve("b", "mood@2")
    table.commit("b")
    table.drain("b", "nothing routes to it")
    table.failed("c", "mood@3", "the file is short")
    assert [(gone.key, gone.name, gone.fate, gone.reason) for gone in table.history()] == [
        ("c", "mood@3", Fate.FAILED, "the file is short"),
        ("b", "mood@2", Fate.DRAINED, "nothing routes to it"),
        ("a", "mood@1", Fate.EVICTED, "to make room for mood@2"),
    ]
    load(table, "a")
    assert [gone.key for gone in table.history()] == ["c", "b"]


def test_the_history_is_bounded_and_keeps_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MAX_VERSIONS", 3)
    history = History()
    for key in "abcdb":
        history.add(key, key, Fate.EVICTED, "")
    assert [gone.key for gone in history.all()] == ["b", "d", "c"]


def test_eviction_among_many_slots_is_quick() -> None:
    table = SlotTable(20_000)
    for n in range(20_000):
        load(table, str(n))
    held = [leased(table, str(n)) for n in range(5)]
    began = time.thread_time()
    for n in range(20_000, 22_000):
        load(table, str(n))
    took = time.thread_time() - began
    assert took < 2.0, f"{took:.3f} s for 2,000 evictions; looking at every slot would take over 10"
    assert all(table.state(lease.key) is SlotState.RESIDENT for lease in held)


def test_a_spare_slot_is_for_urgent_loads_alone() -> None:
    table = SlotTable(2, spare=1)
    held = [leased(table, key) for key in "ab" if load(table, key)]
    with pytest.raises(Overloaded, match="All 2 adapter slots"):
        table.reserve("c")
    reservation = table.reserve("c", urgent=True)
    assert reservation is not None
    assert (reservation.slot, reservation.evicted) == (3, None)
    with pytest.raises(Overloaded):
        table.reserve("d", urgent=True)
    table.pin("c")
    table.commit("c")
    assert table.in_use == 3
    held[0].release()
    assert table.state("a") is None, "its slot is the spare one now"
    assert table.reserve("d", urgent=True).slot == 1  # type: ignore[union-attr]


def test_a_spare_slot_is_there_again_once_a_version_is_idle() -> None:
    table = SlotTable(2, spare=1)
    for key in "ab":
        load(table, key)
    reservation = table.reserve("c", urgent=True)
    assert reservation is not None
    assert reservation.evicted is None
    table.commit("c")
    assert (table.in_use, table.state("a"), table.state("c")) == (2, None, SlotState.RESIDENT)
    assert table.reserve("d") is not None
    assert (table.in_use, table.state("b")) == (2, None), "others do not take it"


class Cells:
    """What a device would hold: written in steps, so that a reader of a slot being rewritten sees it."""

    def __init__(self, slots: int) -> None:
        self.of = {slot: ["", "", ""] for slot in range(1, slots + 1)}

    def write(self, slot: int, key: str) -> None:
        for place in range(3):
            self.of[slot][place] = key
            time.sleep(0)

    def read(self, slot: int) -> set[str]:
        seen = set(self.of[slot])
        time.sleep(0)
        return seen | set(self.of[slot])


class Stress:
    """Threads that load, serve, drain and pin a few versions on fewer slots, and one that clears."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.wake, self.over = threading.Event(), threading.Event()
        self.table, self.cells = SlotTable(3, on_vacated=self.wake.set), Cells(3)
        self.wrong: list[object] = []
        self.done: Counter[str] = Counter()

    def load(self, key: str, draw: random.Random) -> None:
        try:
            reservation = self.table.reserve(key)
        except Overloaded:
            return
        if reservation is None:
            return
        self.cells.write(reservation.slot, key)
        if draw.random() < 0.1:
            self.table.abort(key)
        else:
            self.table.commit(key, draw.choice((0.01, 0.02, 1.0)))
            self.done["loads"] += 1

    def serve(self, key: str) -> None:
        if lease := self.table.lease(key):
            with lease:
                if (seen := self.cells.read(lease.slot)) != {key}:
                    self.wrong.append((key, lease.slot, seen))
            self.done["served"] += 1

    def work(self, thread: int) -> None:
        draw = random.Random(f"{self.seed}-{thread}")
        for _ in range(1500):
            key = draw.choice("abcdef")
            self.load(key, draw)
            self.serve(key)
            if draw.random() < 0.15:
                self.table.drain(key)
            elif draw.random() < 0.1:
                self.table.pin(key)
                self.serve(key)
                self.table.unpin(key)

    def clean(self) -> None:
        while not self.over.is_set():
            self.wake.wait(0.01)
            self.wake.clear()
            while slot := self.table.to_clear():
                self.cells.write(slot, "")
                self.table.cleared(slot)
                self.done["cleared"] += 1

    def run(self) -> None:
        workers = [threading.Thread(target=self.work, args=(index,)) for index in range(6)]
        cleaner = threading.Thread(target=self.clean)
        for thread in (*workers, cleaner):
            thread.start()
        for thread in workers:
            thread.join()
        self.over.set()
        cleaner.join()


@pytest.mark.parametrize("seed", range(3))
def test_many_threads_never_see_a_slot_change_hands_under_their_lease(seed) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    try:
        stress = Stress(seed)
        stress.run()
    finally:
        sys.setswitchinterval(before)
    assert not stress.wrong
    assert min(stress.done.values()) > 10, stress.done
    table = stress.table
    assert all((view.leases, view.pinned) == (0, False) for view in table.view())
    for key in "abcdef":
        assert table.drain(key)
    assert {load(table, key) for key in "xyz"} == {1, 2, 3}, "no slot was lost"


class Dual:
    """GreedyDual as its paper has it, looking at every version each time."""

    def __init__(self) -> None:
        self.floor, self.clock = 0.0, 0
        self.cost: dict[str, float] = {}
        self.worth: dict[str, tuple[float, int]] = {}

    def use(self, key: str, *, first: bool = False) -> None:
        self.clock += 1
        self.worth[key] = (self.floor + (0 if first else self.cost[key]), self.clock)

    def drop(self, key: str) -> None:
        self.worth.pop(key, None)

    def evict(self, may: set[str]) -> str:
        victim = min(may, key=lambda key: self.worth[key])
        self.floor = max(self.floor, self.worth.pop(victim)[0])
        return victim


class SlotMachine(RuleBasedStateMachine):
    """Any order of calls keeps what leases, pins and loads were promised."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.left_calls = 0
        self.table = SlotTable(3, spare=1, on_vacated=self._on_vacated)
        self.content: dict[int, str] = {}  # what was last written to each slot
        self.held: list[Lease] = []
        self.pins: Counter[str] = Counter()
        self.clearing: list[int] = []
        self.dual = Dual()
        self.gone: dict[str, Fate] = {}
        self.unwanted: set[str] = set()

    def _on_vacated(self) -> None:
        assert not self.table._lock.locked(), "whoever is woken may call the table"
        self.left_calls += 1

    def _idle(self) -> set[str]:
        taken = {lease.key for lease in self.held} | set(+self.pins)
        return {view.key for view in self.table.view() if view.state is SlotState.RESIDENT} - taken

    def _leaves(self, before: dict[str, SlotState | None]) -> None:
        """Take note of versions that the last call drained, or evicted to get the spare slot back."""
        left = [key for key, state in before.items() if state and self.table.state(key) is None]
        for key in left:
            if key not in self.unwanted:
                assert sum(state is not None for state in before.values()) == 4
                assert left == [key]
                assert self.dual.evict(self._idle() | {key}) == key
                self.gone[key] = Fate.EVICTED
            else:
                self.dual.drop(key)
                self.gone[key] = Fate.DRAINED
                self.unwanted.remove(key)
            assert not self.pins[key]
            assert key not in {lease.key for lease in self.held}

    def _evicted(self, idle: set[str], many: int) -> str | None:
        """Take note of versions that had to leave; return the last."""
        last = None
        for _ in range(many):
            last = self.dual.evict(idle)
            idle.remove(last)
            assert self.table.state(last) is None
            self.gone[last] = Fate.EVICTED
        return last

    def _states(self) -> dict[str, SlotState | None]:
        return {key: self.table.state(key) for key in "abcdef"}

    @rule(key=KEYS, urgent=st.booleans())
    def reserve(self, key: str, urgent: bool) -> None:
        before, idle = self._states(), self._idle()
        used = sum(state is not None for state in before.values())
        full = used >= 3 + urgent or used + len(self.clearing) == 4
        leave = (1 + (used == 4 and not urgent)) if full else 0
        try:
            reservation = self.table.reserve(key, urgent=urgent)
        except Overloaded:
            assert len(idle) < leave
            self._evicted(idle, len(idle))
            return
        if not self.pins[key]:
            self.unwanted.discard(key)
        if reservation is None:
            assert before[key]
            if before[key] is SlotState.DRAINING:
                self.dual.use(key)
            assert self.table.state(key) is not SlotState.DRAINING
            return
        assert before[key] is None
        assert reservation.evicted == self._evicted(idle, leave)
        assert reservation.slot not in {lease.slot for lease in self.held}
        assert reservation.slot not in self.clearing
        self.content[reservation.slot] = f"half of {key}"

    @rule(key=KEYS, good=st.booleans(), cost=st.sampled_from([0.0, 0.5, 1.0, 7.0]), used=st.booleans())
    def finish_load(self, key: str, good: bool, cost: float, used: bool) -> None:
        if self.table.state(key) is not SlotState.LOADING:
            with pytest.raises(ValueError, match="not being loaded"):
                (self.table.commit if good else self.table.abort)(key)
            return
        (slot,) = [view.slot for view in self.table.view() if view.key == key]
        if not good:
            self.table.abort(key)
            self.unwanted.discard(key)
            assert self.table.state(key) is None
            return
        self.content[slot] = key
        before = self._states()
        self.dual.cost[key] = cost
        self.dual.use(key, first=not used)
        self.table.commit(key, cost, used=used)
        self.gone.pop(key, None)
        self._leaves(before)

    @rule(target=leases, key=KEYS)
    def lease(self, key: str) -> Lease | None:
        state = self.table.state(key)
        lease = self.table.lease(key)
        assert (lease is not None) == (state is SlotState.RESIDENT)
        if lease:
            self.held.append(lease)
            self.dual.use(key)
        return lease

    @rule(lease=consumes(leases), times=st.integers(1, 2))
    def release(self, lease: Lease | None, times: int) -> None:
        if lease:
            before = self._states()
            self.held.remove(lease)
            for _ in range(times):
                lease.release()
            self._leaves(before)

    @rule(key=KEYS)
    def drain(self, key: str) -> None:
        before = self._states()
        kept = (
            before[key] is SlotState.LOADING
            or any(lease.key == key for lease in self.held)
            or (before[key] is not None and self.pins[key] > 0)
        )
        if before[key] or self.pins[key]:
            self.unwanted.add(key)
        assert self.table.drain(key) == (not kept)
        self._leaves(before)

    @rule(key=KEYS)
    def pin(self, key: str) -> None:
        if self.table.state(key) is SlotState.DRAINING:
            self.dual.use(key)
        self.table.pin(key)
        self.pins[key] += 1
        self.unwanted.discard(key)

    @rule(key=KEYS)
    def unpin(self, key: str) -> None:
        if self.pins[key]:
            before = self._states()
            self.pins[key] -= 1
            self.table.unpin(key)
            if not self.pins[key] and before[key] is None:
                self.unwanted.discard(key)
            self._leaves(before)

    @rule()
    def to_clear(self) -> None:
        slot = self.table.to_clear()
        if slot is not None:
            assert slot not in self.clearing
            self.clearing.append(slot)
            self.content[slot] = "half cleared"

    @precondition(lambda self: self.clearing)
    @rule()
    def cleared(self) -> None:
        self.table.cleared(self.clearing.pop())

    @invariant()
    def every_lease_finds_its_version(self) -> None:
        for lease in self.held:
            assert self.content[lease.slot] == lease.key
        for view in self.table.view():
            assert (self.content[view.slot] == view.key) == (view.state is not SlotState.LOADING)

    @invariant()
    def no_slot_is_lost_or_owned_twice(self) -> None:
        table = self.table
        owned = [view.slot for view in table.view()]
        assert sorted([*owned, *table._free, *table._vacated, *self.clearing]) == [1, 2, 3, 4]
        assert table.in_use == len(owned)

    @invariant()
    def what_nobody_wants_stays_for_a_reason_only(self) -> None:
        for key in self.unwanted:
            leased = any(lease.key == key for lease in self.held)
            assert leased or self.pins[key] or self.table.state(key) is SlotState.LOADING
        draining = {view.key for view in self.table.view() if view.state is SlotState.DRAINING}
        assert draining <= self.unwanted

    @invariant()
    def counts_are_right(self) -> None:
        for view in self.table.view():
            assert view.leases == sum(lease.key == view.key for lease in self.held)
            assert view.pinned == (self.pins[view.key] > 0)
            assert view.state is not SlotState.DRAINING or view.leases

    @invariant()
    def eviction_follows_the_weighing(self) -> None:
        idle = self._idle()
        assert evictable(self.table) == sorted(idle, key=lambda key: self.dual.worth[key])

    @invariant()
    def what_left_is_remembered(self) -> None:
        assert {gone.key: gone.fate for gone in self.table.history()} == self.gone

    def teardown(self) -> None:
        for lease in self.held:
            lease.release()
        for key in self.pins.elements():
            self.table.unpin(key)
        for slot in self.clearing:
            self.table.cleared(slot)
        for key, state in self._states().items():
            if state is SlotState.LOADING:
                self.table.abort(key)
            assert self.table.drain(key)
        assert self.table.in_use == 0
        while slot := self.table.to_clear():
            self.table.cleared(slot)
        assert sorted(self.table._free) == [1, 2, 3, 4]
        assert not self.table._to_drain
        assert not self.table._pins
        assert not list(self.table._order.order())


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
