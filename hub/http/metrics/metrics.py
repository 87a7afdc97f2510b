"""Prometheus metrics of the hub; labels are tasks, bases and deployments, never ids or texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hub.config import Settings
from hub.http.metrics.deployments import SECONDS, DeploymentMetrics
from hub.http.metrics.state import StateMetrics
from hub.http.telemetry.record import CallRecord
from hub.serving.background import PeriodicTask
from hub.serving.figures import RuntimeFigures
from hub.serving.meter import Meter, Outcome

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

    from hub.serving.runtime import Runtime
    from hub.store.catalog.keys import KeyUsage

__all__ = ["Metrics"]

REFRESH_S = 1.0  # of the gauges of each of several workers
MAX_KEYS = 100  # with a label of their own in one process; the others share `other`
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class _Instruments:
    calls: Counter
    call_seconds: Histogram
    first_text_seconds: Histogram
    batch_rows: Histogram
    forward_seconds: Histogram
    retries: Counter
    waiting: Gauge
    resident: Gauge
    capacity: Gauge
    load_seconds: Histogram
    evictions: Counter
    swaps: Counter
    answers: Counter
    observed: Counter
    plugin_faults: Counter
    stuck: Gauge
    suspended: Gauge
    refused: Counter
    usage: Counter


def _client() -> Any:
    from bentoml._internal.configuration.containers import BentoMLContainer

    return BentoMLContainer.metrics_client.get()


@cache
def _instruments(replicas: int) -> _Instruments:
    """Register every metric once per process."""
    from hub.http.metrics.values import keep_values

    keep_values(replicas)
    client = _client()
    live = {"multiprocess_mode": "livesum"}
    return _Instruments(
        calls=client.Counter("hub_calls", "Calls of a task, by result.", ["task", "code"]),
        call_seconds=client.Histogram(
            "hub_call_seconds", "Seconds from the read body to the answer.", ["task"], buckets=SECONDS
        ),
        first_text_seconds=client.Histogram(
            "hub_first_text_seconds",
            "Seconds from the read body to the first part of a streamed text.",
            ["task"],
            buckets=SECONDS,
        ),
        batch_rows=client.Histogram("hub_batch_rows", "Rows in one forward pass.", ["base"], buckets=_ROWS),
        forward_seconds=client.Histogram(
            "hub_forward_seconds", "Seconds of one forward pass.", ["base"], buckets=SECONDS
        ),
        retries=client.Counter(
            "hub_forward_retries", "Forward passes that failed and ran in halves.", ["base"]
        ),
        waiting=client.Gauge(
            "hub_waiting_rows", "Rows waiting at the end of a forward pass.", ["base"], **live
        ),
        resident=client.Gauge("hub_resident_adapters", "Adapters in slots.", ["base"], **live),
        capacity=client.Gauge("hub_slots", "Adapter slots.", ["base"], **live),
        load_seconds=client.Histogram(
            "hub_load_seconds", "Seconds to load one version.", ["outcome"], buckets=SECONDS
        ),
        evictions=client.Counter("hub_evictions", "Adapters evicted from their slot for another.", ["base"]),
        swaps=client.Counter("hub_swaps", "Changes of a deployment's version.", ["outcome"]),
        answers=client.Counter(
            "hub_feedback_answers", "Answers stored for feedback, or dropped.", ["outcome"]
        ),
        observed=client.Counter(
            "hub_observer_events",
            "Events that observers of plugins took, failed at, or were too far behind for.",
            ["observer", "outcome"],
        ),
        plugin_faults=client.Counter(
            "hub_plugin_faults",
            "Faults of plugin code: it raised, returned a wrong value, took too long, printed.",
            ["task", "step", "fault"],
        ),
        stuck=client.Gauge("hub_stuck_plugin_calls", "Calls that hang in plugin code.", ["task"], **live),
        suspended=client.Gauge(
            "hub_suspended_tasks",
            "1 while calls of the task are refused because others hang.",
            ["task"],
            **live,
        ),
        usage=client.Counter(
            "hub_key_usage", "Requests, refusals, errors, rows and tokens by key.", ["key", "kind"]
        ),
        refused=client.Counter(
            "hub_refused_requests", "Requests refused before routing, by error code.", ["code"]
        ),
    )


class Metrics(Meter):
    """The `Meter` of one worker."""

    def __init__(self, settings: Settings) -> None:
        serve = settings.serve
        self._to = _instruments(serve.replicas)
        self._client = _client()
        self._deployments = DeploymentMetrics(self._client, settings.metrics.deployments)
        self._state = StateMetrics(self._client, self._deployments, self._to.waiting, serve.batch_rows)
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
        self._to.calls.labels(call.task, call.code).inc()
        self._to.call_seconds.labels(call.task).observe(call.seconds)
        self._deployments.record(call)

    def first_text(self, task: str, seconds: float) -> None:
        """Record when the text of a streamed call began."""
        self._to.first_text_seconds.labels(task).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a request that was refused before routing."""
        self._to.refused.labels(code).inc()

    def batch(self, base: str, rows: int, seconds: float, waiting: int) -> None:
        self._to.batch_rows.labels(base).observe(rows)
        self._to.forward_seconds.labels(base).observe(seconds)
        self._to.waiting.labels(base).set(waiting)

    def retry(self, base: str) -> None:
        self._to.retries.labels(base).inc()

    def load(self, outcome: Outcome, seconds: float) -> None:
        self._to.load_seconds.labels(outcome).observe(seconds)

    def evicted(self, base: str) -> None:
        self._to.evictions.labels(base).inc()

    def swap(self, outcome: Outcome) -> None:
        self._to.swaps.labels(outcome).inc()

    def slots(self, base: str, resident: int, capacity: int) -> None:
        self._to.resident.labels(base).set(resident)
        self._to.capacity.labels(base).set(capacity)

    def answers(self, outcome: Outcome, count: int) -> None:
        self._to.answers.labels(outcome).inc(count)

    def usage(self, caller: str, usage: KeyUsage) -> None:
        if len(self._keys) < MAX_KEYS:
            self._keys.add(caller)
        key = caller if caller in self._keys else "other"
        for kind, count in asdict(usage).items():
            if count:
                self._to.usage.labels(key, kind).inc(count)

    def observed(self, observer: str, outcome: str) -> None:
        self._to.observed.labels(observer, outcome).inc()

    def plugin_fault(self, task: str, step: str, fault: str) -> None:
        self._to.plugin_faults.labels(task, step, fault).inc()

    def stuck(self, task: str, threads: int, suspended: bool) -> None:
        self._to.stuck.labels(task).set(threads)
        self._to.suspended.labels(task).set(suspended)
