"""The spans of a call: its stages within its request, within the caller's trace; never its text."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.http.conftest import serve, the_service
from tests.support.waiting import until

SECRET = "my private sentence"
PREDICT = "/v1/deployments/mood/predict"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ["admission", "encode", "queue", "engine", "decode"]


@pytest.fixture
def exported(monkeypatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    from hub.http.telemetry.tracing import Tracing

    monkeypatch.setattr("hub.http.app._open_tracing", lambda: Tracing(provider))
    return exporter


@pytest.fixture
def client(exported, home, live_in) -> Iterator[Any]:
    with serve(home.path) as client:
        live_in(client, "mood", 1)
        exported.clear()
        yield client


def spans(exported: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """Return the span of the only request, and those within it in the order of their start."""
    assert until(lambda: any(one.kind.name == "SERVER" for one in exported.get_finished_spans()))
    found = exported.get_finished_spans()
    (request,) = [one for one in found if one.kind.name == "SERVER"]
    inner = [one for one in found if one is not request]
    assert all(one.parent.span_id == request.context.span_id for one in inner)
    return request, sorted(inner, key=lambda one: (one.start_time, STAGES.index(one.name)))


def test_a_call_has_a_span_for_each_stage_in_the_trace_of_its_caller(client, exported) -> None:
    reply = client.post(PREDICT, json={"text": SECRET}, headers={"traceparent": PARENT})
    request, inner = spans(exported)
    assert request.name == "POST /v1/deployments/{name}/predict"
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert reply.headers["traceresponse"] == f"00-{PARENT.split('-')[1]}-{request.context.span_id:016x}-01"
    assert [one.name for one in inner] == STAGES
    for one in inner:
        assert request.start_time <= one.start_time <= one.end_time <= request.end_time + 1_000_000
        kept = {name.removeprefix("hub."): value for name, value in one.attributes.items()}
        assert kept.pop("tokens") >= 3
        assert kept == {
            "deployment": "mood",
            "version": "mood@1",
            "task": "sentiment",
            "track": "stable",
            "rows": 1,
        }
    assert request.attributes["hub.code"] == "ok"
    assert request.attributes["hub.request_id"] == reply.headers["x-hub-request-id"]


def test_no_text_is_exported_even_on_faults(client, exported, monkeypatch) -> None:
    from grafthub_sentiment.task import SentimentTask

    def broken(self, request, tokenizer, adapter):
        raise ValueError(f"cannot encode {request.text}")

    client.get(f"/{SECRET}")
    client.post(f"/v1/deployments/{SECRET}/predict?q={SECRET}", json={"text": SECRET})
    client.post(f"{PREDICT}?{SECRET}", json={SECRET: SECRET})
    monkeypatch.setattr(SentimentTask, "encode", broken)
    client.post(PREDICT, json={"text": SECRET})
    found = exported.get_finished_spans()
    requests = [one for one in found if one.kind.name == "SERVER"]
    codes = [one.attributes["hub.code"] for one in requests]
    assert codes == ["not_found", "bad_request", "plugin_failed"]
    assert "private" not in json.dumps([json.loads(one.to_json()) for one in found])


def test_a_failed_call_says_how_far_it_came(client, exported, monkeypatch) -> None:
    from hub.engine.fake import FakeEngine
    from hub.errors import EngineFailed

    def run(self, rows, aside=False):
        raise EngineFailed("broken")

    monkeypatch.setattr(FakeEngine, "run", run)
    assert client.post(PREDICT, json={"text": SECRET}).status_code == 500
    request, inner = spans(exported)
    assert [one.name for one in inner] == STAGES
    assert (request.status.status_code, request.attributes["hub.code"]) == (StatusCode.ERROR, "engine_failed")


def test_a_call_that_hangs_in_a_plugin_ends_within_its_encode_span(client, exported, monkeypatch) -> None:
    from grafthub_sentiment.task import SentimentTask

    from hub.errors import DeadlineExceeded

    begun, released = threading.Event(), threading.Event()

    def hanging(*given: object) -> list[object]:
        begun.set()
        released.wait(30)
        return []

    async def late(self: object, admission: Any, *given: object, **named: object) -> None:
        running = asyncio.ensure_future(run(self, admission, *given, **named))
        await asyncio.to_thread(begun.wait, 30)
        running.cancel()
        raise DeadlineExceeded("Too late.")

    pipeline = type(the_service().hub.runtime.pipeline)
    run = pipeline.run
    monkeypatch.setattr(pipeline, "run", late)
    monkeypatch.setattr(SentimentTask, "encode", hanging)
    assert client.post(PREDICT, json={"text": SECRET}).status_code == 504
    released.set()
    request, inner = spans(exported)
    assert [one.name for one in inner] == ["admission", "encode"]
    assert inner[-1].end_time <= request.end_time + 1_000_000


def test_each_deployment_of_a_request_has_its_spans(client, live_in, exported) -> None:
    live_in(client, "topic", 2)
    exported.clear()
    body = {"deployments": ["mood", "topic"], "inputs": {"text": SECRET}}
    assert client.post("/v1/predict", json=body).status_code == 200
    _, inner = spans(exported)
    for name in ("mood", "topic"):
        own = [one.name for one in inner if one.attributes["hub.deployment"] == name]
        assert sorted(own) == sorted(STAGES)


def test_probes_are_not_traced(client, exported) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path)
    assert exported.get_finished_spans() == ()


def test_without_an_exporter_nothing_is_traced(home, shared) -> None:
    assert the_service().hub.tracing is None
    reply = shared.post(PREDICT, json={"text": "a film"}, headers={"traceparent": PARENT})
    assert "traceresponse" not in reply.headers
