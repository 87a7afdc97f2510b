# ruff: noqa: TID253 - extends BentoML's service; only the service module imports it
"""BentoML's service with our middleware: metrics with bounded labels, deadlines, and no request log.

Relies on private parts of BentoML 1.4.39, which tests/http/test_bento_contract.py checks.
"""

from __future__ import annotations

import logging
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
from _bentoml_impl.server.mount import PassiveMount
from _bentoml_sdk.service import Service
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.server.http.access import AccessLogMiddleware
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml.exceptions import BentoMLConfigException
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.config import Settings, load_settings
from hub.errors import BadConfig
from hub.http.auth import check_exposure
from hub.http.gate import TEMPLATE, Gate, Paths
from hub.http.origin import BrowserGuard
from hub.http.telemetry.access_log import AccessLog, log_refusal
from hub.http.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.applications import Starlette

    from hub.http.hub import Hub
    from hub.http.process.channel import SupervisorChannel
    from hub.http.process.worker_config import Handover, WorkerConfig

__all__ = ["HubService"]

log = logging.getLogger(__name__)

PROBES = frozenset({"/livez", "/healthz", "/readyz"})
WILDCARD = "localhost"  # BentoML's name for 0.0.0.0 and ::; it takes no host names
REPLACED = frozenset(
    {
        AccessLogMiddleware,
        ContextMiddleware,
        OpenTelemetryMiddleware,
        RunnerTrafficMetricsMiddleware,
        TimeoutMiddleware,
    }
)


@cache
def _bento_metrics(namespace: str) -> RunnerTrafficMetricsMiddleware:
    """Register BentoML's request metrics once per process."""
    middleware = RunnerTrafficMetricsMiddleware(None, namespace)
    middleware._setup()
    return middleware


class RouteMetrics:
    """Records BentoML's request metrics, labelled with the template of the route instead of the path."""

    def __init__(self, app: ASGIApp, namespace: str) -> None:
        self.app = app
        self._metrics = _bento_metrics(namespace)
        self._of_route: dict[str, Any] = {}
        self._of_status: dict[tuple[str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route, began, status = scope[TEMPLATE], time.perf_counter(), 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        running = self._of_route.get(route) or self._begin(route)
        running.inc()
        try:
            await self.app(scope, receive, record_status)
        finally:
            running.dec()
            total, duration = self._of_status.get((route, status)) or self._end(route, status)
            total.inc()
            duration.observe(time.perf_counter() - began)

    def _begin(self, route: str) -> Any:
        running = self._of_route[route] = self._metrics.metrics_request_in_progress.labels(
            **self._labels(route)
        )
        return running

    def _end(self, route: str, status: int) -> tuple[Any, Any]:
        labels = {**self._labels(route), "http_response_code": status}
        total = self._metrics.metrics_request_total.labels(**labels)
        duration = self._metrics.metrics_request_duration.labels(**labels)
        self._of_status[route, status] = total, duration
        return total, duration

    def _labels(self, route: str) -> dict[str, str]:
        return {
            "endpoint": route,
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
            "runner_name": server_context.service_name,
        }


class HubAppFactory(ServiceAppFactory):  # type: ignore[misc]
    """Builds BentoML's application without middleware; HubService applies the part it keeps."""

    def __call__(self) -> Starlette:
        """Return the application without BentoML's pages, which load external scripts, and open metrics."""
        app = super().__call__()
        app.router.routes[:] = [
            route
            for route in app.routes
            if isinstance(route, PassiveMount) or (isinstance(route, Route) and route.path in PROBES)
        ]
        return cast("Starlette", app)

    @property
    def middlewares(self) -> list[Middleware]:
        return []

    def kept(self) -> list[Middleware]:
        """Return BentoML's middleware without what is replaced."""
        return [middleware for middleware in super().middlewares if middleware.cls not in REPLACED]


class HubService(Service[Any]):  # type: ignore[misc]
    """A BentoML service whose routes are built from the installed plugins by each worker."""

    _worker: WorkerConfig | None = None
    channel: SupervisorChannel | None = None

    def start_in(self, worker: WorkerConfig, channel: SupervisorChannel) -> None:
        """Take settings and address from our supervisor; `bentoml serve` has none, so they are looked up."""
        self._worker = worker
        self.channel = channel
        server_context.service_type = "entry_service"
        server_context.service_name = server_context.bento_name = self.name
        server_context.service_routes = []
        server_context.bento_version = "not available"
        server_context.worker_index = worker.index

    @property
    def supervisor(self) -> int:
        """The id of the process that restarts this one."""
        return self._worker.supervisor if self._worker else os.getppid()

    @property
    def handover(self) -> Handover | None:
        """What this worker has to take over from another that serves; None if it just starts."""
        return self._worker.handover if self._worker else None

    @property
    def hub(self) -> Hub:
        """The hub of the app that `to_asgi` built last."""
        hub: Hub = self._app().state.hub
        return hub

    @property
    def address(self) -> str | None:
        """The URL of the server, or None without a supervisor and port."""
        if self._worker:
            return self._worker.address
        host, port = _host_and_port(self.url)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}" if port else None

    def inject_config(self) -> None:
        """Set BentoML's configuration, with the number of workers of the settings."""
        settings = self._settings()
        configure_logs(settings.log)  # BentoML calls this in its supervisor, too
        self.config["workers"] = settings.serve.replicas
        super().inject_config()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        from hub.http.dispatch import Closed, Dispatch

        try:
            host = self._host()
            if self._worker is None:  # our supervisor checks before it binds the port
                _check_alone(host, load_settings())
        except BadConfig as error:
            log.error("%s", error)
            return Closed(error)
        settings = self._mount()
        origins, tls = settings.serve.cors_origins, bool(settings.serve.tls_cert)
        guard = BrowserGuard(host, settings.serve.allowed_hosts, origins=origins, tls=tls)
        self.inject_config()
        factory = HubAppFactory(self, is_main=is_main)
        others = factory()
        namespace = BentoMLContainer.api_server_config.metrics.namespace.get()
        counted: ASGIApp = RouteMetrics(Dispatch(self._app(), others), namespace)
        if tracing := self.hub.tracing:
            counted = tracing.wrap(counted)
        replica = self.hub.runtime.replica
        app: ASGIApp = Gate(
            counted,
            Paths(others.routes),
            guard,
            body_bytes=settings.limits.body_bytes,
            replica=replica,
            origins=origins,
            tls=tls,
        )
        if settings.log.access != "off":
            app = AccessLog(app, errors_only=settings.log.access == "errors")
        for middleware in reversed(factory.kept()):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app

    def refused(self, code: str) -> None:
        """Count and log a request that was refused before it was read."""
        self.hub.metrics.refused(code)
        if self._settings().log.access != "off":
            log_refusal(code)

    @property
    def openapi_spec(self) -> Any:
        if not self.mount_apps:  # `bentoml build` reads the document without building an app
            self._mount()
        return super().openapi_spec

    def _app(self) -> FastAPI:
        (app, _, _) = self.mount_apps[-1]
        return cast("FastAPI", app)

    def _host(self) -> str:
        """Return the address that the server listens on."""
        if self._worker:
            return self._worker.settings.serve.host
        host, _ = _host_and_port(self.url)
        return "0.0.0.0" if host == WILDCARD else host

    def _settings(self) -> Settings:
        if self._worker:
            return self._worker.settings
        try:
            return load_settings()
        except (
            BadConfig
        ) as error:  # BentoML's commands print only errors of their own type without a traceback
            raise BentoMLConfigException(str(error)) from None

    def _mount(self) -> Settings:
        from hub.http.app import build_app  # not at the top: the supervisor does not need it

        settings = self._settings()
        self.mount_apps: list[tuple[ASGIApp, str, str]] = []
        self.mount_asgi_app(build_app(settings, self.channel), name="hub")
        return settings


def _check_alone(host: str, settings: Settings) -> None:
    """Check what `hub serve` checks, for a server without our supervisor.

    Raises:
        BadConfig: it must not serve with these settings.
    """
    check_exposure(host, settings)
    if settings.serve.tls_cert:
        raise BadConfig(
            "serve.tls_cert is read by `hub serve` alone. Give `bentoml serve` its own --ssl-certfile and "
            "--ssl-keyfile, and remove the setting."
        )


def _host_and_port(url: str | None) -> tuple[str, int]:
    """Return host and port of a URL by BentoML, which puts no brackets around an IPv6 address."""
    host, _, port = (url or "").partition("://")[2].rpartition(":")
    return host or "127.0.0.1", int(port or 0)
