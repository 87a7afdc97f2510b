"""The parts of a runtime that has started."""

from __future__ import annotations

from dataclasses import dataclass

from hub.registry.host import Registry
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.canary.observers import Observers
from hub.serving.control.presence import Presence, Served
from hub.serving.control.reconciler import Reconciler
from hub.serving.requests.pipeline import Pipeline
from hub.serving.residency.residency import Residency
from hub.serving.routing.router import Failure, Router
from hub.store.catalog.replicas import Replicas
from hub.store.store import Store


@dataclass(frozen=True, slots=True)
class ServingParts:
    """What exists once the runtime has started."""

    store: Store
    base_workers: BaseWorkers
    residency: Residency
    router: Router
    reconciler: Reconciler
    pipeline: Pipeline
    replicas: Replicas
    presence: Presence | None
    observers: Observers | None

    def close(self) -> None:
        """Stop what runs, the last started first, and free everything."""
        if self.observers:
            self.observers.stop()
        if self.presence:
            self.presence.stop()
        self.reconciler.stop()
        self.residency.close()
        self.base_workers.close()
        self.pipeline.close()
        self.store.close()

    def failures(self) -> list[Failure]:
        """Return what cannot be served: versions that failed to load, then those that failed on demand."""
        found = [failure for _, failure in sorted(self.reconciler.failures.items())]
        known = {(failure.deployment, failure.role) for failure in found}
        return found + [one for one in self.router.failures() if (one.deployment, one.role) not in known]


def served(router: Router, reconciler: Reconciler, registry: Registry) -> Served:
    """Return the generation that this process serves, why it cannot serve the rest, and its plugins."""
    generation = router.routes.generation  # before the failures, which are known once it is published
    reasons: dict[str, list[str]] = {}
    for failure in reconciler.failures.values():
        reasons.setdefault(failure.deployment, []).append(
            f"{failure.role} {failure.wanted}: {failure.reason}"
        )
    found = sorted(
        registry.plugins(), key=lambda plugin: plugin.state != "ok"
    )  # of two entry points, the worse
    plugins = {plugin.id: (plugin.version, str(plugin.state)) for plugin in found}
    return Served(generation, {name: " ".join(each) for name, each in reasons.items()}, plugins)
