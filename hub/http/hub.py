"""The shared state of the routes: `request.app.state.hub`."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from hub.config import LimitSettings
from hub.http.auth import Keys
from hub.http.metrics.metrics import Metrics
from hub.registry.host import LoadedTask
from hub.serving.runtime import Runtime

__all__ = ["Hub", "hub_of"]


@dataclass(frozen=True, slots=True)
class Hub:
    """Runtime, tasks, keys, limits and metrics of one server."""

    runtime: Runtime
    tasks: tuple[LoadedTask, ...]
    keys: Keys
    limits: LimitSettings
    metrics: Metrics


def hub_of(request: Request) -> Hub:
    """Return the hub of a request."""
    hub: Hub = request.app.state.hub
    return hub
