"""Limits on input before a route reads it, attacked over sockets."""

from __future__ import annotations

import asyncio
import json
import math
import re
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from hub.config import LimitSettings
from hub.http.process import protocol, server, transport
from hub.http.process.server import HubServer, max_connections
from hub.http.process.tls import ServerTls
from tests.support.waiting import until

GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
WAIT_S = 20.0
LENGTH = re.compile(rb"content-length: (\d+)")


class App:
    """Reads the body and answers with its length and with the headers; POST /held waits for `gate`."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.held = 0
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.seen.append(scope)
        length = 0
        if scope["path"] != "/unread":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                length += len(message["body"])
                if not message["more_body"]:
                    break
        if scope["path"] == "/held":
            self.held += 1
            await self.gate.wait()
        body = b"x" * 5_000_000 if scope["path"] == "/large" else str(length).encode()
        fields = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _live(self, receive: Any, send: Any) -> None:
        self.gate = asyncio.Event()
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})


class Serving:
    """A server on a thread of its own."""

    def __init__(self, limits: LimitSettings, tls: ServerTls | None = None) -> None:
        self.app = App()
        self.ready = threading.Event()
        self.codes: list[str] = []  # of what was refused
        self.server = HubServer(
            self.app,
            limits,
            is_ready=lambda: True,
            on_ready=self.ready.set,
            on_refused=self.codes.append,
            tls=tls,
        )
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.server.config.get_loop_factory()) as runner:
            self.loop = runner.get_loop()
            runner.run(self.server.serve(sockets=[self.listener]))

    def open(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, timeout=WAIT_S)
        client.sendall(sent)
        return client

    def ask(self, sent: bytes) -> bytes:
        """Send, and return all that comes until the server closes."""
        with self.open(sent) as client:
            return rest(client)

    def stop(self) -> None:
        self.server.should_exit = True

    def leave(self, drain_s: float = WAIT_S) -> None:
        self.loop.call_soon_threadsafe(self.server.leave, drain_s)

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.app.gate.set)

    def connections(self) -> int:
        return len(self.server.server_state.connections)


Serve = Callable[..., Any]


class Quick:
    """asyncio for uvicorn, which looks ten times a second whether it shall end, and as often at its end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Serve:
    monkeypatch.setattr("uvicorn.server.asyncio", Quick())
    monkeypatch.setattr(server, "CHECK_EVERY_S", 0.02)
    monkeypatch.setattr(transport, "LINGER_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_MARGIN_S", 0.0)

    @contextmanager
    def running(tls: ServerTls | None = None, **limits: Any) -> Iterator[Serving]:
        serving = Serving(LimitSettings(**limits), tls)
        serving.thread.start()
        try:
            assert serving.ready.wait(WAIT_S)
            yield serving
        finally:
            serving.stop()
            serving.thread.join(WAIT_S)
            serving.listener.close()
            assert not serving.thread.is_alive()

    return running


def rest(client: socket.socket) -> bytes:
    got = b""
    while part := client.recv(65536):
        got += part
    return got


def answer(client: socket.socket) -> bytes:
    """Return the next answer, head and body; the connection may stay open."""
    got, needed = b"", math.inf
    while len(got) < needed:
        part = client.recv(65536)
        assert part, "closed without an answer"
        got += part
        head, end, _ = got.partition(b"\r\n\r\n")
        if end:
            needed = len(head) + len(end) + int(LENGTH.search(head)[1])
    return got


def refused(got: bytes) -> tuple[int, str]:
    """Return status and code of an error, having checked that it is the last thing on the connection."""
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def close_hard(client: socket.socket) -> None:
    """Reset the connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_requests_are_answered_and_the_connection_is_kept(serve) -> None:
    with serve() as serving, serving.open() as client:
        for _ in range(3):
            client.sendall(POST + b"content-length: 3\r\n\r\nabc")
            assert answer(client).endswith(b"\r\n\r\n3")


ENDLESS = {
    "request line": b"GET /",
    "name": GET,
    "value": GET + b"x: ",
    "line ends before a request": b"",
    "chunk extension": POST + b"transfer-encoding: chunked\r\n\r\n1;",
    "trailer": POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ",
}


@pytest.mark.parametrize("start", list(ENDLESS.values()), ids=list(ENDLESS))
def test_what_has_no_end_is_cut_off_early(serve, start) -> None:
    """A header of 400 MB once took as much memory."""
    filler = b"\r\n" * 8192 if not start else b"a" * 16384
    with serve() as serving, serving.open(start) as client:
        assert until(lambda: serving.app.seen != [] or not start.startswith(POST))
        client.sendall(filler * 3)
        assert refused(answer(client)) == (431, "headers_too_large")
        with pytest.raises(OSError, match=r"reset|pipe"):
            while True:
                client.sendall(filler)


@pytest.mark.parametrize(
    "fields",
    [b"x: " + b"a" * 1100, b"".join(b"x%d: a\r\n" % n for n in range(200))[:-2]],
    ids=["bytes", "count"],
)
def test_headers_that_come_at_once_are_bounded_as_well(serve, fields) -> None:
    with serve(header_bytes=1024, headers=99) as serving:
        assert refused(serving.ask(GET + fields + b"\r\n\r\n")) == (431, "headers_too_large")


def test_a_url_that_comes_at_once_is_bounded_as_well(serve) -> None:
    with serve(header_bytes=1024) as serving:
        got = serving.ask(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * 1100))
        assert refused(got) == (431, "headers_too_large")


def test_fields_after_a_body_are_no_headers(serve) -> None:
    chunked = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n"
    with serve() as serving:
        assert serving.ask(POST + chunked + b"authorization: Bearer x\r\n\r\n").endswith(b"\r\n\r\n3")
        assert b"authorization" not in dict(serving.app.seen[-1]["headers"])
        many = b"".join(b"x%d: a\r\n" % n for n in range(200))
        assert refused(serving.ask(POST + chunked + many + b"\r\n")) == (431, "headers_too_large")


def test_half_a_header_is_given_up(serve) -> None:
    with serve(header_s=0.1) as serving:
        assert refused(serving.ask(GET)) == (408, "request_timeout")
        assert serving.ask(b"") == b"", "nothing was asked, so nothing is answered"
        with serving.open(GET + b"\r\n") as client:
            assert answer(client).endswith(b"\r\n\r\n0")
            client.sendall(GET)
            assert refused(rest(client)) == (408, "request_timeout"), "on a kept connection, too"
            assert serving.connections() <= 1


def test_a_trickle_does_not_renew_the_time(serve) -> None:
    with serve(header_s=0.2, body_s=0.2) as serving:
        for start in (GET + b"x: ", POST + b"content-length: 1000000\r\n\r\n", b"\r\n"):
            with serving.open(start) as client:
                stop = threading.Event()
                drip = threading.Thread(target=trickle, args=(client, start[-2:], stop))
                drip.start()
                got = rest(client)
                stop.set()
                drip.join()
            assert got == b"" if start == b"\r\n" else refused(got) == (408, "request_timeout")


def trickle(client: socket.socket, last: bytes, stop: threading.Event) -> None:
    try:
        while not stop.wait(0.01):
            client.sendall(b"\r\n" if last == b"\r\n" else b"a")
    except OSError:
        pass


@pytest.mark.parametrize("path", [b"/", b"/unread"])
def test_a_slow_body_is_given_up(serve, path) -> None:
    """Also one that no route reads, whose answer went out before."""
    with serve(body_s=0.1) as serving:
        got = serving.ask(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\na" % path)
        if path == b"/":
            assert refused(got) == (408, "request_timeout")
        else:
            assert got.startswith(b"HTTP/1.1 200")
        assert serving.connections() <= 1


def test_an_idle_connection_is_closed(serve) -> None:
    with serve(idle_s=0.1) as serving, serving.open(GET + b"\r\n") as client:
        assert rest(client).endswith(b"\r\n\r\n0")


def test_a_client_that_reads_no_answer_is_cut_off(serve, monkeypatch) -> None:
    monkeypatch.setattr(protocol, "SEND_S", 0.1)
    with serve() as serving, serving.open(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n"):
        assert until(lambda: serving.app.seen != [] and serving.connections() == 0)


def test_connections_without_a_request_make_room_for_new_ones(serve) -> None:
    """Half-sent headers once locked everybody out."""
    with serve(connections=4) as serving:
        stuck = [serving.open(GET) for _ in range(12)]
        with serving.open(GET + b"connection: close\r\n\r\n") as client:
            assert rest(client).endswith(b"\r\n\r\n0")
        assert until(lambda: serving.connections() <= 4)
        for client in stuck:
            client.close()


def test_a_new_connection_is_refused_while_all_are_at_work(serve) -> None:
    with serve(connections=2) as serving:
        busy = [serving.open(b"GET /held HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") for _ in range(2)]
        assert until(lambda: serving.app.held == 2)
        got = serving.ask(GET + b"\r\n")
        assert refused(got) == (503, "not_ready")
        assert b"retry-after: 1" in got
        serving.release()
        for client in busy:
            assert rest(client).endswith(b"\r\n\r\n0")
            client.close()
        assert serving.ask(GET + b"connection: close\r\n\r\n").endswith(b"\r\n\r\n0")


@pytest.mark.parametrize(
    ("sent", "limits", "code"),
    [
        (GET + b"x: " + 2000 * b"x" + b"\r\n\r\n", {"header_bytes": 1024}, "headers_too_large"),
        (GET, {"header_s": 0.1}, "request_timeout"),
        (POST + b"content-length: 9\r\n\r\n", {"body_s": 0.1}, "request_timeout"),
        (b"no request\r\n\r\n", {}, "bad_request"),
    ],
)
def test_what_is_refused_is_counted_once_by_its_code(serve, sent, limits, code) -> None:
    with serve(**limits) as serving:
        serving.ask(sent)
        assert serving.codes == [code]
        with serving.open(GET + b"\r\n") as client:
            assert answer(client).startswith(b"HTTP/1.1 200")
        assert serving.codes == [code], "what is answered is not counted"


def test_there_are_no_more_connections_than_file_descriptors(monkeypatch) -> None:
    used = psutil.Process().num_fds()
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 100, used + 100))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    assert max_connections(1000) < 100
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 100, 1_000_000))
    assert max_connections(1000) == 1000
    assert asked[-1][0] > 1000 + used


UPGRADE = (
    b"connection: upgrade\r\nupgrade: %b\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n"
)


def test_a_websocket_is_refused_with_an_error(serve) -> None:
    with serve() as serving:
        assert refused(serving.ask(GET + UPGRADE % b"websocket")) == (400, "bad_request")


def test_another_upgrade_is_ignored(serve) -> None:
    """Java's client offers HTTP/2 with its first request."""
    with serve() as serving:
        offer = UPGRADE % b"h2c"
        for sent in (
            POST + b"content-length: 3\r\n" + offer + b"abc",
            POST + b"content-length: 3\r\n" + offer,
        ):
            with serving.open(sent) as client:
                if not sent.endswith(b"abc"):
                    client.sendall(b"abc")
                assert answer(client).endswith(b"\r\n\r\n3")
                client.sendall(GET + offer)
                assert answer(client).endswith(b"\r\n\r\n0"), "the connection is kept"
                client.sendall(GET + b"connection: close, upgrade\r\nupgrade: h2c\r\n\r\n")
                assert rest(client).endswith(b"\r\n\r\n0"), "or closed, if the client asks for it"


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f",  # ZMTP
    b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_no_request_is_refused_without_a_word_in_the_log(serve, caplog, garbage) -> None:
    with serve() as serving:
        assert refused(serving.ask(garbage)) == (400, "bad_request")
    assert caplog.records == []


def test_an_earlier_request_is_answered_before_garbage_ends_the_connection(serve) -> None:
    with serve() as serving, serving.open(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n") as client:
        assert until(lambda: serving.app.held == 1)
        client.sendall(b"\x00garbage")
        serving.release()
        assert rest(client).endswith(b"\r\n\r\n0")


def test_pipelined_requests_are_answered_in_order_and_bounded(serve) -> None:
    one = POST + b"content-length: %d\r\n\r\n%b"
    last = POST + b"connection: close\r\ncontent-length: 9\r\n\r\n" + b"a" * 9
    with serve() as serving:
        got = serving.ask(b"".join(one % (n, b"a" * n) for n in range(9)) + last)
        assert [part.split(b"\r\n\r\n")[1][:1] for part in got.split(b"HTTP/1.1 200")[1:]] == [
            str(n).encode() for n in range(10)
        ]
        assert serving.ask((GET + b"\r\n") * 5000).count(b"HTTP/1.1") < 50
        assert len(serving.app.seen) < 70


def test_an_answer_is_not_lost_to_a_body_that_nobody_read(serve) -> None:
    """Closing with unread bytes resets the connection, and the client never sees why it was refused."""
    with serve() as serving, serving.open(GET + b"x: " + b"a" * 40_000) as client:
        client.sendall(b"a" * 500_000)
        assert refused(rest(client)) == (431, "headers_too_large")


def test_clients_that_reset_leave_nothing_behind(serve, caplog) -> None:
    with serve() as serving:
        for start in (b"", GET, GET + b"\r\n", POST + b"content-length: 9\r\n\r\na"):
            close_hard(serving.open(start))
        assert until(lambda: serving.connections() == 0)
        assert serving.ask(GET + b"connection: close\r\n\r\n").endswith(b"\r\n\r\n0")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_was_sent_before_a_stop_is_answered(serve, monkeypatch) -> None:
    """On fresh connections, on kept ones, and on those that the kernel has queued but nobody has accepted."""
    stopping, sent = threading.Event(), threading.Event()
    shutdown = HubServer.shutdown

    async def held(self, sockets=None) -> None:
        stopping.set()
        assert sent.wait(WAIT_S)  # the loop accepts and reads nothing meanwhile
        await shutdown(self, sockets)

    monkeypatch.setattr(HubServer, "shutdown", held)
    with serve() as serving:
        kept = [serving.open(GET + b"\r\n") for _ in range(5)]
        for client in kept:
            answer(client)
        idle = serving.open()
        serving.stop()
        assert stopping.wait(WAIT_S)
        fresh = [serving.open(GET + b"\r\n") for _ in range(50)]
        for client in kept:
            client.sendall(GET + b"\r\n")
        sent.set()
        for client in (*fresh, *kept):
            got = rest(client)
            assert got.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in got
            client.close()
        assert rest(idle) == b"", "closed, not reset"
        idle.close()


def test_half_a_request_at_a_stop_is_refused(serve) -> None:
    with serve() as serving, serving.open(GET) as client:
        assert until(lambda: serving.connections() == 1)
        serving.stop()
        assert refused(rest(client)) == (503, "not_ready")


def test_a_worker_that_leaves_ends_its_requests_and_closes_each_connection_by_an_answer(
    serve, monkeypatch
) -> None:
    """Another process accepts on the same socket meanwhile, so nothing of the queue is taken."""
    monkeypatch.setattr(server, "LEAVE_IDLE_S", 1.0)
    with serve() as serving:
        kept, idle, half = serving.open(GET + b"\r\n"), serving.open(), serving.open(GET)
        answer(kept)
        running = serving.open(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        assert until(lambda: serving.app.held == 1 and serving.connections() == 4)
        other = serving.listener.dup()  # as the supervisor and the next worker have it
        serving.leave()
        assert until(lambda: not serving.server.servers or not serving.server.servers[0].is_serving())
        fresh = serving.open(GET + b"\r\n")
        taken, _ = other.accept()
        for client, sent in ((kept, GET + b"\r\n"), (half, b"\r\n")):
            client.sendall(sent)
            got = rest(client)
            assert got.startswith(b"HTTP/1.1 200") and b"connection: close" in got
        assert rest(idle) == b"", "closed, not reset"
        assert serving.thread.is_alive(), "a request runs"
        serving.release()
        assert rest(running).startswith(b"HTTP/1.1 200")
        serving.thread.join(WAIT_S)
        assert not serving.thread.is_alive()
        for one in (kept, idle, half, running, fresh, taken, other):
            one.close()
