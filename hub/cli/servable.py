"""What the store asks before it takes an adapter: whether an engine could serve it on its base."""

from __future__ import annotations

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.protocol import AdapterWeights
from hub.store.manifest import Serving
from hub.store.store import Check
from hub.store.weights import AdapterFiles

__all__ = ["servable_on"]


def servable_on(bases: Bases) -> Check:
    """Return the check for adapters of these bases.

    A base is loaded for an adapter that is merged into it, or that trained parameters of the base in full.
    """
    from hub.engine.weights import weights_of

    def check(files: AdapterFiles, serving: Serving) -> None:
        base = bases.by_fingerprint(serving.base.fingerprint)
        weights = weights_of(
            base,
            files.config,
            files.tensors,
            kind=serving.head,
            num_labels=len(serving.labels),
            merged=serving.merged,
        )
        if not weights.merged and _replaces(weights, base):
            _check_on_engine(weights, base)

    return check


def _replaces(weights: AdapterWeights, base: Base) -> bool:
    """Tell whether the adapter has whole weights that the base has too, perhaps in a slotted head."""
    from hub.bases.inspect import weight_shapes

    trained = [name for name in weights.full if not name.endswith(".bias")]
    return any(f".{name}".endswith(f".{known}") for known in weight_shapes(base.path) for name in trained)


def _check_on_engine(weights: AdapterWeights, base: Base) -> None:
    from hub.engine.build import build_engine

    engine = build_engine(base, kind="torch", slots=1, device="cpu")
    try:
        engine.check(weights)
    finally:
        engine.close()
