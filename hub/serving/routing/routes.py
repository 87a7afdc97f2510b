"""Which versions are behind a name right now: one immutable table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from hub.api import AdapterInfo
from hub.errors import AmbiguousDeployment, Conflict, NotFound, NotReady
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_live
from hub.serving.observation import Track
from hub.store.records import Deployment, Version

__all__ = ["Resolve", "Route", "Routes", "Target", "by_name", "by_task"]


@dataclass(frozen=True, slots=True)
class Target:
    """A version, with what its task may read of it."""

    version: Version
    info: AdapterInfo

    @classmethod
    def of(cls, version: Version) -> Self:
        return cls(version, version.info)


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment, the versions that serve it, and the task that does the answering.

    `canary` and `shadow` are None also where the deployment has one that could not be loaded.
    """

    deployment: Deployment
    task: LoadedTask
    stable: Target
    canary: Target | None = None
    shadow: Target | None = None

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def version(self) -> Version:
        """The stable version."""
        return self.stable.version

    @property
    def percent(self) -> float:
        """The canary's share of the requests, in percent."""
        wanted = self.deployment.canary
        return wanted.percent if wanted and self.canary else 0.0

    @property
    def targets(self) -> list[Target]:
        """Every version that requests may need."""
        return [target for target in (self.stable, self.canary, self.shadow) if target]

    def describe(self) -> dict[str, Any]:
        """Describe what serves the deployment as plain JSON values."""
        canary, shadow = self.canary, self.shadow
        return describe_live(
            self.deployment,
            self.stable.version,
            canary.version if canary else None,
            shadow.version if shadow else None,
        )

    def beside(self, track: Track) -> Target | None:
        """Return what runs on the same request, never to be returned: for its answer to be compared."""
        if track is Track.STABLE:
            return self.shadow
        wanted = self.deployment.canary
        return self.stable if wanted and wanted.guard.get("agreement") is not None else None


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
        return [route.describe() for _, route in sorted(self.by_name.items())]


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
            if len(found) == 1 or route.name == task:
                return route
        if not found:
            raise NotFound(
                f"No deployment serves the task {task!r}. Make one with `hub deploy NAME@N --as DEPLOYMENT`."
            )
        names = [route.name for route in found]
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise AmbiguousDeployment(
            f"{len(names)} deployments serve the task {task!r}: {listed}. Name one in the field 'deployment'."
        )

    return resolve
