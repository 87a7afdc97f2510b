"""The metrics of a server as numbers: two readings give rates and quantiles of the time between them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Scrape", "figures", "read"]

_COLLECTED = "vllm:lora_requests_info"  # its value is the time at which the metrics were collected
Json = dict[str, Any]
Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


@dataclass(frozen=True)
class Scrape:
    """The samples of /metrics by name, and when they were collected (seconds since the epoch)."""

    at: float
    samples: Samples

    def sum(self, name: str, **wanted: str) -> float:
        """Add up the samples that have the wanted labels."""
        return sum(value for labels, value in self.samples.get(name, ()) if wanted.items() <= labels.items())

    def by(self, *names: str) -> dict[tuple[str, ...], Scrape]:
        """Divide the samples that have these labels by their values."""
        found: dict[tuple[str, ...], defaultdict[str, list[tuple[Mapping[str, str], float]]]] = {}
        for name, samples in self.samples.items():
            for labels, value in samples:
                if all(label in labels for label in names):
                    key = tuple(labels[label] for label in names)
                    found.setdefault(key, defaultdict(list))[name].append((labels, value))
        return {key: Scrape(self.at, samples) for key, samples in found.items()}


def read(text: str, now: float) -> Scrape:
    """Parse the text of /metrics; `now` is its time if it does not say when it was collected."""
    from prometheus_client.parser import text_string_to_metric_families

    samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    collected = [value for _, value in samples.get(_COLLECTED, ())]
    return Scrape(max(collected, default=now), samples)


@dataclass(frozen=True)
class _Between:
    """What happened between two readings; a counter that fell began again, as after a restart."""

    before: Scrape
    now: Scrape

    @property
    def seconds(self) -> float:
        return self.now.at - self.before.at

    def added(self, name: str, **wanted: str) -> float:
        old, new = self.before.sum(name, **wanted), self.now.sum(name, **wanted)
        return new - old if new >= old else new

    def rate(self, name: str, **wanted: str) -> float:
        return self.added(name, **wanted) / self.seconds if self.seconds > 0 else 0.0

    def failed(self, name: str) -> float | None:
        """Return the share of calls that were not answered."""
        calls = self.added(name)
        return _share(calls - self.added(name, code="ok"), calls)

    def quantile_ms(self, q: float, name: str) -> float | None:
        """Return a quantile of a histogram of seconds, interpolated in its bucket; None without values."""
        old, new = _buckets(self.before, name), _buckets(self.now, name)
        if any(old.get(bound, 0.0) > count for bound, count in new.items()):
            old = {}  # it began again
        rank, lower, below = q * (new.get(math.inf, 0.0) - old.get(math.inf, 0.0)), 0.0, 0.0
        if not rank:
            return None
        for bound in sorted(new):
            count = new[bound] - old.get(bound, 0.0)
            if count >= rank and bound < math.inf:
                return (lower + (bound - lower) * (rank - below) / (count - below)) * 1000
            if bound < math.inf:
                lower, below = bound, count
        return lower * 1000  # beyond the last bound


def figures(before: Scrape, now: Scrape) -> Json:
    """Describe what happened between two readings of one server as JSON values."""
    between, limit = _Between(before, now), now.sum("hub_batch_rows_limit")
    deployments = [_deployment(one, *key) for key, one in _divided(between, "deployment", "track")]
    return {
        "seconds": round(between.seconds, 3),
        "generation": int(now.sum("hub_generation")),
        "failed_versions": int(now.sum("hub_failed_versions")),
        "calls_s": between.rate("hub_calls_total"),
        "failed": between.failed("hub_calls_total"),
        "p50_ms": between.quantile_ms(0.5, "hub_call_seconds"),
        "p99_ms": between.quantile_ms(0.99, "hub_call_seconds"),
        "bases": [_base(one, base, limit) for (base,), one in _divided(between, "base")],
        "deployments": sorted(deployments, key=lambda one: -one["calls_s"]),
    }


def _base(between: _Between, base: str, limit: float) -> Json:
    now, added = between.now, between.added
    prompts = added("hub_generation_prompt_tokens_total")
    return {
        "base": base,
        "resident": int(now.sum("hub_resident_adapters")),
        "slots": int(now.sum("hub_slots")),
        "waiting_rows": int(now.sum("hub_waiting_rows")),
        "waiting_calls": int(now.sum("hub_waiting_calls")),
        "running_calls": int(now.sum("hub_running_calls")),
        "batch_fill": _share(added("hub_batch_rows_sum"), added("hub_batch_rows_count") * limit),
        "forward_p50_ms": between.quantile_ms(0.5, "hub_forward_seconds"),
        "evictions_s": between.rate("hub_evictions_total"),
        "running_texts": int(now.sum("hub_generation_running_texts")),
        "waiting_texts": int(now.sum("hub_generation_waiting_texts")),
        "tokens_s": between.rate("hub_generation_tokens_total"),
        "prefix_hits": _share(added("hub_generation_cached_tokens_total"), prompts),
        "memory": now.sum("hub_generation_memory_ratio"),
    }


def _deployment(between: _Between, name: str, track: str) -> Json:
    versions = [labels["version"] for labels, _ in between.now.samples.get("hub_deployment_version_info", ())]
    return {
        "deployment": name,
        "track": track,
        "version": next(iter(versions), ""),
        "calls_s": between.rate("hub_deployment_calls_total"),
        "failed": between.failed("hub_deployment_calls_total"),
        "p50_ms": between.quantile_ms(0.5, "hub_deployment_call_seconds"),
        "p99_ms": between.quantile_ms(0.99, "hub_deployment_call_seconds"),
        "queue_p99_ms": between.quantile_ms(0.99, "hub_deployment_queue_seconds"),
        "rows_s": between.rate("hub_deployment_rows_total"),
        "tokens_s": between.rate("hub_deployment_tokens_total", kind="output"),
        "resident": int(between.now.sum("hub_deployment_resident")),
    }


def _divided(between: _Between, *labels: str) -> list[tuple[tuple[str, ...], _Between]]:
    old, nothing = between.before.by(*labels), Scrape(between.before.at, {})
    return sorted(
        ((key, _Between(old.get(key, nothing), one)) for key, one in between.now.by(*labels).items()),
        key=lambda pair: pair[0],
    )


def _buckets(reading: Scrape, name: str) -> dict[float, float]:
    """Add up the cumulative counts of a histogram, by upper bound."""
    found: defaultdict[float, float] = defaultdict(float)
    for labels, value in reading.samples.get(f"{name}_bucket", ()):
        found[float(labels["le"])] += value
    return found


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
