"""Stored versions are compared with the wheels of a plugin before these are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.client.upgrade import unreadable_after
from hub.config import load_settings
from hub.registry.host import Registry
from hub.store.store import Store
from tests.support.homes import add_version, plain_adapter
from tests.support.plugins import Install, install
from tests.support.wheels import write_wheel

__all__ = ["install"]

FIXTURE = Path(__file__).parents[1] / "fixtures" / "plugins" / "acme-tickets" / "acme_tickets"
POINTS = "[hub.tasks.v1]\ntickets = acme_tickets.spec\n"
METRIC = 'metric: ClassVar = "accuracy"'


@pytest.fixture
def store(install: Install, tmp_path: Path) -> Store:
    """A version that the installed plugin made, and one of the hub's own task."""
    from hub.bases.base import Base, BaseKind

    install("acme-tickets")
    base = Base("tiny", "tiny", "0" * 64, BaseKind.ENCODER, "bert", 64, tmp_path / "base")
    store = Store(load_settings().home)
    registry = Registry.load()
    for name, task in (("desk", "ticket-urgency"), ("mood", "sentiment")):
        adapter = plain_adapter(tmp_path / name, seed=len(name) + len(task))
        add_version(store, base, name, adapter, task=task, plugin=registry.plugin_of(task))
    return store


def wheel(folder: Path, adapter_format: int = 1) -> Path:
    modules = {f"acme_tickets/{path.name}": path.read_text() for path in FIXTURE.glob("*.py")}
    contract = f"{METRIC}\n    adapter_format = {adapter_format}"
    modules["acme_tickets/tasks.py"] = modules["acme_tickets/tasks.py"].replace(METRIC, contract)
    return write_wheel(folder, "acme-tickets", "2.0", modules=modules, entry_points=POINTS)


def test_a_release_that_reads_all_versions_is_compared_and_not_installed(store, tmp_path) -> None:
    """Two seconds: the wheel is loaded in a process of its own."""
    assert unreadable_after([wheel(tmp_path)], "acme-tickets", load_settings(), store, ()) == ([], [])


def test_versions_that_a_release_cannot_read_any_more_are_named(store, tmp_path) -> None:
    """Four seconds: another process says what the installed release can read."""
    settings = load_settings()
    found, lost = unreadable_after([wheel(tmp_path, 2)], "acme-tickets", settings, store, ())
    assert [(one.version, one.certain) for one in found] == [("desk@1", True)]
    assert "acme-tickets 2.0 is installed, which differs in the format of adapters" in found[0].reason
    assert lost == ["desk@1"]


def test_without_versions_made_with_a_plugin_nothing_is_loaded(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("hub.client.upgrade._ask", None)
    assert unreadable_after([wheel(tmp_path)], "acme-other", load_settings(), store, ()) == ([], [])
