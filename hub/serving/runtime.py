"""Everything one serving process holds, put together: store, plugins, bases, routes, pipeline."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from hub.config import Settings
from hub.errors import Conflict, HubError, NotReady
from hub.registry.host import Registry
from hub.serving.accounts.callers import Callers
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.canary.answer_log import AnswerLog
from hub.serving.canary.grading import can_agree
from hub.serving.canary.observers import Observers
from hub.serving.canary.trial import check_trial, promoted, rolled_back
from hub.serving.control.presence import BEAT_S, FILE_BEAT_S, Presence
from hub.serving.control.reconciler import Reconciler
from hub.serving.describe import (
    describe_base_worker,
    describe_hanging,
    describe_plugins,
    describe_replica,
    plugin_name,
)
from hub.serving.figures import RuntimeFigures, figures_of
from hub.serving.meter import Meter
from hub.serving.observation import Observer
from hub.serving.parts import ServingParts, served
from hub.serving.plugins.rehearsal import rehearse_on
from hub.serving.requests.pipeline import Pipeline
from hub.serving.residency.adapter_cache import AdapterCache
from hub.serving.residency.residency import Residency
from hub.serving.routing.bare_bases import BareBases
from hub.serving.routing.router import Router
from hub.store.catalog.replicas import Replicas
from hub.store.change import Deploy, DeploymentChange
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["AppliedChange", "Runtime"]

log = logging.getLogger(__name__)

ATTEMPTS = 5  # to change a deployment that others change at the same time
RETRY_S = 1.0  # a server that starts while the catalog is gone asks for it again after this


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """A deployment after a change; seconds to load its version, and from the change until it was live.

    `warning` says why the version may not fit the installed plugin.
    """

    deployment: Deployment
    prepare_s: float
    swap_s: float
    warning: str = ""


class Runtime:
    """One process's serving side. Constructing it is cheap; `start` loads, in a thread of its own.

    With `preload`, deployed versions are loaded before it is ready, as many as there are slots; the
    others, or all without it, when first asked.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        meter: Meter | None = None,
        *,
        preload: bool = True,
        observer: Observer | None = None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self._observer = observer
        self._meter = meter or Meter()
        self._preload = settings.serve.slots if preload else 0
        self._parts: ServingParts | None = None
        self._failed: HubError | None = None
        self._starter: threading.Thread | None = None
        self._closing = threading.Event()
        self.draining = False
        self.replica = uuid4().hex
        self.callers = Callers(self._meter)

    @property
    def ready(self) -> bool:
        """True once the catalog's deployments are live, or known to be broken."""
        return self._parts is not None

    def start(self, loop: asyncio.AbstractEventLoop, url: str | None = None) -> threading.Thread:
        """Load in the background; answers are delivered on `loop`.

        A server passes the `url` at which it answers, "" if it does not know it: it is listed among the
        replicas, and waits for a catalog that is unreachable.
        """
        self._starter = threading.Thread(target=self._start, args=(loop, url), name="start", daemon=True)
        self._starter.start()
        return self._starter

    def drain(self) -> None:
        """Give plugin code only a short time from now on, because the server shuts down."""
        self.draining = True
        if self._parts:
            self._parts.pipeline.drain()

    def close(self) -> None:
        """Wait for what runs, plugin code only for a short time, then free everything."""
        self._closing.set()
        if self._starter:
            self._starter.join()
        parts, self._parts = self._parts, None
        if parts:
            self.callers.stop()
            parts.close()

    @property
    def store(self) -> Store:
        return self._ready().store

    @property
    def router(self) -> Router:
        return self._ready().router

    @property
    def pipeline(self) -> Pipeline:
        return self._ready().pipeline

    @property
    def answers(self) -> AnswerLog:
        """What is kept of answers, and takes labels on them; only a server has it."""
        observers = self._ready().observers
        assert observers, "started as a server"
        return observers.answers

    def deploy(self, name: str, change: Deploy, *, seen: int | None = None) -> AppliedChange:
        """Load a version, then make it the stable one, the canary or the shadow; blocks.

        Raises:
            NotFound, Conflict, BadRequest: as `Store.deploy`, and `check_trial`.
            BadAdapter and others: the version cannot be served; nothing has changed.
        """
        store = self.store
        version = store.get(change.version)
        if change.trial:
            comparable = can_agree(self.registry.task(version.manifest.serving.task))
            feedback = self.settings.feedback.keep != "nothing"
            check_trial(store, name, version, change, feedback=feedback, comparable=comparable)
        return self._apply(version, partial(store.deploy, name, change.pinned(version.ref), seen=seen))

    def promote(self, name: str, change: DeploymentChange, *, seen: int | None = None) -> AppliedChange:
        """Make the canary, or where there is none the shadow, the stable version; blocks.

        Raises:
            NotFound, Conflict: as `Store.promote`.
            BadAdapter and others: the version cannot be served; nothing has changed.
        """
        return self._apply_seen(name, promoted, partial(self.store.promote, name, change), seen)

    def rollback(self, name: str, change: DeploymentChange, *, seen: int | None = None) -> AppliedChange:
        """End the trial, or without one go back to the previous version; blocks.

        Raises:
            NotFound, Conflict: as `Store.rollback`.
        """
        return self._apply_seen(name, rolled_back, partial(self.store.rollback, name, change), seen)

    def undeploy(self, name: str, change: DeploymentChange) -> None:
        """Remove a deployment; requests already admitted are still answered."""
        parts = self._ready()
        with parts.reconciler.change():
            parts.store.undeploy(name, change)

    def status(self) -> dict[str, Any]:
        """Describe engines, slots, queues, deployments, failures and plugins as plain JSON values."""
        parts = self._ready()
        routes = parts.router.routes
        return {
            "generation": routes.generation,
            **self.replicas(),
            "deployments": routes.describe(),
            "failures": [asdict(failure) for failure in parts.failures()],
            "engines": [describe_base_worker(base_worker) for base_worker in parts.base_workers.all()],
            "loads": parts.residency.describe(),
            "plugins": describe_plugins(self.registry),
            "hanging": [describe_hanging(state) for state in parts.pipeline.hanging()],
            **(parts.observers.describe() if parts.observers else {}),
        }

    def figures(self) -> RuntimeFigures | None:
        """Return the state as numbers; None while the server is not ready. Never blocks for long."""
        if not (parts := self._parts):
            return None
        failures, workers = len(parts.failures()), parts.base_workers.all()
        return figures_of(parts.router.routes, failures, parts.residency, workers)

    def resident(self) -> frozenset[str]:
        """Return the content hashes of the versions in slots."""
        workers = self._ready().base_workers.all()
        return frozenset(view.key for worker in workers for view in worker.slots.view())

    def replicas(self) -> dict[str, Any]:
        """Describe the serving processes that the catalog knows; without it, say so and go on."""
        parts = self._ready()
        found: dict[str, Any] = {"replica": self.replica, "catalog_generation": None, "replicas": []}
        try:
            found["catalog_generation"] = generation = parts.store.generation()
            found["replicas"] = [describe_replica(one, generation) for one in parts.replicas.live()]
        except HubError as error:
            return {**found, "catalog_error": str(error)}
        return {**found, "catalog_error": parts.reconciler.catalog_error}

    def _start(self, loop: asyncio.AbstractEventLoop, url: str | None) -> None:
        began = time.perf_counter()
        try:
            parts = self._open(loop, url)
        except HubError as error:
            self._failed = error
            log.error("The hub cannot start: %s", error)
            return
        except Exception as error:
            self._failed = HubError(f"The hub cannot start ({type(error).__name__}); the log says why.")
            log.exception("The hub cannot start.")
            return
        self._parts, self._failed = parts, None
        for plugin in self.registry.plugins():
            if plugin.state == "broken":
                log.warning("Plugin %s is broken: %s", plugin.id, plugin.reason)
        for watch in (parts.presence, parts.observers):
            if watch:
                watch.start()
        seconds, live = time.perf_counter() - began, len(parts.router.routes.by_name)
        log.info("Ready after %.1f s with %d deployments.", seconds, live)

    def _open(self, loop: asyncio.AbstractEventLoop, url: str | None) -> ServingParts:
        """Build everything and converge; a server does so again and again until the catalog answers."""
        while True:
            parts = None
            try:
                parts = self._build(loop, url)
                if url is not None:
                    self.callers.start(parts.store.catalog, self.settings.serve.poll_ms / 1000)
                parts.reconciler.start()
                return parts
            except BaseException as error:
                if parts:
                    self.callers.stop()
                    parts.close()
                if url is None or not isinstance(error, NotReady) or self._closing.is_set():
                    raise
                if self._failed is None:
                    log.warning("The hub starts as soon as it can: %s", error)
                self._failed = error
            self._closing.wait(RETRY_S)

    def _build(self, loop: asyncio.AbstractEventLoop, url: str | None) -> ServingParts:
        settings, meter, registry = self.settings, self._meter, self.registry
        store, observers = Store.of(settings, keep_open=True), None
        if url is not None and self._observer is None:
            observers = Observers(store, settings.feedback, self.replica, self, meter, registry.extensions)
        pipeline = Pipeline(
            settings.limits,
            loop,
            self._observer or observers,
            events=observers.events if observers else None,
            plugin_of=partial(plugin_name, registry),
            meter=meter,
        )
        base_workers = BaseWorkers(store.bases, settings, deliver=pipeline.forwarded, meter=meter)
        residency = Residency(
            base_workers,
            meter,
            store.fetch,
            timeout_s=settings.serve.load_timeout_s,
            adapter_cache=AdapterCache(settings.serve.adapter_cache_mb * 1_000_000),
            max_rank=settings.serve.max_rank,
            rehearse=partial(rehearse_on, registry, pipeline.pool),
            closing=self._closing,
        )
        residency.note = observers.events.adapter if observers else residency.note
        router = Router(residency, bases=BareBases(base_workers, registry))
        reconciler = Reconciler(
            store,
            registry,
            residency,
            router,
            serve=settings.serve,
            preload=self._preload,
            meter=meter,
            converged=self._converged,
        )
        router.refresh = reconciler.refresh
        replicas = Replicas(store.catalog)
        presence, every_s = None, FILE_BEAT_S if store.catalog.is_file else BEAT_S
        if url is not None:
            now = partial(served, router, reconciler, registry)
            presence = Presence(replicas, self.replica, url, now, every_s)
        return ServingParts(
            store, base_workers, residency, router, reconciler, pipeline, replicas, presence, observers
        )

    def _converged(self) -> None:
        if self._parts and self._parts.presence:
            self._parts.presence.changed()

    def _ready(self) -> ServingParts:
        if self._failed:
            raise NotReady(f"The server could not start: {self._failed}")
        if not self._parts:
            raise NotReady("The server is still loading. Try again in a few seconds.")
        return self._parts

    def _apply_seen(
        self,
        name: str,
        target: Callable[[Deployment], Version],
        apply: Callable[..., Deployment],
        seen: int | None,
    ) -> AppliedChange:
        """Change the deployment as it is now, or was at `seen`; others may change it during the load."""
        store = self.store
        for _ in range(ATTEMPTS):
            current = store.deployment(name)
            at = current.generation if seen is None else seen
            try:
                return self._apply(target(current), partial(apply, seen=at))
            except Conflict:
                if seen is not None or store.deployment(name).generation == at:
                    raise
        raise Conflict(f"{name!r} is changed by others all the time. Try again.")

    def _apply(self, version: Version, apply: Callable[[], Deployment]) -> AppliedChange:
        parts = self._ready()
        began = time.perf_counter()
        with parts.reconciler.prepared(version) as warning, parts.reconciler.change():
            prepared = time.perf_counter()
            deployment = apply()
        return AppliedChange(deployment, prepared - began, time.perf_counter() - prepared, warning)
