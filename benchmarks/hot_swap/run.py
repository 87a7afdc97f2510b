"""One run: a home, a server, clients, and periods with and without moves."""

from __future__ import annotations

import asyncio
import gc
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.hot_swap.home import Home, Importer, importer, prepare
from benchmarks.hot_swap.judge import Answer, Judge, Verdicts
from benchmarks.hot_swap.load import Load
from benchmarks.hot_swap.moves import Move, Mover
from benchmarks.hot_swap.timeline import Timeline
from benchmarks.server import HubServer, hub_server
from hub.bases.base import Base

__all__ = ["Outcome", "Period", "Plan", "run"]

LOADS = re.compile(r'^hub_load_seconds_count\{.*outcome="ok".*\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. Periods alternate, the first without moves."""

    texts: Sequence[str]
    seconds: float = 60.0
    period_s: float = 3.0
    clients: int = 32
    deployments: int = 40
    contents: int = 3  # that a deployment ever has
    slots: int = 16
    rate: float = 6.0  # moves a second
    engine: str = "auto"
    warm_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of the run, with moves or without."""

    began: float
    ended: float
    moves: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was asked and moved, and what the judge says of it. `loads`: versions written to slots."""

    answers: Sequence[Answer]
    moves: Sequence[Move]
    periods: Sequence[Period]
    verdicts: Verdicts
    loads: int
    separation: float

    @property
    def kinds(self) -> Counter[str]:
        """How many moves there were of each kind."""
        return Counter(move.kind for move in self.moves if not move.problem)

    @property
    def reloads(self) -> int:
        """Loads that no move asked for: of versions that had been evicted."""
        return self.loads - sum(count for kind, count in self.kinds.items() if kind != "delete")


def run(base: Base, plan: Plan) -> Outcome:
    """Make all that is needed, load a server with requests and moves, and judge."""
    with tempfile.TemporaryDirectory(prefix="bench-hot-swap-") as folder:
        home = prepare(Path(folder), base, plan.texts, plan.deployments, plan.contents)
        with importer(home) as beside:
            return asyncio.run(_run(home, beside, plan))


async def _run(home: Home, beside: Importer, plan: Plan) -> Outcome:
    live = await Mover.populate(home, beside)
    flags = ("--slots", str(plan.slots), "--engine", plan.engine)
    with hub_server(home.path, *flags) as server:
        timeline = Timeline()
        mover = Mover(home, beside, timeline, server.port, server.key, plan.rate)
        mover.begin(live)
        load = Load(server.port, list(home.adapters), plan.texts, streams=home.streams)
        gc.collect()
        gc.freeze()  # answers are kept: the collector would walk over all of them, and over torch
        loads = await _loads(server)
        clients = asyncio.create_task(load.run(plan.clients))
        await asyncio.sleep(plan.warm_s)
        periods = await _periods(mover, plan)
        load.stop()
        await clients
        loads = await _loads(server) - loads
    verdicts = Judge(home.truth, timeline).all(load.answers)
    return Outcome(load.answers, mover.log, periods, verdicts, loads, home.truth.separation())


async def _periods(mover: Mover, plan: Plan) -> list[Period]:
    periods: list[Period] = []
    until = time.perf_counter() + plan.seconds
    while (began := time.perf_counter()) < until:
        moves = bool(len(periods) % 2)
        await (mover.run if moves else mover.rest)(plan.period_s)
        periods.append(Period(began, time.perf_counter(), moves))
    return periods


async def _loads(server: HubServer) -> int:
    async with httpx.AsyncClient(timeout=60) as client:
        found = LOADS.search((await client.get(f"{server.url}/metrics")).text)
    return int(float(found[1])) if found else 0
