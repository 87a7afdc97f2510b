"""`hub deploy`, `hub rollback` and `hub status` on a home whose server is not running."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.errors import BadAdapter, Conflict, InvalidName, NotFound, NotReady


def hub(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_deploy_without_a_server_changes_the_catalog(fake_home) -> None:
    fake_home.add("mood", seed=1), fake_home.add("mood", seed=2)
    assert "serves mood@1" in hub("deploy", "mood@1")
    moved = json.loads(hub("deploy", "mood", "--as", "mood", "--reason", "newer", "--json"))
    assert (moved["version"], moved["previous"], moved["server"]) == ("mood@2", "mood@1", None)
    assert [move.reason for move in fake_home.store.history("mood")] == ["", "newer"]
    assert "@" in fake_home.store.history("mood")[0].who


def test_a_rollback_without_a_server_changes_the_catalog(fake_home) -> None:
    fake_home.add("mood", seed=1), fake_home.add("mood", seed=2)
    hub("deploy", "mood@1", "--as", "live"), hub("deploy", "mood@2", "--as", "live")
    assert "serves mood@1 (before: mood@2)" in hub("rollback", "live")
    assert str(fake_home.store.deployment("live").stable.ref) == "mood@1"


def test_a_damaged_version_is_refused_also_without_a_server(fake_home) -> None:
    version = fake_home.add("mood", seed=1)
    with (version.path / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BadAdapter, match="altered"):
        hub("deploy", "mood@1")
    assert fake_home.store.deployments() == []


def test_a_version_with_a_missing_base_is_refused(fake_home) -> None:
    fake_home.add("mood", seed=1)
    (fake_home.base.path / "base.json").unlink()
    with pytest.raises(NotFound, match="fingerprint"):
        hub("deploy", "mood@1")


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["deploy", "nothing"], NotFound),
        (["deploy", "mood@7"], NotFound),
        (["deploy", "Not A Name"], InvalidName),
        (["deploy", "mood@1", "--as", "Not A Name"], InvalidName),
        (["rollback", "mood"], NotFound),
    ],
)
def test_what_cannot_be_meant_is_refused(fake_home, args, kind) -> None:
    fake_home.add("mood", seed=1)
    with pytest.raises(kind):
        hub(*args)


def test_a_rollback_needs_a_past(fake_home) -> None:
    fake_home.add("mood", seed=1)
    hub("deploy", "mood")
    with pytest.raises(Conflict, match="nothing to go back to"):
        hub("rollback", "mood")


def test_a_server_that_was_named_must_be_there(fake_home) -> None:
    fake_home.add("mood", seed=1)
    with pytest.raises(NotReady, match="hub serve"):
        hub("deploy", "mood@1", "--server", "http://127.0.0.1:9")
    assert fake_home.store.deployments() == [], "it is not put into the local catalog instead"


def test_the_status_of_an_empty_home_shows_the_next_command() -> None:
    result = hub("status")
    assert "hub serve" in result
    assert "hub deploy" in result


def test_the_status_lists_what_is_deployed(fake_home) -> None:
    fake_home.add("mood", seed=1)
    hub("deploy", "mood", "--as", "live")
    assert "live" in hub("status")
    found = json.loads(hub("status", "--json"))
    assert found["server"] is None
    assert found["catalog_generation"] == 1
    assert [(one["name"], one["version"]) for one in found["deployments"]] == [("live", "mood@1")]
