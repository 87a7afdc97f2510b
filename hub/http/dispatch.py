"""Dispatches requests to our routes directly, and all others to BentoML's routers."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.errors import HubError, NotReady
from hub.http.gate import TEMPLATE
from hub.http.headers import safe_headers
from hub.http.routes.route import InferRoute
from hub.http.wire import error_response

__all__ = ["Closed", "Dispatch"]


class Dispatch:
    """Calls our routes directly; all other requests go through BentoML's routers."""

    def __init__(self, app: FastAPI, others: ASGIApp) -> None:
        self._app = app
        self._others = others
        self._direct = {
            (route.path_format, method): route.direct
            for route in app.routes
            if isinstance(route, InferRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = self._direct.get((scope[TEMPLATE], scope["method"])) if scope["type"] == "http" else None
        if direct is None:
            await self._others(scope, receive, send)
        else:
            scope["app"] = self._app
            await direct(scope, receive, send)


class Closed:
    """Answers every request with one error, for a server whose settings forbid serving."""

    def __init__(self, error: HubError) -> None:
        self._error = NotReady(str(error))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            response = error_response(self._error)
            response.raw_headers.extend(safe_headers(tls=False))
            await response(scope, receive, send)
