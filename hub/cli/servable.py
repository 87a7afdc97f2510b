"""The check before the store takes an adapter: whether an engine can serve it on its base."""

from __future__ import annotations

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.protocol import AdapterWeights
from hub.store.manifest import Serving
from hub.store.store import Check
from hub.store.weights import AdapterFiles

__all__ = ["servable_on"]


_MAX_LOADED = 4_000_000_000  # bytes of base weights that a check loads to be sure


def servable_on(bases: Bases, *, trained_here: bool = False) -> Check:
    """Return the check for adapters of these bases.

    It is the one a deploy makes, on an engine of its own. A base is not loaded for it where names and shapes
    say enough: for an adapter that was `trained_here`, or if the base is very large. One that is merged into
    its base, or trained parameters of the base in full, always needs the base.
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
        if not weights.merged and (_replaces(weights, base) or not (trained_here or _is_large(base))):
            _check_on_engine(weights, base)

    return check


def _replaces(weights: AdapterWeights, base: Base) -> bool:
    """Tell whether the adapter has whole weights that the base has too, perhaps in a slotted head."""
    from hub.bases.inspect import layer_shapes

    trained = [name for name in weights.full if not name.endswith(".bias")]
    return any(f".{name}".endswith(f".{known}") for known in layer_shapes(base) for name in trained)


def _is_large(base: Base) -> bool:
    return sum(path.stat().st_size for path in base.path.glob("*.safetensors")) > _MAX_LOADED


def _check_on_engine(weights: AdapterWeights, base: Base) -> None:
    from hub.engine.build import build_engine

    engine = build_engine(base, kind="torch", slots=1, device="cpu")
    try:
        engine.check(weights)
    finally:
        engine.close()
