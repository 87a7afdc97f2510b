"""Commands of a third party: the example of docs/plugins/commands.md. Known commands import none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hub.cli.main import COMMANDS, GROUPS, app
from hub.errors import BadPlugin, BadRequest
from hub.registry.kinds import RESERVED_COMMANDS
from tests.support.plugins import Install, install, plugin_of, write_page

__all__ = ["install"]


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_command_of_a_plugin_is_called_by_its_name_with_its_settings(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(write_page("commands", tmp_path))
    assert hub("greet", "Ann").output == "Hello, Ann!\n"
    monkeypatch.setenv("HUB_PLUGINS__GREET__WORD", "Good day")
    assert hub("greet", "Ann").output == "Good day, Ann!\n"
    assert isinstance(hub("greet", "7").exception, BadRequest)
    assert "Greet someone." in hub("greet", "--help").output


def test_an_unknown_command_is_still_unknown() -> None:
    assert "No such command 'nope'" in hub("nope").output


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins", "--help"], ["bench", "--help"], ["recipe", "schema"]]
)
def test_known_commands_import_no_plugin(install: Install, tmp_path: Path, arguments: list[str]) -> None:
    marker = tmp_path / "imported"
    site = install(
        plugin_of(tmp_path, f"open({str(marker)!r}, 'w')\n@hookimpl\ndef hub_commands():\n    yield 1")
    )
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    command = [sys.executable, "-m", "hub", *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True)
    assert done.stdout
    assert not marker.exists()


def test_no_plugins_means_the_hubs_own_only(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_PLUGINS__POLICY", "all")  # taken back after the test
    install(write_page("commands", tmp_path), "acme-tickets")
    listed = hub("--no-plugins", "plugins", "list").output
    assert "acme_greet" not in sys.modules
    assert "acme_tickets" not in sys.modules
    assert [line.split()[3] for line in listed.splitlines() if "acme" in line] == ["refused", "refused"]
    assert "task classification" in listed
    assert hub("--no-plugins", "greet", "Ann").exit_code == 2


def test_the_names_of_the_hubs_commands_are_refused(install: Install, tmp_path: Path) -> None:
    assert {command.__name__ for command in COMMANDS} | GROUPS.keys() == RESERVED_COMMANDS
    code = "@hookimpl\ndef hub_commands():\n    yield CommandSpec('train', 'Trains.', 'made:Train')"
    install(plugin_of(tmp_path, code))
    assert "hub train is a command of the hub." in hub("plugins", "info", "made").output


def test_a_command_that_cannot_be_built_is_named(install: Install, tmp_path: Path) -> None:
    code = """
@hookimpl
def hub_commands():
    yield CommandSpec("bad", "Fails.", "made:Bad")

class Bad(Command):
    def app(self):
        return None
"""
    install(plugin_of(tmp_path, code))
    failed = hub("bad").exception
    assert isinstance(failed, BadPlugin)
    assert "Command 'bad' failed in app()" in str(failed)
