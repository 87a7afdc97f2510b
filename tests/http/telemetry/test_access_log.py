"""The access log: a line for each request or each failed one, in text or JSON, and never a request's text."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from grafthub_sentiment.task import SentimentTask

from hub.config import LogSettings
from hub.http.gate import NUMBER
from hub.http.telemetry.access_log import AccessLog
from hub.http.telemetry.logs import FIELDS, configure_logs
from tests.http.conftest import serve

SECRET = "my private sentence"
PREDICT = "/v1/deployments/mood/predict"


@contextmanager
def served(home, monkeypatch, access: str = "all") -> Iterator[object]:
    monkeypatch.setenv("HUB_LOG__ACCESS", access)
    with serve(home.path) as client:
        yield client


def lines(caplog) -> list[dict]:
    return [getattr(one, FIELDS) for one in caplog.records if one.name == "hub.access"]


def test_a_request_is_one_line_with_its_version_and_times(home, live_in, monkeypatch, caplog) -> None:
    with served(home, monkeypatch) as client:
        live_in(client, "mood", 1)
        caplog.clear()
        reply = client.post(PREDICT, json={"text": SECRET}, headers={"x-hub-request-id": "r-17"})
    assert reply.status_code == 200
    (line,) = lines(caplog)
    assert line["request_id"] == "r-17"
    assert (line["method"], line["route"]) == ("POST", "/v1/deployments/{name}/predict")
    assert (line["status"], line["code"], line["key"]) == (200, "ok", "anonymous")
    assert (line["deployment"], line["version"], line["track"]) == ("mood", "mood@1", "stable")
    assert line["rows"] == 1
    assert 0 < line["engine_ms"] <= line["total_ms"]
    (record,) = [one for one in caplog.records if one.name == "hub.access"]
    assert record.levelno == logging.INFO
    start = "POST /v1/deployments/{name}/predict 200 request_id=r-17 code=ok deployment=mood version=mood@1"
    assert record.getMessage().startswith(start)


def test_no_text_of_a_request_is_logged_even_on_faults(home, live_in, monkeypatch, caplog) -> None:
    caplog.set_level(logging.DEBUG)

    def broken(self, request, tokenizer, adapter):
        raise ValueError(f"cannot encode {request.text}")

    with served(home, monkeypatch) as client:
        live_in(client, "mood", 1)
        caplog.clear()
        client.get(f"/{SECRET}")
        client.request("PRIVATE", "/v1/tasks")
        client.post(f"/v1/deployments/{SECRET}/predict", json={"text": SECRET})
        client.post(f"{PREDICT}?q={SECRET}", json={"text": SECRET, SECRET: SECRET})
        client.post(PREDICT, content=SECRET.encode(), headers={"content-type": "application/json"})
        client.post(PREDICT, content=SECRET.encode(), headers={"content-type": f"text/{SECRET}"})
        client.post(PREDICT, json={"text": SECRET}, headers={"x-hub-request-id": SECRET})
        client.post(PREDICT, json={"text": SECRET}, headers={"authorization": f"Bearer {SECRET}"})
        monkeypatch.setattr(SentimentTask, "encode", broken)
        client.post(PREDICT, json={"text": SECRET})
        with monkeypatch.context() as inner:
            inner.setattr("hub.http.calls.read_requests", broken_route)
            client.post(PREDICT, json={"text": SECRET})
    codes = [line["code"] for line in lines(caplog)]
    assert codes[:3] == ["not_found", "method_not_allowed", "not_found"]
    assert codes[-2:] == ["plugin_failed", "internal"]
    assert len(codes) == 10
    of_server = [
        one for one in caplog.records if not one.name.startswith("httpx")
    ]  # that is the test's client
    assert "private" not in "\n".join(map(logging.Formatter().format, of_server)).lower()
    assert "private" not in json.dumps(lines(caplog)).lower()


async def broken_route(hub, route, read):
    raise RuntimeError(SECRET)


def test_only_failed_requests_are_logged_if_so_set(home, live_in, monkeypatch, caplog) -> None:
    with served(home, monkeypatch, "errors") as client:
        live_in(client, "mood", 1)
        caplog.clear()
        client.post(PREDICT, json={"text": "a film"})
        client.post(PREDICT, json={"nothing": 1})
        client.get("/nowhere")
        client.delete("/v1/tasks")
    found = [(line["status"], line["code"], line.get("deployment")) for line in lines(caplog)]
    assert found == [
        (400, "bad_request", "mood"),
        (404, "not_found", None),
        (405, "method_not_allowed", None),
    ]


def test_nothing_is_logged_by_default_and_probes_never(home, live_in, monkeypatch, caplog) -> None:
    with served(home, monkeypatch, "off") as client:
        live_in(client, "mood", 1)
        client.post(PREDICT, json={"text": "a film"})
    with served(home, monkeypatch) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            client.get(path)
    assert lines(caplog) == []


def test_several_deployments_of_one_request_share_its_line(home, live_in, monkeypatch, caplog) -> None:
    with served(home, monkeypatch) as client:
        live_in(client, "mood", 1)
        live_in(client, "topic", 2)
        caplog.clear()
        body = {"deployments": ["mood", "topic"], "inputs": {"text": SECRET}}
        assert client.post("/v1/predict", json=body).status_code == 200
    (line,) = lines(caplog)
    assert (line["deployment"], line["version"], line["rows"]) == ("mood,topic", "mood@1,topic@1", 2)


@pytest.mark.parametrize(("error", "status"), [(RuntimeError(SECRET), 500), (asyncio.CancelledError(), 499)])
def test_a_request_without_an_answer_is_logged_too(caplog, error, status) -> None:
    caplog.set_level(logging.INFO)

    async def broken(scope, receive, send):
        scope[NUMBER] = "r-1"
        raise error

    async def run() -> None:
        await AccessLog(broken, errors_only=True)({"type": "http", "method": "GET"}, None, None)

    with pytest.raises(type(error)):
        asyncio.run(run())
    (line,) = lines(caplog)
    assert (line["status"], line["code"], line["route"]) == (status, "error", "-")
    assert "private" not in caplog.text


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the logger `some.library` writes."""
    stream, logger = io.StringIO(), logging.getLogger("some.library")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    root = [(one, one.formatter) for one in logging.root.handlers]
    yield stream
    logger.removeHandler(handler)
    for one, formatter in root:
        one.setFormatter(formatter)


def test_every_logger_writes_json(written) -> None:
    logger = logging.getLogger("some.library")
    logger.disabled = True  # as BentoML's setup leaves it
    configure_logs(LogSettings(format="json"), "supervisor")
    logger.warning("two\nlines of %s", "text", extra={FIELDS: {"code": "ok"}})
    try:
        raise ValueError("a reason")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "logger": "some.library",
        "message": "two\nlines of text",
        "component": "supervisor",
        "code": "ok",
    }
    assert "ValueError: a reason" in second["exc_info"]


def test_text_stays_text(written) -> None:
    configure_logs(LogSettings())
    logging.getLogger("some.library").warning("plain")
    assert written.getvalue() == "plain\n"
