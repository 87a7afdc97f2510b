"""The current state of a runtime as numbers, without a query of the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hub.engine.protocol import GenerationInfo
from hub.serving.batching.base_workers import BaseWorker
from hub.serving.observation import Track
from hub.serving.residency.residency import Residency
from hub.serving.routing.routes import Route, Routes

__all__ = ["BaseFigures", "RuntimeFigures", "figures_of"]

_NO_TEXTS = GenerationInfo()


@dataclass(frozen=True, slots=True)
class BaseFigures:
    """A resident base: its slots, what waits and runs on it, and its texts in progress."""

    name: str
    resident: int
    slots: int
    waiting_rows: int
    waiting_calls: int
    running_calls: int
    generation: GenerationInfo


@dataclass(frozen=True, slots=True)
class RuntimeFigures:
    """The state of one serving process.

    `resident` are the deployments and tracks whose version is in a slot, and `waiting` the calls that wait
    for a version to be loaded, by deployment.
    """

    routes: Routes
    failures: int
    resident: frozenset[tuple[str, Track]]
    waiting: Mapping[str, int]
    bases: tuple[BaseFigures, ...]


def figures_of(
    routes: Routes, failures: int, residency: Residency, base_workers: Iterable[BaseWorker]
) -> RuntimeFigures:
    """Collect the figures of a runtime's parts."""
    loads = residency.waiting()
    resident: set[tuple[str, Track]] = set()
    waiting: Counter[str] = Counter()
    for name, route in routes.by_name.items():
        for track, sha256, there in _versions(route, residency):
            if there:
                resident.add((name, track))
            waiting[name] += loads.get(sha256, 0)
    bases = tuple(_base_figures(base_worker) for base_worker in base_workers)
    return RuntimeFigures(routes, failures, frozenset(resident), +waiting, bases)


def _versions(route: Route, residency: Residency) -> Iterable[tuple[Track, str, bool]]:
    for track, target in ((Track.STABLE, route.stable), (Track.CANARY, route.canary)):
        if target:
            yield track, target.version.sha256, residency.is_resident(target.version)


def _base_figures(base_worker: BaseWorker) -> BaseFigures:
    texts = base_worker.engine.info().generation or _NO_TEXTS
    batcher, slots = base_worker.batcher, base_worker.slots
    return BaseFigures(
        base_worker.base.name,
        slots.in_use,
        slots.capacity,
        batcher.queued_rows,
        batcher.queued_jobs + texts.waiting,
        batcher.running_jobs + texts.running,
        texts,
    )
