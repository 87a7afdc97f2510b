"""What a real server shows of itself: metrics, logs, traces, `hub top`, dashboard and alerts."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.docs.test_alerts import expressions
from tests.e2e.replicas import PAUSE_S, Server
from tests.support.homes import FakeHome
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

SECRET = "my private sentence"
TRACE = "0af7651916cd43dd8448eb211c80319c"
# Series that only faults or evictions make, with their labels.
RARE = {
    "hub_forward_retries_total": {"base"},
    "hub_stuck_plugin_calls": {"task"},
    "hub_suspended_tasks": {"task"},
    "hub_evictions_total": {"base"},
    "hub_key_usage_total": {"key", "kind"},
    "hub_plugin_faults_total": {"task", "step", "fault"},
}
OF_PROMETHEUS = {"up": {"job", "instance"}}
ADDED = {"job", "instance"}  # by Prometheus, to every series


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP collector on loopback."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        received: list[ExportTraceServiceRequest] = self.server.received  # type: ignore[attr-defined]
        received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> FakeHome:
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_encoder(folder)
    home = FakeHome(tmp_path_factory.mktemp("monitored") / "home", folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=2).ref, canary=50))
    writer = home.add("writer", task="generation", kind=HeadKind.GENERATE, labels=())
    home.store.deploy("writer", Deploy(version=writer.ref))
    return home


@pytest.fixture(scope="module")
def server(home: FakeHome, collector: Any) -> Iterator[Server]:
    """A server that has answered: whole, streamed, several, and with errors; in all ways with a text."""
    options = (
        "tracing.exporter_type=otlp tracing.sample_rate=1.0 tracing.otlp.protocol=http "
        f"tracing.otlp.endpoint=http://127.0.0.1:{collector.server_port}/v1/traces"
    )
    environment = {
        "BENTOML_CONFIG_OPTIONS": options,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "HUB_LOG__FORMAT": "json",
        "HUB_LOG__ACCESS": "all",
        "HUB_FEEDBACK__KEEP": "answers",
    }
    with Server(home.path, environment).running() as server:
        server.wait()
        server.hub("deploy", "mood@1", "--as", "fresh")
        with httpx.Client(base_url=server.url, timeout=30) as client:
            ask(client)
        yield server


def ask(client: httpx.Client) -> None:
    predict = "/v1/deployments/mood/predict"
    traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-hub-request-id": "traced"}
    assert client.post(predict, json={"text": SECRET}, headers=traced).status_code == 200
    for number in range(20):  # either track, with certainty beyond doubt
        assert client.post(predict, json={"text": f"{SECRET} {number}"}).status_code == 200
    assert client.post(predict, json={"items": [{"text": SECRET}, {SECRET: 1}]}).status_code == 200
    assert client.post(predict, json={SECRET: SECRET}).status_code == 400
    assert client.get(f"/{SECRET}").status_code == 404
    events = {"accept": "text/event-stream"}
    writes = {"prompt": SECRET, "max_new_tokens": 4}
    assert client.post("/v1/deployments/writer/predict", json=writes, headers=events).status_code == 200
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(b"no request\r\n\r\n")
        assert connection.recv(1000)


def samples(server: Server) -> dict[str, list[dict[str, str]]]:
    """The labels of each series by its name."""
    text = httpx.get(f"{server.url}/metrics").text
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_dashboard_and_alerts_name_metrics_and_labels_that_the_server_has(server) -> None:
    wanted = {"hub_refused_requests_total", "hub_feedback_answers_total", "hub_deployment_item_errors_total"}
    assert until(lambda: wanted <= samples(server).keys())
    found = samples(server)
    labels = {name: {label for one in series for label in one} for name, series in found.items()}
    known = {**RARE, **labels, **OF_PROMETHEUS}
    for query in expressions():
        text = re.sub(r'"[^"]*"', '""', query)
        used = re.findall(r"\b((?:hub|bentoml|vllm)[_:]\w+|up\b)(?:\{([^}]*)\})?", text)
        assert used, query
        allowed = set[str]()
        for name, matchers in used:
            assert name in known, f"{name} in {query}"
            allowed |= known[name] | ADDED
            matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert matched <= known[name] | ADDED, f"{name} has {known[name]}: {query}"
        for grouping in re.findall(r"\bby \(([^)]*)\)", text):
            assert {one.strip() for one in grouping.split(",")} <= allowed, query


def test_every_metric_of_the_page_is_there_and_every_metric_is_on_the_page(server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    found = samples(server)
    families = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in found} | RARE.keys()
    ours = {name for name in families if name.startswith(("hub_", "vllm:"))}
    named = set(re.findall(r"`((?:hub_|vllm:)\w+)(?:\{[^`]*\})?`", page))
    assert named == ours


def test_names_follow_the_conventions_of_prometheus_except_those_of_vllm(server) -> None:
    if not (tool := shutil.which("promtool")):
        pytest.skip("promtool is not installed")
    text = httpx.get(f"{server.url}/metrics").text
    done = subprocess.run([tool, "check", "metrics"], check=False, capture_output=True, text=True, input=text)
    problems = (done.stdout + done.stderr).splitlines()
    assert problems and all(line.startswith("vllm:") for line in problems), problems
    assert all(line.endswith("metric names should not contain ':'") for line in problems)


def test_every_line_of_the_log_is_json_and_none_has_a_text(server) -> None:
    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in server.log().splitlines()]

    assert until(lambda: any(one["logger"] == "hub.access" for one in lines()))
    assert {one["component"] for one in lines()} == {"entry_service:grafthub:1", "supervisor"}
    (traced,) = [one for one in lines() if one.get("request_id") == "traced"]
    assert (traced["deployment"], traced["status"], traced["trace_id"]) == ("mood", 200, TRACE)
    assert any(one.get("code") == "bad_request" and "route" not in one for one in lines()), "no HTTP"
    assert "private" not in server.log()


def test_the_spans_of_a_call_arrive_at_a_collector_in_the_trace_of_the_caller(server, collector) -> None:
    def received() -> list[Any]:
        resources = [one for request in list(collector.received) for one in request.resource_spans]
        return [span for one in resources for scope in one.scope_spans for span in scope.spans]

    def traced() -> list[Any]:
        return [span for span in received() if span.trace_id.hex() == TRACE]

    assert until(lambda: len(traced()) == 6, 20)
    names = {span.name for span in traced()}
    request = "POST /v1/deployments/{name}/predict"
    assert names == {request, "admission", "encode", "queue", "engine", "decode"}
    (parent,) = [span for span in traced() if span.name == request]
    assert all(span.parent_span_id == parent.span_id for span in traced() if span is not parent)
    assert parent.parent_span_id.hex() == "b7ad6b7169203331"
    assert not any(b"private" in one.SerializeToString() for one in collector.received)


def test_top_shows_what_happened_between_two_readings(server) -> None:
    stop = threading.Event()

    def call() -> None:
        while not stop.wait(PAUSE_S):
            server.ask("mood")

    caller = threading.Thread(target=call)
    caller.start()
    try:
        found = server.json("top", "--once", "--interval", "1")
        text = server.hub("top", "--once", "--interval", "1")
    finally:
        stop.set()
        caller.join()
    assert found["server"] == server.url
    assert found["calls_s"] > 0 and found["failed"] == 0 and found["p99_ms"] >= found["p50_ms"] > 0
    (base,) = found["bases"]
    assert (base["base"], base["resident"]) == ("tiny", 3)
    assert 0 < base["batch_fill"] < 1
    shown = {(one["deployment"], one["track"], one["version"]) for one in found["deployments"]}
    assert shown == {
        ("fresh", "stable", "mood@1"),
        ("mood", "stable", "mood@1"),
        ("mood", "canary", "mood@2"),
        ("writer", "stable", "writer@1"),
    }
    assert "DEPLOYMENT" in text and "mood@2" in text


def test_top_follows_a_terminal_that_is_resized_and_ends_with_ctrl_c(server) -> None:
    controller, terminal = pty.openpty()
    resize(controller, 24, 80)
    command = [sys.executable, "-m", "hub", "top", "--interval", "1", "--server", server.url]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment, "TERM": "xterm", "HUB_KEY": ""},
    )
    os.close(terminal)
    screen = Screen(controller)
    try:
        assert until(lambda: "DEPLOYMENT" in screen.text() and "mood@2" in screen.text(), 60), screen.text()
        assert "\x1b[?1049h" in screen.text(), "the alternate screen"
        screen.clear()
        resize(controller, 24, 200)
        assert until(lambda: widest(screen.text()) > 100, 60), "the table takes the width"
        process.send_signal(signal.SIGINT)
        # It may have to write before it ends, which takes a reader.
        assert until(lambda: bool(screen.text()) and process.poll() is not None, 60)
        assert process.returncode == 0
        assert "\x1b[?1049l" in screen.text() and "Traceback" not in screen.text()
    finally:
        process.kill()
        process.wait()
        os.close(controller)


class Screen:
    """What a process writes to a terminal."""

    def __init__(self, controller: int) -> None:
        self._controller = controller
        self._written = b""

    def text(self) -> str:
        while select.select([self._controller], [], [], 0)[0]:
            try:
                self._written += os.read(self._controller, 65536)
            except OSError:  # the process has ended
                break
        return self._written.decode(errors="replace")

    def clear(self) -> None:
        self.text()
        self._written = b""


def resize(terminal: int, lines: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def widest(screen: str) -> int:
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    return max((len(line.rstrip("\r")) for line in plain.split("\n")), default=0)
