"""Any order of loads, failures, waits, leases and drains keeps what residency promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.engine.slots.table import Lease, SlotState
from hub.errors import BadAdapter, NotReady, Overloaded
from hub.serving.residency import loads, reserving, residency
from tests.serving.residency.test_residency_waiting import Rig, version
from tests.support.slots import evictable
from tests.support.waiting import until

KEYS = st.sampled_from("abcde")


class ResidencyMachine(RuleBasedStateMachine):
    """Three slots, five versions; a load stays under way until a rule lets it pass or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(loads, "MAX_PARALLEL", 10)
        self.patch.setattr(reserving, "SLOT_WAIT_S", -1.0)
        self.patch.setattr(residency, "RETRY_AFTER_S", 3600.0)  # a slow machine is not to reach it
        self.rig = Rig(self.patch, slots=3, timeout_s=20.0)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.loading: dict[str, Future[None]] = {}
        self.waits: list[tuple[str, Future[None]]] = []
        self.held: list[Lease] = []
        self.bad: set[str] = set()

    def _asking(self, key: str, ask: Callable[[], Future[None]], *, again: bool = False) -> Future[None]:
        """Ask for a version, and take note if that began a load."""
        reads, idle = len(self.rig.reads), key not in self.loading
        resident = self.rig.slots.state(key) in (SlotState.RESIDENT, SlotState.DRAINING)
        future = ask()
        if idle and not resident and (again or key not in self.bad):
            assert until(lambda: len(self.rig.reads) == reads + 1)
            self.loading[key] = self.rig.residency.ensure(version(key))
        elif idle:
            self._ended(future)
        return future

    def _ended(self, future: Future[None]) -> BaseException | None:
        return future.exception(10)

    @rule(key=KEYS, again=st.booleans())
    def ensure(self, key: str, again: bool) -> None:
        future = self._asking(key, lambda: self.rig.residency.ensure(version(key), again=again), again=again)
        if key in self.loading:
            assert future is self.loading[key], "one load per version"

    @rule(key=KEYS)
    def wait(self, key: str) -> None:
        def ask() -> Future[None]:
            return asyncio.run_coroutine_threadsafe(self.rig.residency.wait(version(key)), self.loop)

        future = self._asking(key, ask)
        if key in self.loading:
            self.waits.append((key, future))

    @precondition(lambda self: self.waits)
    @rule(place=st.integers(0, 100))
    def give_up(self, place: int) -> None:
        _, future = self.waits.pop(place % len(self.waits))
        future.cancel()

    @precondition(lambda self: self.loading)
    @rule(place=st.integers(0, 100), good=st.booleans())
    def end_a_load(self, place: int, good: bool) -> None:
        key = sorted(self.loading)[place % len(self.loading)]
        room = self.rig.slots.in_use < 3 or bool(evictable(self.rig.slots))
        if not good:
            self.rig.fails[key] = BadAdapter(f"{key} is bad.")
        self.rig.pass_on(key)
        error = self._ended(self.loading.pop(key))
        self.rig.gates.pop(key)
        expected = None if good and room else Overloaded if good else BadAdapter
        assert (type(error) if error else None) is expected
        (self.bad.add if expected is BadAdapter else self.bad.discard)(key)
        for one, future in [wait for wait in self.waits if wait[0] == key]:
            waited = self._ended(future)
            assert (type(waited) if waited else None) is expected
            self.waits.remove((one, future))
        assert until(lambda: key not in self.rig.pinned())

    @rule(key=KEYS)
    def a_load_that_took_too_long_is_waited_for_by_nobody_new(self, key: str) -> None:
        if load := self.rig.residency._loads.get(key):
            began, load.loading = load.loading, load.loading - 100
            with pytest.raises(NotReady), self.rig.residency.held(version(key)):
                pass
            load.loading = began

    @rule(key=KEYS)
    def lease(self, key: str) -> None:
        state = self.rig.slots.state(key)
        claim = self.rig.residency.lease(version(key))
        assert (claim is not None) == (state is SlotState.RESIDENT)
        if claim:
            self.held.append(claim[1])

    @precondition(lambda self: self.held)
    @rule(place=st.integers(0, 100))
    def release(self, place: int) -> None:
        self.held.pop(place % len(self.held)).release()

    @rule(key=KEYS)
    def drain(self, key: str) -> None:
        self.rig.residency.drain(version(key))

    @rule(key=KEYS)
    def hold(self, key: str) -> None:
        if key in self.loading or self.rig.slots.state(key) is None:
            return
        with self.rig.residency.held(version(key)):
            assert key not in evictable(self.rig.slots)
            self.rig.residency.drain(version(key))
            _, lease = self.rig.residency.lease(version(key))
            self.held.append(lease)
        assert self.rig.slots.state(key) is SlotState.DRAINING

    @invariant()
    def every_lease_finds_its_version(self) -> None:
        assert all(self.rig.engine.content[lease.slot] == lease.key for lease in self.held)

    @invariant()
    def one_load_per_version(self) -> None:
        assert not self.rig.overlapping
        assert {load.version.sha256 for load in self.rig.residency._loads.all()} == set(self.loading)

    @invariant()
    def only_what_loads_is_pinned(self) -> None:
        assert until(lambda: self.rig.pinned() == set(self.loading))

    @invariant()
    def only_bad_ones_are_remembered_as_failed(self) -> None:
        told = {one["sha256"] for one in self.rig.residency.describe() if one["state"] == "failed"}
        assert told == self.bad

    def teardown(self) -> None:
        for lease in self.held:
            lease.release()
        for key, future in self.loading.items():
            self.rig.pass_on(key)
            self._ended(future)
        for _, future in self.waits:
            self._ended(future)
        assert until(lambda: self.rig.pinned() == set())
        for key in "abcde":
            self.rig.residency.drain(version(key))
        assert self.rig.slots.in_use == 0
        assert not self.rig.residency._pinned
        self.rig.close()
        asyncio.run_coroutine_threadsafe(_others_end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.patch.undo()


async def _others_end() -> None:
    """End what was given up just now: on a busy machine the loop may not have begun it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


TestResidencyMachine = ResidencyMachine.TestCase
TestResidencyMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
