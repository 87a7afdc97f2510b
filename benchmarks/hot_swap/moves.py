"""Deploys, rollbacks, re-imports and deletions, never two at once of one deployment, and a log of them."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.hot_swap.home import Home, Importer
from benchmarks.hot_swap.timeline import Live, Timeline
from benchmarks.hot_swap.wire import BROKEN, Connection, Reply, request

__all__ = ["KINDS", "Move", "Mover"]

KINDS = ("deploy", "reimport", "rollback", "delete", "create")
TURNS = (
    "reimport",
    "rollback",
    "reimport",
    "deploy",
    "rollback",
    "reimport",
    "delete",
    "deploy",
    "rollback",
    "deploy",
)
STORED = 0.4  # versions stored for each move: those re-imported and created
AWAY_S = 0.5  # how long a deleted deployment stays away, at least
AT_ONCE = 2  # moves under way, of different deployments


@dataclass(frozen=True, slots=True)
class Move:
    """One move as its sender saw it. `resident`: the version was in a slot just before."""

    kind: str
    deployment: str
    sent: float
    returned: float
    problem: str = ""
    resident: bool = False
    prepare_ms: float = 0.0  # as the server says
    swap_ms: float = 0.0


@dataclass
class _Tenant:
    name: str
    adapters: Mapping[int, Path]
    stored: dict[int, Live] = field(default_factory=dict)  # by number of the content
    stable: Live | None = None
    previous: Live | None = None
    busy: bool = False
    moved_at: float = -math.inf

    def spare(self) -> list[Live]:
        """What is stored, and neither live nor what a rollback goes to."""
        return [live for live in self.stored.values() if live not in (self.stable, self.previous)]


class Mover:
    """Moves the deployments of a server at `rate` moves a second while told to."""

    def __init__(
        self, home: Home, importer: Importer, timeline: Timeline, port: int, key: str, rate: float
    ) -> None:
        self.log: list[Move] = []
        self._home, self._importer, self._timeline = home, importer, timeline
        self._port, self._key, self._rate = port, key, rate
        self._chance = random.Random(1)
        self._turns = cycle(TURNS)
        self._tenants = [_Tenant(name, adapters) for name, adapters in home.adapters.items()]

    @staticmethod
    async def populate(home: Home, importer: Importer) -> dict[str, Live]:
        """Store and deploy the first content of every deployment, before there is a server."""
        live = {}
        for name, adapters in home.adapters.items():
            number, folder = next(iter(adapters.items()))
            live[name] = await importer.store(name, folder, deploy=True)
            home.truth.stored(live[name].sha256, number)
        return live

    def begin(self, live: Mapping[str, Live]) -> None:
        """Take over what was deployed before the server started."""
        for tenant in self._tenants:
            tenant.stable = live[tenant.name]
            tenant.stored = {next(iter(tenant.adapters)): live[tenant.name]}
            self._timeline.sent(tenant.name, tenant.stable, -math.inf)

    async def rest(self, seconds: float) -> None:
        """Move nothing for so long, but store and remove as many versions as `run` does."""
        began = time.perf_counter()
        for turn in range(int(seconds * self._rate * STORED)):
            await asyncio.sleep(max(0.0, began + turn / (self._rate * STORED) - time.perf_counter()))
            live = await self._importer.store("ballast", self._home.ballast)
            await self._importer.remove([live.ref])
        await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))

    async def run(self, seconds: float) -> None:
        """Move for so long, then let what is under way end and create again what was deleted."""
        began = time.perf_counter()
        free = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for turn in range(int(seconds * self._rate)):
                await asyncio.sleep(max(0.0, began + turn / self._rate - time.perf_counter()))
                async with free:
                    pass
                if chosen := self._next():
                    chosen[1].busy = True
                    group.create_task(self._move(*chosen, free))
        for tenant in self._tenants:
            if tenant.stable is None:
                await self._move("create", tenant, free)

    def _next(self) -> tuple[str, _Tenant] | None:
        """Choose the kind of move whose turn it is, and draw a deployment that it is possible for."""
        idle = [tenant for tenant in self._tenants if not tenant.busy]
        long_ago = time.perf_counter() - AWAY_S
        if away := [tenant for tenant in idle if tenant.stable is None and tenant.moved_at < long_ago]:
            return "create", away[0]
        there = [tenant for tenant in idle if tenant.stable]
        there.sort(key=lambda tenant: tenant.moved_at)
        kind, possible = next(self._turns), there
        if kind == "deploy":
            possible = [tenant for tenant in there if tenant.spare()]
        elif kind == "rollback":
            possible = [tenant for tenant in there if tenant.previous][-1:]  # what was just put live
        if not possible:
            kind, possible = "reimport", there[-1:]  # so that a deploy is soon possible
        return (kind, self._chance.choice(possible)) if possible else None

    async def _move(self, kind: str, tenant: _Tenant, free: asyncio.Semaphore) -> None:
        async with free:
            if kind == "deploy":
                await self._deploy(tenant, kind, self._chance.choice(tenant.spare()))
            elif kind == "rollback":
                await self._rollback(tenant)
            elif kind == "delete":
                await self._delete(tenant)
            else:
                await self._reimport(tenant, kind)
        tenant.busy = False

    async def _reimport(self, tenant: _Tenant, kind: str) -> None:
        """Store a content that is not there as the next version of the same name, and deploy it."""
        new = [number for number in tenant.adapters if number not in tenant.stored]
        if not new:  # then one that was there before comes back, with a new number
            old = self._chance.choice(tenant.spare())
            new = [number for number, live in tenant.stored.items() if live == old]
            del tenant.stored[new[0]]
            await self._importer.remove([old.ref])
        number = self._chance.choice(new)
        live = await self._importer.store(tenant.name, tenant.adapters[number])
        self._home.truth.stored(live.sha256, number)
        tenant.stored[number] = live
        await self._deploy(tenant, kind, live)

    async def _deploy(self, tenant: _Tenant, kind: str, live: Live) -> None:
        body = {"version": live.ref, "by": "benchmark"}
        data = request("PUT", f"/admin/deployments/{tenant.name}", body, self._key)
        if await self._send(tenant, kind, live, data):
            tenant.stable, tenant.previous = live, tenant.stable

    async def _rollback(self, tenant: _Tenant) -> None:
        back = tenant.previous
        assert back
        resident = back.sha256 in await self._resident()
        data = request("POST", f"/admin/deployments/{tenant.name}/rollback", {"by": "benchmark"}, self._key)
        if await self._send(tenant, "rollback", back, data, resident=resident):
            tenant.stable, tenant.previous = back, tenant.stable

    async def _delete(self, tenant: _Tenant) -> None:
        """Take a deployment away, and all its versions with it."""
        data = request("DELETE", f"/admin/deployments/{tenant.name}", key=self._key)
        if await self._send(tenant, "delete", None, data):
            tenant.stable = tenant.previous = None
            await self._importer.remove([live.ref for live in tenant.stored.values()])
            tenant.stored = {}

    async def _send(
        self, tenant: _Tenant, kind: str, live: Live | None, data: bytes, *, resident: bool = False
    ) -> bool:
        sent = time.perf_counter()
        self._timeline.sent(tenant.name, live, sent)
        problem, told = "", {}
        try:
            reply = await self._ask(data)
            told = reply.json()
            if reply.status != 200 or (live and told["version"] != live.ref):
                problem = f"{reply.status} {told}"
        except BROKEN as error:
            problem = repr(error)
        tenant.moved_at = returned = time.perf_counter()
        self._timeline.returned(tenant.name, returned, moved=not problem)
        times = told.get("prepare_ms") or 0.0, told.get("swap_ms") or 0.0
        self.log.append(Move(kind, tenant.name, sent, returned, problem, resident, *times))
        return not problem

    async def _resident(self) -> set[str]:
        """Return the contents in slots right now."""
        status: Any = (await self._ask(request("GET", "/admin/status", key=self._key))).json()
        views = (view for engine in status["engines"] for view in engine["slots"]["resident"])
        return {view["sha256"] for view in views if view["state"] == "resident"}

    async def _ask(self, data: bytes) -> Reply:
        connection = Connection(self._port)  # a new one: kept ones are closed by the server when idle
        try:
            return await connection.ask(data)
        finally:
            connection.close()
