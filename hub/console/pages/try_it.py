"""Asks a deployment from a form that is made from its task's schema, and shows the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from markupsafe import Markup
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import HeadKind
from hub.console.answers import parts_of
from hub.console.coloured_words import coloured_patches, coloured_words
from hub.console.fields import body_of, fields_of, shortened
from hub.console.plain_html import plain_html
from hub.console.render import render
from hub.console.routes import AskRoute, add_page, common, form_of, html, page, text_of
from hub.console.snippets import snippets
from hub.console.streamed_answer import HtmlEvents
from hub.errors import BadRequest, HubError
from hub.http.calls import visible_routes
from hub.http.hub import hub_of
from hub.http.routes.explain import Explain, explain_once
from hub.http.routes.native import predict_once, stream_once
from hub.http.stream import wants_events
from hub.registry.kinds import EXPLAINERS, RENDERERS
from hub.registry.loaded import extension_call
from hub.serving.describe import describe_task
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

MAX_HTML = 200_000  # characters that a renderer may return
BUILT_IN = "json"  # the renderer that shows less than the page does without one
EXPLAINED = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page with the form, and the actions that ask and explain."""
    add_page(app, "/deployments/{name}/try", _show)
    add_page(app, "/deployments/{name}/try", _ask, route=AskRoute)
    add_page(app, "/deployments/{name}/explain", _explain, route=AskRoute)


async def _show(request: Request, name: str) -> Response:
    route = _route(request, name)
    examples = _request_schema(route).get("examples") or [{}]
    return page(request, "try.html", f"Try {name}", **_frame(request, route, examples[0]))


async def _ask(request: Request, name: str) -> Response:
    """Ask on behalf of the caller, as the route of the deployment does."""
    route = _route(request, name)
    body = await asyncio.to_thread(body_of, _request_schema(route), form_of(request))
    frame = _frame(request, route, body)
    asked = json.dumps(body).encode()
    try:
        if _streams(request, route):
            return await stream_once(request, name, asked, lambda: _streamed(request, frame, body))
        answer = from_json(await predict_once(request, name, asked))
    except HubError as error:
        found = _problem(error)
    else:
        found = _answered(body, answer, await _drawn(request, route, body, answer))
    if request.headers.get("hx-request"):
        return html(render("answer.html", **common(request), **{**frame, **found}))
    return page(request, "try.html", f"Try {name}", **{**frame, **found})


def _answered(body: Json, answer: Json, drawn: Markup | None = None) -> Json:
    return {"answer": answer, "drawn": drawn, "parts": [] if drawn else parts_of(body, answer)}


def _problem(error: HubError) -> Json:
    return {"problem": error.to_json()["error"], "status": error.status}


def _streams(request: Request, route: Route) -> bool:
    """Return whether to show the answer while it is generated: to a script, and without a renderer."""
    generates = route.task.spec.head is HeadKind.GENERATE
    shows_parts = bool(request.headers.get("hx-request")) and wants_events(request)
    return generates and shows_parts and _renderer(request, route) is None


def _streamed(request: Request, frame: Json, body: Json) -> HtmlEvents:
    def shown(answer: Any, error: HubError | None) -> str:
        found = _problem(error) if error else _answered(body, answer)
        return render("answer.html", **common(request), **{**frame, **found})

    return HtmlEvents(shown)


async def _explain(request: Request, name: str) -> Response:
    """Show which words, or patches of an image, the answer to the request of a form comes from."""
    route = _route(request, name)
    try:
        body = from_json(text_of(request, "body"))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadRequest("body: the request to explain, as a JSON object.")
    asked = Explain(request=body, method=text_of(request, "method", "gradients")[:63])
    found = await explain_once(request, name, asked, picture=True)
    shown: Json = {"explanation": found, "grid": found.get("grid"), "coloured": [], "cells": []}
    if shown["grid"]:
        shown["cells"] = coloured_patches(shown["grid"], found["patches"])
    else:
        shown["coloured"] = coloured_words(body, found["words"])
    if request.headers.get("hx-request"):
        return html(render("explanation.html", **common(request), **shown))
    return page(request, "try.html", f"Try {name}", **{**_frame(request, route, body), **shown})


def _frame(request: Request, route: Route, body: Mapping[str, Any]) -> Json:
    schema = _request_schema(route)
    return {
        "name": route.name,
        "task": route.task.spec.name,
        "summary": route.task.spec.summary,
        "fields": fields_of(schema, body),
        "body": dict(body),
        "explainers": _explainers(request, route),
        "explanation": None,
        "snippets": snippets(str(request.base_url), route.name, shortened(schema, body)),
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


def _explainers(request: Request, route: Route) -> list[str]:
    """Return the names of the explainers, if explanations are enabled and the task has scores to explain."""
    hub = hub_of(request)
    if not hub.settings.serve.explain or route.task.spec.head not in EXPLAINED:
        return []
    return sorted(hub.runtime.registry.extensions.specs(EXPLAINERS), key=lambda name: name != "gradients")


def _renderer(request: Request, route: Route) -> str | None:
    """Return the key of the renderer for the task of a route: its own, or one for all; imports nothing."""
    extensions = hub_of(request).runtime.registry.extensions
    if (own := f"task:{route.task.spec.name}") in extensions.keys(RENDERERS):
        return own
    specs = extensions.specs(RENDERERS).values()
    return next((spec.name for spec in specs if not spec.tasks and spec.name != BUILT_IN), None)


async def _drawn(request: Request, route: Route, body: Json, answer: Json) -> Markup | None:
    """Return the answer as the renderer of a plugin draws it; None without one, or if it fails or hangs."""
    hub, name = hub_of(request), _renderer(request, route)
    if name is None:
        return None

    def drawn() -> str:
        renderer = hub.runtime.registry.extensions.get(RENDERERS, name)
        with extension_call(RENDERERS.word, name, "render()"):
            return plain_html(str(renderer.render(body, answer))[:MAX_HTML])

    threads = f"renderer {name}"  # of its own: one that hangs must not suspend the task
    pool = hub.runtime.pipeline.pool
    if pool.of(threads).stuck:
        return None
    try:
        text = await asyncio.to_thread(pool.call, threads, "render()", drawn)
    except HubError:
        return None  # the answer is shown without it; the fault is counted and logged
    return Markup(text)
