"""Counters and histograms by deployment and track, for a bounded number of deployments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hub.http.telemetry.record import CallRecord
from hub.serving.observation import Track

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

__all__ = ["OTHER", "DeploymentMetrics"]

OTHER = "other"  # the label of all deployments beyond the limit
MAX_REMOVED = 10  # times the limit: series of removed deployments that the files of several workers keep
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_LABELS = ("deployment", "track")


@dataclass(frozen=True, slots=True)
class _Instruments:
    calls: Counter
    seconds: Histogram
    queue_seconds: Histogram
    rows: Counter
    tokens: Counter
    item_errors: Counter

    def all(self) -> tuple[Counter | Histogram, ...]:
        return self.calls, self.seconds, self.queue_seconds, self.rows, self.tokens, self.item_errors


@cache
def _instruments(client: Any) -> _Instruments:
    """Register the metrics once per process."""
    return _Instruments(
        calls=client.Counter("hub_deployment_calls", "Calls of a deployment, by result.", [*_LABELS, "code"]),
        seconds=client.Histogram(
            "hub_deployment_call_seconds",
            "Seconds from the read body to the answer.",
            _LABELS,
            buckets=SECONDS,
        ),
        queue_seconds=client.Histogram(
            "hub_deployment_queue_seconds",
            "Seconds that the rows of an answered call waited for the engine.",
            _LABELS,
            buckets=SECONDS,
        ),
        rows=client.Counter("hub_deployment_rows", "Model rows of answered calls.", _LABELS),
        tokens=client.Counter(
            "hub_deployment_tokens",
            "Tokens of answered calls; kind is input, cached (a part of input) or output.",
            [*_LABELS, "kind"],
        ),
        item_errors=client.Counter(
            "hub_deployment_item_errors",
            "Requests that failed in calls of several, by error code.",
            [*_LABELS, "code"],
        ),
    )


class _Series:
    """The series of one deployment and track: looking up a label takes longer than counting."""

    def __init__(self, to: _Instruments, name: str, track: Track) -> None:
        self._to = to
        self._labels = name, str(track)
        self._codes: dict[str, Any] = {}
        self._seconds = to.seconds.labels(*self._labels)
        self._queue_seconds = to.queue_seconds.labels(*self._labels)
        self._rows = to.rows.labels(*self._labels)
        self._input = to.tokens.labels(*self._labels, "input")

    def record(self, call: CallRecord) -> None:
        code = call.code
        counter = self._codes.get(code) or self._codes.setdefault(
            code, self._to.calls.labels(*self._labels, code)
        )
        counter.inc()
        self._seconds.observe(call.seconds)
        answers = call.answers
        if answers is None:
            return
        self._queue_seconds.observe(answers.queue_s)
        self._rows.inc(answers.rows)
        self._input.inc(answers.tokens)
        if usage := answers.usage:
            self._to.tokens.labels(*self._labels, "cached").inc(usage.cached_tokens)
            self._to.tokens.labels(*self._labels, "output").inc(usage.completion_tokens)
        if len(answers.items) > 1:
            for failed, count in call.item_errors().items():
                self._to.item_errors.labels(*self._labels, failed).inc(count)


class DeploymentMetrics:
    """Counts calls by deployment; those of more than `limit` deployments together as `other`.

    The first `limit` names have series of their own, so that all workers of a server choose the same.
    """

    def __init__(self, client: Any, limit: int) -> None:
        self._to = _instruments(client)
        self._limit = limit
        self._keeps_removed = bool(client.multiproc)  # files of metrics only grow
        self._ever: set[str] = set()
        self._series: dict[tuple[str, Track], _Series] = {}
        self.named: frozenset[str] = frozenset()
        if not self._keeps_removed:  # the registry is that of the process, which may have built another app
            for metric in self._to.all():
                metric.clear()

    def publish(self, names: Collection[str]) -> None:
        """Set the deployments that exist; the series of the others are removed."""
        wanted = sorted(names)[: self._limit]
        if self._keeps_removed:
            room = MAX_REMOVED * max(self._limit, 1)
            wanted = [name for name in wanted if name in self._ever or len(self._ever) < room]
            self._ever.update(wanted)
        removed = self.named - set(wanted)
        self.named = frozenset(wanted)
        self._series = {key: one for key, one in self._series.items() if key[0] not in removed}
        if not self._keeps_removed:
            for name in removed:
                for metric in self._to.all():
                    metric.remove_by_labels({"deployment": name})

    def label(self, name: str) -> str:
        """Return the label of a deployment."""
        return name if name in self.named else OTHER

    def record(self, call: CallRecord) -> None:
        """Count a call that has ended, if a deployment took it."""
        if call.route is None:
            return
        key = self.label(call.route.name), call.track
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self._to, *key)
        series.record(call)
