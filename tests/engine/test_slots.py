"""Slots: who has which, who may still read it, and what may be evicted."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from hub.engine.slots import Lease, SlotState, SlotTable
from hub.errors import Overloaded

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
    assert table.evictable() == ["b", "a"]
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
    table.pin("a")
    assert table.drain("a") is True
    assert table.state("a") is None
    assert table.drain("a") is True


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


def test_many_threads_never_see_a_slot_change_hands_under_their_lease() -> None:
    table = SlotTable(2)
    owner: dict[int, str] = {}
    wrong: list[str] = []
    served = [0] * 4

    def serve(thread: int) -> None:
        for turn in range(500):
            key = "abcdef"[(thread + turn) % 6]
            try:
                reservation = table.reserve(key)
            except Overloaded:
                continue
            if reservation:
                owner[reservation.slot] = key
                table.commit(key)
            lease = table.lease(key)
            if lease is None:
                continue
            with lease:
                served[thread] += 1
                if owner[lease.slot] != key:
                    wrong.append(key)
            if turn % 7 == 0:
                table.drain(key)

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(served) > 0
    assert all(view.leases == 0 for view in table.view())


class SlotMachine(RuleBasedStateMachine):
    """Any order of calls keeps what leases, pins and loads were promised."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable(3)
        self.content: dict[int, str] = {}  # what was last written to each slot
        self.held: list[Lease] = []
        self.pinned: set[str] = set()

    @rule(key=KEYS)
    def reserve(self, key: str) -> None:
        before = {view.key: view for view in self.table.view()}
        evictable = self.table.evictable()
        try:
            reservation = self.table.reserve(key)
        except Overloaded:
            assert len(before) == 3
            assert not evictable
            return
        if reservation is None:
            assert key in before
            return
        assert key not in before
        assert reservation.evicted == (evictable[0] if len(before) == 3 else None)
        assert reservation.slot not in {lease.slot for lease in self.held}
        self.content[reservation.slot] = key

    @rule(key=KEYS, good=st.booleans())
    def finish_load(self, key: str, good: bool) -> None:
        if self.table.state(key) is SlotState.LOADING:
            (self.table.commit if good else self.table.abort)(key)
            assert self.table.state(key) is (SlotState.RESIDENT if good else None)

    @rule(target=leases, key=KEYS)
    def lease(self, key: str) -> Lease | None:
        state = self.table.state(key)
        lease = self.table.lease(key)
        assert (lease is not None) == (state is SlotState.RESIDENT)
        if lease:
            self.held.append(lease)
        return lease

    @rule(lease=consumes(leases), times=st.integers(1, 2))
    def release(self, lease: Lease | None, times: int) -> None:
        if lease:
            self.held.remove(lease)
            for _ in range(times):
                lease.release()

    @rule(key=KEYS)
    def drain(self, key: str) -> None:
        loading = self.table.state(key) is SlotState.LOADING
        wanted = any(lease.key == key for lease in self.held)
        assert self.table.drain(key) == (not loading and not wanted)
        self.pinned.discard(key)

    @rule(key=KEYS, pin=st.booleans())
    def pin(self, key: str, pin: bool) -> None:
        (self.table.pin if pin else self.table.unpin)(key)
        (self.pinned.add if pin else self.pinned.discard)(key)

    @invariant()
    def promises_hold(self) -> None:
        views = self.table.view()
        assert len({view.slot for view in views}) == len(views) <= 3
        assert all(1 <= view.slot <= 3 for view in views)
        for view in views:
            assert self.content[view.slot] == view.key
            assert view.leases == sum(lease.key == view.key for lease in self.held)
            assert view.pinned == (view.key in self.pinned)
            assert view.state is not SlotState.DRAINING or view.leases
        for lease in self.held:
            assert self.content[lease.slot] == lease.key
        for key in self.table.evictable():
            assert key not in self.pinned
            assert key not in {lease.key for lease in self.held}


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
