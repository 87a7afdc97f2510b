"""Clients that send a body too slowly, or disconnect before its end."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

PATH = "/v1/deployments/mood/predict"


@pytest.fixture
def ask(serving, live_in, monkeypatch):
    """Ask a real service; after the first piece of the body comes `then`, or nothing any more."""
    monkeypatch.setenv("HUB_LIMITS__BODY_S", "0.1")

    def send(then: dict[str, Any] | None, path: str = PATH) -> tuple[int, dict[bytes, bytes], bytes, str]:
        with serving() as client:
            live_in(client, "mood", seed=1)
            sent = client.portal.call(drive, client.app, path, then)
            metrics = client.get("/metrics").text
        (start, body) = sent
        return start["status"], dict(start["headers"]), body["body"], metrics

    return send


def counted(metrics: str, code: int) -> float:
    """Return the requests to predict that ended with a status."""
    lines = [line for line in metrics.splitlines() if "request_total" in line and PATH[-7:] in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'http_response_code="{code}"' in line)


async def drive(app: Any, path: str, then: dict[str, Any] | None) -> list[dict[str, Any]]:
    messages = [{"type": "http.request", "body": b'{"text": ', "more_body": True}]
    messages += [then] if then else []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "", "state": {}}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 3000)}
    await app(scope, receive, send)
    return sent


def test_a_client_that_leaves_in_mid_body_is_no_fault_of_the_server(ask, caplog) -> None:
    caplog.set_level(logging.INFO)
    _, _, _, before = ask({"type": "http.disconnect"})
    status, _, _, after = ask({"type": "http.disconnect"})
    assert status == 499
    assert counted(after, 499) > counted(before, 499)
    assert counted(after, 500) == counted(before, 500)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_slow_body_is_answered_408_and_its_connection_closed(ask) -> None:
    status, headers, body, _ = ask(None)
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert "limits.body_s" in json.loads(body)["error"]["message"]
    assert headers[b"connection"] == b"close"
