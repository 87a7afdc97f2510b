"""`hub plugins install` and `uninstall` with the real pip, each in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.config import load_settings
from hub.registry.lock import LOCK_FILE
from hub.registry.state import disable, disabled_plugins
from tests.support.environment import fresh_environment
from tests.support.wheels import write_plugin_wheel, write_wheel

pytestmark = pytest.mark.installs

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"
POINTS = "[hub.tasks.v1]\nold = acme_old\n"
COMMAND = "from hub.cli.main import main; main()"


class Environment:
    """A fresh environment and what `hub` says in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = fresh_environment(folder / "env")

    def source(self, name: str) -> str:
        """Copy a fixture plugin, so that building it leaves nothing in the repository."""
        copy = self.folder / "sources" / name
        if not copy.exists():
            shutil.copytree(FIXTURES / name, copy)
        return str(copy)

    def wheel(self, name: str, entry_points: str, modules: dict[str, str]) -> str:
        """Write a wheel by hand."""
        return str(write_wheel(self.folder, name, modules=modules, entry_points=entry_points))

    def hub(self, *arguments: str, find_links: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `hub plugins` offline."""
        return subprocess.run(
            [self.python, "-P", "-c", COMMAND, "plugins", *arguments],
            env={
                **os.environ,
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(find_links or ""),
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )

    def installed(self, distribution: str) -> bool:
        command = f"import importlib.metadata as m; m.version({distribution!r})"
        return not subprocess.run([self.python, "-c", command], capture_output=True, check=False).returncode


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.mark.slow
def test_a_folder_is_installed_tried_and_uninstalled_by_its_plugins_name(
    environment: Environment, deploy_task: Callable[[str, str], None]
) -> None:
    done = environment.hub("install", environment.source("acme-tickets"), "--no-build-isolation")
    assert done.returncode == 0, done.stderr
    assert "acme-tickets 1.0 is installed." in done.stdout
    assert "task ticket-urgency, task ticket-route" in done.stdout
    deploy_task("ticket-urgency", "front-desk")
    assert "front-desk" in environment.hub("uninstall", "tickets").stderr
    assert environment.installed("acme-tickets")
    disable(load_settings().home, "acme-tickets:tickets")
    assert environment.hub("uninstall", "tickets", "--force").returncode == 0
    assert not environment.installed("acme-tickets")
    assert disabled_plugins(load_settings().home) == frozenset(), "a new start when it comes back"


def test_a_wheel_that_is_no_plugin_is_not_installed(environment: Environment) -> None:
    refused = environment.hub("install", environment.wheel("acme-plain", "", {"acme_plain.py": ""}))
    assert refused.returncode == 1
    assert "acme-plain 1.0 is not a plugin" in refused.stderr
    assert "Nothing was installed." in refused.stderr
    assert not environment.installed("acme-plain")


def test_a_library_that_was_there_before_is_left_alone(environment: Environment) -> None:
    refused = environment.hub("install", "pluggy")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert environment.installed("pluggy")


def test_a_broken_plugin_is_reported_with_its_reason(environment: Environment) -> None:
    points = "[hub.tasks.v1]\nbad = acme_bad\n"
    wheel = environment.wheel("acme-bad", points, {"acme_bad.py": "import sys\nsys.exit('out of paper')\n"})
    refused = environment.hub("install", wheel)
    assert refused.returncode == 1
    assert "its plugin 'bad' is broken: SystemExit: out of paper." in refused.stderr
    assert "hub plugins uninstall acme-bad" in refused.stderr


def test_a_plugin_that_kills_python_is_reported_and_can_be_removed(environment: Environment) -> None:
    points = "[hub.tasks.v1]\ndeadly = acme_deadly\n"
    wheel = environment.wheel("acme-deadly", points, {"acme_deadly.py": "import os\nos._exit(3)\n"})
    refused = environment.hub("install", wheel)
    assert refused.returncode == 1
    assert "its plugin 'deadly' is broken: It ends the process when imported (exit code 3)." in refused.stderr
    assert "deadly" in environment.hub("list").stdout
    assert environment.hub("uninstall", "deadly").returncode == 0
    assert not environment.installed("acme-deadly")


def test_a_plugin_may_not_change_the_libraries_the_hub_runs_on(environment: Environment) -> None:
    wheel = write_wheel(environment.folder, "acme-old", requires=["pluggy<1"], entry_points=POINTS)
    links = environment.folder / "links"
    write_wheel(links, "pluggy", "0.13.1")
    refused = environment.hub("install", str(wheel), find_links=links)
    assert refused.returncode == 1
    rows = [line.split() for line in refused.stdout.splitlines()]
    assert ["acme-old", "-", "1.0"] in rows
    assert any(row[0] == "pluggy" and row[2] == "0.13.1" and "needs" in row for row in rows)
    as_json = environment.hub("install", str(wheel), "--json", find_links=links)
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert (document["installed"], document["error"]["code"]) == (False, "library_pinned")
    assert [(one["name"], one["pinned"]) for one in document["plan"]["packages"]] == [
        ("acme-old", False),
        ("pluggy", True),
    ]
    assert "(library_pinned)" in refused.stderr
    assert "acme-old 1.0 depends on pluggy<1" in refused.stderr
    assert not environment.installed("acme-old")


def test_without_a_network_the_error_has_pips_reason(environment: Environment) -> None:
    refused = environment.hub("install", "acme-that-nobody-published")
    assert refused.returncode == 1
    assert "(source_unavailable)" in refused.stderr
    assert "No matching distribution found for acme-that-nobody-published" in refused.stderr


def test_offline_a_folder_points_to_building_with_what_is_there(environment: Environment) -> None:
    refused = environment.hub("install", environment.source("acme-tickets"))
    assert refused.returncode == 1
    assert "(source_unavailable)" in refused.stderr
    assert "building it needs setuptools>=77" in refused.stderr
    assert "add --no-build-isolation" in refused.stderr


def test_a_folder_whose_build_backend_is_not_there_names_it(environment: Environment) -> None:
    source = Path(environment.source("acme-tickets"))
    project = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(project.replace("setuptools.build_meta", "acme_builder.meta"))
    refused = environment.hub("install", str(source), "--no-build-isolation")
    assert refused.returncode == 1
    assert "cannot be built: acme_builder is not installed" in refused.stderr


def test_the_commands_show_a_plan_the_lock_and_what_is_restored(environment: Environment) -> None:
    wheel = str(write_plugin_wheel(environment.folder, "acme-mail"))
    planned = environment.hub("install", wheel, "--dry-run")
    assert planned.stdout.split()[-3:] == ["Nothing", "was", "changed."]
    assert not environment.installed("acme-mail")
    done = json.loads(environment.hub("install", wheel, "--json").stdout)
    assert (done["installed"], done["plugins"][0]["provides"]) == (True, ["reader acme-mail"])
    assert "acme-mail" in environment.hub("lock").stdout
    lock = load_settings().home / LOCK_FILE
    locked = lock.read_text()
    removed = json.loads(environment.hub("uninstall", "acme-mail", "--json").stdout)
    assert (removed["uninstalled"], removed["plugins"]) == (True, ["acme-mail"])
    assert not environment.installed("acme-mail")
    lock.write_text(locked)
    assert "Nothing was changed." not in environment.hub("sync").stdout
    assert "are those of plugins.lock" in environment.hub("sync").stdout
    assert environment.installed("acme-mail")
