"""Prometheus metrics of the hub; labels are tasks, bases and deployments, never ids or texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING

from hub.config import Settings
from hub.http.metrics.deployments import DeploymentMetrics
from hub.http.metrics.instruments import instruments, metrics_client
from hub.http.metrics.state import StateMetrics
from hub.http.telemetry.record import CallRecord
from hub.serving.background import PeriodicTask
from hub.serving.figures import RuntimeFigures
from hub.serving.meter import Meter, Outcome

if TYPE_CHECKING:
    from hub.serving.runtime import Runtime
    from hub.store.catalog.keys import KeyUsage

__all__ = ["Metrics"]

REFRESH_S = 1.0  # of the gauges of each of several workers
MAX_KEYS = 100  # with a label of their own in one process; the others share `other`


class Metrics(Meter):
    """The `Meter` of one worker."""

    def __init__(self, settings: Settings) -> None:
        serve = settings.serve
        self._client = metrics_client(serve.replicas)
        self._to = instruments(self._client)
        self._deployments = DeploymentMetrics(self._client, settings.metrics.deployments)
        self._state = StateMetrics(
            self._client, self._deployments, self._to.forwards.waiting, serve.batch_rows
        )
        self._refreshing: PeriodicTask | None = None
        self._keys: set[str] = set()  # those with a label of their own

    def start(self, runtime: Runtime) -> None:
        """Refresh the gauges all the time if there are several workers; otherwise `text` does."""
        if self._client.multiproc:

            def refresh() -> None:
                self._refresh(runtime)

            self._refreshing = PeriodicTask("metrics", refresh, REFRESH_S)
            self._refreshing.start()

    def stop(self) -> None:
        """Stop refreshing."""
        if self._refreshing:
            self._refreshing.stop()

    def text(self, runtime: Runtime) -> bytes:
        """Return all metrics in Prometheus' text format, of all workers."""
        from hub.http.metrics.exposition import expose  # not at the top: imports prometheus_client

        return expose(self._client, self._refresh(runtime), self._deployments.named)

    def _refresh(self, runtime: Runtime) -> RuntimeFigures | None:
        figures = runtime.figures()
        if figures:
            self._state.refresh(figures)
        return figures

    def published(self, names: Collection[str]) -> None:
        self._deployments.publish(names)

    def ended(self, call: CallRecord) -> None:
        """Count a call that has ended."""
        self._to.calls.total.labels(call.task, call.code).inc()
        self._to.calls.seconds.labels(call.task).observe(call.seconds)
        self._deployments.record(call)

    def first_text(self, task: str, seconds: float) -> None:
        """Record when the text of a streamed call began."""
        self._to.calls.first_text_seconds.labels(task).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a request that was refused before routing."""
        self._to.calls.refused.labels(code).inc()

    def batch(self, base: str, rows: int, seconds: float, waiting: int) -> None:
        self._to.forwards.rows.labels(base).observe(rows)
        self._to.forwards.seconds.labels(base).observe(seconds)
        self._to.forwards.waiting.labels(base).set(waiting)

    def retry(self, base: str) -> None:
        self._to.forwards.retries.labels(base).inc()

    def load(self, outcome: Outcome, seconds: float) -> None:
        self._to.adapters.load_seconds.labels(outcome).observe(seconds)

    def evicted(self, base: str) -> None:
        self._to.adapters.evictions.labels(base).inc()

    def swap(self, outcome: Outcome) -> None:
        self._to.adapters.swaps.labels(outcome).inc()

    def slots(self, base: str, resident: int, capacity: int) -> None:
        self._to.adapters.resident.labels(base).set(resident)
        self._to.adapters.capacity.labels(base).set(capacity)

    def answers(self, outcome: Outcome, count: int) -> None:
        self._to.calls.answers.labels(outcome).inc(count)

    def usage(self, caller: str, usage: KeyUsage) -> None:
        if len(self._keys) < MAX_KEYS:
            self._keys.add(caller)
        key = caller if caller in self._keys else "other"
        for kind, count in asdict(usage).items():
            if count:
                self._to.calls.usage.labels(key, kind).inc(count)

    def observed(self, observer: str, outcome: str) -> None:
        self._to.plugins.observed.labels(observer, outcome).inc()

    def plugin_fault(self, task: str, step: str, fault: str) -> None:
        self._to.plugins.faults.labels(task, step, fault).inc()

    def stuck(self, task: str, threads: int, suspended: bool) -> None:
        self._to.plugins.stuck.labels(task).set(threads)
        self._to.plugins.suspended.labels(task).set(suspended)
