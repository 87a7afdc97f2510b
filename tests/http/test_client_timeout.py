"""The time that a client waits is the deadline of its request, at every stage."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from grafthub_sentiment.task import SentimentTask

from hub.api import HeadKind
from hub.engine.fake import FakeEngine
from hub.errors import BadRequest
from hub.http.deadline import MAX_TIMEOUT_MS, TIMEOUT_HEADER, ClientTimeout
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

PATH = "/v1/deployments/mood/predict"
TEXT = {"text": "a warm and funny film"}
SHORT = {TIMEOUT_HEADER: "300"}
WRITE = {"prompt": "Once upon", "max_new_tokens": 3}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """`mood` was deployed first: with more deployments than slots, it is loaded when first asked."""
    home = FakeHome(tmp_path_factory.mktemp("timeouts"), tiny_base_folder)
    for seed, name in enumerate(["mood", "a", "b", "c", "d"]):
        home.store.deploy(name, Deploy(version=home.add(name, seed=seed).ref))
    writer = home.add("writer", task="generation", kind=HeadKind.GENERATE, labels=())
    home.store.deploy("writer", Deploy(version=writer.ref))
    with serve(home.path) as client:
        yield client


@pytest.fixture
def gate():
    """Opened at the end of a test, so that nothing stays behind it."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def rows(monkeypatch):
    """The number of rows in each forward for requests."""
    ran, run = [], FakeEngine.run

    def counting(self, rows, *, aside=False):
        if not aside:
            ran.append(len(rows))
        return run(self, rows, aside=aside)

    monkeypatch.setattr(FakeEngine, "run", counting)
    return ran


def hold(monkeypatch, owner, name, gate):
    """Let calls of a method wait at the gate; returns the event that one has arrived."""
    real, arrived = getattr(owner, name), threading.Event()

    def held(*given, **named):
        arrived.set()
        gate.wait(30)
        return real(*given, **named)

    monkeypatch.setattr(owner, name, held)
    return arrived


def assert_late(reply) -> None:
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert "0.3 s (x-hub-timeout-ms)" in reply.json()["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(client) -> None:
    sent: list[Any] = []
    parts = iter([{"type": "http.request", "body": b'{"te', "more_body": True}])
    headers = {"host": "127.0.0.1:3000", "content-type": "application/json", **SHORT}
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 3000),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive() -> Any:
        return next(parts, None) or await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 504
    assert b"0.3 s (x-hub-timeout-ms)" in sent[1]["body"]


def test_waiting_for_a_load_ends(client, monkeypatch, gate) -> None:
    arrived = hold(monkeypatch, FakeEngine, "write", gate)
    assert_late(client.post(PATH, json=TEXT, headers=SHORT))
    assert arrived.wait(10), "its adapter was being loaded"
    gate.set()
    assert client.post(PATH, json=TEXT).status_code == 200, "the load went on"


def test_a_request_that_is_late_in_encode_is_not_run(client, monkeypatch, gate, rows) -> None:
    arrived = hold(monkeypatch, SentimentTask, "encode", gate)
    assert_late(client.post(PATH, json=TEXT, headers=SHORT))
    assert arrived.is_set()
    gate.set()
    assert client.post(PATH, json={"items": [TEXT, TEXT]}).status_code == 200
    assert rows == [2]


def test_rows_that_are_late_in_the_queue_are_not_run(client, monkeypatch, gate, rows) -> None:
    client.post(PATH, json=TEXT)
    rows.clear()
    arrived = hold(monkeypatch, FakeEngine, "run", gate)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, PATH, json=TEXT)
        assert arrived.wait(10)
        assert_late(client.post(PATH, json={"items": [TEXT, TEXT]}, headers=SHORT))
        gate.set()
        assert first.result(10).status_code == 200
    assert client.post(PATH, json={"items": [TEXT] * 3}).status_code == 200
    assert rows == [1, 3]


def test_a_late_forward_is_answered(client, monkeypatch, gate) -> None:
    arrived = hold(monkeypatch, FakeEngine, "run", gate)
    assert_late(client.post(PATH, json=TEXT, headers=SHORT))
    assert arrived.is_set()


def test_a_request_that_is_late_in_decode_is_answered(client, monkeypatch, gate) -> None:
    arrived = hold(monkeypatch, SentimentTask, "decode", gate)
    assert_late(client.post(PATH, json=TEXT, headers=SHORT))
    assert arrived.is_set()


@pytest.fixture
def endless(monkeypatch):
    """Texts that begin and do not go on; returns the event that a row was cancelled."""
    cancelled = threading.Event()

    def generate(self, row, on_text, on_end):
        on_text("Once ")
        return SimpleNamespace(cancel=cancelled.set)

    monkeypatch.setattr(FakeEngine, "generate", generate)
    return cancelled


def test_a_late_text_is_not_written_on(client, endless) -> None:
    assert_late(client.post("/v1/tasks/generation", json=WRITE, headers=SHORT))
    assert endless.wait(10)


@pytest.mark.parametrize("header", [SHORT, {"x-stainless-read-timeout": "0.3"}])
def test_a_late_stream_ends_with_an_error(client, endless, header) -> None:
    headers = {"accept": "text/event-stream", **header}
    with client.stream("POST", "/v1/tasks/generation", json=WRITE, headers=headers) as response:
        assert response.status_code == 200
        *_, last, _ = response.read().decode().split("\n\n")
    name, data = last.split("\n")
    error = json.loads(data.removeprefix("data: "))["error"]
    assert (name, error["code"]) == ("event: error", "deadline_exceeded")
    assert f"0.3 s ({next(iter(header))})" in error["message"]
    assert endless.wait(10)


def test_openais_clients_are_answered_in_their_time(client, endless) -> None:
    body = {"model": "writer", "prompt": "Once upon"}
    reply = client.post("/v1/completions", json=body, headers={"x-stainless-read-timeout": "0.3"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert endless.wait(10)


@pytest.mark.parametrize(
    "sent", ["", "0", "-1", "1.5", "1e3", "soon", str(MAX_TIMEOUT_MS + 1), "9" * 30, "٣"]
)
def test_a_time_out_of_range_is_refused(client, sent) -> None:
    reply = client.post(PATH, json=TEXT, headers={TIMEOUT_HEADER: sent.encode()})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")
    assert str(MAX_TIMEOUT_MS) in reply.json()["error"]["message"]


@pytest.mark.parametrize("sent", ["1000", str(MAX_TIMEOUT_MS), "00060000"])
def test_a_time_in_range_is_taken(client, sent) -> None:
    assert client.post(PATH, json=TEXT, headers={TIMEOUT_HEADER: sent}).status_code == 200


def test_a_deploy_has_no_deadline(client, admin, monkeypatch) -> None:
    reply = client.get("/admin/deployments", headers={**admin, TIMEOUT_HEADER: "none"})
    assert reply.status_code == 200


def of(**headers: str) -> ClientTimeout | None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ClientTimeout.of(SimpleNamespace(headers=sent, scope={}))


@pytest.mark.parametrize(
    ("sent", "seconds", "each_part"),
    [
        ({"x_hub_timeout_ms": "1500"}, 1.5, False),
        ({"x_hub_timeout_ms": "1500", "x_stainless_read_timeout": "1"}, 1.5, False),
        ({"x_stainless_read_timeout": "0.25"}, 0.25, True),
        ({"x_stainless_timeout": "60"}, 60.0, True),
    ],
)
def test_whose_time_holds(sent, seconds, each_part) -> None:
    found = of(**sent)
    assert (found.seconds, found.each_part) == (seconds, each_part)


@pytest.mark.parametrize("sent", ["0", "-1", "nan", "inf", "Timeout(5)", ""])
def test_what_a_client_library_cannot_say_sets_no_time(sent) -> None:
    assert of(x_stainless_read_timeout=sent) is None
    assert of() is None


def test_the_smaller_limit_holds_for_each_part() -> None:
    each = of(x_stainless_read_timeout="5")
    assert each.part(60.0) == (5.0, "x-stainless-read-timeout")
    assert each.part(2.0) == (2.0, "limits.timeout_s")
    assert each.part(0.0) == (5.0, "x-stainless-read-timeout")
    whole = of(x_hub_timeout_ms="5000")
    left, source = whole.part(60.0)
    assert left < 5.0 and source == TIMEOUT_HEADER
    with pytest.raises(BadRequest):
        of(x_hub_timeout_ms="x")


def test_what_openais_own_client_sends_is_read() -> None:
    sent = {}

    class Stop(Exception):
        pass

    class Recording(openai.OpenAI):
        def _prepare_request(self, request) -> None:
            sent.update(request.headers)
            raise Stop

    with Recording(api_key="none", timeout=7.5, max_retries=0) as client, pytest.raises(Stop):
        client.completions.create(model="writer", prompt="a")
    assert ClientTimeout.of(SimpleNamespace(headers=sent, scope={})).seconds == 7.5
