# ruff: noqa: TID253 - extends BentoML's service; only the service module imports it
"""BentoML's service with our middleware: bounded labels, a deadline that does not leak, no log of requests.

What this leans on inside BentoML 1.4.39 is guarded by tests/http/test_bento_contract.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
from _bentoml_sdk.service import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.access import AccessLogMiddleware
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.config import Settings, load_settings
from hub.http.deadline import Deadline
from hub.http.gate import TEMPLATE, Gate, Paths

if TYPE_CHECKING:
    from hub.http.hub import Hub

__all__ = ["HubService"]

REAL_PATH = "hub.path"
FOR_API_METHODS = {AccessLogMiddleware, ContextMiddleware, TimeoutMiddleware}  # we have none


class _RestorePath:
    """Gives the request its own path back, behind the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if REAL_PATH in scope:
            scope["path"] = scope[REAL_PATH]
        await self.app(scope, receive, send)


class TemplateMetrics(RunnerTrafficMetricsMiddleware):  # type: ignore[misc]
    """BentoML's request metrics, counted under the route's template instead of the path."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(_RestorePath(app), **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if TEMPLATE in scope:
            scope[REAL_PATH], scope["path"] = scope["path"], scope[TEMPLATE]
        await super().__call__(scope, receive, send)


def _metrics(app: ASGIApp, /, **options: Any) -> ASGIApp:
    return TemplateMetrics(app, **options)


class HubAppFactory(ServiceAppFactory):  # type: ignore[misc]
    """Builds BentoML's Starlette application with the middleware exchanged."""

    timeout_s: float

    @property
    def middlewares(self) -> list[Middleware]:
        kept: list[Middleware] = []
        traced = BentoMLContainer.tracing.exporter_type.get() is not None
        for middleware in super().middlewares:
            if middleware.cls is RunnerTrafficMetricsMiddleware:
                kept.append(Middleware(_metrics, **middleware.kwargs))
            elif middleware.cls is OpenTelemetryMiddleware and not traced:
                continue
            elif middleware.cls not in FOR_API_METHODS:
                kept.append(middleware)
        return [*kept, Middleware(Deadline, seconds=self.timeout_s)]


class HubService(Service[Any]):  # type: ignore[misc]
    """A BentoML service whose routes are made from the installed plugins when a worker builds its app."""

    @property
    def hub(self) -> Hub:
        """The hub behind the app that `to_asgi` built last."""
        hub: Hub = self._app().state.hub
        return hub

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        settings = self._mount()
        self.inject_config()
        factory = HubAppFactory(self, is_main=is_main)
        factory.timeout_s = settings.limits.timeout_s
        app = factory()
        paths = Paths([*app.routes, *self._app().routes])
        return Gate(app, paths, body_bytes=settings.limits.body_bytes)

    @property
    def openapi_spec(self) -> Any:
        if not self.mount_apps:  # `bentoml build` asks for the page without building an app
            self._mount()
        return super().openapi_spec

    def _app(self) -> FastAPI:
        (app, _, _) = self.mount_apps[-1]
        assert isinstance(app, FastAPI)
        return app

    def _mount(self) -> Settings:
        from hub.http.app import build_app  # not at the top: the supervisor has no use for it

        settings = load_settings()
        self.mount_apps: list[tuple[ASGIApp, str, str]] = []
        self.mount_asgi_app(build_app(settings), name="hub")
        return settings
