"""Fixtures of command tests: state folders with bases and adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.bases.base import Base, BaseKind
from hub.config import load_settings
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.homes import FakeHome, add_version, plain_adapter
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]


@pytest.fixture
def deploy_task(tmp_path: Path) -> Callable[[str, str], None]:
    """Put an adapter of a task live in the catalog, under a deployment's name."""

    def deploy(task: str, deployment: str) -> None:
        base = Base("tiny", "tiny", "0" * 64, BaseKind.ENCODER, "bert", 64, tmp_path / "base")
        store = Store(load_settings().home)
        add_version(store, base, "made", plain_adapter(tmp_path / "made"), task=task)
        store.deploy(deployment, Deploy(version="made@1", by="test"))

    return deploy


@pytest.fixture
def fake_home(tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHome:
    """A state folder with a tiny base, served by the fake engine."""
    monkeypatch.setenv("HUB_SERVE__ENGINE", "fake")
    return FakeHome(load_settings().home, tiny_base_folder)
