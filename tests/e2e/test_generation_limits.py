"""Generation under bad input and more clients than it takes: clear errors, and the memory comes back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from httpx_sse import connect_sse

from hub.api import HeadKind
from hub.store.change import Deploy
from hub.store.store import Store
from tests.e2e.conftest import Hub
from tests.support.homes import add_version
from tests.support.tiny import tiny_adapter, tiny_decoder

pytestmark = pytest.mark.e2e

PREDICT = "/v1/deployments/desk/predict"
CLIENTS = 200
QUEUED = 64
ALLOWED_MB = 16


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("limits")
    store = Store(folder / "home")
    base = store.bases.pull(str(tiny_decoder(folder / "tiny", "llama").path), "tiny")
    adapter = tiny_adapter(base, folder / "adapter", kind=HeadKind.GENERATE, labels=(), spread=0.3)
    add_version(store, base, "desk", adapter, task="generation", head=HeadKind.GENERATE, labels=())
    store.deploy("desk", Deploy(version="desk@1"))
    store.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_LIMITS__QUEUED_ROWS", str(QUEUED))
        patch.setenv("HUB_SERVE__GENERATE_ROWS", "8")
        patch.setenv("HUB_SERVE__GENERATE_PREFIX_MB", "1")
        with Hub(folder / "home").serving("--engine", "torch") as client:
            yield client


def code(client: httpx.Client, body: object, status: int) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post(PREDICT, content=content, headers={"content-type": "application/json"})
    assert reply.status_code == status, reply.text
    assert len(reply.content) < 2000, "an error does not repeat what was sent"
    return str(reply.json()["error"]["code"])


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"prompt": "word " * 300}, 413, "too_large"),
        ({"prompt": "x" * 1_000_000}, 413, "too_large"),
        ({"prompt": "x" * 2_500_000}, 413, "too_large"),
        (b'{"prompt": "\xff\xfe"}', 400, "invalid_text"),
        (b'{"prompt": "\\ud800"}', 400, "invalid_text"),
        ({"prompt": "once", "max_new_tokens": 0}, 400, "bad_request"),
        ({"prompt": "once", "max_new_tokens": 10**30}, 400, "bad_request"),
        ({"prompt": "once", "temperature": -1}, 400, "bad_request"),
        ({"prompt": "once", "temperature": 1e300}, 400, "bad_request"),
        (b'{"prompt": "once", "temperature": NaN}', 400, "bad_request"),
        (b'{"prompt": "once", "temperature": Infinity}', 400, "bad_request"),
        ({"prompt": "once", "top_p": 0}, 400, "bad_request"),
        ({"prompt": "once", "stop": [""]}, 400, "bad_request"),
        ({"prompt": "once", "stop": ["x"] * 1000}, 400, "bad_request"),
        ({"prompt": "once", "stop": ["x" * 10_000]}, 400, "bad_request"),
        ({"prompt": "once", "logit_bias": {"-1": 1}}, 400, "bad_request"),
        ({"prompt": "once", "logit_bias": {"99999999": 1}}, 400, "bad_sampling"),
        ({"prompt": "once", "seed": 2**80}, 400, "bad_request"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_its_code(client, body, status, expected) -> None:
    assert code(client, body, status) == expected
    assert code(client, {"prompt": "once", "unknown": 1}, 400) == "bad_request"


def ask(client: httpx.Client, number: int) -> tuple[int, str]:
    """Stream a text; return the status, and the last event or the error's code."""
    body = {"prompt": f"a film {number % 7}", "max_new_tokens": 5 + number % 20}
    with connect_sse(client, "POST", PREDICT, json=body) as source:
        status = source.response.status_code
        if status != 200:
            source.response.read()
            assert source.response.headers["retry-after"]
            return status, str(source.response.json()["error"]["code"])
        *_, last = source.iter_sse()
        return status, last.event


def memory_mb(client: httpx.Client) -> float:
    """Return the private memory of the server's processes."""
    port = client.base_url.port
    (server,) = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    return float(psutil.Process(server).memory_full_info().uss) / 2**20


def test_two_hundred_clients_are_answered_or_asked_to_come_again_and_the_memory_is_as_before(client) -> None:
    def crowd() -> Counter[tuple[int, str]]:
        many = httpx.Limits(max_connections=CLIENTS)
        with (
            httpx.Client(base_url=client.base_url, timeout=120, limits=many) as own,
            ThreadPoolExecutor(CLIENTS) as threads,
        ):
            return Counter(threads.map(lambda number: ask(own, number), range(CLIENTS)))

    crowd()
    before = memory_mb(client)
    outcomes = crowd()
    assert set(outcomes) <= {(200, "end"), (429, "overloaded")}, outcomes
    assert outcomes[200, "end"] >= QUEUED
    assert memory_mb(client) - before < ALLOWED_MB
