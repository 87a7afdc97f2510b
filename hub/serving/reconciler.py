"""Moves what is served towards what the catalog wants, whoever changed it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from hub.errors import BadAdapter, HubError
from hub.registry.host import Registry
from hub.serving.meter import Meter
from hub.serving.residency import RETRY_AFTER_S, Residency
from hub.serving.router import Route, Router, Routes
from hub.serving.watch import Watch
from hub.store.listen import Listener
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["Failure", "Reconciler"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """A deployment whose wanted version cannot go live; `serving` is what stays live, if anything."""

    deployment: str
    wanted: str
    serving: str | None
    reason: str


class Reconciler:
    """Converges on the catalog: on demand, and whenever its generation is seen to have moved.

    The first time it loads `preload` versions of each base, and leaves the rest to be loaded when asked.
    `converged` is called after every time.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        residency: Residency,
        router: Router,
        *,
        poll_s: float,
        preload: int,
        meter: Meter,
        converged: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._residency = residency
        self._router = router
        self._preload = preload
        self._meter = meter
        self._moving = threading.RLock()
        self._converged = converged
        self._watch = Watch(self._look, poll_s)
        self._listener = Listener(store.catalog, self._watch.wake)
        self._retry_at = 0.0  # monotonic
        self._served: dict[str, Version] = {}  # routed at some time, and not drained since
        self.failures: dict[str, Failure] = {}
        self.catalog_error = ""

    def start(self) -> None:
        """Converge for the first time, then follow the catalog."""
        self.converge()
        self._watch.start()
        self._listener.start()

    def stop(self) -> None:
        """Follow it no more, and wait for a converging under way."""
        self._listener.stop()
        self._watch.stop()

    async def seen_anew(self) -> str:
        """Wait until what the catalog says now is served; "", or why that cannot be said."""
        return await self._watch.seen_anew()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Keep others from converging while the caller moves a pointer."""
        with self._moving:
            yield

    def prepare(self, version: Version) -> None:
        """Make a version resident and checked, or raise the HubError that says why it cannot be."""
        serving = version.manifest.serving
        spec = self._registry.task(serving.task).spec
        if spec.head is not serving.head:
            raise BadAdapter(
                f"{version.ref} has a {serving.head} head, and the task {spec.name!r} now needs {spec.head}."
            )
        self._residency.ensure(version, again=True).result()

    def converge(self) -> None:
        """Put every deployment's wanted version live; one that cannot be leaves the live one alone."""
        with self._moving:
            generation = self._store.generation()
            wanted = {deployment.name: deployment for deployment in self._store.deployments()}
            before = self._router.routes
            failures: dict[str, Failure] = {}
            loaded: Counter[str] = Counter()
            for deployment in _freshest_first(wanted):
                if _serves(before.by_name.get(deployment.name), deployment):
                    continue
                base = deployment.stable.manifest.serving.base.fingerprint
                loaded[base] += 1
                try:
                    if before.generation >= 0 or loaded[base] <= self._preload:
                        self.prepare(deployment.stable)
                    self._put(deployment)
                except HubError as error:
                    failures[deployment.name] = self._failed(deployment, error)
            self._finish(generation, wanted, failures)
            self._drain(wanted)
        self._converged()

    def _put(self, deployment: Deployment) -> None:
        routes = self._router.routes
        version = deployment.stable
        route = Route(
            deployment.name, self._registry.task(deployment.task), version, version.info, deployment.updated
        )
        by_name = MappingProxyType({**routes.by_name, deployment.name: route})
        self._router.publish(Routes(routes.generation, by_name, routes.broken))
        self._served[version.sha256] = version
        if routes.generation >= 0:  # not when a fresh server takes up what was live before
            self._meter.swap("ok")
            log.info("Deployment %s now serves %s.", deployment.name, version.ref)

    def _failed(self, deployment: Deployment, error: HubError) -> Failure:
        live = self._router.routes.by_name.get(deployment.name)
        failure = Failure(
            deployment.name, str(deployment.stable.ref), str(live.version.ref) if live else None, str(error)
        )
        if self.failures.get(deployment.name) != failure:
            self._meter.swap("failed")
            log.error("Deployment %s stays on %s: %s", failure.deployment, failure.serving, failure.reason)
        return failure

    def _finish(self, generation: int, wanted: dict[str, Deployment], failures: dict[str, Failure]) -> None:
        routes = self._router.routes
        by_name = {name: route for name, route in routes.by_name.items() if name in wanted}
        broken = {name: failure.reason for name, failure in failures.items() if name not in by_name}
        self.failures = failures  # known to whoever sees the new generation
        self._router.publish(Routes(generation, MappingProxyType(by_name), MappingProxyType(broken)))
        self._retry_at = time.monotonic() + RETRY_AFTER_S

    def _drain(self, wanted: dict[str, Deployment]) -> None:
        """Free what neither answers any more nor could be rolled back to."""
        kept = {route.version.sha256 for route in self._router.routes.by_name.values()}
        kept |= {deployment.previous.sha256 for deployment in wanted.values() if deployment.previous}
        for sha256 in self._served.keys() - kept:
            self._residency.drain(self._served.pop(sha256))

    def _look(self) -> str:
        try:
            moved = self._store.generation() != self._router.routes.generation
            if moved or (self.failures and time.monotonic() > self._retry_at):
                self.converge()
            self.catalog_error = ""
        except Exception as error:
            if not self.catalog_error:
                log.exception("The catalog cannot be followed; what is live stays live.")
            self.catalog_error = str(error) if isinstance(error, HubError) else type(error).__name__
        return self.catalog_error


def _freshest_first(wanted: dict[str, Deployment]) -> list[Deployment]:
    return sorted(wanted.values(), key=lambda deployment: deployment.updated, reverse=True)


def _serves(route: Route | None, deployment: Deployment) -> bool:
    version = deployment.stable
    return route is not None and (route.version.ref, route.version.sha256) == (version.ref, version.sha256)
