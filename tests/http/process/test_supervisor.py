"""The supervisor of the serving processes, with small programs in their place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hub.config import CatalogSettings, LimitSettings, ServeSettings, Settings
from hub.errors import HostFault
from hub.http.process import launch, supervisor
from hub.http.process.supervisor import Supervisor
from hub.http.process.worker_config import WorkerConfig

SECRETS = ("the-admin-key-of-this-test", "the-api-key-of-this-test", "the-password")
WORKER = """
import os, signal, socket, sys
channel = socket.socket(fileno=os.dup(0))
config = channel.makefile().readline()
with open({record!r}, "a") as file:
    file.write(f"{{os.getpid()}} {{sorted(os.environ.items())}} {{sys.argv}}\\n")
{body}
"""
READY = "channel.sendall(b'ready\\n'); signal.pause()"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    serve = ServeSettings(admin_key=SECRETS[0], api_keys=(SECRETS[1],), replicas=1)
    return Settings(
        home=tmp_path,
        serve=serve,
        limits=LimitSettings(timeout_s=1),
        catalog=CatalogSettings(url=f"postgresql://hub:{SECRETS[2]}@db/hub"),
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


class Ran:
    """A supervisor whose workers run `body`; `pids` are those that have started, in order."""

    def __init__(self, settings: Settings, listener: socket.socket, body: str, environment=None) -> None:
        settings.home.mkdir(exist_ok=True)
        self.record = settings.home / "record"
        self.record.touch()
        self.ready: list[str] = []
        code = WORKER.format(record=str(self.record), body=body)
        self.supervisor = Supervisor(
            settings,
            listener,
            "http://127.0.0.1:1",
            environment or dict(os.environ),
            self.ready.append,
            command=(sys.executable, "-c", code),
        )

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[0]) for line in self.record.read_text().splitlines()]

    def run(self, *steps) -> None:
        """Run it; each of `steps` is awaited in order, then it is told to stop."""

        async def all_of_it() -> None:
            running = asyncio.create_task(self.supervisor.run())
            for step in steps:
                while not step():
                    assert not running.done()
                    await asyncio.sleep(0.01)
            if steps:
                os.kill(os.getpid(), signal.SIGTERM)
            await running

        asyncio.run(all_of_it())


def test_a_worker_that_is_killed_is_replaced_and_all_end_on_sigterm(settings, listener, caplog) -> None:
    ran = Ran(settings, listener, READY)

    def kill_the_first() -> bool:
        if ran.ready:
            os.kill(ran.pids[0], signal.SIGKILL)
        return bool(ran.ready)

    ran.run(kill_the_first, lambda: len(ran.pids) == 2)
    assert ran.ready == ["http://127.0.0.1:1"], "announced once"
    assert not any(psutil.pid_exists(pid) for pid in ran.pids)
    assert "SIGKILL" in caplog.text


def test_as_many_workers_run_as_the_settings_say(settings, listener) -> None:
    settings = settings.model_copy(update={"serve": ServeSettings(replicas=3)})
    ran = Ran(settings, listener, READY)
    ran.run(lambda: len(ran.pids) == 3)
    assert len(set(ran.pids)) == 3
    assert not any(psutil.pid_exists(pid) for pid in ran.pids)


@pytest.mark.parametrize("replicas", [1, 2])
def test_workers_that_never_become_ready_end_the_server_with_a_reason(
    settings, listener, monkeypatch, replicas
) -> None:
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_S", 0.0)
    settings = settings.model_copy(update={"serve": ServeSettings(replicas=replicas)})
    ran = Ran(settings, listener, "os._exit(7)")
    with pytest.raises(HostFault, match=r"exit status 7.* 5th time.*plugins\.disabled"):
        ran.run()
    assert len(ran.pids) <= 5 * replicas
    assert ran.ready == []


def test_workers_that_were_ready_are_replaced_without_end(settings, listener) -> None:
    """Otherwise requests that end the process could end the server."""
    ran = Ran(settings, listener, "channel.sendall(b'ready\\n'); os._exit(7)")
    ran.run(lambda: len(ran.pids) > supervisor.MAX_FAILED_STARTS + 1)


def test_a_program_that_cannot_be_started_ends_the_server_with_a_reason(
    settings, listener, monkeypatch
) -> None:
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_S", 0.0)
    ran = Ran(settings, listener, "")
    ran.supervisor._command = ("/nonexistent/python",)
    with pytest.raises(HostFault, match="could not be started: No such file"):
        ran.run()


def test_a_worker_that_ignores_sigterm_is_killed(settings, listener, monkeypatch, caplog) -> None:
    monkeypatch.setattr(supervisor, "STOP_MARGIN_S", -0.9)
    ran = Ran(settings, listener, f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}")
    ran.run(lambda: bool(ran.ready))
    assert not psutil.pid_exists(ran.pids[0])
    assert "is killed" in caplog.text


def test_secrets_reach_a_worker_over_its_socket_alone(settings, listener, monkeypatch) -> None:
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", SECRETS[0])
    monkeypatch.setenv("hub_catalog__url", f"postgresql://hub:{SECRETS[2]}@db/hub")
    monkeypatch.setenv("HUB_KEY", SECRETS[1])
    result = settings.home / "told"
    environment = launch._environment(settings)
    ran = Ran(settings, listener, f"open({str(result)!r}, 'w').write(config); {READY}", environment)
    ran.run(lambda: bool(ran.ready))
    shown = ran.record.read_text()
    assert str(settings.home) in shown
    assert not any(secret in shown for secret in SECRETS)
    given = WorkerConfig.from_line(result.read_bytes()).settings
    assert given.model_dump() == settings.model_dump()


def test_settings_are_the_same_after_the_way_to_a_worker(settings) -> None:
    sent = WorkerConfig(settings, "http://[::1]:3000", listener=7, supervisor=42, index=2)
    taken = WorkerConfig.from_line(sent.to_line())
    assert taken.settings.model_dump() == settings.model_dump()
    assert (taken.address, taken.listener, taken.supervisor, taken.index) == ("http://[::1]:3000", 7, 42, 2)


def test_the_supervisor_stays_light() -> None:
    """It lives as long as the server, and has no use for BentoML or a model library."""
    code = "import hub.http.process.launch, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"bentoml", "torch", "transformers", "uvicorn", "circus"}.isdisjoint(done.stdout.split())
