"""The states of slots, as a slot table reports them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

__all__ = ["Fate", "Gone", "History", "Reservation", "SlotState", "SlotView"]

MAX_VERSIONS = 256  # in the history


class SlotState(StrEnum):
    """The state of a version's slot."""

    LOADING = "loading"  # being written: no leases
    RESIDENT = "resident"  # may be leased
    DRAINING = "draining"  # leased, but no new leases


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reserved slot: the caller must write it and `commit`, or `abort`."""

    key: str
    slot: int
    evicted: str | None  # the version evicted for it
    evicted_name: str = ""


@dataclass(frozen=True, slots=True)
class SlotView:
    """A snapshot of one slot in use; `name` is the version's `name@N`."""

    key: str
    name: str
    slot: int
    state: SlotState
    leases: int
    pinned: bool


class Fate(StrEnum):
    """Why a version lost its slot."""

    EVICTED = "evicted"  # another version needed its slot; loaded again on demand
    DRAINED = "drained"  # no route uses it, and its last lease has ended
    FAILED = "failed"  # it could not be loaded


@dataclass(frozen=True, slots=True)
class Gone:
    """The latest fate of a version that is not resident."""

    key: str
    name: str
    fate: Fate
    at: datetime
    reason: str


class History:
    """The latest fate of each of the last MAX_VERSIONS versions; not thread-safe."""

    def __init__(self) -> None:
        self._gone: OrderedDict[str, Gone] = OrderedDict()

    def add(self, key: str, name: str, fate: Fate, reason: str) -> None:
        """Record a version's fate; it replaces an earlier one."""
        self._gone.pop(key, None)
        self._gone[key] = Gone(key, name, fate, datetime.now(UTC), reason)
        if len(self._gone) > MAX_VERSIONS:
            self._gone.popitem(last=False)

    def name(self, key: str) -> str:
        """Return the name of a version that was added."""
        return self._gone[key].name

    def forget(self, key: str) -> None:
        """Remove a version that is resident now."""
        self._gone.pop(key, None)

    def all(self) -> list[Gone]:
        """Return all fates, latest first."""
        return list(reversed(self._gone.values()))
