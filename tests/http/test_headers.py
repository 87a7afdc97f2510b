"""Every answer tells browsers to neither guess its type, nor frame it, nor use it on other sites."""

from __future__ import annotations

import asyncio

import pytest

from hub.http.gate import Gate, Paths
from hub.http.headers import safe_headers
from hub.http.origin import BrowserGuard

JSON = {"content-type": "application/json"}
SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("POST", "/v1/tasks/sentiment", {"headers": JSON, "content": b'{"text": "a film"}'}, 200),
        ("POST", "/v1/tasks/sentiment", {"headers": JSON, "content": b"{"}, 400),
        ("POST", "/v1/tasks/sentiment", {"content": b"{}"}, 415),
        ("POST", "/v1/tasks/sentiment", {"headers": {**JSON, "content-length": "9" * 12}}, 413),
        ("GET", "/v1/models", {}, 200),
        ("GET", "/admin/status", {}, 401),
        ("GET", "/nowhere", {}, 404),
        ("PATCH", "/v1/tasks", {"headers": JSON}, 405),
        ("GET", "/livez", {}, 200),
        ("GET", "/readyz", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/", {}, 200),
        ("GET", "/assets/api.js", {}, 200),
        ("GET", "/", {"headers": {"host": "attacker.example"}}, 421),
    ],
)
def test_every_answer_has_them_once(shared, method, path, given, status) -> None:
    reply = shared.request(method, path, **given)
    assert reply.status_code == status
    for name, value in SAFE.items():
        assert reply.headers.get_list(name) == [value], name
    (policy,) = reply.headers.get_list("content-security-policy")
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "strict-transport-security" not in reply.headers, "without TLS"
    assert "server" not in reply.headers


def test_a_stream_has_them(shared) -> None:
    headers = {**JSON, "accept": "text/event-stream"}
    with shared.stream("POST", "/v1/tasks/sentiment", headers=headers, content=b'{"text": "a"}') as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert {name: reply.headers[name] for name in SAFE} == SAFE


@pytest.mark.parametrize("tls", [True, False])
def test_under_tls_browsers_are_told_to_stay_with_it(tls) -> None:
    gate = Gate(None, Paths([]), BrowserGuard("127.0.0.1"), body_bytes=1, replica="r", tls=tls)
    sent = []

    async def send(message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    asyncio.run(gate({"type": "http", "method": "GET", "path": "/", "headers": headers}, None, send))
    names = [name for name, _ in sent[0]["headers"]]
    assert (b"strict-transport-security" in names) is tls
    assert set(safe_headers(tls=tls)) <= set(sent[0]["headers"])
