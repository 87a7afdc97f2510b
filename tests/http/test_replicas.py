"""A worker among others: its replica header, its startup, and the files it leaves behind."""

from __future__ import annotations

import asyncio
import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest

from hub.http.metrics.values import remove_dead_gauges


def test_every_answer_names_the_replica_that_gave_it(client, live, admin) -> None:
    live("mood", 1)
    replies = [
        client.post("/v1/deployments/mood/predict", json={"text": "a film"}),
        client.get("/nowhere"),
        client.get("/livez"),
    ]
    result = client.get("/admin/replicas", headers=admin).json()
    assert {reply.headers["x-hub-replica"] for reply in replies} == {result["replica"]}


def test_the_replicas_are_listed_with_what_they_serve(client, live, admin, until) -> None:
    live("mood", 1)

    def listed() -> bool:
        result = client.get("/admin/replicas", headers=admin).json()
        return [(one["id"], one["generation"], one["behind"]) for one in result["replicas"]] == [
            (result["replica"], 1, 0)
        ]

    assert until(listed)
    assert client.get("/admin/replicas").status_code == 401


def test_status_is_available_without_the_catalog(client, live, admin, monkeypatch) -> None:
    from hub.errors import NotReady

    live("mood", 1)

    def gone(self):
        raise NotReady("The catalog cannot be used right now.")

    monkeypatch.setattr("hub.store.catalog.deployments.Deployments.generation", gone)
    result = client.get("/admin/status", headers=admin).json()
    assert [one["version"] for one in result["deployments"]] == ["mood@1"]
    assert (result["catalog_generation"], result["replicas"]) == (None, [])
    assert "cannot be used" in result["catalog_error"]


@pytest.fixture
def other():
    """Another worker at the same address; it answers /readyz with `says`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked += 1
            self.send_response(server.says)
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.says, server.asked = 200, 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield SimpleNamespace(server=server, address=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    thread.join()


async def waited(runtime, address: str, asked: Callable[[], bool] = lambda: False) -> bool:
    """Whether startup is still held up once the other worker was `asked`; without it, wait for its end."""
    from hub.http.service import _wait_beside_others

    waiting = asyncio.create_task(_wait_beside_others(runtime, address))
    async with asyncio.timeout(30):
        while not (waiting.done() or asked()):
            await asyncio.sleep(0.01)
    held = not waiting.done()
    runtime.ready = True
    await asyncio.wait_for(waiting, 5)
    return held


def test_it_takes_no_requests_before_it_has_loaded_while_another_does(service, other) -> None:
    assert asyncio.run(waited(SimpleNamespace(ready=False), other.address, lambda: other.server.asked > 1))


def test_slow_answers_of_the_other_do_not_end_the_wait(service, other, monkeypatch) -> None:
    """A busy machine once had a worker take requests, and refuse them, before it had loaded."""
    get, late = httpx.AsyncClient.get, [1, 2]

    async def slow(*given, **named):
        if late:
            late.pop()
            raise httpx.ReadTimeout("")
        return await get(*given, **named)

    monkeypatch.setattr(httpx.AsyncClient, "get", slow)
    assert asyncio.run(waited(SimpleNamespace(ready=False), other.address, lambda: other.server.asked > 0))
    assert late == []


def test_a_worker_that_nobody_answers_starts(service, monkeypatch) -> None:
    """The supervisor's socket takes connections although no worker accepts them."""
    monkeypatch.setattr("hub.http.service.PROBE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert not asyncio.run(waited(SimpleNamespace(ready=False), address))


def test_it_holds_nothing_up_where_no_other_is_ready(service, other) -> None:
    other.server.says = 503
    assert not asyncio.run(waited(SimpleNamespace(ready=False), other.address))
    assert not asyncio.run(waited(SimpleNamespace(ready=False), "http://127.0.0.1:9"))


def test_gauges_of_a_dead_process_are_not_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    files = [f"gauge_livesum_{os.getpid()}.db", f"gauge_livesum_{dead.pid}.db", f"counter_{dead.pid}.db"]
    for name in files:
        (tmp_path / name).touch()
    remove_dead_gauges()
    assert {path.name for path in tmp_path.iterdir()} == {files[0], files[2]}
