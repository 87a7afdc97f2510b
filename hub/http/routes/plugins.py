"""Routes about the plugins that are installed and those that run, behind the admin key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model
from hub.client.http import error_of
from hub.client.running_plugins import compare_plugins
from hub.errors import Conflict
from hub.http.hub import hub_of
from hub.http.process.channel import SupervisorChannel
from hub.http.process.takeover import what_is_broken
from hub.http.routes.route import AdminRoute
from hub.http.routes.schemas import ERRORS
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.registry.host import Registry

__all__ = ["ReloadInfo", "ReloadRequest", "add_routes"]

RELOAD = "/admin/plugins/reload"


class ReloadRequest(Model):
    """What a reload of plugins may cost."""

    yes: bool = Field(
        False, description="Go on if stored versions that are not live cannot be read any more."
    )
    force: bool = Field(False, description="Go on even if live deployments cannot be served any more.")


class ReloadProblem(Model):
    """Why a reload failed."""

    code: str = Field(description="Stable: a program may match on it.")
    message: str


class ReloadInfo(Model):
    """The latest reload of this server's plugins."""

    id: int = Field(description="0: there was none since the server started.")
    state: str = Field(description="none, starting, draining, done or failed.")
    replaced: int = Field(description="Serving processes that were replaced.")
    replicas: int
    started: str
    ended: str
    error: ReloadProblem | None


class RunningInfo(Model):
    """What some serving processes run of a plugin."""

    server: str
    version: str
    state: str
    replicas: int


class PluginInfo(Model):
    """A plugin as it is installed where this server runs, and as it runs; `state` may be uninstalled."""

    name: str
    distribution: str
    version: str = Field(description="Installed; empty if it only runs.")
    state: str
    reason: str = ""
    entry_point: str = ""
    group: str = ""
    tasks: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    bases: tuple[str, ...] = Field((), description="Patterns of the sources of bases that its engines run.")
    running: list[RunningInfo]
    change: str = Field(description="What a reload of this server would change; empty: nothing.")


class PluginList(Model):
    plugins: list[PluginInfo]
    reload: ReloadInfo | None = Field(description="null: this server can only be restarted.")


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    rows: list[TableRow] = [
        ("GET", "/admin/plugins", _list, PluginList, "What is installed, and what runs of it"),
        ("GET", RELOAD, _show, ReloadInfo, "The latest reload of plugins"),
    ]
    begin: TableRow = ("POST", RELOAD, _begin, ReloadInfo, "Take installed, upgraded and removed plugins in")
    add_table(app, rows, tag="admin", responses=ERRORS, route=AdminRoute)
    add_table(app, [begin], tag="admin", responses=ERRORS, route=AdminRoute, status_code=HTTPStatus.ACCEPTED)


_CAREFUL = ReloadRequest()


async def _list(request: Request) -> Response:
    runtime = hub_of(request).runtime
    installed = await asyncio.to_thread(Registry.listed, runtime.settings)
    replicas = (await asyncio.to_thread(runtime.replicas))["replicas"]
    compared = compare_plugins(installed, replicas, _own_address(replicas, runtime.replica))
    reload = await _ask(request, do="state") if hub_of(request).supervisor else None
    return json_response({"plugins": [one.to_json() for one in compared], "reload": reload})


def _own_address(replicas: Sequence[Mapping[str, Any]], replica: str) -> str:
    return next((str(one["url"]) for one in replicas if one["id"] == replica), "")


async def _show(request: Request) -> Response:
    return json_response(await _ask(request, do="state"))


async def _begin(request: Request, body: ReloadRequest = _CAREFUL) -> Response:
    _supervisor(request)
    broken = await asyncio.to_thread(what_is_broken, hub_of(request).runtime)
    begun = await _ask(request, do="reload", accept=body.yes, force=body.force, **broken)
    return json_response(begun, HTTPStatus.ACCEPTED)


def _supervisor(request: Request) -> SupervisorChannel:
    found = hub_of(request).supervisor
    if found is None:
        raise Conflict("This server was not started by `hub serve`, so it can only be restarted.")
    return found


async def _ask(request: Request, **question: Any) -> dict[str, Any]:
    answer = await asyncio.to_thread(_supervisor(request).ask, **question)
    if isinstance(answer.get("error"), dict) and "state" not in answer:
        raise error_of(answer)
    return answer
