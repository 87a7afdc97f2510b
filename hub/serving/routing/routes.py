"""The routing table: an immutable mapping of deployment names to versions.

A pinned name, `mood@3`, is resolved in this order, and the first version found answers:

1. in the deployment of that name, the version `mood@3`, then one of another adapter with the number 3;
2. the version `mood@3` in any deployment.

A deployment's versions are its stable, canary, shadow and previous one. Stable and canary are loaded if they
are not resident; shadow and previous answer only while they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self, TypeVar

from hub.api import AdapterInfo
from hub.errors import AmbiguousDeployment, Conflict, NotFound, NotReady, VersionUnavailable, listed
from hub.names import VersionRef, parse_version_ref
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_live
from hub.serving.observation import Track
from hub.store.records import Deployment, Version

__all__ = ["Resolve", "Route", "Routes", "Target", "by_name", "by_task", "not_resident"]


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

    `canary` and `shadow` are also None if they could not be loaded. With `pinned`, the caller named the
    version, which is `stable` here whatever its role is; without `loads_on_demand` it answers only while it
    is resident.
    """

    deployment: Deployment
    task: LoadedTask
    stable: Target
    canary: Target | None = None
    shadow: Target | None = None
    pinned: bool = False
    loads_on_demand: bool = True

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def track(self) -> Track:
        """The role in which `stable` answers."""
        if self.version.bare:
            return Track.BASE
        return Track.PINNED if self.pinned else Track.STABLE

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
        """Return the version that runs on the same request, only for comparison; none beside a pinned one."""
        if not track.on_trial:
            return None
        if track is Track.STABLE:
            return self.shadow
        wanted = self.deployment.canary
        return self.stable if wanted and wanted.guard.get("agreement") is not None else None


@dataclass(frozen=True, slots=True)
class Routes:
    """The routing table of one catalog generation.

    `broken` has the reasons of deployments without a route, and `bases` a route to each resident base that
    answers without an adapter.
    """

    generation: int = -1
    by_name: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    broken: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    bases: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))

    def only(self, may: Callable[[str], bool]) -> Routes:
        """Return the part of the table with the deployments whose names pass `may`."""
        return replace(
            self,
            by_name=_Only(self.by_name, may),
            broken=_Only(self.broken, may),
            bases=_Only(self.bases, may),
        )

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


MAX_LISTED = 20
_LOADED = ("stable", "canary")  # roles whose versions are loaded by a request for them


def by_name(name: str, task: str | None = None) -> Resolve:
    """Resolve to the deployment of that name, else to the base, which must serve `task` if that is given.

    `name@N` resolves to one version alone, as the docstring of the module has it.

    Raises:
        InvalidName: what follows `@` is no version; raised at once.
        NotFound: there is none.
        NotReady: it cannot be served.
        Conflict: it serves another task.
    """
    pinned = parse_version_ref(name) if "@" in name else None

    def resolve(routes: Routes) -> Route:
        route = _pin(routes, pinned) if pinned else _deployed(routes, name)
        if task not in (None, route.task.spec.name):
            if route.version.bare:
                raise Conflict(
                    f"{name!r} is a base, which without an adapter serves the task "
                    f"{route.task.spec.name!r} alone. For {task!r}, train an adapter on it and deploy that."
                )
            raise Conflict(f"Deployment {name!r} serves the task {route.task.spec.name!r}, not {task!r}.")
        return route

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
        names = listed(route.name for route in found)
        raise AmbiguousDeployment(
            f"{len(found)} deployments serve the task {task!r}: {names}. Name one in the field 'deployment'."
        )

    return resolve


def not_resident(route: Route) -> VersionUnavailable:
    """Return the error for a pinned version that is not loaded on demand."""
    deployment = route.deployment
    names = [f"{deployment.stable.ref} (stable)"]
    if deployment.canary:
        names.append(f"{deployment.canary.version.ref} (canary)")
    return VersionUnavailable(
        f"{route.version.ref} of deployment {route.name!r} is not resident now. {_available(names)}"
    )


def _deployed(routes: Routes, name: str) -> Route:
    if route := routes.by_name.get(name):
        return route
    if reason := routes.broken.get(name):
        raise NotReady(f"Deployment {name!r} cannot be served: {reason}")
    if base := routes.bases.get(name):
        return base
    raise _unknown(routes, name)


def _unknown(routes: Routes, name: str) -> NotFound:
    known = [*routes.by_name, *routes.broken]
    hint = "Make one with `hub deploy NAME@N --as DEPLOYMENT`."
    return NotFound.of("deployment", name[:80], known, hint, bases=routes.bases)


def _pin(routes: Routes, wanted: VersionRef) -> Route:
    """Return the route to one version alone.

    Raises:
        VersionUnavailable: no such version can answer now.
        NotFound: there is neither a deployment nor a deployed adapter of that name.
        NotReady: the deployment cannot be served.
    """
    named = routes.by_name.get(wanted.name)
    if named and (found := _in_deployment(named, wanted)):
        return found
    others = [
        (route, role, version)
        for _, route in sorted(routes.by_name.items())
        for role, version in _roles(route)
        if version.name == wanted.name
    ]
    exact = [one for one in others if one[2].number == wanted.number]
    if exact:
        return _narrowed(*min(exact, key=lambda one: one[1] not in _LOADED))
    if named:
        raise VersionUnavailable(
            f"Deployment {wanted.name!r} has no version {wanted.number} that could answer now. "
            f"{_available(_listed(named))}"
        )
    if reason := routes.broken.get(wanted.name):
        raise NotReady(f"Deployment {wanted.name!r} cannot be served: {reason}")
    if others:
        names = sorted({str(version.ref) for _, _, version in others})
        raise VersionUnavailable(f"No deployment serves {wanted}. {_available(names)}")
    raise _unknown(routes, wanted.name)


def _roles(route: Route) -> Iterator[tuple[str, Version]]:
    yield "stable", route.version
    if route.canary:
        yield "canary", route.canary.version
    if route.shadow:
        yield "shadow", route.shadow.version
    if previous := route.deployment.previous:
        yield "previous", previous


def _in_deployment(route: Route, wanted: VersionRef) -> Route | None:
    found = [(role, version) for role, version in _roles(route) if version.number == wanted.number]
    found.sort(key=lambda one: one[1].name != wanted.name)  # stable: the order of roles stays
    return _narrowed(route, *found[0]) if found else None


def _narrowed(route: Route, role: str, version: Version) -> Route:
    return replace(
        route,
        stable=Target.of(version),
        canary=None,
        shadow=None,
        pinned=True,
        loads_on_demand=role in _LOADED,
    )


def _listed(route: Route) -> list[str]:
    return [
        f"{version.ref} ({role})" if role in _LOADED else f"{version.ref} ({role}, if resident)"
        for role, version in _roles(route)
    ]


def _available(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"Available: {', '.join(names[:MAX_LISTED])}{more}."
