"""A short row that shows whether a slot holds a sound adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind, Output, Row, Tokenizer
from hub.bases.base import Base
from hub.engine.protocol import BARE_SLOT, AdapterWeights, Engine, EngineRow
from hub.errors import BadAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array
    from hub.serving.batching.base_workers import BaseWorker

__all__ = ["NewSlot", "SlotProbe", "probe_row"]

TEXT = "The probe reads this sentence."  # several words: attention may overflow only between tokens
ROUNDING = 1e-5  # of the largest value of an embedding
CLEARLY = 0.1  # of the same: more than float32 and bf16 differ


class SlotProbe:
    """Runs `row`, which any adapter of the base can take.

    The bare base runs once, and again only beside an adapter that hardly differs from it.
    """

    def __init__(self, engine: Engine, row: Row) -> None:
        self._engine = engine
        self._row = row
        self._bare: Array | None = None

    def check(
        self, slot: int, weights: AdapterWeights, name: str, rows: Sequence[EngineRow] = ()
    ) -> list[Output]:
        """Check that the outputs of a slot are finite, and differ from those of the bare base.

        An adapter without layers is a trained head, and may leave the base's outputs unchanged. Other `rows`
        are run in the same forward; their outputs are returned.

        Raises:
            BadAdapter: they are not.
        """
        generates = weights.kind is HeadKind.GENERATE
        heads = [weights.kind] if generates else [weights.kind, HeadKind.EMBEDDING]
        outputs = self._run(*((slot, head) for head in heads), rows=rows)
        own = [output.values for output in outputs[: len(heads)]]
        if any(values is not None and not np.isfinite(values).all() for values in own):
            raise BadAdapter(f"{name} answers a probe with NaN or infinity. Train it again.")
        if (weights.layers or weights.merged) and (
            not weights.changes or (not generates and self._answers_as_the_base(slot, weights, own[-1]))
        ):
            raise BadAdapter(f"{name} changes nothing: it answers like the bare base. Train it first.")
        return outputs[len(heads) :]

    def _run(self, *slots_and_heads: tuple[int, HeadKind], rows: Sequence[EngineRow] = ()) -> list[Output]:
        probes = [EngineRow(self._row, slot, head) for slot, head in slots_and_heads]
        return self._engine.run([*probes, *rows], aside=True)

    def _answers_as_the_base(self, slot: int, weights: AdapterWeights, adapted: Array | None) -> bool:
        """Return whether a slot's embedding is that of the bare base; False if the engine gives none.

        DoRA magnitudes and biases that equal the base's cause rounding differences.
        """
        if self._bare is None:
            self._bare = self._run((BARE_SLOT, HeadKind.EMBEDDING))[0].values
        if adapted is None or self._bare is None or _distance(adapted, self._bare) > CLEARLY:
            return False
        both = self._run((slot, HeadKind.EMBEDDING), (BARE_SLOT, HeadKind.EMBEDDING))
        adapted, bare = (output.values for output in both)
        assert adapted is not None and bare is not None, "it gave embeddings just before"
        allowed = 0.0 if weights.changes_any_base else ROUNDING
        return _distance(adapted, bare) <= allowed


class NewSlot:
    """A slot that was just written; the probe runs in the first forward there."""

    def __init__(self, base_worker: BaseWorker, slot: int, weights: AdapterWeights, name: str) -> None:
        self.base_worker = base_worker
        self._probe = partial(base_worker.probe.check, slot, weights, name)
        self._slot = slot
        self._generates = weights.kind is HeadKind.GENERATE
        self._probed = False

    def run(self, rows: Sequence[Row], head: HeadKind) -> Sequence[Output]:
        """Run rows; raises as the engine does and, the first time, as `SlotProbe.check`."""
        here = [EngineRow(row, self._slot, head) for row in rows]
        if not self._probed and not self._generates:
            outputs = self._probe(here)
            self._probed = True  # not if a row was refused, and all that ran with it
            return outputs
        self.probe()
        return self.base_worker.engine.run(here, aside=True)

    def probe(self) -> None:
        """Run the probe, if no row has run."""
        if not self._probed:
            self._probe()
            self._probed = True


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
