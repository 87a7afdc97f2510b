"""The shared state of the routes: `request.app.state.hub`."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from hub.config import LimitSettings, Settings
from hub.http.auth import Keys
from hub.http.metrics.metrics import Metrics
from hub.jobs.service import TrainingService
from hub.registry.host import LoadedTask
from hub.serving.runtime import Runtime

__all__ = ["Hub", "hub_of"]


@dataclass(frozen=True, slots=True)
class Hub:
    """Runtime, tasks, keys, settings, metrics and training jobs of one server."""

    runtime: Runtime
    tasks: tuple[LoadedTask, ...]
    keys: Keys
    settings: Settings
    metrics: Metrics
    training: TrainingService

    @property
    def limits(self) -> LimitSettings:
        return self.settings.limits


def hub_of(request: Request) -> Hub:
    """Return the hub of a request."""
    hub: Hub = request.app.state.hub
    return hub
