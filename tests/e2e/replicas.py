"""Servers of several processes, and several servers of one catalog: started, asked, killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from typer.testing import CliRunner

from hub.cli.main import app
from hub.client import server_file
from hub.errors import HubError
from tests.support.preloaded import Process, preloaded
from tests.support.waiting import ready_server

START_LIMIT_S = 120
TEXT = "a film that ends well"
PAUSE_S = 0.005  # of a client between two requests: the processes asked share few cores with it


class Server:
    """`hub serve` in a process of its own, with a home of its own."""

    def __init__(self, home: Path, environment: Mapping[str, str], *flags: str) -> None:
        self.home = home
        self._environment = {**os.environ, **environment, "HUB_HOME": str(home), "COLUMNS": "300"}
        self._flags = flags
        self._log = home.parent / f"{home.name}.log"
        self._process: Process | None = None
        self._client = fresh_connections()

    def start(self) -> None:
        serve = ("hub", "serve", "--port", "0", "--engine", "fake", *self._flags)
        with self._log.open("ab") as log:
            self._process = preloaded().start(*serve, env=self._environment, stdout=log, stderr=log)

    def wait(self) -> None:
        """Return once it is ready."""
        deadline = time.monotonic() + START_LIMIT_S
        while not ready_server(self.home):
            assert self._process and self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.03)

    def stop(self) -> None:
        """Stop it as an operator would."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self.log()

    def kill(self) -> None:
        """End all of its processes without a word."""
        assert self._process
        supervisor = psutil.Process(self._process.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 30)
        self._process.wait(30)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Run it; it may be killed and started again in the block."""
        self.start()
        try:
            yield self
            self.stop()
        finally:
            self._client.close()
            if self._process and self._process.poll() is None:
                self.kill()

    @property
    def url(self) -> str:
        found = server_file.read(self.home)
        assert found, self.log()
        return found.url

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def admin(self, path: str, method: str = "GET", body: Any = None) -> httpx.Response:
        key = {"authorization": f"Bearer {(self.home / 'admin.key').read_text().strip()}"}
        return self._client.request(method, f"{self.url}/admin/{path}", headers=key, json=body)

    def replicas(self) -> dict[str, Any]:
        """The live replicas by id, as this server tells of them; none while the worker asked loads."""
        return {one["id"]: one for one in self.admin("replicas").json().get("replicas", [])}

    def ask(self, name: str = "mood") -> httpx.Response:
        """Ask over a connection of its own, which any worker may take."""
        return self._client.post(f"{self.url}/v1/deployments/{name}/predict", json={"text": TEXT})

    def version(self, name: str = "mood") -> str:
        reply = self.ask(name)
        assert reply.status_code == 200, reply.text
        return str(reply.headers["x-hub-version"])

    def hub(self, *words: str, status: int = 0) -> str:
        """Run a command in this server's home; return what it prints, or the error it ends with."""
        done = CliRunner().invoke(app, list(words), env=self._environment)
        assert done.exit_code == status, (done.output, done.exception)
        if status:
            assert isinstance(done.exception, HubError)
            return str(done.exception)
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.hub(*words, "--json"))


@dataclass(frozen=True)
class Answer:
    """What one request got; `status` is 0 where the connection broke. Times are monotonic."""

    began: float
    ended: float
    status: int
    version: str
    replica: str
    said: str = ""


@dataclass
class Hammer:
    """Clients that ask one request after the other, each over a fresh connection."""

    url: str
    name: str
    answers: list[Answer] = field(default_factory=list)

    @contextmanager
    def hammering(self, clients: int = 3) -> Iterator[Hammer]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def with_status(self, *statuses: int) -> list[Answer]:
        return [answer for answer in self.answers if answer.status in statuses]

    def _ask(self, stop: threading.Event) -> None:
        with fresh_connections() as client:
            while not stop.wait(PAUSE_S):
                self.answers.append(self._ask_once(client))

    def _ask_once(self, client: httpx.Client) -> Answer:
        began = time.monotonic()
        try:
            reply = client.post(f"{self.url}/v1/deployments/{self.name}/predict", json={"text": TEXT})
        except httpx.HTTPError as error:
            return Answer(began, time.monotonic(), 0, "", "", repr(error))
        headers = reply.headers
        version, replica = headers.get("x-hub-version", ""), headers.get("x-hub-replica", "")
        said = "" if reply.is_success else reply.text
        return Answer(began, time.monotonic(), reply.status_code, version, replica, said)


def fresh_connections() -> httpx.Client:
    """A client whose every request has a connection of its own."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=60)
