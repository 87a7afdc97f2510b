"""What a slot table says of its slots."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Reservation", "SlotState", "SlotView"]


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
    evicted: str | None  # the version that had to leave for it


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot in use, as it was at one moment; `name` is what people call the version."""

    key: str
    name: str
    slot: int
    state: SlotState
    leases: int
    pinned: bool
