"""What a version leaves in its slot is cleared, beside the forwards and beside loads."""

from __future__ import annotations

import threading

import pytest

from hub.engine.slots.table import SlotState
from hub.errors import Overloaded
from hub.serving.batching.slot_cleaner import SlotCleaner


class Engine:
    def __init__(self) -> None:
        self.cleared: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def clear(self, slot: int) -> None:
        self.entered.set()
        assert self.gate.wait(10)
        self.cleared.append(slot)


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def cleaner(engine):
    heard: list[int] = []
    made = SlotCleaner(engine, 1, name="tiny", cleared=lambda: heard.append(1))
    made.heard = heard
    yield made
    engine.gate.set()
    made.close()


def load(slots, key):
    assert slots.reserve(key)
    slots.commit(key)


@pytest.mark.parametrize("way", ["drained", "released", "aborted"])
def test_a_slot_is_cleared_when_its_version_leaves(way, engine, cleaner, until) -> None:
    slots = cleaner.slots
    if way == "aborted":
        slots.reserve("a")
        slots.abort("a")
    else:
        load(slots, "a")
        lease = slots.lease("a")
        if way == "drained":
            lease.release()
        slots.drain("a")
        lease.release()
    assert until(lambda: engine.cleared == [1])
    assert until(lambda: cleaner.heard == [1])


def test_nobody_gets_a_slot_that_is_being_cleared(engine, cleaner, until) -> None:
    slots = cleaner.slots
    load(slots, "a")
    engine.gate.clear()
    slots.drain("a")
    assert engine.entered.wait(10)
    with pytest.raises(Overloaded):
        slots.reserve("b")
    engine.gate.set()
    assert until(lambda: engine.cleared == [1])
    assert until(lambda: cleaner.heard == [1])
    load(slots, "b")
    assert slots.state("b") is SlotState.RESIDENT


def test_an_engine_that_fails_to_clear_costs_no_slot(engine, cleaner, until, monkeypatch, caplog) -> None:
    def fail(slot: int) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine, "clear", fail)
    load(cleaner.slots, "a")
    cleaner.slots.drain("a")
    assert until(lambda: cleaner.heard == [1])
    assert "Slot 1 of tiny could not be cleared" in caplog.text
    load(cleaner.slots, "b")
