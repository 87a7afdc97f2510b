"""The client without a server: it works on the catalog, and predicts with a runtime in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.client.protocol import Json
from hub.config import Settings
from hub.registry.active import activate
from hub.registry.host import Registry
from hub.serving.describe import (
    describe_change,
    describe_deployment,
    describe_event,
    describe_plugins,
    describe_replica,
    describe_task,
)
from hub.store.catalog.replicas import Replicas
from hub.store.change import Deploy, DeploymentChange
from hub.store.jobs.describe import describe_job, describe_job_event
from hub.store.jobs.jobs import Jobs
from hub.store.jobs.records import EventKind, Page
from hub.store.records import Version
from hub.store.store import Store

if TYPE_CHECKING:
    from hub.client.local_runtime import LocalRuntime

__all__ = ["CatalogClient"]

MAX_EVENTS = 100  # shown of a job


class CatalogClient:
    """A client without a server; a running base is loaded only if something is predicted."""

    def __init__(self, settings: Settings) -> None:
        self.url: str | None = None
        self._settings = settings
        self._store = Store.of(settings)
        self._registry = activate(Registry.of(settings))
        self._local: LocalRuntime | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> CatalogClient:
        return self

    def __exit__(self, *error: object) -> None:
        if self._local:
            self._local.close()
        self._store.close()

    def deploy(self, deployment: str, change: Deploy) -> Json:
        version = self._store.get(change.version)
        if change.trial:
            from hub.serving.canary.grading import can_agree
            from hub.serving.canary.trial import check_trial

            comparable = can_agree(self._registry.task(version.manifest.serving.task))
            check_trial(self._store, deployment, version, change, comparable=comparable)
        warning = self._check(version)
        changed = self._store.deploy(deployment, change.pinned(version.ref))
        return describe_change(changed, warning=warning)

    def promote(self, deployment: str, change: DeploymentChange) -> Json:
        from hub.serving.canary.trial import promoted

        current = self._store.deployment(deployment)
        warning = self._check(promoted(current))
        changed = self._store.promote(deployment, change, seen=current.generation)
        return describe_change(changed, warning=warning)

    def rollback(self, deployment: str, change: DeploymentChange) -> Json:
        from hub.serving.canary.trial import rolled_back

        current = self._store.deployment(deployment)
        warning = self._check(rolled_back(current))
        changed = self._store.rollback(deployment, change, seen=current.generation)
        return describe_change(changed, warning=warning)

    def undeploy(self, deployment: str, change: DeploymentChange) -> Json:
        self._store.undeploy(deployment, change)
        return {"name": deployment, "removed": True}

    def deployments(self) -> list[Json]:
        return [describe_deployment(deployment) for deployment in self._store.deployments()]

    def history(self, deployment: str) -> list[Json]:
        return [describe_event(event) for event in self._store.history(deployment)]

    def deployment(self, name: str) -> Json:
        deployment = self._store.deployment(name)
        return {**describe_deployment(deployment), **describe_task(self._registry.task(deployment.task))}

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        return self._runtime().predict(deployment, items)

    def stream(self, deployment: str, request: Mapping[str, Any]) -> Iterator[str | Json]:
        return self._runtime().stream(deployment, request)

    def replicas(self) -> Json:
        generation = self._store.generation()
        live = [describe_replica(replica, generation) for replica in Replicas(self._store.catalog).live()]
        return {"replica": None, "catalog_generation": generation, "catalog_error": "", "replicas": live}

    def status(self) -> Json:
        return {
            "server": None,
            "generation": None,
            **self.replicas(),
            "deployments": self.deployments(),
            "failures": [],
            "engines": [],
            "loads": [],
            "plugins": describe_plugins(self._registry),
        }

    def jobs(self, limit: int) -> list[Json]:
        return [describe_job(job) for job in self._jobs.page(Page(limit))[:limit]]

    def job(self, id: str) -> Json:
        return describe_job(self._jobs.get(id))

    def job_events(self, id: str) -> list[Json]:
        kinds = (EventKind.MESSAGE, EventKind.METRICS)
        return [describe_job_event(event) for event in self._jobs.events(id, Page(MAX_EVENTS), kinds)]

    def cancel_job(self, id: str) -> Json:
        return describe_job(self._jobs.cancel(id))

    @property
    def _jobs(self) -> Jobs:
        return Jobs(self._store.catalog)

    def _runtime(self) -> LocalRuntime:
        from hub.client.local_runtime import LocalRuntime

        with self._starting:
            if self._local is None:
                self._local = LocalRuntime(self._settings, self._registry)
        return self._local

    def _check(self, version: Version) -> str:
        """Refuse a version that a server could not serve, as far as can be checked without an engine.

        Returns the reason why it may not fit the installed plugin, or "".
        """
        from hub.serving.control.fitness import check_fitness
        from hub.serving.plugins.rehearsal import rehearse_alone
        from hub.serving.residency.reading import read_weights

        serving = version.manifest.serving
        warning = check_fitness(version, self._registry)
        base = self._store.bases.by_fingerprint(serving.base.fingerprint)
        self._store.fetch(version)
        read_weights(version, base, self._settings.serve.max_rank)
        loaded, limits = self._registry.task(serving.task), self._settings.limits
        rehearse_alone(str(version.ref), version.info, loaded, base, limits=limits)
        return warning
