"""The FastAPI application with the routes of the installed tasks."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI

import hub
from hub.config import Settings
from hub.errors import BadPlugin
from hub.http.auth import Keys
from hub.http.hub import Hub
from hub.http.metrics.metrics import Metrics
from hub.http.plugins.routes import add_families
from hub.http.routes import (
    admin,
    explain,
    feedback,
    native,
    pages,
    plugins,
    predict_each,
    rank,
    versions,
)
from hub.http.routes.document import build_document
from hub.jobs.service import TrainingService
from hub.registry.active import activate
from hub.registry.host import LoadedTask, Registry
from hub.serving.runtime import Runtime

if TYPE_CHECKING:
    from hub.http.process.channel import SupervisorChannel
    from hub.http.telemetry.tracing import Tracing

__all__ = ["build_app"]

log = logging.getLogger(__name__)


def build_app(settings: Settings, supervisor: SupervisorChannel | None = None) -> FastAPI:
    """Build the application; its runtime, `app.state.hub.runtime`, is not started.

    `supervisor` is the one of `hub serve`, if that runs this process.
    """
    registry = activate(Registry.of(settings))
    tasks = tuple(_load_tasks(registry))
    for fault in registry.required_faults(settings.plugins.required):
        log.error("The server will not be ready: %s", fault)
    metrics = Metrics(settings)
    runtime = Runtime(settings, registry, metrics)
    keys = Keys.of(settings, runtime.callers)
    app = FastAPI(
        title="GraftHub",
        version=hub.__version__,
        docs_url=None,  # FastAPI's pages load scripts from another origin
        redoc_url=None,
        openapi_url=None,  # FastAPI's document needs no key
    )
    training = TrainingService(runtime, settings)
    app.state.hub = Hub(runtime, tasks, keys, settings, metrics, training, supervisor, _open_tracing())
    native.add_routes(app, tasks)
    predict_each.add_routes(app)
    rank.add_routes(app)
    add_families(app, registry.extensions)
    feedback.add_routes(app)
    explain.add_routes(app)
    admin.add_routes(app)
    plugins.add_routes(app)
    versions.add_routes(app)
    pages.add_page(app)
    pages.add_metrics(app)
    pages.add_document(app, partial(build_document, app, keys_needed=bool(settings.serve.api_keys)))
    return app


def _open_tracing() -> Tracing | None:
    """Return what exports traces, if BentoML's settings name an exporter."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    if BentoMLContainer.tracing.exporter_type.get() is None:
        return None
    from hub.http.telemetry.tracing import Tracing

    return Tracing(BentoMLContainer.tracer_provider.get())


def _load_tasks(registry: Registry) -> list[LoadedTask]:
    """Load the tasks; an invalid one is logged and skipped."""
    tasks = []
    for name in registry.tasks():
        try:
            tasks.append(registry.task(name))
        except BadPlugin as error:
            log.error("Task %s is skipped: %s", name, error)
    return tasks
