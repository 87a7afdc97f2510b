"""Waits for a slot that a version can be written to."""

from __future__ import annotations

import time

from hub.engine.slots.table import Reservation, SlotState, SlotTable, SlotView
from hub.errors import Overloaded

__all__ = ["reserve"]

DRAIN_AFTER_S = 0.05  # leases are short: most slots are idle before that
SLOT_WAIT_S = 10.0


def reserve(slots: SlotTable, sha256: str, name: str, *, urgent: bool) -> Reservation | None:
    """Reserve a slot; while none is idle, wait, and every DRAIN_AFTER_S drain the first version to evict.

    Raises:
        Overloaded: no slot became free in time.
    """
    now = time.monotonic()
    give_up_at, drain_at = now + SLOT_WAIT_S, now + DRAIN_AFTER_S
    while True:
        try:
            return slots.reserve(sha256, name, urgent=urgent)
        except Overloaded:
            now = time.monotonic()
            if now > give_up_at:
                raise
        if now >= drain_at:
            drain_at = now + DRAIN_AFTER_S
            if busy := _busy(slots):
                slots.drain(busy[0].key, f"to make room for {name}")
        slots.wait_for_room(min(drain_at, give_up_at) - now, urgent=urgent)


def _busy(slots: SlotTable) -> list[SlotView]:
    """Return the leased versions that may be drained, in the order of eviction."""
    return [view for view in slots.view() if view.state is SlotState.RESIDENT and not view.pinned]
