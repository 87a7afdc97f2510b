"""Resident bases that answer without an adapter, by the task that needs none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from hub.errors import HubError
from hub.registry.host import LoadedTask, Registry
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.routing.routes import Route, Target
from hub.store.manifest import BaseRef, Manifest, Serving
from hub.store.records import Deployment, Version

__all__ = ["BareBases"]

_HEADS = {BaseKind.DECODER: HeadKind.GENERATE, BaseKind.ENCODER: HeadKind.EMBEDDING}


class BareBases(Mapping[str, Route]):
    """A route to each resident base that a task can answer with; it follows the bases as they are opened.

    A decoder answers by a task with the head GENERATE, an encoder by one with EMBEDDING, whose
    `Task.bare_base` is true.
    """

    def __init__(self, base_workers: BaseWorkers, registry: Registry) -> None:
        self._base_workers = base_workers
        self._registry = registry
        self._routes: dict[str, Route | None] = {}  # by fingerprint

    def __getitem__(self, name: str) -> Route:
        for base in self._bases():
            if base.name == name and (route := self._route(base)):
                return route
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(base.name for base in self._bases() if self._route(base)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _bases(self) -> list[Base]:
        return [base_worker.base for base_worker in self._base_workers.all()]

    def _route(self, base: Base) -> Route | None:
        if base.fingerprint not in self._routes:
            head = _HEADS.get(base.kind)
            task = self._task(head) if head else None
            self._routes[base.fingerprint] = _bare(base, task) if task else None
        return self._routes[base.fingerprint]

    def _task(self, head: HeadKind) -> LoadedTask | None:
        for name, spec in sorted(self._registry.tasks().items()):
            if spec.head is not head:
                continue
            try:
                task = self._registry.task(name)
            except HubError:  # an invalid plugin, which the registry reports
                continue
            if task.task.bare_base:
                return task
        return None


def _bare(base: Base, task: LoadedTask) -> Route:
    """Return a route to a base, which stands for a deployment and its version."""
    serving = Serving(
        task=task.spec.name,
        head=task.spec.head,
        base=BaseRef(name=base.name, source=base.source, fingerprint=base.fingerprint),
        max_length=base.max_length,
    )
    never = datetime.fromtimestamp(0, UTC)
    manifest = Manifest(serving=serving, created=never.isoformat(), origin="base")
    version = Version(base.name, 0, base.fingerprint, base.path, manifest, never)
    deployment = Deployment(base.name, task.spec.name, version, None, 0, never)
    return Route(deployment, task, Target.of(version), loads_on_demand=False)
