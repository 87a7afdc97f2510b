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
