"""Asks a deployment from a form that is made from its task's schema, and shows the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from markupsafe import Markup
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from hub.console.answers import parts_of
from hub.console.fields import body_of, fields_of
from hub.console.render import render
from hub.console.routes import ActionRoute, add_page, common, form_of, html, page
from hub.console.snippets import snippets
from hub.errors import HubError
from hub.http.calls import visible_routes
from hub.http.hub import hub_of
from hub.http.routes.native import predict_once
from hub.registry.kinds import RENDERERS
from hub.registry.loaded import extension_call
from hub.serving.describe import describe_task
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

MAX_HTML = 200_000  # characters that a renderer may return
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page with the form, and the action that asks."""
    add_page(app, "/deployments/{name}/try", _show)
    add_page(app, "/deployments/{name}/try", _ask, route=ActionRoute)


async def _show(request: Request, name: str) -> Response:
    route = _route(request, name)
    examples = _request_schema(route).get("examples") or [{}]
    return page(request, "try.html", f"Try {name}", **_frame(request, route, examples[0]))


async def _ask(request: Request, name: str) -> Response:
    """Ask on behalf of the caller, as the route of the deployment does."""
    route = _route(request, name)
    body = body_of(_request_schema(route), form_of(request))
    found = _frame(request, route, body)
    try:
        answer = from_json(await predict_once(request, name, json.dumps(body).encode()))
    except HubError as error:
        found |= {"problem": error.to_json()["error"], "status": error.status}
    else:
        drawn = await _drawn(request, route, body, answer)
        found |= {"answer": answer, "drawn": drawn, "parts": parts_of(body, answer) if not drawn else []}
    if request.headers.get("hx-request"):
        return html(render("answer.html", **common(request), **found))
    return page(request, "try.html", f"Try {name}", **found)


def _frame(request: Request, route: Route, body: Mapping[str, Any]) -> Json:
    return {
        "name": route.name,
        "task": route.task.spec.name,
        "summary": route.task.spec.summary,
        "fields": fields_of(_request_schema(route), body),
        "snippets": snippets(str(request.base_url), route.name, body),
        "answer": None,
        "problem": None,
        "drawn": None,
        "parts": [],
    }


def _route(request: Request, name: str) -> Route:
    """Return the route of a deployment that the caller may ask.

    Raises:
        NotFound, NotReady: there is none, or it cannot be served.
    """
    return by_name(name)(visible_routes(request))


def _request_schema(route: Route) -> Json:
    schema: Json = describe_task(route.task)["request"]
    return schema


async def _drawn(request: Request, route: Route, body: Json, answer: Json) -> Markup | None:
    """Return the answer as the renderer of a plugin draws it, if one of the installed is for the task."""
    hub, task = hub_of(request), route.task.spec.name
    extensions = hub.runtime.registry.extensions
    found = next((one for one in extensions.all(RENDERERS) if task in one[0].tasks), None)
    if found is None:
        return None
    spec, renderer = found

    def drawn() -> str:
        with extension_call(RENDERERS.word, spec.name, "render()"):
            return str(renderer.render(body, answer))[:MAX_HTML]

    try:
        text: str = await hub.runtime.pipeline.read(route.task, drawn, "render")
    except HubError:
        return None  # the answer is shown without it; the fault is counted and logged
    return Markup(text)
