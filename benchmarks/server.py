"""Servers in processes of their own, for as long as a benchmark asks them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hub.client import server_file

__all__ = ["ROOT", "HubServer", "hub_server", "process", "ready", "wait"]

ROOT = Path(__file__).parents[1]
START_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class HubServer:
    """A running `hub serve`: where it listens, and its admin key."""

    url: str
    port: int
    key: str
    alive: Callable[[], None]


@contextmanager
def hub_server(home: Path, *flags: str) -> Iterator[HubServer]:
    """Run `hub serve` with these flags for the home, from when its engine has settled."""
    command = [sys.executable, "-m", "hub", "serve", "--port", "0", *flags]
    with process(command, {"HUB_HOME": str(home)}, home.parent / "ours.log") as alive:
        wait(alive, lambda: (found := server_file.read(home)) is not None and ready(found.url))
        found = server_file.read(home)
        assert found
        key = (home / "admin.key").read_text(encoding="ascii").strip()
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=found.url, headers=headers, timeout=60) as client:
            wait(alive, lambda: _settled(client))
        yield HubServer(found.url, httpx.URL(found.url).port or 80, key, alive)


@contextmanager
def process(command: Sequence[str], extra: dict[str, str], log: Path) -> Iterator[Callable[[], None]]:
    """Run a server; yields a check that it still lives, which shows its log when it does not."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **extra}
    with log.open("wb") as out:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)

    def alive() -> None:
        if running.poll() is not None:
            raise SystemExit(f"{command[:4]} ended:\n{log.read_text(encoding='utf-8')[-4000:]}")

    try:
        yield alive
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()


def wait(alive: Callable[[], None], holds: Callable[[], bool]) -> None:
    """Wait until something holds of a server that lives."""
    deadline = time.monotonic() + START_LIMIT_S
    while not holds():
        alive()
        if time.monotonic() > deadline:
            raise SystemExit("A server was not ready in time.")
        time.sleep(0.2)


def ready(url: str) -> bool:
    """Tell whether the server at `url` takes requests."""
    try:
        return httpx.get(f"{url}/readyz", timeout=10).is_success
    except httpx.HTTPError:
        return False


def _settled(client: httpx.Client) -> bool:
    status = client.get("/admin/status").json()
    return not any(engine["engine"]["note"] for engine in status["engines"])
