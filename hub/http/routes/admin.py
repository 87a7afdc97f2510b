"""Routes for operators, behind the admin key: deployments and status."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import hub
from hub.http.hub import hub_of
from hub.http.routes.route import AdminRoute
from hub.http.routes.schemas import ERRORS, DeploymentName, DeployRequest, MovedInfo, Rollback
from hub.http.wire import json_response
from hub.serving.canary.trial import ServingTrial
from hub.serving.describe import describe_change, describe_deployment, describe_event
from hub.serving.runtime import AppliedChange

__all__ = ["add_routes"]

ONE = "/admin/deployments/{name}"


def add_routes(app: FastAPI) -> None:
    """Add the admin routes."""
    for path, method, endpoint, answer, summary in (
        ("/admin/status", "GET", _status, dict[str, Any], "Engines, slots, queues, plugins and failures"),
        (
            "/admin/replicas",
            "GET",
            _replicas,
            dict[str, Any],
            "Every serving process, and how far it has come",
        ),
        ("/admin/deployments", "GET", _list, dict[str, Any], "Every deployment, as the catalog has it"),
        (ONE, "GET", _show, dict[str, Any], "One deployment and its history"),
        (ONE, "PUT", _deploy, MovedInfo, "Load a version, check it, and put it live or on trial"),
        (ONE, "DELETE", _undeploy, dict[str, Any], "Take a deployment away; its versions stay"),
        (f"{ONE}/promote", "POST", _promote, MovedInfo, "Make the canary or shadow the stable version"),
        (f"{ONE}/rollback", "POST", _rollback, MovedInfo, "End a trial, or go back to the version before"),
    ):
        app.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=answer,
            tags=["admin"],
            summary=summary,
            responses=ERRORS,
            route_class_override=AdminRoute,
        )


async def _status(request: Request) -> Response:
    runtime = hub_of(request).runtime
    status = await asyncio.to_thread(runtime.status)
    return json_response({"version": hub.__version__, "pid": os.getpid(), **status})


async def _replicas(request: Request) -> Response:
    return json_response(await asyncio.to_thread(hub_of(request).runtime.replicas))


async def _list(request: Request) -> Response:
    deployments = await asyncio.to_thread(hub_of(request).runtime.store.deployments)
    return json_response({"deployments": [describe_deployment(deployment) for deployment in deployments]})


async def _show(request: Request, name: DeploymentName) -> Response:
    store = hub_of(request).runtime.store
    deployment = await asyncio.to_thread(store.deployment, name)
    history = await asyncio.to_thread(store.history, name)
    return json_response(
        {**describe_deployment(deployment), "history": [describe_event(move) for move in history]}
    )


async def _deploy(request: Request, name: DeploymentName, body: DeployRequest) -> Response:
    trial = ServingTrial.of(body.canary, body.shadow, body.guard)
    deploy = partial(hub_of(request).runtime.deploy, name, body.version, trial=trial)
    return await _move(deploy, body)


async def _promote(request: Request, name: DeploymentName, body: Rollback = Rollback()) -> Response:  # noqa: B008
    return await _move(partial(hub_of(request).runtime.promote, name), body)


async def _rollback(request: Request, name: DeploymentName, body: Rollback = Rollback()) -> Response:  # noqa: B008
    return await _move(partial(hub_of(request).runtime.rollback, name), body)


async def _undeploy(request: Request, name: DeploymentName, body: Rollback = Rollback()) -> Response:  # noqa: B008
    await asyncio.to_thread(hub_of(request).runtime.undeploy, name, by=body.by, reason=body.reason)
    return json_response({"name": name, "removed": True})


async def _move(move: Callable[..., AppliedChange], body: Rollback) -> Response:
    moved = await asyncio.to_thread(move, by=body.by, reason=body.reason)
    return json_response(describe_change(moved.deployment, moved.prepare_s, moved.swap_s, moved.warning))
