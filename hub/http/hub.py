"""The shared state of the routes: `request.app.state.hub`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from hub.config import LimitSettings, Settings
from hub.http.auth import Keys
from hub.http.metrics.metrics import Metrics
from hub.http.telemetry.record import CallRecord
from hub.jobs.service import TrainingService
from hub.registry.host import LoadedTask
from hub.serving.runtime import Runtime

if TYPE_CHECKING:
    from hub.http.process.channel import SupervisorChannel
    from hub.http.telemetry.tracing import Tracing

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
    supervisor: SupervisorChannel | None = None  # None: not started by `hub serve`
    tracing: Tracing | None = None  # None: no exporter is set

    def ended(self, call: CallRecord) -> None:
        """Count and trace a call that has ended, within its request."""
        self.metrics.ended(call)
        if self.tracing:
            self.tracing.ended(call)

    @property
    def limits(self) -> LimitSettings:
        return self.settings.limits


def hub_of(request: Request) -> Hub:
    """Return the hub of a request."""
    hub: Hub = request.app.state.hub
    return hub
