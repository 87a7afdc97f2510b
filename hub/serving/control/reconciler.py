"""Makes the served versions follow the catalog, whichever process changed it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

from hub.api import AdapterEvent
from hub.config import ServeSettings
from hub.errors import HubError
from hub.registry.host import LoadedTask, Registry
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

MAX_CONVERGING = 4  # deployments whose versions are loaded at the same time
VERSIONS_PER_DEPLOYMENT = 3  # stable, canary and shadow keep their slots until the route is published


class Reconciler:
    """Makes the routing table follow the catalog: when asked to, and when the catalog's generation changes.

    Versions are loaded first, for up to MAX_CONVERGING deployments at a time; only then is the lock taken to
    publish a route. So a load that hangs delays neither other deployments nor a change made in this process.

    The first time it loads `preload` versions of each base; the others are loaded by their first request.
    `converged` is called after every publication.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        residency: Residency,
        router: Router,
        *,
        serve: ServeSettings,
        preload: int,
        meter: Meter,
        converged: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._residency = residency
        self._router = router
        self._preload = preload
        self._at_once = max(1, min(MAX_CONVERGING, serve.slots // VERSIONS_PER_DEPLOYMENT))
        self._meter = meter
        self._converging = threading.Lock()  # taken before `_publishing`, never after
        self._publishing = threading.Lock()
        self._changed: set[str] = set()  # deployments that `change` published during a `converge`
        self._converged = converged
        self._watch = CatalogWatch(self._follow, serve.poll_ms / 1000)
        self._listener = Listener(store.catalog, self._watch.wake)
        self._retry_at = 0.0  # monotonic
        self._served: dict[str, Version] = {}  # routed at some time, and not drained since
        self.failures: dict[str, Failure] = {}
        self.catalog_error = ""
        self._last_generation = -1  # when the catalog was last polled

    def start(self) -> None:
        """Converge for the first time, then follow the catalog."""
        self.converge()
        self._watch.start()
        self._listener.start()

    def stop(self) -> None:
        """Stop following the catalog; waits for a `converge` in progress."""
        self._listener.stop()
        self._watch.stop()

    async def refresh(self) -> str:
        """Wait until the present state of the catalog is served; returns "", or why it is not."""
        return await self._watch.refresh()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Publish what the block changes in the catalog; no other change is published in between.

        Versions that are not resident are left to the watcher, which loads them.
        """
        with self._publishing:
            yield
            complete = self._publish_change()
        if not complete:
            self._watch.wake()
        self._converged()

    @contextmanager
    def prepared(self, version: Version) -> Iterator[str]:
        """Load and check a version, and keep it from being evicted during the block.

        Yields a warning if it may not fit the installed plugin, else "". Raises the HubError for which it
        cannot be served.
        """
        warning = check_fitness(version, self._registry)
        with self._residency.held(version):
            if warning:
                log.warning("%s", warning)
            yield warning

    def converge(self) -> None:
        """Serve every deployment's wanted version; where it cannot be loaded, the live one stays."""
        with self._converging:
            with self._publishing:
                self._changed.clear()
                generation, wanted = self._wanted_now()
                routes = self._router.routes
            failures: dict[str, Failure] = {}
            pending = self._pending(wanted, routes)
            if pending:
                with ThreadPoolExecutor(self._at_once, thread_name_prefix="converge") as pool:
                    for found in pool.map(lambda one: self._take_up(*one), pending):
                        failures.update(found)
            with self._publishing:
                self._finish(generation, wanted, failures)
        self._converged()

    def _wanted_now(self) -> tuple[int, dict[str, Deployment]]:
        routes = self._router.routes.by_name.values()
        return self._store.current({route.name: route.deployment for route in routes})

    def _pending(
        self, wanted: Mapping[str, Deployment], routes: Routes
    ) -> list[tuple[Deployment, Collection[str]]]:
        """Return the deployments to take up, latest change first, and the hashes that need no load now."""
        loaded: Counter[str] = Counter()
        pending: list[tuple[Deployment, Collection[str]]] = []
        for deployment in sorted(wanted.values(), key=lambda one: one.updated, reverse=True):
            if _serves(routes.by_name.get(deployment.name), deployment):
                continue
            later: set[str] = set()
            for _, version in _versions(deployment) if routes.generation < 0 else ():
                base = version.manifest.serving.base.fingerprint
                loaded[base] += 1
                if loaded[base] > self._preload:
                    later.add(version.sha256)
            pending.append((deployment, later))
        return pending

    def _take_up(self, deployment: Deployment, later: Collection[str]) -> dict[str, Failure]:
        """Load a deployment's versions, then publish its route; a canary or shadow may be missing."""
        live = self._router.routes.by_name.get(deployment.name)
        targets: dict[str, Target] = {"stable": live.stable} if live else {}
        failures: dict[str, Failure] = {}
        task = live.task if live else None
        with ExitStack() as held:
            for role, version in _versions(deployment):
                try:
                    task = self._registry.task(deployment.task)
                    targets[role] = _live_target(version, live) or self._load(version, later, held)
                except HubError as error:
                    failure = self._failed(deployment.name, role, version, targets.get("stable"), error)
                    failures[f"{deployment.name} ({role})" if failures else deployment.name] = failure
            with self._publishing:
                if task and "stable" in targets and deployment.name not in self._changed:
                    self._put(_route(deployment, task, targets))
        return failures

    def _load(self, version: Version, later: Collection[str], held: ExitStack) -> Target:
        if version.sha256 in later:
            check_fitness(version, self._registry)
        else:
            held.enter_context(self.prepared(version))
        return Target.of(version)

    def _publish_change(self) -> bool:
        """Publish what is resident of the catalog's deployments; True if that is all. Call under the lock."""
        generation, wanted = self._wanted_now()
        before = self._router.routes
        failed = {failure.deployment for failure in self.failures.values()}
        complete = True
        for name, deployment in wanted.items():
            live = before.by_name.get(name)
            retried_later = name in failed and deployment.generation <= before.generation
            if retried_later or _serves(live, deployment):
                continue
            if route := self._resident_route(deployment, live):
                self._put(route)
                self._changed.add(name)
            complete = complete and _serves(route, deployment)
        self._changed |= before.by_name.keys() - wanted.keys()
        self._publish(generation if complete else before.generation, wanted.keys(), self.failures)
        if complete:
            self._drain(wanted)
        return complete

    def _resident_route(self, deployment: Deployment, live: Route | None) -> Route | None:
        """Return the route that needs no load; None if the stable version would."""
        targets: dict[str, Target] = {}
        try:
            task = self._registry.task(deployment.task)
            for role, version in _versions(deployment):
                if target := _live_target(version, live):
                    targets[role] = target
                elif self._residency.is_resident(version):
                    check_fitness(version, self._registry)
                    targets[role] = Target.of(version)
        except HubError:  # `converge` reports it
            return None
        return _route(deployment, task, targets) if "stable" in targets else None

    def _put(self, route: Route) -> None:
        routes = self._router.routes
        live = routes.by_name.get(route.name)
        by_name = MappingProxyType({**routes.by_name, route.name: route})
        self._router.publish(Routes(routes.generation, by_name, routes.broken))
        self._meter.published(by_name)
        self._served.update({target.version.sha256: target.version for target in route.targets})
        if routes.generation < 0:  # a server that starts changes nothing
            return
        if live is None or not _same(live.version, route.version):
            self._meter.swap("ok")
            log.info("Deployment %s now serves %s.", route.name, route.version.ref)
            self._residency.note(AdapterEvent("serves", str(route.version.ref), deployment=route.name))
        for role, target in (("canary", route.canary), ("shadow", route.shadow)):
            if target and not (live and target in live.targets):
                log.info("Deployment %s has the %s %s.", route.name, role, target.version.ref)

    def _failed(
        self, name: str, role: str, version: Version, live: Target | None, error: HubError
    ) -> Failure:
        serving = str(live.version.ref) if live else None
        failure = Failure(name, str(version.ref), serving, str(error), role)
        if failure not in self.failures.values():
            self._meter.swap("failed")
            log.error("Deployment %s stays on %s: %s", name, serving, failure.reason)
        return failure

    def _finish(
        self, generation: int, wanted: Mapping[str, Deployment], failures: Mapping[str, Failure]
    ) -> None:
        """Publish what a `converge` found; what `change` published meanwhile is newer and stays."""
        newest = max(generation, self._router.routes.generation)
        self._publish(newest, wanted.keys() | self._changed, failures)
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        if not self._changed:
            self._drain(wanted)

    def _publish(self, generation: int, names: Collection[str], failures: Mapping[str, Failure]) -> None:
        """Publish the routes of `names`; the failures are set first, for readers of the new generation."""
        by_name = {name: route for name, route in self._router.routes.by_name.items() if name in names}
        self.failures = {key: one for key, one in failures.items() if one.deployment not in self._changed}
        broken = {key: one.reason for key, one in self.failures.items() if key not in by_name}
        self._router.publish(Routes(generation, MappingProxyType(by_name), MappingProxyType(broken)))
        self._meter.published(by_name)

    def _drain(self, wanted: Mapping[str, Deployment]) -> None:
        """Free the slots of versions that are not routed and to which no deployment can be rolled back."""
        routes = self._router.routes.by_name.values()
        kept = {target.version.sha256 for route in routes for target in route.targets}
        kept |= {deployment.previous.sha256 for deployment in wanted.values() if deployment.previous}
        for sha256 in self._served.keys() - kept:
            self._residency.drain(self._served.pop(sha256))

    def _write_back(self) -> None:
        """Checkpoint the catalog's log when two polls in a row found no change."""
        before, self._last_generation = self._last_generation, self._router.routes.generation
        if before == self._last_generation:
            self._store.catalog.write_back()

    def _follow(self) -> str:
        try:
            changed = self._store.generation() != self._router.routes.generation
            if changed or (self.failures and time.monotonic() > self._retry_at):
                self.converge()
            self._write_back()
            self.catalog_error = ""
        except Exception as error:
            if not self.catalog_error:
                log.exception("The catalog cannot be followed; what is live stays live.")
            self.catalog_error = str(error) if isinstance(error, HubError) else type(error).__name__
        return self.catalog_error


def _versions(deployment: Deployment) -> Iterator[tuple[str, Version]]:
    yield "stable", deployment.stable
    if deployment.canary:
        yield "canary", deployment.canary.version
    if deployment.shadow:
        yield "shadow", deployment.shadow


def _route(deployment: Deployment, task: LoadedTask, targets: Mapping[str, Target]) -> Route:
    return Route(deployment, task, targets["stable"], targets.get("canary"), targets.get("shadow"))


def _live_target(version: Version, live: Route | None) -> Target | None:
    targets = live.targets if live else ()
    return next((target for target in targets if _same(target.version, version)), None)


def _serves(route: Route | None, deployment: Deployment) -> bool:
    """Return whether a route was made from this record of the deployment, and has all of its versions."""
    if route is None or route.deployment.generation != deployment.generation:
        return False
    live = [target.version for target in route.targets]
    return len(live) == len(deployment.versions) and all(map(_same, live, deployment.versions))


def _same(one: Version, other: Version) -> bool:
    return (one.ref, one.sha256) == (other.ref, other.sha256)
