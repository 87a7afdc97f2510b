"""What /metrics shows: all collected series, without those of removed deployments, and what routers read.

The names and labels of `vllm:` are those of vLLM, which LoRA-aware routers such as the Gateway API Inference
Extension expect of a model server. In its protocol, running adapters are those in memory that are ready to
serve, and the value is the time of the update.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hub.http.metrics.deployments import OTHER
from hub.http.metrics.state import LOAD_WAITERS, MEMORY, RESIDENT, RUNNING_CALLS, WAITING_CALLS
from hub.serving.figures import RuntimeFigures
from hub.serving.observation import Track

__all__ = ["expose"]

_BASES = "model_name"


def expose(client: Any, figures: RuntimeFigures | None, named: Collection[str]) -> bytes:
    """Return the text of /metrics; `named` are the deployments with series of their own."""
    registry = CollectorRegistry()
    registry.register(_Exposition(_collector(client), figures, {*named, OTHER}))
    return generate_latest(registry)


def _collector(client: Any) -> Callable[[], Any]:
    if client.multiproc:
        from prometheus_client.multiprocess import MultiProcessCollector

        collect: Callable[[], Any] = MultiProcessCollector(None).collect  # type: ignore[no-untyped-call]
        return collect
    collect = client.registry.collect
    return collect


class _Exposition(Collector):
    def __init__(
        self, collect: Callable[[], Any], figures: RuntimeFigures | None, named: Collection[str]
    ) -> None:
        self._collect = collect
        self._figures = figures
        self._named = named

    def describe(self) -> list[Metric]:
        return []  # the registry would collect everything to learn the names

    def collect(self) -> Iterator[Metric]:
        read: dict[str, list[Any]] = {}
        for family in self._collect():
            family.samples = [
                sample for sample in family.samples if sample.labels.get("deployment", OTHER) in self._named
            ]
            read[family.name] = family.samples
            yield family
        if self._figures:
            yield _versions(self._figures, self._named)
            yield from _for_routers(self._figures, read)


def _versions(figures: RuntimeFigures, named: Collection[str]) -> Metric:
    family = GaugeMetricFamily(
        "hub_deployment_version_info",
        "1 for each version that answers.",
        labels=("deployment", "track", "version", "sha256"),
    )
    for name, route in figures.routes.by_name.items():
        for track, target in ((Track.STABLE, route.stable), (Track.CANARY, route.canary)):
            if target and name in named:
                family.add_metric([name, track, str(target.version.ref), target.version.sha256], 1)
    return family


def _for_routers(figures: RuntimeFigures, read: dict[str, list[Any]]) -> Iterator[Metric]:
    bases = ",".join(base.name for base in figures.bases)
    waiting, running, memory = (
        [sample.value for sample in read.get(name, ())] for name in (WAITING_CALLS, RUNNING_CALLS, MEMORY)
    )
    loading = _names(read.get(LOAD_WAITERS, ())) | figures.waiting.keys()
    yield _gauge("vllm:num_requests_waiting", "Requests that wait for the engine.", bases, sum(waiting))
    yield _gauge("vllm:num_requests_running", "Requests that the engine runs.", bases, sum(running))
    for name in ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"):  # the latter until vLLM 0.10
        yield _gauge(name, "KV-cache usage. 1 means 100 percent usage.", bases, max(memory, default=0.0))
    resident = _names(read.get(RESIDENT, ())) | {name for name, _ in figures.resident}
    lora = GaugeMetricFamily(
        "vllm:lora_requests_info",
        "Running stats on lora requests.",
        labels=("max_lora", "waiting_lora_adapters", "running_lora_adapters"),
    )
    slots = sum(base.slots for base in figures.bases)
    lora.add_metric([str(slots), ",".join(sorted(loading)), ",".join(sorted(resident))], time.time())
    yield lora


def _names(samples: Collection[Any]) -> set[str]:
    return {sample.labels["deployment"] for sample in samples if sample.value} - {OTHER}


def _gauge(name: str, about: str, bases: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, about, labels=(_BASES, "engine"))
    family.add_metric([bases, "0"], value)
    return family
