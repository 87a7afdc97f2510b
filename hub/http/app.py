"""The FastAPI application: the routes of this hub's tasks, ready to be mounted in the service."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.responses import HTMLResponse

import hub
from hub.config import Settings
from hub.errors import BadPlugin
from hub.http import admin, explain, feedback, native
from hub.http.auth import Keys
from hub.http.hub import Hub
from hub.http.metrics import Metrics
from hub.registry.host import LoadedTask, Registry
from hub.serving.runtime import Runtime

__all__ = ["build_app"]

log = logging.getLogger(__name__)

# BentoML ships Swagger UI and the whole OpenAPI document; its own page at / also loads a tracker.
DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>GraftHub API</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "docs.json", dom_id: "#swagger-ui", deepLinking: true})</script>
</body>
</html>
"""


def build_app(settings: Settings) -> FastAPI:
    """Build the application around a runtime that has yet to be started (`app.state.hub.runtime`)."""
    registry = Registry.of(settings)
    tasks = tuple(_usable(registry))
    metrics = Metrics(settings.serve.replicas)
    keys = Keys.of(settings)
    app = FastAPI(
        title="GraftHub",
        version=hub.__version__,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
        # Only told: InferRoute and AdminRoute do the asking.
        dependencies=[Security(HTTPBearer(auto_error=False, description="An API key, or the admin key."))],
    )
    app.state.hub = Hub(Runtime(settings, registry, metrics), tasks, keys, settings.limits, metrics)
    native.add_routes(app, tasks)
    feedback.add_routes(app)
    explain.add_routes(app)
    admin.add_routes(app)
    app.add_api_route("/docs", _docs, include_in_schema=False, response_class=HTMLResponse)
    return app


async def _docs() -> str:
    return DOCS


def _usable(registry: Registry) -> list[LoadedTask]:
    """Load the tasks; one that cannot be used is logged and left out."""
    tasks = []
    for name in registry.tasks():
        try:
            task = registry.task(name)
            native.call_model(task)
        except BadPlugin as error:
            log.error("Task %s is left out: %s", name, error)
        else:
            tasks.append(task)
    return tasks
