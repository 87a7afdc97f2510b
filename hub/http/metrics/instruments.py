"""The metrics of a worker, registered once per process; those of deployments are apart."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hub.http.metrics.deployments import SECONDS

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

__all__ = ["Instruments", "instruments", "metrics_client"]

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SUM = {"multiprocess_mode": "livesum"}  # over the workers that live


class _Calls:
    """What callers notice."""

    def __init__(self, client: Any) -> None:
        self.total: Counter = client.Counter("hub_calls", "Calls of a task, by result.", ["task", "code"])
        self.seconds: Histogram = client.Histogram(
            "hub_call_seconds", "Seconds from the read body to the answer.", ["task"], buckets=SECONDS
        )
        self.first_text_seconds: Histogram = client.Histogram(
            "hub_first_text_seconds",
            "Seconds from the read body to the first part of a streamed text.",
            ["task"],
            buckets=SECONDS,
        )
        self.refused: Counter = client.Counter(
            "hub_refused_requests", "Requests refused before routing, by error code.", ["code"]
        )
        self.usage: Counter = client.Counter(
            "hub_key_usage", "Requests, refusals, errors, rows and tokens by key.", ["key", "kind"]
        )
        self.answers: Counter = client.Counter(
            "hub_feedback_answers", "Answers stored for feedback, or dropped.", ["outcome"]
        )


class _Forwards:
    """What engines do."""

    def __init__(self, client: Any) -> None:
        self.rows: Histogram = client.Histogram(
            "hub_batch_rows", "Rows in one forward pass.", ["base"], buckets=_ROWS
        )
        self.seconds: Histogram = client.Histogram(
            "hub_forward_seconds", "Seconds of one forward pass.", ["base"], buckets=SECONDS
        )
        self.retries: Counter = client.Counter(
            "hub_forward_retries", "Forward passes that failed and ran in halves.", ["base"]
        )
        self.waiting: Gauge = client.Gauge(
            "hub_waiting_rows", "Rows waiting at the end of a forward pass.", ["base"], **_SUM
        )


class _Adapters:
    """Where adapters are."""

    def __init__(self, client: Any) -> None:
        self.resident: Gauge = client.Gauge("hub_resident_adapters", "Adapters in slots.", ["base"], **_SUM)
        self.capacity: Gauge = client.Gauge("hub_slots", "Adapter slots.", ["base"], **_SUM)
        self.load_seconds: Histogram = client.Histogram(
            "hub_load_seconds", "Seconds to load one version.", ["outcome"], buckets=SECONDS
        )
        self.evictions: Counter = client.Counter(
            "hub_evictions", "Adapters evicted from their slot for another.", ["base"]
        )
        self.swaps: Counter = client.Counter("hub_swaps", "Changes of a deployment's version.", ["outcome"])


class _Plugins:
    """What the code of plugins does."""

    def __init__(self, client: Any) -> None:
        self.observed: Counter = client.Counter(
            "hub_observer_events",
            "Events that observers of plugins took, failed at, or were too far behind for.",
            ["observer", "outcome"],
        )
        self.faults: Counter = client.Counter(
            "hub_plugin_faults",
            "Faults of plugin code: it raised, returned a wrong value, took too long or too much, printed.",
            ["task", "step", "fault"],
        )
        self.stuck: Gauge = client.Gauge(
            "hub_stuck_plugin_calls", "Calls that hang in plugin code.", ["task"], **_SUM
        )
        self.suspended: Gauge = client.Gauge(
            "hub_suspended_tasks",
            "1 while calls of the task are refused because others hang.",
            ["task"],
            **_SUM,
        )


class Instruments:
    """Every metric without a deployment, by subject."""

    def __init__(self, client: Any) -> None:
        self.calls = _Calls(client)
        self.forwards = _Forwards(client)
        self.adapters = _Adapters(client)
        self.plugins = _Plugins(client)


def metrics_client(replicas: int) -> Any:
    """Return BentoML's client of prometheus_client, with values stored as `replicas` workers need it."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    from hub.http.metrics.values import keep_values

    keep_values(replicas)
    return BentoMLContainer.metrics_client.get()


@cache
def instruments(client: Any) -> Instruments:
    """Register every metric once per process."""
    return Instruments(client)
