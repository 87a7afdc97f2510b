"""Rates and quantiles between two readings of /metrics."""

from __future__ import annotations

import pytest

from hub.client.metrics import Scrape, figures, read

BUCKETS = ("0.01", "0.1", "1.0", "+Inf")


def page(at: float, calls: int, failed: int = 0, buckets: tuple[int, ...] = (0, 0, 0, 0)) -> Scrape:
    of = 'deployment="mood",track="stable"'
    lines = [
        f'vllm:lora_requests_info{{max_lora="4",running_lora_adapters="mood",waiting_lora_adapters=""}} {at}',
        "hub_generation 7",
        "hub_batch_rows_limit 64",
        f'hub_calls_total{{task="sentiment",code="ok"}} {calls}',
        f'hub_calls_total{{task="sentiment",code="engine_failed"}} {failed}',
        f'hub_deployment_calls_total{{{of},code="ok"}} {calls}',
        f'hub_deployment_calls_total{{{of},code="engine_failed"}} {failed}',
        f"hub_deployment_resident{{{of}}} 1",
        f'hub_deployment_version_info{{{of},version="mood@3",sha256="f"}} 1',
        'hub_slots{base="tiny"} 32',
        f'hub_batch_rows_count{{base="tiny"}} {calls}',
        f'hub_batch_rows_sum{{base="tiny"}} {calls * 16}',
        *(
            f'hub_deployment_call_seconds_bucket{{{of},le="{le}"}} {count}'
            for le, count in zip(BUCKETS, buckets, strict=True)
        ),
    ]
    return read("\n".join(lines) + "\n", now=0.0)


def test_rates_are_those_between_the_times_at_which_the_metrics_were_collected() -> None:
    found = figures(page(100, 50, 2), page(104, 90, 12))
    assert (found["seconds"], found["calls_s"], found["generation"]) == (4, 12.5, 7)
    assert found["failed"] == pytest.approx(10 / 50)
    (base,) = found["bases"]
    assert (base["slots"], base["batch_fill"], base["prefix_hits"]) == (32, 0.25, None)
    (mood,) = found["deployments"]
    assert (mood["deployment"], mood["version"], mood["calls_s"], mood["resident"]) == (
        "mood",
        "mood@3",
        12.5,
        1,
    )


@pytest.mark.parametrize(
    ("buckets", "p50", "p99"),
    [
        ((100, 100, 100, 100), 5.0, 9.9),
        ((0, 100, 100, 100), 55.0, 99.1),
        ((50, 50, 100, 100), 10.0, 982.0),
        ((0, 0, 0, 10), 1000.0, 1000.0),
        ((0, 0, 0, 0), None, None),
    ],
)
def test_quantiles_are_interpolated_as_prometheus_does(buckets, p50, p99) -> None:
    (mood,) = figures(page(0, 1), page(1, 2, buckets=buckets))["deployments"]
    assert (mood["p50_ms"], mood["p99_ms"]) == (p50 and pytest.approx(p50), p99 and pytest.approx(p99))


def test_a_server_that_was_restarted_counts_from_zero() -> None:
    before = page(100, 500, buckets=(400, 400, 500, 500))
    (mood,) = figures(before, page(110, 20, buckets=(20, 20, 20, 20)))["deployments"]
    assert (mood["calls_s"], mood["p50_ms"]) == (2.0, pytest.approx(5.0))


def test_deployments_that_are_busy_come_first_and_new_ones_are_shown() -> None:
    text = 'hub_deployment_calls_total{{deployment="{}",track="stable",code="ok"}} {}'
    rows = "\n".join(text.format(name, count) for name, count in (("a", 1), ("b", 9), ("c", 4))) + "\n"
    found = figures(Scrape(0, {}), read(rows, now=1))
    assert [one["deployment"] for one in found["deployments"]] == ["b", "c", "a"]
