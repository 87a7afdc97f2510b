"""Checks, before the store accepts an adapter, that an engine can serve it on its base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hub.api import EngineRequest
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.protocol import AdapterWeights, Engine
from hub.registry.host import Registry
from hub.registry.opening import engine_for, open_engine
from hub.store.content.weights import AdapterFiles
from hub.store.manifest import Serving
from hub.store.store import Check

__all__ = ["servable_on"]

_MAX_LOADED = 4_000_000_000  # bytes of base weights that a check loads


def servable_on(bases: Bases, registry: Registry | None = None, *, trained_here: bool = False) -> Check:
    """Return the check for adapters of these bases.

    It is the check of a deploy, on an engine of its own. Only names and shapes are checked, without loading
    the base, for an adapter that was `trained_here` and for a very large base; an adapter that is merged into
    its base, or has fully trained parameters of the base, always needs the base. With a registry, the task
    answers its own examples with the adapter; without a loaded base, the outputs are made up.
    """
    from hub.engine.peft.load import weights_of
    from hub.serving.plugins.rehearsal import rehearse_alone

    def answer(serving: Serving, base: Base, engine: Engine | None) -> None:
        if registry:
            info = serving.info("imported", 0)
            rehearse_alone("This adapter", info, registry.task(serving.task), base, engine)

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
        if weights.merged or not (_replaces(weights, base) or not (trained_here or _is_large(base))):
            answer(serving, base, None)
            return
        with _engine_with(weights, base) as engine:
            answer(serving, base, engine)

    return check


def _replaces(weights: AdapterWeights, base: Base) -> bool:
    """Return whether the adapter has whole weights of layers that the base has too."""
    from hub.bases.inspect import layer_shapes

    trained = [name for name in weights.full if not name.endswith(".bias")]
    return any(f".{name}".endswith(f".{known}") for known in layer_shapes(base) for name in trained)


def _is_large(base: Base) -> bool:
    return sum(path.stat().st_size for path in base.path.glob("*.safetensors")) > _MAX_LOADED


@contextmanager
def _engine_with(weights: AdapterWeights, base: Base) -> Iterator[Engine]:
    """Build an engine and write the adapter to its only slot; raises BadAdapter if it does not fit."""
    kind = engine_for(base.source, "torch")
    engine: Engine = open_engine(kind, EngineRequest(base, slots=1, device="cpu"))
    try:
        engine.check(weights)
        engine.write(1, weights)
        yield engine
    finally:
        engine.close()
