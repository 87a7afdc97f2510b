"""A deterministic engine without torch, for tests and plugin authors.

Values depend on a hash of (adapter, token ids, pixels): they differ between adapters and rows, repeat
exactly, and have the shapes of a real engine's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hub.api import FinishReason, HeadKind, Output, Row
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineInfo, EngineRow, Generating, OnEnd, OnText
from hub.errors import EngineFailed

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["FakeEngine"]

_HIDDEN = 16
_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")


class FakeEngine:
    """Implements `Engine`; answers depend on the adapter in the row's slot and on the row alone."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._adapters: dict[int, AdapterWeights] = {}

    def check(self, weights: AdapterWeights) -> None:
        """Accept any adapter: there is no base to check it against."""

    def write(self, slot: int, weights: AdapterWeights) -> None:
        if not BARE_SLOT < slot <= self._slots:
            raise ValueError(f"Slot {slot} is not between 1 and {self._slots}.")
        self._adapters[slot] = weights

    def clear(self, slot: int) -> None:
        self._adapters.pop(slot, None)

    def run(self, rows: Sequence[EngineRow], *, aside: bool = False) -> list[Output]:
        return [self._answer(row) for row in rows]

    @property
    def packs(self) -> bool:
        return False

    @property
    def streams(self) -> bool:
        return True

    def generate(self, row: EngineRow, on_text: OnText, on_end: OnEnd) -> Generating:
        output = self._answer(row)
        middle = len(output.text) // 2
        for piece in (output.text[:middle], output.text[middle:]):
            on_text(piece)
        on_end(output)
        return _Ended()

    def settle(self, timeout: float) -> bool:
        return True

    def info(self) -> EngineInfo:
        return EngineInfo("fake", "none", "float32", self._slots, base_bytes=0, slot_bytes=0)

    def close(self) -> None:
        self._adapters.clear()

    def _answer(self, engine_row: EngineRow) -> Output:
        row, weights = engine_row.row, self._adapters.get(engine_row.slot)
        if weights is None and engine_row.head not in (HeadKind.EMBEDDING, HeadKind.GENERATE):
            raise EngineFailed(f"Slot {engine_row.slot} holds no adapter with a {engine_row.head} head.")
        random = np.random.default_rng(_seed(weights.sha256 if weights else "", row))
        if engine_row.head is HeadKind.GENERATE:
            words = random.choice(_WORDS, size=min(max(row.max_new_tokens, 1), 5))
            return Output(row, None, " ".join(words), len(words), FinishReason.LENGTH)
        values: Array = random.standard_normal(_shape(engine_row.head, row, weights), dtype=np.float32)
        return Output(row, values)


class _Ended:
    """A row whose text was complete at once."""

    started_at = 0.0

    def cancel(self) -> None:
        return


def _shape(head: HeadKind, row: Row, weights: AdapterWeights | None) -> tuple[int, ...]:
    labels = weights.num_labels if weights else 0
    tokens = len(row.input_ids)
    shapes = {
        HeadKind.SEQUENCE: (labels,),
        HeadKind.TOKEN: (tokens, labels),
        HeadKind.SPAN: (tokens, 2),
        HeadKind.EMBEDDING: (_HIDDEN,) if row.pooling else (tokens, _HIDDEN),
    }
    return shapes[head.declared]


def _seed(sha256: str, row: Row) -> int:
    text = f"{sha256}:{','.join(map(str, row.input_ids))}"
    digest = hashlib.sha256(text.encode())
    if row.pixel_values is not None:
        digest.update(row.pixel_values.tobytes())
    return int.from_bytes(digest.digest()[:8], "big")
