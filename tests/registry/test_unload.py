"""What a task loads is loaded before its first call, once, and released when a server ends."""

from __future__ import annotations

import logging
import threading
from importlib import import_module

import pytest

from hub.errors import BadPlugin
from hub.registry.host import Registry
from hub.registry.kinds import METRICS
from hub.registry.plugin import unload
from tests.support.plugins import Install


def test_a_task_is_loaded_once_and_released_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-tickets")
    seen: list[str] = []
    registry = Registry.load()
    task = import_module("acme_tickets.tasks").Urgency
    monkeypatch.setattr(task, "load", lambda self: seen.append("load"))
    monkeypatch.setattr(task, "unload", lambda self: seen.append("unload"))
    for _ in range(2):
        registry.task("ticket-urgency")
    assert seen == ["load"]
    registry.unload()
    registry.unload()
    assert seen == ["load", "unload"]


def test_a_task_that_cannot_load_is_broken(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-tickets")
    registry = Registry.load()

    def load(self: object) -> None:
        raise FileNotFoundError("words.idx is not there")

    monkeypatch.setattr(import_module("acme_tickets.tasks").Urgency, "load", load)
    with pytest.raises(BadPlugin, match=r"load\(\).*words\.idx is not there"):
        registry.task("ticket-urgency")
    [status] = [one for one in registry.plugins() if one.distribution == "acme-tickets"]
    assert status.state == "broken"


def test_an_extension_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, seen = Registry.of_hub(), []
    metric = registry.extensions.get(METRICS, "matthews")
    monkeypatch.setattr(metric, "unload", lambda: seen.append(1))
    registry.unload()
    assert seen == [1]


def test_what_fails_or_hangs_does_not_keep_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    def leave() -> None:
        raise SystemExit(3)

    unload("task mood", leave)
    hangs = threading.Event()
    unload("task topic", hangs.wait, 0.01)
    hangs.set()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "The task mood did not unload",
        "The task topic did not unload within 0.01 s.",
    ]
