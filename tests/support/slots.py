"""What tests ask of a slot table."""

from __future__ import annotations

from hub.engine.slots.states import SlotState
from hub.engine.slots.table import SlotTable


def evictable(table: SlotTable) -> list[str]:
    """Return the versions that `reserve` may evict, in the order of eviction."""
    idle = [one for one in table.view() if one.state is SlotState.RESIDENT and not (one.leases or one.pinned)]
    return [one.key for one in idle]
