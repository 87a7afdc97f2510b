"""What a real server refuses before a route has it is in its metrics."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Hub

pytestmark = pytest.mark.e2e

START = b"POST /v1/deployments/mood/predict HTTP/1.1\r\nhost: 127.0.0.1\r\n"
UNSENT = b"content-type: application/json\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
CONNECTIONS = 3


def connect(client: httpx.Client, sent: bytes = b"") -> socket.socket:
    at = urlsplit(str(client.base_url))
    assert at.hostname
    opened = socket.create_connection((at.hostname, at.port), timeout=30)
    opened.sendall(sent)
    return opened


def status_of(client: httpx.Client, sent: bytes = b"") -> int:
    """Return the status that a connection is closed with."""
    with connect(client, sent) as opened:
        got = b""
        while part := opened.recv(65536):
            got += part
    return int(got.split()[1])


def refused(client: httpx.Client) -> dict[str, float]:
    found = re.findall(r'hub_refused_requests_total\{.*?code="(\w+)".*?\} (\S+)', client.get("/metrics").text)
    return {code: float(count) for code, count in found}


def test_each_refusal_is_counted_by_its_code(hub: Hub, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__HEADER_S", "1")
    monkeypatch.setenv("HUB_LIMITS__HEADER_BYTES", "2048")
    monkeypatch.setenv("HUB_LIMITS__CONNECTIONS", str(CONNECTIONS))
    with hub.serving("--engine", "fake") as client:
        assert refused(client) == {}
        assert status_of(client, START + b"x: " + 4000 * b"x" + b"\r\n\r\n") == 431
        assert status_of(client, START) == 408
        assert status_of(client, b"no request\r\n\r\n") == 400
        with ExitStack() as open_ones:
            for _ in range(CONNECTIONS):  # requests under way: their bodies are waited for and never come
                held = open_ones.enter_context(connect(client, START + UNSENT))
                assert held.recv(100).startswith(b"HTTP/1.1 100 ")
            assert status_of(client) == 503
        once = {"headers_too_large": 1.0, "request_timeout": 1.0, "bad_request": 1.0, "not_ready": 1.0}
        deadline = time.monotonic() + 20
        while (counted := refused(client)) != once:  # metrics are collected once a second
            assert time.monotonic() < deadline, counted
            time.sleep(0.1)
