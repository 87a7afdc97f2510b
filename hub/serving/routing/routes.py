"""The routing table: an immutable mapping of deployment names to versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self, TypeVar

from hub.api import AdapterInfo
from hub.errors import AmbiguousDeployment, Conflict, NotFound, NotReady
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_live
from hub.serving.observation import Track
from hub.store.records import Deployment, Version

__all__ = ["Resolve", "Route", "Routes", "Target", "by_name", "by_task"]


@dataclass(frozen=True, slots=True)
class Target:
    """A version, with the information for its task."""

    version: Version
    info: AdapterInfo

    @classmethod
    def of(cls, version: Version) -> Self:
        return cls(version, version.info)


@dataclass(frozen=True, slots=True)
class Route:
    """A deployment, its task, and the versions that serve it.

    `canary` and `shadow` are also None if they could not be loaded.
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
        """All versions of the route."""
        return [target for target in (self.stable, self.canary, self.shadow) if target]

    def describe(self) -> dict[str, Any]:
        """Describe the versions of the route as JSON values."""
        canary, shadow = self.canary, self.shadow
        return describe_live(
            self.deployment,
            self.stable.version,
            canary.version if canary else None,
            shadow.version if shadow else None,
        )

    def beside(self, track: Track) -> Target | None:
        """Return the version that runs on the same request, only for comparison."""
        if track is Track.STABLE:
            return self.shadow
        wanted = self.deployment.canary
        return self.stable if wanted and wanted.guard.get("agreement") is not None else None


@dataclass(frozen=True, slots=True)
class Routes:
    """The routing table of one catalog generation; `broken`: the reasons of deployments without a route."""

    generation: int = -1
    by_name: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    broken: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def only(self, may: Callable[[str], bool]) -> Routes:
        """Return the part of the table with the deployments whose names pass `may`."""
        return replace(self, by_name=_Only(self.by_name, may), broken=_Only(self.broken, may))

    def of_task(self, task: str) -> list[Route]:
        """Return the routes of one task, by deployment name."""
        return [route for _, route in sorted(self.by_name.items()) if route.task.spec.name == task]

    def describe(self) -> list[dict[str, Any]]:
        """Describe the deployments that have a route as JSON values, by name."""
        return [route.describe() for _, route in sorted(self.by_name.items())]


Resolve = Callable[[Routes], Route]
Value = TypeVar("Value")


class _Only(Mapping[str, Value]):
    """The items of a mapping whose names pass `may`; nothing is copied."""

    def __init__(self, whole: Mapping[str, Value], may: Callable[[str], bool]) -> None:
        self._whole = whole
        self._may = may

    def __getitem__(self, name: str) -> Value:
        value = self._whole[name]
        if not self._may(name):
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._whole if self._may(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def by_name(name: str, task: str | None = None) -> Resolve:
    """Resolve to the deployment of that name, which must serve `task` if that is given.

    Raises:
        NotFound: there is none.
        NotReady: it cannot be served.
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
        AmbiguousDeployment: it has several.
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
