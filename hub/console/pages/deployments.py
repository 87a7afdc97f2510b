"""The table of deployments: what is live, what it answers, and what is loading or failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.events import live_of, live_part
from hub.console.live import LiveReading
from hub.console.render import render
from hub.console.routes import add_page, common, page, redirect
from hub.console.sparkline import sparkline
from hub.http.auth import Caller, Right, caller_of
from hub.http.hub import hub_of

__all__ = ["add_routes", "may_see", "tracks_of"]

LIVE = "deployments_live.html"
TEMPLATE, TITLE = "deployments.html", "Deployments"
MAX_FILTER = 80  # characters
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page, and the stream of its table."""
    add_page(app, "", _home)
    add_page(app, "/deployments", _show)
    add_page(app, "/live/deployments", _live)


async def _home(request: Request) -> Response:
    return redirect("/deployments")


async def _show(request: Request) -> Response:
    live_of(request).want()
    return page(request, TEMPLATE, TITLE, **await _data(request))


async def _live(request: Request) -> Response:
    async def table() -> str:
        return render(LIVE, **common(request), **await _data(request))

    return live_part(request, table)


async def _data(request: Request) -> Json:
    """Describe the deployments that the caller may see, and what happens to their versions."""
    runtime, caller = hub_of(request).runtime, caller_of(request)
    wanted = request.query_params.get("q", "")[:MAX_FILTER].strip().lower()
    routes, status = runtime.router.routes, await asyncio.to_thread(runtime.status)
    readings = live_of(request).readings
    live = [one for one in routes.describe() if may_see(caller, one["name"])]
    rows = [_row(one, readings) for one in live]
    rows += [
        {"name": name, "broken": reason}
        for name, reason in sorted(routes.broken.items())
        if may_see(caller, name)
    ]
    return {
        "deployments": [row for row in rows if _matches(row, wanted)],
        "all": len(rows),
        "loads": status["loads"] if caller.may(Right.ADMIN) else [],
        "failures": [one for one in status["failures"] if may_see(caller, one["deployment"])],
        "generation": routes.generation,
        "totals": _totals(readings),
    }


def may_see(caller: Caller, name: str) -> bool:
    """Return whether a caller may know of a deployment."""
    return caller.may(Right.INFER, name) or caller.may(Right.DEPLOY, name)


def _row(one: Json, readings: Sequence[LiveReading]) -> Json:
    canary = one["canary"]
    share = canary["percent"] if canary else 0.0
    return {
        **one,
        "tracks": tracks_of(one["name"], readings),
        "stable_percent": 100 - share,
        "sparkline": sparkline([_calls_s(reading.deployment(one["name"])) for reading in readings]),
    }


def tracks_of(name: str, readings: Sequence[LiveReading]) -> list[Json]:
    """Return the newest figures of a deployment, by track."""
    return readings[-1].deployment(name) if readings else []


def _calls_s(tracks: Iterable[Json]) -> float:
    return float(sum(track["calls_s"] for track in tracks))


def _totals(readings: Sequence[LiveReading]) -> Json:
    if not readings:
        return {"calls_s": None, "failed": None, "p50_ms": None, "p99_ms": None}
    newest = readings[-1].figures
    return {name: newest[name] for name in ("calls_s", "failed", "p50_ms", "p99_ms")}


def _matches(row: Json, wanted: str) -> bool:
    return not wanted or any(wanted in str(row.get(key, "")).lower() for key in ("name", "task", "version"))
