"""A short row that shows whether a slot holds a sound adapter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind, Row, Tokenizer
from hub.bases.base import Base
from hub.engine.protocol import BARE_SLOT, AdapterWeights, Engine, EngineRow
from hub.errors import BadAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["Probe", "probe_row"]

TEXT = "The probe reads this sentence."  # several words: attention may overflow only between tokens
ROUNDING = 1e-5  # of the largest value of an embedding
CLEARLY = 0.1  # of the same: more than any two backbones of a base differ


class Probe:
    """Runs `row`, which any adapter of the base can take, beside the forward in progress.

    Waiting for that forward would delay the load. One row delays it little, so the bare base runs once, and
    again only beside an adapter that hardly differs from it.
    """

    def __init__(self, engine: Engine, row: Row) -> None:
        self._engine = engine
        self._row = row
        self._bare: Array | None = None

    def check(self, slot: int, weights: AdapterWeights, name: str) -> None:
        """Check that the outputs of a slot are finite, and differ from those of the bare base.

        An adapter without layers is a trained head, and may leave the base's outputs unchanged.

        Raises:
            BadAdapter: they are not.
        """
        generates = weights.kind is HeadKind.GENERATE
        outputs = self._run((slot, weights.kind), *([] if generates else [(slot, HeadKind.EMBEDDING)]))
        if any(output is not None and not np.isfinite(output).all() for output in outputs):
            raise BadAdapter(f"{name} answers a probe with NaN or infinity. Train it again.")
        if not (weights.layers or weights.merged):
            return
        if not weights.changes or (not generates and self._answers_as_the_base(slot, weights, outputs[-1])):
            raise BadAdapter(f"{name} changes nothing: it answers like the bare base. Train it first.")

    def _run(self, *slots_and_heads: tuple[int, HeadKind]) -> list[Array | None]:
        rows = [EngineRow(self._row, slot, head) for slot, head in slots_and_heads]
        return [output.values for output in self._engine.run(rows, aside=True)]

    def _answers_as_the_base(self, slot: int, weights: AdapterWeights, adapted: Array | None) -> bool:
        """Return whether a slot's embedding is that of the bare base; False if the engine gives none.

        DoRA magnitudes and biases that equal the base's cause rounding differences.
        """
        if self._bare is None:
            (self._bare,) = self._run((BARE_SLOT, HeadKind.EMBEDDING))
        if adapted is None or self._bare is None or _distance(adapted, self._bare) > CLEARLY:
            return False
        adapted, bare = self._run((slot, HeadKind.EMBEDDING), (BARE_SLOT, HeadKind.EMBEDDING))
        assert adapted is not None and bare is not None, "it gave embeddings just before"
        return (
            np.array_equal(adapted, bare)
            if weights.changes_any_base
            else _distance(adapted, bare) <= ROUNDING
        )


def probe_row(base: Base, tokenizer: Tokenizer) -> Row:
    """Return a row that the base can take."""
    if base.image:  # of different values: attention may overflow only between patches that differ
        values = np.linspace(-1, 1, math.prod(base.image.shape), dtype=np.float32)
        return base.image.row(values.reshape(base.image.shape))
    encoded: dict[str, Any] = tokenizer(TEXT)
    return Row(encoded["input_ids"], encoded.get("token_type_ids"), max_new_tokens=1)


def _distance(adapted: Array, bare: Array) -> float:
    """Return the largest difference of two embeddings, over the largest value of the second."""
    return float(np.abs(adapted - bare).max() / np.abs(bare).max())
