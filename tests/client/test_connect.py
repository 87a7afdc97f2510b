"""The client: which server it finds, which key it shows, and errors that survive the wire."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hub.client import server_file
from hub.client.connect import connect
from hub.client.http import error_of, find_server
from hub.config import load_settings
from hub.errors import BadRequest, HubError, NotFound, NotReady, Overloaded, TooLarge, Unauthorized


class Answering(HTTPServer):
    """Answers everything alike and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.marked = True
        self.kind = "application/json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["authorization"]))
        status, body = self.server.answer
        self.send_response(status)
        if self.server.marked:
            self.send_header("x-hub-request-id", "1")
        self.send_header("content-type", self.server.kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def note(url: str, pid: int) -> None:
    home = load_settings().home
    home.mkdir(parents=True, exist_ok=True)
    server_file.write(home, server_file.ServerRecord(url, pid, "2026-01-01T00:00:00+00:00"))


def test_the_server_of_this_home_is_found_and_shown_the_key_that_is_kept_here(server) -> None:
    note(server.url, os.getpid())
    (load_settings().home / "admin.key").write_text("local-key\n")
    with connect(load_settings()) as client:
        assert client.url == server.url
        client.status()
    assert server.seen == [("/livez", None), ("/admin/status", "Bearer local-key")]


def test_the_server_of_this_home_is_asked_past_the_proxy_of_the_environment(server, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    note(server.url, os.getpid())
    with connect(load_settings()) as client:
        assert client.url == server.url
        client.status()
    with connect(load_settings(), server.url) as named, pytest.raises(NotReady):
        named.status()


def test_the_key_that_is_kept_here_is_not_shown_to_a_server_that_was_named(server, home) -> None:
    (home.path / "admin.key").write_text("local-key\n")
    with connect(load_settings(), server.url) as client:
        client.status()
    assert server.seen == [("/admin/status", None)]


def test_hub_server_and_hub_key_name_another_server_and_its_key(server, monkeypatch) -> None:
    monkeypatch.setenv("HUB_SERVER", server.url)
    monkeypatch.setenv("HUB_KEY", "their-key")
    with connect(load_settings()) as client:
        client.status()
    assert server.seen == [("/admin/status", "Bearer their-key")]


def test_a_record_of_a_process_that_is_gone_is_no_server(server) -> None:
    note(server.url, 2**22 + 1)
    assert find_server(load_settings()) is None


def test_a_record_whose_port_answers_for_something_else_is_no_server(server) -> None:
    server.marked = False
    note(server.url, os.getpid())
    assert find_server(load_settings()) is None


def test_a_record_whose_port_is_closed_is_no_server() -> None:
    note("http://127.0.0.1:9", os.getpid())
    assert find_server(load_settings()) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"pid": "x", "url": "", "started": ""}'])
def test_a_damaged_record_is_no_server(text) -> None:
    home = load_settings().home
    home.mkdir(parents=True)
    (home / "server.json").write_text(text)
    assert find_server(load_settings()) is None


def test_only_the_record_of_the_process_itself_is_erased() -> None:
    home = load_settings().home
    note("http://127.0.0.1:9", os.getpid())
    server_file.erase(home, os.getpid() + 1)
    assert server_file.read(home)
    server_file.erase(home, os.getpid())
    assert server_file.read(home) is None


@pytest.mark.parametrize("kind", [NotFound, Overloaded, TooLarge, Unauthorized, NotReady])
def test_an_error_crosses_the_wire_as_its_own_class(server, kind) -> None:
    server.answer = (kind.status, json.dumps(kind("What happened.").to_json()).encode())
    with connect(load_settings(), server.url) as client, pytest.raises(kind, match=r"What happened\."):
        client.status()


def test_an_unknown_code_is_still_an_error_of_ours() -> None:
    error = error_of({"error": {"code": "from_the_future", "message": "Hm."}})
    assert type(error) is HubError
    assert str(error) == "Hm."


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (404, b"nothing"), (500, b"[]"), (400, b'{"error": 1}')]
)
def test_an_answer_of_some_other_server_is_told_apart(server, answer) -> None:
    server.answer = answer
    with connect(load_settings(), server.url) as client, pytest.raises(BadRequest, match="GraftHub"):
        client.status()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_a_server_that_cannot_be_reached_is_not_ready(url) -> None:
    with pytest.raises(NotReady), connect(load_settings(), url) as client:
        client.status()


@pytest.mark.parametrize("url", ["http://[::1", "not a url", "localhost:3977", "ftp://host", "//host"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="is not the URL of a server"), connect(load_settings(), url):
        pass


@pytest.mark.parametrize("value", [float("nan"), "a\udcff"])  # the latter: an argument that is not UTF-8
@pytest.mark.parametrize("ask", ["predict", "stream"])
def test_a_request_that_json_cannot_have_is_refused(server, ask: str, value: object) -> None:
    with connect(load_settings(), server.url) as client, pytest.raises(BadRequest, match="JSON"):
        list(
            client.predict("mood", [{"text": value}])
            if ask == "predict"
            else client.stream("mood", {"text": value})
        )


def test_a_key_with_the_end_of_its_line_is_shown_without_it(server, monkeypatch) -> None:
    monkeypatch.setenv("HUB_KEY", "named-key\r\n")
    server.answer = (200, b'{"deployments": []}')
    with connect(load_settings(), server.url) as client:
        assert client.deployments() == []
    assert server.seen[-1][1] == "Bearer named-key"


@pytest.mark.parametrize("key", ["sec\nret", "s\u00e9cret", "sec\x7fret"])
def test_a_key_that_no_header_can_have_is_refused_and_not_quoted(server, monkeypatch, key) -> None:
    monkeypatch.setenv("HUB_KEY", key)
    with pytest.raises(BadRequest, match="HUB_KEY") as caught, connect(load_settings(), server.url):
        pass
    assert key not in str(caught.value)
    assert not server.seen


@pytest.mark.parametrize("call", ["deployments", "replicas", "job_list"])
def test_json_of_another_server_is_told_apart(server, call) -> None:
    server.answer = (200, b'{"status": "ok"}')
    with connect(load_settings(), server.url) as client, pytest.raises(BadRequest, match="GraftHub"):
        client.jobs(1) if call == "job_list" else getattr(client, call)()


@pytest.mark.parametrize("event", [b"text\ndata: {", b"text\ndata: 5", b"text\ndata: {}", b"error\ndata: []"])
def test_events_of_another_server_are_told_apart(server, event) -> None:
    server.kind, server.answer = "text/event-stream", (200, b"event: " + event + b"\n\n")
    with connect(load_settings(), server.url) as client, pytest.raises(BadRequest, match="GraftHub"):
        list(client.stream("mood", {"text": "fine"}))


def test_the_events_of_a_stream_are_its_texts_and_the_end(server) -> None:
    events = (
        b'event: text\ndata: {"text": "a"}\n\nevent: new\ndata: ?\n\nevent: end\ndata: {"response": {}}\n\n'
    )
    server.kind, server.answer = "text/event-stream", (200, events)
    with connect(load_settings(), server.url) as client:
        assert list(client.stream("mood", {"text": "fine"})) == ["a", {"response": {}}]
