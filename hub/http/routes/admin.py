"""Routes for operators: status behind the admin key, deployments also behind the right to deploy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import hub
from hub.http.auth import Right, caller_of
from hub.http.hub import hub_of
from hub.http.routes.route import AdminRoute, DeployRoute
from hub.http.routes.schemas import ERRORS, ChangedInfo, DeploymentName
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.serving.describe import describe_change, describe_deployment, describe_event
from hub.serving.runtime import AppliedChange, Runtime
from hub.store.change import Deploy, DeploymentChange

__all__ = ["add_routes"]

STATUS = "/admin/status"
ONE = "/admin/deployments/{name}"
_BY_ADMIN = DeploymentChange()  # of a request without a body
Change = TypeVar("Change", bound=DeploymentChange)


def add_routes(app: FastAPI) -> None:
    """Add the admin routes."""
    status: TableRow = (
        "GET",
        STATUS,
        _status,
        dict[str, Any],
        "Engines, slots, queues, plugins and failures",
    )
    rows: list[TableRow] = [
        ("GET", "/admin/replicas", _replicas, dict[str, Any], "Every serving process, and its generation"),
        ("GET", "/admin/deployments", _list, dict[str, Any], "Every deployment, as the catalog has it"),
        ("GET", ONE, _show, dict[str, Any], "One deployment and its history"),
        ("PUT", ONE, _deploy, ChangedInfo, "Load a version, check it, and put it live or on trial"),
        ("DELETE", ONE, _undeploy, dict[str, Any], "Remove a deployment; its versions stay"),
        ("POST", f"{ONE}/promote", _promote, ChangedInfo, "Make the canary or shadow the stable version"),
        (
            "POST",
            f"{ONE}/rollback",
            _rollback,
            ChangedInfo,
            "End a trial, or go back to the previous version",
        ),
    ]
    add_table(app, [status], tag="admin", responses=ERRORS, route=AdminRoute)
    add_table(app, rows, tag="admin", responses=ERRORS, route=DeployRoute)


async def _status(request: Request) -> Response:
    runtime = hub_of(request).runtime
    status = await asyncio.to_thread(runtime.status)
    return json_response({"version": hub.__version__, "pid": os.getpid(), **status})


async def _replicas(request: Request) -> Response:
    return json_response(await asyncio.to_thread(hub_of(request).runtime.replicas))


async def _list(request: Request) -> Response:
    caller = caller_of(request)
    deployments = await asyncio.to_thread(hub_of(request).runtime.store.deployments)
    shown = [one for one in deployments if caller.may(Right.DEPLOY, one.name)]
    return json_response({"deployments": [describe_deployment(deployment) for deployment in shown]})


async def _show(request: Request, name: DeploymentName) -> Response:
    store = _runtime(request, name).store
    deployment = await asyncio.to_thread(store.deployment, name)
    history = await asyncio.to_thread(store.history, name)
    return json_response(
        {**describe_deployment(deployment), "history": [describe_event(event) for event in history]}
    )


async def _deploy(request: Request, name: DeploymentName, body: Deploy) -> Response:
    return await _apply(_runtime(request, name).deploy, name, body)


async def _promote(request: Request, name: DeploymentName, body: DeploymentChange = _BY_ADMIN) -> Response:
    return await _apply(_runtime(request, name).promote, name, body)


async def _rollback(request: Request, name: DeploymentName, body: DeploymentChange = _BY_ADMIN) -> Response:
    return await _apply(_runtime(request, name).rollback, name, body)


async def _undeploy(request: Request, name: DeploymentName, body: DeploymentChange = _BY_ADMIN) -> Response:
    await asyncio.to_thread(_runtime(request, name).undeploy, name, body)
    return json_response({"name": name, "removed": True})


def _runtime(request: Request, name: str) -> Runtime:
    """Return the runtime for a caller that may deploy under a name."""
    caller_of(request).require(Right.DEPLOY, name)
    return hub_of(request).runtime


async def _apply(apply: Callable[[str, Change], AppliedChange], name: str, change: Change) -> Response:
    applied = await asyncio.to_thread(apply, name, change)
    return json_response(
        describe_change(applied.deployment, applied.prepare_s, applied.swap_s, applied.warning)
    )
