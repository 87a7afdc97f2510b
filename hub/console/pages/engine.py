"""Replicas, and on this one the engines: which versions are resident, what waits, what was chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psutil
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.events import live_of, live_part
from hub.console.live import LiveReading
from hub.console.render import render
from hub.console.routes import add_page, common, page
from hub.http.auth import Right
from hub.http.hub import hub_of

__all__ = ["add_routes"]

LIVE = "engine_live.html"
TEMPLATE, TITLE = "engine.html", "Engine"
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page, and its stream."""
    add_page(app, "/engine", _show, Right.ADMIN)
    add_page(app, "/live/engine", _live, Right.ADMIN)


async def _show(request: Request) -> Response:
    live_of(request).want()
    return page(request, TEMPLATE, TITLE, **await _data(request))


async def _live(request: Request) -> Response:
    async def part() -> str:
        return render(LIVE, **common(request), **await _data(request))

    return live_part(request, part)


async def _data(request: Request) -> Json:
    runtime, readings = hub_of(request).runtime, live_of(request).readings
    status = await asyncio.to_thread(runtime.status)
    figures = {one["base"]: one for one in readings[-1].figures["bases"]} if readings else {}
    return {
        "replica_id": status["replica"],
        "replicas": status["replicas"],
        "catalog_generation": status["catalog_generation"],
        "catalog_error": status["catalog_error"],
        "loads": status["loads"],
        "process_bytes": psutil.Process().memory_info().rss,
        "bases": [_base(one, figures.get(one["base"]), readings) for one in status["engines"]],
    }


def _base(engine: Json, figures: Json | None, readings: Sequence[LiveReading]) -> Json:
    slots = engine["slots"]
    by_slot = {one["slot"]: one for one in slots["resident"]}
    last = max(slots["capacity"], *by_slot, 0)  # a spare one beyond the capacity may be in use
    cells = [_cell(by_slot.get(number)) for number in range(1, last + 1)]
    return {**engine, "figures": figures, "cells": cells, "in_use": len(by_slot)}


def _cell(resident: Json | None) -> Json:
    if resident is None:
        return {"state": "free", "version": "", "leases": 0}
    use = "busy" if resident["leases"] else "pinned" if resident["pinned"] else resident["state"]
    return {"state": use, "version": resident["version"], "leases": resident["leases"]}
