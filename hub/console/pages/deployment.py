"""One deployment: its versions, their traffic, a trial with its guard, its history, and changes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.events import live_of, live_part
from hub.console.live import LiveReading
from hub.console.pages.deployments import may_see, tracks_of
from hub.console.render import render
from hub.console.routes import ActionRoute, add_page, common, page, redirect, text_of
from hub.errors import BadRequest, Conflict, NotFound
from hub.http.auth import Right, caller_of
from hub.http.hub import hub_of
from hub.serving.canary.trial import promoted, rolled_back
from hub.serving.describe import describe_deployment, describe_event
from hub.store.catalog.counters import Counters, TrialCounts
from hub.store.change import Deploy, DeploymentChange
from hub.store.records import Deployment, Version
from hub.store.store import Store

__all__ = ["add_routes"]

TEMPLATE, LIVE = "deployment.html", "deployment_live.html"
KINDS = ("deploy", "promote", "rollback")
HOW = ("live", "canary", "shadow")
MAX_EVENTS = 50
MAX_DIGITS = 18  # of a generation: an integer of the catalog
TRACKS = ("stable", "canary", "shadow", "pinned")  # in the order of the plot's legend
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page, its stream, and the changes, each with a page that asks before."""
    one = "/deployments/{name}"
    add_page(app, one, _show)
    add_page(app, f"/live{one}", _live)
    add_page(app, f"{one}/change", _confirm, Right.DEPLOY)
    add_page(app, f"{one}/change", _change, Right.DEPLOY, route=ActionRoute)


async def _show(request: Request, name: str) -> Response:
    live_of(request).want()
    return page(request, TEMPLATE, name, **await _data(request, name))


async def _live(request: Request, name: str) -> Response:
    async def figures() -> str:
        return render(LIVE, **common(request), **await _data(request, name))

    return live_part(request, figures)


async def _data(request: Request, name: str) -> Json:
    runtime, caller = hub_of(request).runtime, caller_of(request)
    if not may_see(caller, name):
        raise NotFound(f"There is no deployment {name!r}, or the key may not see it.")
    readings = live_of(request).readings
    status = await asyncio.to_thread(runtime.status)
    return {
        **await asyncio.to_thread(_stored, runtime.store, name),
        "tracks": tracks_of(name, readings),
        "traffic": _traffic(name, readings),
        "failures": [one for one in status["failures"] if one["deployment"] == name],
        "guard_state": status.get("guards", {}).get(name, ""),
        "may_deploy": caller.may(Right.DEPLOY, name),
        "done": request.query_params.get("done", ""),
    }


def _stored(store: Store, name: str) -> Json:
    """Describe a deployment as the catalog has it; blocks."""
    deployment = store.deployment(name)
    history = store.history(name)[-MAX_EVENTS:]
    return {
        "deployment": describe_deployment(deployment),
        "roles": [
            _role(role, version)
            for role, version in (
                ("stable", deployment.stable),
                ("canary", deployment.canary.version if deployment.canary else None),
                ("shadow", deployment.shadow),
                ("previous", deployment.previous),
            )
            if version
        ],
        "counts": _counts(store, deployment),
        "history": [describe_event(event) for event in reversed(history)],
        "candidates": _candidates(store, deployment),
    }


def _role(role: str, version: Version) -> Json:
    manifest = version.manifest
    return {
        "role": role,
        "version": str(version.ref),
        "sha256": version.sha256,
        "metrics": dict(manifest.metrics),
        "created": version.created.isoformat(),
    }


def _counts(store: Store, deployment: Deployment) -> list[Json]:
    """Describe what was counted of each version of the current trial, over all replicas."""
    if deployment.trial is None:
        return []
    counted = Counters(store.catalog).of(deployment.name, deployment.trial)
    return [
        _counted(str(version.ref), counted.get(version.sha256, TrialCounts()))
        for version in deployment.versions
    ]


def _counted(version: str, counts: TrialCounts) -> Json:
    return {
        "version": version,
        "requests": counts.requests,
        "errors": counts.errors,
        "p99_ms": 1000 * counts.quantile(0.99) if counts.answered else None,
        "compared": counts.compared,
        "agreed": counts.agreed,
        "disagreed": counts.compared - counts.agreed,
    }


def _candidates(store: Store, deployment: Deployment) -> list[str]:
    """Return the other versions of the task: those of the stable one's name first, then the newest."""
    stable = deployment.stable
    found = [
        one
        for one in store.versions()
        if one.manifest.serving.task == deployment.task and one.ref != stable.ref
    ]
    found.sort(key=lambda one: (one.name == stable.name, one.created), reverse=True)
    return [str(one.ref) for one in found]


def _traffic(name: str, readings: Sequence[LiveReading]) -> Json:
    """Return the calls a second of each track over time, as uPlot takes them."""
    found = {track["track"] for reading in readings for track in reading.deployment(name)}
    tracks = sorted(found, key=lambda track: (TRACKS.index(track) if track in TRACKS else len(TRACKS), track))
    rates = [{one["track"]: one["calls_s"] for one in reading.deployment(name)} for reading in readings]
    return {
        "names": tracks,
        "data": [
            [round(reading.at, 1) for reading in readings],
            *([round(rate.get(track, 0.0), 2) for rate in rates] for track in tracks),
        ],
    }


async def _confirm(request: Request, name: str) -> Response:
    """Ask before a change, naming the version that answers now and the one that will."""
    query = request.query_params
    asked = {key: query.get(key, "") for key in ("kind", "version", "how", "percent")}
    caller_of(request).require(Right.DEPLOY, name)
    planned = await asyncio.to_thread(_planned, hub_of(request).runtime.store, name, asked)
    return page(request, "change.html", f"Change {name}", name=name, **planned)


def _planned(store: Store, name: str, asked: dict[str, str]) -> Json:
    """Return what a change would do; blocks.

    Raises:
        NotFound, Conflict: there is nothing to promote, or to go back to.
        BadRequest: it is no change that the console makes.
    """
    deployment, kind = store.deployment(name), asked["kind"]
    if kind == "promote":
        after = promoted(deployment)
    elif kind == "rollback":
        after = rolled_back(deployment)
    elif kind == "deploy":
        after = store.get(asked["version"])
    else:
        raise BadRequest(f"The console makes these changes: {', '.join(KINDS)}.")
    how = asked["how"] or HOW[0]
    if how not in HOW:
        raise BadRequest(f"A version is deployed as one of {', '.join(HOW)}.")
    trial = deployment.canary.version if deployment.canary else deployment.shadow
    return {
        "kind": kind,
        "how": how,
        "percent": asked["percent"] or "10",
        "before": str(deployment.stable.ref),
        "before_metrics": dict(deployment.stable.manifest.metrics),
        "after": str(after.ref),
        "after_metrics": dict(after.manifest.metrics),
        "trial": str(trial.ref) if trial else None,
        "seen": deployment.generation,
    }


async def _change(request: Request, name: str) -> Response:
    """Make the change that was confirmed, unless the deployment has changed since."""
    caller = caller_of(request)
    caller.require(Right.DEPLOY, name)
    runtime, kind, seen = hub_of(request).runtime, text_of(request, "kind"), text_of(request, "seen")
    author = {"reason": text_of(request, "reason", ""), "by": f"{caller.id} (console)"}
    if kind not in KINDS:
        raise BadRequest(f"The console makes these changes: {', '.join(KINDS)}.")
    if not seen.isdecimal() or len(seen) > MAX_DIGITS:
        raise BadRequest("seen: the generation of the deployment that the form was made for.")
    if kind == "deploy":
        current = await asyncio.to_thread(runtime.store.deployment, name)
        if current.generation != int(seen):
            raise Conflict(f"{name!r} was changed meanwhile. Look at it again before you change it.")
        change = _deploy_of(request, author)
        applied = await asyncio.to_thread(runtime.deploy, name, change, seen=int(seen))
    else:
        apply = runtime.promote if kind == "promote" else runtime.rollback
        applied = await asyncio.to_thread(apply, name, DeploymentChange.of(**author), seen=int(seen))
    return redirect(f"/deployments/{name}", done=f"{kind} {_changed(request, kind, applied.deployment)}")


def _changed(request: Request, kind: str, deployment: Deployment) -> str:
    """Return the version that a change put live, or on trial and as what."""
    how = text_of(request, "how", HOW[0]) if kind == "deploy" else HOW[0]
    tried = {"canary": deployment.canary and deployment.canary.version, "shadow": deployment.shadow}.get(how)
    return f"{tried.ref} as a {how}" if tried else str(deployment.stable.ref)


def _deploy_of(request: Request, author: dict[str, str]) -> Deploy:
    how = text_of(request, "how", HOW[0])
    values: Json = {**author, "version": text_of(request, "version")}
    if how == "canary":
        try:
            values["canary"] = float(text_of(request, "percent"))
        except ValueError:
            raise BadRequest("percent: a number from 0 to 100.") from None
    elif how == "shadow":
        values["shadow"] = True
    elif how != "live":
        raise BadRequest(f"A version is deployed as one of {', '.join(HOW)}.")
    return Deploy.of(**values)
