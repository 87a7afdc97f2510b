"""Gauges of a worker's current state: generation, residency, queues and texts in progress."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hub.engine.protocol import GenerationInfo
from hub.http.metrics.deployments import DeploymentMetrics
from hub.serving.figures import BaseFigures, RuntimeFigures
from hub.serving.observation import Track

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

__all__ = ["LOAD_WAITERS", "MEMORY", "RESIDENT", "RUNNING_CALLS", "WAITING_CALLS", "StateMetrics"]

RESIDENT = "hub_deployment_resident"
LOAD_WAITERS = "hub_deployment_load_waiters"
WAITING_CALLS = "hub_waiting_calls"
RUNNING_CALLS = "hub_running_calls"
MEMORY = "hub_generation_memory_ratio"


@dataclass(frozen=True, slots=True)
class _Instruments:
    generation: Gauge
    deployments: Gauge
    failures: Gauge
    batch_limit: Gauge
    resident: Gauge
    load_waiters: Gauge
    waiting_rows: Gauge
    waiting_calls: Gauge
    running_calls: Gauge
    running_texts: Gauge
    waiting_texts: Gauge
    memory: Gauge
    prompt_tokens: Counter
    cached_tokens: Counter
    generated_tokens: Counter


@cache
def _instruments(client: Any, waiting_rows: Gauge) -> _Instruments:
    """Register the metrics once per process; over workers, gauges are summed if nothing else is said."""

    def gauge(name: str, about: str, labels: tuple[str, ...] = (), mode: str = "livesum") -> Any:
        return client.Gauge(name, about, labels, multiprocess_mode=mode)

    base = ("base",)
    return _Instruments(
        generation=gauge("hub_generation", "Generation of the catalog that is served.", mode="livemin"),
        deployments=gauge("hub_deployments", "Deployments that are served.", mode="livemin"),
        failures=gauge(
            "hub_failed_versions", "Versions of deployments that cannot be loaded.", mode="livemax"
        ),
        batch_limit=gauge("hub_batch_rows_limit", "Maximum rows in one forward pass.", mode="livemax"),
        resident=gauge(
            RESIDENT, "Workers that have the deployment's version in a slot.", ("deployment", "track")
        ),
        load_waiters=gauge(LOAD_WAITERS, "Calls that wait until the version is in a slot.", ("deployment",)),
        waiting_rows=waiting_rows,
        waiting_calls=gauge(WAITING_CALLS, "Calls with rows that wait for the engine.", base),
        running_calls=gauge(RUNNING_CALLS, "Calls with rows in a forward pass or texts in progress.", base),
        running_texts=gauge("hub_generation_running_texts", "Texts in progress.", base),
        waiting_texts=gauge("hub_generation_waiting_texts", "Texts that wait to be begun.", base),
        memory=gauge(MEMORY, "Allocated share of serve.generate_mb.", base, "livemax"),
        prompt_tokens=client.Counter("hub_generation_prompt_tokens", "Tokens of begun prompts.", base),
        cached_tokens=client.Counter(
            "hub_generation_cached_tokens", "Tokens of begun prompts that were not computed again.", base
        ),
        generated_tokens=client.Counter("hub_generation_tokens", "Generated tokens.", base),
    )


class StateMetrics:
    """Sets the gauges from the figures of a runtime.

    Several workers refresh all the time, since any of them answers a scrape for all.
    """

    def __init__(
        self, client: Any, deployments: DeploymentMetrics, waiting_rows: Gauge, batch_rows: int
    ) -> None:
        self._to = _instruments(client, waiting_rows)
        self._deployments = deployments
        self._batch_rows = batch_rows
        self._counted: dict[str, GenerationInfo] = {}
        self._set: set[tuple[str, Track]] = set()
        self._waited: set[str] = set()

    def refresh(self, figures: RuntimeFigures) -> None:
        """Set all gauges."""
        to = self._to
        to.generation.set(figures.routes.generation)
        to.deployments.set(len(figures.routes.by_name))
        to.failures.set(figures.failures)
        to.batch_limit.set(self._batch_rows)
        self._refresh_deployments(figures)
        for base in figures.bases:
            self._refresh_base(base)

    def _refresh_deployments(self, figures: RuntimeFigures) -> None:
        label = self._deployments.label
        resident = Count((label(name), track) for name, track in figures.resident)
        waiting = Count({label(name): 0 for name in figures.routes.by_name})
        for name, callers in figures.waiting.items():
            waiting[label(name)] += callers
        for key in self._set | resident.keys():
            self._to.resident.labels(*key).set(resident[key])
        for name in self._waited | waiting.keys():
            self._to.load_waiters.labels(name).set(waiting[name])
        self._set, self._waited = set(resident), set(waiting)

    def _refresh_base(self, base: BaseFigures) -> None:
        to, name, texts = self._to, base.name, base.generation
        to.waiting_rows.labels(name).set(base.waiting_rows)
        to.waiting_calls.labels(name).set(base.waiting_calls)
        to.running_calls.labels(name).set(base.running_calls)
        to.running_texts.labels(name).set(texts.running)
        to.waiting_texts.labels(name).set(texts.waiting)
        to.memory.labels(name).set(texts.memory)
        before = self._counted.get(name, GenerationInfo())
        self._counted[name] = texts
        counted: tuple[tuple[Any, Callable[[GenerationInfo], int]], ...] = (
            (to.prompt_tokens, lambda one: one.prompt_tokens),
            (to.cached_tokens, lambda one: one.cached_tokens),
            (to.generated_tokens, lambda one: one.generated_tokens),
        )
        for counter, tokens in counted:
            counter.labels(name).inc(max(0, tokens(texts) - tokens(before)))
