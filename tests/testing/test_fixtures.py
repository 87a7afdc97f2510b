"""The fixtures of plugin authors: an isolated registry, and a live server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub.api import TaskSpec
from hub.errors import NotFound
from hub.registry import active
from hub.testing.fixtures import IsolatedRegistry, LiveServer, hub_home, isolated_registry, live_server
from tests.support.plugins import installing
from tests.support.preloaded import start_forked

__all__ = ["hub_home", "isolated_registry", "live_server"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    with installing(tmp_path / "site") as install:
        yield install


def test_only_the_named_plugins_are_loaded(site, isolated_registry: IsolatedRegistry) -> None:
    site("acme-tickets", "broken-import")
    assert "ticket-urgency" not in isolated_registry().tasks()
    registry = isolated_registry("acme-tickets")
    assert {"ticket-urgency", "sentiment"} <= set(registry.tasks())
    assert active.active() is registry
    broken = [plugin for plugin in registry.plugins() if plugin.distribution == "broken-import"]
    assert all(plugin.state == "refused" for plugin in broken)
    with pytest.raises(NotFound):
        registry.spec("broken")


def test_a_home_has_no_settings_of_the_person(monkeypatch, hub_home: Path) -> None:
    assert [name for name in os.environ if name.startswith("HUB_")] == ["HUB_HOME"]
    assert not hub_home.exists()


def test_a_live_server_answers_for_the_plugin(
    site, monkeypatch, isolated_registry: IsolatedRegistry, live_server: LiveServer
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{site('acme-tickets')}:{os.environ.get('PYTHONPATH', '')}")
    spec: TaskSpec = isolated_registry("acme-tickets").spec("ticket-urgency")
    client = live_server(spec, labels=("can-wait", "urgent"))
    answer = client.post("/v1/tasks/ticket-urgency", json={"text": "It burns!"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] in ("can-wait", "urgent")
    assert client.post("/v1/tasks/ticket-urgency", json={"text": "It burns!"}).json() == answer.json()
    assert client.post("/v1/tasks/ticket-urgency", json={}).status_code == 400


def test_a_live_server_generates_text(
    isolated_registry: IsolatedRegistry, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = SimpleNamespace(Popen=start_forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("hub.testing.fixtures.subprocess", forked)  # the test above starts one
    client = live_server(isolated_registry().spec("generation"))
    answer = client.post("/v1/tasks/generation", json={"prompt": "Hello"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"]
