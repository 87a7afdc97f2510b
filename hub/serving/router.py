"""Which version answers a name right now: one immutable table, published by one assignment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType, TracebackType
from typing import Any, Self

from hub.api import AdapterInfo
from hub.engine.slots import Lease
from hub.errors import AmbiguousDeployment, Conflict, HubError, NotFound, NotReady, Overloaded
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_live
from hub.serving.lanes import Lane
from hub.serving.residency import Residency
from hub.store.records import Version

__all__ = ["Admission", "Resolve", "Route", "Router", "Routes", "by_name", "by_task"]

ATTEMPTS = 5  # loads that one request waits for while others evict what it loaded


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment, the version that answers for it, and the task that does the answering."""

    deployment: str
    task: LoadedTask
    version: Version
    info: AdapterInfo
    updated: datetime


@dataclass(frozen=True, slots=True)
class Routes:
    """The routing table of one catalog generation; `broken` says why a deployment has no route."""

    generation: int = -1
    by_name: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    broken: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def of_task(self, task: str) -> list[Route]:
        """Return the routes of one task, by deployment name."""
        return [route for _, route in sorted(self.by_name.items()) if route.task.spec.name == task]

    def describe(self) -> list[dict[str, Any]]:
        """Describe the deployments that have a route as plain JSON values, by name."""
        return [
            describe_live(name, route.task.spec.name, route.version, route.updated.isoformat())
            for name, route in sorted(self.by_name.items())
        ]


Resolve = Callable[[Routes], Route]


def by_name(name: str, task: str | None = None) -> Resolve:
    """Resolve to the deployment of that name, which has to be one of `task` if that is given.

    Raises:
        NotFound: there is none; lists those there are.
        NotReady: there is one, and it cannot be served; says why.
        Conflict: it serves another task.
    """

    def resolve(routes: Routes) -> Route:
        if route := routes.by_name.get(name):
            if task not in (None, route.task.spec.name):
                raise Conflict(f"Deployment {name!r} serves the task {route.task.spec.name!r}, not {task!r}.")
            return route
        if reason := routes.broken.get(name):
            raise NotReady(f"Deployment {name!r} cannot be served: {reason}")
        known = [*routes.by_name, *routes.broken]
        raise NotFound.of(
            "deployment", name[:80], known, "Make one with `hub deploy NAME@N --as DEPLOYMENT`."
        )

    return resolve


def by_task(task: str) -> Resolve:
    """Resolve to a task's only deployment, or to the one named like the task.

    Raises:
        AmbiguousDeployment: it has several; lists them.
        NotFound: it has none.
    """

    def resolve(routes: Routes) -> Route:
        found = routes.of_task(task)
        for route in found:
            if len(found) == 1 or route.deployment == task:
                return route
        if not found:
            raise NotFound(
                f"No deployment serves the task {task!r}. Make one with `hub deploy NAME@N --as DEPLOYMENT`."
            )
        names = [route.deployment for route in found]
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise AmbiguousDeployment(
            f"{len(names)} deployments serve the task {task!r}: {listed}. Name one in the field 'deployment'."
        )

    return resolve


class Admission:
    """A request's fixed choice of version, with the lease on its slot.

    Leaving the `with` block gives the lease up, unless `take` has handed it to a forward.
    """

    __slots__ = ("_lease", "lane", "route")

    def __init__(self, route: Route, lane: Lane, lease: Lease) -> None:
        self.route = route
        self.lane = lane
        self._lease: Lease | None = lease

    def take(self) -> Lease:
        """Make the caller the one who releases the lease."""
        assert self._lease is not None, "an admission is good for one forward"
        lease, self._lease = self._lease, None
        return lease

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            self._lease.release()


class Router:
    """Admits requests by the current table and replaces the table."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._lock = threading.Lock()
        self._routes = Routes()

    @property
    def routes(self) -> Routes:
        """The table in force."""
        return self._routes

    def publish(self, routes: Routes) -> None:
        """Put a table in force: every admission from now on goes by it."""
        with self._lock:
            self._routes = routes

    async def admit(self, resolve: Resolve) -> Admission:
        """Resolve to a version and lease its slot in one critical section; load it first if need be.

        Raises:
            NotFound, AmbiguousDeployment: as `resolve`.
            NotReady: the version cannot be loaded; says why.
            Overloaded: every slot is in use.
        """
        for _ in range(ATTEMPTS):
            with self._lock:
                route = resolve(self._routes)
                claim = self._residency.lease(route.version)
            if claim:
                return Admission(route, *claim)
            await self._load(route)
        raise Overloaded(
            f"{route.version.ref} is evicted as often as it is loaded: more deployments are in use than "
            "there are slots. Start the server with more (serve.slots)."
        )

    async def _load(self, route: Route) -> None:
        try:
            await asyncio.shield(asyncio.wrap_future(self._residency.ensure(route.version)))
        except Overloaded:
            raise
        except HubError as error:
            raise NotReady(f"Deployment {route.deployment!r} cannot be served: {error}") from None
