"""Admits requests: chooses the version and leases its slot in one critical section."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple, Self

from hub.engine.slots.table import Lease
from hub.errors import HubError, NotFound, NotReady, Overloaded
from hub.serving.accounts.account import ANYBODY
from hub.serving.batching.base_workers import BaseWorker
from hub.serving.call_times import CallTimes
from hub.serving.observation import Track
from hub.serving.residency.residency import Residency
from hub.serving.routing.routes import Resolve, Route, Routes, Target, not_resident
from hub.store.records import Deployment

__all__ = ["Admission", "Failure", "Held", "Router", "sticky_point"]

MAX_ATTEMPTS = 20  # loads that one request waits for while others evict the version again
MAX_ATTEMPTS_EACH = 4  # the same for a request to several deployments
MAX_EAGER_ATTEMPTS = 5  # without a pause before them, in which other requests continue
PAUSE_S = 0.01
MAX_CANARY_ATTEMPTS = 2  # for a canary: then the stable version answers
RELOAD_AFTER_S = 1.0  # minimum time between loads of an evicted version that only runs beside others


@dataclass(frozen=True, slots=True)
class Failure:
    """A version of a deployment that cannot be loaded; `serving` answers instead, if not None.

    `role` is stable, canary or shadow.
    """

    deployment: str
    wanted: str
    serving: str | None
    reason: str
    role: str = "stable"


class Held(NamedTuple):
    """A version on its base worker, with a lease on its slot."""

    target: Target
    base_worker: BaseWorker
    lease: Lease


class Admission:
    """The version chosen for a request, with the lease on its slot.

    Leaving the `with` block releases the lease, unless `take` has passed it on.
    """

    __slots__ = ("_beside", "_main", "account", "began", "route", "times", "track", "version")

    def __init__(
        self, route: Route, track: Track, main: Held, beside: Held | None = None, began: float = 0.0
    ) -> None:
        self.route = route
        self.track = track
        self.version = main.target.version
        self.began = began  # time.perf_counter
        self.account = ANYBODY
        self.times = CallTimes()
        self._main: Held | None = main
        self._beside = beside

    @property
    def held(self) -> Held:
        """The chosen version, until `take` passes it on."""
        assert self._main is not None, "an admission is good for one forward"
        return self._main

    def take(self) -> tuple[Held, Held | None]:
        """Pass the leases to the caller, who releases them: of the version, and of the one beside it."""
        main, beside = self.held, self._beside
        self._main = self._beside = None
        return main, beside

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for held in (self._main, self._beside):
            if held is not None:
                held.lease.release()


@dataclass(eq=False, slots=True)
class _Wanted:
    """What a request asks for, and the choice of the last attempt: `aside` is not resident beside it."""

    resolve: Resolve
    key: str
    draw: float | None = None
    canary_loads: bool = True
    route: Route | None = None
    track: Track = Track.STABLE
    target: Target | None = None
    aside: Target | None = None
    began: float = field(default_factory=time.perf_counter)

    def thrashing(self) -> Overloaded:
        """Return the error for a version that others evict again and again."""
        assert self.route, "attempted"
        return Overloaded(
            f"{self.route.version.ref} is evicted as often as it is loaded: more deployments are in use than "
            "there are slots. Start the server with more (serve.slots)."
        )


def sticky_point(deployment: Deployment, key: str) -> float:
    """Hash a key to [0, 100), constant during one trial.

    A share of p percent takes the keys below p, so a larger share only moves keys from stable to canary.
    """
    text = f"{deployment.name}\0{deployment.trial}\0{key}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") * 100 / 2**32


class Router:
    """Admits requests by the current table and replaces the table; `bases` is a part of every table.

    `draw` returns numbers in [0, 1), which assign requests without a key. `refresh`, if set, is called before
    a name is reported as unknown: it updates the table from the catalog, and returns the error, or "".
    """

    refresh: Callable[[], Awaitable[str]] | None = None

    def __init__(
        self,
        residency: Residency,
        draw: Callable[[], float] = random.random,
        bases: Mapping[str, Route] = MappingProxyType({}),
    ) -> None:
        self._residency = residency
        self._draw = draw
        self._lock = threading.Lock()  # taken before those of slot tables
        self._routes = Routes(bases=bases)
        self._failures: dict[str, Failure] = {}  # by content hash: canaries and shadows
        self._reload_at: dict[str, float] = {}  # by content hash: earliest next reload, monotonic

    @property
    def routes(self) -> Routes:
        """The current table."""
        return self._routes

    def failures(self) -> list[Failure]:
        """Return the canaries and shadows that could not be loaded again when needed."""
        return sorted(self._failures.copy().values(), key=lambda failure: (failure.deployment, failure.role))

    def publish(self, routes: Routes) -> None:
        """Replace the table for all following admissions."""
        with self._lock:
            self._routes = replace(routes, bases=self._routes.bases)
            used = {target.version.sha256 for route in routes.by_name.values() for target in route.targets}
            for sha256 in self._failures.keys() - used:
                self._failures.pop(sha256, None)
        self._reload_at.clear()

    async def admit(self, resolve: Resolve, key: str = "") -> Admission:
        """Resolve to a version and lease its slot in one critical section; load it first if needed.

        During a trial, the same `key` always goes to the same version. If a canary cannot be loaded, the
        stable version answers.

        Raises:
            NotFound, AmbiguousDeployment: as `resolve`.
            VersionUnavailable: the pinned version is not resident, and no request loads it.
            NotReady: the version cannot be loaded.
            Overloaded: every slot is in use.
        """
        try:
            return await self._admit(resolve, key)
        except NotFound:
            if self.refresh is None:
                raise
        reason = await self.refresh()
        try:
            return await self._admit(resolve, key)
        except NotFound as unknown:
            if reason:
                raise _unverified(unknown, reason) from None
            raise

    async def admit_each(self, resolves: Sequence[Resolve], key: str = "") -> list[Admission | HubError]:
        """Admit one request to several deployments, whose slots are leased in one critical section.

        What `admit` raises for one of them is returned in its place.
        """
        wanted = [_Wanted(resolve, key) for resolve in resolves]
        found = await self._admit_each(wanted)
        if self.refresh is None or not any(isinstance(one, NotFound) for one in found):
            return found
        _release(found)
        reason = await self.refresh()
        found = await self._admit_each(wanted)
        return [_unverified(one, reason) if isinstance(one, NotFound) and reason else one for one in found]

    async def _admit(self, resolve: Resolve, key: str) -> Admission:
        wanted = _Wanted(resolve, key)
        for attempt in range(MAX_ATTEMPTS):
            with self._lock:
                admission = self._choose(wanted, attempt)
            if admission:
                return self._admitted(admission, wanted)
            if attempt >= MAX_EAGER_ATTEMPTS:
                await asyncio.sleep(PAUSE_S)
            await self._load(wanted)
        raise wanted.thrashing()

    async def _admit_each(self, wanted: Sequence[_Wanted]) -> list[Admission | HubError]:
        errors: dict[_Wanted, HubError] = {}
        for attempt in range(MAX_ATTEMPTS_EACH):
            with self._lock:
                chosen = {one: self._choose_or_fail(one, attempt, errors) for one in wanted}
            missing = [one for one in wanted if chosen[one] is None and one not in errors]
            if missing and attempt + 1 < MAX_ATTEMPTS_EACH:
                _release(chosen.values())
                await asyncio.gather(*(self._load_or_fail(one, errors) for one in missing))
                continue
            errors |= {one: one.thrashing() for one in missing}
            break
        return [
            self._admitted(admission, one) if (admission := chosen[one]) else errors[one] for one in wanted
        ]

    def _choose(self, wanted: _Wanted, attempt: int) -> Admission | None:
        """Resolve to a version and lease its slot; None if it must be loaded first. Call under the lock."""
        route = wanted.resolve(self._routes)
        track, target = route.track, route.stable
        if route.canary and wanted.canary_loads and attempt < MAX_CANARY_ATTEMPTS:
            if wanted.draw is None:
                wanted.draw = self._draw() * 100
            point = sticky_point(route.deployment, wanted.key) if wanted.key else wanted.draw
            if point < route.percent:
                track, target = Track.CANARY, route.canary
        wanted.route, wanted.track, wanted.target, wanted.aside = route, track, target, None
        held = self._lease(target)
        if not held:
            if not route.loads_on_demand:
                raise not_resident(route)
            return None
        other = route.beside(track)
        beside = self._lease(other) if other else None
        wanted.aside = None if beside else other
        return Admission(route, track, held, beside, wanted.began)

    def _choose_or_fail(
        self, wanted: _Wanted, attempt: int, errors: dict[_Wanted, HubError]
    ) -> Admission | None:
        if wanted in errors:
            return None
        try:
            return self._choose(wanted, attempt)
        except HubError as error:
            errors[wanted] = error
            return None

    def _admitted(self, admission: Admission, wanted: _Wanted) -> Admission:
        if wanted.aside:
            self._load_aside(admission.route, wanted.aside)
        if self._failures:
            self._failures.pop(admission.version.sha256, None)
        return admission

    def _lease(self, target: Target) -> Held | None:
        claim = self._residency.lease(target.version)
        return Held(target, *claim) if claim else None

    async def _load(self, wanted: _Wanted) -> None:
        route, target = wanted.route, wanted.target
        assert route and target, "chosen before it is loaded"
        if wanted.track is Track.CANARY:
            wanted.canary_loads = await self._load_canary(route, target)
            return
        try:
            await self._residency.wait(target.version)
        except Overloaded:
            raise
        except HubError as error:
            raise NotReady(f"Deployment {route.name!r} cannot be served: {error}") from None

    async def _load_or_fail(self, wanted: _Wanted, errors: dict[_Wanted, HubError]) -> None:
        try:
            await self._load(wanted)
        except HubError as error:
            errors[wanted] = error

    async def _load_canary(self, route: Route, target: Target) -> bool:
        try:
            await self._residency.wait(target.version)
        except HubError as error:
            self._note(route, target, "canary", error)
            return False
        self._note(route, target, "canary", None)
        return True

    def _load_aside(self, route: Route, target: Target) -> None:
        """Load a version that runs beside others, for later requests; does not wait."""
        now, sha256 = time.monotonic(), target.version.sha256
        if now < self._reload_at.get(sha256, 0.0):
            return
        self._reload_at[sha256] = now + RELOAD_AFTER_S
        role = "shadow" if target is route.shadow else "stable"

        def note(loaded: Future[None]) -> None:
            if not loaded.cancelled():
                error = loaded.exception()
                self._note(route, target, role, error if isinstance(error, HubError) else None)

        self._residency.ensure(target.version).add_done_callback(note)

    def _note(self, route: Route, target: Target, role: str, error: HubError | None) -> None:
        version = target.version
        serving = str(route.version.ref) if role != "stable" else None
        with self._lock:
            if error is None:
                self._failures.pop(version.sha256, None)
            elif (now := self._routes.by_name.get(route.name)) and target in now.targets:
                failure = Failure(route.name, str(version.ref), serving, str(error), role)
                self._failures[version.sha256] = failure


def _unverified(unknown: HubError, reason: str) -> NotReady:
    return NotReady(f"{reason} Without it this cannot be verified: {unknown}")


def _release(found: Iterable[Admission | HubError | None]) -> None:
    """Release the leases of admissions that are not used."""
    for one in found:
        if isinstance(one, Admission):
            with one:
                pass
