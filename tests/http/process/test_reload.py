"""Reloads of plugins: a supervisor replaces workers, with small programs in their place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hub.config import LimitSettings, ServeSettings, Settings
from hub.http.process.supervisor import Supervisor

WORKER = """
import json, os, signal, socket, sys, time
channel = socket.socket(fileno=os.dup(0))
lines = channel.makefile("rb")
config = json.loads(lines.readline())
handover = config["handover"]
plugins = json.loads(config["settings"])["plugins"]
with open({record!r}, "a") as file:
    file.write(json.dumps([os.getpid(), config["index"], handover, plugins]) + "\\n")

def serve():
    channel.sendall(b"ready\\n")
    for line in lines:
        if json.loads(line).get("leave"):
            with open({record!r} + ".left", "a") as file:
                file.write(f"{{os.getpid()}}\\n")
            os._exit(0)
    os._exit(1)

def fail(code, message):
    channel.sendall(json.dumps({{"failed": {{"code": code, "message": message}}}}).encode() + b"\\n")
    os._exit(1)

{body}
"""
ASKED = {"do": "reload", "broken": ["old"], "unreadable": ["mood@1"], "accept": True, "force": False}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


class Supervised:
    """A supervisor whose workers run `body`, and that can be asked for reloads."""

    def __init__(self, home: Path, listener: socket.socket, body: str, **serve: Any) -> None:
        home.mkdir(exist_ok=True)
        self.record = home / "record"
        self.record.touch()
        self.left_file = home / "record.left"
        self.left_file.touch()
        self.ready: list[str] = []
        settings = Settings(home=home, serve=ServeSettings(**serve), limits=LimitSettings(timeout_s=1))
        code = WORKER.format(record=str(self.record), body=body)
        command = (sys.executable, "-c", code)
        self.supervisor = Supervisor(
            settings, listener, "http://127.0.0.1:1", dict(os.environ), self.ready.append, command
        )

    @property
    def started(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()]

    @property
    def pids(self) -> list[int]:
        return [one[0] for one in self.started]

    @property
    def left(self) -> list[int]:
        return [int(line) for line in self.left_file.read_text().split()]

    @property
    def current(self) -> dict[int, int]:
        """The processes of the workers that are restarted when they exit, by index."""
        workers = self.supervisor._workers.items()
        return {index: worker.process.pid for index, worker in workers if worker.is_ready}

    def ask(self, **question: Any) -> dict[str, Any]:
        return self.supervisor._reloads.answer(question)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.01)

    async def reloaded(self) -> dict[str, Any]:
        """Ask for a reload, and return how it ended."""
        assert self.ask(**ASKED)["state"] == "starting"
        await self.until(lambda: self.ask(do="state")["state"] in ("done", "failed"))
        return self.ask(do="state")

    def run(self, steps: Callable[[], Any], replicas: int = 1) -> None:
        """Run it, then the steps once the workers are ready, then stop it."""

        async def all_of_it() -> None:
            running = asyncio.create_task(self.supervisor.run())
            await self.until(lambda: running.done() or len(self.current) == replicas)
            await steps()
            os.kill(os.getpid(), signal.SIGTERM)
            await running

        asyncio.run(all_of_it())
        assert not any(psutil.pid_exists(pid) for pid in self.pids)


def test_a_new_worker_takes_over_and_the_old_one_leaves(tmp_path, listener, monkeypatch) -> None:
    ran = Supervised(tmp_path, listener, "serve()")

    async def steps() -> None:
        assert ran.ask(do="state")["state"] == "none"
        monkeypatch.setenv("HUB_PLUGINS__TICKETS__KEY", "new")
        done = await ran.reloaded()
        assert (done["state"], done["replaced"], done["replicas"], done["error"]) == ("done", 1, 1, None)
        first, second = ran.pids
        assert ran.left == [first]
        assert ran.current == {1: second}
        assert (await ran.reloaded())["id"] == 2

    ran.run(steps)
    assert ran.ready == ["http://127.0.0.1:1"], "announced once"
    handovers = [handover for _, _, handover, _ in ran.started]
    expected = {"broken": ["old"], "unreadable": ["mood@1"], "accept": True, "force": False}
    assert handovers == [None, expected, expected]
    assert [plugins.get("tickets") for *_, plugins in ran.started][:2] == [None, {"key": "new"}]


def test_replicas_are_replaced_one_after_another(tmp_path, listener) -> None:
    ran = Supervised(tmp_path, listener, "serve()", replicas=3)

    async def steps() -> None:
        done = await ran.reloaded()
        assert (done["state"], done["replaced"], done["replicas"]) == ("done", 3, 3)
        assert ran.left == [pid for index in (1, 2, 3) for pid, at, *_ in ran.started[:3] if at == index]
        assert set(ran.current.values()) == set(ran.pids[3:])

    ran.run(steps, replicas=3)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("os._exit(7)", "reload_failed", "ended with exit status 7 before it was ready"),
        (
            "os.kill(os.getpid(), 9)",
            "reload_failed",
            "signal SIGKILL before it was ready, as",
        ),
        ("fail('deployments_lost', 'mood is lost.')", "deployments_lost", "mood is lost."),
        ("time.sleep(60)", "reload_timeout", "not ready within 0.3 s (serve.reload_timeout_s)"),
        ("channel.sendall(b'{]\\n'); time.sleep(60)", "reload_timeout", "not ready within"),
    ],
)
def test_the_old_worker_goes_on_if_the_new_one_does_not_become_ready(
    tmp_path, listener, body, code, message
) -> None:
    fails = f"if handover: {body}" if ";" not in body else f"if handover:\n    {body}"
    limit = 0.3 if code == "reload_timeout" else 60
    ran = Supervised(tmp_path, listener, f"{fails}\nserve()", reload_timeout_s=limit)

    async def steps() -> None:
        first = ran.current
        failed = await ran.reloaded()
        assert (failed["state"], failed["replaced"], failed["error"]["code"]) == ("failed", 0, code)
        assert message in failed["error"]["message"]
        assert "goes on with the previous plugins" in failed["error"]["message"]
        assert (ran.current, ran.left) == (first, [])

    ran.run(steps)


def test_one_reload_runs_at_a_time(tmp_path, listener) -> None:
    ran = Supervised(tmp_path, listener, "if handover: time.sleep(60)\nserve()", reload_timeout_s=0.5)

    async def steps() -> None:
        running = asyncio.create_task(ran.reloaded())
        await ran.until(lambda: ran.ask(do="state")["state"] == "starting")
        assert ran.ask(**ASKED)["error"]["code"] == "reload_running"
        assert (await running)["state"] == "failed"

    ran.run(steps)


def test_invalid_settings_of_plugins_are_the_reason(tmp_path, listener, monkeypatch) -> None:
    ran = Supervised(tmp_path, listener, "serve()")

    async def steps() -> None:
        monkeypatch.setenv("HUB_PLUGINS__POLICY", "some")
        failed = await ran.reloaded()
        assert failed["error"]["code"] == "bad_config"
        assert "plugins.policy" in failed["error"]["message"]
        assert len(ran.pids) == 1

    ran.run(steps)


def test_a_worker_that_was_replaced_is_restarted_when_it_is_killed(tmp_path, listener) -> None:
    ran = Supervised(tmp_path, listener, "serve()")

    async def steps() -> None:
        await ran.reloaded()
        os.kill(ran.pids[1], signal.SIGKILL)
        await ran.until(lambda: len(ran.pids) == 3 and ran.current == {1: ran.pids[2]})
        assert ran.started[2][2] is None, "it starts as after any crash"

    ran.run(steps)


def test_a_worker_that_hangs_while_it_leaves_is_killed(tmp_path, listener, monkeypatch) -> None:
    monkeypatch.setattr("hub.http.process.supervisor.STOP_MARGIN_S", 0.1)
    body = "if handover: serve()\nchannel.sendall(b'ready\\n'); time.sleep(60)"
    ran = Supervised(tmp_path, listener, body, reload_timeout_s=2)

    async def steps() -> None:
        assert (await ran.reloaded())["state"] == "done"
        assert not psutil.pid_exists(ran.pids[0])

    ran.run(steps)


def test_a_stop_during_a_reload_ends_all_workers(tmp_path, listener) -> None:
    ran = Supervised(tmp_path, listener, "if handover: time.sleep(60)\nserve()")

    async def steps() -> None:
        ran.ask(**ASKED)
        await ran.until(lambda: len(ran.pids) == 2)

    ran.run(steps)
    assert ran.ask(do="state")["state"] == "failed"
    assert ran.ask(**ASKED)["error"]["code"] == "reload_running"
