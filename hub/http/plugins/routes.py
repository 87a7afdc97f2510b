"""Routes of plugins, below `/plugins/<name>`: keys, limits and errors of the hub around a plugin's router."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api import RouteFamily, RouteSpec
from hub.errors import BadPlugin, HubError
from hub.http.auth import Right
from hub.http.calls import visible_routes
from hub.http.deadline import Deadline
from hub.http.hub import hub_of
from hub.http.plugins.exchange import Exchange
from hub.http.plugins.protocols import WireProtocol
from hub.http.routes.native import predict_once
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERRORS
from hub.http.wire import read_body
from hub.registry.extensions import Extensions
from hub.registry.kinds import ROUTES
from hub.registry.loaded import extension_call

__all__ = ["ROOT", "PluginRoute", "add_families"]

log = logging.getLogger(__name__)

ROOT = "/plugins"
_OUTER = "hub.outer"  # scope key: the request as the server received it
_PRIVATE = frozenset({b"authorization", b"cookie", b"proxy-authorization"})


def add_families(app: FastAPI, extensions: Extensions) -> None:
    """Add the routes of every family, built in or not; one that fails is logged and left out."""
    for spec, family in extensions.all(ROUTES):
        if isinstance(family, WireProtocol):
            family.add_routes(app)
            continue
        loop = _Loop(spec.name)
        try:
            with extension_call(ROUTES.word, spec.name, "router()"):
                _add(app, spec, family, loop)
        except HubError as error:
            log.error("The routes of plugin %s are left out: %s", spec.name, error)


def _add(app: FastAPI, spec: RouteSpec, family: RouteFamily[Any], loop: _Loop) -> None:
    for route in _routes(spec, family.router(_Server(loop))):
        name = f"{spec.name.replace('-', '_')}_route"
        made = type(
            name, (PluginRoute,), {"inner": route, "family": spec, "loop": loop, "right": Right(spec.right)}
        )
        app.router.add_api_route(
            f"{ROOT}/{spec.name}{route.path}",
            route.endpoint,
            methods=sorted(route.methods or ()),
            response_model=route.response_model,
            status_code=route.status_code,
            tags=[spec.name],
            summary=route.summary or spec.summary,
            description=route.description,
            operation_id=f"{spec.name}_{route.unique_id}",
            responses={**ERRORS, **route.responses},
            dependencies=route.dependencies,
            route_class_override=made,
        )


def _routes(spec: RouteSpec, router: Any) -> Iterator[APIRoute]:
    routes = list(getattr(router, "routes", ()))
    if not routes:
        raise BadPlugin(f"Route family {spec.name!r} has no route: return a fastapi.APIRouter with routes.")
    for route in routes:
        if not isinstance(route, APIRoute):
            raise BadPlugin(
                f"Route family {spec.name!r} has a {type(route).__name__}; only HTTP routes are served."
            )
        yield route


class PluginRoute(InferRoute):
    """A route of a plugin: `inner` is the plugin's, which runs on the event loop of its family."""

    inner: APIRoute
    family: RouteSpec
    loop: _Loop
    root = ROOT

    async def _answer(self, request: Request, parameters: Mapping[str, Any]) -> Response:
        hub = hub_of(request)
        await self.admit(request)
        async with Deadline(0.0, self._client_timeout(request)):
            body = await read_body(request, hub.limits.body_bytes, hub.limits.body_s)
            async with Deadline(self._seconds(hub.limits)) as deadline:
                deadline.watch(request.receive)
                exchange = Exchange(self.family.name, request.url.path, body, self.loop.started())
                return await exchange.answer(self._inner(request), hub.limits.timeout_s)

    def _inner(self, outer: Request) -> Callable[[Receive, Send], Awaitable[None]]:
        """Return the plugin's application for a request."""
        # FastAPI's own applications put this around their routes; it closes uploaded files.
        return partial(AsyncExitStackMiddleware(self.inner.app), _scope(outer, self.inner))


def _scope(outer: Request, route: APIRoute) -> Scope:
    """Return the scope for the plugin: without the key, and with its own path."""
    headers = [(name, value) for name, value in outer.scope["headers"] if name not in _PRIVATE]
    kept = ("type", "http_version", "method", "query_string", "scheme", "server", "client", "path_params")
    scope = {key: outer.scope[key] for key in kept if key in outer.scope}
    path = outer.scope["path"]
    return {
        **scope,
        "asgi": {"version": "3.0", "spec_version": "2.4"},  # older: a stream listens for a disconnect
        "headers": headers,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "route": route,
        "state": {},
        _OUTER: outer,
    }


class _Loop:
    """An event loop in a thread of its own, which starts with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server: asyncio.AbstractEventLoop | None = None

    def started(self) -> asyncio.AbstractEventLoop:
        """Return the loop; called on that of the server."""
        self.server = asyncio.get_running_loop()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = self._loop.run_forever
                threading.Thread(target=run, name=f"routes-{self._name}", daemon=True).start()
            return self._loop


class _Server:
    """The `ServerAccess` of a family: its calls hop to the event loop of the server."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop

    async def predict(self, request: Request, deployment: str, body: Mapping[str, Any]) -> Any:
        outer, server = _outer(request), self._loop.server
        assert server
        content = json.dumps(dict(body)).encode()
        asked = asyncio.run_coroutine_threadsafe(predict_once(outer, deployment, content), server)
        answer: bytes = await asyncio.wrap_future(asked)
        return json.loads(answer)

    def deployments(self, request: Request) -> list[dict[str, Any]]:
        return visible_routes(_outer(request)).describe()


def _outer(request: Request) -> Request:
    outer: Request = request.scope[_OUTER]
    return outer
