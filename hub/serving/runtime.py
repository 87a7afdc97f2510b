"""Everything one serving process holds, put together: store, plugins, bases, routes, pipeline."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hub.config import Settings
from hub.errors import HubError, NotReady
from hub.registry.host import Registry
from hub.serving.describe import describe_plugins
from hub.serving.lanes import Lane, Lanes
from hub.serving.meter import Meter, NoMeter
from hub.serving.pipeline import Pipeline
from hub.serving.reconciler import Reconciler
from hub.serving.residency import Residency
from hub.serving.router import Router
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["Moved", "Runtime"]

log = logging.getLogger(__name__)

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Moved:
    """A deployment after a move; seconds to make its version ready, and from the move to its first answer."""

    deployment: Deployment
    prepare_s: float
    swap_s: float


@dataclass(frozen=True, slots=True)
class _Parts:
    """What exists once the runtime has started."""

    store: Store
    lanes: Lanes
    residency: Residency
    router: Router
    reconciler: Reconciler
    pipeline: Pipeline


class Runtime:
    """One process's serving side. Constructing it is cheap; `start` loads, in a thread of its own.

    With `preload`, deployed versions are loaded before it is ready, as many as there are slots; the
    others, or all without it, when first asked.
    """

    def __init__(
        self, settings: Settings, registry: Registry, meter: Meter | None = None, *, preload: bool = True
    ) -> None:
        self.settings = settings
        self.registry = registry
        self._meter = meter or NoMeter()
        self._preload = settings.serve.slots if preload else 0
        self._parts: _Parts | None = None
        self._failed: HubError | None = None
        self._starter: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """True once the catalog's deployments are live, or known to be broken."""
        return self._parts is not None

    def start(self, loop: asyncio.AbstractEventLoop) -> threading.Thread:
        """Load in the background; answers are delivered on `loop`."""
        self._starter = threading.Thread(target=self._start, args=(loop,), name="start", daemon=True)
        self._starter.start()
        return self._starter

    def close(self) -> None:
        """Wait for what runs, then free everything."""
        if self._starter:
            self._starter.join()
        parts, self._parts = self._parts, None
        if parts:
            parts.reconciler.stop()
            parts.residency.close()
            parts.lanes.close()
            parts.pipeline.close()

    @property
    def store(self) -> Store:
        return self._ready().store

    @property
    def router(self) -> Router:
        return self._ready().router

    @property
    def pipeline(self) -> Pipeline:
        return self._ready().pipeline

    def deploy(self, name: str, ref: str, *, by: str, why: str = "") -> Moved:
        """Make a version ready, move the catalog's pointer, and put the version live; blocks.

        Raises:
            NotFound, Conflict: as `Store.deploy`.
            BadAdapter and others: the version cannot be served; nothing has moved.
        """
        store = self.store
        version = store.get(ref)
        return self._move(version, lambda: store.deploy(name, version.ref, by=by, why=why))

    def rollback(self, name: str, *, by: str, why: str = "") -> Moved:
        """Go back to the version that was live before; blocks.

        Raises:
            NotFound, Conflict: as `Store.rollback`.
        """
        store = self.store
        current = store.deployment(name)
        target = current.previous or current.stable  # the store refuses where there is no previous one
        return self._move(target, lambda: store.rollback(name, by=by, why=why))

    def undeploy(self, name: str, *, by: str) -> None:
        """Take a deployment away; requests already admitted are still answered."""
        parts = self._ready()
        with parts.reconciler.moving():
            parts.store.undeploy(name, by=by)
            parts.reconciler.converge()

    def status(self) -> dict[str, Any]:
        """Describe engines, slots, queues, deployments, failures and plugins as plain JSON values."""
        parts = self._ready()
        routes = parts.router.routes
        return {
            "generation": routes.generation,
            "catalog_generation": parts.store.generation(),
            "catalog_error": parts.reconciler.catalog_error,
            "deployments": routes.describe(),
            "failures": [asdict(failure) for _, failure in sorted(parts.reconciler.failures.items())],
            "engines": [_lane_status(lane) for lane in parts.lanes.all()],
            "plugins": describe_plugins(self.registry),
        }

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        began = time.perf_counter()
        try:
            parts = self._build(loop)
            parts.reconciler.start()
        except HubError as error:
            self._failed = error
            log.error("The hub cannot start: %s", error)
            return
        except Exception as error:
            self._failed = HubError(f"The hub cannot start ({type(error).__name__}); the log says why.")
            log.exception("The hub cannot start.")
            return
        self._parts = parts
        live = len(parts.router.routes.by_name)
        log.info("Ready after %.1f s with %d deployments.", time.perf_counter() - began, live)

    def _build(self, loop: asyncio.AbstractEventLoop) -> _Parts:
        settings, meter = self.settings, self._meter
        store = Store.of(settings)
        pipeline = Pipeline(settings.limits, loop)
        lanes = Lanes(store.bases, settings, deliver=pipeline.forwarded, meter=meter)
        residency = Residency(lanes, meter, settings.home / SCRATCH)
        router = Router(residency)
        reconciler = Reconciler(
            store,
            self.registry,
            residency,
            router,
            poll_s=settings.serve.poll_ms / 1000,
            preload=self._preload,
            meter=meter,
        )
        return _Parts(store, lanes, residency, router, reconciler, pipeline)

    def _ready(self) -> _Parts:
        if self._failed:
            raise NotReady(f"The server could not start: {self._failed}")
        if not self._parts:
            raise NotReady("The server is still loading. Try again in a few seconds.")
        return self._parts

    def _move(self, version: Version, move: Callable[[], Deployment]) -> Moved:
        parts = self._ready()
        began = time.perf_counter()
        with parts.reconciler.moving():
            parts.reconciler.prepare(version)
            prepared = time.perf_counter()
            deployment = move()
            parts.reconciler.converge()
        return Moved(deployment, prepared - began, time.perf_counter() - prepared)


def _lane_status(lane: Lane) -> dict[str, Any]:
    return {
        "base": lane.base.name,
        "fingerprint": lane.base.fingerprint,
        "engine": asdict(lane.engine.info()),
        "queued_rows": lane.batcher.waiting,
        "slots": {
            "capacity": lane.slots.capacity,
            "resident": [
                {"sha256": view.key, "slot": view.slot, "state": str(view.state), "leases": view.leases}
                for view in lane.slots.view()
            ],
        },
    }
