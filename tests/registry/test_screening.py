"""Plugins that end or hang the process which imports them never reach this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.config import load_settings
from hub.errors import NotFound
from hub.registry import screening
from hub.registry.discovery import PluginStatus
from hub.registry.host import Registry
from hub.registry.state import disable
from tests.support.preloaded import AskingPopen

Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def _home(_own_home: None) -> None:
    load_settings().home.mkdir(parents=True)


def statuses() -> dict[str, PluginStatus]:
    """Return the plugins of a registry as commands and servers make it."""
    return {plugin.distribution: plugin for plugin in Registry.of(load_settings()).plugins()}


def ended(pid: int) -> bool:
    """Wait until a process is gone, or only its parent has not yet heard of it."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(autouse=True)
def _processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process is killed with all that it started, whatever the code under test does."""
    monkeypatch.setattr(subprocess, "Popen", AskingPopen.mro()[1])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deadly-exit", "It ends the process when imported (exit code 3)."),
        ("deadly-crash", "It ends the process when imported (signal 11)."),
        ("deadly-task", "It ends the process when its task 'deadly' is loaded (signal 6)."),
    ],
)
def test_a_plugin_that_ends_the_process_is_listed_as_broken_and_the_others_work(
    install: Install, name: str, reason: str
) -> None:
    install(name, "acme-tickets")
    registry = Registry.of(load_settings())
    found = {plugin.distribution: plugin for plugin in registry.plugins()}
    assert found[name].state == "broken"
    assert found[name].reason == f"{reason} To disable it: hub plugins disable {found[name].id}."
    assert found["acme-tickets"].state == "ok"
    assert registry.task("ticket-route")
    with pytest.raises(NotFound, match="It ends the process"):
        registry.task("no-such-task")


def test_a_plugin_that_hangs_is_stopped_with_the_processes_it_started(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEADLY_HANG", str(tmp_path / "pids"))
    monkeypatch.setattr(screening, "MAX_IMPORT_S", 1.0)
    install("deadly-hang")
    assert statuses()["deadly-hang"].reason.startswith("It hangs when imported: stopped after 1 s.")
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert all(ended(int(pid)) for pid in pids)


def test_no_trial_outlives_the_process_that_began_it(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setenv("DEADLY_HANG", str(pids))
    path = os.pathsep.join([str(install("deadly-hang")), *filter(None, sys.path)])
    code = "from hub.registry.host import Registry; Registry.screened((), None)"
    command = [sys.executable, "-P", "-c", code]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        while not (pids.exists() and len(pids.read_text().split()) == 2):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert all(ended(int(pid)) for pid in pids.read_text().split())


def test_a_result_is_remembered_until_the_plugin_changes(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, tried, real = install("deadly-exit", "acme-tickets"), [], screening._try

    def counted(distribution: str, settings: str) -> str:
        tried.append(distribution)
        return real(distribution, settings)

    monkeypatch.setattr(screening, "_try", counted)
    assert statuses()["deadly-exit"].state == "broken"
    assert statuses()["deadly-exit"].state == "broken"
    assert sorted(tried) == ["acme-tickets", "deadly-exit"]
    (site / "deadly_exit.py").write_text("raise ValueError('mended in part')\n")
    assert statuses()["deadly-exit"].reason == "ValueError: mended in part."
    assert tried[2:] == ["deadly-exit"]


def test_a_fault_is_tried_again_after_a_while_and_a_damaged_record_is_none(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("deadly-exit")
    assert statuses()["deadly-exit"].state == "broken"
    tried: list[str] = []
    monkeypatch.setattr(screening, "_try", lambda name, _: tried.append(name) or "It ends.")
    monkeypatch.setattr(screening, "FAULT_TTL_S", 0.0)
    assert statuses()["deadly-exit"].reason.startswith("It ends.")
    record = load_settings().home / screening.RESULTS_FILE
    for damaged in ("[]", "{", json.dumps({"deadly-exit": {"key": 1}})):
        record.write_text(damaged)
        assert statuses()["deadly-exit"].state == "broken"
    assert len(tried) == 4


def test_what_is_disabled_or_comes_with_the_hub_is_not_tried(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("deadly-exit")
    disable(load_settings().home, "deadly-exit")
    monkeypatch.setattr(screening, "_try", lambda name, _: pytest.fail(f"{name} was tried"))
    assert statuses()["deadly-exit"].state == "disabled"
    assert statuses()["grafthub-sentiment"].state == "ok"


def test_listing_makes_no_home(install: Install) -> None:
    install("deadly-exit")
    load_settings().home.rmdir()
    assert statuses()["deadly-exit"].state == "broken"
    assert not load_settings().home.exists()
