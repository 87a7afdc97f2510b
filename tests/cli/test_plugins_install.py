"""`hub plugins install` and `uninstall` with the real pip, each in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.config import load_settings
from hub.registry.state import disable, disabled_plugins
from tests.support.environment import fresh_environment

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"
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
        path = self.folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        files = {
            **modules,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": entry_points,
        }
        files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
        return str(path)

    def hub(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `hub plugins` offline."""
        return subprocess.run(
            [self.python, "-P", "-c", COMMAND, "plugins", *arguments],
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "COLUMNS": "200"},
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


def test_a_wheel_that_is_no_plugin_is_uninstalled_again(environment: Environment) -> None:
    refused = environment.hub("install", environment.wheel("acme-plain", "", {"acme_plain.py": ""}))
    assert refused.returncode == 1
    assert "acme-plain 1.0 is not a plugin" in refused.stderr
    assert "Uninstalled again: acme-plain." in refused.stderr
    assert not environment.installed("acme-plain")


def test_a_library_that_was_there_before_is_left_alone(environment: Environment) -> None:
    refused = environment.hub("install", "pluggy")
    assert refused.returncode == 1
    assert "nothing was uninstalled" in refused.stderr
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
    wheel = Path(environment.wheel("acme-old", "[hub.tasks.v1]\nold = acme_old\n", {"acme_old.py": ""}))
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    files["acme_old-1.0.dist-info/METADATA"] += "Requires-Dist: pluggy<1\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    refused = environment.hub("install", str(wheel))
    assert refused.returncode == 1
    assert "(conflict)" in refused.stderr
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
    assert "Offline, add --no-build-isolation" in refused.stderr
