"""Which version is in which slot, and who still needs it: bookkeeping only, no tensors.

A slot is free, or belongs to one version in one of three states:

    free --reserve--> LOADING --commit--> RESIDENT --drain--> DRAINING --last release--> free
                         |                   |  ^                 |
                         +--abort--> free    |  +-----reserve-----+
                                             +--evicted by reserve (idle, not pinned)--> its next owner

Loading, by whoever wants a version resident:

    reservation = table.reserve(sha256)          # None: it is resident, or another thread loads it
    if reservation:
        try:
            engine.write(reservation.slot, weights)
        except BaseException:
            table.abort(sha256)
            raise
        table.commit(sha256)

Serving, by whoever admits a request:

    with table.lease(sha256) as lease:           # hold it until the forward that reads the slot is over
        ... EngineRow(row, lease.slot, head) ...

`lease` gives None instead of a lease when the version is not resident, so that the caller can load it.
A lease may be released from any thread, once or many times; only the first counts. Release it after
the engine has answered, not when a client stops waiting: the slot is rewritten once nobody leases it.

Pins protect versions that deployments point at from eviction. They belong to the key, not to the
slot: a version may be pinned before it is loaded, and stays pinned until `unpin` or `drain`.

Every method is one critical section under one lock, and none of them blocks on anything else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from hub.errors import Overloaded

__all__ = ["Lease", "Reservation", "SlotState", "SlotTable", "SlotView"]


class SlotState(StrEnum):
    """What may happen to a version's slot."""

    LOADING = "loading"  # being written: no leases
    RESIDENT = "resident"  # may be leased
    DRAINING = "draining"  # leased, but to nobody new


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot that the caller must now write, then `commit`, or else `abort`."""

    key: str
    slot: int
    evicted: str | None  # the version that had the slot


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot in use, as it was at one moment."""

    key: str
    slot: int
    state: SlotState
    leases: int
    pinned: bool


class Lease:
    """A claim on a version's slot: the slot is not rewritten until `release`."""

    __slots__ = ("_released", "_table", "key", "slot")

    def __init__(self, table: SlotTable, key: str, slot: int) -> None:
        self.key = key
        self.slot = slot
        self._table = table
        self._released = False

    def release(self) -> None:
        """Give the claim up; calling it again does nothing."""
        self._table._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(slots=True)
class _Entry:
    slot: int
    state: SlotState
    leases: int = 0


class SlotTable:
    """Slots 1 to `capacity` and the versions in them; slot 0, the bare base, is never handed out."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"A slot table needs at least one slot, not {capacity}.")
        self.capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._free = deque(range(1, capacity + 1))
        self._pinned: set[str] = set()

    def reserve(self, key: str) -> Reservation | None:
        """Take a slot for `key` to be loaded into; None if it already has one.

        Takes a free slot, or else the slot of the least recently used version that is neither leased
        nor pinned. A draining version becomes resident again.

        Raises:
            Overloaded: every slot is loading, leased or pinned.
        """
        with self._lock:
            if entry := self._entries.get(key):
                if entry.state is SlotState.DRAINING:
                    entry.state = SlotState.RESIDENT
                return None
            evicted = None
            if not self._free:
                evicted = self._idle()
                self._forget(evicted)
            slot = self._free.popleft()
            self._entries[key] = _Entry(slot, SlotState.LOADING)
            return Reservation(key, slot, evicted)

    def commit(self, key: str) -> None:
        """Make a loaded version resident: from now on it can be leased."""
        with self._lock:
            self._loading(key).state = SlotState.RESIDENT

    def abort(self, key: str) -> None:
        """Give back the slot of a version whose loading failed."""
        with self._lock:
            self._loading(key)
            self._forget(key)

    def lease(self, key: str) -> Lease | None:
        """Claim the version's slot; None if it is absent, loading or draining."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.state is not SlotState.RESIDENT:
                return None
            entry.leases += 1
            self._entries.move_to_end(key)
            return Lease(self, key, entry.slot)

    def pin(self, key: str) -> None:
        """Keep `key`, loaded or not, from being evicted."""
        with self._lock:
            self._pinned.add(key)

    def unpin(self, key: str) -> None:
        """Allow `key` to be evicted when it is idle."""
        with self._lock:
            self._pinned.discard(key)

    def drain(self, key: str) -> bool:
        """Unpin `key`, lease it to nobody new, free it with its last lease; True if it is free now.

        A version that is being loaded is left alone, and False is returned.
        """
        with self._lock:
            self._pinned.discard(key)
            entry = self._entries.get(key)
            if entry is None:
                return True
            if entry.state is SlotState.LOADING:
                return False
            if entry.leases:
                entry.state = SlotState.DRAINING
                return False
            self._forget(key)
            return True

    def state(self, key: str) -> SlotState | None:
        """Return the version's state; None if it has no slot."""
        with self._lock:
            entry = self._entries.get(key)
            return entry.state if entry else None

    def evictable(self) -> list[str]:
        """Return the versions that `reserve` may evict, in the order it would."""
        with self._lock:
            return [key for key in self._entries if self._is_idle(key)]

    def view(self) -> list[SlotView]:
        """Return the slots in use, least recently used first."""
        with self._lock:
            return [
                SlotView(key, entry.slot, entry.state, entry.leases, key in self._pinned)
                for key, entry in self._entries.items()
            ]

    def _release(self, lease: Lease) -> None:
        with self._lock:
            if lease._released:
                return
            lease._released = True
            entry = self._entries[lease.key]
            entry.leases -= 1
            if entry.state is SlotState.DRAINING and not entry.leases:
                self._forget(lease.key)

    def _is_idle(self, key: str) -> bool:
        entry = self._entries[key]
        return entry.state is SlotState.RESIDENT and not entry.leases and key not in self._pinned

    def _idle(self) -> str:
        for key in self._entries:
            if self._is_idle(key):
                return key
        raise Overloaded(
            f"All {self.capacity} adapter slots are in use or pinned by deployments. Try again, remove a "
            "deployment, or start the server with more slots."
        )

    def _loading(self, key: str) -> _Entry:
        entry = self._entries.get(key)
        if entry is None or entry.state is not SlotState.LOADING:
            raise ValueError(f"{key!r} is not being loaded.")
        return entry

    def _forget(self, key: str) -> None:
        self._free.append(self._entries.pop(key).slot)
