"""Moves what is served towards what the catalog wants, whoever changed it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

from hub.errors import HubError
from hub.registry.host import Registry
from hub.serving.control.catalog_watch import CatalogWatch
from hub.serving.control.fitness import check_fitness
from hub.serving.meter import Meter
from hub.serving.residency.residency import RETRY_AFTER_S, Residency
from hub.serving.routing.router import Failure, Router
from hub.serving.routing.routes import Route, Routes, Target
from hub.store.catalog.listen import Listener
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["Failure", "Reconciler"]

log = logging.getLogger(__name__)


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
        self._watch = CatalogWatch(self._look, poll_s)
        self._listener = Listener(store.catalog, self._watch.wake)
        self._retry_at = 0.0  # monotonic
        self._served: dict[str, Version] = {}  # routed at some time, and not drained since
        self.failures: dict[str, Failure] = {}
        self.catalog_error = ""
        self._looked_at = -1  # the generation at the last look

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

    @contextmanager
    def prepared(self, version: Version) -> Iterator[str]:
        """Make a version resident and checked, or raise the HubError that says why it cannot be.

        It is not evicted before the block ends. Yields why it may not fit the installed plugin, or "".
        """
        warning = check_fitness(version, self._registry)
        with self._residency.held(version):
            if warning:
                log.warning("%s", warning)
            yield warning

    def converge(self) -> None:
        """Put every deployment's wanted version live; one that cannot be leaves the live one alone."""
        with self._moving:
            generation = self._store.generation()
            wanted = {deployment.name: deployment for deployment in self._store.deployments()}
            before = self._router.routes
            failures: dict[str, Failure] = {}
            loaded: Counter[str] = Counter()
            for deployment in _freshest_first(wanted):
                if not _serves(before.by_name.get(deployment.name), deployment):
                    self._take_up(deployment, loaded, failures)
            self._finish(generation, wanted, failures)
            self._drain(wanted)
        self._converged()

    def _take_up(self, deployment: Deployment, loaded: Counter[str], failures: dict[str, Failure]) -> None:
        """Put a deployment's versions live; a canary or shadow that cannot be is done without."""
        live = self._router.routes.by_name.get(deployment.name)
        targets: dict[str, Target] = {"stable": live.stable} if live else {}
        task = live.task if live else None
        with ExitStack() as held:
            for role, version in _wanted(deployment):
                try:
                    task = self._registry.task(deployment.task)
                    targets[role] = self._target(version, live, loaded, held)
                except HubError as error:
                    failure = self._failed(deployment.name, role, version, targets.get("stable"), error)
                    first = deployment.name not in failures
                    failures[deployment.name if first else f"{deployment.name} ({role})"] = failure
            if task and (stable := targets.get("stable")):
                self._put(Route(deployment, task, stable, targets.get("canary"), targets.get("shadow")), live)

    def _target(self, version: Version, live: Route | None, loaded: Counter[str], held: ExitStack) -> Target:
        """Return a version that is live already, or else made ready and `held`."""
        for target in live.targets if live else ():
            if _same(target.version, version):
                return target
        base = version.manifest.serving.base.fingerprint
        loaded[base] += 1
        if self._router.routes.generation >= 0 or loaded[base] <= self._preload:
            held.enter_context(self.prepared(version))
        else:
            check_fitness(version, self._registry)
        return Target.of(version)

    def _put(self, route: Route, live: Route | None) -> None:
        routes = self._router.routes
        by_name = MappingProxyType({**routes.by_name, route.name: route})
        self._router.publish(Routes(routes.generation, by_name, routes.broken))
        self._served.update({target.version.sha256: target.version for target in route.targets})
        if routes.generation < 0:  # a fresh server takes up what was live before
            return
        if live is None or not _same(live.version, route.version):
            self._meter.swap("ok")
            log.info("Deployment %s now serves %s.", route.name, route.version.ref)
        for role, target in (("canary", route.canary), ("shadow", route.shadow)):
            if target and not (live and target in live.targets):
                log.info("Deployment %s has the %s %s.", route.name, role, target.version.ref)

    def _failed(
        self, name: str, role: str, version: Version, stays: Target | None, error: HubError
    ) -> Failure:
        serving = str(stays.version.ref) if stays else None
        failure = Failure(name, str(version.ref), serving, str(error), role)
        if failure not in self.failures.values():
            self._meter.swap("failed")
            log.error("Deployment %s stays on %s: %s", name, serving, failure.reason)
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
        routes = self._router.routes.by_name.values()
        kept = {target.version.sha256 for route in routes for target in route.targets}
        kept |= {deployment.previous.sha256 for deployment in wanted.values() if deployment.previous}
        for sha256 in self._served.keys() - kept:
            self._residency.drain(self._served.pop(sha256))

    def _write_back(self) -> None:
        """Let the catalog put its file in order, in a pause between moves."""
        before, self._looked_at = self._looked_at, self._router.routes.generation
        if before == self._looked_at:
            self._store.catalog.write_back()

    def _look(self) -> str:
        try:
            moved = self._store.generation() != self._router.routes.generation
            if moved or (self.failures and time.monotonic() > self._retry_at):
                self.converge()
            self._write_back()
            self.catalog_error = ""
        except Exception as error:
            if not self.catalog_error:
                log.exception("The catalog cannot be followed; what is live stays live.")
            self.catalog_error = str(error) if isinstance(error, HubError) else type(error).__name__
        return self.catalog_error


def _freshest_first(wanted: dict[str, Deployment]) -> list[Deployment]:
    return sorted(wanted.values(), key=lambda deployment: deployment.updated, reverse=True)


def _wanted(deployment: Deployment) -> Iterator[tuple[str, Version]]:
    yield "stable", deployment.stable
    if deployment.canary:
        yield "canary", deployment.canary.version
    if deployment.shadow:
        yield "shadow", deployment.shadow


def _serves(route: Route | None, deployment: Deployment) -> bool:
    """Whether a route was made from this record of the deployment, and has all of its versions."""
    if route is None or route.deployment.generation != deployment.generation:
        return False
    live = [target.version for target in route.targets]
    return len(live) == len(deployment.versions) and all(map(_same, live, deployment.versions))


def _same(one: Version, other: Version) -> bool:
    return (one.ref, one.sha256) == (other.ref, other.sha256)
