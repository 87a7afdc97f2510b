"""Runs rows on one backbone of an engine, to compare or to time backbones."""

from __future__ import annotations

from collections.abc import Sequence

from hub.api import Output
from hub.engine.protocol import EngineRow
from hub.engine.slot_engine import SlotEngine


def chosen(engine: SlotEngine, rows: int, tokens: int) -> str:
    """Return the name of the backbone for a batch of `rows` rows, padded to `tokens` tokens."""
    return engine._backbones.chosen(rows, tokens, engine._backbones.filled).name


def run_on(engine: SlotEngine, name: str, rows: Sequence[EngineRow]) -> list[Output]:
    """Run rows on the named backbone; the engine must not be measuring."""
    backbones = engine._backbones
    order = backbones._order
    backbones._order = lambda rows, tokens: [one for one in backbones.all if one.name == name]
    try:
        return engine.run(rows)
    finally:
        backbones._order = order
