"""Pytest fixtures for plugin authors: an isolated registry, and a live server.

Import those that a test uses, or put `pytest_plugins = ["hub.testing.fixtures"]` into conftest.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.api import TaskSpec
from hub.client import server_file
from hub.config import load_settings
from hub.registry import active
from hub.registry.host import Registry
from hub.testing.homes import deploy_made_up

__all__ = [
    "IsolatedRegistry",
    "LiveServer",
    "hub_home",
    "isolated_registry",
    "live_server",
    "own_home",
    "ready_server",
]

START_LIMIT_S = 120
END_LIMIT_S = 30
IsolatedRegistry = Callable[..., Registry]
LiveServer = Callable[..., httpx.Client]


@pytest.fixture
def hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a state folder of its own; no setting of the person who runs it applies."""
    return own_home(tmp_path, monkeypatch)


def own_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a state folder in `folder`, and forget all other settings in the environment."""
    home = folder / "hub-home"
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HUB_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return home


@pytest.fixture
def isolated_registry(hub_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedRegistry]:
    """Return a function that loads what is built in and the named distributions, and no other plugin.

    Settings of plugins are given as a mapping by plugin. A `live_server` started later has the same plugins.
    """

    def load(*distributions: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> Registry:
        monkeypatch.setenv("HUB_PLUGINS__POLICY", "allowlist" if distributions else "none")
        monkeypatch.setenv("HUB_PLUGINS__ALLOW", json.dumps(distributions))
        for plugin, values in (settings or {}).items():
            for key, value in values.items():
                text = value if isinstance(value, str) else json.dumps(value)
                monkeypatch.setenv(f"HUB_PLUGINS__{plugin.replace('-', '_')}__{key}".upper(), text)
        return active.activate(Registry.of(load_settings()))

    before = list(active._registries)
    yield load
    active._registries[:] = before


@pytest.fixture
def live_server(hub_home: Path) -> Iterator[LiveServer]:
    """Return a function that starts a server with an adapter of a task, and returns a client.

    The adapter, deployed by the name of the task, has random weights, and the engine is the fake one: answers
    are the same each time, and have the shapes of a real engine's. The server ends with the test.
    """
    with ExitStack() as stack:

        def start(
            spec: TaskSpec,
            *,
            labels: Sequence[str] = (),
            options: Mapping[str, Any] | None = None,
        ) -> httpx.Client:
            registry = Registry.of(load_settings())
            model = registry.task(spec.name).task.options
            settings = model.model_validate(dict(options or {})).model_dump(mode="json")
            deploy_made_up(hub_home, registry, spec, labels=labels, settings=settings)
            url = stack.enter_context(_serving(hub_home))
            return stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))

        yield start


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    """Run `hub serve` on a free port; yield its URL."""
    log = home.parent / "server.log"
    command = [sys.executable, "-m", "hub", "serve", "--engine", "fake", "--port", "0"]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield _ready_url(home, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"the server does not end:\n{_text(log)}") from None


def ready_server(home: Path) -> str | None:
    """Return the address of the server of a home once it is ready."""
    found = server_file.read(home)
    try:
        if found is None:
            return None
        reply = httpx.get(f"{found.url}/readyz", timeout=5, verify=found.verify(), trust_env=False)
        if reply.is_success:
            return found.url
    except httpx.HTTPError:
        pass
    return None


def _ready_url(home: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended:\n{_text(log)}"
        if url := ready_server(home):
            return url
        time.sleep(0.05)
    raise AssertionError(f"the server was not ready in {START_LIMIT_S} s:\n{_text(log)}")


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
