"""Routes of a third party: the example of docs/plugins/routes.md, and families that misbehave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Send

from hub.http.plugins.exchange import Exchange
from hub.keys import Scopes
from hub.store.catalog.keys import ApiKeys
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome
from tests.support.plugins import installing, plugin_of, write_page
from tests.support.waiting import until

TICKETS = "/plugins/triage/tickets/7"
BAD = """
import asyncio, time
from typing import Any

@hookimpl
def hub_routes():
    yield RouteSpec("bad", "Fails.", "made:Bad")
    yield RouteSpec("empty", "Has none.", "made:Empty")
    yield RouteSpec("ops", "For operators.", "made:Ops", right="admin")

class Bad(RouteFamily):
    def router(self, server):
        from fastapi import APIRouter, Request
        from fastapi.responses import StreamingResponse
        ended = []
        router = APIRouter()

        @router.get("/raises")
        async def raises() -> Any:
            raise ValueError("a secret text")

        @router.get("/blocks")
        async def blocks() -> Any:
            time.sleep(3)

        @router.get("/stream")
        async def stream(request: Request, then: str = "end") -> Any:
            async def parts():
                try:
                    yield "first "
                    if then == "raise":
                        raise ValueError("a secret text")
                    if then == "exit":
                        raise SystemExit
                    while then == "wait":
                        await asyncio.sleep(0.01)
                    yield "second"
                finally:
                    ended.append(then)
            return StreamingResponse(parts(), 201, {"x-mine": "1"}, "text/plain")

        @router.get("/ended")
        async def all_ended() -> list[str]:
            return ended

        @router.get("/headers")
        def headers(request: Request) -> dict[str, str]:
            return dict(request.headers)

        return router

class Empty(RouteFamily):
    def router(self, server):
        return None

class Ops(RouteFamily):
    def router(self, server):
        from fastapi import APIRouter
        router = APIRouter()
        router.add_api_route("/", lambda: {"ok": True}, methods=["GET"])
        return router
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> FakeHome:
    return FakeHome(tmp_path_factory.mktemp("home"), tiny_base_folder)


@pytest.fixture(scope="module")
def client(home: FakeHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("plugins")
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="t"))
    settings = {"DEPLOYMENT": "mood", "QUEUES": '{"positive": "thanks", "negative": "complaints"}'}
    variables = {f"HUB_PLUGINS__TRIAGE__{key}": value for key, value in settings.items()}
    with installing(folder / "site") as install:
        install(write_page("routes", folder), plugin_of(folder, BAD))
        with serve(home.path, HUB_LIMITS__BODY_BYTES="2000", **variables) as client:
            yield client


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def code(reply) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_a_route_asks_a_deployment_and_stands_behind_the_same_limits_and_errors(client: TestClient) -> None:
    answer = client.post(TICKETS, json={"text": "the service was slow"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["customer"] == 7
    assert answer.json()["queue"] in ("thanks", "complaints")
    assert "x-hub-request-id" in answer.headers
    missing = client.post(TICKETS, json={"words": "x"})
    assert code(missing) == (400, "bad_request")
    assert missing.json()["error"]["field"] == "body.text"
    assert code(client.post("/plugins/triage/tickets/0", json={"text": "x"})) == (404, "plugin_refused")
    assert code(client.post("/plugins/triage/tickets/x", json={"text": "x"})) == (400, "bad_request")
    assert code(client.post(TICKETS, json={"text": "x" * 3000})) == (413, "too_large")
    assert code(client.get(TICKETS)) == (405, "method_not_allowed")
    assert code(client.get("/plugins/triage/none")) == (404, "not_found")
    document = client.get("/docs.json")
    assert document.status_code == 200, document.text
    paths = document.json()["paths"]
    described = paths["/plugins/triage/tickets/{customer}"]["post"]
    assert described["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Ticket")


def test_a_failing_route_is_the_plugins_fault_and_its_text_is_not_told(client: TestClient) -> None:
    reply = client.get("/plugins/bad/raises")
    assert code(reply) == (500, "plugin_failed")
    assert "secret" not in reply.text
    assert client.get("/livez").status_code == 200


def test_a_stream_is_sent_with_its_status_and_headers(client: TestClient) -> None:
    reply = client.get("/plugins/bad/stream")
    assert (reply.status_code, reply.text, reply.headers["x-mine"]) == (201, "first second", "1")
    assert "x-hub-request-id" in reply.headers and "content-length" not in reply.headers


@pytest.mark.parametrize(
    ("then", "headers", "failure"),
    [
        ("raise", {}, "plugin_failed"),
        ("exit", {}, "plugin_failed"),
        ("wait", {"x-hub-timeout-ms": "200"}, "deadline_exceeded"),
    ],
)
def test_a_stream_that_fails_is_cut_off_ended_and_recorded(
    client: TestClient, caplog: pytest.LogCaptureFixture, then: str, headers: dict[str, str], failure: str
) -> None:
    reply = client.get(f"/plugins/bad/stream?then={then}", headers=headers)
    assert (reply.status_code, reply.text) == (201, "first ")
    assert until(lambda: then in client.get("/plugins/bad/ended").json())  # the family's loop still runs
    assert f"cut off: {failure}" in caplog.text
    assert "secret" not in caplog.text


def test_a_route_writes_no_faster_than_its_client_reads_and_ends_when_the_client_leaves() -> None:
    asyncio.run(_read_nineteen_parts())


async def _read_nineteen_parts() -> None:
    written, ended = [], threading.Event()

    async def parts() -> AsyncIterator[str]:
        for number in count():
            written.append(number)
            yield f"{number} "

    async def route(receive: Receive, send: Send) -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        try:
            await StreamingResponse(parts())(scope, receive, send)
        finally:
            ended.set()

    family = asyncio.new_event_loop()
    thread = threading.Thread(target=family.run_forever)
    thread.start()
    try:
        exchange = Exchange("endless", "/plugins/endless", b"", family)
        answer = await exchange.answer(route, 10.0)
        read: list[bytes] = []

        async def send(message: Message) -> None:
            read.append(message.get("body", b""))
            if len(read) == 20:
                gone.set()
                await asyncio.Event().wait()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        gone = asyncio.Event()
        await answer({"type": "http", "headers": []}, receive, send)
        assert b"".join(read).split() == [str(number).encode() for number in range(19)]
        assert len(written) <= 19 + 3  # one waits to be read, one to be handed over, one is being made
        assert await asyncio.to_thread(ended.wait, 10)
    finally:
        family.call_soon_threadsafe(family.stop)
        thread.join()
        family.close()


def test_the_callers_key_is_not_passed_on(client: TestClient, admin) -> None:
    headers = client.get("/plugins/bad/headers", headers={**admin, "x-mine": "1"}).json()
    assert headers["x-mine"] == "1"
    assert not {"authorization", "cookie"} & headers.keys()


def test_a_route_that_blocks_delays_no_other_family_and_ends_at_its_deadline(client: TestClient) -> None:
    replies = []
    blocked = threading.Thread(
        target=lambda: replies.append(client.get("/plugins/bad/blocks", headers={"x-hub-timeout-ms": "300"}))
    )
    blocked.start()
    assert client.post(TICKETS, json={"text": "the service was slow"}).status_code == 200
    blocked.join(30)
    assert code(replies[0]) == (504, "deadline_exceeded")


def test_a_family_without_routes_is_left_out_and_the_server_serves(client: TestClient, admin) -> None:
    assert code(client.get("/plugins/empty/")) == (404, "not_found")
    assert client.post("/v1/deployments/mood/predict", json={"text": "good"}).status_code == 200
    status = client.get("/admin/status", headers=admin).json()
    assert {plugin["name"] for plugin in status["plugins"]} >= {"triage", "made"}


def test_at_last_a_key_without_the_right_or_for_another_deployment_is_refused(
    client: TestClient, admin, home: FakeHome
) -> None:
    assert code(client.get("/plugins/ops/")) == (401, "unauthorized")
    assert client.get("/plugins/ops/", headers=admin).json() == {"ok": True}
    keys = ApiKeys(home.store.catalog)
    own, other = (bearer(keys.create(name, Scopes.parse([f"infer:{name}"]))[1]) for name in ("mood", "other"))
    assert until(lambda: client.post(TICKETS, json={"text": "x"}).status_code == 401)
    assert client.post(TICKETS, json={"text": "x"}, headers=own).status_code == 200
    reply = client.post(TICKETS, json={"text": "x"}, headers=other)
    assert code(reply) == (404, "not_found")  # it sees its own deployments only
