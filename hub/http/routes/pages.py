"""The page at /, its assets, the OpenAPI document and the metrics.

The page and its assets are the same on every server and need no key. The document and the metrics reveal what
is installed and how it is used, and need an API key if keys are set; the metrics one for every deployment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.http.auth import Right, caller_of
from hub.http.routes.cached import CachedBody, RecentText
from hub.http.routes.route import InferRoute
from hub.keys import EVERY_NAME

__all__ = ["add_document", "add_metrics", "add_page"]

METRICS_S = 1.0  # collecting the metrics of several workers reads all of their files
_TEMPLATES = Path(__file__).parent / "templates"
_VENDOR = "fastapi_swagger.resources"  # Swagger UI's release, byte for byte
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
ASSETS = ("api.css", "api.js", "favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")


def add_page(app: FastAPI) -> None:
    """Add the page and its assets, all from this origin."""
    page = _cached("api.html")
    for path in ("/", "/docs"):
        _add_open(app, path, page)
    for name in ASSETS:
        _add_open(app, f"/assets/{name}", _cached(name))


def add_document(app: FastAPI, build: Callable[[], dict[str, Any]]) -> None:
    """Add the OpenAPI document at our path and at BentoML's.

    It depends on the installed plugins, which do not change while a worker runs. `build` runs at the first
    request: it takes longer than the other steps of a start together.
    """

    def text() -> bytes:
        return json.dumps(build(), ensure_ascii=False, separators=(",", ":")).encode()

    cached = CachedBody(text, "application/json", _SAFE)

    async def show(request: Request) -> Response:
        return await cached.answer(request)

    for path in ("/openapi.json", "/docs.json"):
        _add_closed(app, path, show)


def add_metrics(app: FastAPI) -> None:
    """Add the metrics in Prometheus' text format, collected at most once per second."""
    from prometheus_client import CONTENT_TYPE_LATEST

    hub = app.state.hub
    recent = RecentText(lambda: hub.metrics.text(hub.runtime), METRICS_S)

    async def show(request: Request) -> Response:
        caller_of(request).require(Right.INFER, EVERY_NAME)  # its labels name deployments
        return Response(await recent.get(), headers={"content-type": CONTENT_TYPE_LATEST})

    _add_closed(app, "/metrics", show)


def _cached(name: str) -> CachedBody:
    own = _TEMPLATES / name
    file = own if own.exists() else resources.files(_VENDOR).joinpath(name)
    return CachedBody(file.read_bytes, _TYPES[Path(name).suffix], _SAFE)


def _add_open(app: FastAPI, path: str, cached: CachedBody) -> None:
    async def show(request: Request) -> Response:
        return await cached.answer(request)

    app.router.add_route(path, show, methods=["GET"], include_in_schema=False)


def _add_closed(app: FastAPI, path: str, endpoint: Any) -> None:
    app.router.add_api_route(
        path, endpoint, methods=["GET"], include_in_schema=False, route_class_override=InferRoute
    )
