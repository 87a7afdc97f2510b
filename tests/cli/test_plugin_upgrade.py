"""`hub plugins install` names the versions that an upgrade cannot read before it changes anything."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hub.cli.context import Context
from hub.cli.plugin_install import _Preview
from hub.errors import VersionsUnreadable
from hub.registry.install.plan import PluginPlan
from hub.serving.control.upgrade import UnreadableVersion

PLAN = PluginPlan("acme-tickets", "2.0", ())
FOUND = [
    UnreadableVersion("desk@1", ("front", "back"), "The format of adapters differs.", True),
    UnreadableVersion("desk@2", (), "The options differ.", False),
]


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that the installed release can read and the new one cannot."""
    names = ["desk@1"]
    monkeypatch.setattr("hub.client.upgrade.unreadable_after", lambda *given: (FOUND, names))
    return names


def check(*, accept: bool, quiet: bool = False) -> _Preview:
    preview = _Preview(Context.load(), quiet=quiet, accept=accept)
    preview.check(PLAN, [SimpleNamespace(path=Path("acme_tickets-2.0-py3-none-any.whl"))])
    return preview


def test_it_stops_and_names_them_with_their_deployments(lost, capsys) -> None:
    with pytest.raises(
        VersionsUnreadable, match=r"2\.0 cannot read .*: desk@1\. Live as: back, front\..*--yes"
    ):
        check(accept=False)
    shown = capsys.readouterr().err
    assert "desk@1 (live as front, back) cannot be read: The format" in shown
    assert "desk@2 (stored) may not fit: The options differ." in shown


def test_it_goes_on_if_that_is_accepted_or_nothing_is_lost(lost, capsys) -> None:
    accepted = check(accept=True, quiet=True).to_json()["versions"]
    assert [(one["version"], one["certain"]) for one in accepted] == [("desk@1", True), ("desk@2", False)]
    assert capsys.readouterr().err == ""
    lost.clear()
    check(accept=False)
