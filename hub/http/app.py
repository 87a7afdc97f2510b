"""The FastAPI application: the routes of this hub's tasks, ready to be mounted in the service."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer

import hub
from hub.config import Settings
from hub.errors import BadPlugin
from hub.http import admin, native
from hub.http.auth import Keys, local_admin_key
from hub.http.hub import Hub
from hub.http.metrics import Metrics
from hub.registry.host import LoadedTask, Registry
from hub.serving.runtime import Runtime

__all__ = ["build_app"]

log = logging.getLogger(__name__)


def build_app(settings: Settings) -> FastAPI:
    """Build the application around a runtime that has yet to be started (`app.state.hub.runtime`)."""
    registry = Registry.of(settings)
    tasks = tuple(_usable(registry))
    metrics = Metrics()
    serve = settings.serve
    keys = Keys(serve.admin_key or local_admin_key(settings.home), serve.api_keys)
    app = FastAPI(
        title="GraftHub",
        version=hub.__version__,
        docs_url=None,  # BentoML's page at / shows these routes too, and needs no other server
        redoc_url=None,
        # Only told: InferRoute and AdminRoute do the asking.
        dependencies=[Security(HTTPBearer(auto_error=False, description="An API key, or the admin key."))],
    )
    app.state.hub = Hub(Runtime(settings, registry, metrics), tasks, keys, settings.limits, metrics)
    native.add_routes(app, tasks)
    admin.add_routes(app)
    return app


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
