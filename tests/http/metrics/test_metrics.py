"""/metrics of a server that has answered: by deployment and track, bounded, and as routers read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub.config import load_settings
from hub.engine.protocol import GenerationInfo
from hub.http.metrics.deployments import DeploymentMetrics
from hub.http.metrics.exposition import expose
from hub.http.telemetry.record import CallRecord
from hub.serving.figures import BaseFigures, RuntimeFigures
from hub.serving.observation import Track
from hub.serving.requests.call_answers import CallAnswers, Usage
from hub.serving.routing.routes import Routes
from tests.http.conftest import the_service

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def now() -> Samples:
    """The metrics as they are now: /metrics shows those of the last second."""
    hub = the_service().hub
    return parsed(hub.metrics.text(hub.runtime).decode())


def predict(client, name: str, body: object) -> int:
    return client.post(f"/v1/deployments/{name}/predict", json=body).status_code


def test_calls_are_counted_by_deployment_track_and_result(client, live) -> None:
    live("mood", 1)
    assert predict(client, "mood", {"text": "a film"}) == 200
    assert predict(client, "mood", {"items": [{"text": "a film"}, {"nothing": 1}, {"text": "two"}]}) == 200
    assert predict(client, "mood", {"nothing": 1}) == 400
    found, of = now(), {"deployment": "mood", "track": "stable"}
    assert found[key("hub_deployment_calls_total", **of, code="ok")] == 2
    assert found[key("hub_deployment_calls_total", **of, code="bad_request")] == 1
    assert found[key("hub_deployment_item_errors_total", **of, code="bad_request")] == 1
    assert found[key("hub_deployment_rows_total", **of)] == 3
    assert found[key("hub_deployment_tokens_total", **of, kind="input")] >= 3 * 3
    assert found[key("hub_deployment_call_seconds_count", **of)] == 3
    assert found[key("hub_deployment_call_seconds_bucket", **of, le="+Inf")] == 3
    assert found[key("hub_deployment_queue_seconds_count", **of)] == 2
    assert found[key("hub_deployment_resident", **of)] == 1
    assert found[key("hub_generation")] == 1 == found[key("hub_deployments")]
    assert found[key("hub_failed_versions")] == 0
    assert found[key("hub_batch_rows_limit")] == 64


def test_a_canary_is_counted_apart(client, live, add, admin) -> None:
    live("mood", 1)
    add("mood", seed=2)
    body = {"version": "mood@2", "canary": 100}
    assert client.put("/admin/deployments/mood", json=body, headers=admin).status_code == 200
    assert predict(client, "mood", {"text": "a film"}) == 200
    found, of = now(), {"deployment": "mood", "track": "canary"}
    assert found[key("hub_deployment_calls_total", **of, code="ok")] == 1
    assert found[key("hub_deployment_resident", **of)] == 1
    versions = {
        (dict(name[1])["track"], dict(name[1])["version"])
        for name in found
        if name[0] == "hub_deployment_version_info"
    }
    assert versions == {("stable", "mood@1"), ("canary", "mood@2")}


def test_a_removed_deployment_has_no_series_and_begins_again_at_zero(client, live, admin) -> None:
    live("mood", 1)
    assert predict(client, "mood", {"text": "a film"}) == 200
    assert client.delete("/admin/deployments/mood", headers=admin).status_code in (200, 204)
    assert not [name for name in now() if ("deployment", "mood") in name[1]]
    body = {"version": "mood@1"}
    assert client.put("/admin/deployments/mood", json=body, headers=admin).status_code == 200
    assert predict(client, "mood", {"text": "a film"}) == 200
    assert now()[key("hub_deployment_calls_total", deployment="mood", track="stable", code="ok")] == 1


def test_unknown_names_make_no_series(client, live) -> None:
    live("mood", 1)
    assert predict(client, "nobody", {"text": "a film"}) == 404
    assert not [name for name in now() if any(value == "nobody" for _, value in name[1])]


def test_a_version_that_cannot_be_loaded_counts_for_its_deployment(client, live, monkeypatch) -> None:
    from hub.errors import NotReady

    live("mood", 1)

    async def wait(self: object, version: object) -> None:
        raise NotReady("It cannot be loaded.")

    monkeypatch.setattr("hub.serving.residency.residency.Residency.lease", lambda self, version: None)
    monkeypatch.setattr("hub.serving.residency.residency.Residency.wait", wait)
    assert predict(client, "mood", {"text": "a film"}) == 503
    of = {"deployment": "mood", "track": "stable"}
    assert now()[key("hub_deployment_calls_total", **of, code="not_ready")] == 1


@pytest.fixture
def counted(service) -> Callable[[int], DeploymentMetrics]:
    from hub.http.metrics.metrics import Metrics

    return lambda limit: Metrics(load_settings(flags={"metrics": {"deployments": limit}}))._deployments


def call(name: str, code: str = "ok", answers: CallAnswers | None = None) -> CallRecord:
    record = CallRecord({})
    record.route = SimpleNamespace(name=name, task=SimpleNamespace(spec=SimpleNamespace(name="t")))  # type: ignore[assignment]
    record.end(code, answers or CallAnswers([], [], rows=2, tokens=9))
    return record


def shown(deployments: DeploymentMetrics, name: str = "hub_deployment_rows_total") -> dict[str, float]:
    text = expose(deployments_client(), None, deployments.named).decode()
    return {dict(k[1])["deployment"]: value for k, value in parsed(text).items() if k[0] == name}


def deployments_client() -> object:
    from hub.http.metrics.instruments import metrics_client

    return metrics_client(1)


def test_deployments_beyond_the_limit_are_counted_together(counted) -> None:
    deployments = counted(2)
    before = shown(deployments).get("other", 0.0)
    deployments.publish(["d", "c", "b", "a"])
    for name in "abcd":
        deployments.record(call(name))
    assert shown(deployments) == {"a": 2, "b": 2, "other": before + 4}
    deployments.publish(["d", "c", "b"])  # every worker chooses the same names
    deployments.record(call("c"))
    assert shown(deployments) == {"b": 2, "c": 2, "other": before + 4}


def test_without_a_limit_of_names_all_are_other(counted) -> None:
    deployments = counted(0)
    before = shown(deployments).get("other", 0.0)
    deployments.publish(["a"])
    deployments.record(call("a"))
    assert shown(deployments) == {"other": before + 2}


def test_files_of_several_workers_keep_a_bounded_number_of_removed_deployments(counted, monkeypatch) -> None:
    deployments = counted(1)
    monkeypatch.setattr(deployments, "_keeps_removed", True)
    for number in range(30):
        deployments.publish([f"d{number:02}"])
    assert deployments.named == frozenset()
    deployments.publish(["d03"])
    assert deployments.named == {"d03"}, "it has a series already"
    assert len(deployments._ever) == 10


def test_generated_tokens_are_counted_by_kind(counted) -> None:
    deployments = counted(5)
    deployments.publish(["writer"])
    answers = CallAnswers([], [], 0.5, 1.0, Usage(9, 4, 7, None), rows=1, tokens=9)
    deployments.record(call("writer", answers=answers))
    text = expose(deployments_client(), None, deployments.named).decode()
    found = {
        dict(k[1])["kind"]: value
        for k, value in parsed(text).items()
        if k[0] == "hub_deployment_tokens_total" and ("deployment", "writer") in k[1]
    }
    assert found == {"input": 9, "cached": 4, "output": 7}
    deployments.publish([])


def test_a_lora_aware_router_reads_what_is_ready_and_what_waits(client, live) -> None:
    live("mood", 1)
    live("topic", 2)
    found = now()
    (labels, value) = next((k[1], v) for k, v in found.items() if k[0] == "vllm:lora_requests_info")
    assert dict(labels) == {
        "max_lora": "4",
        "running_lora_adapters": "mood,topic",
        "waiting_lora_adapters": "",
    }
    assert time.time() - 60 < value <= time.time()
    assert found[key("vllm:num_requests_waiting", model_name="tiny", engine="0")] == 0
    assert found[key("vllm:kv_cache_usage_perc", model_name="tiny", engine="0")] == 0


def test_what_waits_for_a_slot_or_the_engine_is_shown_to_routers(counted) -> None:
    from hub.http.metrics.metrics import Metrics

    metrics = Metrics(load_settings())
    texts = GenerationInfo(3, 2, 0.25, 100, 40, 60)
    base = BaseFigures("tiny-writer", 1, 4, 9, 5, 4, texts)
    figures = RuntimeFigures(Routes(7), 1, frozenset({("mood", Track.STABLE)}), {"topic": 3}, (base,))
    metrics.published(["mood", "topic"])
    shown = [figures]
    runtime = SimpleNamespace(figures=lambda: shown[-1])
    found = parsed(metrics.text(runtime).decode())  # type: ignore[arg-type]
    (labels,) = [dict(k[1]) for k in found if k[0] == "vllm:lora_requests_info"]
    assert labels["waiting_lora_adapters"] == "topic"
    assert found[key("vllm:gpu_cache_usage_perc", model_name="tiny-writer", engine="0")] >= 0.25
    assert found[key("hub_deployment_load_waiters", deployment="topic")] == 3
    assert found[key("hub_generation_memory_ratio", base="tiny-writer")] == 0.25
    assert found[key("hub_generation_running_texts", base="tiny-writer")] == 3
    assert found[key("hub_waiting_calls", base="tiny-writer")] == 5
    counted_tokens = found[key("hub_generation_tokens_total", base="tiny-writer")]
    metrics.text(runtime)  # type: ignore[arg-type]
    assert (
        parsed(metrics.text(runtime).decode())[key("hub_generation_tokens_total", base="tiny-writer")]
        == counted_tokens
    ), "only what was added is counted"
    idle = replace(
        base, waiting_rows=0, waiting_calls=0, running_calls=0, generation=replace(texts, memory=0)
    )
    shown.append(replace(figures, waiting={}, resident=frozenset(), bases=(idle,)))
    found = parsed(metrics.text(runtime).decode())  # type: ignore[arg-type]
    assert found[key("hub_deployment_load_waiters", deployment="topic")] == 0
    metrics.published([])
