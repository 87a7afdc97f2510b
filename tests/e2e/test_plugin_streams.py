"""Answers that a plugin streams while its server is stopped or reloads plugins: they end whole."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from hub.client.server_file import read
from tests.e2e.conftest import Hub
from tests.support.environment import install_into
from tests.support.plugins import plugin_of
from tests.support.preloaded import Process
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROUTES = """
import asyncio, os
from pathlib import Path

@hookimpl
def hub_routes():
    yield RouteSpec("counter", "Counts slowly.", "made:Counter")

class Counter(RouteFamily):
    def router(self, server):
        from fastapi import APIRouter
        from fastapi.responses import StreamingResponse
        router = APIRouter()

        @router.get("/to/{last}")
        async def count(last: int):
            async def parts():
                for number in range(last):
                    yield f"{number} "
                    await asyncio.sleep(0.1)
                yield "end"
            return StreamingResponse(parts(), media_type="text/plain")

        @router.get("/while")
        async def count_while(file: Path):
            async def parts():
                while file.exists():
                    yield "."
                    await asyncio.sleep(0.05)
                yield "end"
            return StreamingResponse(parts(), media_type="text/plain")

        @router.get("/pid")
        async def pid() -> int:
            return os.getpid()

        return router
"""
STREAMS, PARTS = 8, 20  # two seconds each; longer than a request may take
WHOLE = "".join(f"{number} " for number in range(PARTS)) + "end"
LIMIT_S = 1  # of a request; a server that is stopped waits so long, and the margin
MARGIN_S = 10  # what a busy machine may add


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A workspace without deployments, and a plugin with routes on the path of its processes."""
    site = tmp_path / "site"
    site.mkdir()
    install_into(site, plugin_of(tmp_path, ROUTES))
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("HUB_LIMITS__TIMEOUT_S", str(LIMIT_S))
    return Hub(tmp_path / "hub-home")


class Streams:
    """Streams that are being read, each from a connection of its own."""

    def __init__(self, *urls: str) -> None:
        self._urls = urls
        self._begun = threading.Barrier(len(urls) + 1)
        self._threads = ThreadPoolExecutor(len(urls))
        self._texts: list[Future[str]] = []

    def start(self) -> None:
        """Return when each stream has its first part."""
        self._texts = [self._threads.submit(self._read, url) for url in self._urls]
        self._begun.wait(60)

    def texts(self) -> list[str]:
        """Return what each stream had when it ended; raises what its client did."""
        return [text.result(60) for text in self._texts]

    def _read(self, url: str) -> str:
        with httpx.stream("GET", url, timeout=60, verify=False) as reply:
            assert reply.status_code == 200
            parts = reply.iter_text()
            text = next(parts)
            self._begun.wait(60)
            return text + "".join(parts)


@contextmanager
def serving(hub: Hub) -> Iterator[tuple[Process, str]]:
    """Run a server without models; yield its supervisor and its address."""
    log = hub.home.parent / "server.log"
    with log.open("w") as out:
        process = hub.start("serve", "--port", "0", "--engine", "fake", out=out)
    try:
        yield process, hub._wait(process, log)
    finally:
        process.kill()


def stop(process: Process) -> tuple[int, float]:
    """Send SIGTERM; return the exit status and the seconds until then."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(60)
    return status, time.monotonic() - began


def test_a_stopped_server_ends_the_streams_of_plugins_whole_and_cuts_those_without_end(hub: Hub) -> None:
    with serving(hub) as (process, url):
        whole = Streams(*[f"{url}/plugins/counter/to/{PARTS}"] * STREAMS)
        endless = Streams(*[f"{url}/plugins/counter/to/10000"] * STREAMS)
        endless.start()
        whole.start()
        status, seconds = stop(process)
        assert whole.texts() == [WHOLE] * STREAMS
        assert status == 0
        assert LIMIT_S <= seconds < LIMIT_S + 2 * MARGIN_S
        assert read(hub.home) is None
        with pytest.raises(httpx.RemoteProtocolError):  # cut off, so that no client takes it for whole
            endless.texts()


class Asking:
    """A client that asks which worker answers, one request after the other, until it is told to end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self.statuses, self.pids = list[int](), list[str]()

    def run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stopped.wait(0.03):
                reply = client.get(f"{self._url}/plugins/counter/pid")
                self.statuses.append(reply.status_code)
                self.pids.append(reply.text)

    def stop(self) -> None:
        self._stopped.set()


def test_streams_of_plugins_outlive_a_reload_during_which_no_request_fails(hub: Hub) -> None:
    with serving(hub) as (process, url), ThreadPoolExecutor(2) as threads, ExitStack() as stack:
        asking, going_on = Asking(url), hub.home.parent / "going-on"
        stack.callback(asking.stop)
        stack.callback(going_on.unlink, missing_ok=True)
        going_on.touch()
        streams = Streams(*[f"{url}/plugins/counter/while?file={going_on}"] * STREAMS)
        streams.start()
        asked = threads.submit(asking.run)
        assert until(lambda: bool(asking.pids))
        first = asking.pids[0]
        reload = threads.submit(hub.run, "plugins", "reload")
        assert until(lambda: asking.pids[-1] != first), "the new worker answers beside the streams"
        assert not reload.done()
        going_on.unlink()
        assert all(re.fullmatch(r"\.+end", text) for text in streams.texts()), "whole"
        reload.result(60)
        asking.stop()
        asked.result(60)
        assert set(asking.statuses) == {200}
        assert asking.pids == sorted(asking.pids, key=(first, asking.pids[-1]).index)
        assert stop(process)[0] == 0
