"""The slot table: versions, leases and pins of slots; bookkeeping only, no tensors.

A slot is free, or belongs to one version in one of three states:

    free --reserve--> LOADING --commit--> RESIDENT --drain--> DRAINING --last release--> vacated
                         |                   |  ^                 |
                         +--abort--> vacated |  +-----reserve-----+
                                             +--evicted by reserve (idle, not pinned)--> its next owner
    vacated --reserve--> LOADING
    vacated --to_clear--> being cleared --cleared--> free

To load a version:

    reservation = table.reserve(sha256)          # None: it is resident, or another thread loads it
    if reservation:
        try:
            engine.write(reservation.slot, weights)
        except BaseException:
            table.abort(sha256)
            raise
        table.commit(sha256, seconds)

To serve a request:

    with table.lease(sha256) as lease:           # hold it until the forward that reads the slot is over
        ... EngineRow(row, lease.slot, head) ...

`lease` returns None when the version is not resident; the caller can then load it.
A lease may be released from any thread, once or many times; only the first counts. Release it after
the engine has answered, not when a client stops waiting, because a slot without a lease may be rewritten.

A vacated slot still holds the weights of its last version. The slot cleaner takes it with `to_clear`, clears
it and calls `cleared`; meanwhile it cannot be reserved. A vacated slot that is reserved needs no clearing,
because a load overwrites it.

Pins protect a version from eviction and draining while it is loaded and cannot be leased yet, and between
its load and the publication of the table that routes to it. They are counted, and belong to the version, not
to the slot: a version may be pinned before it is loaded.

The table keeps a history of evicted, drained and failed versions until they are resident again.

Every method is one critical section under one lock. Only `wait_for_room` waits for anything else.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from hub.engine.slots.eviction import GreedyDual
from hub.engine.slots.lease import Lease
from hub.engine.slots.states import Fate, Gone, History, Reservation, SlotState, SlotView
from hub.errors import Overloaded

__all__ = ["Lease", "Reservation", "SlotState", "SlotTable", "SlotView"]


@dataclass(slots=True)
class _Entry:
    slot: int
    name: str
    state: SlotState = SlotState.LOADING
    leases: int = 0


class SlotTable:
    """Slots 1 to `capacity` and their versions; slot 0, the bare base, is never assigned.

    `spare` additional slots are reserved for urgent loads, which then need not wait for a lease to end. The
    version keeps that slot; the next idle version is evicted instead.

    `on_vacated` is called, outside the lock, when a slot needs clearing; it should only wake a thread.
    """

    def __init__(
        self, capacity: int, *, spare: int = 0, on_vacated: Callable[[], None] | None = None
    ) -> None:
        if capacity < 1:
            raise ValueError(f"A slot table needs at least one slot, not {capacity}.")
        self.capacity = capacity
        self._spare = spare
        self._on_vacated = on_vacated
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)  # notified when there may be room
        self._entries: dict[str, _Entry] = {}
        self._free = deque(range(1, capacity + spare + 1))
        self._vacated: deque[int] = deque()
        self._clearing: set[int] = set()
        self._order = GreedyDual()  # of those committed
        self._pins: Counter[str] = Counter()
        self._to_drain: dict[str, str] = {}  # reason, by version to drain once it is loaded and not pinned
        self._history = History()

    def reserve(self, key: str, name: str = "", *, urgent: bool = False) -> Reservation | None:
        """Reserve a slot to load `key` into; None if it already has one.

        Takes a free slot, with `urgent` also a spare one, else evicts a version that is neither leased nor
        pinned, in the order of `GreedyDual`.
        A draining version becomes resident again, and a pending `drain` is cancelled, unless the version is
        pinned: then the drain was requested after the pin, and stays pending.

        Raises:
            Overloaded: every slot is loading, leased, pinned or being cleared.
        """
        with self._lock:
            if key not in self._pins:
                self._cancel_drain(key)
            if key in self._entries:
                return None
            evicted = None
            while not self._has_free_slot(urgent):
                evicted = self._evict(f"to make room for {name or key}")
            slot = self._vacated.pop() if evicted else (self._free or self._vacated).popleft()
            self._entries[key] = _Entry(slot, name or key)
            evicted_name = self._history.name(evicted) if evicted else ""
        self._notify(evicted is not None)
        return Reservation(key, slot, evicted, evicted_name)

    def wait_for_room(self, timeout: float, *, urgent: bool = False) -> bool:
        """Wait until `reserve` would find a slot; False after `timeout` seconds."""
        with self._lock:
            return self._room.wait_for(lambda: self._has_room(urgent), timeout)

    def commit(self, key: str, cost: float = 1.0, *, used: bool = True) -> None:
        """Make a loaded version resident: from now on it can be leased.

        `cost` is the cost of loading it, in any unit that all versions share. With `used` False it is evicted
        before versions that were used.

        Raises:
            ValueError: it is not being loaded, or the cost is negative or not finite.
        """
        with self._lock:
            entry = self._loading(key)
            self._order.add(key, cost, used=used)
            entry.state = SlotState.RESIDENT
            self._room.notify_all()
            self._history.forget(key)
            vacated = self._drain_pending(key) or self._trim()
        self._notify(vacated)

    def abort(self, key: str) -> None:
        """Free the slot of a version whose load failed."""
        with self._lock:
            self._loading(key)
            self._vacate(key)
            self._to_drain.pop(key, None)
        self._notify(True)

    def lease(self, key: str) -> Lease | None:
        """Claim the version's slot; None if it is absent, loading or draining."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.state is not SlotState.RESIDENT:
                return None
            entry.leases += 1
            self._order.use(key)
            return Lease(key, entry.slot, self._release)

    def pin(self, key: str) -> None:
        """Protect `key`, loaded or not, from eviction; pins are counted.

        As with `reserve`, a draining version becomes resident again.
        """
        with self._lock:
            self._pins[key] += 1
            self._cancel_drain(key)

    def unpin(self, key: str) -> None:
        """Remove one pin from `key`; after the last one, a postponed `drain` happens.

        Raises:
            ValueError: it is not pinned.
        """
        with self._lock:
            if not self._pins[key]:
                raise ValueError(f"{key!r} is not pinned.")
            self._pins[key] -= 1
            vacated = False
            if not self._pins[key]:
                del self._pins[key]
                self._room.notify_all()
                vacated = self._drain_pending(key)
        self._notify(vacated)

    def drain(self, key: str, reason: str = "") -> bool:
        """Give no new lease on `key` and free its slot after the last lease; True if that is now.

        A version that is loading or pinned is drained later, unless `pin` or `reserve` is called before.
        """
        with self._lock:
            if key in self._entries or key in self._pins:
                self._to_drain[key] = reason
            vacated = self._drain_pending(key)
            gone = key not in self._entries
        self._notify(vacated)
        return gone

    def failed(self, key: str, name: str, reason: str) -> None:
        """Record that a version could not be loaded."""
        with self._lock:
            self._history.add(key, name, Fate.FAILED, reason)

    def to_clear(self) -> int | None:
        """Return a slot that needs clearing, or None; the caller clears it and calls `cleared`."""
        with self._lock:
            if not self._vacated:
                return None
            slot = self._vacated.popleft()
            self._clearing.add(slot)
            return slot

    def cleared(self, slot: int) -> None:
        """Free a slot that `to_clear` returned.

        Raises:
            ValueError: `to_clear` did not return it.
        """
        with self._lock:
            if slot not in self._clearing:
                raise ValueError(f"Slot {slot} is not being cleared.")
            self._clearing.remove(slot)
            self._free.append(slot)
            self._room.notify_all()

    def state(self, key: str) -> SlotState | None:
        """Return the version's state; None if it has no slot."""
        with self._lock:
            entry = self._entries.get(key)
            return entry.state if entry else None

    @property
    def in_use(self) -> int:
        """The number of slots that belong to a version."""
        return len(self._entries)

    def view(self) -> list[SlotView]:
        """Return the slots in use, in the order of eviction; those being loaded come last."""
        with self._lock:
            loading = (key for key, one in self._entries.items() if one.state is SlotState.LOADING)
            keys = [*self._order.order(), *loading]
            return [
                SlotView(key, entry.name, entry.slot, entry.state, entry.leases, key in self._pins)
                for key, entry in ((key, self._entries[key]) for key in keys)
            ]

    def history(self) -> list[Gone]:
        """Return the fates of versions that are no longer resident, latest first."""
        with self._lock:
            return self._history.all()

    def _release(self, lease: Lease) -> None:
        with self._lock:
            if lease.released:
                return
            lease.released = True
            entry = self._entries[lease.key]
            entry.leases -= 1
            if not entry.leases:
                self._room.notify_all()
            vacated = (entry.state is SlotState.DRAINING and self._drain_pending(lease.key)) or self._trim()
        self._notify(vacated)

    def _has_free_slot(self, urgent: bool) -> bool:
        limit = self.capacity + (self._spare if urgent else 0)
        return len(self._entries) < limit and bool(self._free or self._vacated)

    def _has_room(self, urgent: bool) -> bool:
        return self._has_free_slot(urgent) or any(map(self._is_idle, self._entries))

    def _cancel_drain(self, key: str) -> None:
        self._to_drain.pop(key, None)
        entry = self._entries.get(key)
        if entry and entry.state is SlotState.DRAINING:
            entry.state = SlotState.RESIDENT
            self._order.use(key)

    def _drain_pending(self, key: str) -> bool:
        """Drain a version if its drain is due; True if a slot needs clearing."""
        entry = self._entries.get(key)
        if key not in self._to_drain or key in self._pins:
            return False
        if entry is None:
            del self._to_drain[key]
            return False
        if entry.state is SlotState.LOADING:
            return False
        if entry.leases:
            entry.state = SlotState.DRAINING
            return False
        self._history.add(key, entry.name, Fate.DRAINED, self._to_drain.pop(key))
        self._vacate(key)
        return True

    def _is_idle(self, key: str) -> bool:
        entry = self._entries[key]
        return entry.state is SlotState.RESIDENT and not entry.leases and key not in self._pins

    def _evict(self, reason: str) -> str:
        key = self._order.evict(self._is_idle)
        if key is None:
            raise Overloaded(
                f"All {self.capacity} adapter slots are in use. Try again, or start the server with more "
                "(serve.slots)."
            )
        self._history.add(key, self._entries[key].name, Fate.EVICTED, reason)
        self._vacate(key)
        return key

    def _trim(self) -> bool:
        """Evict idle versions to restore the spare slots; True if a slot needs clearing."""
        before = len(self._entries)
        while len(self._entries) > self.capacity and any(map(self._is_idle, self._entries)):
            self._evict("to keep a slot for the next deployment change")
        return len(self._entries) < before

    def _loading(self, key: str) -> _Entry:
        entry = self._entries.get(key)
        if entry is None or entry.state is not SlotState.LOADING:
            raise ValueError(f"{key!r} is not being loaded.")
        return entry

    def _vacate(self, key: str) -> None:
        self._order.remove(key)
        self._vacated.append(self._entries.pop(key).slot)
        self._room.notify_all()

    def _notify(self, vacated: bool) -> None:
        if vacated and self._vacated and self._on_vacated:
            self._on_vacated()
