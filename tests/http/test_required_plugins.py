"""A plugin of `plugins.required` that cannot be used makes the server not ready, and says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hub.config import load_settings
from hub.registry.state import disable
from tests.support.plugins import Install, install
from tests.support.waiting import until

__all__ = ["install"]


@pytest.mark.parametrize(
    ("required", "reason"),
    [
        ("broken-import", "Required plugin 'broken-import' is broken: ModuleNotFoundError"),
        ("broken-example", "Required plugin 'broken-example' is broken"),
        ("Acme_Tickets", "Required plugin 'Acme_Tickets' is disabled"),
        ("acme-absent", "'acme-absent' is in plugins.required and not installed"),
    ],
)
def test_a_required_plugin_that_cannot_be_used_is_the_reason_of_readyz(
    install: Install,
    serving: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    service: Any,
    required: str,
    reason: str,
) -> None:
    install("acme-tickets", "broken-import", "broken-example")
    disable(load_settings().home, "acme-tickets")
    monkeypatch.setenv("HUB_PLUGINS__REQUIRED", f'["{required}", "classification"]')
    with serving(ready=False) as client:
        assert until(lambda: service.hub.runtime.ready)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert reason in answer.text
        assert client.get("/livez").status_code == 200


def test_without_the_plugins_that_are_not_required_a_server_is_ready(
    install: Install, serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-tickets", "broken-import")
    monkeypatch.setenv("HUB_PLUGINS__REQUIRED", '["tickets"]')
    with serving() as client:
        assert client.get("/readyz").status_code == 200


class Suspended:
    """The state of a task whose plugin hangs."""

    task, plugin, stuck, suspended, retry_in_s = "ticket-urgency", "tickets", 8, True, 60.0


@pytest.mark.parametrize(("required", "status"), [("tickets", 503), ("acme-tickets", 503), ("qa", 200)])
def test_a_suspended_plugin_is_the_reason_of_readyz_only_if_it_is_required(
    install: Install,
    serving: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    service: Any,
    required: str,
    status: int,
) -> None:
    install("acme-tickets")
    monkeypatch.setenv("HUB_PLUGINS__REQUIRED", f'["{required}"]')
    with serving() as client:
        monkeypatch.setattr(service.hub.runtime.pipeline, "hanging", lambda: [Suspended()])
        answer = client.get("/readyz")
        assert answer.status_code == status
        suspended = f"Required plugin {required!r} is suspended: 8 calls of its task 'ticket-urgency' hang."
        assert (suspended in answer.text) == (status == 503)
        monkeypatch.setattr(service.hub.runtime.pipeline, "hanging", list)
        assert client.get("/readyz").status_code == 200
