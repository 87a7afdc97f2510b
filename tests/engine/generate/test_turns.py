"""Who generates next: callers share by weight, and rows without a flow by slot."""

from __future__ import annotations

from collections import Counter

from hub.api import Row
from hub.engine.generate.rows import GeneratingRow, Turns
from hub.engine.shares import Flow


def row(flow: Flow | None, slot: int = 1, tokens: int = 4) -> GeneratingRow:
    return GeneratingRow(
        Row(list(range(tokens))),
        list(range(tokens)),
        slot,
        10,
        lambda text: None,
        lambda end: None,
        flow=flow,
    )


def test_a_quiet_caller_is_next_however_many_rows_a_flood_has() -> None:
    turns = Turns()
    for _ in range(100):
        turns.add(row(Flow("greedy", "mood")))
    turns.take(), turns.take()
    quiet = row(Flow("quiet", "mood"), tokens=9)
    turns.add(quiet)
    taken = [turns.take(), turns.take()]
    assert quiet in taken
    assert len(turns) == 97


def test_callers_share_by_weight() -> None:
    turns = Turns()
    flows = [Flow("a", "x", 1.0), Flow("b", "x", 3.0)]
    for flow in flows * 80:
        turns.add(row(flow))
    served = Counter(turns.take().flow for _ in range(80))
    assert [served[flow] for flow in flows] == [20, 60]


def test_rows_without_a_flow_take_turns_by_slot() -> None:
    turns = Turns()
    for slot in (1, 1, 1, 2, 2):
        turns.add(row(None, slot))
    assert [turns.take().slot for _ in range(5)] == [1, 2, 1, 2, 1]


def test_dropped_rows_leave_no_flow_behind() -> None:
    turns = Turns()
    kept, dropped = row(Flow("a", "x")), row(Flow("b", "x"))
    turns.add(kept), turns.add(dropped)
    assert turns.drop(lambda one: one is dropped) == [dropped]
    assert turns.peek() is kept
    assert (turns.take(), turns.peek(), len(turns)) == (kept, None, 0)
