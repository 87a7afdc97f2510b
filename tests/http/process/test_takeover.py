"""A worker that would serve less than the one before reports why, and ends."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from hub.config import load_settings
from hub.errors import HubError
from hub.http.process.worker_config import Handover
from hub.registry.host import Registry
from hub.serving.runtime import Runtime
from hub.store.change import Deploy


class Ended(BaseException):
    """In the place of the end of the process."""


@pytest.fixture
def take_over(service: Any, home, monkeypatch: pytest.MonkeyPatch):
    """Take over from a worker that serves everything; return the errors that were reported."""

    def end(status: int) -> None:
        raise Ended(status)

    def take(handover: Handover) -> list[HubError]:
        settings = load_settings(flags={"serve": {"engine": "fake"}})
        runtime = Runtime(settings, Registry.of(settings))
        reported: list[HubError] = []
        channel = SimpleNamespace(report_failure=reported.append)
        worker = object.__new__(service.inner)
        worker.hub = SimpleNamespace(runtime=runtime)
        worker.bento_service = SimpleNamespace(channel=channel)
        monkeypatch.setattr(os, "_exit", end)
        try:
            asyncio.run(worker._take_over(handover, ""))
            assert runtime.ready
        except Ended:
            assert not runtime.ready
        runtime.close()
        return reported

    return take


def test_it_takes_over_once_it_is_ready(take_over, home) -> None:
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="t"))
    assert take_over(Handover()) == []


def test_it_ends_if_a_live_deployment_has_no_task_any_more(take_over, home) -> None:
    home.store.deploy("desk", Deploy(version=home.add("desk", seed=1, task="gone").ref, by="t"))
    (error,) = take_over(Handover(accept=True))
    assert error.code == "deployments_lost" and "No task named 'gone'" in str(error)
    assert take_over(Handover(force=True)) == []


def test_it_ends_if_a_live_version_cannot_be_loaded(take_over, home) -> None:
    version = home.add("mood", seed=1)
    home.store.deploy("mood", Deploy(version=version.ref, by="t"))
    (weights,) = (home.path / "adapters" / version.sha256).rglob("*.safetensors")
    weights.write_bytes(b"damaged")
    (error,) = take_over(Handover())
    assert error.code == "deployments_lost" and "mood" in str(error)
    assert take_over(Handover(broken=("mood",))) == []
